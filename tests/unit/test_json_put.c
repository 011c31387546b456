/* JSON as it is written, and what it is written with: base64 and UTF-8. */
#include "wire/json.h"

#include "base/utf8.h"
#include "test.h"
#include "wire/base64.h"

static struct json_node nodes[256];

static int parse_len(const char *s, size_t len)
{
        return json_parse(s, len, nodes, sizeof(nodes) / sizeof(nodes[0]), NULL);
}

static int parse(const char *s)
{
        return parse_len(s, strlen(s));
}

/* ---- writing ---- */

static char out[4096];

static const char *text_of(struct wbuf *w)
{
        wbuf_u8(w, 0);
        return w->bad ? "bad" : out;
}

TEST(a_document_is_written)
{
        struct wbuf w = wbuf_over(out, sizeof(out));
        struct json_put j = json_put_over(&w);

        json_put_object(&j);
        json_put_key(&j, "a");
        json_put_array(&j);
        json_put_i64(&j, INT64_MIN);
        json_put_u64(&j, UINT64_MAX);
        json_put_array(&j);
        json_put_end(&j);
        json_put_object(&j);
        json_put_end(&j);
        json_put_bool(&j, true);
        json_put_end(&j);
        json_put_key(&j, "b\"");
        json_put_null(&j);
        json_put_key(&j, "c");
        json_put_base64(&j, "\xff\0?", 3);
        json_put_key(&j, "d");
        json_put_bool(&j, false);
        CHECK(!json_put_done(&j));
        json_put_end(&j);
        CHECK(json_put_done(&j));
        CHECK_STR(text_of(&w), "{\"a\":[-9223372036854775808,18446744073709551615,[],{},true],\"b\\\"\":null,\"c\":\"/wA/\",\"d\":false}");
        CHECK_INT(parse(out), 14);
}

static const char *quoted(const void *s, size_t len)
{
        struct wbuf w = wbuf_over(out, sizeof(out));
        struct json_put j = json_put_over(&w);

        json_put_string_len(&j, s, len);
        return json_put_done(&j) ? text_of(&w) : "not done";
}

TEST(strings_are_escaped)
{
#define U "\xef\xbf\xbd" /* U+FFFD */
        CHECK_STR(quoted(NULL, 0), "\"\"");
        CHECK_STR(quoted("\"\\/\b\f\n\r\t", 8), "\"\\\"\\\\/\\b\\f\\n\\r\\t\"");
        CHECK_STR(quoted("\0\x01\x1f \x7f", 5), "\"\\u0000\\u0001\\u001f \x7f\"");
        CHECK_STR(quoted("\xc3\xa9\xf0\x9f\x98\x80", 6), "\"\xc3\xa9\xf0\x9f\x98\x80\"");
        CHECK_STR(quoted("a\xff\xc3", 3), "\"a" U U "\"");
        CHECK_STR(quoted("\xed\xa0\x80z", 4), "\"" U U U "z\"");
        CHECK_STR(quoted("\xe2\x82", 2), "\"" U U "\"");
        for (int c = 0; c < 256; c++) {
                char byte = (char)c;

                CHECK(parse(quoted(&byte, 1)) == 1);
        }
#undef U
}

static void put_one(struct json_put *j, char what)
{
        switch (what) {
        case '{':
                json_put_object(j);
                break;
        case '[':
                json_put_array(j);
                break;
        case 'k':
                json_put_key(j, "k");
                break;
        case 'v':
                json_put_null(j);
                break;
        default:
                json_put_end(j);
        }
}

TEST(what_cannot_be_written)
{
        /* brackets begin and end, k is a key, v a value: each is good but for its last */
        static const char *const cases[] = { "vv", "k", "}", "{v", "{kk", "{k}", "[k", "[]v", "[]]", "{}{", "{kvv", "[vk", "[[]]]" };

        for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
                struct wbuf w = wbuf_over(out, sizeof(out));
                struct json_put j = json_put_over(&w);

                for (const char *c = cases[i]; *c; c++) {
                        put_one(&j, *c);
                        if (w.bad != (c[1] == '\0'))
                                test_fail(__FILE__, __LINE__, "%s at %s: %s", cases[i], c, w.bad ? "bad" : "not bad");
                }
        }
}

TEST(depth_of_what_is_written_is_limited)
{
        struct wbuf w = wbuf_over(out, sizeof(out));
        struct json_put j = json_put_over(&w);

        for (int i = 0; i < JSON_DEPTH_MAX; i++) {
                json_put_object(&j);
                json_put_key(&j, "k");
        }
        CHECK(!w.bad);
        struct wbuf w2 = w;
        struct json_put j2 = j;
        j2.w = &w2;
        json_put_array(&j2);
        CHECK(w2.bad && !json_put_done(&j2));
        json_put_null(&j);
        for (int i = 0; i < JSON_DEPTH_MAX; i++)
                json_put_end(&j);
        CHECK(json_put_done(&j) && parse_len(out, w.len) > 0);
}

TEST(what_does_not_fit_is_bad)
{
        for (size_t cap = 0; cap <= 22; cap++) {
                struct wbuf w = wbuf_over(out, cap);
                struct json_put j = json_put_over(&w);

                memset(out, '#', sizeof(out));
                json_put_object(&j);
                json_put_key(&j, "a");
                json_put_string(&j, "\n");
                json_put_key(&j, "b");
                json_put_base64(&j, "x", 1);
                json_put_end(&j);
                CHECK_INT(json_put_done(&j), cap >= strlen("{\"a\":\"\\n\",\"b\":\"eA==\"}"));
                CHECK(out[cap] == '#');
        }
}

/* ---- base64 ---- */

TEST(base64_there_and_back)
{
        static const struct {
                const char *plain, *coded;
        } cases[] = { { "", "" },
                      { "f", "Zg==" },
                      { "fo", "Zm8=" },
                      { "foo", "Zm9v" },
                      { "foob", "Zm9vYg==" },
                      { "fooba", "Zm9vYmE=" },
                      { "foobar", "Zm9vYmFy" },
                      { "\xfb\xef\xff", "++//" } };
        char back[16];
        size_t len;

        for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
                struct wbuf w = wbuf_over(out, sizeof(out));
                size_t plain_len = strlen(cases[i].plain), coded_len = strlen(cases[i].coded);

                base64_put(&w, cases[i].plain, plain_len);
                CHECK_STR(text_of(&w), cases[i].coded);
                CHECK(coded_len == BASE64_ENCODED(plain_len) && BASE64_DECODED(coded_len) >= plain_len);
                CHECK(base64_decode(cases[i].coded, coded_len, back, plain_len, &len));
                CHECK(len == plain_len && memcmp(back, cases[i].plain, len) == 0);
                CHECK(plain_len == 0 || !base64_decode(cases[i].coded, coded_len, back, plain_len - 1, &len));
        }
}

TEST(base64_is_read_strictly)
{
        static const char *const bad[] = { "Z",    "Zg",   "Zg=",   "Zg==\n", "Zh==",     "Zm9=",     "=Zg=",     "====",      "Z===",
                                           "Zg=a", "Zm9-", "Zm 9v", "Zm9_",   "Zg==Zm9v", "Zm8=Zm8=", "Zg======", "\xc3\xa9==" };
        char back[32];
        size_t len = 4711;

        for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
                if (base64_decode(bad[i], strlen(bad[i]), back, sizeof(back), &len))
                        test_fail(__FILE__, __LINE__, "%s", bad[i]);
        CHECK(!base64_decode("Zm9\0", 4, back, sizeof(back), &len));
        CHECK_INT(len, 4711);
}

/* ---- UTF-8 ---- */

TEST(every_character_comes_back)
{
        for (int32_t v = 0; v <= 0x10ffff; v++) {
                char bytes[UTF8_SIZE_MAX];
                size_t len = utf8_put(bytes, v);
                const uint8_t *p = (const uint8_t *)bytes;
                int32_t got = utf8_get(&p, p + len);

                if (got != (v >= 0xd800 && v < 0xe000 ? UTF8_NONE : v))
                        test_fail(__FILE__, __LINE__, "%x is %x", (unsigned)v, (unsigned)got);
                p = (const uint8_t *)bytes;
                if (len > 1 && utf8_get(&p, p + len - 1) != UTF8_NONE)
                        test_fail(__FILE__, __LINE__, "%x, cut short, is taken", (unsigned)v);
        }
}
