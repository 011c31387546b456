/* Configurations of images: whatever is taken is within the limits of manifest.h, and fits in an answer. */
#include "fuzz.h"

#include "domain/image_ref.h"
#include "services/image/manifest.h"
#include "wire/image_answer.h"

static size_t check_list(const struct config_list *l)
{
        size_t sum = 0;

        NEED(l->count <= MANIFEST_STRINGS_MAX && l->items && !l->items[l->count]);
        for (size_t i = 0; i < l->count; i++) {
                NEED(strlen(l->items[i]) <= MANIFEST_STRING_MAX);
                sum += strlen(l->items[i]);
        }
        return sum;
}

static void check(const struct config *c)
{
        NEED(check_list(&c->env) + check_list(&c->entrypoint) + check_list(&c->cmd) <= MANIFEST_TEXT_MAX);
        for (size_t i = 0; i < c->env.count; i++)
                NEED(strchr(c->env.items[i], '=') && c->env.items[i][0] != '=');
        NEED(c->layer_count <= MANIFEST_LAYERS_MAX);
        for (size_t i = 0; i < c->layer_count; i++)
                NEED(image_is_hex(c->diff_ids[i]));
        NEED(c->cwd && strlen(c->cwd) <= 4095 && c->user && strlen(c->user) <= 4095);
}

static struct image_answer_list list_of(const struct config_list *l)
{
        return (struct image_answer_list){ (uint32_t)l->count, (const char *const *)l->items };
}

static void fits(const struct config *c)
{
        static struct image_answer a;
        static uint8_t mem[IMAGE_ANSWER_MAX];
        struct wbuf w = wbuf_over(mem, sizeof(mem));

        a = (struct image_answer){ .ok = true, .layer_count = (uint32_t)c->layer_count, .cwd = c->cwd, .user = c->user };
        a.env = list_of(&c->env);
        a.entrypoint = list_of(&c->entrypoint);
        a.cmd = list_of(&c->cmd);
        memcpy(a.layers, c->diff_ids, sizeof(c->diff_ids));
        memset(a.id, 'a', IMAGE_ANSWER_ID_MAX);
        image_answer_put(&w, &a);
        NEED(!w.bad);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
        static struct config c;
        struct err e = { 0 };

        if (config_parse((const char *)data, len, &c, &e) < 0) {
                NEED(e.code != ERR_NONE && e.msg[0]);
                return 0;
        }
        check(&c);
        fits(&c);
        config_release(&c);
        return 0;
}
