/*
 * A command's streams over a WebSocket: the channels of wire/ws.h. One client at a time; output is given on as fast as the client takes it, input as fast as
 * the command does.
 *
 * When the client has taken the end it closes, and with that the command may be forgotten; a connection that breaks before leaves it for another attach.
 */
#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "api/http/routes.h"
#include "wire/ws.h"

enum { IN_CAP = WS_HEADER_MAX + WS_PAYLOAD_MAX + 1, OUT_CAP = 64 * 1024, PIECE_MAX = 32 * 1024, END_ROOM = 8192, PING_MS = 30000 };

struct socket {
        struct api *api;
        struct upgrade *upgrade;
        int fd;
        struct watch *watch;
        struct timer *ping;
        struct exec *x;
        struct exec_reader reader;
        uint64_t from[2];
        bool said_end, closing, silent; /* the end went out; so did our CLOSE; nothing came since our PING */
        uint8_t *in;                    /* IN_CAP */
        size_t in_len;
        size_t held;      /* bytes of input at the front of `in` that the command has no room for */
        uint8_t *held_at; /* where they begin */
        uint8_t *out;     /* OUT_CAP */
        size_t out_len, out_at;
};

static void socket_free(struct socket *s)
{
        if (s->x) {
                exec_detach(s->x, &s->reader);
                exec_unref(s->x);
        }
        watch_free(s->watch);
        timer_free(s->ping);
        if (s->upgrade)
                upgrade_close(s->upgrade);
        free(s->in);
        free(s->out);
        free(s);
}

/* ---- out ---- */

static struct wbuf out_space(struct socket *s)
{
        if (s->out_at > 0) {
                memmove(s->out, s->out + s->out_at, s->out_len - s->out_at);
                s->out_len -= s->out_at;
                s->out_at = 0;
        }
        return wbuf_over(s->out + s->out_len, OUT_CAP - s->out_len);
}

static void put_end(struct socket *s)
{
        struct wbuf w = out_space(s);
        auto_text text = text_new();
        struct json_put j = json_put_over(&text);

        put_exec_end(&j, exec_info(s->x));
        ws_put_channel(&w, WS_END, NULL, text.data, text.len);
        if (!w.bad)
                s->out_len += w.len;
        s->said_end = true;
}

static void put_close(struct socket *s, uint16_t code)
{
        const uint8_t payload[2] = { (uint8_t)(code >> 8), (uint8_t)code };
        struct wbuf w = out_space(s);

        if (s->closing)
                return;
        ws_put(&w, WS_CLOSE, NULL, payload, sizeof(payload));
        if (!w.bad)
                s->out_len += w.len;
        s->closing = true;
}

static void put_place(struct socket *s)
{
        struct wbuf w = out_space(s);
        uint64_t at[2];
        char text[160];

        exec_position(s->x, at);
        int n = snprintf(text, sizeof(text), "{\"stdinOffset\":%llu,\"stdoutOffset\":%llu,\"stderrOffset\":%llu}",
                         (unsigned long long)exec_info(s->x)->stdin_taken, (unsigned long long)at[0], (unsigned long long)at[1]);
        ws_put_channel(&w, WS_PLACE, NULL, text, (size_t)n);
        s->out_len += w.len;
}

/* Output is only taken when what was taken before has left. */
static void fill(struct socket *s)
{
        struct exec_piece p;

        if (s->out_len > s->out_at || s->closing)
                return;
        s->out_len = s->out_at = 0;
        exec_confirm(s->x);
        while (s->out_len + PIECE_MAX < OUT_CAP - END_ROOM && exec_peek(s->x, &p)) {
                struct wbuf w = out_space(s);
                size_t n = p.len < PIECE_MAX - WS_HEADER_MAX ? p.len : PIECE_MAX - WS_HEADER_MAX;

                ws_put_channel(&w, (uint8_t)p.stream, NULL, p.data, n);
                s->out_len += w.len;
                exec_advance(s->x, n);
        }
        if (exec_drained(s->x) && !s->said_end)
                put_end(s);
}

/* Returns false where the connection is gone. */
static bool flush(struct socket *s)
{
        for (;;) {
                fill(s);
                if (s->out_at == s->out_len)
                        return true;
                ssize_t n = write(s->fd, s->out + s->out_at, s->out_len - s->out_at);
                if (n < 0 && (errno == EAGAIN || errno == EINTR))
                        return true;
                if (n <= 0)
                        return false;
                s->out_at += (size_t)n;
        }
}

/* ---- in ---- */

static void resize(struct socket *s, const uint8_t *data, size_t len)
{
        struct json_node nodes[16];
        uint64_t rows, cols;

        if (json_parse(data, len, nodes, 16, NULL) > 0 && json_u64(json_get(nodes, "Width"), &cols) &&
            json_u64(json_get(nodes, "Height"), &rows) && rows <= 10000 && cols <= 10000)
                exec_resize(s->x, (uint16_t)rows, (uint16_t)cols);
}

static void send_signal(struct socket *s, const uint8_t *data, size_t len)
{
        struct json_node nodes[16];
        uint64_t number;
        bool group = true;

        if (json_parse(data, len, nodes, 16, NULL) < 0 || !json_u64(json_get(nodes, "signal"), &number) || number < 1 || number > 64)
                return;
        json_bool(json_get(nodes, "group"), &group);
        exec_signal(s->x, (int)number, group);
}

static size_t take_input(struct socket *s, const uint8_t *data, size_t len)
{
        size_t taken = 0, room;

        while (taken < len && (room = exec_room(s->x)) > 0) {
                size_t n = len - taken < room ? len - taken : room;

                exec_write(s->x, data + taken, n);
                taken += n;
        }
        /* nobody reads it any more */
        return exec_info(s->x)->state > EXEC_RUNNING ? len : taken;
}

static void on_binary(struct socket *s, const struct ws_frame *f)
{
        uint8_t *data = f->payload + 1;
        size_t len = f->len - 1, taken;

        switch (f->payload[0]) {
        case WS_STDIN:
                taken = take_input(s, data, len);
                s->held = len - taken;
                s->held_at = data + taken;
                break;
        case WS_RESIZE:
                resize(s, data, len);
                break;
        case WS_SIGNAL:
                send_signal(s, data, len);
                break;
        case WS_SHUT:
                if (len == 1 && data[0] == WS_STDIN)
                        exec_eof(s->x);
                break;
        default:
                put_close(s, WS_PROTOCOL);
        }
}

static void on_frame(struct socket *s, const struct ws_frame *f)
{
        struct wbuf w;

        s->silent = false;
        switch (f->opcode) {
        case WS_BINARY:
                if (f->fin && f->len > 0)
                        on_binary(s, f);
                else if (!f->fin)
                        put_close(s, WS_TOO_BIG); /* one message, one frame: it says so in the API's description */
                return;
        case WS_PING:
                w = out_space(s);
                ws_put(&w, WS_PONG, NULL, f->payload, f->len);
                s->out_len += w.bad ? 0 : w.len;
                return;
        case WS_PONG:
                return;
        case WS_CLOSE:
                if (s->said_end) /* and it has left: the client closes when it has the end */
                        exec_release(s->x);
                put_close(s, WS_NORMAL);
                return;
        default:
                put_close(s, WS_PROTOCOL);
        }
}

/* Returns false where the bytes are no frames. */
static bool parse(struct socket *s)
{
        struct ws_frame f;
        size_t at = 0, used;
        int r = 0;

        while (!s->closing && s->held == 0 && (r = ws_parse(s->in + at, s->in_len - at, true, &f, &used)) > 0) {
                on_frame(s, &f);
                at += used;
        }
        if (s->held > 0) { /* it stays in front of what comes behind it */
                size_t rest = s->in_len - at;

                memmove(s->in, s->held_at, s->held);
                memmove(s->in + s->held, s->in + at, rest);
                s->held_at = s->in;
                s->in_len = rest + s->held;
                return true;
        }
        memmove(s->in, s->in + at, s->in_len - at);
        s->in_len -= at;
        return r >= 0;
}

static bool feed_held(struct socket *s)
{
        size_t taken = take_input(s, s->in, s->held);

        memmove(s->in, s->in + taken, s->in_len - taken);
        s->in_len -= taken;
        s->held -= taken;
        return s->held > 0 || parse(s);
}

static bool read_in(struct socket *s)
{
        ssize_t n = read(s->fd, s->in + s->in_len, IN_CAP - s->in_len);

        if (n < 0 && (errno == EAGAIN || errno == EINTR))
                return true;
        if (n <= 0)
                return false;
        s->in_len += (size_t)n;
        return parse(s) || (put_close(s, WS_PROTOCOL), true);
}

/* ---- both ---- */

static void turn(struct socket *s, bool readable)
{
        bool alive = true;

        if (!exec_reads(s->x, &s->reader))
                put_close(s, WS_GOING); /* somebody else has attached */
        if (s->held > 0 && !s->closing)
                alive = feed_held(s);
        if (alive && readable && s->held == 0 && !s->closing)
                alive = read_in(s);
        if (!alive || !flush(s) || (s->closing && s->out_at == s->out_len)) {
                socket_free(s);
                return;
        }
        watch_set(s->watch, (short)((s->held || s->closing ? 0 : POLLIN) | (s->out_at < s->out_len ? POLLOUT : 0)));
}

static void on_socket(void *ctx)
{
        turn(ctx, true);
}

static void on_exec(void *ctx)
{
        turn(ctx, false);
}

/* A client that is gone without a word is found by that it does not answer. */
static void on_ping(void *ctx)
{
        struct socket *s = ctx;
        struct wbuf w = out_space(s);

        if (s->silent) {
                socket_free(s);
                return;
        }
        s->silent = true;
        ws_put(&w, WS_PING, NULL, "", 0);
        s->out_len += w.bad ? 0 : w.len;
        timer_set(s->ping, PING_MS);
        turn(s, false);
}

static void on_upgraded(struct request *r, struct upgrade *u, int fd, struct bytes ahead)
{
        struct call *c = call_of(r);
        struct socket *s = c->own;

        c->own = NULL;
        c->release = NULL;
        s->upgrade = u;
        s->fd = fd;
        s->in = malloc(IN_CAP);
        s->out = malloc(OUT_CAP);
        s->watch = watch_new(s->api->config.loop, fd, POLLIN, on_socket, s);
        s->ping = timer_new(s->api->config.loop, on_ping, s);
        if (!s->in || !s->out || !s->watch || !s->ping || ahead.len > IN_CAP) {
                socket_free(s);
                return;
        }
        memcpy(s->in, ahead.data ? ahead.data : (const uint8_t *)"", ahead.len);
        s->in_len = ahead.len;
        timer_set(s->ping, PING_MS);
        exec_attach(s->x, &s->reader, s->from[0], s->from[1]);
        put_place(s);
        if (!parse(s))
                put_close(s, WS_PROTOCOL);
        turn(s, false);
}

static void release(void *own)
{
        struct socket *s = own;

        exec_unref(s->x);
        free(s);
}

static bool offers(const char *list)
{
        size_t n = strlen(WS_PROTOCOL_NAME);

        while (list && *list) {
                list += strspn(list, ", \t");
                if (strncmp(list, WS_PROTOCOL_NAME, n) == 0 && (list[n] == '\0' || strchr(", \t", list[n])))
                        return true;
                list += strcspn(list, ",");
        }
        return false;
}

void websocket_attach(struct call *c, struct exec *x, uint64_t stdout_offset, uint64_t stderr_offset)
{
        const char *key = request_header(c->request, "Sec-WebSocket-Key"), *version = request_header(c->request, "Sec-WebSocket-Version");
        char accept[WS_ACCEPT_LEN + 1];
        struct err e;

        if (!key || !version || strcmp(version, "13") != 0 || !ws_accept(key, accept) ||
            !offers(request_header(c->request, "Sec-WebSocket-Protocol"))) {
                err_set(&e, ERR_INVALID_SPEC, 0, "that is no WebSocket handshake of version 13 with the protocol " WS_PROTOCOL_NAME);
                err_hint(&e, "use a WebSocket library, and name the protocol");
                call_error(c, &e);
                return;
        }
        struct socket *s = calloc(1, sizeof(*s));
        if (!s) {
                err_set(&e, ERR_RESOURCE_EXHAUSTED, 0, "out of memory");
                call_error(c, &e);
                return;
        }
        *s = (struct socket){ .api = c->api, .fd = -1, .x = exec_ref(x), .from = { stdout_offset, stderr_offset } };
        s->reader = (struct exec_reader){ on_exec, s };
        call_own(c, s, release);
        request_answer_header(c->request, "Sec-WebSocket-Accept", accept);
        request_answer_header(c->request, "Sec-WebSocket-Protocol", WS_PROTOCOL_NAME);
        request_upgrade(c->request, "websocket", on_upgraded);
}
