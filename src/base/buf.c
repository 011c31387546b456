#include "base/buf.h"

#include <string.h>

static uint8_t *wbuf_room(struct wbuf *w, size_t n)
{
        if (w->bad || (n > w->cap - w->len && !(w->grow && w->grow(w, n)))) {
                w->bad = true;
                return NULL;
        }
        uint8_t *p = w->data + w->len;
        w->len += n;
        return p;
}

static void wbuf_le(struct wbuf *w, uint64_t v, size_t n)
{
        uint8_t *p = wbuf_room(w, n);

        for (size_t i = 0; p && i < n; i++)
                p[i] = (uint8_t)(v >> (8 * i));
}

void wbuf_u8(struct wbuf *w, uint8_t v)
{
        wbuf_le(w, v, 1);
}

void wbuf_u16(struct wbuf *w, uint16_t v)
{
        wbuf_le(w, v, 2);
}

void wbuf_u32(struct wbuf *w, uint32_t v)
{
        wbuf_le(w, v, 4);
}

void wbuf_u64(struct wbuf *w, uint64_t v)
{
        wbuf_le(w, v, 8);
}

void wbuf_bytes(struct wbuf *w, const void *data, size_t len)
{
        uint8_t *p = wbuf_room(w, len);

        if (p && len > 0)
                memcpy(p, data, len);
}

void wbuf_blob(struct wbuf *w, const void *data, size_t len)
{
        if (len > UINT32_MAX) {
                w->bad = true;
                return;
        }
        wbuf_u32(w, (uint32_t)len);
        wbuf_bytes(w, data, len);
}

void wbuf_str(struct wbuf *w, const char *s)
{
        wbuf_blob(w, s, strlen(s));
}

static const uint8_t *rbuf_take(struct rbuf *r, size_t n)
{
        if (r->bad || n > r->len - r->pos) {
                r->bad = true;
                return NULL;
        }
        const uint8_t *p = r->data + r->pos;
        r->pos += n;
        return p;
}

static uint64_t rbuf_le(struct rbuf *r, size_t n)
{
        const uint8_t *p = rbuf_take(r, n);
        uint64_t v = 0;

        for (size_t i = 0; p && i < n; i++)
                v |= (uint64_t)p[i] << (8 * i);
        return v;
}

uint8_t rbuf_u8(struct rbuf *r)
{
        return (uint8_t)rbuf_le(r, 1);
}

uint16_t rbuf_u16(struct rbuf *r)
{
        return (uint16_t)rbuf_le(r, 2);
}

uint32_t rbuf_u32(struct rbuf *r)
{
        return (uint32_t)rbuf_le(r, 4);
}

uint64_t rbuf_u64(struct rbuf *r)
{
        return rbuf_le(r, 8);
}

struct bytes rbuf_bytes(struct rbuf *r, size_t len)
{
        const uint8_t *p = rbuf_take(r, len);

        return p ? (struct bytes){ p, len } : (struct bytes){ NULL, 0 };
}

struct bytes rbuf_blob(struct rbuf *r, size_t max)
{
        uint32_t len = rbuf_u32(r);

        if (len > max)
                r->bad = true;
        return rbuf_bytes(r, len);
}

void rbuf_str(struct rbuf *r, char *out, size_t cap)
{
        struct bytes b = rbuf_blob(r, cap - 1);

        if (!r->bad && b.len > 0 && memchr(b.data, 0, b.len))
                r->bad = true;
        if (r->bad)
                b.len = 0;
        if (b.len > 0)
                memcpy(out, b.data, b.len);
        out[b.len] = '\0';
}
