/*
 * What is not about one sandbox: health, metrics, events, keys, runtime classes.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "api/http/routes.h"
#include "base/clock.h"
#include "base/str.h"
#include "domain/classes.h"
#include "domain/limits.h"

#include "openapi_json.h"

enum { KEEP_ALIVE_MS = 15000, LOOK_MS = 5000 };

static void on_classes_looked(void *ctx)
{
        (void)ctx;
}

/* The shims of containerd that the operator has named: "ok", what is wrong with one, or NULL where there are none. As they were when they were last looked at, which
 * is not long ago where somebody asks regularly. */
static const char *containerd(struct api *api)
{
        const struct ipc_classes *known = sandboxes_classes(api->config.sandboxes);
        const char *said = NULL;

        for (unsigned i = 0; i < api->config.classes->count; i++) {
                const struct runtime_class *class = &api->config.classes->of[i];

                if (!class_has_shim(class) || class_is_built_in(class))
                        continue;
                said = said ? said : "ok";
                for (uint32_t k = 0; k < known->count; k++)
                        if (strcmp(known->of[k].name, class->name) == 0 && !known->of[k].available)
                                said = known->of[k].reason;
        }
        if (said && clock_ms(CLOCK_MONOTONIC) - api->looked_ms >= LOOK_MS) {
                api->looked_ms = clock_ms(CLOCK_MONOTONIC);
                sandboxes_look_classes(api->config.sandboxes, on_classes_looked, NULL);
        }
        return said;
}

static void health(struct call *c)
{
        struct api *api = c->api;
        bool warden = sandboxes_warden_up(api->config.sandboxes), store = api->config.store_ok(api->config.ctx);
        const char *shims = containerd(api);
        bool healthy = warden && store && (!shims || strcmp(shims, "ok") == 0);
        struct wbuf w = text_new();
        struct json_put j = json_put_over(&w);

        json_put_object(&j);
        put_text(&j, "status", healthy ? "healthy" : "unhealthy");
        put_text(&j, "version", CRETO_VERSION);
        json_put_key(&j, "components");
        json_put_object(&j);
        put_text(&j, "warden", warden ? "ok" : "does not answer");
        put_text(&j, "store", store ? "ok" : "cannot be written");
        if (shims)
                put_text(&j, "containerd", shims);
        json_put_end(&j);
        json_put_end(&j);
        call_json(c, healthy ? 200 : 503, &w);
}

static void set_known(struct metrics *m, enum metric which, const char *const *labels, uint64_t value, double unit)
{
        if (value != UINT64_MAX)
                metrics_set(m, which, labels, (double)value / unit);
}

/* Of those that live, as they were when they were last looked at. */
static void set_sandboxes(const struct api *api)
{
        struct metrics *m = api->config.metrics;
        unsigned count = 0;

        for (unsigned i = METRIC_BOX_CPU; i <= METRIC_BOX_PIDS; i++)
                metrics_clear(m, (enum metric)i);
        for (struct sandbox *sb = sandboxes_first(api->config.sandboxes); sb && count < METRICS_SERIES_MAX / 2; sb = sandboxes_next(sb)) {
                const struct sandbox_info *s = sandbox_info(sb);
                const char *const id[] = { s->id, NULL }, *const in[] = { s->id, "receive", NULL },
                                  *const out[] = { s->id, "transmit", NULL };

                if (s->state != SANDBOX_READY && s->state != SANDBOX_RUNNING && s->state != SANDBOX_PAUSED)
                        continue;
                set_known(m, METRIC_BOX_CPU, id, s->usage.now.cpu_us, 1e6);
                set_known(m, METRIC_BOX_MEMORY, id, s->usage.now.memory, 1);
                set_known(m, METRIC_BOX_DISK, id, s->usage.disk_used, 1);
                set_known(m, METRIC_BOX_PIDS, id, s->usage.now.pids, 1);
                metrics_set(m, METRIC_BOX_NETWORK, in, 0); /* there is no network but their own loopback */
                metrics_set(m, METRIC_BOX_NETWORK, out, 0);
                count++;
        }
}

static void set_pools(const struct api *api)
{
        struct metrics *m = api->config.metrics;

        for (struct pool *p = pools_first(api->config.pools); p; p = pools_next(p)) {
                const struct pool_info *i = pool_info(p);
                const char *const id[] = { i->id, NULL };

                metrics_set(m, METRIC_POOL_READY, id, i->ready);
                metrics_set(m, METRIC_POOL_CLAIMED, id, i->claimed);
                metrics_set(m, METRIC_POOL_WARMING, id, i->warming);
                metrics_set(m, METRIC_POOL_MIN_READY, id, (double)i->settings.min_ready);
                metrics_set(m, METRIC_POOL_CLAIM_RATE, id, i->claims_per_minute);
                metrics_add(m, METRIC_POOL_COLD_CLAIMS, id, 0); /* they are there from the beginning */
                metrics_add(m, METRIC_POOL_FAILURES, id, 0);
        }
}

static void show_metrics(struct call *c)
{
        struct api *api = c->api;
        struct wbuf w = text_new();
        size_t len;

        for (unsigned i = 0; i < SANDBOX_STATES; i++) {
                const char *const state[] = { lifecycle_name((enum sandbox_state)i), NULL };
                unsigned n = sandboxes_count(api->config.sandboxes, (enum sandbox_state)i);

                metrics_set(api->config.metrics, METRIC_SANDBOXES, state, n);
                metrics_set(api->config.metrics, METRIC_SANDBOXES_TOTAL, state, n);
        }
        set_sandboxes(api);
        set_pools(api);
        metrics_set(api->config.metrics, METRIC_HTTP_CONNECTIONS, NULL, server_connections(api->server));
        metrics_render(api->config.metrics, &w);
        char *data = text_take(&w, &len);
        if (data)
                request_answer_take(c->request, 200, METRICS_TYPE, data, len);
        else
                request_answer(c->request, 503, NULL, "", 0);
}

struct scrape {
        size_t waiting;
};

static void on_looked(void *ctx, struct sandbox *sb, const struct err *e)
{
        struct request *r = ctx;

        (void)sb;
        (void)e; /* what could not be looked at keeps its last figures */
        if (!request_gone(r)) {
                struct call *c = call_of(r);
                struct scrape *s = c->own;

                if (--s->waiting == 0)
                        show_metrics(c);
        }
        request_unref(r);
}

static void metrics(struct call *c)
{
        struct scrape *s = calloc(1, sizeof(*s));
        struct err e;

        if (!s) {
                err_set(&e, ERR_RESOURCE_EXHAUSTED, 0, "out of memory");
                call_error(c, &e);
                return;
        }
        call_own(c, s, free);
        s->waiting = 1; /* for this loop */
        for (struct sandbox *sb = sandboxes_first(c->api->config.sandboxes); sb; sb = sandboxes_next(sb)) {
                enum sandbox_state state = sandbox_info(sb)->state;

                if (state != SANDBOX_READY && state != SANDBOX_RUNNING && state != SANDBOX_PAUSED)
                        continue;
                s->waiting++;
                sandbox_look(sb, false, on_looked, request_ref(c->request));
        }
        on_looked(request_ref(c->request), NULL, NULL);
}

static void openapi(struct call *c)
{
        request_answer(c->request, 200, "application/json", openapi_json, sizeof(openapi_json) - 1);
}

/* ---- events ---- */

struct stream {
        struct request *request;
        struct event_reader *reader;
        struct timer *alive;
        bool alive_due, began;
        char sandbox[IPC_ID_MAX + 1];
        const char *rest; /* of a piece that did not fit */
        char *text;
        size_t rest_len;
};

static void stream_free(void *own)
{
        struct stream *s = own;

        events_stop(s->reader);
        timer_free(s->alive);
        free(s->text);
        free(s);
}

static void on_event(void *ctx)
{
        request_wake(((struct stream *)ctx)->request);
}

static void on_alive(void *ctx)
{
        struct stream *s = ctx;

        s->alive_due = true;
        request_wake(s->request);
}

static bool wanted(const struct call *c, const struct stream *s, const struct event *e)
{
        if (s->sandbox[0] && strcmp(s->sandbox, e->sandbox) != 0)
                return false;
        return c->who.role >= ROLE_OPERATOR || strcmp(e->owner, c->who.name) == 0;
}

static void next_text(struct call *c, struct stream *s)
{
        struct wbuf w = text_new();
        const struct event *e;

        while ((e = events_next(s->reader)) && !wanted(c, s, e))
                ;
        if (!e)
                return;
        text_printf(&w, "event: %s\nid: %llu\ndata: %s\n\n", e->name, (unsigned long long)e->number, e->json);
        free(s->text);
        s->text = text_take(&w, &s->rest_len);
        s->rest = s->text;
}

static ssize_t read_events(struct request *r, uint8_t *out, size_t cap)
{
        struct call *c = call_of(r);
        struct stream *s = c->own;

        if (s->rest_len == 0)
                next_text(c, s);
        if (s->rest_len == 0) {
                bool say = s->alive_due || !s->began;

                s->began = true;
                s->alive_due = false;
                timer_set(s->alive, KEEP_ALIVE_MS);
                if (say)
                        memcpy(out, ": keep-alive\n\n", 14);
                return say ? 14 : 0;
        }
        size_t n = s->rest_len < cap ? s->rest_len : cap;
        memcpy(out, s->rest, n);
        s->rest += n;
        s->rest_len -= n;
        return (ssize_t)n;
}

static void events(struct call *c)
{
        const char *last = request_header(c->request, "Last-Event-ID"), *id = request_query(c->request, "sandboxId");
        struct stream *s = calloc(1, sizeof(*s));
        uint64_t after = UINT64_MAX;
        struct err e;

        if (last && !str_parse_u64(last, &after)) {
                free(s);
                call_bad_field(c, "Last-Event-ID", "must be the id of an event");
                return;
        }
        if (id && !str_is_id(id, IPC_ID_MAX)) {
                free(s);
                call_bad_field(c, "sandboxId", "must be the id of a sandbox");
                return;
        }
        if (s) {
                s->request = c->request;
                snprintf(s->sandbox, sizeof(s->sandbox), "%s", id ? id : "");
                call_own(c, s, stream_free);
                s->alive = timer_new(c->api->config.loop, on_alive, s);
                s->reader = events_read(c->api->config.events, after, on_event, s);
        }
        if (!s || !s->alive || !s->reader) {
                err_set(&e, ERR_RESOURCE_EXHAUSTED, 0, "out of memory");
                call_error(c, &e);
                return;
        }
        request_stream_out(c->request, 200, "text/event-stream", read_events);
}

/* ---- keys ---- */

static void put_key_fields(struct json_put *j, const struct key_info *k)
{
        put_text(j, "keyId", k->id);
        put_text(j, "name", k->name);
        put_text(j, "role", key_role_name(k->role));
        put_time(j, "createdAt", k->created_ms);
        put_time(j, "expiresAt", k->expires_ms);
        put_time(j, "lastUsedAt", k->used_ms);
}

static void on_key(void *ctx, const struct key_info *info, const char *text, const struct err *e)
{
        struct request *r = ctx;

        if (!request_gone(r) && e) {
                call_error(call_of(r), e);
        } else if (!request_gone(r)) {
                struct wbuf w = text_new();
                struct json_put j = json_put_over(&w);

                json_put_object(&j);
                put_key_fields(&j, info);
                put_text(&j, "key", text);
                json_put_end(&j);
                call_json(call_of(r), 201, &w);
        }
        request_unref(r);
}

static bool is_key_name(const char *s)
{
        size_t n = strspn(s, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-");

        return n > 0 && n <= KEY_NAME_MAX && s[n] == '\0' && !strchr("._-", s[0]);
}

static void make_key(struct call *c)
{
        static const char *const known[] = { "name", "role", "expiresInSeconds", NULL };
        const struct json_node *body = call_object(c, false), *ttl;
        char name[KEY_NAME_MAX + 1], role[16] = "";
        double seconds = 0;

        if (!body || !call_known_fields(c, body, "", known))
                return;
        if (!json_str(json_get(body, "name"), name, sizeof(name)) || !is_key_name(name)) {
                call_bad_field(c, "name", "must be 1 to %d letters, digits, '.', '_' and '-', a letter or digit first", KEY_NAME_MAX);
                return;
        }
        if (!json_str(json_get(body, "role"), role, sizeof(role)) || key_role_of(role) == ROLE_NONE) {
                call_bad_field(c, "role", "must be \"agent\", \"operator\" or \"admin\"");
                return;
        }
        ttl = json_get(body, "expiresInSeconds");
        if (ttl && !json_is_null(ttl) && (!json_double(ttl, &seconds) || seconds < 1 || seconds > 1e10)) {
                call_bad_field(c, "expiresInSeconds", "must be a number from 1 to 1e10");
                return;
        }
        keys_make(c->api->config.keys, name, key_role_of(role), (uint64_t)(seconds * 1000), on_key, request_ref(c->request));
}

static void list_keys(struct call *c)
{
        struct wbuf w = text_new();
        struct json_put j = json_put_over(&w);

        json_put_object(&j);
        json_put_key(&j, "keys");
        json_put_array(&j);
        for (int i = 0; i < keys_count(c->api->config.keys); i++) {
                json_put_object(&j);
                put_key_fields(&j, keys_at(c->api->config.keys, i));
                json_put_end(&j);
        }
        json_put_end(&j);
        json_put_end(&j);
        call_json(c, 200, &w);
}

static void on_revoked(void *ctx, const struct err *e)
{
        struct request *r = ctx;

        if (!request_gone(r) && e)
                call_error(call_of(r), e);
        else if (!request_gone(r))
                call_empty(call_of(r));
        request_unref(r);
}

static void revoke_key(struct call *c)
{
        keys_revoke(c->api->config.keys, c->params[0], on_revoked, request_ref(c->request));
}

/* ---- runtime classes ---- */

/* What the operator has laid down. */
static void put_policy(struct json_put *j, const struct api *api, const struct ipc_class *r)
{
        struct sandbox_class_policy f;

        sandboxes_class_policy(api->config.sandboxes, r->name, &f);
        json_put_key(j, "default");
        json_put_bool(j, f.is_default);
        json_put_key(j, "trustLevels");
        json_put_array(j);
        for (unsigned i = 0; i < TRUST_LEVELS; i++)
                if (f.trust & (1U << i))
                        json_put_string(j, trust_names[i]);
        json_put_end(j);
        put_u64(j, "overheadBytes", f.table ? f.table->overhead : 0);
        json_put_key(j, "requires");
        json_put_array(j);
        for (unsigned i = 0; f.table && i < f.table->require_count; i++)
                json_put_string(j, f.table->requires[i]);
        json_put_end(j);
}

/* What it is and what was seen. */
static void put_facts(struct json_put *j, const struct api *api, const struct ipc_class *r)
{
        unsigned calls = class_syscalls(r->engine, r->version), starts;
        uint64_t median = 0;

        json_put_key(j, "syscallCoverage");
        if (calls) {
                json_put_object(j);
                json_put_key(j, "available");
                json_put_u64(j, calls);
                json_put_key(j, "of");
                json_put_u64(j, CLASS_SYSCALLS);
                json_put_end(j);
        } else {
                json_put_null(j);
        }
        json_put_key(j, "checkpoint");
        json_put_bool(j, r->can & 1U << CAN_CHECKPOINT);
        json_put_key(j, "gpu");
        json_put_bool(j, r->can & 1U << CAN_GPU);
        json_put_key(j, "coldStart");
        starts = sandboxes_cold_start(api->config.sandboxes, r->name, &median);
        if (starts) {
                json_put_object(j);
                json_put_key(j, "medianMs");
                json_put_double(j, (double)median / 1000);
                json_put_key(j, "samples");
                json_put_u64(j, starts);
                json_put_end(j);
        } else {
                json_put_null(j);
        }
}

static void put_runtime(struct json_put *j, const struct api *api, const struct ipc_class *r)
{
        bool up = sandboxes_warden_up(api->config.sandboxes);

        json_put_object(j);
        put_text(j, "name", r->name);
        put_text(j, "driver", r->driver);
        put_text(j, "isolation", r->isolation);
        put_text(j, "engine", r->binary[0] ? r->binary : NULL);
        put_text(j, "version", r->version[0] ? r->version : NULL);
        json_put_key(j, "available");
        json_put_bool(j, up && r->available);
        json_put_key(j, "enabled");
        json_put_bool(j, !sandboxes_drained(api->config.sandboxes, r->name));
        put_policy(j, api, r);
        json_put_key(j, "reason");
        json_put_string(j, up ? r->reason : "creto-warden does not answer");
        json_put_key(j, "hint");
        json_put_string(j, up ? r->hint : "");
        json_put_key(j, "limits");
        json_put_array(j);
        for (unsigned i = 0; i < LIMIT_COUNT; i++)
                if (r->limits & (1U << i))
                        json_put_string(j, limit_table[i].field);
        json_put_end(j);
        json_put_key(j, "capabilities");
        json_put_array(j);
        for (unsigned i = 0; i < CLASS_CANS; i++)
                if (r->can & (1U << i))
                        json_put_string(j, class_can_names[i]);
        json_put_end(j);
        put_facts(j, api, r);
        json_put_end(j);
}

/* Before the warden has said anything there is the one class that is always there. */
static const struct ipc_classes *known_classes(const struct api *api)
{
        static const struct ipc_classes native = { .count = 1, .of = { { .name = "native", .driver = "native" } } };
        const struct ipc_classes *classes = sandboxes_classes(api->config.sandboxes);

        return classes->count > 0 ? classes : &native;
}

static void on_classes(void *ctx)
{
        struct request *r = ctx;

        if (!request_gone(r)) {
                struct call *c = call_of(r);
                const struct ipc_classes *classes = known_classes(c->api);
                struct wbuf w = text_new();
                struct json_put j = json_put_over(&w);

                json_put_object(&j);
                json_put_key(&j, "runtimes");
                json_put_array(&j);
                for (uint32_t i = 0; i < classes->count; i++)
                        put_runtime(&j, c->api, &classes->of[i]);
                json_put_end(&j);
                json_put_end(&j);
                call_json(c, 200, &w);
        }
        request_unref(r);
}

/* What is installed may have changed. */
static void runtimes(struct call *c)
{
        sandboxes_look_classes(c->api->config.sandboxes, on_classes, request_ref(c->request));
}

static void set_drained(struct call *c, bool drained)
{
        const struct ipc_classes *classes = known_classes(c->api);
        struct wbuf w = text_new();
        struct json_put j = json_put_over(&w);
        struct err e;

        if (sandboxes_drain_class(c->api->config.sandboxes, c->params[0], drained, &e) < 0) {
                call_error(c, &e);
                return;
        }
        struct ipc_class unknown = { .available = 0 };
        const struct ipc_class *which = &unknown;
        snprintf(unknown.name, sizeof(unknown.name), "%.*s", IPC_CLASS_MAX, c->params[0]);
        for (uint32_t i = 0; i < classes->count; i++)
                if (strcmp(classes->of[i].name, c->params[0]) == 0)
                        which = &classes->of[i];
        put_runtime(&j, c->api, which);
        call_json(c, 200, &w);
}

static void drain(struct call *c)
{
        set_drained(c, true);
}

static void enable(struct call *c)
{
        set_drained(c, false);
}

static const char *const event_query[] = { "sandboxId", NULL };

const struct route other_routes[] = {
        { "GET", "/health", ROLE_NONE, ROUTE_OPEN | ROUTE_NOW, health, NULL, NULL },
        { "GET", "/openapi.json", ROLE_NONE, ROUTE_OPEN | ROUTE_NOW, openapi, NULL, NULL },
        { "GET", "/metrics", ROLE_OPERATOR, ROUTE_NOW, metrics, NULL, NULL },
        { "GET", "/v1/events", ROLE_AGENT, ROUTE_NOW, events, NULL, event_query },
        { "POST", "/v1/api-keys", ROLE_ADMIN, ROUTE_BODY | ROUTE_NOW, make_key, NULL, NULL },
        { "GET", "/v1/api-keys", ROLE_ADMIN, ROUTE_NOW, list_keys, NULL, NULL },
        { "DELETE", "/v1/api-keys/{keyId}", ROLE_ADMIN, ROUTE_NOW, revoke_key, NULL, NULL },
        { "GET", "/v1/runtimes", ROLE_AGENT, ROUTE_NOW, runtimes, NULL, NULL },
        { "POST", "/v1/runtimes/{name}/drain", ROLE_OPERATOR, ROUTE_NOW, drain, NULL, NULL },
        { "POST", "/v1/runtimes/{name}/enable", ROLE_OPERATOR, ROUTE_NOW, enable, NULL, NULL },
        { NULL, NULL, ROLE_NONE, 0, NULL, NULL, NULL },
};
