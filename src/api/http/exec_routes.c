/*
 * Commands: run and answered whole, streamed as server-sent events, or left to be attached to.
 */
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "api/http/routes.h"
#include "base/clock.h"
#include "base/str.h"
#include "wire/base64.h"

enum { ARGS_MAX = SPEC_ARGS_MAX, ENV_MAX = SPEC_ENV_MAX, PIECE_MAX = 12 * 1024, KEEP_ALIVE_MS = 15000, EVENT_ROOM = 512 };

/* ---- a command and the request that takes its output ---- */

struct run {
        struct request *request; /* borrowed: we are its context's */
        struct exec *x;
        struct sandbox *sb; /* where it is detached */
        struct exec_reader reader;
        uint8_t *input; /* what is still to be written to it */
        size_t input_len, input_at;
        /* whole */
        struct wbuf out[2];
        bool truncated[2];
        /* events */
        bool events, said_started, said_end;
        struct timer *alive;
        bool alive_due;
};

static void run_free(void *own)
{
        struct run *u = own;

        if (u->x) {
                exec_detach(u->x, &u->reader);
                if (u->said_end)
                        exec_release(u->x);
                exec_unref(u->x);
        }
        timer_free(u->alive);
        text_free(&u->out[0]);
        text_free(&u->out[1]);
        free(u->input);
        free(u);
}

static void feed(struct run *u)
{
        while (u->input && u->input_at < u->input_len) {
                size_t room = exec_room(u->x), left = u->input_len - u->input_at;

                if (room == 0)
                        return;
                size_t n = left < room ? left : room;
                exec_write(u->x, u->input + u->input_at, n);
                u->input_at += n;
        }
        if (u->input) {
                exec_eof(u->x);
                free(u->input);
                u->input = NULL;
        }
}

/* ---- the answer as a whole ---- */

static void collect(struct run *u)
{
        struct exec_piece p;

        while (exec_peek(u->x, &p)) {
                struct wbuf *out = &u->out[p.stream - 1];
                size_t room = API_EXECS_OUT_MAX - out->len, n = p.len < room ? p.len : room;

                wbuf_bytes(out, p.data, n);
                u->truncated[p.stream - 1] |= n < p.len;
                exec_advance(u->x, p.len);
        }
        exec_confirm(u->x);
}

static void not_executed(struct call *c, const struct exec_info *x)
{
        static const char *const stages[] = { "request", "user", "cwd", "confine", "exec", "system" };
        char details[96];

        snprintf(details, sizeof(details), "{\"errno\":%d,\"stage\":\"%s\"}", x->failure.sys,
                 (unsigned)x->stage < 6 ? stages[x->stage] : "system");
        call_error_details(c, &x->failure, details);
}

static void put_output(struct json_put *j, const char *key, const struct wbuf *w)
{
        json_put_key(j, key);
        json_put_base64(j, w->data ? w->data : (const uint8_t *)"", w->len);
}

static void answer_whole(struct call *c, struct run *u)
{
        const struct exec_info *x = exec_info(u->x);
        struct wbuf w = text_new();
        struct json_put j = json_put_over(&w);
        char id[16];

        u->said_end = true;
        if (x->state != EXEC_EXITED) {
                not_executed(c, x);
                return;
        }
        exec_id_text(x->number, id);
        json_put_object(&j);
        put_text(&j, "execId", id);
        put_output(&j, "stdout", &u->out[0]);
        put_output(&j, "stderr", &u->out[1]);
        json_put_key(&j, "exitCode");
        json_put_i64(&j, x->outcome.status);
        json_put_key(&j, "signal");
        if (x->exit.signal)
                json_put_i64(&j, x->exit.signal);
        else
                json_put_null(&j);
        put_u64(&j, "durationMs", x->duration_ms);
        json_put_key(&j, "timedOut");
        json_put_bool(&j, x->exit.reason & GUEST_REASON_TIMEOUT);
        json_put_key(&j, "reasons");
        json_put_array(&j);
        for (unsigned i = 0; i < x->outcome.count; i++)
                json_put_string(&j, x->outcome.lines[i]);
        json_put_end(&j);
        json_put_key(&j, "stdoutTruncated");
        json_put_bool(&j, u->truncated[0]);
        json_put_key(&j, "stderrTruncated");
        json_put_bool(&j, u->truncated[1]);
        json_put_end(&j);
        call_json(c, 200, &w);
}

static void on_ready_whole(void *ctx)
{
        struct run *u = ctx;
        struct err e;

        if (u->said_end)
                return;
        if (!exec_reads(u->x, &u->reader)) {
                u->said_end = false;
                err_set(&e, ERR_SANDBOX_NOT_READY, 0, "another client has attached to this command");
                call_error(call_of(u->request), &e);
                return;
        }
        feed(u);
        collect(u);
        if (exec_drained(u->x))
                answer_whole(call_of(u->request), u);
}

/* ---- the answer as events ---- */

static void on_ready_events(void *ctx)
{
        struct run *u = ctx;

        if (exec_reads(u->x, &u->reader))
                feed(u);
        request_wake(u->request);
}

static void put_event(struct wbuf *w, const char *name)
{
        wbuf_bytes(w, "event: ", 7);
        wbuf_bytes(w, name, strlen(name));
        wbuf_bytes(w, "\n", 1);
}

static size_t say_started(struct run *u, struct wbuf *w)
{
        char text[96];
        int n = snprintf(text, sizeof(text), "event: started\ndata: {\"execId\":\"ex-%u\"}\n\n", exec_info(u->x)->number);

        u->said_started = true;
        wbuf_bytes(w, text, (size_t)n);
        return w->len;
}

static size_t say_output(struct run *u, struct wbuf *w, const struct exec_piece *p, size_t len)
{
        struct json_put j = json_put_over(w);
        uint64_t at[2];
        char text[64];

        put_event(w, p->stream == 1 ? "stdout" : "stderr");
        exec_position(u->x, at);
        at[p->stream - 1] = p->offset + len;
        int n = snprintf(text, sizeof(text), "id: %llu:%llu\ndata: ", (unsigned long long)at[0], (unsigned long long)at[1]);
        wbuf_bytes(w, text, (size_t)n);
        json_put_object(&j);
        put_u64(&j, "offset", p->offset);
        json_put_key(&j, "data");
        json_put_base64(&j, p->data, len);
        json_put_end(&j);
        wbuf_bytes(w, "\n\n", 2);
        exec_advance(u->x, len);
        return w->len;
}

static size_t say_end(struct run *u, struct wbuf *w)
{
        const struct exec_info *x = exec_info(u->x);
        struct json_put j = json_put_over(w);

        put_event(w, "exit");
        wbuf_bytes(w, "data: ", 6);
        put_exec_end(&j, x);
        wbuf_bytes(w, "\n\n", 2);
        u->said_end = true;
        return w->len;
}

static ssize_t read_events(struct request *r, uint8_t *out, size_t cap)
{
        struct run *u = call_of(r)->own;
        struct wbuf w = wbuf_over(out, cap);
        struct exec_piece p;

        if (u->said_end)
                return -1;
        exec_confirm(u->x);
        if (!u->said_started)
                return (ssize_t)say_started(u, &w);
        if (!exec_reads(u->x, &u->reader))
                return -1; /* somebody else has attached */
        if (exec_peek(u->x, &p)) {
                size_t room = cap > EVENT_ROOM ? (cap - EVENT_ROOM) / 4 * 3 : 1;

                if (room > PIECE_MAX)
                        room = PIECE_MAX;
                return (ssize_t)say_output(u, &w, &p, p.len < room ? p.len : room);
        }
        if (exec_drained(u->x)) {
                size_t n = say_end(u, &w);

                return w.bad ? -2 : (ssize_t)n;
        }
        if (u->alive_due) {
                u->alive_due = false;
                wbuf_bytes(&w, ": keep-alive\n\n", 14);
        }
        timer_set(u->alive, KEEP_ALIVE_MS);
        return (ssize_t)w.len;
}

static void keep_alive(void *ctx)
{
        struct run *u = ctx;

        u->alive_due = true;
        request_wake(u->request);
}

/* ---- starting ---- */

struct strings {
        char *at;
        size_t left;
};

static const char *take_string(struct strings *s, const struct json_node *n)
{
        char *out = s->at;

        if (!json_str(n, out, s->left))
                return NULL;
        s->left -= strlen(out) + 1;
        s->at += strlen(out) + 1;
        return out;
}

static const char *argv_space[ARGS_MAX + 2], *env_space[ENV_MAX + 1];

static bool read_args(struct call *c, const struct json_node *command, struct strings *s, struct exec_request *req)
{
        const struct json_node *program = json_get(command, "program"), *args = json_get(command, "args");
        size_t n = 0;

        if (program && !json_is_null(program) && !(argv_space[n++] = take_string(s, program))) {
                call_bad_field(c, "command.program", "must be a string without NUL");
                return false;
        }
        if (n == 1 && !argv_space[0][0]) {
                call_bad_field(c, "command.program", "must not be empty");
                return false;
        }
        if (args && !json_is_null(args) && !json_is_array(args)) {
                call_bad_field(c, "command.args", "must be an array of strings");
                return false;
        }
        for (const struct json_node *m = json_is_array(args) ? json_first(args) : NULL; m; m = json_next(args, m)) {
                const char *one = n <= ARGS_MAX ? take_string(s, m) : NULL;

                if (!one) {
                        call_bad_field(c, "command.args", "must be at most %d strings without NUL", ARGS_MAX);
                        return false;
                }
                argv_space[n++] = one;
        }
        argv_space[n] = NULL;
        req->argv = argv_space;
        return true;
}

static bool read_env(struct call *c, const struct json_node *command, struct strings *s, struct exec_request *req)
{
        const struct json_node *env = json_get(command, "env");
        size_t n = 0;

        env_space[0] = NULL;
        req->env = env_space;
        if (!env || json_is_null(env))
                return true;
        for (const struct json_node *m = json_is_object(env) ? json_first(env) : NULL; m; m = json_next(env, m)) {
                const char *pair = n < ENV_MAX ? take_string(s, m) : NULL;

                if (pair && *pair && !strchr(pair, '=')) {
                        s->at[-1] = '=';
                        env_space[n++] = pair;
                        env_space[n] = NULL;
                        if (take_string(s, json_value(m)))
                                continue;
                }
                call_bad_field(c, "command.env", "must be at most %d strings by names without '='", ENV_MAX);
                return false;
        }
        if (!json_is_object(env))
                call_bad_field(c, "command.env", "must be an object of strings");
        return json_is_object(env);
}

static bool read_text(struct call *c, const struct json_node *command, const char *key, struct strings *s, const char **out)
{
        const struct json_node *n = json_get(command, key);
        char field[64];

        if (!n || json_is_null(n))
                return true;
        if ((*out = take_string(s, n)) && **out)
                return true;
        snprintf(field, sizeof(field), "command.%s", key);
        call_bad_field(c, field, "must be a string that is not empty");
        return false;
}

static bool read_size(struct call *c, const struct json_node *command, const char *key, uint16_t *out)
{
        const struct json_node *n = json_get(command, key);
        char field[64];
        uint64_t v;

        if (!n || json_is_null(n))
                return true;
        if (json_u64(n, &v) && v <= 10000) {
                *out = (uint16_t)v;
                return true;
        }
        snprintf(field, sizeof(field), "command.%s", key);
        call_bad_field(c, field, "must be a whole number from 0 to 10000");
        return false;
}

static bool read_input(struct call *c, const struct json_node *command, struct run *u)
{
        const struct json_node *in = json_get(command, "stdin"), *encoding = json_get(command, "stdinEncoding");
        bool base64 = json_str_is(encoding, "base64");

        if (encoding && !json_is_null(encoding) && !base64 && !json_str_is(encoding, "utf-8")) {
                call_bad_field(c, "command.stdinEncoding", "must be \"utf-8\" or \"base64\"");
                return false;
        }
        if (!in || json_is_null(in))
                return true;
        size_t cap = request_body(c->request).len + 1;
        u->input = malloc(cap);
        bool good = u->input && (base64 ? json_base64(in, u->input, cap, &u->input_len) : json_str(in, (char *)u->input, cap));
        if (!good) {
                free(u->input);
                u->input = NULL;
                call_bad_field(c, "command.stdin", base64 ? "is no base64" : "must be a string without NUL; other bytes as base64");
                return false;
        }
        if (!base64)
                u->input_len = strlen((char *)u->input);
        return true;
}

static bool read_command(struct call *c, const struct json_node *body, struct strings *s, struct exec_request *req, struct run *u)
{
        static const char *const known[] = { "program",       "args",           "env", "cwd",  "user", "stdin",
                                             "stdinEncoding", "timeoutSeconds", "tty", "rows", "cols", NULL };
        const struct json_node *command = json_get(body, "command"), *timeout = json_get(command, "timeoutSeconds"),
                               *tty = json_get(command, "tty");
        double seconds = 0;

        if (!json_is_object(command)) {
                call_bad_field(c, "command", "must be an object");
                return false;
        }
        if (!call_known_fields(c, command, "command.", known) || !read_args(c, command, s, req) || !read_env(c, command, s, req) ||
            !read_text(c, command, "cwd", s, &req->cwd) || !read_text(c, command, "user", s, &req->user) ||
            !read_size(c, command, "rows", &req->rows) || !read_size(c, command, "cols", &req->cols) || !read_input(c, command, u))
                return false;
        if (timeout && !json_is_null(timeout) && (!json_double(timeout, &seconds) || seconds < 0.001 || seconds * 1000 > UINT32_MAX)) {
                call_bad_field(c, "command.timeoutSeconds", "must be a number from 0.001 to 4294967");
                return false;
        }
        if (tty && !json_is_null(tty) && !json_bool(tty, &req->tty)) {
                call_bad_field(c, "command.tty", "must be true or false");
                return false;
        }
        req->timeout_ms = (uint32_t)(seconds * 1000);
        req->stdin_open = u->input != NULL;
        return true;
}

static bool wants_events(const struct call *c)
{
        const char *accept = request_header(c->request, "Accept");

        return accept && strstr(accept, "text/event-stream");
}

static struct run *run_new(struct call *c)
{
        struct run *u = calloc(1, sizeof(*u));
        struct err e;

        if (!u) {
                err_set(&e, ERR_RESOURCE_EXHAUSTED, 0, "out of memory");
                call_error(c, &e);
                return NULL;
        }
        *u = (struct run){ .request = c->request, .out = { text_new(), text_new() } };
        call_own(c, u, run_free);
        return u;
}

static bool stream_events(struct call *c, struct run *u, uint64_t out, uint64_t error)
{
        struct err e;

        u->events = true;
        u->reader = (struct exec_reader){ on_ready_events, u };
        if (!(u->alive = timer_new(c->api->config.loop, keep_alive, u))) {
                err_set(&e, ERR_RESOURCE_EXHAUSTED, 0, "out of memory");
                call_error(c, &e);
                return false;
        }
        exec_attach(u->x, &u->reader, out, error);
        request_stream_out(c->request, 200, "text/event-stream", read_events);
        return true;
}

static void show_exec(struct call *c, int status, struct sandbox *sb, struct exec *x)
{
        struct wbuf w = text_new();
        struct json_put j = json_put_over(&w);

        put_exec(&j, sandbox_info(sb), exec_info(x));
        call_json(c, status, &w);
}

static bool read_detach(struct call *c, const struct json_node *body, bool *detach)
{
        const struct json_node *n = json_get(body, "detach");

        if (!n || json_is_null(n) || json_bool(n, detach))
                return true;
        call_bad_field(c, "detach", "must be true or false");
        return false;
}

/* A command that is left to be attached to: it is there from the answer on, whoever dies. What was given as its input goes at once, as far as there is room;
 * that is all of what a body can hold but for a ring, and the rest goes with who attaches. */
static void on_ready_detached(void *ctx)
{
        struct run *u = ctx;
        struct call *c = call_of(u->request);

        if (u->said_started)
                return;
        feed(u);
        if (exec_info(u->x)->state == EXEC_STARTING)
                return;
        u->said_started = true;
        exec_detach(u->x, &u->reader);
        show_exec(c, 202, u->sb, u->x);
}

static void leave(struct sandbox *sb, struct run *u)
{
        u->sb = sb;
        u->reader = (struct exec_reader){ on_ready_detached, u };
        exec_attach(u->x, &u->reader, 0, 0);
        feed(u);
}

static void start(struct call *c)
{
        static const char *const known[] = { "command", "detach", NULL };
        struct sandbox *sb = call_claimed(c);
        const struct json_node *body = sb ? call_object(c, false) : NULL;
        struct exec_request req = { .request_id = request_id(c->request) };
        bool detach = false;
        struct err e;

        if (!body || !call_known_fields(c, body, "", known) || !read_detach(c, body, &detach))
                return;
        struct run *u = run_new(c);
        size_t cap = 2 * request_body(c->request).len + 64;
        char *space = u ? malloc(cap) : NULL;
        struct strings s = { space, cap };
        if (!space || !read_command(c, body, &s, &req, u)) {
                free(space);
                return;
        }
        if (detach && !u->input)
                req.stdin_open = true;
        int r = sandbox_exec(sb, &req, &u->x, &e);
        free(space);
        if (r < 0) {
                call_error(c, &e);
                return;
        }
        if (detach) {
                leave(sb, u);
                return;
        }
        if (wants_events(c)) {
                stream_events(c, u, 0, 0);
                feed(u);
                return;
        }
        u->reader = (struct exec_reader){ on_ready_whole, u };
        exec_attach(u->x, &u->reader, 0, 0);
        feed(u);
}

/* ---- what is done with those that run ---- */

static void list(struct call *c)
{
        struct sandbox *sb = call_sandbox(c);
        struct wbuf w = text_new();
        struct json_put j = json_put_over(&w);

        if (!sb)
                return;
        json_put_object(&j);
        json_put_key(&j, "execs");
        json_put_array(&j);
        for (struct exec *x = sandbox_first_exec(sb); x; x = exec_next(x))
                put_exec(&j, sandbox_info(sb), exec_info(x));
        json_put_end(&j);
        json_put_end(&j);
        call_json(c, 200, &w);
}

static void get(struct call *c)
{
        struct sandbox *sb = call_sandbox(c);
        struct exec *x = sb ? call_exec(c, sb) : NULL;

        if (x)
                show_exec(c, 200, sb, x);
}

static void erase(struct call *c)
{
        struct sandbox *sb = call_sandbox(c);
        struct exec *x = sb ? call_exec(c, sb) : NULL;

        if (!x)
                return;
        exec_release(x);
        call_empty(c);
}

static void send_signal(struct call *c)
{
        static const char *const known[] = { "signal", "group", NULL };
        struct sandbox *sb = call_sandbox(c);
        struct exec *x = sb ? call_exec(c, sb) : NULL;
        const struct json_node *body = x ? call_object(c, false) : NULL, *group;
        uint64_t number;
        bool whole = true;

        if (!body || !call_known_fields(c, body, "", known))
                return;
        if (!json_u64(json_get(body, "signal"), &number) || number < 1 || number > 64) {
                call_bad_field(c, "signal", "must be a number from 1 to 64");
                return;
        }
        group = json_get(body, "group");
        if (group && !json_is_null(group) && !json_bool(group, &whole)) {
                call_bad_field(c, "group", "must be true or false");
                return;
        }
        exec_signal(x, (int)number, whole);
        call_empty(c);
}

static void attach(struct call *c)
{
        struct sandbox *sb = call_sandbox(c);
        struct exec *x = sb ? call_exec(c, sb) : NULL;
        uint64_t out = 0, error = 0;
        const char *upgrade = request_header(c->request, "Upgrade");
        struct err e;

        if (!x || !call_query_u64(c, "stdoutOffset", UINT64_MAX - 1, &out) || !call_query_u64(c, "stderrOffset", UINT64_MAX - 1, &error))
                return;
        if (upgrade && strcasecmp(upgrade, "websocket") == 0) {
                websocket_attach(c, x, out, error);
                return;
        }
        if (!wants_events(c)) {
                err_set(&e, ERR_INVALID_SPEC, 0, "attach needs 'Upgrade: websocket' or 'Accept: text/event-stream'");
                err_hint(&e, "creto-runtime exec does it");
                call_error(c, &e);
                return;
        }
        struct run *u = run_new(c);
        if (!u)
                return;
        u->x = exec_ref(x);
        stream_events(c, u, out, error);
}

static const char *const offsets[] = { "stdoutOffset", "stderrOffset", NULL };

const struct route exec_routes[] = {
        { "POST", "/v1/sandboxes/{id}/exec", ROLE_AGENT, ROUTE_BODY, start, NULL, NULL },
        { "GET", "/v1/sandboxes/{id}/exec", ROLE_AGENT, 0, list, NULL, NULL },
        { "GET", "/v1/sandboxes/{id}/exec/{execId}", ROLE_AGENT, 0, get, NULL, NULL },
        { "DELETE", "/v1/sandboxes/{id}/exec/{execId}", ROLE_AGENT, 0, erase, NULL, NULL },
        { "POST", "/v1/sandboxes/{id}/exec/{execId}/signal", ROLE_AGENT, ROUTE_BODY, send_signal, NULL, NULL },
        { "GET", "/v1/sandboxes/{id}/exec/{execId}/attach", ROLE_AGENT, 0, attach, NULL, offsets },
        { NULL, NULL, ROLE_NONE, 0, NULL, NULL, NULL },
};
