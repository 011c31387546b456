#include "wire/bzimage.h"

#include <string.h>

enum {
        AT_SECTORS = 0x1f1,
        AT_MAGIC = 0x202,
        AT_VERSION = 0x206,
        AT_PAYLOAD = 0x248,
        HEADER = 0x250,
        SECTOR = 512,
        VERSION_LEAST = 0x208, /* of the boot protocol, which has a payload since then */
        LZ4_MAGIC = 0x184C2102,
        MATCH_LEAST = 4,
        LONG = 15, /* a length of four bits goes on in the bytes that follow */
};

static uint32_t u32_at(const uint8_t *p)
{
        return (uint32_t)p[0] | (uint32_t)p[1] << 8 | (uint32_t)p[2] << 16 | (uint32_t)p[3] << 24;
}

enum bzimage bzimage_find(const void *image, size_t len, struct bytes *packed, size_t *size)
{
        const uint8_t *p = image;

        if (len < HEADER || memcmp(p + AT_MAGIC, "HdrS", 4) != 0 || (p[AT_VERSION] | p[AT_VERSION + 1] << 8) < VERSION_LEAST)
                return BZIMAGE_NONE;
        size_t begin = ((size_t)(p[AT_SECTORS] ? p[AT_SECTORS] : 4) + 1) * SECTOR + u32_at(p + AT_PAYLOAD), n = u32_at(p + AT_PAYLOAD + 4);
        if (begin > len || n > len - begin || n < 8 || u32_at(p + begin) != LZ4_MAGIC)
                return BZIMAGE_OTHER;
        *size = u32_at(p + begin + n - 4); /* behind what is packed, and counted as of it */
        *packed = (struct bytes){ p + begin, n - 4 };
        return *size > 0 && *size <= BZIMAGE_ELF_MAX ? BZIMAGE_LZ4 : BZIMAGE_OTHER;
}

/* ---- LZ4 ---- */

static size_t length(struct rbuf *r, size_t n)
{
        uint8_t more = 0xff;

        if (n == LONG)
                while (more == 0xff && !r->bad)
                        n += more = rbuf_u8(r);
        return n;
}

/* From `distance` bytes before the end, which may be less than `n`. */
static void repeat(struct wbuf *out, size_t distance, size_t n)
{
        if (distance == 0 || distance > out->len || n > out->cap - out->len) {
                out->bad = true;
                return;
        }
        for (const uint8_t *from = out->data + out->len - distance; n > 0; n--)
                out->data[out->len++] = *from++;
}

/* Literals, then a match, and so on; the last has no match. */
static void unpack_block(struct rbuf r, struct wbuf *out)
{
        while (rbuf_left(&r) > 0 && !out->bad) {
                uint8_t token = rbuf_u8(&r);
                size_t n = length(&r, token >> 4);
                struct bytes literals = rbuf_bytes(&r, n);

                if (!r.bad)
                        wbuf_bytes(out, literals.data, literals.len);
                if (rbuf_left(&r) == 0)
                        break;
                size_t distance = rbuf_u16(&r);
                n = length(&r, token & LONG);
                if (!r.bad)
                        repeat(out, distance, n + MATCH_LEAST);
        }
        out->bad |= r.bad;
}

int bzimage_unpack(struct bytes packed, void *out, size_t size)
{
        struct rbuf r = rbuf_over(packed.data, packed.len);
        struct wbuf w = wbuf_over(out, size);

        if (rbuf_u32(&r) != LZ4_MAGIC)
                return -1;
        while (rbuf_left(&r) > 0 && !w.bad) {
                struct bytes block = rbuf_blob(&r, packed.len);
                size_t room = size - w.len;
                struct wbuf part = wbuf_over(w.data + w.len, room < BZIMAGE_BLOCK_MAX ? room : BZIMAGE_BLOCK_MAX);

                if (r.bad)
                        return -1;
                unpack_block(rbuf_over(block.data, block.len), &part); /* blocks know nothing of each other */
                w.bad = part.bad;
                w.len += part.len;
        }
        return !w.bad && rbuf_done(&r) && w.len == size ? 0 : -1;
}
