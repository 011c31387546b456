/*
 * From the head of a request to its route: who calls, may it, how often, and which body follows.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "api/http/routes.h"
#include "base/clock.h"
#include "base/log.h"

enum { SEGMENTS_MAX = 8, TOKEN_MAX = 8192 };

/* ---- limits of callers: a bucket of tokens each, in a table that forgets who has not called for long ---- */

struct limiter {
        uint32_t hash;
        uint64_t at_ms;
        double tokens;
};

static uint32_t hash_of(const char *s)
{
        uint32_t h = 2166136261U;

        for (; *s; s++)
                h = (h ^ (uint8_t)*s) * 16777619U;
        return h;
}

/* Two callers whose names fall together share a bucket; of 1,024 that is rare, and fair enough. */
static bool limited(struct api *api, const char *name)
{
        uint32_t hash = hash_of(name);
        struct limiter *l = &api->limiters[hash % API_LIMITERS];
        uint64_t now = clock_ms(CLOCK_MONOTONIC);

        if (api->config.requests_per_second <= 0)
                return false;
        if (l->hash != hash || l->at_ms == 0)
                *l = (struct limiter){ hash, now, api->config.burst };
        l->tokens += (double)(now - l->at_ms) / 1000 * api->config.requests_per_second;
        if (l->tokens > api->config.burst)
                l->tokens = api->config.burst;
        l->at_ms = now;
        if (l->tokens < 1)
                return true;
        l->tokens -= 1;
        return false;
}

/* ---- who calls ---- */

static const char *bearer(const struct request *r)
{
        const char *authorization = request_header(r, "Authorization"), *key = request_header(r, "X-API-Key");

        if (authorization && strncasecmp(authorization, "Bearer ", 7) == 0)
                return authorization + 7;
        return key;
}

static int authenticate(const struct api *api, const struct request *r, struct principal *who, struct err *e)
{
        const struct peer *peer = request_peer(r);
        const char *token = bearer(r);

        if (token && strncmp(token, "creto_", 6) != 0 && api->config.token)
                return api->config.token(api->config.ctx, token, who, e);
        if (token)
                return keys_check(api->config.keys, token, who, e);
        if (peer->kind == SERVER_UNIX) {
                who->role = api->config.socket_role(api->config.ctx, peer->uid);
                if (peer->uid == 0)
                        snprintf(who->name, sizeof(who->name), "root");
                else
                        snprintf(who->name, sizeof(who->name), "uid:%u", peer->uid);
                if (who->role != ROLE_NONE)
                        return 0;
                err_set(e, ERR_UNAUTHENTICATED, 0, "user %u has no role here", peer->uid);
                return err_hint(e, "the operator gives one in auth.socket_roles, or an API key");
        }
        if (peer->loopback && api->config.no_auth_on_loopback) {
                *who = (struct principal){ ROLE_ADMIN, "loopback" };
                return 0;
        }
        err_set(e, ERR_UNAUTHENTICATED, 0, "no credential came with the request");
        return err_hint(e, "send 'Authorization: Bearer KEY'; 'creto-runtime keys create' makes one");
}

/* ---- which route ---- */

struct segments {
        unsigned count;
        const char *at[SEGMENTS_MAX];
        size_t len[SEGMENTS_MAX];
};

static bool split(const char *path, struct segments *s)
{
        s->count = 0;
        if (*path != '/')
                return false;
        while (*path == '/') {
                size_t len = strcspn(++path, "/");

                if (s->count == SEGMENTS_MAX)
                        return false;
                s->at[s->count] = path;
                s->len[s->count++] = len;
                path += len;
        }
        return true;
}

static bool is_param(const struct segments *s, unsigned i)
{
        return s->len[i] > 0 && s->at[i][0] == '{';
}

static bool matches(const struct segments *want, const struct segments *got)
{
        if (want->count != got->count)
                return false;
        for (unsigned i = 0; i < want->count; i++)
                if (!is_param(want, i) && (want->len[i] != got->len[i] || memcmp(want->at[i], got->at[i], want->len[i]) != 0))
                        return false;
        return true;
}

static bool take_params(struct call *c, const struct segments *want, const struct segments *got)
{
        unsigned n = 0;

        for (unsigned i = 0; i < want->count; i++) {
                if (!is_param(want, i))
                        continue;
                if (got->len[i] == 0 || got->len[i] >= sizeof(c->params[0]))
                        return false;
                memcpy(c->params[n], got->at[i], got->len[i]);
                c->params[n++][got->len[i]] = '\0';
        }
        return true;
}

static const struct route *const tables[] = { sandbox_routes, exec_routes, file_routes, pool_routes, claim_routes, other_routes };

/* *allowed gets the methods that the path has. */
static const struct route *find_route(struct call *c, const char *method, const char *path, char *allowed, size_t cap)
{
        struct segments got, want;
        size_t at = 0;

        allowed[0] = '\0';
        if (!split(path, &got))
                return NULL;
        for (size_t t = 0; t < sizeof(tables) / sizeof(tables[0]); t++)
                for (const struct route *r = tables[t]; r->method; r++) {
                        if (!split(r->path, &want) || !matches(&want, &got))
                                continue;
                        if (strcmp(r->method, method) == 0)
                                return take_params(c, &want, &got) ? r : NULL;
                        if (at < cap)
                                at += (size_t)snprintf(allowed + at, cap - at, "%s%s", at ? ", " : "", r->method);
                }
        return NULL;
}

/* ---- the call ---- */

static void call_release(void *ctx)
{
        struct call *c = ctx;

        if (c->release)
                c->release(c->own);
        free(c->nodes);
        free(c);
}

struct call *call_of(const struct request *r)
{
        return request_context(r);
}

void call_own(struct call *c, void *own, void (*release)(void *own))
{
        c->own = own;
        c->release = release;
}

struct query_check {
        const struct route *route;
        uint64_t seen; /* a bit a name of the route's */
        char bad[64];
        const char *why;
};

static void check_query(void *ctx, const char *name)
{
        struct query_check *q = ctx;

        const char *const *known = q->route->query;
        unsigned i = 0;

        while (known && known[i] && strcmp(known[i], name) != 0)
                i++;
        bool is_known = known && known[i], twice = is_known && (q->seen >> i & 1);
        if (is_known)
                q->seen |= 1ULL << i;
        if (is_known && !twice)
                return;
        snprintf(q->bad, sizeof(q->bad), "%.60s", *name ? name : "?");
        q->why = twice ? "is given twice" : "is not known here";
}

static int judge(struct call *c, struct err *e)
{
        struct request *r = c->request;
        char allowed[64];

        c->route = find_route(c, request_method(r), request_path(r), allowed, sizeof(allowed));
        bool open = c->route && (c->route->flags & ROUTE_OPEN);
        if (!open && authenticate(c->api, r, &c->who, e) < 0)
                return -(int)e->code;
        if (!open && limited(c->api, c->who.name)) {
                err_set(e, ERR_RATE_LIMITED, 0, "%s sends more than %g requests a second", c->who.name, c->api->config.requests_per_second);
                request_answer_header(r, "Retry-After", "1");
                return err_hint(e, "wait, or ask the operator for more (limits.requests_per_second)");
        }
        if (!c->route && allowed[0]) {
                request_answer_header(r, "Allow", allowed);
                err_set(e, ERR_INVALID_SPEC, 0, "%s %.200s: that path takes %s", request_method(r), request_path(r), allowed);
                return err_hint(e, "/openapi.json says what there is");
        }
        if (!c->route) {
                err_set(e, ERR_SANDBOX_NOT_FOUND, 0, "%s %.200s: there is nothing at that path", request_method(r), request_path(r));
                return err_hint(e, "/openapi.json says what there is");
        }
        if (c->who.role < c->route->least) {
                err_set(e, ERR_AUTHORIZATION_DENIED, 0, "%s is %s, and that needs %s", c->who.name, key_role_name(c->who.role),
                        key_role_name(c->route->least));
                return err_hint(e, "use a key with that role");
        }
        struct query_check q = { .route = c->route };
        request_each_query(r, check_query, &q);
        if (q.bad[0])
                return err_set(e, ERR_INVALID_SPEC, 0, "the query '%s' %s", q.bad, q.why);
        return 0;
}

/* ---- waiting until what was there before is taken over ---- */

struct parked {
        struct parked *next;
        struct request *request;
};

static void go(struct request *r)
{
        struct call *c = call_of(r);

        c->route->run(c);
}

static void go_or_park(struct request *r)
{
        struct call *c = call_of(r);
        struct parked *p;

        if ((c->route->flags & ROUTE_NOW) || c->api->settled || !(p = malloc(sizeof(*p)))) {
                go(r);
                return;
        }
        *p = (struct parked){ c->api->parked, request_ref(r) };
        c->api->parked = p;
}

void api_settled(struct api *api)
{
        struct parked *p = api->parked;

        api->settled = true;
        api->parked = NULL;
        while (p) {
                struct parked *next = p->next;

                if (!request_gone(p->request))
                        go(p->request);
                request_unref(p->request);
                free(p);
                p = next;
        }
}

void api_on_head(void *ctx, struct request *r)
{
        struct api *api = ctx;
        struct call *c = calloc(1, sizeof(*c));
        struct err e;

        if (!c) {
                request_answer(r, 503, NULL, "", 0);
                return;
        }
        *c = (struct call){ .api = api, .request = r };
        request_set_context(r, c, call_release);
        if (judge(c, &e) < 0)
                call_error(c, &e);
        else if (c->route->head)
                c->route->head(c);
        else
                request_take(r, go_or_park);
}

void api_on_answer(void *ctx, struct request *r)
{
        const struct api *api = ctx;
        const struct call *c = call_of(r);
        bool changes = strcmp(request_method(r), "GET") != 0;
        int status = request_status(r);
        char text[2][24];

        if (c)
                metrics_http(api->config.metrics, request_method(r), c->route ? c->route->path : "none", status,
                             (double)request_age_us(r) / 1e6);
        enum log_level level = status >= 500 ? LOG_WARNING : changes ? LOG_INFO : LOG_DEBUG;
        if (!c || !log_on(level))
                return;
        snprintf(text[0], sizeof(text[0]), "%d", status);
        snprintf(text[1], sizeof(text[1]), "%llu", (unsigned long long)request_age_us(r));
        log_event(level, "request", "method", request_method(r), "path", request_path(r), "status", text[0], "us", text[1], "caller",
                  c->who.name, "request", request_id(r), "traceparent", request_header(r, "traceparent"));
}

int api_new(const struct api_config *config, struct api **out, struct err *e)
{
        struct api *api = calloc(1, sizeof(*api));

        if (api)
                api->limiters = calloc(API_LIMITERS, sizeof(*api->limiters));
        if (!api || !api->limiters) {
                free(api);
                return err_set(e, ERR_RESOURCE_EXHAUSTED, 0, "out of memory");
        }
        api->config = *config;
        *out = api;
        return 0;
}

void api_set_server(struct api *api, struct server *server)
{
        api->server = server;
}
