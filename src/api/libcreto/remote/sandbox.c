/*
 * Sandboxes of a service: made, shown, listed, changed, ended.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include "api/libcreto/remote/call.h"

enum { PAGE = 1000 };

/* ---- spawn ---- */

/* Without it a connection that breaks before the answer would leave open whether there is a sandbox. */
void remote_new_key(char out[IDEMPOTENCY_KEY_CAP])
{
        uint64_t raw[2] = { 0, 0 };

        if (getrandom(raw, sizeof(raw), 0) != (ssize_t)sizeof(raw))
                abort();
        snprintf(out, IDEMPOTENCY_KEY_CAP, "lib-%016llx%016llx", (unsigned long long)raw[0], (unsigned long long)raw[1]);
}

static void take_words(const struct json_node *list, char *out, size_t cap)
{
        size_t at = 0;

        out[0] = '\0';
        for (const struct json_node *m = json_first(list); m && at < cap; m = json_next(list, m)) {
                char word[CHOICE_NOTICE_MAX + 1];

                if (json_str(m, word, sizeof(word)))
                        at += (size_t)snprintf(out + at, cap - at, "%s%s", at ? ", " : "", word);
        }
        text_tame(out);
}

int remote_spawn(struct creto_runtime *rt, const struct creto_option *options, size_t count, struct creto_sandbox *sb, struct err *e)
{
        struct spec *spec = malloc(sizeof(*spec));
        auto_text body = text_new();
        auto_doc doc = { 0 };
        char key[IDEMPOTENCY_KEY_CAP];
        struct call c;

        int r = spec ? remote_spec(rt->remote, options, count, spec, &body, e) : err_set(e, ERR_RESOURCE_EXHAUSTED, 0, "out of memory");
        if (r == 0)
                sb->timeout_ms = (uint32_t)spec->timeout_ms;
        free(spec);
        if (r < 0)
                return r;
        remote_new_key(key);
        call_begin(&c, rt->remote, "POST", "/v1/sandboxes");
        c.body = &body;
        c.idempotency_key = key;
        c.again = true;
        c.timeout_ms = CALL_LONG_MS;
        if (call_json(&c, &doc, e) < 0)
                return -(int)e->code;
        doc_text(doc.root, "sandboxId", sb->id, sizeof(sb->id));
        take_words(json_get(doc.root, "notEnforced"), sb->missing, sizeof(sb->missing));
        take_words(json_get(doc.root, "notices"), sb->notice, sizeof(sb->notice));
        doc_text(doc.root, "runtimeClass", sb->choice.name, sizeof(sb->choice.name));
        doc_text(doc.root, "requestedRuntimeClass", sb->choice.requested, sizeof(sb->choice.requested));
        return sb->id[0] ? 0 : err_set(e, ERR_BACKEND_UNAVAILABLE, 0, "creto-runtime at %s gave no sandbox", rt->remote->host.text);
}

int creto_sandbox_open(struct creto_runtime *rt, const char *id, struct creto_sandbox **out, struct creto_error *err)
{
        struct creto_sandbox *sb = calloc(1, sizeof(*sb));
        struct err e;
        int r = remote_needed(rt, "creto_sandbox_open", &e);

        if (r == 0 && (!*id || strlen(id) >= sizeof(sb->id)))
                r = err_set(&e, ERR_SANDBOX_NOT_FOUND, 0, "no sandbox '%.64s'", id);
        if (r == 0 && !sb)
                r = err_set(&e, ERR_RESOURCE_EXHAUSTED, 0, "out of memory");
        if (r < 0) {
                free(sb);
                return error_failed(err, &e);
        }
        sb->rt = rt;
        snprintf(sb->id, sizeof(sb->id), "%s", id);
        *out = sb;
        return 0;
}

/* ---- asking about one ---- */

static void begin(struct call *c, const struct creto_sandbox *sb, const char *method, const char *rest)
{
        call_begin(c, sb->rt->remote, method, "/v1/sandboxes/");
        http_segment(&c->req, sb->id);
        if (rest)
                http_path(&c->req, rest);
}

static int needed(const struct creto_sandbox *sb, const char *what, struct creto_error *err)
{
        struct err e;

        return remote_needed(sb->rt, what, &e) < 0 ? error_failed(err, &e) : 0;
}

static uint64_t get_u64(const struct json_node *n, const char *key)
{
        uint64_t v;

        return json_u64(json_get(n, key), &v) ? v : UINT64_MAX;
}

static double get_percent(const struct json_node *n, const char *key)
{
        double v;

        return json_double(json_get(n, key), &v) ? v : -1;
}

static struct creto_usage get_usage(const struct json_node *n)
{
        return (struct creto_usage){ .memory_bytes = get_u64(n, "memoryBytes"),
                                     .memory_peak_bytes = get_u64(n, "memoryPeakBytes"),
                                     .cpu_us = get_u64(n, "cpuTimeMicros"),
                                     .throttled_us = get_u64(n, "throttledMicros"),
                                     .pids = get_u64(n, "pids"),
                                     .oom_kills = get_u64(n, "oomKills"),
                                     .forks_refused = get_u64(n, "forksRefused") };
}

static void get_info(const struct json_node *n, struct creto_info *info)
{
        const struct json_node *spec = json_get(n, "spec"), *usage = json_get(n, "usage");

        *info = (struct creto_info){ .cpu_percent = -1, .memory_percent = -1 };
        doc_text(n, "sandboxId", info->id, sizeof(info->id));
        doc_text(n, "status", info->status, sizeof(info->status));
        doc_text(n, "runtimeClass", info->runtime, sizeof(info->runtime));
        doc_text(n, "owner", info->owner, sizeof(info->owner));
        doc_text(n, "poolId", info->pool, sizeof(info->pool));
        doc_text(n, "attestationHash", info->attestation_hash, sizeof(info->attestation_hash));
        doc_text(spec, "image", info->image, sizeof(info->image));
        info->created_ms = doc_time(n, "createdAt");
        info->has_usage = json_is_object(usage);
        info->cpu_percent = get_percent(usage, "cpuUsagePercent");
        info->memory_percent = get_percent(usage, "memoryUsagePercent");
        info->usage = get_usage(usage);
}

int creto_get(struct creto_sandbox *sb, struct creto_info *info, char **json, struct creto_error *err)
{
        auto_doc doc = { 0 };
        struct call c;
        struct err e;

        if (needed(sb, "creto_get", err) < 0)
                return -err->code;
        begin(&c, sb, "GET", NULL);
        if (call_json(&c, &doc, &e) < 0)
                return error_failed(err, &e);
        get_info(doc.root, info);
        if (json)
                *json = doc_take(&doc);
        return 0;
}

int creto_status(struct creto_sandbox *sb, struct creto_status *status, char **json, struct creto_error *err)
{
        auto_doc doc = { 0 };
        struct call c;
        struct err e;
        uint64_t execs;

        if (needed(sb, "creto_status", err) < 0)
                return -err->code;
        begin(&c, sb, "GET", "/status");
        if (call_json(&c, &doc, &e) < 0)
                return error_failed(err, &e);
        const struct json_node *usage = json_get(doc.root, "usage");
        *status = (struct creto_status){ .cpu_percent = get_percent(usage, "cpuUsagePercent"),
                                         .memory_percent = get_percent(usage, "memoryUsagePercent"),
                                         .disk_used = get_u64(usage, "diskUsedBytes"),
                                         .disk_total = get_u64(usage, "diskTotalBytes"),
                                         .usage = get_usage(usage) };
        doc_text(doc.root, "status", status->status, sizeof(status->status));
        status->execs = json_u64(json_get(doc.root, "execs"), &execs) ? (unsigned)execs : 0;
        if (json)
                *json = doc_take(&doc);
        return 0;
}

int remote_usage(struct creto_sandbox *sb, struct creto_usage *usage, struct err *e)
{
        auto_doc doc = { 0 };
        struct call c;

        begin(&c, sb, "GET", "/status");
        if (call_json(&c, &doc, e) < 0)
                return -(int)e->code;
        *usage = get_usage(json_get(doc.root, "usage"));
        return 0;
}

int creto_logs(struct creto_sandbox *sb, unsigned tail, int fd, struct creto_error *err)
{
        char number[16];
        struct call c;
        struct err e;

        if (needed(sb, "creto_logs", err) < 0)
                return -err->code;
        begin(&c, sb, "GET", "/logs");
        snprintf(number, sizeof(number), "%u", tail);
        if (tail)
                http_query(&c.req, "tail", number);
        return call_start(&c, &e) < 0 || call_copy_body(c.conn, fd, &e) < 0 ? error_failed(err, &e) : 0;
}

/* ---- changing one ---- */

static int change(struct creto_sandbox *sb, const char *rest, const struct wbuf *body, char **json, struct creto_error *err)
{
        struct call c;

        if (needed(sb, rest + 1, err) < 0)
                return -err->code;
        begin(&c, sb, "POST", rest);
        c.body = body;
        return call_finish(&c, err, json);
}

int creto_pause(struct creto_sandbox *sb, char **json, struct creto_error *err)
{
        return change(sb, "/pause", NULL, json, err);
}

int creto_resume(struct creto_sandbox *sb, char **json, struct creto_error *err)
{
        return change(sb, "/resume", NULL, json, err);
}

int creto_renew(struct creto_sandbox *sb, uint64_t ttl_ms, char **json, struct creto_error *err)
{
        auto_text body = text_new();

        if (ttl_ms)
                text_printf(&body, "{\"ttlSeconds\":%llu.%03llu}", (unsigned long long)(ttl_ms / 1000),
                            (unsigned long long)(ttl_ms % 1000));
        else
                text_printf(&body, "{\"ttlSeconds\":null}");
        return change(sb, "/renew", &body, json, err);
}

int remote_terminate(struct creto_sandbox *sb, bool force, struct err *e)
{
        auto_doc doc = { 0 };
        struct call c;

        begin(&c, sb, "DELETE", NULL);
        if (force)
                http_query(&c.req, "force", "true");
        c.timeout_ms = CALL_LONG_MS;
        return call_json(&c, &doc, e);
}

/* ---- all of them ---- */

static void add_query(struct call *c, const char *name, const char *value)
{
        if (value)
                http_query(&c->req, name, value);
}

static void begin_list(struct call *c, const struct pages *p, size_t so_far)
{
        const struct creto_list_query *q = p->query;
        char number[24];

        call_begin(c, p->rm, "GET", "/v1/sandboxes");
        add_query(c, "status", q->status);
        add_query(c, "runtimeClass", q->runtime);
        add_query(c, "agentNhi", q->agent_nhi);
        add_query(c, "label", q->label);
        add_query(c, "pool", q->pool);
        add_query(c, "sortBy", q->sort_by);
        add_query(c, "order", q->descending ? "desc" : NULL);
        add_query(c, "cpuUsage", q->cpu_usage);
        add_query(c, "memoryUsage", q->memory_usage);
        add_query(c, "all", q->all ? "true" : NULL);
        add_query(c, "usage", q->usage ? "true" : NULL);
        snprintf(number, sizeof(number), "%zu", p->limit > 0 && p->limit - so_far < PAGE ? p->limit - so_far : PAGE);
        http_query(&c->req, "limit", number);
}

static void take_info(const struct json_node *n, void *item)
{
        get_info(n, item);
}

int creto_list(struct creto_runtime *rt, const struct creto_list_query *query, struct creto_info **out, size_t *count, char **json,
               struct creto_error *err)
{
        const struct pages p = { rt->remote, "sandboxes", sizeof(**out), take_info, begin_list, query->limit, query };
        void *all;
        struct err e;

        if (remote_needed(rt, "creto_list", &e) < 0 || call_pages(&p, &all, count, json, &e) < 0)
                return error_failed(err, &e);
        *out = all;
        return 0;
}
