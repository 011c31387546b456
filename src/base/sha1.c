#include "base/sha1.h"

#include <string.h>

static uint32_t rotate(uint32_t x, unsigned n)
{
        return x << n | x >> (32 - n);
}

static void block(uint32_t h[5], const uint8_t *p)
{
        uint32_t w[80], v[5];

        for (unsigned i = 0; i < 16; i++)
                w[i] = (uint32_t)p[4 * i] << 24 | (uint32_t)p[4 * i + 1] << 16 | (uint32_t)p[4 * i + 2] << 8 | p[4 * i + 3];
        for (unsigned i = 16; i < 80; i++)
                w[i] = rotate(w[i - 3] ^ w[i - 8] ^ w[i - 14] ^ w[i - 16], 1);
        memcpy(v, h, sizeof(v));
        for (unsigned i = 0; i < 80; i++) {
                uint32_t f = i < 20   ? ((v[1] & v[2]) | (~v[1] & v[3])) + 0x5a827999
                             : i < 40 ? (v[1] ^ v[2] ^ v[3]) + 0x6ed9eba1
                             : i < 60 ? ((v[1] & v[2]) | (v[1] & v[3]) | (v[2] & v[3])) + 0x8f1bbcdc
                                      : (v[1] ^ v[2] ^ v[3]) + 0xca62c1d6;
                uint32_t t = rotate(v[0], 5) + f + v[4] + w[i];

                v[4] = v[3];
                v[3] = v[2];
                v[2] = rotate(v[1], 30);
                v[1] = v[0];
                v[0] = t;
        }
        for (unsigned i = 0; i < 5; i++)
                h[i] += v[i];
}

void sha1(const void *data, size_t len, uint8_t out[SHA1_LEN])
{
        uint32_t h[5] = { 0x67452301, 0xefcdab89, 0x98badcfe, 0x10325476, 0xc3d2e1f0 };
        const uint8_t *p = data;
        uint8_t last[128] = { 0 };
        size_t rest = len % 64, blocks = rest < 56 ? 1 : 2;
        uint64_t bits = (uint64_t)len * 8;

        for (size_t i = 0; i + 64 <= len; i += 64)
                block(h, p + i);
        memcpy(last, p + len - rest, rest);
        last[rest] = 0x80;
        for (unsigned i = 0; i < 8; i++)
                last[blocks * 64 - 1 - i] = (uint8_t)(bits >> (8 * i));
        for (size_t i = 0; i < blocks; i++)
                block(h, last + 64 * i);
        for (unsigned i = 0; i < SHA1_LEN; i++)
                out[i] = (uint8_t)(h[i / 4] >> (24 - 8 * (i % 4)));
}
