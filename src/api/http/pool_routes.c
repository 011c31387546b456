/*
 * /v1/warm-pools: what an operator does with a pool. Claims are in claim_routes.c.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "api/http/pool_body.h"

enum { LIMIT_DEFAULT = 100, LIMIT_MAX = 1000 };

/* ---- showing ---- */

static void put_scaling(struct json_put *j, const struct pool_settings *s)
{
        json_put_key(j, "autoScaling");
        json_put_object(j);
        json_put_key(j, "enabled");
        json_put_bool(j, s->auto_scaling);
        put_u64(j, "headroom", s->headroom);
        put_u64(j, "scaleDownSeconds", s->scale_down_s);
        json_put_end(j);
}

static void put_failure(struct json_put *j, const struct pool_info *p)
{
        json_put_key(j, "lastError");
        if (p->failure == ERR_NONE) {
                json_put_null(j);
                return;
        }
        json_put_object(j);
        put_text(j, "code", err_code_name(p->failure));
        put_text(j, "message", p->failure_text);
        put_time(j, "at", p->failed_ms);
        put_time(j, "retryAt", p->retry_ms);
        json_put_end(j);
}

static void put_pool(struct json_put *j, const struct pool_info *p)
{
        json_put_object(j);
        put_text(j, "id", p->id);
        put_text(j, "owner", p->owner);
        put_text(j, "state", pool_state_name(p->state));
        put_class(j, p->choice);
        json_put_key(j, "template");
        json_put_raw(j, p->spec, p->spec_len);
        put_u64(j, "minReady", p->settings.min_ready);
        put_u64(j, "maxReady", p->settings.max_ready);
        put_u64(j, "maxAgeSeconds", p->settings.max_age_s ? p->settings.max_age_s : UINT64_MAX);
        json_put_key(j, "reusable");
        json_put_bool(j, p->settings.reusable);
        put_scaling(j, &p->settings);
        put_time(j, "createdAt", p->created_ms);
        put_u64(j, "readyCount", p->ready);
        put_u64(j, "claimedCount", p->claimed);
        put_u64(j, "warmingCount", p->warming);
        put_u64(j, "targetReady", p->target);
        put_failure(j, p);
        json_put_end(j);
}

/* Takes the reference. */
static void answer_pool(struct request *r, struct pool *p, const struct err *e, int status)
{
        if (!request_gone(r) && e) {
                call_error(call_of(r), e);
        } else if (!request_gone(r)) {
                struct wbuf w = text_new();
                struct json_put j = json_put_over(&w);

                put_pool(&j, pool_info(p));
                call_json(call_of(r), status, &w);
        }
        request_unref(r);
}

static void on_done(void *ctx, struct pool *p, const struct err *e)
{
        answer_pool(ctx, p, e, 200);
}

static void on_created(void *ctx, struct pool *p, const struct err *e)
{
        char location[96];

        if (!e && !request_gone(ctx)) {
                snprintf(location, sizeof(location), "/v1/warm-pools/%s", pool_info(p)->id);
                request_answer_header(ctx, "Location", location);
        }
        answer_pool(ctx, p, e, 201);
}

static void on_deleted(void *ctx, struct pool *p, const struct err *e)
{
        struct request *r = ctx;

        (void)p;
        if (!request_gone(r) && e)
                call_error(call_of(r), e);
        else if (!request_gone(r))
                call_empty(call_of(r));
        request_unref(r);
}

struct pool *call_pool(struct call *c)
{
        struct pool *p;
        struct err e;

        if (pool_id_check(c->params[0], &e) == 0 && (p = pools_find(c->api->config.pools, c->params[0])))
                return p;
        err_set(&e, ERR_POOL_NOT_FOUND, 0, "no pool '%.64s'", c->params[0]);
        err_hint(&e, "creto-runtime pool list");
        call_error(c, &e);
        return NULL;
}

/* ---- making and changing ---- */

static void create_now(struct call *c)
{
        static struct spec spec;
        const struct json_node *body = call_object(c, false);
        struct pool_body b = { 0 };
        char *arena = NULL;
        const char *key;
        struct err e;

        if (!body || !call_idempotency_key(c, &key)) /* there is no more to it: a pool's id is such a key */
                return;
        spec = c->api->config.defaults;
        spec.command = NULL;
        pool_settings_default(&b.settings);
        pool_body_read(&b, POOL_CREATES, request_body(c->request), body);
        if (pool_body_spec(&b, &spec, &arena, &e) < 0) {
                call_faults(c, &b.faults, &e);
        } else if (call_check_env(&spec, &e) < 0) {
                call_error(c, &e);
        } else {
                const struct pool_request req = { .id = b.id, .owner = c->who.name, .spec = &spec, .settings = b.settings };

                pool_create(c->api->config.pools, &req, on_created, request_ref(c->request));
        }
        free(arena);
        pool_body_release(&b);
}

static void create(struct call *c)
{
        call_with_classes(c, create_now);
}

struct change {
        struct request *request;
        enum pool_state state;
};

static void on_updated(void *ctx, struct pool *p, const struct err *e)
{
        struct change *change = ctx;

        if (e)
                answer_pool(change->request, p, e, 200);
        else
                pool_set_state(p, change->state, on_done, change->request);
        free(change);
}

static void update(struct call *c)
{
        struct pool *p = call_pool(c);
        const struct json_node *body = p ? call_object(c, false) : NULL;
        struct pool_body b = { 0 };
        struct change *change;
        struct err e;

        if (!body)
                return;
        b.settings = pool_info(p)->settings;
        pool_body_read(&b, POOL_UPDATES, request_body(c->request), body);
        if (pool_body_check(&b, &e) < 0) {
                call_faults(c, &b.faults, &e);
        } else if (!b.has_state) {
                pool_update(p, &b.settings, on_done, request_ref(c->request));
        } else if (!(change = malloc(sizeof(*change)))) {
                err_set(&e, ERR_RESOURCE_EXHAUSTED, 0, "out of memory");
                call_error(c, &e);
        } else {
                *change = (struct change){ request_ref(c->request), b.state };
                pool_update(p, &b.settings, on_updated, change);
        }
        pool_body_release(&b);
}

static void drain(struct call *c)
{
        struct pool *p = call_pool(c);

        if (p)
                pool_set_state(p, POOL_DRAINING, on_done, request_ref(c->request));
}

static void delete (struct call *c)
{
        struct pool *p = call_pool(c);

        if (p)
                pool_delete(p, on_deleted, request_ref(c->request));
}

/* ---- by number ---- */

/* {"count":N}; `otherwise` where it is not there, 0: it must be. */
static bool read_count(struct call *c, unsigned otherwise, unsigned *out)
{
        static const char *const known[] = { "count", NULL };
        const struct json_node *body = call_object(c, otherwise > 0), *count;
        uint64_t n = otherwise;

        if (!body || !call_known_fields(c, body, "", known))
                return false;
        count = json_get(body, "count");
        if ((count && !json_u64(count, &n)) || n == 0 || n > UINT32_MAX) {
                call_bad_field(c, "count", "must be a whole number from 1 to %u", UINT32_MAX);
                return false;
        }
        *out = (unsigned)n;
        return true;
}

static void answer_number(struct call *c, const char *name, unsigned n)
{
        struct wbuf w = text_new();
        struct json_put j = json_put_over(&w);

        json_put_object(&j);
        put_u64(&j, name, n);
        json_put_end(&j);
        call_json(c, 200, &w);
}

static void evict(struct call *c)
{
        struct pool *p = call_pool(c);
        unsigned count;

        if (p && read_count(c, 0, &count))
                answer_number(c, "evicted", pool_evict(p, count));
}

static void spawn(struct call *c)
{
        struct pool *p = call_pool(c);
        unsigned count, begun;
        struct err e;

        if (!p || !read_count(c, 1, &count))
                return;
        if (pool_spawn(p, count, &begun, &e) < 0)
                call_error(c, &e);
        else
                answer_number(c, "spawning", begun);
}

/* ---- looking ---- */

static void list(struct call *c)
{
        uint64_t limit = LIMIT_DEFAULT, skip = 0, at = 0, shown = 0;
        char next[24];

        if (!call_query_u64(c, "limit", LIMIT_MAX, &limit) || !call_query_u64(c, "cursor", UINT32_MAX, &skip))
                return;
        if (limit == 0) {
                call_bad_field(c, "limit", "must be a whole number from 1 to %d", LIMIT_MAX);
                return;
        }
        struct wbuf w = text_new();
        struct json_put j = json_put_over(&w);
        struct pool *p = pools_first(c->api->config.pools);
        json_put_object(&j);
        json_put_key(&j, "pools");
        json_put_array(&j);
        for (; p && shown < limit; p = pools_next(p))
                if (at++ >= skip) {
                        put_pool(&j, pool_info(p));
                        shown++;
                }
        json_put_end(&j);
        snprintf(next, sizeof(next), "%llu", (unsigned long long)at);
        put_text(&j, "nextCursor", p ? next : NULL);
        json_put_end(&j);
        call_json(c, 200, &w);
}

static void get(struct call *c)
{
        struct pool *p = call_pool(c);

        if (p)
                answer_pool(request_ref(c->request), p, NULL, 200);
}

static void stats(struct call *c)
{
        struct pool *p = call_pool(c);

        if (!p)
                return;
        const struct pool_info *i = pool_info(p);
        struct wbuf w = text_new();
        struct json_put j = json_put_over(&w);
        json_put_object(&j);
        put_u64(&j, "readyCount", i->ready);
        put_u64(&j, "claimedCount", i->claimed);
        put_u64(&j, "warmingCount", i->warming);
        put_u64(&j, "claimsPerMinute", i->claims_per_minute);
        json_put_key(&j, "avgClaimLatencyMs");
        json_put_double(&j, i->mean_ms);
        json_put_key(&j, "p99ClaimLatencyMs");
        json_put_double(&j, i->p99_ms);
        put_u64(&j, "oldestSandboxAgeSeconds", i->oldest_s);
        put_u64(&j, "minReady", i->settings.min_ready);
        put_u64(&j, "maxReady", i->settings.max_ready);
        json_put_end(&j);
        call_json(c, 200, &w);
}

struct logging {
        struct json_put j;
        uint64_t count, skip;
};

static void count_entry(void *ctx, const struct pool_log *entry)
{
        struct logging *l = ctx;

        (void)entry;
        l->count++;
}

static void put_entry(void *ctx, const struct pool_log *entry)
{
        struct logging *l = ctx;

        if (l->skip > 0) {
                l->skip--;
                return;
        }
        json_put_object(&l->j);
        put_time(&l->j, "at", entry->at_ms);
        put_text(&l->j, "phase", entry->phase);
        put_text(&l->j, "level", entry->bad ? "error" : "info");
        put_text(&l->j, "sandboxId", entry->sandbox);
        put_text(&l->j, "code", entry->code != ERR_NONE ? err_code_name(entry->code) : NULL);
        json_put_key(&l->j, "message");
        json_put_string(&l->j, entry->text);
        json_put_end(&l->j);
}

static void logs(struct call *c)
{
        static const char *const phases[] = { "Warming", "Ready", "Claimed", "Evicted", "Scaling", "Pool", NULL };
        struct pool *p = call_pool(c);
        const char *phase = request_query(c->request, "phase");
        uint64_t limit = POOL_LOG_MAX;
        const char *const *known = phases;

        if (!p || !call_query_u64(c, "limit", POOL_LOG_MAX, &limit))
                return;
        while (phase && *known && strcmp(*known, phase) != 0)
                known++;
        if (!*known) {
                call_bad_field(c, "phase", "is '%.40s', which is none of those that there are", phase);
                return;
        }
        struct wbuf w = text_new();
        struct logging l = { .j = json_put_over(&w) };
        pool_each_log(p, phase, count_entry, &l);
        l.skip = l.count > limit ? l.count - limit : 0;
        json_put_object(&l.j);
        json_put_key(&l.j, "entries");
        json_put_array(&l.j);
        pool_each_log(p, phase, put_entry, &l);
        json_put_end(&l.j);
        json_put_end(&l.j);
        call_json(c, 200, &w);
}

static const char *const page_query[] = { "limit", "cursor", NULL }, *const log_query[] = { "phase", "limit", NULL };

const struct route pool_routes[] = {
        { "POST", "/v1/warm-pools", ROLE_OPERATOR, ROUTE_BODY, create, NULL, NULL },
        { "GET", "/v1/warm-pools", ROLE_AGENT, 0, list, NULL, page_query },
        { "GET", "/v1/warm-pools/{id}", ROLE_AGENT, 0, get, NULL, NULL },
        { "PATCH", "/v1/warm-pools/{id}", ROLE_OPERATOR, ROUTE_BODY, update, NULL, NULL },
        { "DELETE", "/v1/warm-pools/{id}", ROLE_OPERATOR, 0, delete, NULL, NULL },
        { "POST", "/v1/warm-pools/{id}/drain", ROLE_OPERATOR, 0, drain, NULL, NULL },
        { "POST", "/v1/warm-pools/{id}/evict", ROLE_OPERATOR, ROUTE_BODY, evict, NULL, NULL },
        { "POST", "/v1/warm-pools/{id}/spawn", ROLE_OPERATOR, ROUTE_BODY, spawn, NULL, NULL },
        { "GET", "/v1/warm-pools/{id}/stats", ROLE_AGENT, 0, stats, NULL, NULL },
        { "GET", "/v1/warm-pools/{id}/logs", ROLE_OPERATOR, 0, logs, NULL, log_query },
        { NULL, NULL, ROLE_NONE, 0, NULL, NULL, NULL },
};
