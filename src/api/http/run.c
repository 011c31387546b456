#include "api/http/run.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { ARGS_MAX = SPEC_ARGS_MAX, ENV_MAX = SPEC_ENV_MAX, PIECE_MAX = 12 * 1024, KEEP_ALIVE_MS = 15000, EVENT_ROOM = 512 };

/* ---- a command and the request that takes its output ---- */

struct run {
        struct request *request; /* borrowed: we are its context's */
        struct exec_request order;
        char *space; /* its strings, until it is begun */
        const char **argv, **env;
        bool detach;
        struct exec *x;
        struct err failure; /* why there is none */
        char *claim;        /* JSON of the claim that it came with, without its last brace; NULL: it came alone */
        struct sandbox *sb; /* where it is detached */
        struct exec_reader reader;
        uint8_t *input; /* what is still to be written to it */
        size_t input_len, input_at;
        /* whole */
        struct wbuf out[2];
        bool truncated[2];
        /* events */
        bool said_claim, said_started, said_end;
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
        free(u->claim);
        free(u->space);
        free(u->argv);
        free(u->env);
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

static void put_whole(struct json_put *j, const struct run *u, const struct exec_info *x)
{
        char id[16];

        exec_id_text(x->number, id);
        json_put_object(j);
        put_text(j, "execId", id);
        put_output(j, "stdout", &u->out[0]);
        put_output(j, "stderr", &u->out[1]);
        json_put_key(j, "exitCode");
        json_put_i64(j, x->outcome.status);
        json_put_key(j, "signal");
        if (x->exit.signal)
                json_put_i64(j, x->exit.signal);
        else
                json_put_null(j);
        put_u64(j, "durationMs", x->duration_ms);
        json_put_key(j, "timedOut");
        json_put_bool(j, x->exit.reason & GUEST_REASON_TIMEOUT);
        json_put_key(j, "reasons");
        json_put_array(j);
        for (unsigned i = 0; i < x->outcome.count; i++)
                json_put_string(j, x->outcome.lines[i]);
        json_put_end(j);
        json_put_key(j, "stdoutTruncated");
        json_put_bool(j, u->truncated[0]);
        json_put_key(j, "stderrTruncated");
        json_put_bool(j, u->truncated[1]);
        json_put_end(j);
}

/* The claim's object is left open for what became of its command. */
static struct wbuf answer_begin(const struct run *u)
{
        struct wbuf w = text_new();

        if (u->claim) {
                wbuf_bytes(&w, u->claim, strlen(u->claim) - 1);
                wbuf_bytes(&w, ",\"exec\":", 8);
        }
        return w;
}

static void answer_end(struct run *u, int status, struct wbuf *w)
{
        wbuf_bytes(w, "}", u->claim != NULL);
        call_json(call_of(u->request), status, w);
}

static void answer_whole(struct run *u)
{
        const struct exec_info *x = exec_info(u->x);

        u->said_end = true;
        if (x->state != EXEC_EXITED && !u->claim) {
                not_executed(call_of(u->request), x);
                return;
        }
        struct wbuf w = answer_begin(u);
        struct json_put j = json_put_over(&w);
        if (x->state == EXEC_EXITED)
                put_whole(&j, u, x);
        else
                put_exec_end(&j, x);
        answer_end(u, 200, &w);
}

/* A claim whose command cannot be begun. */
static void answer_none(struct run *u)
{
        struct wbuf w = answer_begin(u);
        struct json_put j = json_put_over(&w);

        put_error(&j, &u->failure, "{}", request_id(u->request));
        answer_end(u, 200, &w);
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
                answer_whole(u);
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

static void say_claim(struct run *u, struct wbuf *w)
{
        put_event(w, "claim");
        wbuf_bytes(w, "data: ", 6);
        wbuf_bytes(w, u->claim, strlen(u->claim));
        wbuf_bytes(w, "\n\n", 2);
        u->said_claim = true;
}

static void say_started(struct run *u, struct wbuf *w)
{
        char text[96];
        int n = snprintf(text, sizeof(text), "event: started\ndata: {\"execId\":\"ex-%u\"}\n\n", exec_info(u->x)->number);

        u->said_started = true;
        wbuf_bytes(w, text, (size_t)n);
}

static void say_output(struct run *u, struct wbuf *w, const struct exec_piece *p, size_t len)
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
}

static void say_end(struct run *u, struct wbuf *w)
{
        struct json_put j = json_put_over(w);

        put_event(w, "exit");
        wbuf_bytes(w, "data: ", 6);
        if (u->x)
                put_exec_end(&j, exec_info(u->x));
        else
                put_error(&j, &u->failure, "{}", request_id(u->request));
        wbuf_bytes(w, "\n\n", 2);
        u->said_end = true;
}

static void say_alive(struct run *u, struct wbuf *w)
{
        if (u->alive_due)
                wbuf_bytes(w, ": keep-alive\n\n", 14);
        u->alive_due = false;
        timer_set(u->alive, KEEP_ALIVE_MS);
}

static void say_next(struct run *u, struct wbuf *w, size_t cap)
{
        size_t room = cap > EVENT_ROOM ? (cap - EVENT_ROOM) / 4 * 3 : 1;
        struct exec_piece p;

        if (room > PIECE_MAX)
                room = PIECE_MAX;
        if (exec_peek(u->x, &p))
                say_output(u, w, &p, p.len < room ? p.len : room);
        else if (exec_drained(u->x))
                say_end(u, w);
        else
                say_alive(u, w);
}

/* What there is at the beginning goes out in one piece: each is a write of ours, and a wakeup of the client. */
static ssize_t read_events(struct request *r, uint8_t *out, size_t cap)
{
        struct run *u = call_of(r)->own;
        struct wbuf w = wbuf_over(out, cap);

        if (u->said_end)
                return -1;
        if (u->claim && !u->said_claim)
                say_claim(u, &w);
        if (!u->x) {
                say_end(u, &w);
        } else {
                exec_confirm(u->x);
                if (!u->said_started)
                        say_started(u, &w);
                if (!exec_reads(u->x, &u->reader))
                        return w.len > 0 ? (ssize_t)w.len : -1; /* somebody else has attached */
                say_next(u, &w, cap - w.len);
        }
        return w.bad ? -2 : (ssize_t)w.len;
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

bool run_wants_events(const struct call *c)
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

static void stream_events(struct run *u, uint64_t out, uint64_t error)
{
        struct call *c = call_of(u->request);
        struct err e;

        u->reader = (struct exec_reader){ on_ready_events, u };
        if (!(u->alive = timer_new(c->api->config.loop, keep_alive, u))) {
                err_set(&e, ERR_RESOURCE_EXHAUSTED, 0, "out of memory");
                call_error(c, &e);
                return;
        }
        if (u->x) {
                exec_attach(u->x, &u->reader, out, error);
                feed(u);
        }
        request_stream_out(c->request, 200, "text/event-stream", read_events);
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

        if (u->said_started)
                return;
        feed(u);
        if (exec_info(u->x)->state == EXEC_STARTING)
                return;
        u->said_started = true;
        exec_detach(u->x, &u->reader);
        struct wbuf w = answer_begin(u);
        struct json_put j = json_put_over(&w);
        put_exec(&j, sandbox_info(u->sb), exec_info(u->x));
        answer_end(u, u->claim ? 200 : 202, &w);
}

/* ---- from the request to the answer ---- */

/* What was read lies in memory that the next request uses. */
static bool keep_lists(struct run *u)
{
        size_t argc = 0, envc = 0;

        while (argv_space[argc])
                argc++;
        while (env_space[envc])
                envc++;
        u->argv = malloc((argc + 1) * sizeof(*u->argv));
        u->env = malloc((envc + 1) * sizeof(*u->env));
        if (!u->argv || !u->env)
                return false;
        memcpy(u->argv, argv_space, (argc + 1) * sizeof(*u->argv));
        memcpy(u->env, env_space, (envc + 1) * sizeof(*u->env));
        u->order.argv = u->argv;
        u->order.env = u->env;
        return true;
}

struct run *run_read(struct call *c, const struct json_node *body)
{
        struct run *u = run_new(c);
        struct err e;

        if (!u || !read_detach(c, body, &u->detach))
                return NULL;
        size_t cap = 2 * request_body(c->request).len + 64;
        struct strings s = { u->space = malloc(cap), cap };
        if (u->space && !read_command(c, body, &s, &u->order, u))
                return NULL;
        if (!u->space || !keep_lists(u)) {
                err_set(&e, ERR_RESOURCE_EXHAUSTED, 0, "out of memory");
                call_error(c, &e);
                return NULL;
        }
        u->order.request_id = request_id(c->request);
        u->order.stdin_open |= u->detach;
        return u;
}

void run_begin(struct run *u, struct sandbox *sb)
{
        if (sandbox_exec(sb, &u->order, &u->x, &u->failure) < 0)
                u->x = NULL;
        free(u->space);
        u->space = NULL;
}

void run_answer(struct run *u, struct sandbox *sb, char *claim)
{
        struct call *c = call_of(u->request);

        u->claim = claim;
        u->sb = sb;
        if (!u->x && !claim) {
                call_error(c, &u->failure);
        } else if (!u->detach && run_wants_events(c)) {
                stream_events(u, 0, 0);
        } else if (!u->x) {
                answer_none(u);
        } else {
                u->reader = (struct exec_reader){ u->detach ? on_ready_detached : on_ready_whole, u };
                exec_attach(u->x, &u->reader, 0, 0);
                u->reader.ready(u);
        }
}

void run_follow(struct call *c, struct exec *x, uint64_t out, uint64_t error)
{
        struct run *u = run_new(c);

        if (!u)
                return;
        u->x = exec_ref(x);
        stream_events(u, out, error);
}
