/*
 * /v1/sandboxes and what is done to one as a whole.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "api/http/routes.h"
#include "base/str.h"
#include "base/time.h"

enum { LIMIT_DEFAULT = 100, LIMIT_MAX = 1000 };

/* ---- one of them, answered later ---- */

/* For callbacks of the sandboxes: the call may be over by then. */
static void answer_sandbox(void *ctx, struct sandbox *sb, const struct err *e, int status)
{
        struct request *r = ctx;

        if (!request_gone(r)) {
                struct call *c = call_of(r);

                if (e) {
                        call_error(c, e);
                } else {
                        struct wbuf w = text_new();
                        struct json_put j = json_put_over(&w);

                        put_sandbox(&j, sandbox_info(sb), false);
                        call_json(c, status, &w);
                }
        }
        request_unref(r);
}

static void on_done(void *ctx, struct sandbox *sb, const struct err *e)
{
        answer_sandbox(ctx, sb, e, 200);
}

static void on_created(void *ctx, struct sandbox *sb, const struct err *e)
{
        char location[96];

        if (sb && !request_gone(ctx)) {
                snprintf(location, sizeof(location), "/v1/sandboxes/%s", sandbox_info(sb)->id);
                request_answer_header(ctx, "Location", location);
        }
        answer_sandbox(ctx, sb, e, 201);
}

/* ---- create ---- */

static void create_now(struct call *c)
{
        static const char *const known[] = { "spec", NULL };
        static struct spec spec;
        const struct json_node *body = call_object(c, true);
        struct spec_faults faults;
        const char *key;
        struct err e;

        if (!body || !call_known_fields(c, body, "", known) || !call_idempotency_key(c, &key))
                return;
        size_t cap = request_body(c->request).len + 1;
        char *arena = malloc(cap);
        if (!arena) {
                err_set(&e, ERR_RESOURCE_EXHAUSTED, 0, "out of memory");
                call_error(c, &e);
                return;
        }
        spec = c->api->config.defaults;
        spec.command = NULL;
        if (spec_json_read(json_get(body, "spec"), &spec, arena, cap, &faults, &e) < 0) {
                call_faults(c, &faults, &e);
        } else if (call_check_env(&spec, &e) < 0) {
                call_error(c, &e);
        } else {
                const struct sandbox_request req = {
                        .owner = c->who.name, .request_id = request_id(c->request), .key = key, .spec = &spec
                };

                sandbox_create(c->api->config.sandboxes, &req, on_created, request_ref(c->request));
        }
        free(arena);
}

/* Which classes there are may have changed. */
static void create(struct call *c)
{
        call_with_classes(c, create_now);
}

/* ---- list ---- */

struct bound {
        bool set;
        char op; /* > < = g (>=) l (<=) */
        double value;
};

struct list {
        struct request *request;
        struct bound cpu, memory;
        const char *status, *runtime, *label, *pool, *sort, *cursor;
        bool all, usage, descending;
        uint64_t limit;
        struct sandbox **found;
        size_t count, waiting;
};

static void list_free(void *own)
{
        struct list *l = own;

        free(l->found);
        free(l);
}

/* ">80%", "<=50", "80": at least. */
static bool read_bound(struct call *c, const char *name, struct bound *b)
{
        const char *text = request_query(c->request, name);
        char *end;

        if (!text)
                return true;
        b->op = 'g';
        if (*text == '>' || *text == '<' || *text == '=') {
                b->op = *text++;
                if (*text == '=' && b->op != '=') {
                        b->op = b->op == '>' ? 'g' : 'l';
                        text++;
                }
        }
        b->value = strtod(text, &end);
        if (end != text && *text >= '0' && *text <= '9' && (*end == '\0' || strcmp(end, "%") == 0)) {
                b->set = true;
                return true;
        }
        call_bad_field(c, name, "must be like >80%%");
        return false;
}

static bool within(const struct bound *b, double value)
{
        if (!b->set)
                return true;
        if (value < 0)
                return false;
        switch (b->op) {
        case '>':
                return value > b->value;
        case '<':
                return value < b->value;
        case '=':
                return value == b->value;
        case 'l':
                return value <= b->value;
        default:
                return value >= b->value;
        }
}

static bool has_label(const struct sandbox_info *s, const char *label)
{
        for (size_t i = 0; i < s->label_count; i++)
                if (strcmp(s->labels[i], label) == 0)
                        return true;
        return false;
}

static bool selected(const struct call *c, const struct list *l, const struct sandbox *sb)
{
        const struct sandbox_info *s = sandbox_info(sb);

        if (!call_may_see(c, sb))
                return false;
        if (l->status ? strcmp(lifecycle_name(s->state), l->status) != 0 : !l->all && s->state == SANDBOX_TERMINATED)
                return false;
        if (l->pool && strcmp(s->pool, l->pool) != 0)
                return false;
        return (!l->runtime || strcmp(l->runtime, s->runtime) == 0) && (!l->label || has_label(s, l->label));
}

static double sort_key(const struct list *l, const struct sandbox_info *s)
{
        if (l->sort && strcmp(l->sort, "cpu_usage") == 0)
                return s->usage.cpu_percent;
        if (l->sort && strcmp(l->sort, "memory_usage") == 0)
                return s->usage.now.memory == UINT64_MAX ? -1 : (double)s->usage.now.memory;
        return -(double)s->created_ms; /* age: the youngest first where it ascends */
}

static const struct list *sorting;

static int by_key(const void *a, const void *b)
{
        double x = sort_key(sorting, sandbox_info(*(struct sandbox *const *)a)),
               y = sort_key(sorting, sandbox_info(*(struct sandbox *const *)b));
        int order = x < y ? -1 : x > y;

        return sorting->descending ? -order : order;
}

static void show_list(struct call *c, struct list *l)
{
        struct wbuf w = text_new();
        struct json_put j = json_put_over(&w);
        size_t shown = 0, i = 0;
        char next[24];

        if (l->sort) {
                sorting = l;
                qsort(l->found, l->count, sizeof(struct sandbox *), by_key);
        }
        uint64_t skip = 0;
        if (l->cursor)
                str_parse_u64(l->cursor, &skip);
        json_put_object(&j);
        json_put_key(&j, "sandboxes");
        json_put_array(&j);
        for (uint64_t fit = 0; i < l->count && shown < l->limit; i++) {
                const struct sandbox_info *s = sandbox_info(l->found[i]);

                if (!within(&l->cpu, s->usage.cpu_percent) || !within(&l->memory, s->usage.memory_percent) || fit++ < skip)
                        continue;
                put_sandbox(&j, s, l->usage);
                shown++;
        }
        json_put_end(&j);
        snprintf(next, sizeof(next), "%llu", (unsigned long long)(skip + shown));
        put_text(&j, "nextCursor", i < l->count ? next : NULL);
        json_put_end(&j);
        call_json(c, 200, &w);
}

static void on_looked(void *ctx, struct sandbox *sb, const struct err *e)
{
        struct request *r = ctx;

        (void)sb;
        (void)e; /* what could not be looked at has no figures */
        if (!request_gone(r)) {
                struct call *c = call_of(r);
                struct list *l = c->own;

                if (--l->waiting == 0)
                        show_list(c, l);
        }
        request_unref(r);
}

static bool one_of(struct call *c, const char *name, const char *const *values, const char **out)
{
        *out = request_query(c->request, name);
        if (!*out)
                return true;
        for (const char *const *v = values; *v; v++)
                if (strcmp(*v, *out) == 0)
                        return true;
        call_bad_field(c, name, "is '%.40s', which is none of those that there are", *out);
        return false;
}

static bool read_list(struct call *c, struct list *l)
{
        static const char *const states[] = { "Creating",     "Ready",       "Running",    "Paused", "Checkpointing",
                                              "Checkpointed", "Terminating", "Terminated", "Failed", NULL };
        static const char *const sorts[] = { "cpu_usage", "memory_usage", "age", NULL };
        static const char *const orders[] = { "asc", "desc", NULL };
        const char *order, *nhi = request_query(c->request, "agentNhi");
        uint64_t cursor = 0;
        struct err e;

        l->limit = LIMIT_DEFAULT;
        if (nhi) {
                err_set(&e, ERR_NOT_SUPPORTED, 0, "agentNhi is not available in this version");
                call_error(c, &e);
                return false;
        }
        if (!one_of(c, "status", states, &l->status) || !one_of(c, "sortBy", sorts, &l->sort) || !one_of(c, "order", orders, &order) ||
            !read_bound(c, "cpuUsage", &l->cpu) || !read_bound(c, "memoryUsage", &l->memory) || !call_query_bool(c, "all", &l->all) ||
            !call_query_bool(c, "usage", &l->usage) || !call_query_u64(c, "limit", LIMIT_MAX, &l->limit) ||
            !call_query_u64(c, "cursor", UINT32_MAX, &cursor))
                return false;
        if (l->limit == 0) {
                call_bad_field(c, "limit", "must be a whole number from 1 to %d", LIMIT_MAX);
                return false;
        }
        l->descending = order && strcmp(order, "desc") == 0;
        l->runtime = request_query(c->request, "runtimeClass");
        l->label = request_query(c->request, "label");
        l->pool = request_query(c->request, "pool");
        l->cursor = request_query(c->request, "cursor");
        l->usage |= l->cpu.set || l->memory.set || (l->sort && strcmp(l->sort, "age") != 0);
        return true;
}

static void list(struct call *c)
{
        struct sandboxes *all = c->api->config.sandboxes;
        struct list *l = calloc(1, sizeof(*l));
        size_t total = 0;
        struct err e;

        if (l)
                call_own(c, l, list_free);
        if (l && !read_list(c, l))
                return;
        for (struct sandbox *sb = sandboxes_first(all); sb; sb = sandboxes_next(sb))
                total++;
        if (l)
                l->found = calloc(total + 1, sizeof(struct sandbox *));
        if (!l || !l->found) {
                err_set(&e, ERR_RESOURCE_EXHAUSTED, 0, "out of memory");
                call_error(c, &e);
                return;
        }
        for (struct sandbox *sb = sandboxes_first(all); sb; sb = sandboxes_next(sb))
                if (selected(c, l, sb))
                        l->found[l->count++] = sb;
        if (!l->usage || l->count == 0) {
                show_list(c, l);
                return;
        }
        l->waiting = l->count + 1; /* one for this loop, so that answers that come at once do not end it */
        for (size_t i = 0; i < l->count; i++)
                sandbox_look(l->found[i], false, on_looked, request_ref(c->request));
        on_looked(request_ref(c->request), NULL, NULL);
}

/* ---- one ---- */

static void get(struct call *c)
{
        struct sandbox *sb = call_sandbox(c);

        if (sb)
                on_done(request_ref(c->request), sb, NULL);
}

static void on_status(void *ctx, struct sandbox *sb, const struct err *e)
{
        struct request *r = ctx;

        if (!request_gone(r) && e) {
                call_error(call_of(r), e);
        } else if (!request_gone(r)) {
                const struct sandbox_info *s = sandbox_info(sb);
                struct wbuf w = text_new();
                struct json_put j = json_put_over(&w);

                json_put_object(&j);
                put_text(&j, "sandboxId", s->id);
                put_text(&j, "status", lifecycle_name(s->state));
                put_class(&j, s->choice);
                put_usage(&j, "usage", s);
                put_u64(&j, "execs", s->execs);
                json_put_end(&j);
                call_json(call_of(r), 200, &w);
        }
        request_unref(r);
}

static void status(struct call *c)
{
        struct sandbox *sb = call_sandbox(c);

        if (sb)
                sandbox_look(sb, true, on_status, request_ref(c->request));
}

static void pause(struct call *c)
{
        struct sandbox *sb = call_sandbox(c);

        if (sb)
                sandbox_pause(sb, on_done, request_ref(c->request));
}

static void resume(struct call *c)
{
        struct sandbox *sb = call_sandbox(c);

        if (sb)
                sandbox_resume(sb, on_done, request_ref(c->request));
}

static void terminate(struct call *c)
{
        struct sandbox *sb = call_sandbox(c);
        bool force;

        if (sb && call_query_bool(c, "force", &force))
                sandbox_terminate(sb, on_done, request_ref(c->request));
}

static void renew(struct call *c)
{
        static const char *const known[] = { "ttlSeconds", NULL };
        struct sandbox *sb = call_claimed(c);
        const struct json_node *body = sb ? call_object(c, false) : NULL, *ttl;
        double seconds = 0;

        if (!body || !call_known_fields(c, body, "", known))
                return;
        ttl = json_get(body, "ttlSeconds");
        if (!ttl || (!json_is_null(ttl) && (!json_double(ttl, &seconds) || seconds < 0.001 || seconds * 1000 > UINT32_MAX))) {
                call_bad_field(c, "ttlSeconds", "must be a number of seconds from 0.001 to 4294967, or null");
                return;
        }
        sandbox_renew(sb, (uint64_t)(seconds * 1000), on_done, request_ref(c->request));
}

static void log_line(void *ctx, const struct event *e)
{
        struct wbuf *w = ctx;
        struct json_node nodes[256];
        char when[TIME_TEXT_MAX] = "", code[64];
        const struct json_node *details;
        int64_t exit_code;

        if (json_parse(e->json, strlen(e->json), nodes, 256, NULL) < 0)
                return;
        json_str(json_get(nodes, "time"), when, sizeof(when));
        details = json_get(nodes, "details");
        text_printf(w, "%s %s", when, e->name);
        if (json_str(json_get(details, "execId"), code, sizeof(code)))
                text_printf(w, " %s", code);
        if (json_str(json_get(details, "runtimeClass"), code, sizeof(code)))
                text_printf(w, " %s", code);
        if (json_i64(json_get(details, "exitCode"), &exit_code))
                text_printf(w, " exit=%lld", (long long)exit_code);
        text_printf(w, "\n");
}

/* What happened, then the last of what was written; `tail` lines of it all. */
static void logs(struct call *c)
{
        struct sandbox *sb = call_sandbox(c);
        struct wbuf w = text_new();
        uint64_t tail = UINT32_MAX;
        size_t len;

        if (!sb || !call_query_u64(c, "tail", 1000000, &tail))
                return;
        events_each(c->api->config.events, sandbox_info(sb)->id, log_line, &w);
        sandbox_read_log(sb, &w);
        char *data = text_take(&w, &len), *from = data ? data + len : NULL;
        if (!data) {
                request_answer(c->request, 503, NULL, "", 0);
                return;
        }
        for (uint64_t lines = 0; from > data; from--)
                if (from < data + len && from[-1] == '\n' && ++lines >= tail)
                        break;
        if (tail == 0)
                from = data + len;
        request_answer(c->request, 200, "text/plain; charset=utf-8", from, (size_t)(data + len - from));
        free(data);
}

static const char *const list_query[] = { "status",      "runtimeClass", "agentNhi", "label", "sortBy", "order", "cpuUsage",
                                          "memoryUsage", "limit",        "cursor",   "all",   "usage",  "pool",  NULL };
static const char *const force_query[] = { "force", NULL }, *const tail_query[] = { "tail", NULL };

const struct route sandbox_routes[] = {
        { "POST", "/v1/sandboxes", ROLE_AGENT, ROUTE_BODY, create, NULL, NULL },
        { "GET", "/v1/sandboxes", ROLE_AGENT, 0, list, NULL, list_query },
        { "GET", "/v1/sandboxes/{id}", ROLE_AGENT, 0, get, NULL, NULL },
        { "DELETE", "/v1/sandboxes/{id}", ROLE_AGENT, 0, terminate, NULL, force_query },
        { "GET", "/v1/sandboxes/{id}/status", ROLE_AGENT, 0, status, NULL, NULL },
        { "GET", "/v1/sandboxes/{id}/logs", ROLE_AGENT, 0, logs, NULL, tail_query },
        { "POST", "/v1/sandboxes/{id}/pause", ROLE_AGENT, 0, pause, NULL, NULL },
        { "POST", "/v1/sandboxes/{id}/resume", ROLE_AGENT, 0, resume, NULL, NULL },
        { "POST", "/v1/sandboxes/{id}/renew", ROLE_AGENT, ROUTE_BODY, renew, NULL, NULL },
        { NULL, NULL, ROLE_NONE, 0, NULL, NULL, NULL },
};
