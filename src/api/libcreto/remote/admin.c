/*
 * The service itself: health, API keys, runtime classes.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "api/libcreto/remote/call.h"

static int ask(struct creto_runtime *rt, const char *method, const char *path, struct doc *doc, struct err *e)
{
        struct call c;

        *doc = (struct doc){ 0 };
        if (remote_needed(rt, path, e) < 0)
                return -(int)e->code;
        call_begin(&c, rt->remote, method, path);
        return call_json(&c, doc, e);
}

int creto_health(struct creto_runtime *rt, int *healthy, char **json, struct creto_error *err)
{
        auto_doc doc = { 0 };
        struct err e;

        if (ask(rt, "GET", "/health", &doc, &e) < 0) {
                if (!rt->remote || rt->remote->conn->res.status != 503)
                        return error_failed(err, &e);
                *healthy = 0;
                if (json)
                        *json = strdup("{\"status\":\"unhealthy\"}\n");
                return 0;
        }
        *healthy = json_str_is(json_get(doc.root, "status"), "healthy");
        if (json)
                *json = doc_take(&doc);
        return 0;
}

static void get_key(const struct json_node *n, struct creto_key *k)
{
        doc_text(n, "keyId", k->id, sizeof(k->id));
        doc_text(n, "name", k->name, sizeof(k->name));
        doc_text(n, "role", k->role, sizeof(k->role));
        doc_text(n, "createdAt", k->created_at, sizeof(k->created_at));
        doc_text(n, "expiresAt", k->expires_at, sizeof(k->expires_at));
        doc_text(n, "lastUsedAt", k->last_used_at, sizeof(k->last_used_at));
}

int creto_key_list(struct creto_runtime *rt, struct creto_key **out, size_t *count, char **json, struct creto_error *err)
{
        auto_doc doc = { 0 };
        struct err e;

        if (ask(rt, "GET", "/v1/api-keys", &doc, &e) < 0)
                return error_failed(err, &e);
        const struct json_node *list = json_get(doc.root, "keys");
        struct creto_key *keys = calloc(json_count(list) + 1, sizeof(*keys));
        if (!keys) {
                err_set(&e, ERR_RESOURCE_EXHAUSTED, 0, "out of memory");
                return error_failed(err, &e);
        }
        size_t n = 0;
        for (const struct json_node *m = json_first(list); m; m = json_next(list, m))
                get_key(m, &keys[n++]);
        *out = keys;
        *count = n;
        if (json)
                *json = doc_take(&doc);
        return 0;
}

int creto_key_create(struct creto_runtime *rt, const char *name, const char *role, uint64_t expires_s, struct creto_key *out, char **secret,
                     char **json, struct creto_error *err)
{
        auto_text body = text_new();
        struct json_put j = json_put_over(&body);
        auto_doc doc = { 0 };
        char text[256];
        struct call c;
        struct err e;

        json_put_object(&j);
        json_put_key(&j, "name");
        json_put_string(&j, name);
        json_put_key(&j, "role");
        json_put_string(&j, role);
        if (expires_s) {
                json_put_key(&j, "expiresInSeconds");
                json_put_u64(&j, expires_s);
        }
        json_put_end(&j);
        if (remote_needed(rt, "keys", &e) < 0)
                return error_failed(err, &e);
        call_begin(&c, rt->remote, "POST", "/v1/api-keys");
        c.body = &body;
        if (call_json(&c, &doc, &e) < 0)
                return error_failed(err, &e);
        *out = (struct creto_key){ 0 };
        get_key(doc.root, out);
        doc_text(doc.root, "key", text, sizeof(text));
        *secret = strdup(text);
        explicit_bzero(text, sizeof(text));
        if (json)
                *json = doc_take(&doc);
        return 0;
}

int creto_key_revoke(struct creto_runtime *rt, const char *key_id, struct creto_error *err)
{
        struct call c;
        struct err e;

        if (remote_needed(rt, "keys", &e) < 0)
                return error_failed(err, &e);
        call_begin(&c, rt->remote, "DELETE", "/v1/api-keys/");
        http_segment(&c.req, key_id);
        return call_finish(&c, err, NULL);
}

/* "default, standard" */
static void take_serves(const struct json_node *class, char *out, size_t cap)
{
        const struct json_node *levels = json_get(class, "trustLevels");
        char level[32];
        bool yes;
        size_t n = (size_t)snprintf(out, cap, "%s", json_bool(json_get(class, "default"), &yes) && yes ? "default" : "");

        for (const struct json_node *m = json_first(levels); m && n < cap; m = json_next(levels, m))
                if (json_str(m, level, sizeof(level)))
                        n += (size_t)snprintf(out + n, cap - n, "%s%s", n ? ", " : "", level);
        text_tame(out);
}

static void get_facts(const struct json_node *m, struct creto_runtime_class *c)
{
        const struct json_node *calls = json_get(m, "syscallCoverage"), *cold = json_get(m, "coldStart");
        bool yes;
        double v;

        c->checkpoint = json_bool(json_get(m, "checkpoint"), &yes) && yes;
        c->gpu = json_bool(json_get(m, "gpu"), &yes) && yes;
        c->syscalls = json_double(json_get(calls, "available"), &v) && v > 0 && v < 1e6 ? (unsigned)v : 0;
        c->syscalls_of = json_double(json_get(calls, "of"), &v) && v > 0 && v < 1e6 ? (unsigned)v : 0;
        c->cold_start_ms = json_double(json_get(cold, "medianMs"), &v) ? v : -1;
        c->cold_starts = json_double(json_get(cold, "samples"), &v) && v > 0 && v < 1e6 ? (unsigned)v : 0;
}

int creto_runtime_list(struct creto_runtime *rt, struct creto_runtime_class **out, size_t *count, char **json, struct creto_error *err)
{
        auto_doc doc = { 0 };
        struct err e;

        if (ask(rt, "GET", "/v1/runtimes", &doc, &e) < 0)
                return error_failed(err, &e);
        const struct json_node *list = json_get(doc.root, "runtimes");
        struct creto_runtime_class *classes = calloc(json_count(list) + 1, sizeof(*classes));
        if (!classes) {
                err_set(&e, ERR_RESOURCE_EXHAUSTED, 0, "out of memory");
                return error_failed(err, &e);
        }
        size_t n = 0;
        for (const struct json_node *m = json_first(list); m; m = json_next(list, m), n++) {
                bool yes;

                doc_text(m, "name", classes[n].name, sizeof(classes[n].name));
                doc_text(m, "reason", classes[n].reason, sizeof(classes[n].reason));
                doc_text(m, "driver", classes[n].driver, sizeof(classes[n].driver));
                doc_text(m, "isolation", classes[n].isolation, sizeof(classes[n].isolation));
                doc_text(m, "version", classes[n].version, sizeof(classes[n].version));
                doc_text(m, "hint", classes[n].hint, sizeof(classes[n].hint));
                take_serves(m, classes[n].serves, sizeof(classes[n].serves));
                classes[n].available = json_bool(json_get(m, "available"), &yes) && yes;
                classes[n].enabled = json_bool(json_get(m, "enabled"), &yes) && yes;
                get_facts(m, &classes[n]);
        }
        *out = classes;
        *count = n;
        if (json)
                *json = doc_take(&doc);
        return 0;
}

int creto_runtime_enable(struct creto_runtime *rt, const char *name, int enabled, char **json, struct creto_error *err)
{
        struct call c;
        struct err e;

        if (remote_needed(rt, "runtimes", &e) < 0)
                return error_failed(err, &e);
        call_begin(&c, rt->remote, "POST", "/v1/runtimes/");
        http_segment(&c.req, name);
        http_path(&c.req, enabled ? "/enable" : "/drain");
        return call_finish(&c, err, json);
}
