#include "base/utf8.h"

enum { SURROGATES = 0xd800, SURROGATES_END = 0xe000, POINT_MAX = 0x10ffff };

/* How many bytes follow the first of a character; UTF8_SIZE_MAX where none begins so. */
static size_t more_after(uint8_t first)
{
        if (first < 0x80)
                return 0;
        if (first < 0xc2 || first > 0xf4)
                return UTF8_SIZE_MAX;
        return first < 0xe0 ? 1 : first < 0xf0 ? 2 : 3;
}

int32_t utf8_get(const uint8_t **at, const uint8_t *end)
{
        static const int32_t least[] = { 0, 0x80, 0x800, 0x10000 };
        const uint8_t *p = *at;
        size_t more = more_after(p[0]);
        int32_t v = more == 0 ? p[0] : p[0] & 0x3f >> more;

        if (more == UTF8_SIZE_MAX || more >= (size_t)(end - p))
                return UTF8_NONE;
        for (size_t i = 1; i <= more; i++) {
                if ((p[i] & 0xc0) != 0x80)
                        return UTF8_NONE;
                v = v << 6 | (p[i] & 0x3f);
        }
        if (v < least[more] || (v >= SURROGATES && v < SURROGATES_END) || v > POINT_MAX)
                return UTF8_NONE;
        *at = p + more + 1;
        return v;
}

size_t utf8_put(char out[UTF8_SIZE_MAX], int32_t point)
{
        static const int32_t lead[] = { 0, 0xc0, 0xe0, 0xf0 };
        size_t more = point < 0x80 ? 0 : point < 0x800 ? 1 : point < 0x10000 ? 2 : 3;

        for (size_t i = more; i > 0; i--) {
                out[i] = (char)(0x80 | (point & 0x3f));
                point >>= 6;
        }
        out[0] = (char)(lead[more] | point);
        return more + 1;
}
