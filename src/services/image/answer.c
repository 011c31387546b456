#include "services/image/answer.h"

#include <jansson.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/str.h"
#include "wire/image_answer.h"

_Static_assert((int)MANIFEST_LAYERS_MAX <= (int)IMAGE_ANSWER_LAYERS_MAX && (int)MANIFEST_STRINGS_MAX <= (int)IMAGE_ANSWER_STRINGS_MAX,
               "an image fits in an answer");

/* What is not UTF-8 is said without the bytes that are not ASCII. */
static json_t *text(const char *s)
{
        json_t *j = json_string(s);
        char *plain;

        if (j || !(plain = strdup(s)))
                return j;
        for (char *p = plain; *p; p++)
                if ((unsigned char)*p >= 0x7f)
                        *p = '?';
        j = json_string(plain);
        free(plain);
        return j;
}

static json_t *list(const struct config_list *l)
{
        json_t *j = json_array();

        for (size_t i = 0; i < l->count; i++)
                json_array_append_new(j, text(l->items[i]));
        return j;
}

/* Takes the object. */
static void print(FILE *out, json_t *j)
{
        json_dumpf(j, out, JSON_COMPACT);
        fputc('\n', out);
        json_decref(j);
}

static void found_json(FILE *out, const struct image_found *f)
{
        char id[8 + IMAGE_HEX];
        json_t *j = json_object();
        json_t *layers = json_array();

        snprintf(id, sizeof(id), "sha256:%s", f->id);
        for (size_t i = 0; i < f->layer_count; i++)
                json_array_append_new(layers, json_string(f->layers[i]));
        json_object_set_new(j, "ref", text(f->name));
        json_object_set_new(j, "id", json_string(id));
        json_object_set_new(j, "layers", layers);
        json_object_set_new(j, "env", list(&f->config.env));
        json_object_set_new(j, "cwd", text(f->config.cwd));
        json_object_set_new(j, "user", text(f->config.user));
        json_object_set_new(j, "entrypoint", list(&f->config.entrypoint));
        json_object_set_new(j, "cmd", list(&f->config.cmd));
        print(out, j);
}

static struct image_answer_list wire_list(const struct config_list *l)
{
        return (struct image_answer_list){ (uint32_t)l->count, (const char *const *)l->items };
}

/* Encodes, and writes where it fits. */
static bool put(FILE *out, const struct image_answer *a)
{
        uint8_t *mem = malloc(IMAGE_ANSWER_MAX);
        struct wbuf w = wbuf_over(mem, mem ? IMAGE_ANSWER_MAX : 0);

        image_answer_put(&w, a);
        bool fits = !w.bad;
        if (fits && out)
                fwrite(w.data, 1, w.len, out);
        free(mem);
        return fits;
}

static void fill(const struct image_found *f, struct image_answer *a)
{
        *a = (struct image_answer){
                .ok = true,
                .layer_count = (uint32_t)f->layer_count,
                .env = wire_list(&f->config.env),
                .entrypoint = wire_list(&f->config.entrypoint),
                .cmd = wire_list(&f->config.cmd),
                .cwd = f->config.cwd,
                .user = f->config.user,
        };
        snprintf(a->id, sizeof(a->id), "sha256:%s", f->id);
        for (size_t i = 0; i < f->layer_count; i++)
                memcpy(a->layers[i], f->layers[i], sizeof(a->layers[i]));
}

int answer_found(FILE *out, enum answer_form form, const struct image_found *f, struct err *e)
{
        struct image_answer *a = malloc(sizeof(*a));

        if (!a)
                return err_set(e, ERR_RESOURCE_EXHAUSTED, 0, "out of memory");
        fill(f, a);
        bool fits = put(form == ANSWER_WIRE ? out : NULL, a);
        free(a);
        if (!fits)
                return err_set(e, ERR_RESOURCE_EXHAUSTED, 0, "image '%.200s' has an environment and command of more than %d bytes", f->name,
                               IMAGE_ANSWER_MAX);
        if (form == ANSWER_JSON)
                found_json(out, f);
        else if (form == ANSWER_HUMAN)
                fprintf(out, "%s sha256:%s, %zu layers\n", f->name, f->id, f->layer_count);
        return 0;
}

void answer_removed(FILE *out, enum answer_form form, const struct image_removed *r)
{
        char size[32];

        if (form == ANSWER_JSON) {
                print(out, json_pack("{s:I,s:i,s:i,s:b}", "freed", (json_int_t)r->freed, "layers", (int)r->layers, "inUse", (int)r->in_use,
                                     "busy", r->busy));
                return;
        }
        str_format_bytes(r->freed, size, sizeof(size));
        fprintf(out, "%s freed, %u layers removed\n", size, r->layers);
        if (r->in_use > 0)
                fprintf(out, "%u layers stay until the sandboxes that use them are gone\n", r->in_use);
        if (r->busy)
                fprintf(out, "other runs are busy in the store; `image prune` removes later what could not be removed now\n");
}

void answer_error(FILE *out, enum answer_form form, const struct err *e)
{
        struct err said = *e;

        image_answer_clean(said.msg);
        image_answer_clean(said.hint);
        if (form == ANSWER_JSON) {
                json_t *j = json_object();
                json_t *inner = json_object();

                json_object_set_new(inner, "code", json_string(err_code_name(said.code)));
                json_object_set_new(inner, "message", text(said.msg));
                json_object_set_new(inner, "hint", text(said.hint));
                json_object_set_new(j, "error", inner);
                print(out, j);
        } else if (form == ANSWER_WIRE) {
                const struct image_answer a = { .error = said };

                (void)put(out, &a);
        } else {
                fprintf(stderr, "creto-runtime: %s\n", said.msg);
                if (said.hint[0])
                        fprintf(stderr, "hint: %s\n", said.hint);
        }
}

/* ---- lists ---- */

struct row {
        char *name;
        char id[IMAGE_HEX + 1];
        uint64_t bytes;
        bool complete;
};

struct answer_list {
        struct row *rows;
        size_t count, cap;
};

struct answer_list *answer_list_new(void)
{
        return calloc(1, sizeof(struct answer_list));
}

void answer_list_add(void *user, const struct image_listed *l)
{
        struct answer_list *all = user;

        if (all->count == all->cap) {
                size_t cap = all->cap ? 2 * all->cap : 16;
                struct row *more = reallocarray(all->rows, cap, sizeof(*more));

                if (!more)
                        return;
                all->rows = more;
                all->cap = cap;
        }
        struct row *row = &all->rows[all->count];
        *row = (struct row){ .name = strdup(l->name), .bytes = l->bytes, .complete = l->complete };
        snprintf(row->id, sizeof(row->id), "%s", l->id);
        if (row->name)
                all->count++;
}

static int by_name(const void *a, const void *b)
{
        return strcmp(((const struct row *)a)->name, ((const struct row *)b)->name);
}

static void print_row(FILE *out, const struct row *row, bool terminal)
{
        char size[32];

        str_format_bytes(row->bytes, size, sizeof(size));
        if (!terminal)
                fprintf(out, "%s\tsha256:%s\t%llu\n", row->name, row->id, (unsigned long long)row->bytes);
        else
                fprintf(out, "%-50s  %.12s  %s\n", row->name, row->id, row->complete ? size : "incomplete");
}

static json_t *row_json(const struct row *row)
{
        char id[8 + IMAGE_HEX];
        json_t *j = json_pack("{s:I,s:b}", "bytes", (json_int_t)row->bytes, "complete", row->complete);

        snprintf(id, sizeof(id), "sha256:%s", row->id);
        json_object_set_new(j, "ref", text(row->name));
        json_object_set_new(j, "id", json_string(id));
        return j;
}

void answer_list_print(FILE *out, bool json, struct answer_list *all)
{
        bool terminal = isatty(fileno(out));
        json_t *array = json ? json_array() : NULL;

        if (all->count > 0)
                qsort(all->rows, all->count, sizeof(*all->rows), by_name);
        if (!json && terminal && all->count > 0)
                fprintf(out, "%-50s  %-12s  %s\n", "IMAGE", "ID", "SIZE");
        for (size_t i = 0; i < all->count; i++) {
                if (json)
                        json_array_append_new(array, row_json(&all->rows[i]));
                else
                        print_row(out, &all->rows[i], terminal);
                free(all->rows[i].name);
        }
        if (json)
                print(out, array);
        free(all->rows);
        free(all);
}
