/*
 * A pool in the store, as JSON under pools/ID, on the disk before anybody is told of it.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/text.h"
#include "domain/spec_json.h"
#include "services/pool/internal.h"
#include "wire/json.h"

enum { KEY_CAP = 96, NODES_MAX = 32768 };

static void record_key(const char *id, char out[KEY_CAP])
{
        snprintf(out, KEY_CAP, "pools/%s", id);
}

/* The numbers of a record: their names, and where they stand. */
static uint64_t *number_at(struct pool *p, const char *name)
{
        struct pool_settings *s = &p->info.settings;
        const struct {
                const char *name;
                uint64_t *at;
        } table[] = {
                { "min", &s->min_ready },     { "max", &s->max_ready },          { "maxAge", &s->max_age_s },
                { "headroom", &s->headroom }, { "scaleDown", &s->scale_down_s }, { "created", &p->info.created_ms },
                { "wanted", &p->wanted },
        };

        for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++)
                if (strcmp(table[i].name, name) == 0)
                        return table[i].at;
        return NULL;
}

static const char *const numbers[] = { "min", "max", "maxAge", "headroom", "scaleDown", "created", "wanted", NULL };

static void put_record(struct json_put *j, struct pool *p)
{
        json_put_object(j);
        json_put_key(j, "owner");
        json_put_string(j, p->info.owner);
        json_put_key(j, "draining");
        json_put_bool(j, p->info.state == POOL_DRAINING);
        json_put_key(j, "reusable");
        json_put_bool(j, p->info.settings.reusable);
        json_put_key(j, "autoScaling");
        json_put_bool(j, p->info.settings.auto_scaling);
        for (const char *const *name = numbers; *name; name++) {
                json_put_key(j, *name);
                json_put_u64(j, *number_at(p, *name));
        }
        const char *const class[][2] = { { "class", p->choice.name },
                                         { "requestedClass", p->choice.requested },
                                         { "classWhy", p->choice.why } };
        for (size_t i = 0; i < sizeof(class) / sizeof(class[0]); i++) {
                json_put_key(j, class[i][0]);
                json_put_string(j, class[i][1]);
        }
        json_put_key(j, "spec");
        json_put_raw(j, p->info.spec, p->info.spec_len);
        json_put_end(j);
}

/* ---- writing ---- */

struct write {
        pool_record_fn *done;
        void *ctx;
};

static void on_written(void *ctx, bool lost, uint64_t revision, const struct err *e)
{
        struct write *w = ctx;

        (void)lost;
        (void)revision;
        w->done(w->ctx, e);
        free(w);
}

static void write_op(struct pool *p, const void *value, size_t len, pool_record_fn *done, void *ctx)
{
        struct write *w = malloc(sizeof(*w));
        char key[KEY_CAP];
        struct err e;

        if (!w) {
                err_set(&e, ERR_RESOURCE_EXHAUSTED, 0, "out of memory");
                done(ctx, &e);
                return;
        }
        *w = (struct write){ done, ctx };
        record_key(p->info.id, key);
        const struct store_op op = { .key = key, .value = value, .len = len, .expect = STORE_ANY };
        store_txn(p->all->config.store, &op, 1, true, on_written, w);
}

void pool_record_put(struct pool *p, pool_record_fn *done, void *ctx)
{
        auto_text text = text_new();
        struct json_put j = json_put_over(&text);
        struct err e;

        put_record(&j, p);
        if (text.bad) {
                err_set(&e, ERR_RESOURCE_EXHAUSTED, 0, "out of memory");
                done(ctx, &e);
                return;
        }
        write_op(p, text.data, text.len, done, ctx);
}

void pool_record_delete(struct pool *p, pool_record_fn *done, void *ctx)
{
        write_op(p, NULL, 0, done, ctx);
}

/* ---- reading ---- */

static struct json_node nodes[NODES_MAX];

int pool_set_spec(struct pool *p, char *json, size_t len, struct err *e)
{
        struct spec_faults faults;

        p->spec_json = json;
        p->info.spec = json;
        p->info.spec_len = len;
        p->arena = malloc(len + 1);
        if (!p->arena)
                return err_set(e, ERR_RESOURCE_EXHAUSTED, 0, "out of memory");
        if (json_parse(json, len, nodes, NODES_MAX, NULL) < 0)
                return err_set(e, ERR_INTERNAL_ERROR, 0, "the template of pool '%s' cannot be read", p->info.id);
        spec_init(&p->spec);
        int r = spec_json_read(nodes, &p->spec, p->arena, len + 1, &faults, e);
        p->spec.limits.wanted = (uint32_t)p->wanted;
        return r;
}

void pool_set_class(struct pool *p, const struct choice *choice)
{
        p->choice = *choice;
        p->info.runtime = p->choice.name;
        p->info.choice = &p->choice;
}

/* Records of before there was a choice have the class in their spec. */
static void load_class(struct pool *p, const struct json_node *root)
{
        struct choice c = { .why = "" };

        if (!json_str(json_get(root, "class"), c.name, sizeof(c.name)) &&
            !json_str(json_get(json_get(root, "spec"), "runtimeClass"), c.name, sizeof(c.name)))
                snprintf(c.name, sizeof(c.name), "native");
        if (!json_str(json_get(root, "requestedClass"), c.requested, sizeof(c.requested)))
                snprintf(c.requested, sizeof(c.requested), "%s", c.name);
        json_str(json_get(root, "classWhy"), c.why, sizeof(c.why));
        pool_set_class(p, &c);
}

struct loader {
        struct pools *all;
        struct err *e;
        int r;
};

static bool load_pool(struct pool *p, const struct json_node *root)
{
        const struct json_node *spec = json_get(root, "spec");
        bool draining = false;
        struct err e;

        json_bool(json_get(root, "draining"), &draining);
        p->info.state = draining ? POOL_DRAINING : POOL_ACTIVE;
        json_bool(json_get(root, "reusable"), &p->info.settings.reusable);
        json_bool(json_get(root, "autoScaling"), &p->info.settings.auto_scaling);
        for (const char *const *name = numbers; *name; name++)
                json_u64(json_get(root, *name), number_at(p, *name));
        load_class(p, root);
        char *text = spec ? strndup(spec->text, spec->len) : NULL;
        return text && pool_set_spec(p, text, spec->len, &e) == 0 && pool_settings_check(&p->info.settings, &e) == 0;
}

static bool load_one(void *ctx, const struct store_kv *kv)
{
        struct loader *l = ctx;
        const char *id = kv->key + strlen("pools/");
        char owner[SANDBOX_OWNER_MAX + 1] = "";
        struct err e;

        if (pool_id_check(id, &e) < 0 || json_parse(kv->value, kv->len, nodes, NODES_MAX, NULL) < 0 || !json_is_object(nodes)) {
                l->all->config.log(l->all->config.ctx, true, NULL, "a record of a pool that cannot be read is left out");
                return true;
        }
        json_str(json_get(nodes, "owner"), owner, sizeof(owner));
        struct pool *p = pool_new(l->all, id, owner);
        if (!p) {
                l->r = err_set(l->e, ERR_RESOURCE_EXHAUSTED, 0, "out of memory");
        } else if (!load_pool(p, nodes)) {
                l->all->config.log(l->all->config.ctx, true, id, "its record cannot be read; its ready sandboxes are ended");
                pool_free(p);
        }
        return l->r == 0;
}

int pool_record_load_all(struct pools *all, struct err *e)
{
        struct loader l = { all, e, 0 };

        store_range(all->config.store, "pools/", load_one, NULL, &l);
        return l.r;
}
