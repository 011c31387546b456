/*
 * A command in a sandbox of a service: begun with one request, its streams over a WebSocket of its own. Where that breaks, it is attached to again at the byte
 * after the last one that came.
 */
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <unistd.h>

#include "api/libcreto/remote/call.h"
#include "base/clock.h"
#include "wire/base64.h"
#include "wire/ws.h"

enum {
        AGAIN_MS = 30 * 1000,
        PAUSE_MS = 100,
        OUT_CAP = 128 * 1024,
        IN_CAP = 2 * (WS_PAYLOAD_MAX + WS_HEADER_MAX),
        INPUT = 32 * 1024,
};

struct remote_exec {
        struct creto_sandbox *sb;
        const struct creto_exec_options *o;
        char id[EXEC_ID_CAP];
        struct conn *conn;
        uint64_t seen[2]; /* bytes of output taken */
        uint64_t sent;    /* bytes of input given to the connection */
        int stdin_fd;     /* -1 once it has ended */
        int held;         /* the stream whose output is not taken, or 0 */
        bool over, closed;
        struct creto_result *result;
        size_t in_len, out_len, out_at;
        uint8_t in[IN_CAP], out[OUT_CAP];
};

/* ---- beginning ---- */

int remote_put_command(struct json_put *j, const struct creto_exec_options *o, uint32_t timeout, struct err *e)
{
        size_t envc = 0;

        json_put_key(j, "command");
        json_put_object(j);
        if (o->argv && o->argv[0]) {
                json_put_key(j, "program");
                json_put_string(j, o->argv[0]);
                json_put_key(j, "args");
                json_put_array(j);
                for (size_t i = 1; o->argv[i]; i++)
                        json_put_string(j, o->argv[i]);
                json_put_end(j);
        }
        while (o->env && o->env[envc])
                envc++;
        if (remote_put_pairs(j, "env", o->env, envc, e) < 0)
                return -(int)e->code;
        const struct {
                const char *key, *value;
        } texts[] = { { "cwd", o->cwd }, { "user", o->user }, { "stdin", o->stdin_fd < 0 ? "" : NULL } };
        for (size_t i = 0; i < 3; i++)
                if (texts[i].value) {
                        json_put_key(j, texts[i].key);
                        json_put_string(j, texts[i].value);
                }
        if (timeout) {
                json_put_key(j, "timeoutSeconds");
                json_put_double(j, (double)timeout / 1000);
        }
        json_put_key(j, "tty");
        json_put_bool(j, o->flags & CRETO_EXEC_TTY);
        json_put_key(j, "rows");
        json_put_u64(j, o->rows);
        json_put_key(j, "cols");
        json_put_u64(j, o->cols);
        json_put_end(j);
        json_put_key(j, "detach");
        json_put_bool(j, true);
        return 0;
}

static int put_body(const struct creto_sandbox *sb, const struct creto_exec_options *o, struct wbuf *body, struct err *e)
{
        struct json_put j = json_put_over(body);

        json_put_object(&j);
        if (remote_put_command(&j, o, o->timeout_ms ? o->timeout_ms : sb->timeout_ms, e) < 0)
                return -(int)e->code;
        json_put_end(&j);
        return json_put_done(&j) ? 0 : err_set(e, ERR_INVALID_SPEC, 0, "the command is too large to be sent");
}

static int start(struct remote_exec *x, struct err *e)
{
        auto_text body = text_new();
        auto_doc doc = { 0 };
        struct call c;

        if (x->sb->begun[0]) {
                snprintf(x->id, sizeof(x->id), "%s", x->sb->begun);
                x->sb->begun[0] = '\0';
                return 0;
        }
        if (put_body(x->sb, x->o, &body, e) < 0)
                return -(int)e->code;
        call_begin(&c, x->sb->rt->remote, "POST", "/v1/sandboxes/");
        http_segment(&c.req, x->sb->id);
        http_path(&c.req, "/exec");
        c.body = &body;
        if (call_json(&c, &doc, e) < 0)
                return -(int)e->code;
        doc_text(doc.root, "execId", x->id, sizeof(x->id));
        return 0;
}

static int attach(struct remote_exec *x, struct err *e)
{
        uint8_t raw[16];
        char key[32], offset[2][24];
        struct wbuf k = wbuf_over(key, sizeof(key) - 1);
        struct call c;

        if (getrandom(raw, sizeof(raw), 0) != (ssize_t)sizeof(raw))
                return err_sys(e, "no randomness");
        base64_put(&k, raw, sizeof(raw));
        key[k.len] = '\0';
        for (int i = 0; i < 2; i++)
                snprintf(offset[i], sizeof(offset[i]), "%llu", (unsigned long long)x->seen[i]);
        call_begin(&c, x->sb->rt->remote, "GET", "/v1/sandboxes/");
        http_segment(&c.req, x->sb->id);
        http_path(&c.req, "/exec/");
        http_segment(&c.req, x->id);
        http_path(&c.req, "/attach");
        http_query(&c.req, "stdoutOffset", offset[0]);
        http_query(&c.req, "stderrOffset", offset[1]);
        c.conn = x->conn;
        c.may_upgrade = true;
        c.websocket_key = key;
        if (call_start(&c, e) < 0)
                return -(int)e->code;
        x->in_len = x->conn->len - x->conn->at; /* what came behind the head */
        memcpy(x->in, x->conn->in + x->conn->at, x->in_len);
        x->out_len = x->out_at = 0;
        x->held = 0;
        return 0;
}

/* ---- out ---- */

static struct wbuf out_space(struct remote_exec *x)
{
        memmove(x->out, x->out + x->out_at, x->out_len - x->out_at);
        x->out_len -= x->out_at;
        x->out_at = 0;
        return wbuf_over(x->out + x->out_len, OUT_CAP - x->out_len);
}

static void put(struct remote_exec *x, uint8_t channel, const void *data, size_t len)
{
        static const uint8_t mask[4] = { 0x5a, 0xc3, 0x96, 0x0f }; /* it keeps proxies from being fooled by browsers; we are none */
        struct wbuf w = out_space(x);

        ws_put_channel(&w, channel, mask, data, len);
        x->out_len += w.bad ? 0 : w.len;
}

static void put_control(struct remote_exec *x, enum ws_opcode opcode, const void *data, size_t len)
{
        static const uint8_t mask[4] = { 1, 2, 3, 4 };
        struct wbuf w = out_space(x);

        ws_put(&w, opcode, mask, data, len);
        x->out_len += w.bad ? 0 : w.len;
}

/* False where the connection is gone. */
static bool flush(struct remote_exec *x)
{
        while (x->out_at < x->out_len) {
                ssize_t n = send(x->conn->fd, x->out + x->out_at, x->out_len - x->out_at, MSG_NOSIGNAL);

                if (n < 0 && (errno == EAGAIN || errno == EINTR))
                        return true;
                if (n <= 0)
                        return false;
                x->out_at += (size_t)n;
        }
        return true;
}

static void pass_input(struct remote_exec *x)
{
        uint8_t data[INPUT];
        ssize_t n = read(x->stdin_fd, data, sizeof(data));

        if (n < 0 && (errno == EAGAIN || errno == EINTR))
                return;
        if (n > 0) {
                put(x, WS_STDIN, data, (size_t)n);
                x->sent += (uint64_t)n;
                return;
        }
        x->stdin_fd = -1;
        put(x, WS_SHUT, "\0", 1);
}

void remote_exec_signal(struct remote_exec *x, int signo, bool group)
{
        char text[48];
        int n = snprintf(text, sizeof(text), "{\"signal\":%d,\"group\":%s}", signo, group ? "true" : "false");

        put(x, WS_SIGNAL, text, (size_t)n);
}

void remote_exec_resize(struct remote_exec *x, uint16_t rows, uint16_t cols)
{
        char text[48];
        int n = snprintf(text, sizeof(text), "{\"Width\":%u,\"Height\":%u}", cols, rows);

        put(x, WS_RESIZE, text, (size_t)n);
}

/* ---- in ---- */

static uint64_t number(const struct json_node *n, const char *key)
{
        uint64_t v = 0;

        json_u64(json_get(n, key), &v);
        return v;
}

static int not_executed(const struct json_node *error, struct err *e)
{
        char name[64], message[ERR_MSG_MAX], hint[ERR_HINT_MAX];
        enum err_code code = ERR_INTERNAL_ERROR;

        doc_text(error, "code", name, sizeof(name));
        doc_text(error, "message", message, sizeof(message));
        doc_text(error, "hint", hint, sizeof(hint));
        for (int i = 1; i < ERR_CODE_COUNT; i++)
                if (strcmp(err_code_name((enum err_code)i), name) == 0)
                        code = (enum err_code)i;
        err_set(e, code, 0, "%s", message);
        e->sys = (int)number(error, "errno");
        return err_hint(e, "%s", hint);
}

static int take_end(struct remote_exec *x, const uint8_t *data, size_t len, struct err *e)
{
        struct json_node nodes[128];
        struct creto_result *r = x->result;
        int64_t code = -1, signo = 0, status = 0;
        bool timed_out = false;

        x->over = true;
        if (json_parse(data, len, nodes, 128, NULL) < 0)
                return err_set(e, ERR_BACKEND_UNAVAILABLE, 0, "the end of the command is no JSON");
        if (json_is_object(json_get(nodes, "error")))
                return not_executed(json_get(nodes, "error"), e);
        json_i64(json_get(nodes, "exitCode"), &code);
        json_i64(json_get(nodes, "signal"), &signo);
        json_i64(json_get(nodes, "status"), &status);
        json_bool(json_get(nodes, "timedOut"), &timed_out);
        *r = (struct creto_result){ .status = (int)status,
                                    .code = (int)code,
                                    .signal = (int)signo,
                                    .dropped = number(nodes, "dropped"),
                                    .refused_calls = number(nodes, "refusedCalls") };
        const struct json_node *reasons = json_get(nodes, "reasons");
        for (const struct json_node *m = json_first(reasons); m && r->reason_count < CRETO_REASONS; m = json_next(reasons, m))
                if (json_str(m, r->reasons[r->reason_count], sizeof(r->reasons[0])))
                        text_tame(r->reasons[r->reason_count++]);
        return 0;
}

/* Returns how many bytes of output were taken, or a negative code. */
static ssize_t on_channel(struct remote_exec *x, uint8_t channel, const uint8_t *data, size_t len, struct err *e)
{
        ssize_t n = (ssize_t)len;

        if (channel == WS_STDOUT || channel == WS_STDERR) {
                if (x->o->on_output)
                        n = x->o->on_output(x->o->ctx, channel, data, len);
                if (n < 0)
                        return err_set(e, ERR_INTERNAL_ERROR, EPIPE, "nobody takes the output");
                x->seen[channel - 1] += (uint64_t)n;
                return n;
        }
        if (channel == WS_END && take_end(x, data, len, e) < 0)
                return -(int)e->code;
        return n;
}

static int on_frame(struct remote_exec *x, const struct ws_frame *f, size_t *taken, struct err *e)
{
        *taken = f->len;
        if (f->opcode == WS_PING)
                put_control(x, WS_PONG, f->payload, f->len);
        if (f->opcode == WS_CLOSE)
                x->closed = true;
        if (f->opcode != WS_BINARY || f->len == 0)
                return 0;
        ssize_t n = on_channel(x, f->payload[0], f->payload + 1, f->len - 1, e);
        if (n < 0)
                return (int)n;
        *taken = (size_t)n + 1;
        return 0;
}

/* What is not taken of a frame stays, as a shorter frame of the same channel. */
static size_t keep_rest(struct remote_exec *x, const struct ws_frame *f, size_t taken, size_t at, size_t used)
{
        size_t left = f->len - taken;
        uint8_t head[WS_HEADER_MAX], channel = f->payload[0];
        struct wbuf w = wbuf_over(head, sizeof(head));

        ws_put_head(&w, WS_BINARY, left + 1);
        wbuf_u8(&w, channel);
        uint8_t *to = x->in + at + used - left - w.len;
        memcpy(to, head, w.len); /* the frame that was there began at least as many bytes before */
        x->held = channel;
        return (size_t)(to - x->in);
}

static int parse(struct remote_exec *x, struct err *e)
{
        struct ws_frame f;
        size_t at = 0, used, taken;
        int r = 0;

        x->held = 0;
        while (!x->over && !x->held && (r = ws_parse(x->in + at, x->in_len - at, false, &f, &used)) > 0) {
                int code = on_frame(x, &f, &taken, e);
                if (code < 0)
                        return code;
                at = taken < f.len ? keep_rest(x, &f, taken, at, used) : at + used;
        }
        memmove(x->in, x->in + at, x->in_len - at);
        x->in_len -= at;
        return r < 0 ? err_set(e, ERR_BACKEND_UNAVAILABLE, 0, "what came is no WebSocket frame") : 0;
}

/* ---- the loop ---- */

/* One turn. Returns 0, 1 where the connection has gone, or a negative code. */
static int turn(struct remote_exec *x, struct creto_exec *handle, struct err *e)
{
        bool room = OUT_CAP - (x->out_len - x->out_at) > INPUT + 64;
        struct pollfd p[4] = { { .fd = x->conn->fd, .events = (short)((x->held ? 0 : POLLIN) | (x->out_at < x->out_len ? POLLOUT : 0)) },
                               { .fd = x->stdin_fd >= 0 && room ? x->stdin_fd : -1, .events = POLLIN },
                               { .fd = x->o->on_wake ? x->o->wake_fd : -1, .events = POLLIN },
                               { .fd = x->held ? x->o->output_fd[x->held - 1] : -1, .events = POLLOUT } };

        if (poll(p, 4, -1) < 0 && errno != EINTR)
                return err_sys(e, "cannot wait");
        if (p[2].revents)
                x->o->on_wake(x->o->ctx, handle);
        if (p[1].revents)
                pass_input(x);
        if (p[0].revents && !x->held) {
                ssize_t n = recv(x->conn->fd, x->in + x->in_len, IN_CAP - x->in_len, MSG_DONTWAIT);
                if (n == 0 || (n < 0 && errno != EAGAIN && errno != EINTR))
                        return 1;
                x->in_len += n > 0 ? (size_t)n : 0;
        }
        int r = parse(x, e);
        if (r < 0)
                return r;
        return x->closed && !x->over ? 1 : !flush(x);
}

static int attach_again(struct remote_exec *x, struct err *e)
{
        uint64_t end = clock_ms(CLOCK_MONOTONIC) + AGAIN_MS;
        bool input_lost = x->sent > 0 && x->stdin_fd >= 0 && !(x->o->flags & CRETO_EXEC_TTY);

        if (input_lost) {
                err_set(e, ERR_BACKEND_UNAVAILABLE, 0, "the connection broke while input was sent, and some of it may be lost");
                return err_hint(e, "the command goes on in sandbox %s as %s", x->sb->id, x->id);
        }
        x->closed = false;
        for (;;) {
                conn_close(x->conn);
                if (attach(x, e) == 0)
                        return 0;
                if (e->code == ERR_SANDBOX_NOT_READY) /* the service is there, and waits for the sandbox: it may be paused */
                        end = clock_ms(CLOCK_MONOTONIC) + AGAIN_MS;
                else if (e->code != ERR_BACKEND_UNAVAILABLE || clock_ms(CLOCK_MONOTONIC) > end)
                        return -(int)e->code;
                poll(NULL, 0, PAUSE_MS);
        }
}

/* The end was taken: that is what a close says. */
static void say_goodbye(struct remote_exec *x)
{
        static const uint8_t normal[2] = { 1000 >> 8, 1000 & 255 };

        put_control(x, WS_CLOSE, normal, sizeof(normal));
        flush(x);
        struct pollfd p = { .fd = x->conn->fd, .events = POLLIN };
        poll(&p, 1, 1000); /* its CLOSE; closing before it would throw ours away */
}

int remote_exec(struct creto_sandbox *sb, const struct creto_exec_options *options, struct creto_result *result, struct err *e)
{
        struct remote_exec *x = malloc(sizeof(*x));
        struct creto_exec handle = { .remote = x };
        int r;

        if (!x)
                return err_set(e, ERR_RESOURCE_EXHAUSTED, 0, "out of memory");
        memset(x, 0, offsetof(struct remote_exec, in));
        x->sb = sb;
        x->o = options;
        x->stdin_fd = options->stdin_fd;
        x->result = result;
        x->conn = conn_new(&sb->rt->remote->host);
        r = x->conn ? start(x, e) : err_set(e, ERR_RESOURCE_EXHAUSTED, 0, "out of memory");
        if (r == 0)
                r = attach(x, e);
        if (r == 0)
                r = parse(x, e);
        while (r >= 0 && !x->over)
                if ((r = turn(x, &handle, e)) == 1 && !x->over)
                        r = attach_again(x, e);
        if (x->conn && x->over)
                say_goodbye(x);
        conn_free(x->conn);
        free(x);
        return r < 0 ? r : 0;
}
