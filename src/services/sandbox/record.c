/*
 * A sandbox in the store, as JSON under sandboxes/ID: what a later daemon needs to take it over. The spec is in it as the API shows it.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/str.h"
#include "base/text.h"
#include "domain/spec_json.h"
#include "services/sandbox/internal.h"
#include "wire/image_answer.h"

enum { KEY_CAP = 96, NODES_MAX = 32768 };

static void record_key(const char *id, char out[KEY_CAP])
{
        snprintf(out, KEY_CAP, "sandboxes/%s", id);
}

/* ---- writing ---- */

static void put_string(struct json_put *j, const char *key, const char *value)
{
        json_put_key(j, key);
        if (value)
                json_put_string(j, value);
        else
                json_put_null(j);
}

static void put_strings(struct json_put *j, const char *key, const char *const *v)
{
        json_put_key(j, key);
        json_put_array(j);
        for (; v && *v; v++)
                json_put_string(j, *v);
        json_put_end(j);
}

static void put_pool(struct json_put *j, const struct sandbox *sb)
{
        char hex[2 * GUEST_CLAIM + 1];

        put_string(j, "pool", sb->info.pool);
        if (!sb->has_claim)
                return;
        str_hex(sb->claim, GUEST_CLAIM, hex);
        put_string(j, "claim", hex);
        json_put_number(j, "claimed", sb->info.claimed_ms);
        json_put_number(j, "asked", sb->asked);
}

static void put_record(struct json_put *j, const struct sandbox *sb)
{
        const struct sandbox_info *s = &sb->info;

        json_put_object(j);
        put_string(j, "owner", s->owner);
        json_put_number(j, "state", s->state);
        put_string(j, "boot", sb->all->boot_id);
        put_string(j, "key", sb->unknown ? "" : sb->key); /* a repeat after a restart is not answered with it either */
        if (s->pool[0])
                put_pool(j, sb);
        json_put_number(j, "wanted", sb->limits.wanted);
        json_put_number(j, "created", s->created_ms);
        json_put_number(j, "started", s->started_ms);
        json_put_number(j, "ended", s->ended_ms);
        json_put_number(j, "expires", s->expires_ms);
        json_put_number(j, "expiresBoot", sb->expires_boot);
        json_put_number(j, "pausedBoot", sb->paused_boot);
        json_put_flag(j, "offered", sb->offered);
        put_string(j, "class", sb->choice.name);
        put_string(j, "requestedClass", sb->choice.requested);
        put_string(j, "classWhy", sb->choice.why);
        put_string(j, "missing", s->missing);
        json_put_number(j, "failure", s->failure);
        put_string(j, "failureText", s->failure_text);
        put_strings(j, "imageEnv", sb->setup.image_env);
        put_strings(j, "command", sb->setup.command);
        json_put_number(j, "entrypoint", sb->setup.entrypoint_count);
        put_string(j, "cwd", sb->setup.cwd);
        put_string(j, "user", sb->setup.user);
        json_put_key(j, "spec");
        json_put_raw(j, s->spec, s->spec_len);
        json_put_end(j);
}

struct write {
        struct sandbox *sb;
        record_fn *done;
        void *ctx;
};

static void on_written(void *ctx, bool lost, uint64_t revision, const struct err *e)
{
        struct write *w = ctx;

        (void)lost;
        (void)revision;
        if (e && !w->done)
                sandbox_log(w->sb, true, e->msg);
        if (w->done)
                w->done(w->ctx, e);
        free(w);
}

void record_put(struct sandbox *sb, record_fn *done, void *ctx)
{
        auto_text text = text_new();
        struct json_put j = json_put_over(&text);
        struct write *w = malloc(sizeof(*w));
        char key[KEY_CAP];
        struct err e;

        put_record(&j, sb);
        if (!w || text.bad) {
                free(w);
                err_set(&e, ERR_RESOURCE_EXHAUSTED, 0, "out of memory");
                if (done)
                        done(ctx, &e);
                return;
        }
        *w = (struct write){ sb, done, ctx };
        record_key(sb->info.id, key);
        const struct store_op op = { .key = key, .value = text.data, .len = text.len, .expect = STORE_ANY };
        store_txn(sb->all->config.store, &op, 1, false, on_written, w);
}

void record_delete(struct sandbox *sb)
{
        char key[KEY_CAP];

        record_key(sb->info.id, key);
        const struct store_op op = { .key = key, .expect = STORE_ANY };
        store_txn(sb->all->config.store, &op, 1, false, NULL, NULL);
}

/* ---- reading ---- */

static int read_spec(const struct json_node *node, size_t text_len, struct spec *spec, char **arena, struct err *e)
{
        struct spec_faults faults;

        *arena = malloc(text_len + 1);
        if (!*arena)
                return err_set(e, ERR_RESOURCE_EXHAUSTED, 0, "out of memory");
        spec_init(spec);
        int r = spec_json_read(node, spec, *arena, text_len + 1, &faults, e);
        return r;
}

static struct json_node nodes[NODES_MAX];

int record_spec(const struct sandbox *sb, struct spec *spec, char **arena, struct err *e)
{
        *arena = NULL;
        if (json_parse(sb->info.spec, sb->info.spec_len, nodes, NODES_MAX, NULL) < 0)
                return err_set(e, ERR_INTERNAL_ERROR, 0, "the spec of %s cannot be read", sb->info.id);
        int r = read_spec(nodes, sb->info.spec_len, spec, arena, e);
        spec->limits.wanted = sb->limits.wanted;
        return r;
}

static uint64_t get_number(const struct json_node *n, const char *key)
{
        uint64_t v = 0;

        json_u64(json_get(n, key), &v);
        return v;
}

/* What the image said, from a record: strings into `arena`. */
static struct image_answer_list get_strings(const struct json_node *list, const char **to, char **arena, size_t *left)
{
        struct image_answer_list out = { .items = to };

        for (const struct json_node *m = json_first(list); m && out.count < IMAGE_ANSWER_STRINGS_MAX; m = json_next(list, m)) {
                if (!json_str(m, *arena, *left))
                        continue;
                size_t len = strlen(*arena) + 1;
                to[out.count++] = *arena;
                *arena += len;
                *left -= len;
        }
        return out;
}

struct loader {
        struct sandboxes *all;
        struct err *e;
        int r;
};

static int load_setup(struct sandbox *sb, const struct json_node *root, size_t len, struct err *e)
{
        static struct spec spec;
        static struct image_answer image;
        static const char *env[IMAGE_ANSWER_STRINGS_MAX + 1], *command[2 * IMAGE_ANSWER_STRINGS_MAX + 1];
        char *spec_arena = NULL, *arena = malloc(len + 1), *at = arena, *cwd, *user;
        size_t left = len + 1;
        uint64_t entrypoint = get_number(root, "entrypoint");
        int r = arena ? read_spec(json_get(root, "spec"), len, &spec, &spec_arena, e)
                      : err_set(e, ERR_RESOURCE_EXHAUSTED, 0, "out of memory");

        if (r == 0) {
                spec.limits.wanted = (uint32_t)get_number(root, "wanted");
                image = (struct image_answer){ .env = get_strings(json_get(root, "imageEnv"), env, &at, &left) };
                image.entrypoint = get_strings(json_get(root, "command"), command, &at, &left);
                if (entrypoint > image.entrypoint.count)
                        entrypoint = image.entrypoint.count;
                image.cmd = (struct image_answer_list){ image.entrypoint.count - (uint32_t)entrypoint, command + entrypoint };
                image.entrypoint.count = (uint32_t)entrypoint;
                cwd = at;
                if (json_str(json_get(root, "cwd"), cwd, left))
                        left -= strlen(cwd) + 1, at += strlen(cwd) + 1, image.cwd = cwd;
                user = at;
                if (json_str(json_get(root, "user"), user, left))
                        image.user = user;
                r = setup_make(sb, &spec, &image, e);
        }
        free(spec_arena);
        free(arena);
        return r;
}

/* Records of before there was a choice have the class in their spec. */
static void load_class(struct sandbox *sb, const struct json_node *root)
{
        const struct json_node *spec = json_get(root, "spec");
        struct choice c = { .why = "" };

        if (!json_str(json_get(root, "class"), c.name, sizeof(c.name)) && !json_str(json_get(spec, "runtimeClass"), c.name, sizeof(c.name)))
                snprintf(c.name, sizeof(c.name), "native");
        if (!json_str(json_get(root, "requestedClass"), c.requested, sizeof(c.requested)))
                snprintf(c.requested, sizeof(c.requested), "%s", c.name);
        json_str(json_get(root, "classWhy"), c.why, sizeof(c.why));
        class_set(sb, &c);
        json_bool(json_get(root, "offered"), &sb->offered);
}

static bool same_boot(const struct sandbox *sb, const struct json_node *root)
{
        return json_str_is(json_get(root, "boot"), sb->all->boot_id);
}

static void load_state(struct sandbox *sb, const struct json_node *root)
{
        struct sandbox_info *s = &sb->info;
        uint64_t state = get_number(root, "state");
        char key[SANDBOX_KEY_MAX + 1], claim[2 * GUEST_CLAIM + 1];

        s->created_ms = get_number(root, "created");
        s->started_ms = get_number(root, "started");
        s->ended_ms = get_number(root, "ended");
        s->expires_ms = get_number(root, "expires");
        s->claimed_ms = get_number(root, "claimed");
        sb->asked = get_number(root, "asked");
        json_str(json_get(root, "pool"), s->pool, sizeof(s->pool));
        sb->has_claim = json_str(json_get(root, "claim"), claim, sizeof(claim)) && str_unhex(claim, sb->claim, GUEST_CLAIM);
        s->failure = (enum err_code)(get_number(root, "failure") < ERR_CODE_COUNT ? get_number(root, "failure") : ERR_INTERNAL_ERROR);
        json_str(json_get(root, "missing"), s->missing, sizeof(s->missing));
        json_str(json_get(root, "failureText"), s->failure_text, sizeof(s->failure_text));
        if (json_str(json_get(root, "key"), key, sizeof(key)))
                sandbox_set_key(sb, key);
        sandbox_set_state(sb, state < SANDBOX_STATES ? (enum sandbox_state)state : SANDBOX_FAILED);
        if (s->state == SANDBOX_TERMINATED || s->state == SANDBOX_FAILED)
                return;
        sb->in_warden = true; /* its list says whether it is so */
        sandbox_promise(sb, true);
        if (!same_boot(sb, root))
                return;
        sb->expires_boot = get_number(root, "expiresBoot");
        sb->paused_boot = get_number(root, "pausedBoot");
        sandbox_touch(sb);
}

static bool load_one(void *ctx, const struct store_kv *kv)
{
        struct loader *l = ctx;
        const char *id = kv->key + strlen("sandboxes/");
        char owner[SANDBOX_OWNER_MAX + 1] = "";
        struct err e;

        if (strlen(id) > IPC_ID_MAX || json_parse(kv->value, kv->len, nodes, NODES_MAX, NULL) < 0 || !json_is_object(nodes)) {
                l->all->config.log(l->all->config.ctx, true, NULL, "a record that cannot be read is left out");
                return true;
        }
        json_str(json_get(nodes, "owner"), owner, sizeof(owner));
        struct sandbox *sb = sandbox_new(l->all, id, owner);
        const struct json_node *spec = json_get(nodes, "spec");
        if (!sb || !spec) {
                l->r = sb ? 0 : err_set(l->e, ERR_RESOURCE_EXHAUSTED, 0, "out of memory");
                if (sb)
                        sandbox_free(sb);
                return l->r == 0;
        }
        sb->spec_json = strndup(spec->text, spec->len);
        sb->info.spec = sb->spec_json;
        sb->info.spec_len = spec->len;
        if (!sb->spec_json || load_setup(sb, nodes, kv->len, &e) < 0) {
                l->all->config.log(l->all->config.ctx, true, id, "its record cannot be read; what the warden has of it is ended");
                sandbox_free(sb);
                return true;
        }
        load_class(sb, nodes);
        load_state(sb, nodes);
        return true;
}

int record_load_all(struct sandboxes *all, struct err *e)
{
        struct loader l = { all, e, 0 };

        store_range(all->config.store, "sandboxes/", load_one, NULL, &l);
        return l.r;
}
