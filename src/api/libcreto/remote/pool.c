/*
 * Warm pools of a service: made, shown, changed, claimed from.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "api/libcreto/remote/call.h"
#include "base/str.h"

/* ---- one of them ---- */

/* Every question about one begins with it. What is no id would ask about something else. */
static int begin(struct call *c, struct creto_runtime *rt, const char *method, const char *id, const char *rest, struct err *e)
{
        if (remote_needed(rt, "pools", e) < 0)
                return -(int)e->code;
        if (!str_is_id(id, CRETO_POOL_ID_MAX))
                return err_set(e, ERR_POOL_NOT_FOUND, 0, "no pool '%.64s'", id);
        call_begin(c, rt->remote, method, "/v1/warm-pools/");
        http_segment(&c->req, id);
        http_path(&c->req, rest);
        return 0;
}

static uint64_t get_u64(const struct json_node *n, const char *key)
{
        uint64_t v;

        return json_u64(json_get(n, key), &v) ? v : 0;
}

static double get_double(const struct json_node *n, const char *key)
{
        double v;

        return json_double(json_get(n, key), &v) ? v : 0;
}

static int get_flag(const struct json_node *n, const char *key)
{
        bool v;

        return json_bool(json_get(n, key), &v) && v;
}

static void get_settings(const struct json_node *n, struct creto_pool_settings *s)
{
        const struct json_node *scaling = json_get(n, "autoScaling");

        *s = (struct creto_pool_settings){ .given = 2 * CRETO_POOL_SCALE_DOWN - 1,
                                           .min_ready = get_u64(n, "minReady"),
                                           .max_ready = get_u64(n, "maxReady"),
                                           .max_age_s = get_u64(n, "maxAgeSeconds"),
                                           .reusable = get_flag(n, "reusable"),
                                           .auto_scaling = get_flag(scaling, "enabled"),
                                           .headroom = get_u64(scaling, "headroom"),
                                           .scale_down_s = get_u64(scaling, "scaleDownSeconds") };
}

static void get_info(const struct json_node *n, struct creto_pool_info *info)
{
        const struct json_node *spec = json_get(n, "template"), *last = json_get(n, "lastError");

        *info = (struct creto_pool_info){ .ready = get_u64(n, "readyCount"),
                                          .claimed = get_u64(n, "claimedCount"),
                                          .warming = get_u64(n, "warmingCount"),
                                          .target = get_u64(n, "targetReady"),
                                          .created_ms = doc_time(n, "createdAt"),
                                          .error_at_ms = doc_time(last, "at"),
                                          .error_retry_ms = doc_time(last, "retryAt") };
        get_settings(n, &info->settings);
        doc_text(n, "id", info->id, sizeof(info->id));
        doc_text(n, "owner", info->owner, sizeof(info->owner));
        doc_text(n, "state", info->state, sizeof(info->state));
        doc_text(n, "runtimeClass", info->runtime, sizeof(info->runtime));
        doc_text(spec, "image", info->image, sizeof(info->image));
        doc_text(last, "code", info->error_code, sizeof(info->error_code));
        doc_text(last, "message", info->error_message, sizeof(info->error_message));
}

/* The answer is a pool. */
static int finish(struct call *c, struct creto_pool_info *info, char **json, struct creto_error *err)
{
        auto_doc doc = { 0 };
        struct err e;

        if (call_json(c, &doc, &e) < 0)
                return error_failed(err, &e);
        if (info)
                get_info(doc.root, info);
        if (json)
                *json = doc_take(&doc);
        return 0;
}

int creto_pool_get(struct creto_runtime *rt, const char *id, struct creto_pool_info *info, char **json, struct creto_error *err)
{
        struct call c;
        struct err e;

        return begin(&c, rt, "GET", id, "", &e) < 0 ? error_failed(err, &e) : finish(&c, info, json, err);
}

/* ---- made and changed ---- */

static void put_number(struct json_put *j, unsigned given, enum creto_pool_field field, const char *key, uint64_t v)
{
        if (!(given & field))
                return;
        json_put_key(j, key);
        json_put_u64(j, v);
}

static void put_flag(struct json_put *j, unsigned given, enum creto_pool_field field, const char *key, int v)
{
        if (!(given & field))
                return;
        json_put_key(j, key);
        json_put_bool(j, v != 0);
}

static void put_settings(struct json_put *j, const struct creto_pool_settings *s)
{
        put_number(j, s->given, CRETO_POOL_MIN_READY, "minReady", s->min_ready);
        put_number(j, s->given, CRETO_POOL_MAX_READY, "maxReady", s->max_ready);
        put_number(j, s->given, CRETO_POOL_MAX_AGE, "maxAgeSeconds", s->max_age_s);
        put_flag(j, s->given, CRETO_POOL_REUSABLE, "reusable", s->reusable);
        if (!(s->given & (CRETO_POOL_AUTO_SCALING | CRETO_POOL_HEADROOM | CRETO_POOL_SCALE_DOWN)))
                return;
        json_put_key(j, "autoScaling");
        json_put_object(j);
        put_flag(j, s->given, CRETO_POOL_AUTO_SCALING, "enabled", s->auto_scaling);
        put_number(j, s->given, CRETO_POOL_HEADROOM, "headroom", s->headroom);
        put_number(j, s->given, CRETO_POOL_SCALE_DOWN, "scaleDownSeconds", s->scale_down_s);
        json_put_end(j);
}

static void put_template(struct json_put *j, const char *format, const char *text, size_t len)
{
        json_put_key(j, "templateSource");
        json_put_object(j);
        json_put_key(j, "format");
        json_put_string(j, format);
        json_put_key(j, "text");
        json_put_string_len(j, text, len);
        json_put_end(j);
}

int creto_pool_create(struct creto_runtime *rt, const char *id, const char *format, const char *text, size_t len,
                      const struct creto_pool_settings *settings, struct creto_pool_info *info, char **json, struct creto_error *err)
{
        auto_text body = text_new();
        struct json_put j = json_put_over(&body);
        struct call c;
        struct err e;

        if (remote_needed(rt, "pools", &e) < 0)
                return error_failed(err, &e);
        json_put_object(&j);
        json_put_key(&j, "id");
        json_put_string(&j, id);
        put_template(&j, format, text, len);
        put_settings(&j, settings);
        json_put_end(&j);
        call_begin(&c, rt->remote, "POST", "/v1/warm-pools");
        c.body = &body;
        c.again = true; /* the same pool made again is the same pool */
        return finish(&c, info, json, err);
}

int creto_pool_update(struct creto_runtime *rt, const char *id, const struct creto_pool_settings *settings, struct creto_pool_info *info,
                      char **json, struct creto_error *err)
{
        auto_text body = text_new();
        struct json_put j = json_put_over(&body);
        struct call c;
        struct err e;

        json_put_object(&j);
        put_settings(&j, settings);
        json_put_end(&j);
        if (begin(&c, rt, "PATCH", id, "", &e) < 0)
                return error_failed(err, &e);
        c.body = &body;
        return finish(&c, info, json, err);
}

int creto_pool_drain(struct creto_runtime *rt, const char *id, struct creto_pool_info *info, char **json, struct creto_error *err)
{
        struct call c;
        struct err e;

        if (begin(&c, rt, "POST", id, "/drain", &e) < 0)
                return error_failed(err, &e);
        c.again = true;
        return finish(&c, info, json, err);
}

int creto_pool_activate(struct creto_runtime *rt, const char *id, struct creto_pool_info *info, char **json, struct creto_error *err)
{
        auto_text body = text_new();
        struct call c;
        struct err e;

        text_printf(&body, "{\"state\":\"Active\"}");
        if (begin(&c, rt, "PATCH", id, "", &e) < 0)
                return error_failed(err, &e);
        c.body = &body;
        return finish(&c, info, json, err);
}

int creto_pool_delete(struct creto_runtime *rt, const char *id, struct creto_error *err)
{
        struct call c;
        struct err e;

        if (begin(&c, rt, "DELETE", id, "", &e) < 0)
                return error_failed(err, &e);
        c.again = false; /* a second time it would not be found */
        return call_finish(&c, err, NULL);
}

/* {"count":N} → {key:M} */
static int count_off(struct creto_runtime *rt, const char *id, const char *rest, const char *key, uint64_t count, uint64_t *done,
                     char **json, struct creto_error *err)
{
        auto_text body = text_new();
        auto_doc doc = { 0 };
        struct call c;
        struct err e;

        text_printf(&body, "{\"count\":%llu}", (unsigned long long)count);
        if (begin(&c, rt, "POST", id, rest, &e) < 0)
                return error_failed(err, &e);
        c.body = &body;
        if (call_json(&c, &doc, &e) < 0)
                return error_failed(err, &e);
        if (done)
                *done = get_u64(doc.root, key);
        if (json)
                *json = doc_take(&doc);
        return 0;
}

int creto_pool_evict(struct creto_runtime *rt, const char *id, uint64_t count, uint64_t *evicted, char **json, struct creto_error *err)
{
        return count_off(rt, id, "/evict", "evicted", count, evicted, json, err);
}

int creto_pool_spawn(struct creto_runtime *rt, const char *id, uint64_t count, uint64_t *begun, char **json, struct creto_error *err)
{
        return count_off(rt, id, "/spawn", "spawning", count, begun, json, err);
}

/* ---- all of them ---- */

static void begin_list(struct call *c, const struct pages *p, size_t so_far)
{
        (void)so_far;
        call_begin(c, p->rm, "GET", "/v1/warm-pools");
}

static void take_info(const struct json_node *n, void *item)
{
        get_info(n, item);
}

int creto_pool_list(struct creto_runtime *rt, struct creto_pool_info **out, size_t *count, char **json, struct creto_error *err)
{
        const struct pages p = { rt->remote, "pools", sizeof(**out), take_info, begin_list, 0, NULL };
        void *all;
        struct err e;

        if (remote_needed(rt, "pools", &e) < 0 || call_pages(&p, &all, count, json, &e) < 0)
                return error_failed(err, &e);
        *out = all;
        return 0;
}

/* ---- what happens in one ---- */

int creto_pool_stats(struct creto_runtime *rt, const char *id, struct creto_pool_stats *stats, char **json, struct creto_error *err)
{
        auto_doc doc = { 0 };
        struct call c;
        struct err e;

        if (begin(&c, rt, "GET", id, "/stats", &e) < 0 || call_json(&c, &doc, &e) < 0)
                return error_failed(err, &e);
        *stats = (struct creto_pool_stats){ .ready = get_u64(doc.root, "readyCount"),
                                            .claimed = get_u64(doc.root, "claimedCount"),
                                            .warming = get_u64(doc.root, "warmingCount"),
                                            .min_ready = get_u64(doc.root, "minReady"),
                                            .max_ready = get_u64(doc.root, "maxReady"),
                                            .claims_per_minute = get_double(doc.root, "claimsPerMinute"),
                                            .mean_ms = get_double(doc.root, "avgClaimLatencyMs"),
                                            .p99_ms = get_double(doc.root, "p99ClaimLatencyMs"),
                                            .oldest_s = (uint64_t)get_double(doc.root, "oldestSandboxAgeSeconds") };
        if (json)
                *json = doc_take(&doc);
        return 0;
}

static void get_log(const struct json_node *n, struct creto_pool_log *log)
{
        log->at_ms = doc_time(n, "at");
        doc_text(n, "at", log->at, sizeof(log->at));
        doc_text(n, "phase", log->phase, sizeof(log->phase));
        doc_text(n, "level", log->level, sizeof(log->level));
        doc_text(n, "sandboxId", log->sandbox, sizeof(log->sandbox));
        doc_text(n, "code", log->code, sizeof(log->code));
        doc_text(n, "message", log->message, sizeof(log->message));
}

int creto_pool_logs(struct creto_runtime *rt, const char *id, const char *phase, unsigned limit, struct creto_pool_log **out, size_t *count,
                    char **json, struct creto_error *err)
{
        auto_doc doc = { 0 };
        char number[16];
        struct call c;
        struct err e;
        size_t n = 0;

        if (begin(&c, rt, "GET", id, "/logs", &e) < 0)
                return error_failed(err, &e);
        snprintf(number, sizeof(number), "%u", limit);
        if (phase)
                http_query(&c.req, "phase", phase);
        if (limit)
                http_query(&c.req, "limit", number);
        if (call_json(&c, &doc, &e) < 0)
                return error_failed(err, &e);
        const struct json_node *list = json_get(doc.root, "entries");
        struct creto_pool_log *logs = calloc(json_count(list) + 1, sizeof(*logs));
        if (!logs) {
                err_set(&e, ERR_RESOURCE_EXHAUSTED, 0, "out of memory");
                return error_failed(err, &e);
        }
        for (const struct json_node *m = json_first(list); m; m = json_next(list, m))
                get_log(m, &logs[n++]);
        *out = logs;
        *count = n;
        if (json)
                *json = doc_take(&doc);
        return 0;
}

/* ---- claims ---- */

static int put_files(struct json_put *j, const struct creto_claim_file *files, size_t count, struct err *e)
{
        size_t left = CRETO_CLAIM_BYTES_MAX;
        char mode[8];

        if (count == 0)
                return 0;
        if (count > CRETO_CLAIM_FILES_MAX)
                return err_set(e, ERR_INVALID_SPEC, 0, "a claim places at most %d files, not %zu", CRETO_CLAIM_FILES_MAX, count);
        json_put_key(j, "files");
        json_put_array(j);
        for (size_t i = 0; i < count; i++) {
                if (files[i].len > left) {
                        err_set(e, ERR_INVALID_SPEC, 0, "the files of a claim have at most %d bytes in all", CRETO_CLAIM_BYTES_MAX);
                        return err_hint(e, "claim first, and copy the large ones with cp");
                }
                left -= files[i].len;
                snprintf(mode, sizeof(mode), "%04o", files[i].mode ? files[i].mode & 0777 : 0644);
                json_put_object(j);
                json_put_key(j, "path");
                json_put_string(j, files[i].path);
                json_put_key(j, "mode");
                json_put_string(j, mode);
                json_put_key(j, "content");
                json_put_base64(j, files[i].data, files[i].len);
                json_put_end(j);
        }
        json_put_end(j);
        return 0;
}

static int put_claim(struct wbuf *body, const struct creto_claim_request *request, struct err *e)
{
        struct json_put j = json_put_over(body);

        json_put_object(&j);
        if (remote_put_claim(&j, request->options, request->option_count, e) < 0 ||
            put_files(&j, request->files, request->file_count, e) < 0)
                return -(int)e->code;
        if (request->no_fallback) {
                json_put_key(&j, "fallback");
                json_put_bool(&j, false);
        }
        if (request->command && remote_put_command(&j, request->command, request->command->timeout_ms, e) < 0)
                return -(int)e->code;
        json_put_end(&j);
        return json_put_done(&j) ? 0 : err_set(e, ERR_INVALID_SPEC, 0, "the claim is too large to be sent");
}

static int claim(struct creto_runtime *rt, const char *id, const struct creto_claim_request *request, struct doc *doc, struct err *e)
{
        auto_text body = text_new();
        char key[IDEMPOTENCY_KEY_CAP];
        struct call c;

        if (put_claim(&body, request, e) < 0 || begin(&c, rt, "POST", id, "/claim", e) < 0)
                return -(int)e->code;
        remote_new_key(key);
        c.body = &body;
        c.idempotency_key = request->command ? NULL : key; /* a command is not begun twice */
        c.again = !request->command;
        c.timeout_ms = CALL_LONG_MS;
        return call_json(&c, doc, e);
}

int creto_pool_claim(struct creto_runtime *rt, const char *id, const struct creto_claim_request *request, struct creto_sandbox **out,
                     struct creto_claim *told, char **json, struct creto_error *err)
{
        static const struct creto_claim_request nothing;
        struct creto_sandbox *sb = calloc(1, sizeof(*sb));
        auto_doc doc = { 0 };
        struct err e;
        int r = sb ? claim(rt, id, request ? request : &nothing, &doc, &e) : err_set(&e, ERR_RESOURCE_EXHAUSTED, 0, "out of memory");

        if (r == 0)
                doc_text(doc.root, "sandboxId", sb->id, sizeof(sb->id));
        if (r == 0)
                doc_text(json_get(doc.root, "exec"), "execId", sb->begun, sizeof(sb->begun));
        if (r == 0 && !sb->id[0])
                r = err_set(&e, ERR_BACKEND_UNAVAILABLE, 0, "creto-runtime at %s gave no sandbox", rt->remote->host.text);
        if (r < 0) {
                free(sb);
                return error_failed(err, &e);
        }
        sb->rt = rt;
        snprintf(sb->pool, sizeof(sb->pool), "%s", id);
        *out = sb;
        if (told)
                *told = (struct creto_claim){ get_double(doc.root, "claimLatencyMs"), get_flag(doc.root, "fromPool") };
        if (json)
                *json = doc_take(&doc);
        return 0;
}

/* Which pool a sandbox is of, where this handle has not claimed it. */
static int find_pool(struct creto_sandbox *sb, struct err *e)
{
        auto_doc doc = { 0 };
        struct call c;

        if (sb->pool[0])
                return 0;
        call_begin(&c, sb->rt->remote, "GET", "/v1/sandboxes/");
        http_segment(&c.req, sb->id);
        if (call_json(&c, &doc, e) < 0)
                return -(int)e->code;
        doc_text(doc.root, "poolId", sb->pool, sizeof(sb->pool));
        if (sb->pool[0])
                return 0;
        err_set(e, ERR_INVALID_SPEC, 0, "sandbox '%s' is of no pool", sb->id);
        return err_hint(e, "creto-runtime terminate %s", sb->id);
}

static int release(struct creto_sandbox *sb, struct doc *doc, struct err *e)
{
        struct call c;

        if (remote_needed(sb->rt, "pools", e) < 0 || find_pool(sb, e) < 0 || begin(&c, sb->rt, "POST", sb->pool, "/release/", e) < 0)
                return -(int)e->code;
        http_segment(&c.req, sb->id);
        c.again = true; /* what is released is released */
        c.timeout_ms = CALL_LONG_MS;
        return call_json(&c, doc, e);
}

int creto_pool_release(struct creto_sandbox *sb, int *replaced, char **json, struct creto_error *err)
{
        auto_doc doc = { 0 };
        struct err e;
        int r = release(sb, &doc, &e);

        creto_sandbox_free(sb);
        if (r < 0)
                return error_failed(err, &e);
        if (replaced)
                *replaced = get_flag(doc.root, "replaced");
        if (json)
                *json = doc_take(&doc);
        return 0;
}
