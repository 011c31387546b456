#include "wire/ttrpc.h"

#include <string.h>

enum wire { VARINT = 0, FIXED64 = 1, LENGTH = 2, FIXED32 = 5 };
enum { VARINT_MAX = 10 };

/* ---- frames: big endian ---- */

static uint32_t get_be32(const uint8_t *p)
{
        return (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 | p[3];
}

static void put_be32(struct wbuf *w, uint32_t v)
{
        for (int shift = 24; shift >= 0; shift -= 8)
                wbuf_u8(w, (uint8_t)(v >> shift));
}

static void put_head(struct wbuf *w, size_t len, uint32_t stream, enum ttrpc_type type)
{
        put_be32(w, (uint32_t)len);
        put_be32(w, stream);
        wbuf_u8(w, (uint8_t)type);
        wbuf_u8(w, 0);
}

int ttrpc_parse(const uint8_t *data, size_t len, struct ttrpc_frame *f, size_t *used)
{
        if (len < TTRPC_HEADER)
                return 0;
        uint32_t size = get_be32(data);
        if (size > TTRPC_FRAME_MAX || (data[8] != TTRPC_REQUEST && data[8] != TTRPC_RESPONSE))
                return -1;
        if (len - TTRPC_HEADER < size)
                return 0;
        *f = (struct ttrpc_frame){ get_be32(data + 4), data[8], data[9], { data + TTRPC_HEADER, size } };
        *used = TTRPC_HEADER + (size_t)size;
        return 1;
}

void ttrpc_put_empty(struct wbuf *w, uint32_t stream)
{
        put_head(w, 0, stream, TTRPC_RESPONSE);
}

/* ---- protobuf ---- */

static void put_varint(struct wbuf *w, uint64_t v)
{
        for (; v > 0x7f; v >>= 7)
                wbuf_u8(w, (uint8_t)(v | 0x80));
        wbuf_u8(w, (uint8_t)v);
}

static void put_bytes(struct wbuf *w, uint32_t field, const void *data, size_t len)
{
        put_varint(w, field << 3 | LENGTH);
        put_varint(w, len);
        wbuf_bytes(w, data, len);
}

/* An empty string is as good as none. */
static void put_string(struct wbuf *w, uint32_t field, const char *s)
{
        size_t len = s ? strlen(s) : 0;

        if (len > TTRPC_STRING_MAX)
                w->bad = true;
        else if (len > 0)
                put_bytes(w, field, s, len);
}

static uint64_t get_varint(struct rbuf *r)
{
        uint64_t v = 0;

        for (unsigned i = 0; i < VARINT_MAX; i++) {
                uint8_t b = rbuf_u8(r);

                if (r->bad || (i == VARINT_MAX - 1 && b > 1))
                        break;
                v |= (uint64_t)(b & 0x7f) << (7 * i);
                if (!(b & 0x80))
                        return v;
        }
        r->bad = true;
        return 0;
}

struct field {
        uint64_t number, value; /* 0 in what is fixed: nobody asks for that */
        struct bytes bytes;
        enum wire wire;
};

/* The next field; false at the end, and where the message is none. */
static bool next(struct rbuf *r, struct field *f)
{
        if (rbuf_left(r) == 0)
                return false;
        uint64_t tag = get_varint(r);
        *f = (struct field){ .number = tag >> 3, .wire = (enum wire)(tag & 7) };
        if (f->number == 0 || f->number >= 1U << 29)
                r->bad = true;
        else if (f->wire == VARINT)
                f->value = get_varint(r);
        else if (f->wire == FIXED64 || f->wire == FIXED32)
                rbuf_bytes(r, f->wire == FIXED64 ? 8 : 4);
        else if (f->wire == LENGTH)
                f->value = get_varint(r);
        else
                r->bad = true;
        if (f->wire == LENGTH && f->value > rbuf_left(r))
                r->bad = true;
        else if (f->wire == LENGTH)
                f->bytes = rbuf_bytes(r, (size_t)f->value);
        return !r->bad;
}

/* ---- messages ---- */

static int get_status(struct bytes status, struct ttrpc_response *out)
{
        struct rbuf r = rbuf_over(status.data, status.len);
        struct field f;

        while (next(&r, &f)) {
                if (f.number == 1 && f.wire == VARINT)
                        out->code = f.value > UINT32_MAX ? UINT32_MAX : (uint32_t)f.value;
                else if (f.number == 2 && f.wire == LENGTH)
                        out->message = f.bytes;
        }
        return r.bad ? -1 : 0;
}

int ttrpc_get_response(struct bytes payload, struct ttrpc_response *out)
{
        struct rbuf r = rbuf_over(payload.data, payload.len);
        struct ttrpc_response found = { 0 };
        struct field f;

        while (next(&r, &f)) {
                if (f.number == 1 && f.wire == LENGTH && get_status(f.bytes, &found) < 0)
                        return -1;
                if (f.number == 2 && f.wire == LENGTH)
                        found.payload = f.bytes;
        }
        if (r.bad)
                return -1;
        *out = found;
        return 0;
}

int task_get_wait(struct bytes payload, uint32_t *status)
{
        struct rbuf r = rbuf_over(payload.data, payload.len);
        uint32_t found = 0;
        struct field f;

        while (next(&r, &f))
                if (f.number == 1 && f.wire == VARINT)
                        found = (uint32_t)f.value;
        if (r.bad)
                return -1;
        *status = found;
        return 0;
}

static void put_request(struct wbuf *w, uint32_t stream, const char *method, const struct wbuf *message)
{
        uint8_t data[TTRPC_MESSAGE_MAX];
        struct wbuf p = wbuf_over(data, sizeof(data));

        put_string(&p, 1, "containerd.task.v2.Task");
        put_string(&p, 2, method);
        put_bytes(&p, 3, message->data, message->len);
        put_head(w, p.len, stream, TTRPC_REQUEST);
        wbuf_bytes(w, p.data, p.len);
        if (p.bad || message->bad || strlen(method) > TTRPC_METHOD_MAX)
                w->bad = true;
}

static void put_options(struct wbuf *w, const struct task_create *c)
{
        uint8_t value[TTRPC_STRING_MAX + 16], data[sizeof(value) + 128];
        struct wbuf v = wbuf_over(value, sizeof(value)), any = wbuf_over(data, sizeof(data));

        put_string(&v, c->option_field, c->option);
        put_string(&any, 1, c->options_type);
        put_bytes(&any, 2, v.data, v.len);
        put_bytes(w, 10, any.data, any.len);
        w->bad |= v.bad || any.bad;
}

void task_put_create(struct wbuf *w, uint32_t stream, const struct task_create *c)
{
        uint8_t data[TTRPC_MESSAGE_MAX];
        struct wbuf m = wbuf_over(data, sizeof(data));

        put_string(&m, 1, c->id);
        put_string(&m, 2, c->bundle);
        put_string(&m, 5, c->in);
        put_string(&m, 6, c->out);
        put_string(&m, 7, c->err);
        if (c->options_type)
                put_options(&m, c);
        put_request(w, stream, "Create", &m);
}

void task_put_call(struct wbuf *w, uint32_t stream, const char *method, const char *id)
{
        uint8_t data[TTRPC_STRING_MAX + 8];
        struct wbuf m = wbuf_over(data, sizeof(data));

        put_string(&m, 1, id);
        put_request(w, stream, method, &m);
}
