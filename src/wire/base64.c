#include "wire/base64.h"

static void put_group(struct wbuf *w, const uint8_t *p, size_t n)
{
        static const char alphabet[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
        uint32_t v = (uint32_t)p[0] << 16 | (n > 1 ? (uint32_t)p[1] << 8 : 0) | (n > 2 ? p[2] : 0);
        char four[4];

        for (unsigned i = 0; i < 4; i++)
                four[i] = i <= n ? alphabet[v >> (18 - 6 * i) & 63] : '=';
        wbuf_bytes(w, four, sizeof(four));
}

void base64_put(struct wbuf *w, const void *data, size_t len)
{
        const uint8_t *p = data;

        for (; len > 0 && !w->bad; p += 3) {
                size_t n = len < 3 ? len : 3;

                put_group(w, p, n);
                len -= n;
        }
}

/* The value of a character, or 64. */
static uint32_t value_of(char c)
{
        if (c >= 'A' && c <= 'Z')
                return (uint32_t)(c - 'A');
        if (c >= 'a' && c <= 'z')
                return (uint32_t)(c - 'a') + 26;
        if (c >= '0' && c <= '9')
                return (uint32_t)(c - '0') + 52;
        return c == '+' ? 62 : c == '/' ? 63 : 64;
}

/* Four characters of which the last `pad` are padding, to 3 - pad bytes at the low end of *v. */
static bool get_group(const char *text, unsigned pad, uint32_t *v)
{
        *v = 0;
        for (unsigned i = 0; i < 4 - pad; i++) {
                uint32_t six = value_of(text[i]);

                if (six > 63)
                        return false;
                *v = *v << 6 | six;
        }
        uint32_t unused = pad * 2;
        if ((*v & ((1U << unused) - 1)) != 0)
                return false;
        *v >>= unused;
        return true;
}

bool base64_decode(const char *text, size_t len, void *out, size_t cap, size_t *out_len)
{
        uint8_t *to = out;
        size_t used = 0;

        if (len % 4 != 0)
                return false;
        for (size_t i = 0; i < len; i += 4) {
                bool last = i + 4 == len;
                unsigned pad = last && text[i + 3] == '=' ? 1 + (text[i + 2] == '=') : 0;
                uint32_t v;

                if (!get_group(text + i, pad, &v) || cap - used < 3 - pad)
                        return false;
                for (unsigned n = 3 - pad; n > 0; n--)
                        to[used++] = (uint8_t)(v >> (8 * (n - 1)));
        }
        *out_len = used;
        return true;
}
