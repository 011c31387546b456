#include "base/str.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static bool parse_digits(const char **s, uint64_t *out)
{
        const char *p = *s;
        uint64_t v = 0;

        if (*p < '0' || *p > '9')
                return false;
        for (; *p >= '0' && *p <= '9'; p++)
                if (__builtin_mul_overflow(v, 10, &v) || __builtin_add_overflow(v, (uint64_t)(*p - '0'), &v))
                        return false;
        *s = p;
        *out = v;
        return true;
}

bool str_parse_u64(const char *s, uint64_t *out)
{
        uint64_t v;

        if (!parse_digits(&s, &v) || *s != '\0')
                return false;
        *out = v;
        return true;
}

bool str_parse_bytes(const char *s, uint64_t *out)
{
        static const char units[] = "KMGT";
        uint64_t v;
        unsigned shift = 0;

        if (!parse_digits(&s, &v))
                return false;
        for (unsigned i = 0; units[i]; i++)
                if (*s == units[i] || *s == units[i] + ('a' - 'A'))
                        shift = (i + 1) * 10;
        if (shift > 0)
                s++;
        if (shift > 0 && *s == 'i')
                s++;
        if (*s == 'B')
                s++;
        if (*s != '\0' || v > UINT64_MAX >> shift)
                return false;
        *out = v << shift;
        return true;
}

static bool parse_unit_ms(const char *s, uint64_t *scale)
{
        static const struct {
                const char *name;
                uint64_t ms;
        } units[] = { { "", 1000 }, { "ms", 1 }, { "s", 1000 }, { "m", 60000 }, { "h", 3600000 }, { "d", 86400000 } };

        for (size_t i = 0; i < sizeof(units) / sizeof(units[0]); i++) {
                if (strcmp(s, units[i].name) == 0) {
                        *scale = units[i].ms;
                        return true;
                }
        }
        return false;
}

bool str_parse_ms(const char *s, uint64_t *out)
{
        uint64_t whole, fraction = 0, scale, ms;
        uint64_t divisor = 1;

        if (!parse_digits(&s, &whole))
                return false;
        if (*s == '.') {
                const char *start = ++s;

                if (!parse_digits(&s, &fraction) || s - start > 6)
                        return false;
                for (; start < s; start++)
                        divisor *= 10;
        }
        if (!parse_unit_ms(s, &scale) || __builtin_mul_overflow(whole, scale, &ms))
                return false;
        if (__builtin_add_overflow(ms, fraction * scale / divisor, &ms))
                return false;
        *out = ms;
        return true;
}

void str_format_bytes(uint64_t bytes, char *out, size_t cap)
{
        static const char *const names[] = { "bytes", "KiB", "MiB", "GiB", "TiB" };
        unsigned unit = 0;
        uint64_t tenths = bytes;
        uint64_t value = bytes;

        while (unit < 4 && value >= 1024) {
                tenths = value % 1024 * 10 / 1024;
                value /= 1024;
                unit++;
        }
        if (unit > 0 && value < 10 && tenths > 0)
                snprintf(out, cap, "%llu.%llu %s", (unsigned long long)value, (unsigned long long)tenths, names[unit]);
        else
                snprintf(out, cap, "%llu %s", (unsigned long long)value, names[unit]);
}

bool str_is_id(const char *s, size_t max)
{
        size_t n = 0;

        if (*s == '-')
                return false;
        for (; *s; s++, n++)
                if (!((*s >= 'a' && *s <= 'z') || (*s >= '0' && *s <= '9') || *s == '-'))
                        return false;
        return n > 0 && n <= max;
}

void str_hex(const void *data, size_t len, char *out)
{
        static const char digits[] = "0123456789abcdef";
        const uint8_t *p = data;

        for (size_t i = 0; i < len; i++) {
                *out++ = digits[p[i] >> 4];
                *out++ = digits[p[i] & 15];
        }
        *out = '\0';
}

bool str_unhex(const char *hex, void *out, size_t len)
{
        uint8_t *p = out;

        if (strlen(hex) != 2 * len || strspn(hex, "0123456789abcdefABCDEF") != 2 * len)
                return false;
        for (size_t i = 0; i < len; i++) {
                const char pair[3] = { hex[2 * i], hex[2 * i + 1], '\0' };

                p[i] = (uint8_t)strtoul(pair, NULL, 16);
        }
        return true;
}

void str_last_line(const char *text, char *out, size_t cap)
{
        size_t len = strlen(text);

        while (len > 0 && (text[len - 1] == '\n' || text[len - 1] == '\r'))
                len--;
        const char *line = text + len;
        while (line > text && line[-1] != '\n')
                line--;
        size_t n = (size_t)(text + len - line);
        if (n >= cap)
                n = cap - 1;
        for (size_t i = 0; i < n; i++)
                out[i] = line[i] >= ' ' && line[i] <= '~' ? line[i] : '?';
        out[n] = '\0';
}

uint64_t str_hash(uint64_t h, const void *data, size_t len)
{
        for (const uint8_t *p = data, *end = p + len; p < end; p++)
                h = (h ^ *p) * 1099511628211ULL;
        return h;
}

size_t str_count(const char *const *list)
{
        size_t n = 0;

        while (list && list[n])
                n++;
        return n;
}

size_t str_find_pair(const char *const *pairs, size_t n, const char *pair)
{
        size_t len = strcspn(pair, "=") + 1, i = 0;

        while (i < n && strncmp(pairs[i], pair, len) != 0)
                i++;
        return i;
}
