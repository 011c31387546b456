/*
 * What every route needs: reading what came, and answering.
 */
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "api/http/routes.h"
#include "base/str.h"
#include "base/time.h"

/* ---- answers ---- */

void put_error(struct json_put *j, const struct err *e, const char *details, const char *request_id)
{
        json_put_object(j);
        json_put_key(j, "error");
        json_put_object(j);
        json_put_key(j, "code");
        json_put_string(j, err_code_name(e->code));
        json_put_key(j, "message");
        json_put_string(j, e->msg);
        json_put_key(j, "hint");
        json_put_string(j, e->hint);
        json_put_key(j, "details");
        json_put_raw(j, details, strlen(details));
        json_put_key(j, "requestId");
        json_put_string(j, request_id);
        json_put_end(j);
        json_put_end(j);
}

void call_json(struct call *c, int status, struct wbuf *w)
{
        size_t len;

        wbuf_u8(w, '\n');
        char *data = text_take(w, &len);
        if (data)
                request_answer_take(c->request, status, "application/json", data, len);
        else
                request_answer(c->request, 503, NULL, "", 0);
}

void call_error_details(struct call *c, const struct err *e, const char *details)
{
        struct wbuf w = text_new();
        struct json_put j = json_put_over(&w);

        if (e->code == ERR_UNAUTHENTICATED)
                request_answer_header(c->request, "WWW-Authenticate", "Bearer");
        put_error(&j, e, details, request_id(c->request));
        call_json(c, err_code_http(e->code), &w);
}

void call_error(struct call *c, const struct err *e)
{
        call_error_details(c, e, "{}");
}

void call_empty(struct call *c)
{
        request_answer(c->request, 204, NULL, "", 0);
}

void call_faults(struct call *c, const struct spec_faults *faults, const struct err *e)
{
        auto_text w = text_new();
        struct json_put j = json_put_over(&w);

        json_put_object(&j);
        json_put_key(&j, "fields");
        json_put_array(&j);
        for (unsigned i = 0; i < faults->count; i++) {
                json_put_object(&j);
                put_text(&j, "field", faults->list[i].field);
                put_text(&j, "message", faults->list[i].message);
                json_put_end(&j);
        }
        json_put_end(&j);
        json_put_end(&j);
        const char *details = text_c(&w);
        call_error_details(c, e, details ? details : "{}");
}

void call_bad_field(struct call *c, const char *field, const char *fmt, ...)
{
        struct spec_faults faults = { 0 };
        char message[sizeof(faults.list[0].message)];
        struct err e;
        va_list ap;

        va_start(ap, fmt);
        vsnprintf(message, sizeof(message), fmt, ap);
        va_end(ap);
        spec_fault(&faults, field, "%s", message);
        spec_faults_err(&faults, false, &e);
        call_faults(c, &faults, &e);
}

/* ---- reading ---- */

const struct json_node *call_object(struct call *c, bool may_miss)
{
        static struct json_node nodes[API_NODES_MAX];
        struct bytes body = request_body(c->request);
        struct json_fault fault;
        struct err e;

        if (body.len == 0 && may_miss)
                body = (struct bytes){ (const uint8_t *)"{}", 2 };
        int n = json_parse(body.data ? (const void *)body.data : "", body.len, nodes, API_NODES_MAX, &fault);
        if (n < 0) {
                err_set(&e, ERR_INVALID_SPEC, 0, "the body is no JSON that is taken: %s, at byte %zu",
                        n == JSON_MORE_NODES ? "too many values" : fault.why, fault.at);
                err_hint(&e, "send one JSON object");
                call_error(c, &e);
                return NULL;
        }
        if (!json_is_object(nodes)) {
                err_set(&e, ERR_INVALID_SPEC, 0, "the body is not a JSON object");
                call_error(c, &e);
                return NULL;
        }
        return nodes; /* one loop: nothing else parses before the handler is done with it */
}

bool call_known_fields(struct call *c, const struct json_node *object, const char *where, const char *const *names)
{
        char field[128];

        for (const struct json_node *m = json_first(object); m; m = json_next(object, m)) {
                const char *const *known = names;

                while (*known && !json_str_is(m, *known))
                        known++;
                if (*known)
                        continue;
                snprintf(field, sizeof(field), "%s%.*s", where, m->len < 64 ? (int)m->len : 64, m->text);
                call_bad_field(c, field, "there is no such field");
                return false;
        }
        return true;
}

bool call_idempotency_key(struct call *c, const char **out)
{
        const char *key = request_header(c->request, "Idempotency-Key");
        size_t n = key ? strspn(key, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._:-") : 0;

        *out = key;
        if (!key || (n > 0 && n <= SANDBOX_KEY_MAX && key[n] == '\0'))
                return true;
        call_bad_field(c, "Idempotency-Key", "is 1 to %d of letters, digits and ._:-", SANDBOX_KEY_MAX);
        return false;
}

int call_check_env(const struct spec *s, struct err *e)
{
        static struct spec whole;

        if (s->env_count == 0)
                return 0;
        whole = (struct spec){ .image = "-", .env_count = s->env_count };
        memcpy(whole.env, s->env, sizeof(whole.env));
        return spec_check(&whole, e);
}

bool call_may_see(const struct call *c, const struct sandbox *sb)
{
        return c->who.role >= ROLE_OPERATOR || strcmp(sandbox_info(sb)->owner, c->who.name) == 0;
}

/* Whose it is not cannot tell it from one that is not there. */
struct sandbox *call_sandbox(struct call *c)
{
        struct sandbox *sb = str_is_id(c->params[0], IPC_ID_MAX) ? sandboxes_find(c->api->config.sandboxes, c->params[0]) : NULL;
        struct err e;

        if (sb && call_may_see(c, sb))
                return sb;
        err_set(&e, ERR_SANDBOX_NOT_FOUND, 0, "no sandbox '%.64s'", c->params[0]);
        err_hint(&e, "creto-runtime list --all");
        call_error(c, &e);
        return NULL;
}

struct sandbox *call_claimed(struct call *c)
{
        struct sandbox *sb = call_sandbox(c);
        const struct sandbox_info *i = sb ? sandbox_info(sb) : NULL;
        struct err e;

        if (!i || !i->pool[0] || i->claimed_ms)
                return sb;
        err_set(&e, ERR_SANDBOX_NOT_READY, 0, "sandbox %s waits in pool '%s', and is nobody's until it is claimed", i->id, i->pool);
        err_hint(&e, "creto-runtime pool claim %s", i->pool);
        call_error(c, &e);
        return NULL;
}

struct exec *call_exec(struct call *c, struct sandbox *sb)
{
        const char *id = c->params[1];
        struct exec *x = NULL;
        uint64_t number;
        struct err e;

        if (str_has_prefix(id, "ex-") && id[3] != '0' && str_parse_u64(id + 3, &number) && number <= UINT32_MAX)
                x = sandbox_find_exec(sb, (uint32_t)number);
        if (x)
                return x;
        if (sandbox_is_taken_over(sb)) {
                err_set(&e, ERR_SANDBOX_NOT_READY, 0, "sandbox %s is %s, and what runs in it is not known yet", sandbox_info(sb)->id,
                        lifecycle_name(sandbox_info(sb)->state));
                err_hint(&e, "try again when it is resumed");
                call_error(c, &e);
                return NULL;
        }
        err_set(&e, ERR_SANDBOX_NOT_FOUND, 0, "sandbox '%s' has no exec '%.64s'", sandbox_info(sb)->id, id);
        err_hint(&e, "its end was taken, or it was forgotten; GET …/exec lists those that are known");
        call_error(c, &e);
        return NULL;
}

bool call_query_u64(struct call *c, const char *name, uint64_t max, uint64_t *out)
{
        const char *text = request_query(c->request, name);
        uint64_t value;

        if (!text)
                return true;
        if (str_parse_u64(text, &value) && value <= max) {
                *out = value;
                return true;
        }
        call_bad_field(c, name, "must be a whole number from 0 to %llu", (unsigned long long)max);
        return false;
}

bool call_query_bool(struct call *c, const char *name, bool *out)
{
        const char *text = request_query(c->request, name);

        if (!text)
                return true;
        *out = strcmp(text, "true") == 0 || *text == '\0';
        if (*out || strcmp(text, "false") == 0)
                return true;
        call_bad_field(c, name, "must be true or false");
        return false;
}

/* ---- showing ---- */

void put_text(struct json_put *j, const char *key, const char *value)
{
        json_put_key(j, key);
        if (value && *value)
                json_put_string(j, value);
        else
                json_put_null(j);
}

void put_u64(struct json_put *j, const char *key, uint64_t value)
{
        json_put_key(j, key);
        if (value == UINT64_MAX)
                json_put_null(j);
        else
                json_put_u64(j, value);
}

void put_time(struct json_put *j, const char *key, uint64_t wall_ms)
{
        char text[TIME_TEXT_MAX];

        put_text(j, key, wall_ms ? time_format(wall_ms, text) : NULL);
}

static void put_percent(struct json_put *j, const char *key, double value)
{
        json_put_key(j, key);
        if (value < 0)
                json_put_null(j);
        else
                json_put_double(j, value);
}

void put_usage(struct json_put *j, const char *key, const struct sandbox_info *s)
{
        const struct sandbox_usage *u = &s->usage;

        json_put_key(j, key);
        json_put_object(j);
        put_u64(j, "cpuTimeMicros", u->now.cpu_us);
        put_percent(j, "cpuUsagePercent", u->cpu_percent);
        put_u64(j, "throttledMicros", u->now.throttled_us);
        put_u64(j, "memoryBytes", u->now.memory);
        put_u64(j, "memoryPeakBytes", u->now.memory_peak);
        put_percent(j, "memoryUsagePercent", u->memory_percent);
        put_u64(j, "pids", u->now.pids);
        put_u64(j, "oomKills", u->now.oom_kills);
        put_u64(j, "forksRefused", u->now.forks_refused);
        put_u64(j, "diskUsedBytes", u->disk_used);
        put_u64(j, "diskTotalBytes", u->disk_total);
        put_u64(j, "networkReceiveBytes", 0);
        put_u64(j, "networkTransmitBytes", 0);
        json_put_end(j);
}

static void put_words(struct json_put *j, const char *key, const char *text)
{
        json_put_key(j, key);
        json_put_array(j);
        while (*text) {
                size_t len = strcspn(text, ",");

                json_put_string_len(j, text, len);
                text += len;
                text += strspn(text, ", ");
        }
        json_put_end(j);
}

void put_class(struct json_put *j, const struct choice *c)
{
        char notice[CHOICE_NOTICE_MAX + 1];

        choice_notice(c, notice, sizeof(notice));
        put_text(j, "runtimeClass", c->name);
        put_text(j, "requestedRuntimeClass", c->requested);
        json_put_key(j, "notices");
        json_put_array(j);
        if (notice[0])
                json_put_string(j, notice);
        json_put_end(j);
}

void put_sandbox(struct json_put *j, const struct sandbox_info *s, bool usage)
{
        json_put_object(j);
        put_text(j, "sandboxId", s->id);
        put_text(j, "status", lifecycle_name(s->state));
        put_class(j, s->choice);
        put_text(j, "owner", s->owner);
        put_time(j, "createdAt", s->created_ms);
        put_time(j, "startedAt", s->started_ms);
        put_time(j, "terminatedAt", s->ended_ms);
        put_time(j, "expiresAt", s->expires_ms);
        put_time(j, "idleTimeoutAt", s->idle_ends_ms);
        json_put_key(j, "spec");
        json_put_raw(j, s->spec, s->spec_len);
        put_words(j, "notEnforced", s->missing);
        put_text(j, "poolId", s->pool);
        put_time(j, "claimedAt", s->claimed_ms);
        json_put_key(j, "failure");
        if (s->failure != ERR_NONE) {
                json_put_object(j);
                put_text(j, "code", err_code_name(s->failure));
                put_text(j, "message", s->failure_text);
                json_put_end(j);
        } else {
                json_put_null(j);
        }
        put_text(j, "attestation", NULL);
        put_text(j, "attestationHash", "none");
        if (usage)
                put_usage(j, "usage", s);
        json_put_end(j);
}

void exec_id_text(uint32_t number, char out[16])
{
        snprintf(out, 16, "ex-%u", number);
}

struct with_classes {
        struct request *request;
        void (*then)(struct call *c);
};

static void on_classes(void *ctx)
{
        struct with_classes *w = ctx;

        if (!request_gone(w->request))
                w->then(call_of(w->request));
        request_unref(w->request);
        free(w);
}

void call_with_classes(struct call *c, void (*then)(struct call *c))
{
        struct with_classes *w = malloc(sizeof(*w));

        if (!w) {
                then(c);
                return;
        }
        *w = (struct with_classes){ request_ref(c->request), then };
        sandboxes_freshen_classes(c->api->config.sandboxes, on_classes, w);
}

static void put_reasons(struct json_put *j, const struct exec_info *x)
{
        json_put_key(j, "timedOut");
        json_put_bool(j, x->state == EXEC_EXITED && (x->exit.reason & GUEST_REASON_TIMEOUT));
        json_put_key(j, "reasons");
        json_put_array(j);
        for (unsigned i = 0; i < x->outcome.count; i++)
                json_put_string(j, x->outcome.lines[i]);
        json_put_end(j);
}

static void put_code(struct json_put *j, const struct exec_info *x)
{
        bool exited = x->state == EXEC_EXITED;

        json_put_key(j, "exitCode");
        if (exited && x->exit.signal == 0)
                json_put_i64(j, x->exit.code);
        else
                json_put_null(j);
        json_put_key(j, "signal");
        if (exited && x->exit.signal != 0)
                json_put_i64(j, x->exit.signal);
        else
                json_put_null(j);
}

void put_exec(struct json_put *j, const struct sandbox_info *s, const struct exec_info *x)
{
        static const char *const states[] = { [EXEC_STARTING] = "Running",
                                              [EXEC_RUNNING] = "Running",
                                              [EXEC_EXITED] = "Exited",
                                              [EXEC_FAILED] = "Failed",
                                              [EXEC_LOST] = "Lost" };
        char id[16];

        exec_id_text(x->number, id);
        json_put_object(j);
        put_text(j, "execId", id);
        put_text(j, "sandboxId", s->id);
        put_text(j, "status", states[x->state]);
        put_code(j, x);
        put_time(j, "startedAt", x->started_ms);
        put_time(j, "finishedAt", x->ended_ms);
        put_u64(j, "durationMs", x->ended_ms ? x->duration_ms : UINT64_MAX);
        json_put_key(j, "command");
        json_put_raw(j, x->command, strlen(x->command));
        json_put_key(j, "tty");
        json_put_bool(j, x->tty);
        put_u64(j, "stdoutBytes", x->bytes[0]);
        put_u64(j, "stderrBytes", x->bytes[1]);
        put_u64(j, "stdinBytes", x->stdin_taken);
        put_reasons(j, x);
        json_put_end(j);
}

void put_exec_end(struct json_put *j, const struct exec_info *x)
{
        char id[16];

        exec_id_text(x->number, id);
        json_put_object(j);
        put_text(j, "execId", id);
        put_code(j, x);
        json_put_key(j, "status");
        json_put_i64(j, x->state == EXEC_EXITED ? x->outcome.status : x->state == EXEC_LOST ? 137 : 125);
        put_u64(j, "durationMs", x->duration_ms);
        put_reasons(j, x);
        put_u64(j, "dropped", x->exit.dropped);
        put_u64(j, "refusedCalls", x->exit.refused);
        json_put_key(j, "refused");
        json_put_string(j, x->refused);
        if (x->state != EXEC_EXITED) {
                json_put_key(j, "error");
                json_put_object(j);
                put_text(j, "code", err_code_name(x->failure.code));
                put_text(j, "message", x->failure.msg);
                json_put_key(j, "hint");
                json_put_string(j, x->failure.hint);
                json_put_key(j, "errno");
                json_put_i64(j, x->failure.sys);
                json_put_end(j);
        }
        json_put_end(j);
}
