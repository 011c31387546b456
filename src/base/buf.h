/*
 * Typed reading and writing of flat bytes, over memory that somebody else owns.
 *
 * Invariants: `len` ≤ `cap`; a failed put or get makes the cursor `bad`, changes nothing more and stays bad, so that a codec is
 * written straight down and asks once at its end. All integers are little endian. A string is a u32 length and that many bytes,
 * none of them NUL; strings point into the source, and are followed there by nothing: copy them or use their length.
 *
 * No allocation of its own: creto-init uses this as pid 1.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

struct wbuf {
        uint8_t *data;
        size_t cap;
        size_t len;
        bool bad;
        /* NULL, or makes room for `more` bytes behind `len`; false where it cannot (base/text.h). */
        bool (*grow)(struct wbuf *w, size_t more);
};

struct rbuf {
        const uint8_t *data;
        size_t len;
        size_t pos;
        bool bad;
};

/* A piece of somebody else's memory. */
struct bytes {
        const uint8_t *data;
        size_t len;
};

static inline struct bytes bytes_of(const char *s) /* NULL: none */
{
        return s ? (struct bytes){ (const uint8_t *)s, strlen(s) } : (struct bytes){ NULL, 0 };
}

static inline struct wbuf wbuf_over(void *data, size_t cap)
{
        return (struct wbuf){ .data = data, .cap = cap };
}

static inline struct rbuf rbuf_over(const void *data, size_t len)
{
        return (struct rbuf){ .data = data, .len = len };
}

void wbuf_u8(struct wbuf *w, uint8_t v);
void wbuf_u16(struct wbuf *w, uint16_t v);
void wbuf_u32(struct wbuf *w, uint32_t v);
void wbuf_u64(struct wbuf *w, uint64_t v);
void wbuf_bytes(struct wbuf *w, const void *data, size_t len); /* the bytes alone, no length */
void wbuf_blob(struct wbuf *w, const void *data, size_t len);  /* u32 length, bytes */
void wbuf_str(struct wbuf *w, const char *s);                  /* as blob, without the NUL */

uint8_t rbuf_u8(struct rbuf *r);
uint16_t rbuf_u16(struct rbuf *r);
uint32_t rbuf_u32(struct rbuf *r);
uint64_t rbuf_u64(struct rbuf *r);
struct bytes rbuf_bytes(struct rbuf *r, size_t len); /* exactly len bytes */
struct bytes rbuf_blob(struct rbuf *r, size_t max);  /* u32 length ≤ max, bytes */
/* A string of at most cap - 1 bytes copied to `out` with its NUL; bad if longer or if it holds a NUL. */
void rbuf_str(struct rbuf *r, char *out, size_t cap);

static inline size_t rbuf_left(const struct rbuf *r)
{
        return r->bad ? 0 : r->len - r->pos;
}

/* True where everything was read, exactly to the end. */
static inline bool rbuf_done(const struct rbuf *r)
{
        return !r->bad && r->pos == r->len;
}
