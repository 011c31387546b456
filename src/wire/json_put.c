/* The writer of json.h. */
#include "wire/json.h"

#include <stdio.h>
#include <string.h>

#include "base/utf8.h"
#include "wire/base64.h"

static void put(struct json_put *j, const char *text)
{
        wbuf_bytes(j->w, text, strlen(text));
}

static bool in_object(const struct json_put *j)
{
        return j->depth > 0 && (j->objects >> (j->depth - 1) & 1);
}

/* What comes before any value. */
static void before(struct json_put *j)
{
        if (in_object(j) ? !j->key : j->depth == 0 && j->any)
                j->w->bad = true;
        else if (j->any && !j->key)
                put(j, ",");
        j->key = false;
        j->any = true;
}

static void open(struct json_put *j, uint32_t object, const char *bracket)
{
        before(j);
        if (j->depth == JSON_DEPTH_MAX) {
                j->w->bad = true;
                return;
        }
        put(j, bracket);
        j->objects &= ~(1U << j->depth);
        j->objects |= object << j->depth;
        j->depth++;
        j->any = false;
}

void json_put_object(struct json_put *j)
{
        open(j, 1, "{");
}

void json_put_array(struct json_put *j)
{
        open(j, 0, "[");
}

void json_put_end(struct json_put *j)
{
        if (j->depth == 0 || j->key) {
                j->w->bad = true;
                return;
        }
        put(j, in_object(j) ? "}" : "]");
        j->depth--;
        j->any = true;
}

static void put_escaped(struct json_put *j, int32_t point)
{
        static const char names[] = "\"\\bfnrt", means[] = "\"\\\b\f\n\r\t";
        const char *m = point > 0 && point < 0x80 ? strchr(means, point) : NULL;
        char text[8];
        size_t len;

        if (m)
                len = (size_t)snprintf(text, sizeof(text), "\\%c", names[m - means]);
        else if (point < ' ')
                len = (size_t)snprintf(text, sizeof(text), "\\u%04x", (unsigned)point);
        else
                len = utf8_put(text, point);
        wbuf_bytes(j->w, text, len);
}

static void put_quoted(struct json_put *j, const void *s, size_t len)
{
        enum { REPLACEMENT = 0xfffd };
        const uint8_t *p = s, *end = len > 0 ? p + len : p;

        put(j, "\"");
        while (p < end && !j->w->bad) {
                int32_t point = utf8_get(&p, end);

                if (point == UTF8_NONE) {
                        point = REPLACEMENT;
                        p++;
                }
                put_escaped(j, point);
        }
        put(j, "\"");
}

void json_put_key(struct json_put *j, const char *key)
{
        if (!in_object(j) || j->key) {
                j->w->bad = true;
                return;
        }
        if (j->any)
                put(j, ",");
        put_quoted(j, key, strlen(key));
        put(j, ":");
        j->key = true;
}

void json_put_string_len(struct json_put *j, const void *s, size_t len)
{
        before(j);
        put_quoted(j, s, len);
}

void json_put_string(struct json_put *j, const char *s)
{
        json_put_string_len(j, s, strlen(s));
}

void json_put_base64(struct json_put *j, const void *data, size_t len)
{
        before(j);
        put(j, "\"");
        base64_put(j->w, data, len);
        put(j, "\"");
}

void json_put_i64(struct json_put *j, int64_t v)
{
        char text[24];

        before(j);
        snprintf(text, sizeof(text), "%lld", (long long)v);
        put(j, text);
}

void json_put_u64(struct json_put *j, uint64_t v)
{
        char text[24];

        before(j);
        snprintf(text, sizeof(text), "%llu", (unsigned long long)v);
        put(j, text);
}

void json_put_bool(struct json_put *j, bool v)
{
        before(j);
        put(j, v ? "true" : "false");
}

void json_put_null(struct json_put *j)
{
        before(j);
        put(j, "null");
}

void json_put_double(struct json_put *j, double v)
{
        char text[32];

        before(j);
        snprintf(text, sizeof(text), "%.6g", v);
        put(j, v - v == 0 ? text : "null");
}

void json_put_raw(struct json_put *j, const char *json, size_t len)
{
        before(j);
        wbuf_bytes(j->w, json, len);
}

void json_put_text(struct json_put *j, const char *key, const char *value)
{
        json_put_key(j, key);
        json_put_string(j, value);
}

void json_put_number(struct json_put *j, const char *key, uint64_t value)
{
        json_put_key(j, key);
        json_put_u64(j, value);
}

void json_put_flag(struct json_put *j, const char *key, bool value)
{
        json_put_key(j, key);
        json_put_bool(j, value);
}

void json_put_begin(struct json_put *j, const char *key)
{
        json_put_key(j, key);
        json_put_object(j);
}
