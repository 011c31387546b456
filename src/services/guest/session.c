#include "services/guest/guest.h"

#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/fd.h"

enum { IN_CAP = 4 * (GUEST_HEADER + GUEST_FRAME_MAX), OUT_MIN = 1024, OUT_KEPT = 4096, OUT_MAX = 4 * GUEST_EXEC_MAX };

struct session_exec {
        struct session *session;
        struct session_exec *next;
        uint32_t id;
        enum session_end state;
        bool started;
        session_output_fn *output;
        void *ctx;
        uint64_t seen[2], acked[2]; /* output taken, and said so */
        bool by_hand;               /* acknowledged by session_exec_ack(), not when taken */
        uint64_t in_sent, in_window;
        struct guest_exit exit;
        struct guest_failed failed;
};

struct session {
        int fd;
        bool greeted, ended;
        bool serial; /* what came before our greeting is not ours */
        uint64_t epoch;
        uint32_t own_max; /* of our frames, whatever the other end takes */
        int held;         /* the stream whose output nobody took yet, or 0 */
        uint32_t max_frame;
        uint32_t last_id;
        struct session_exec *execs;
        uint32_t binds;                                 /* BIND frames that were not answered yet */
        uint8_t asked[GUEST_CLAIM], bound[GUEST_CLAIM]; /* the first of them; what the sandbox has said */
        bool have_stats;
        struct guest_stats stats;
        session_adopt_fn *adopt;
        void *adopt_ctx;
        size_t in_len, out_at, out_len, out_cap;
        uint8_t *in; /* what is not parsed yet: part of a frame, or what is held; between the steps only */
        uint8_t *out;
};

/* ---- out ---- */

static bool out_room(struct session *s, size_t len)
{
        if (s->out_at > 0) {
                s->out_len -= s->out_at;
                memmove(s->out, s->out + s->out_at, s->out_len);
                s->out_at = 0;
        }
        if (len <= s->out_cap - s->out_len)
                return true;
        size_t cap = s->out_cap ? s->out_cap : OUT_MIN;
        while (cap - s->out_len < len && cap < OUT_MAX)
                cap *= 2;
        uint8_t *more = cap - s->out_len < len ? NULL : realloc(s->out, cap);
        if (!more)
                return false;
        s->out = more;
        s->out_cap = cap;
        return true;
}

/* Frames are small but for EXEC and STDIN, which their callers bound; a session that cannot hold them has ended. */
static void put(struct session *s, uint16_t type, uint8_t flags, uint32_t channel, const void *payload, size_t len)
{
        if (!out_room(s, GUEST_HEADER + len)) {
                s->ended = true;
                return;
        }
        struct wbuf w = wbuf_over(s->out + s->out_len, s->out_cap - s->out_len);
        guest_frame_put(&w, type, flags, channel, payload, len);
        s->out_len += w.len;
}

static int write_out(struct session *s, struct err *e)
{
        while (s->out_at < s->out_len) {
                ssize_t n = write(s->fd, s->out + s->out_at, s->out_len - s->out_at);

                if (n < 0 && errno == EINTR)
                        continue;
                if (n < 0 && errno == EAGAIN)
                        return 0;
                if (n < 0 && (errno == EPIPE || errno == ECONNRESET)) {
                        s->out_at = s->out_len = 0;
                        return 0; /* what was said before is still to be read */
                }
                if (n < 0)
                        return err_sys(e, "cannot write to the sandbox");
                s->out_at += (size_t)n;
        }
        s->out_at = s->out_len = 0;
        if (s->out_cap > OUT_KEPT) {
                free(s->out);
                s->out = NULL;
                s->out_cap = 0;
        }
        return 0;
}

static void send_acks(struct session *s)
{
        for (struct session_exec *x = s->execs; x; x = x->next)
                for (unsigned i = 0; i < 2; i++) {
                        uint8_t space[16];
                        struct wbuf p = wbuf_over(space, sizeof(space));

                        if (x->by_hand || x->acked[i] == x->seen[i])
                                continue;
                        guest_put_ack(&p, (uint8_t)(GUEST_STDOUT + i), x->seen[i]);
                        put(s, GUEST_ACK, 0, x->id, space, p.len);
                        x->acked[i] = x->seen[i];
                }
}

/* ---- in ---- */

static struct session_exec *find(struct session *s, uint32_t id)
{
        for (struct session_exec *x = s->execs; x; x = x->next)
                if (x->id == id)
                        return x;
        return NULL;
}

static int broken(struct err *e, const char *what)
{
        err_set(e, ERR_INTERNAL_ERROR, 0, "the sandbox broke the protocol: %s", what);
        return err_hint(e, "treat it as compromised; it is being terminated");
}

static int on_output(struct session_exec *x, struct bytes payload, struct err *e)
{
        struct guest_data d;

        if (guest_get_output(payload, &d) < 0)
                return broken(e, "malformed output");
        uint64_t *seen = &x->seen[d.stream - GUEST_STDOUT];
        if (d.offset > *seen || d.offset + d.bytes.len > x->acked[d.stream - GUEST_STDOUT] + GUEST_RING)
                return broken(e, "output out of order");
        if (d.offset + d.bytes.len <= *seen)
                return 0; /* sent again after a new connection */
        size_t rest = (size_t)(d.offset + d.bytes.len - *seen);
        ssize_t taken = x->output ? x->output(x->ctx, d.stream, d.bytes.data + d.bytes.len - rest, rest) : (ssize_t)rest;
        if (taken < 0)
                return err_set(e, ERR_INTERNAL_ERROR, EPIPE, "nobody takes the output");
        *seen += (size_t)taken;
        x->session->held = (size_t)taken < rest ? d.stream : 0;
        return 0;
}

static int on_end(struct session_exec *x, const struct guest_frame *f, struct err *e)
{
        if (f->type == GUEST_EXIT) {
                if (guest_get_exit(f->payload, &x->exit) < 0 || x->exit.stdout_total != x->seen[0] || x->exit.stderr_total != x->seen[1])
                        return broken(e, "an exit that does not fit its output");
                x->state = SESSION_EXITED;
        } else {
                if (guest_get_failed(f->payload, &x->failed) < 0 || x->failed.code >= ERR_CODE_COUNT)
                        return broken(e, "a malformed failure");
                x->state = SESSION_FAILED;
        }
        return 0;
}

static int exec_frame(struct session_exec *x, const struct guest_frame *f, struct err *e)
{
        uint32_t pid;
        uint64_t offset;

        if (x->state != SESSION_RUNNING)
                return broken(e, "a frame after an end");
        switch (f->type) {
        case GUEST_STARTED:
                if (guest_get_u32(f->payload, &pid) < 0)
                        return broken(e, "a malformed start");
                x->started = true;
                return 0;
        case GUEST_STDIN_WINDOW:
                if (guest_get_u64(f->payload, &offset) < 0 || offset < x->in_window || offset > x->in_sent + GUEST_RING)
                        return broken(e, "a window that shrinks or leaps");
                x->in_window = offset;
                return 0;
        case GUEST_OUTPUT:
                return on_output(x, f->payload, e);
        case GUEST_EXIT:
        case GUEST_FAILED:
                return on_end(x, f, e);
        }
        return broken(e, "an unknown frame");
}

/* What an earlier connection began and did not release. */
static int adopt(struct session *s, const struct guest_channel_state *c, struct err *e)
{
        struct session_exec *x = calloc(1, sizeof(*x));

        if (!x)
                return err_set(e, ERR_RESOURCE_EXHAUSTED, 0, "out of memory");
        *x = (struct session_exec){ .session = s,
                                    .next = s->execs,
                                    .id = c->channel,
                                    .seen = { c->stdout_acked, c->stderr_acked },
                                    .acked = { c->stdout_acked, c->stderr_acked },
                                    .in_sent = c->stdin_taken,
                                    .in_window = c->stdin_taken };
        s->execs = x;
        if (s->adopt)
                s->adopt(s->adopt_ctx, x, c);
        return 0;
}

static int on_greeting(struct session *s, const struct guest_frame *f, struct err *e)
{
        static _Thread_local struct guest_hello_ok ok;

        if (s->serial && f->type != GUEST_HELLO_OK)
                return 0;
        if (f->type != GUEST_HELLO_OK || guest_get_hello_ok(f->payload, &ok) < 0)
                return broken(e, "no greeting");
        if (s->serial && ok.epoch < s->epoch)
                return 0; /* the answer to an earlier one */
        s->greeted = true;
        s->max_frame = ok.max_frame < s->own_max ? ok.max_frame : s->own_max;
        memcpy(s->bound, ok.bound, GUEST_CLAIM);
        for (uint32_t i = 0; i < ok.count; i++)
                if (adopt(s, &ok.channels[i], e) < 0)
                        return -(int)e->code;
        if (ok.last > s->last_id)
                s->last_id = ok.last;
        return 0;
}

/* Unbound it must take what it was asked first; bound it stays so. */
static int on_bound(struct session *s, struct bytes payload, struct err *e)
{
        const uint8_t *expected = guest_claim_is_none(s->bound) ? s->asked : s->bound;
        uint8_t claim[GUEST_CLAIM];

        if (s->binds == 0)
                return broken(e, "bound without being asked");
        if (guest_get_claim(payload, claim) < 0 || memcmp(claim, expected, GUEST_CLAIM) != 0)
                return broken(e, "bound to another claim than it can be");
        s->binds--;
        memcpy(s->bound, claim, GUEST_CLAIM);
        return 0;
}

static int on_frame(struct session *s, const struct guest_frame *f, struct err *e)
{
        char text[256];

        if (f->type == GUEST_PROTOCOL_ERROR)
                return err_set(e, ERR_INTERNAL_ERROR, 0, "the sandbox refused our protocol: %s",
                               guest_get_text(f->payload, text, sizeof(text)) == 0 ? text : "?");
        if (!s->greeted)
                return on_greeting(s, f, e);
        if (f->type == GUEST_STATS_REPLY && f->channel == 0) {
                if (guest_get_stats(f->payload, &s->stats) < 0)
                        return broken(e, "malformed counts");
                s->have_stats = true;
                return 0;
        }
        if (f->type == GUEST_BOUND && f->channel == 0)
                return on_bound(s, f->payload, e);
        struct session_exec *x = find(s, f->channel);
        if (x)
                return exec_frame(x, f, e);
        return f->channel != 0 && f->channel <= s->last_id ? 0 : broken(e, "a channel that was never opened");
}

/* Parses what is in `data`; returns how much of it is left over, at its end, or a negative code. */
static ssize_t parse(struct session *s, const uint8_t *data, size_t len, struct err *e)
{
        struct guest_frame f;
        size_t at = 0, used;
        int r;

        while ((r = guest_frame_parse(data + at, len - at, GUEST_FRAME_MAX, &f, &used)) > 0) {
                if (on_frame(s, &f, e) < 0)
                        return -(int)e->code;
                if (s->held) /* the frame stays, and its rest is looked at again */
                        break;
                at += used;
        }
        return r < 0 ? broken(e, "bytes that are no frame") : (ssize_t)(len - at);
}

static void lose_all(struct session *s)
{
        for (struct session_exec *x = s->execs; x; x = x->next)
                if (x->state == SESSION_RUNNING)
                        x->state = SESSION_LOST;
}

/* Keeps the last `left` of the `len` bytes in `data` for the next step. */
static int keep(struct session *s, const uint8_t *data, size_t len, size_t left, struct err *e)
{
        uint8_t *in = left > 0 ? malloc(left) : NULL;

        if (left > 0 && !in)
                return err_set(e, ERR_RESOURCE_EXHAUSTED, 0, "out of memory");
        if (in)
                memcpy(in, data + len - left, left);
        free(s->in);
        s->in = in;
        s->in_len = left;
        return 0;
}

/* What is left from before, and unless that is held what there is to read, is parsed in one buffer that all sessions of a thread share. */
static int read_in(struct session *s, struct err *e)
{
        static _Thread_local uint8_t data[IN_CAP];
        size_t len = s->in_len;
        ssize_t left;

        if (len > 0)
                memcpy(data, s->in, len);
        if (s->held) {
                s->held = 0;
                if ((left = parse(s, data, len, e)) < 0)
                        return (int)left;
                if (s->held)
                        return keep(s, data, len, (size_t)left, e);
                memmove(data, data + len - (size_t)left, (size_t)left);
                len = (size_t)left;
        }
        ssize_t n = recv(s->fd, data + len, sizeof(data) - len, MSG_DONTWAIT);
        if (n < 0 && errno != EAGAIN && errno != EINTR && errno != ECONNRESET)
                return err_sys(e, "cannot read from the sandbox");
        if (n == 0 || (n < 0 && errno == ECONNRESET))
                s->ended = true;
        if (n > 0)
                len += (size_t)n;
        if ((left = parse(s, data, len, e)) < 0)
                return (int)left;
        return keep(s, data, len, (size_t)left, e);
}

int session_step(struct session *s, struct err *e)
{
        if (write_out(s, e) < 0 || read_in(s, e) < 0)
                return -(int)e->code;
        send_acks(s);
        if (s->ended && !s->held) {
                lose_all(s);
                return 1;
        }
        return write_out(s, e);
}

/* ---- what the owner calls ---- */

int session_new(int fd, uint64_t epoch, struct session **out, struct err *e)
{
        const struct guest_hello hello = { GUEST_VERSION, GUEST_FRAME_MAX, epoch };
        uint8_t space[32];
        struct wbuf p = wbuf_over(space, sizeof(space));
        struct session *s = malloc(sizeof(*s));

        if (!s || fd_set_nonblock(fd, true) < 0) {
                free(s);
                close(fd);
                return err_set(e, ERR_RESOURCE_EXHAUSTED, 0, "out of memory");
        }
        *s = (struct session){ .fd = fd, .max_frame = GUEST_FRAME_MIN_MAX, .own_max = GUEST_FRAME_MAX, .epoch = epoch };
        guest_put_hello(&p, &hello);
        put(s, GUEST_HELLO, 0, 0, space, p.len);
        *out = s;
        return 0;
}

void session_over_serial(struct session *s, uint32_t max)
{
        s->serial = true;
        s->own_max = max;
}

void session_channels_from(struct session *s, uint32_t first)
{
        if (s->last_id + 1 < first)
                s->last_id = first - 1;
}

void session_free(struct session *s)
{
        if (!s)
                return;
        while (s->execs)
                session_exec_free(s->execs);
        close(s->fd);
        free(s->in);
        free(s->out);
        free(s);
}

void session_on_adopt(struct session *s, session_adopt_fn *adopt_one, void *ctx)
{
        s->adopt = adopt_one;
        s->adopt_ctx = ctx;
}

bool session_greeted(const struct session *s)
{
        return s->greeted;
}

int session_fd(const struct session *s)
{
        return s->fd;
}

short session_events(const struct session *s)
{
        return (short)((s->held ? 0 : POLLIN) | (s->out_at < s->out_len ? POLLOUT : 0));
}

int session_held(const struct session *s)
{
        return s->held;
}

void session_flush(struct session *s)
{
        struct err ignored; /* it comes again with the next step */

        write_out(s, &ignored);
}

void session_bind(struct session *s, const uint8_t claim[GUEST_CLAIM])
{
        if (guest_claim_is_none(s->asked))
                memcpy(s->asked, claim, GUEST_CLAIM);
        s->binds++;
        put(s, GUEST_BIND, 0, 0, claim, GUEST_CLAIM);
}

const uint8_t *session_bound(const struct session *s)
{
        return guest_claim_is_none(s->bound) ? NULL : s->bound;
}

/* A request goes out in pieces of the size that any peer takes, since its own maximum is not known yet. */
static void send_request(struct session *s, uint32_t id, const uint8_t *request, size_t len)
{
        size_t piece = s->greeted ? s->max_frame : s->own_max;

        for (size_t at = 0; at == 0 || at < len; at += piece) {
                size_t n = len - at < piece ? len - at : piece;

                put(s, GUEST_EXEC, at + n < len ? GUEST_MORE : 0, id, request + at, n);
        }
}

int session_exec_new(struct session *s, const struct guest_exec *req, const char *const *argv, const char *const *env,
                     session_output_fn *output, void *ctx, struct session_exec **out, struct err *e)
{
        static _Thread_local uint8_t request[GUEST_EXEC_MAX];
        struct session_exec *x = calloc(1, sizeof(*x));
        struct wbuf w = wbuf_over(request, sizeof(request));

        if (!x)
                return err_set(e, ERR_RESOURCE_EXHAUSTED, 0, "out of memory");
        guest_put_exec(&w, req, argv, env);
        if (w.bad) {
                free(x);
                return err_set(e, ERR_INVALID_SPEC, 0, "arguments and environment are more than %d bytes", GUEST_EXEC_MAX);
        }
        *x = (struct session_exec){ .session = s, .next = s->execs, .id = ++s->last_id, .output = output, .ctx = ctx };
        s->execs = x;
        send_request(s, x->id, request, w.len);
        explicit_bzero(request, w.len); /* it may name secrets */
        *out = x;
        return 0;
}

void session_exec_free(struct session_exec *x)
{
        if (!x)
                return;
        for (struct session_exec **at = &x->session->execs; *at; at = &(*at)->next)
                if (*at == x) {
                        *at = x->next;
                        break;
                }
        if (x->state == SESSION_EXITED || x->state == SESSION_FAILED)
                put(x->session, GUEST_RELEASE, 0, x->id, NULL, 0);
        free(x);
}

uint32_t session_exec_channel(const struct session_exec *x)
{
        return x->id;
}

void session_exec_bind(struct session_exec *x, session_output_fn *output, void *ctx)
{
        x->output = output;
        x->ctx = ctx;
        x->by_hand = true;
}

void session_exec_ack(struct session_exec *x, int stream, uint64_t offset)
{
        uint64_t *acked = &x->acked[stream - GUEST_STDOUT];
        uint8_t space[16];
        struct wbuf p = wbuf_over(space, sizeof(space));

        if (offset <= *acked || offset > x->seen[stream - GUEST_STDOUT])
                return;
        guest_put_ack(&p, (uint8_t)stream, offset);
        put(x->session, GUEST_ACK, 0, x->id, space, p.len);
        *acked = offset;
}

uint64_t session_exec_sent(const struct session_exec *x)
{
        return x->in_sent;
}

enum session_end session_exec_state(const struct session_exec *x)
{
        return x->state;
}

bool session_exec_started(const struct session_exec *x)
{
        return x->started;
}

const struct guest_exit *session_exec_exit(const struct session_exec *x)
{
        return &x->exit;
}

const struct guest_failed *session_exec_failed(const struct session_exec *x)
{
        return &x->failed;
}

size_t session_exec_room(const struct session_exec *x)
{
        uint64_t room = x->state == SESSION_RUNNING ? x->in_window - x->in_sent : 0;
        size_t frame = x->session->max_frame - 8;

        if (x->session->out_len - x->session->out_at > GUEST_RING)
                return 0;
        return room < frame ? (size_t)room : frame;
}

void session_exec_write(struct session_exec *x, const void *data, size_t len)
{
        static _Thread_local uint8_t space[GUEST_FRAME_MAX];
        struct wbuf p = wbuf_over(space, sizeof(space));

        guest_put_stdin(&p, x->in_sent, data, len);
        put(x->session, GUEST_STDIN, 0, x->id, space, p.len);
        x->in_sent += len;
}

void session_exec_eof(struct session_exec *x)
{
        uint8_t space[8];
        struct wbuf p = wbuf_over(space, sizeof(space));

        guest_put_u64(&p, x->in_sent);
        put(x->session, GUEST_STDIN_EOF, 0, x->id, space, p.len);
}

void session_exec_signal(struct session_exec *x, int signo, bool group)
{
        uint8_t space[8];
        struct wbuf p = wbuf_over(space, sizeof(space));

        guest_put_signal(&p, (uint32_t)signo, group);
        put(x->session, GUEST_SIGNAL, 0, x->id, space, p.len);
}

void session_exec_resize(struct session_exec *x, uint16_t rows, uint16_t cols)
{
        uint8_t space[8];
        struct wbuf p = wbuf_over(space, sizeof(space));

        guest_put_resize(&p, rows, cols);
        put(x->session, GUEST_RESIZE, 0, x->id, space, p.len);
}

void session_ask_stats(struct session *s)
{
        s->have_stats = false;
        put(s, GUEST_STATS, 0, 0, NULL, 0);
}

const struct guest_stats *session_stats(const struct session *s)
{
        return s->have_stats ? &s->stats : NULL;
}
