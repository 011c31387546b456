/*
 * JSON: what is taken is walked with every accessor and written again, and what was written reads as the same nodes. The input as a string, be it
 * UTF-8 or not, becomes a document; as bytes it comes back from base64.
 */
#include "fuzz.h"

#include <float.h>

#include "wire/base64.h"
#include "wire/json.h"

enum { NODES = 4096, OUT = 1024 * 1024 };

static struct json_node nodes[NODES], again[NODES];
static char out[OUT], str[OUT];

static void put_number(struct json_put *j, const struct json_node *n)
{
        int64_t i;
        uint64_t u;
        double d;

        NEED(!json_double(n, &d) || (d <= DBL_MAX && d >= -DBL_MAX));
        if (json_i64(n, &i))
                json_put_i64(j, i);
        else if (json_u64(n, &u))
                json_put_u64(j, u);
        else
                json_put_null(j);
}

static void put_str(struct json_put *j, const struct json_node *n)
{
        size_t len = 0, decoded;

        if (!json_str_len(n, &len)) {
                NEED(!json_str(n, str, sizeof(str)));
                json_put_null(j);
                return;
        }
        char *exact = malloc(len + 1);
        NEED(exact && !json_str(n, exact, len) && json_str(n, exact, len + 1) && strlen(exact) == len && json_str_is(n, exact));
        json_put_string(j, exact);
        (void)json_base64(n, exact, len + 1, &decoded);
        free(exact);
}

static void put_node(struct json_put *j, const struct json_node *n);

static void put_group(struct json_put *j, const struct json_node *n)
{
        uint32_t count = 0;

        if (json_is_object(n))
                json_put_object(j);
        else
                json_put_array(j);
        for (const struct json_node *m = json_first(n); m; m = json_next(n, m), count++) {
                if (json_is_array(n)) {
                        NEED(count > 64 || json_at(n, count) == m);
                        put_node(j, m);
                } else if (json_str(m, str, sizeof(str))) {
                        NEED(count > 64 || json_get(n, str) == json_value(m));
                        json_put_key(j, str);
                        put_node(j, json_value(m));
                }
        }
        NEED(count == json_count(n));
        json_put_end(j);
}

static void put_node(struct json_put *j, const struct json_node *n)
{
        bool b;

        if (json_is_array(n) || json_is_object(n))
                put_group(j, n);
        else if (json_is_string(n))
                put_str(j, n);
        else if (json_is_number(n))
                put_number(j, n);
        else if (json_bool(n, &b))
                json_put_bool(j, b);
        else
                json_put_null(j);
}

/* Keys with a NUL are not written, and a number may become null: then the second time is to be as the first. */
static void rewrite(const struct json_node *n)
{
        struct wbuf w = wbuf_over(out, sizeof(out));
        struct json_put j = json_put_over(&w);
        static char second[OUT];

        put_node(&j, n);
        NEED(json_put_done(&j));
        int count = json_parse(out, w.len, again, NODES, NULL);
        NEED(count > 0);
        struct wbuf w2 = wbuf_over(second, sizeof(second));
        j = json_put_over(&w2);
        put_node(&j, json_root(again));
        NEED(json_put_done(&j) && w2.len == w.len && memcmp(out, second, w.len) == 0);
}

static void as_string(const uint8_t *data, size_t len)
{
        struct wbuf w = wbuf_over(out, sizeof(out));
        struct json_put j = json_put_over(&w);
        size_t back = 0;

        json_put_array(&j);
        json_put_string_len(&j, data, len);
        json_put_base64(&j, data, len);
        json_put_end(&j);
        NEED(json_put_done(&j) && json_parse(out, w.len, again, NODES, NULL) == 3);
        NEED(json_base64(json_at(again, 1), str, len, &back) && back == len && memcmp(str, data, len) == 0);
}

/* There is one base64 text for any bytes. */
static void as_base64(const uint8_t *data, size_t len)
{
        struct wbuf w = wbuf_over(out, sizeof(out));
        size_t n;

        if (!base64_decode((const char *)data, len, str, BASE64_DECODED(len), &n))
                return;
        base64_put(&w, str, n);
        NEED(!w.bad && w.len == len && memcmp(out, data, len) == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
        struct json_fault fault = { 0 };
        size_t cap = len > 0 && data[len - 1] == '\n' ? len % 16 : NODES;

        if (len == 0 || len > OUT / 16)
                return 0;
        int count = json_parse(data, len, nodes, cap, &fault);
        NEED(count != 0 && count <= (int)cap && (count > 0 || (fault.why && fault.at <= len)));
        if (count > 0) {
                NEED(nodes[0].span == (uint32_t)count);
                rewrite(json_root(nodes));
        }
        as_string(data, len);
        as_base64(data, len);
        return 0;
}
