/*
 * The guest protocol, both directions. A codec is written straight down over a cursor that goes bad and stays bad (base/buf.h), and asks
 * once at its end; what a decoder accepts is what docs/protocols/guest.md allows and nothing else, because either end may be hostile.
 */
#include "wire/guest.h"

#include <string.h>

#include "base/err.h"

static uint32_t le32(const uint8_t *p)
{
        return (uint32_t)p[0] | (uint32_t)p[1] << 8 | (uint32_t)p[2] << 16 | (uint32_t)p[3] << 24;
}

int guest_frame_parse(const void *data, size_t len, uint32_t max, struct guest_frame *frame, size_t *used)
{
        const uint8_t *p = data;

        *used = 0;
        if (len < 4)
                return 0;
        uint32_t length = le32(p);
        if (length > max)
                return -1;
        *used = GUEST_HEADER + (size_t)length;
        if (len < GUEST_HEADER)
                return 0;
        if ((p[6] & ~GUEST_MORE) != 0 || p[7] != 0)
                return -1;
        if (len < *used)
                return 0;
        *frame = (struct guest_frame){
                .type = (uint16_t)(p[4] | p[5] << 8),
                .flags = p[6],
                .channel = le32(p + 8),
                .payload = { p + GUEST_HEADER, length },
        };
        return 1;
}

void guest_frame_header(uint8_t out[GUEST_HEADER], uint16_t type, uint8_t flags, uint32_t channel, uint32_t length)
{
        struct wbuf w = wbuf_over(out, GUEST_HEADER);

        wbuf_u32(&w, length);
        wbuf_u16(&w, type);
        wbuf_u8(&w, flags);
        wbuf_u8(&w, 0);
        wbuf_u32(&w, channel);
}

void guest_frame_put(struct wbuf *w, uint16_t type, uint8_t flags, uint32_t channel, const void *payload, size_t len)
{
        uint8_t header[GUEST_HEADER];

        if (len > GUEST_FRAME_MAX) {
                w->bad = true;
                return;
        }
        if (w->bad || len + GUEST_HEADER > w->cap - w->len) {
                w->bad = true;
                return;
        }
        guest_frame_header(header, type, flags, channel, (uint32_t)len);
        wbuf_bytes(w, header, sizeof(header));
        wbuf_bytes(w, payload, len);
}

static int done(const struct rbuf *r, bool valid)
{
        return rbuf_done(r) && valid ? 0 : -1;
}

static void get_bytes(struct rbuf *r, uint8_t *out, size_t len)
{
        struct bytes b = rbuf_bytes(r, len);

        if (b.len == len)
                memcpy(out, b.data, len);
}

void guest_put_hello(struct wbuf *w, const struct guest_hello *m)
{
        wbuf_u32(w, m->version);
        wbuf_u32(w, m->max_frame);
        wbuf_u64(w, m->epoch);
}

static bool max_frame_valid(uint32_t max)
{
        return max >= GUEST_FRAME_MIN_MAX && max <= GUEST_FRAME_MAX;
}

int guest_get_hello(struct bytes payload, struct guest_hello *m)
{
        struct rbuf r = rbuf_over(payload.data, payload.len);

        m->version = rbuf_u32(&r);
        m->max_frame = rbuf_u32(&r);
        m->epoch = rbuf_u64(&r);
        return done(&r, max_frame_valid(m->max_frame));
}

void guest_put_hello_ok(struct wbuf *w, const struct guest_hello_ok *m)
{
        wbuf_u32(w, m->version);
        wbuf_u32(w, m->max_frame);
        wbuf_u64(w, m->epoch);
        wbuf_u32(w, m->last);
        wbuf_bytes(w, m->bound, GUEST_CLAIM);
        wbuf_u32(w, m->count);
        for (uint32_t i = 0; i < m->count && i < GUEST_EXECS_MAX; i++) {
                const struct guest_channel_state *c = &m->channels[i];

                wbuf_u32(w, c->channel);
                wbuf_u8(w, c->state);
                wbuf_u64(w, c->stdin_taken);
                wbuf_u64(w, c->stdout_acked);
                wbuf_u64(w, c->stderr_acked);
        }
        if (m->count > GUEST_EXECS_MAX)
                w->bad = true;
}

int guest_get_hello_ok(struct bytes payload, struct guest_hello_ok *m)
{
        struct rbuf r = rbuf_over(payload.data, payload.len);
        bool valid;

        m->version = rbuf_u32(&r);
        m->max_frame = rbuf_u32(&r);
        m->epoch = rbuf_u64(&r);
        m->last = rbuf_u32(&r);
        get_bytes(&r, m->bound, GUEST_CLAIM);
        m->count = rbuf_u32(&r);
        valid = max_frame_valid(m->max_frame) && m->count <= GUEST_EXECS_MAX;
        for (uint32_t i = 0; valid && !r.bad && i < m->count; i++) {
                struct guest_channel_state *c = &m->channels[i];

                c->channel = rbuf_u32(&r);
                c->state = rbuf_u8(&r);
                c->stdin_taken = rbuf_u64(&r);
                c->stdout_acked = rbuf_u64(&r);
                c->stderr_acked = rbuf_u64(&r);
                uint8_t state = (uint8_t)(c->state & ~GUEST_STATE_PREWARM);
                valid = c->channel != 0 && c->channel <= m->last && (state == GUEST_STATE_RUNNING || state == GUEST_STATE_EXITED);
        }
        return done(&r, valid);
}

static void put_strings(struct wbuf *w, const char *const *strings)
{
        uint32_t count = 0;

        while (strings && strings[count])
                count++;
        wbuf_u32(w, count);
        for (uint32_t i = 0; i < count; i++)
                wbuf_str(w, strings[i]);
}

void guest_put_exec(struct wbuf *w, const struct guest_exec *m, const char *const *argv, const char *const *env)
{
        wbuf_u8(w, m->kind);
        wbuf_u8(w, m->flags);
        wbuf_u16(w, m->rows);
        wbuf_u16(w, m->cols);
        wbuf_u32(w, m->timeout_ms);
        wbuf_blob(w, m->user.data, m->user.len);
        wbuf_blob(w, m->cwd.data, m->cwd.len);
        put_strings(w, argv);
        put_strings(w, env);
        wbuf_u32(w, m->uid);
        wbuf_u32(w, m->gid);
}

static struct bytes get_string(struct rbuf *r, size_t max)
{
        struct bytes b = rbuf_blob(r, max);

        if (b.len > 0 && memchr(b.data, 0, b.len))
                r->bad = true;
        return b;
}

/* A counted list of strings; *strings is set to a cursor over them. `env`: each must be NAME=value. */
static uint32_t get_strings(struct rbuf *r, uint32_t max, bool env, struct rbuf *strings)
{
        uint32_t count = rbuf_u32(r);
        size_t start = r->pos;

        if (count > max)
                r->bad = true;
        for (uint32_t i = 0; i < count && !r->bad; i++) {
                struct bytes b = get_string(r, GUEST_STR_MAX);

                if (env && !r->bad && (b.len == 0 || b.data[0] == '=' || !memchr(b.data, '=', b.len)))
                        r->bad = true;
        }
        *strings = r->bad ? rbuf_over(NULL, 0) : rbuf_over(r->data + start, r->pos - start);
        return count;
}

int guest_get_exec(struct bytes request, struct guest_exec *m)
{
        struct rbuf r = rbuf_over(request.data, request.len);

        if (request.len > GUEST_EXEC_MAX)
                return -1;
        m->kind = rbuf_u8(&r);
        m->flags = rbuf_u8(&r);
        m->rows = rbuf_u16(&r);
        m->cols = rbuf_u16(&r);
        m->timeout_ms = rbuf_u32(&r);
        m->user = get_string(&r, GUEST_USER_MAX);
        m->cwd = get_string(&r, GUEST_PATH_MAX);
        m->argc = get_strings(&r, GUEST_ARG_MAX, false, &m->args);
        m->envc = get_strings(&r, GUEST_ENV_MAX, true, &m->envs);
        m->uid = rbuf_u32(&r);
        m->gid = rbuf_u32(&r);
        return done(&r, m->kind < GUEST_KIND_COUNT &&
                                (m->flags & ~(GUEST_EXEC_TTY | GUEST_EXEC_STDIN | GUEST_EXEC_WARM | GUEST_EXEC_BOUND)) == 0);
}

struct bytes guest_exec_next(struct rbuf *strings)
{
        return rbuf_blob(strings, GUEST_STR_MAX);
}

void guest_put_stdin(struct wbuf *w, uint64_t offset, const void *data, size_t len)
{
        wbuf_u64(w, offset);
        wbuf_bytes(w, data, len);
}

/* The bytes at the end of a data frame: at least one, and not so many that the offset after them overflows. */
static int get_data(struct rbuf *r, struct guest_data *m, bool valid)
{
        m->offset = rbuf_u64(r);
        m->bytes = rbuf_bytes(r, rbuf_left(r));
        return done(r, valid && m->bytes.len > 0 && m->offset <= UINT64_MAX - m->bytes.len);
}

static bool stream_valid(uint8_t stream)
{
        return stream == GUEST_STDOUT || stream == GUEST_STDERR;
}

int guest_get_stdin(struct bytes payload, struct guest_data *m)
{
        struct rbuf r = rbuf_over(payload.data, payload.len);

        m->stream = 0;
        return get_data(&r, m, true);
}

void guest_put_output(struct wbuf *w, uint8_t stream, uint64_t offset, const void *data, size_t len)
{
        wbuf_u8(w, stream);
        wbuf_u64(w, offset);
        wbuf_bytes(w, data, len);
}

int guest_get_output(struct bytes payload, struct guest_data *m)
{
        struct rbuf r = rbuf_over(payload.data, payload.len);

        m->stream = rbuf_u8(&r);
        return get_data(&r, m, stream_valid(m->stream));
}

void guest_put_ack(struct wbuf *w, uint8_t stream, uint64_t offset)
{
        wbuf_u8(w, stream);
        wbuf_u64(w, offset);
}

int guest_get_ack(struct bytes payload, uint8_t *stream, uint64_t *offset)
{
        struct rbuf r = rbuf_over(payload.data, payload.len);

        *stream = rbuf_u8(&r);
        *offset = rbuf_u64(&r);
        return done(&r, stream_valid(*stream));
}

void guest_put_signal(struct wbuf *w, uint32_t signo, uint8_t scope)
{
        wbuf_u32(w, signo);
        wbuf_u8(w, scope);
}

int guest_get_signal(struct bytes payload, uint32_t *signo, uint8_t *scope)
{
        struct rbuf r = rbuf_over(payload.data, payload.len);

        *signo = rbuf_u32(&r);
        *scope = rbuf_u8(&r);
        return done(&r, *signo >= 1 && *signo <= 64 && *scope <= 1);
}

void guest_put_resize(struct wbuf *w, uint16_t rows, uint16_t cols)
{
        wbuf_u16(w, rows);
        wbuf_u16(w, cols);
}

int guest_get_resize(struct bytes payload, uint16_t *rows, uint16_t *cols)
{
        struct rbuf r = rbuf_over(payload.data, payload.len);

        *rows = rbuf_u16(&r);
        *cols = rbuf_u16(&r);
        return done(&r, true);
}

void guest_put_exit(struct wbuf *w, const struct guest_exit *m)
{
        wbuf_u32(w, (uint32_t)m->code);
        wbuf_u32(w, (uint32_t)m->signal);
        wbuf_u32(w, m->reason);
        wbuf_u64(w, m->stdout_total);
        wbuf_u64(w, m->stderr_total);
        wbuf_u64(w, m->dropped);
        wbuf_u64(w, m->user_us);
        wbuf_u64(w, m->system_us);
        wbuf_u64(w, m->peak_kib);
        wbuf_u64(w, m->refused);
}

int guest_get_exit(struct bytes payload, struct guest_exit *m)
{
        struct rbuf r = rbuf_over(payload.data, payload.len);

        m->code = (int32_t)rbuf_u32(&r);
        m->signal = (int32_t)rbuf_u32(&r);
        m->reason = rbuf_u32(&r);
        m->stdout_total = rbuf_u64(&r);
        m->stderr_total = rbuf_u64(&r);
        m->dropped = rbuf_u64(&r);
        m->user_us = rbuf_u64(&r);
        m->system_us = rbuf_u64(&r);
        m->peak_kib = rbuf_u64(&r);
        m->refused = rbuf_u64(&r);
        bool exited = m->signal == 0 && m->code >= 0 && m->code <= 255;
        bool killed = m->signal >= 1 && m->signal <= 64 && m->code == -1;
        return done(&r, (exited || killed) && m->reason <= (GUEST_REASON_TIMEOUT | GUEST_REASON_DISK | GUEST_REASON_INODES |
                                                            GUEST_REASON_MEMORY | GUEST_REASON_PIDS));
}

void guest_put_failed(struct wbuf *w, const struct guest_failed *m)
{
        wbuf_u32(w, m->code);
        wbuf_u32(w, (uint32_t)m->sys);
        wbuf_u8(w, m->stage);
        wbuf_blob(w, m->message, strnlen(m->message, sizeof(m->message) - 1));
}

int guest_get_failed(struct bytes payload, struct guest_failed *m)
{
        struct rbuf r = rbuf_over(payload.data, payload.len);

        m->code = rbuf_u32(&r);
        m->sys = (int32_t)rbuf_u32(&r);
        m->stage = rbuf_u8(&r);
        rbuf_str(&r, m->message, sizeof(m->message));
        return done(&r, m->code > ERR_NONE && m->code < ERR_CODE_COUNT && m->sys >= 0 && m->stage <= GUEST_STAGE_SYSTEM);
}

void guest_put_stats(struct wbuf *w, const struct guest_stats *m)
{
        wbuf_u64(w, m->disk_total);
        wbuf_u64(w, m->disk_free);
        wbuf_u64(w, m->inodes_total);
        wbuf_u64(w, m->inodes_free);
        wbuf_u32(w, m->processes);
        wbuf_u64(w, m->violations);
        wbuf_u32(w, m->count);
        for (uint32_t i = 0; i < m->count && i < GUEST_CALLS_MAX; i++) {
                wbuf_u32(w, m->calls[i].number);
                wbuf_u64(w, m->calls[i].times);
        }
        if (m->count > GUEST_CALLS_MAX)
                w->bad = true;
}

int guest_get_stats(struct bytes payload, struct guest_stats *m)
{
        struct rbuf r = rbuf_over(payload.data, payload.len);

        m->disk_total = rbuf_u64(&r);
        m->disk_free = rbuf_u64(&r);
        m->inodes_total = rbuf_u64(&r);
        m->inodes_free = rbuf_u64(&r);
        m->processes = rbuf_u32(&r);
        m->violations = rbuf_u64(&r);
        m->count = rbuf_u32(&r);
        if (m->count > GUEST_CALLS_MAX)
                return -1;
        for (uint32_t i = 0; i < m->count && !r.bad; i++) {
                m->calls[i].number = rbuf_u32(&r);
                m->calls[i].times = rbuf_u64(&r);
        }
        return done(&r, true);
}

void guest_put_u64(struct wbuf *w, uint64_t v)
{
        wbuf_u64(w, v);
}

int guest_get_u64(struct bytes payload, uint64_t *v)
{
        struct rbuf r = rbuf_over(payload.data, payload.len);

        *v = rbuf_u64(&r);
        return done(&r, true);
}

void guest_put_u32(struct wbuf *w, uint32_t v)
{
        wbuf_u32(w, v);
}

int guest_get_u32(struct bytes payload, uint32_t *v)
{
        struct rbuf r = rbuf_over(payload.data, payload.len);

        *v = rbuf_u32(&r);
        return done(&r, true);
}

bool guest_claim_is_none(const uint8_t claim[GUEST_CLAIM])
{
        static const uint8_t none[GUEST_CLAIM];

        return memcmp(claim, none, GUEST_CLAIM) == 0;
}

void guest_put_claim(struct wbuf *w, const uint8_t claim[GUEST_CLAIM])
{
        wbuf_bytes(w, claim, GUEST_CLAIM);
}

int guest_get_claim(struct bytes payload, uint8_t claim[GUEST_CLAIM])
{
        struct rbuf r = rbuf_over(payload.data, payload.len);

        get_bytes(&r, claim, GUEST_CLAIM);
        return done(&r, !r.bad && !guest_claim_is_none(claim));
}

void guest_put_text(struct wbuf *w, const char *text)
{
        wbuf_str(w, text);
}

int guest_get_text(struct bytes payload, char *out, size_t cap)
{
        struct rbuf r = rbuf_over(payload.data, payload.len);

        rbuf_str(&r, out, cap);
        return done(&r, true);
}
