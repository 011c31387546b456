#include "wire/json.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/str.h"
#include "base/utf8.h"
#include "wire/base64.h"

/* ---- characters ---- */

enum { SURROGATE_HIGH = 0xd800, SURROGATE_LOW = 0xdc00, SURROGATE_END = 0xe000 };

static int32_t hex4(const uint8_t **at, const uint8_t *end)
{
        int32_t v = 0;

        if (end - *at < 4)
                return UTF8_NONE;
        for (int i = 0; i < 4; i++) {
                uint8_t c = (*at)[i], low = c | 0x20;

                if (c >= '0' && c <= '9')
                        v = v << 4 | (c - '0');
                else if (low >= 'a' && low <= 'f')
                        v = v << 4 | (low - 'a' + 10);
                else
                        return UTF8_NONE;
        }
        *at += 4;
        return v;
}

/* What follows `\u`: one unit, or the two of a pair. */
static int32_t unicode_get(const uint8_t **at, const uint8_t *end)
{
        int32_t v = hex4(at, end), low;

        if (v < SURROGATE_HIGH || v >= SURROGATE_END)
                return v;
        if (v >= SURROGATE_LOW || end - *at < 2 || (*at)[0] != '\\' || (*at)[1] != 'u')
                return UTF8_NONE;
        *at += 2;
        low = hex4(at, end);
        if (low < SURROGATE_LOW || low >= SURROGATE_END)
                return UTF8_NONE;
        return 0x10000 + ((v - SURROGATE_HIGH) << 10) + (low - SURROGATE_LOW);
}

static const char escape_names[] = "\"\\/bfnrt", escape_means[] = "\"\\/\b\f\n\r\t";

/* Takes one character of a string (there is at least a byte), escaped or not. */
static int32_t string_get(const uint8_t **at, const uint8_t *end)
{
        if (**at < ' ')
                return UTF8_NONE;
        if (**at != '\\')
                return utf8_get(at, end);
        if (++*at == end)
                return UTF8_NONE;
        uint8_t c = *(*at)++;
        if (c == 'u')
                return unicode_get(at, end);
        const char *name = c ? strchr(escape_names, c) : NULL;
        return name ? escape_means[name - escape_names] : UTF8_NONE;
}

/* ---- reading ---- */

struct reader {
        const uint8_t *p, *end;
        struct json_node *nodes;
        size_t cap, used;
        unsigned depth;
        bool full;
        const char *why;
};

static bool fail(struct reader *r, const char *why)
{
        r->why = why;
        return false;
}

static bool take(struct reader *r, char c)
{
        if (r->p == r->end || *r->p != (uint8_t)c)
                return false;
        r->p++;
        return true;
}

static void skip_blanks(struct reader *r)
{
        while (take(r, ' ') || take(r, '\n') || take(r, '\r') || take(r, '\t'))
                ;
}

static struct json_node *node_add(struct reader *r, enum json_kind kind)
{
        if (r->used == r->cap) {
                r->full = true;
                fail(r, "more values than there is room for");
                return NULL;
        }
        struct json_node *n = &r->nodes[r->used++];
        *n = (struct json_node){ .text = (const char *)r->p, .span = 1, .kind = kind };
        return n;
}

/* The node ends here, and so do those in it. */
static void node_end(const struct reader *r, struct json_node *n)
{
        n->len = (uint32_t)(r->p - (const uint8_t *)n->text);
        n->span = (uint32_t)(r->used - (size_t)(n - r->nodes));
}

static bool read_word(struct reader *r, const char *word, enum json_kind kind)
{
        size_t len = strlen(word);
        struct json_node *n;

        if ((size_t)(r->end - r->p) < len || memcmp(r->p, word, len) != 0)
                return fail(r, "neither a value nor an end");
        if (!(n = node_add(r, kind)))
                return false;
        r->p += len;
        node_end(r, n);
        return true;
}

static bool take_digits(struct reader *r)
{
        const uint8_t *start = r->p;

        while (r->p < r->end && *r->p >= '0' && *r->p <= '9')
                r->p++;
        return r->p > start;
}

static bool read_number(struct reader *r)
{
        struct json_node *n = node_add(r, JSON_KIND_NUMBER);

        if (!n)
                return false;
        (void)take(r, '-');
        if (!take(r, '0') && !take_digits(r))
                return fail(r, "a number without digits");
        if (take(r, '.') && !take_digits(r))
                return fail(r, "a point without digits");
        if (take(r, 'e') || take(r, 'E')) {
                if (!take(r, '+'))
                        (void)take(r, '-');
                if (!take_digits(r))
                        return fail(r, "an exponent without digits");
        }
        node_end(r, n);
        return true;
}

/* The node's count is made a hash of the characters, in whatever way they are escaped (FNV-1a). */
static struct json_node *read_string(struct reader *r)
{
        uint32_t hash = 2166136261U;
        struct json_node *n;

        r->p++;
        if (!(n = node_add(r, JSON_KIND_STRING)))
                return NULL;
        while (r->p < r->end && *r->p != '"') {
                int32_t v = string_get(&r->p, r->end);

                if (v == UTF8_NONE) {
                        fail(r, "not a character of a string: a control character, a bad escape, or not UTF-8");
                        return NULL;
                }
                hash = (hash ^ (uint32_t)v) * 16777619U;
        }
        node_end(r, n);
        n->count = hash;
        if (!take(r, '"')) {
                fail(r, "a string without an end");
                return NULL;
        }
        return n;
}

static bool same_text(const struct json_node *a, const struct json_node *b)
{
        const uint8_t *p = (const uint8_t *)a->text, *p_end = p + a->len;
        const uint8_t *q = (const uint8_t *)b->text, *q_end = q + b->len;

        while (p < p_end && q < q_end)
                if (string_get(&p, p_end) != string_get(&q, q_end))
                        return false;
        return p == p_end && q == q_end;
}

static bool is_new_key(const struct json_node *object, const struct json_node *key)
{
        for (const struct json_node *k = object + 1; k < key; k += k->span)
                if (k->count == key->count && same_text(k, key))
                        return false;
        return true;
}

static bool read_value(struct reader *r);

static bool read_member(struct reader *r, struct json_node *object)
{
        struct json_node *key;

        if (r->p == r->end || *r->p != '"')
                return fail(r, "a member without a key");
        if (object->count == JSON_MEMBERS_MAX)
                return fail(r, "an object of more than 1024 members");
        if (!(key = read_string(r)))
                return false;
        if (key->len > JSON_KEY_MAX)
                return fail(r, "a key of more than 1024 bytes");
        if (!is_new_key(object, key))
                return fail(r, "a key that was there before");
        skip_blanks(r);
        if (!take(r, ':'))
                return fail(r, "a key without a colon");
        skip_blanks(r);
        if (!read_value(r))
                return false;
        key->span = 1 + key[1].span;
        return true;
}

static bool read_item(struct reader *r, struct json_node *array)
{
        (void)array;
        return read_value(r);
}

/* An array or an object, from its bracket on. */
static bool read_group(struct reader *r, enum json_kind kind, char close, bool (*read)(struct reader *, struct json_node *))
{
        struct json_node *n;

        if (r->depth == JSON_DEPTH_MAX)
                return fail(r, "more than 32 arrays and objects, one in the other");
        if (!(n = node_add(r, kind)))
                return false;
        r->p++;
        r->depth++;
        skip_blanks(r);
        if (!take(r, close)) {
                do {
                        skip_blanks(r);
                        if (!read(r, n))
                                return false;
                        n->count++;
                        skip_blanks(r);
                } while (take(r, ','));
                if (!take(r, close))
                        return fail(r, "neither a comma nor an end");
        }
        r->depth--;
        node_end(r, n);
        return true;
}

static bool read_value(struct reader *r)
{
        switch (r->p < r->end ? *r->p : 0) {
        case '{':
                return read_group(r, JSON_KIND_OBJECT, '}', read_member);
        case '[':
                return read_group(r, JSON_KIND_ARRAY, ']', read_item);
        case '"':
                return read_string(r) != NULL;
        case 't':
                return read_word(r, "true", JSON_KIND_BOOL);
        case 'f':
                return read_word(r, "false", JSON_KIND_BOOL);
        case '-':
        case '0' ... '9':
                return read_number(r);
        default:
                return read_word(r, "null", JSON_KIND_NULL);
        }
}

static bool read_text(struct reader *r)
{
        skip_blanks(r);
        if (!read_value(r))
                return false;
        skip_blanks(r);
        return r->p == r->end || fail(r, "something after the value");
}

int json_parse(const void *text, size_t len, struct json_node *nodes, size_t cap, struct json_fault *fault)
{
        struct reader r = { .p = text, .nodes = nodes, .cap = cap < INT32_MAX ? cap : INT32_MAX };
        bool good;

        if (len > JSON_TEXT_MAX) {
                good = fail(&r, "more than 64 MiB");
        } else {
                r.end = len > 0 ? r.p + len : r.p;
                good = read_text(&r);
        }
        if (good)
                return (int)r.used;
        if (fault)
                *fault = (struct json_fault){ r.why, (size_t)(r.p - (const uint8_t *)text) };
        return r.full ? JSON_MORE_NODES : JSON_BAD;
}

/* ---- access ---- */

const struct json_node *json_get(const struct json_node *object, const char *key)
{
        if (!json_is_object(object))
                return NULL;
        for (const struct json_node *k = json_first(object); k; k = json_next(object, k))
                if (json_str_is(k, key))
                        return json_value(k);
        return NULL;
}

const struct json_node *json_at(const struct json_node *array, uint32_t i)
{
        if (!json_is_array(array))
                return NULL;
        const struct json_node *n = json_first(array);
        for (; n && i > 0; i--)
                n = json_next(array, n);
        return n;
}

bool json_str_len(const struct json_node *n, size_t *len)
{
        char point[UTF8_SIZE_MAX];
        size_t sum = 0;

        if (!json_is_string(n))
                return false;
        const uint8_t *p = (const uint8_t *)n->text, *end = p + n->len;
        while (p < end) {
                int32_t v = string_get(&p, end);

                if (v == 0)
                        return false;
                sum += utf8_put(point, v);
        }
        *len = sum;
        return true;
}

bool json_str(const struct json_node *n, char *out, size_t cap)
{
        size_t len;

        if (!json_str_len(n, &len) || len >= cap)
                return false;
        const uint8_t *p = (const uint8_t *)n->text, *end = p + n->len;
        while (p < end) {
                char point[UTF8_SIZE_MAX];
                size_t size = utf8_put(point, string_get(&p, end));

                memcpy(out, point, size);
                out += size;
        }
        *out = '\0';
        return true;
}

bool json_str_is(const struct json_node *n, const char *s)
{
        if (!json_is_string(n))
                return false;
        const uint8_t *p = (const uint8_t *)n->text, *end = p + n->len;
        while (p < end) {
                char point[UTF8_SIZE_MAX];
                size_t size = utf8_put(point, string_get(&p, end));

                if (point[0] == '\0' || strncmp(s, point, size) != 0)
                        return false;
                s += size;
        }
        return *s == '\0';
}

bool json_bool(const struct json_node *n, bool *out)
{
        if (!json_is_bool(n))
                return false;
        *out = n->text[0] == 't';
        return true;
}

/* The digits of a whole number, without its sign. */
static bool magnitude(const struct json_node *n, bool *negative, uint64_t *out)
{
        char digits[24];

        if (!json_is_number(n))
                return false;
        *negative = n->text[0] == '-';
        size_t len = n->len - *negative;
        const char *point = memchr(n->text, '.', n->len);
        if (point) { /* 2.00 is whole, as JSON Schema has it */
                for (const char *at = point + 1; at < n->text + n->len; at++)
                        if (*at != '0')
                                return false;
                len = (size_t)(point - n->text) - *negative;
        }
        if (len >= sizeof(digits))
                return false;
        memcpy(digits, n->text + *negative, len);
        digits[len] = '\0';
        return str_parse_u64(digits, out);
}

bool json_u64(const struct json_node *n, uint64_t *out)
{
        bool negative;
        uint64_t v;

        if (!magnitude(n, &negative, &v) || negative)
                return false;
        *out = v;
        return true;
}

bool json_i64(const struct json_node *n, int64_t *out)
{
        bool negative;
        uint64_t v;

        if (!magnitude(n, &negative, &v) || v > (uint64_t)INT64_MAX + negative)
                return false;
        *out = (int64_t)(negative ? -v : v);
        return true;
}

/* Makes "125" of "1.25", and returns how many digits stood behind the point. */
static long drop_point(char *digits)
{
        char *point = strchr(digits, '.');

        if (!point)
                return 0;
        size_t places = strlen(point + 1);
        memmove(point, point + 1, places + 1);
        return (long)places;
}

/* strtod() takes for a point what the locale says, so it is given none: 1.25e3 as 125e1. */
bool json_double(const struct json_node *n, double *out)
{
        enum { BEYOND = 9999 }; /* an exponent that no digits before it bring back into range */
        char digits[JSON_NUMBER_MAX + 1], text[JSON_NUMBER_MAX + 32];
        long power = 0;

        if (!json_is_number(n) || n->len > JSON_NUMBER_MAX)
                return false;
        memcpy(digits, n->text, n->len);
        digits[n->len] = '\0';
        char *e = strpbrk(digits, "eE");
        if (e) {
                *e = '\0';
                power = strtol(e + 1, NULL, 10);
                power = power > BEYOND ? BEYOND : power < -BEYOND ? -BEYOND : power;
        }
        power -= drop_point(digits);
        snprintf(text, sizeof(text), "%se%ld", digits, power);
        double v = strtod(text, NULL);
        if (!isfinite(v))
                return false;
        *out = v;
        return true;
}

bool json_base64(const struct json_node *n, void *out, size_t cap, size_t *len)
{
        size_t plain;

        if (!json_is_string(n))
                return false;
        if (!memchr(n->text, '\\', n->len))
                return base64_decode(n->text, n->len, out, cap, len);
        if (!json_str_len(n, &plain) || !json_str(n, out, cap))
                return false;
        return base64_decode(out, plain, out, cap, len);
}
