/* JSON as it is read: what is taken, what is refused, and each limit at its last value and one beyond. */
#include "wire/json.h"

#include <locale.h>
#include <math.h>

#include "test.h"

enum { NODES = 8192 };

static struct json_node nodes[NODES];
static struct json_fault fault;

/* Text that grows; one at a time. */
static char text[128 * 1024];
static size_t text_len;

static void add(const char *s)
{
        size_t len = strlen(s);

        memcpy(text + text_len, s, len + 1);
        text_len += len;
}

static void add_many(const char *s, size_t n)
{
        for (size_t i = 0; i < n; i++)
                add(s);
}

/* In a block of exactly its size, so that a sanitizer sees the first byte beyond. */
static int parse_len(const char *s, size_t len)
{
        static char *copy;

        free(copy);
        copy = malloc(len ? len : 1);
        memcpy(copy, s, len);
        return json_parse(copy, len, nodes, NODES, &fault);
}

static int parse(const char *s)
{
        return parse_len(s, strlen(s));
}

static const struct json_node *root(const char *s)
{
        return parse(s) > 0 ? json_root(nodes) : NULL;
}

/* ---- the grammar ---- */

TEST(what_is_json)
{
        static const struct {
                const char *text;
                int nodes;
        } good[] = {
                { "null", 1 },
                { " \t\r\n true \n", 1 },
                { "0", 1 },
                { "-0", 1 },
                { "-0.0e-00", 1 },
                { "10E+5", 1 },
                { "1.5", 1 },
                { "\"\"", 1 },
                { "\"\\\"\\\\\\/\\b\\f\\n\\r\\t\\u00e9\\uD83D\\ude00\"", 1 },
                { "\"\x7f\xc2\x80\xdf\xbf\xe0\xa0\x80\xed\x9f\xbf\xee\x80\x80\xef\xbf\xbf\xf0\x90\x80\x80\xf4\x8f\xbf\xbf\"", 1 },
                { "\"\\u0000\"", 1 }, /* is JSON; json_str() refuses it */
                { "[]", 1 },
                { "[ ]", 1 },
                { "[1,[2],{}]", 5 },
                { "{}", 1 },
                { "{ \"a\" : 1 , \"b\" : [ ] }", 5 },
                { "{\"\":0,\"A\":1,\"a\":2}", 7 },
        };

        for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++)
                if (parse(good[i].text) != good[i].nodes)
                        test_fail(__FILE__, __LINE__, "%s: %s", good[i].text, fault.why);
}

TEST(what_is_not_json)
{
        static const struct {
                const char *text;
                size_t at;
        } bad[] = {
                { "", 0 },
                { " ", 1 },
                { "nul", 0 },
                { "nulls", 4 },
                { "True", 0 },
                { "NaN", 0 },
                { "-Infinity", 1 },
                { "+1", 0 },
                { "01", 1 },
                { "-", 1 },
                { "-01", 2 },
                { ".5", 0 },
                { "1.", 2 },
                { "1.e1", 2 },
                { "1e", 2 },
                { "1e+", 3 },
                { "1e+-1", 3 },
                { "0x10", 1 },
                { "1 2", 2 },
                { "'a'", 0 },
                { "\"", 1 },
                { "\"a", 2 },
                { "\"\\", 2 },
                { "\"\\\"", 3 },
                { "\"\\x41\"", 3 },
                { "\"\\u\"", 3 },
                { "\"\\u12g4\"", 3 },
                { "\"\\u123", 3 },
                { "\"\\ud800\"", 7 },
                { "\"\\ud800\\u0041\"", 13 },
                { "\"\\ud800\\n\"", 7 },
                { "\"\\udc00\"", 7 },
                { "\"\n\"", 1 },
                { "\"\x1f\"", 1 },
                { "\"\x80\"", 1 },
                { "\"\xc1\x81\"", 1 },
                { "\"\xc3\"", 1 },
                { "\"\xe0\x9f\xbf\"", 1 },
                { "\"\xed\xa0\x80\"", 1 },
                { "\"\xf0\x8f\xbf\xbf\"", 1 },
                { "\"\xf4\x90\x80\x80\"", 1 },
                { "\"\xf5\x80\x80\x80\"", 1 },
                { "\"\xff\"", 1 },
                { "\xef\xbb\xbfnull", 0 },
                { "[", 1 },
                { "]", 0 },
                { "[1", 2 },
                { "[1,", 3 },
                { "[1,]", 3 },
                { "[,1]", 1 },
                { "[1 2]", 3 },
                { "[1}", 2 },
                { "{", 1 },
                { "{\"a\"", 4 },
                { "{\"a\":", 5 },
                { "{\"a\":}", 5 },
                { "{\"a\" 1}", 5 },
                { "{\"a\":1,}", 7 },
                { "{a:1}", 1 },
                { "{1:1}", 1 },
                { "{\"a\":1]", 6 },
                { "[1]]", 3 },
                { "// x\n1", 0 },
                { "1/**/", 1 },
                { "\v1", 0 },
                { "[1\xc2\xa0]", 2 },
        };

        for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
                int r = parse(bad[i].text);

                if (r != JSON_BAD || fault.at != bad[i].at)
                        test_fail(__FILE__, __LINE__, "%s: %d at %zu (%s)", bad[i].text, r, fault.at, r < 0 ? fault.why : "taken");
        }
        CHECK_INT(parse_len("\"\0\"", 3), JSON_BAD);
        CHECK_INT(parse_len("1\0", 2), JSON_BAD);
        CHECK_INT(json_parse(NULL, 0, nodes, NODES, NULL), JSON_BAD);
}

TEST(a_key_is_there_once)
{
        static const char *const bad[] = { "{\"a\":1,\"a\":1}", "{\"a\":1,\"b\":{},\"\\u0061\":2}", "{\"\":1,\"\":2}",
                                           "{\"\xf0\x9f\x98\x80\":1,\"\\ud83d\\ude00\":1}", "[{\"x\":{\"y\":1,\"y\":1}}]" };

        for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
                CHECK_INT(parse(bad[i]), JSON_BAD);
        CHECK_STR(fault.why, "a key that was there before");
        CHECK(parse("{\"a\":{\"a\":[{\"a\":1},{\"a\":1}]},\"aa\":1,\"b\":\"a\"}") > 0);
}

TEST(every_beginning_of_a_text_is_no_text)
{
        static const char whole[] = "{\"a\":[1.5e3,\"\\ud83d\\ude00\xc3\xa9\",true,null],\"b\":{\"c\":-0}}";

        CHECK(parse(whole) > 0);
        for (size_t len = 0; len < sizeof(whole) - 1; len++)
                if (parse_len(whole, len) != JSON_BAD)
                        test_fail(__FILE__, __LINE__, "%.*s", (int)len, whole);
}

/* ---- limits ---- */

static int nested(size_t depth)
{
        text_len = 0;
        add_many("[{\"k\":", depth / 2);
        add_many("[", depth % 2);
        add_many("]", depth % 2);
        add(depth % 2 ? "" : "1");
        add_many("}]", depth / 2);
        return parse(text);
}

TEST(depth_is_limited)
{
        CHECK(nested(JSON_DEPTH_MAX) > 0);
        CHECK_INT(nested(JSON_DEPTH_MAX + 1), JSON_BAD);
        CHECK(strstr(fault.why, "32"));
        CHECK_INT(nested(10000), JSON_BAD);
}

static int with_members(size_t n)
{
        char member[32];

        text_len = 0;
        add("{\"0\":0");
        for (size_t i = 1; i < n; i++) {
                snprintf(member, sizeof(member), ",\"%zu\":%zu", i, i);
                add(member);
        }
        add("}");
        return parse(text);
}

static int with_key(size_t len)
{
        text_len = 0;
        add("{\"");
        add_many("k", len);
        add("\":1}");
        return parse(text);
}

TEST(members_and_keys_are_limited)
{
        CHECK_INT(with_members(JSON_MEMBERS_MAX), 1 + 2 * JSON_MEMBERS_MAX);
        CHECK_INT(json_count(nodes), JSON_MEMBERS_MAX);
        CHECK_INT(with_members(JSON_MEMBERS_MAX + 1), JSON_BAD);
        CHECK(strstr(fault.why, "1024 members"));
        CHECK(with_key(JSON_KEY_MAX) > 0);
        CHECK_INT(with_key(JSON_KEY_MAX + 1), JSON_BAD);
        CHECK(strstr(fault.why, "1024 bytes"));
}

TEST(nodes_are_as_many_as_lent)
{
        static const char three[] = "{\"a\":1}";

        nodes[3].len = 4711;
        CHECK_INT(json_parse(three, sizeof(three) - 1, nodes, 3, &fault), 3);
        CHECK_INT(nodes[3].len, 4711);
        CHECK_INT(json_parse(three, sizeof(three) - 1, nodes, 2, &fault), JSON_MORE_NODES);
        CHECK_INT(json_parse(three, sizeof(three) - 1, nodes, 0, NULL), JSON_MORE_NODES);
        CHECK_INT(json_parse(three, sizeof(three) - 2, nodes, 3, &fault), JSON_BAD);
}

TEST(text_is_limited)
{
        char *big = malloc(JSON_TEXT_MAX + 1);

        CHECK(big);
        memset(big, ' ', JSON_TEXT_MAX + 1);
        big[0] = '1';
        int most = json_parse(big, JSON_TEXT_MAX, nodes, NODES, &fault);
        int more = json_parse(big, JSON_TEXT_MAX + 1, nodes, NODES, &fault);
        free(big);
        CHECK_INT(most, 1);
        CHECK_INT(more, JSON_BAD);
}

/* ---- access ---- */

TEST(members_and_items)
{
        static const struct {
                const char *key;
                enum json_kind kind;
        } want[] = { { "n", JSON_KIND_NULL },   { "b", JSON_KIND_BOOL },  { "i", JSON_KIND_NUMBER },
                     { "s", JSON_KIND_STRING }, { "a", JSON_KIND_ARRAY }, { "o", JSON_KIND_OBJECT } };
        const struct json_node *n = root("{\"n\":null,\"b\":true,\"i\":7,\"s\":\"x\",\"a\":[1,[2,3],4],\"o\":{\"x\":{\"y\":5}}}"), *m;
        int64_t v;
        size_t i = 0;

        CHECK(json_is_object(n));
        CHECK_INT(json_count(n), 6);
        for (m = json_first(n); m; m = json_next(n, m), i++) {
                CHECK(i < 6 && json_str_is(m, want[i].key) && json_is(json_value(m), want[i].kind));
                CHECK(json_get(n, want[i].key) == json_value(m));
        }
        CHECK_INT(i, 6);
        CHECK(json_i64(json_get(json_get(json_get(n, "o"), "x"), "y"), &v));
        CHECK_INT(v, 5);
        n = json_get(n, "a");
        CHECK(json_is_array(n) && json_count(n) == 3 && json_is_array(json_at(n, 1)));
        CHECK(json_i64(json_at(n, 2), &v) && v == 4);
        CHECK(json_i64(json_at(json_at(n, 1), 1), &v) && v == 3);
        CHECK(!json_at(n, 3) && !json_get(n, "a"));
        CHECK(!json_first(root("[]")) && !json_first(root("{}")) && !json_first(root("\"abc\"")));
}

TEST(what_is_not_there_is_nothing)
{
        const struct json_node *n = json_get(json_at(root("{\"a\":1}"), 0), "b");
        char s[4] = "old";
        int64_t i = 1;
        uint64_t u = 2;
        double d = 3;
        bool b = true;
        size_t len = 4;

        CHECK(!n && !json_get(n, "x") && !json_at(n, 0) && !json_first(n) && json_count(n) == 0);
        CHECK(!json_str(n, s, sizeof(s)) && !json_str_len(n, &len) && !json_str_is(n, "") && !json_i64(n, &i) && !json_u64(n, &u));
        CHECK(!json_double(n, &d) && !json_bool(n, &b) && !json_base64(n, s, sizeof(s), &len));
        CHECK(!json_is_null(n) && !json_is_bool(n) && !json_is_number(n) && !json_is_string(n) && !json_is_array(n) && !json_is_object(n));
        CHECK(i == 1 && u == 2 && d == 3 && b && len == 4);
        CHECK_STR(s, "old");
}

TEST(strings)
{
        const struct json_node *n = root("\"a\\u00e9\\n\\ud83d\\uDE00\\/\xc3\xa9\"");
        static const char want[] = "a\xc3\xa9\n\xf0\x9f\x98\x80/\xc3\xa9";
        char s[32] = "old";
        size_t len = 0;

        CHECK(json_str_len(n, &len) && len == sizeof(want) - 1);
        CHECK(!json_str(n, s, len) && !json_str(n, s, 0));
        CHECK_STR(s, "old");
        CHECK(json_str(n, s, len + 1));
        CHECK_STR(s, want);
        CHECK(json_str_is(n, want) && !json_str_is(n, "a") && !json_str_is(n, "a\xc3\xa9\n\xf0\x9f\x98\x80/\xc3\xa9+"));
        CHECK(json_str(root("\"\""), s, 1) && s[0] == '\0' && json_str_is(nodes, "") && !json_str_is(nodes, "a"));
        CHECK(!json_str(root("\"a\\u0000b\""), s, sizeof(s)) && !json_str_len(nodes, &len));
        CHECK(!json_str_is(nodes, "a") && !json_get(root("{\"a\\u0000\":1}"), "a"));
        CHECK(!json_str(root("1"), s, sizeof(s)) && !json_str_is(nodes, "1"));
}

TEST(whole_numbers)
{
        static const struct {
                const char *text;
                bool is_i64, is_u64;
                int64_t i64;
                uint64_t u64;
        } cases[] = {
                { "0", true, true, 0, 0 },
                { "-0", true, false, 0, 0 },
                { "-1", true, false, -1, 0 },
                { "42", true, true, 42, 42 },
                { "9223372036854775807", true, true, INT64_MAX, INT64_MAX },
                { "9223372036854775808", false, true, 0, 1ULL << 63 },
                { "-9223372036854775808", true, false, INT64_MIN, 0 },
                { "-9223372036854775809", false, false, 0, 0 },
                { "18446744073709551615", false, true, 0, UINT64_MAX },
                { "18446744073709551616", false, false, 0, 0 },
                { "100000000000000000000000000000000000000000000000000000000000000000000", false, false, 0, 0 },
                { "1.0", true, true, 1, 1 },
                { "1.50", false, false, 0, 0 },
                { "-2.000", true, false, -2, 0 },
                { "1.0e1", false, false, 0, 0 },
                { "1e2", false, false, 0, 0 },
                { "\"1\"", false, false, 0, 0 },
                { "true", false, false, 0, 0 },
        };

        for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
                const struct json_node *n = root(cases[i].text);
                int64_t s = 0;
                uint64_t u = 0;

                if (json_i64(n, &s) != cases[i].is_i64 || s != cases[i].i64)
                        test_fail(__FILE__, __LINE__, "%s as i64 is %lld", cases[i].text, (long long)s);
                if (json_u64(n, &u) != cases[i].is_u64 || u != cases[i].u64)
                        test_fail(__FILE__, __LINE__, "%s as u64 is %llu", cases[i].text, (unsigned long long)u);
        }
}

static void check_doubles(void)
{
        static const struct {
                const char *text;
                double v;
        } cases[] = {
                { "0", 0 },
                { "1.5", 1.5 },
                { "-1.25e3", -1250 },
                { "0.001E+3", 1 },
                { "125e-2", 1.25 },
                { "1e-400", 0 },
                { "0e999999999999999999999999", 0 },
                { "1e-999999999999999999999999", 0 },
                { "0.1", 0.1 },
                { "1.7976931348623157e308", 1.7976931348623157e308 },
                { "5e-324", 5e-324 },
                { "3.14159265358979323846", 3.14159265358979323846 },
        };

        for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
                double d = 4711;

                if (!json_double(root(cases[i].text), &d) || d < cases[i].v || d > cases[i].v)
                        test_fail(__FILE__, __LINE__, "%s is %.17g", cases[i].text, d);
        }
}

TEST(numbers_with_a_point)
{
        double d = 4711;

        check_doubles();
        CHECK(json_double(root("-0.0"), &d) && signbit(d));
        CHECK(!json_double(root("1e309"), &d) && !json_double(root("-1e99999999999999999999"), &d) && !json_double(root("\"1\""), &d));
        text_len = 0;
        add("0.");
        add_many("1", JSON_NUMBER_MAX - 2);
        CHECK(json_double(root(text), &d));
        add("1");
        CHECK(!json_double(root(text), &d));
}

/* A program that links us may have set any locale. */
TEST(numbers_do_not_depend_on_the_locale)
{
        static const char *const names[] = { "de_DE.UTF-8", "fr_FR.UTF-8", "C.UTF-8" };

        for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
                if (setlocale(LC_NUMERIC, names[i]))
                        break;
        check_doubles();
        setlocale(LC_NUMERIC, "C");
}

TEST(booleans)
{
        bool b = false;

        CHECK(json_bool(root("true"), &b) && b);
        CHECK(json_bool(root("false"), &b) && !b);
        CHECK(!json_bool(root("1"), &b) && !json_bool(root("null"), &b));
}

TEST(base64_in_a_document)
{
        char back[16];
        size_t len = 0;

        CHECK(json_base64(root("\"+//7\""), back, 3, &len) && len == 3 && memcmp(back, "\xfb\xff\xfb", 3) == 0);
        CHECK(json_base64(root("\"+\\/\\u002f7\""), back, 5, &len) && len == 3 && memcmp(back, "\xfb\xff\xfb", 3) == 0);
        CHECK(!json_base64(nodes, back, 4, &len)); /* escaped, so the text must fit */
        CHECK(!json_base64(root("\"+//\""), back, sizeof(back), &len) && !json_base64(root("1234"), back, sizeof(back), &len));
}
