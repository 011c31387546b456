/* Templates: what each language is made into, what is refused with the line and the reason, and the limits. */
#include "test.h"

#include "base/text.h"
#include "domain/spec_json.h"
#include "services/template/template.h"

static char out[512 * 1024];

static int read_into_out(enum template_format format, const char *text, size_t len, struct err *e)
{
        struct wbuf w = wbuf_over(out, sizeof(out) - 1);
        int r = template_read(format, text, len, &w, e);

        out[r == 0 ? w.len : 0] = '\0';
        return r;
}

struct good {
        const char *text, *want;
};

static void check_good(enum template_format format, const struct good *cases, size_t count)
{
        for (size_t i = 0; i < count; i++) {
                struct err e;

                if (read_into_out(format, cases[i].text, strlen(cases[i].text), &e) < 0)
                        test_fail(__FILE__, __LINE__, "'%s': %s", cases[i].text, e.msg);
                else if (strcmp(out, cases[i].want) != 0)
                        test_fail(__FILE__, __LINE__, "'%s': %s, wanted %s", cases[i].text, out, cases[i].want);
        }
}

static void check_bad(enum template_format format, const struct good *cases, size_t count)
{
        for (size_t i = 0; i < count; i++) {
                struct err e;

                if (read_into_out(format, cases[i].text, strlen(cases[i].text), &e) == 0)
                        test_fail(__FILE__, __LINE__, "'%s' is taken: %s", cases[i].text, out);
                else if (e.code != ERR_INVALID_SPEC || strncmp(e.msg, cases[i].want, strlen(cases[i].want)) != 0)
                        test_fail(__FILE__, __LINE__, "'%s': %s, wanted %s", cases[i].text, e.msg, cases[i].want);
        }
}

#define COUNT(a) (sizeof(a) / sizeof((a)[0]))

TEST(yaml)
{
        static const struct good cases[] = {
                { "image: python:3.11\n", "{\"image\":\"python:3.11\"}" },
                { "---\nimage: host\n...\n", "{\"image\":\"host\"}" },
                { "%YAML 1.2\n---\na: b\n", "{\"a\":\"b\"}" },
                { "{}", "{}" },
                { "a: {b: [1, two, {c: d}]}", "{\"a\":{\"b\":[1,\"two\",{\"c\":\"d\"}]}}" },
                { "a:\n- x\n- y: 1\n  z: 2\n-\n", "{\"a\":[\"x\",{\"y\":1,\"z\":2},null]}" },
                { "a: |\n  one\n  two\nb: >-\n  one\n  two\n", "{\"a\":\"one\\ntwo\\n\",\"b\":\"one two\"}" },
                { "a: # nothing\nb: ~\nc: null\nd: 'null'\n", "{\"a\":null,\"b\":null,\"c\":null,\"d\":\"null\"}" },
                { "\xef\xbb\xbf"
                  "a: b",
                  "{\"a\":\"b\"}" },
                { "a: \"\\x41\\u00e9\\N\"", "{\"a\":\"A\xc3\xa9\xc2\x85\"}" },
        };

        check_good(TEMPLATE_YAML, cases, COUNT(cases));
}

TEST(yaml_scalars_mean_what_1_2_says)
{
        static const struct good scalars[] = {
                /* strings, though older readers know better */
                { "yes", "\"yes\"" },
                { "No", "\"No\"" },
                { "on", "\"on\"" },
                { "OFF", "\"OFF\"" },
                { "y", "\"y\"" },
                { "1:30", "\"1:30\"" },
                { "1_000", "\"1_000\"" },
                { "0b11", "\"0b11\"" },
                { "2024-01-31", "\"2024-01-31\"" },
                { "512M", "\"512M\"" },
                { "1.2.3", "\"1.2.3\"" },
                { "0x", "\"0x\"" },
                { "0o8", "\"0o8\"" },
                { ".", "\".\"" },
                { "1e", "\"1e\"" },
                { "-", "[null]" },
                { "'12'", "\"12\"" },
                { "\"true\"", "\"true\"" },
                { "=", "\"=\"" },
                /* the others */
                { "true", "true" },
                { "False", "false" },
                { "TRUE", "true" },
                { "NULL", "null" },
                { "12", "12" },
                { "-12", "-12" },
                { "+12", "12" },
                { "010", "10" },
                { "-007", "-7" },
                { "0", "0" },
                { "0x1F", "31" },
                { "0o17", "15" },
                { "0xffffffffffffffff", "18446744073709551615" },
                { "18446744073709551616", "18446744073709551616" },
                { "1.5", "1.5" },
                { "1.", "1" },
                { ".5", "0.5" },
                { "-.5", "-0.5" },
                { "1e3", "1e3" },
                { "1.5E+3", "1.5e+3" },
                { "01.50", "1.50" },
        };
        char text[64], want[64];

        for (size_t i = 0; i < COUNT(scalars); i++) {
                const struct good one = { text, want };

                snprintf(text, sizeof(text), "a:%s%s", strcmp(scalars[i].text, "-") == 0 ? "\n" : " ", scalars[i].text);
                snprintf(want, sizeof(want), "{\"a\":%s}", scalars[i].want);
                check_good(TEMPLATE_YAML, &one, 1);
        }
}

TEST(yaml_that_is_refused)
{
        static const struct good cases[] = {
                { "", "line 1: there is nothing in it" },
                { "# nothing\n", "line 2: there is nothing in it" },
                { "just words", "line 1: it is not a mapping" },
                { "- a\n- b\n", "line 1: it is not a mapping" },
                { "~", "line 1: it is not a mapping" },
                { "a: b\nc: &x d\n", "line 2: anchors" },
                { "a: &x {}\n", "line 1: anchors" },
                { "a: &x [1]\n", "line 1: anchors" },
                { "&x a: 1\n", "line 1: anchors" },
                { "a: b\n\nc: *x\n", "line 3: aliases" },
                { "*x : 1\n", "line 1: aliases" },
                { "a: !!str 1\n", "line 1: tags" },
                { "a: !x {}\n", "line 1: tags" },
                { "a: ! 1\n", "line 1: tags" },
                { "!!map {a: 1}\n", "line 1: tags" },
                { "%TAG ! tag:x,2000:\n---\na: b\n", "line 1: tags" },
                { "%YAML 1.1\n---\na: yes\n", "line 1: it is YAML 1.2" },
                { "a: 1\nb:\n  <<: {c: 1}\n", "line 3: merge keys" },
                { "a: 1\nb: 2\na: 3\n", "line 3: 'a' is there twice" },
                { "b:\n  x: 1\n  \"x\": 1\n", "line 3: 'x' is there twice" },
                { "a: 1\n---\nb: 2\n", "line 2: more than one document" },
                { "a: 1\n...\n---\nb: 2\n", "line 3: more than one document" },
                { "1: a\n", "line 1: a key is a string: \"1\" in quotes" },
                { "true: a\n", "line 1: a key is a string" },
                { "? [a]\n: b\n", "line 1: a key is a string, no list" },
                { "? {a: b}\n: b\n", "line 1: a key is a string, no list" },
                { "a: .inf\n", "line 1: infinity" },
                { "a: .NaN\n", "line 1: infinity" },
                { "a: 1111111111111111111111111111111111111111111111111\n", "line 1: a number is longer" },
                { "a: [1, 2\nb: 3\n", "line 2: " },
                { "a: b: c\n", "line 1: " },
                { "a:\n\tb: 1\n", "line 2: " },
                { "a: 'x\n", "line 2: " },
                { "a: \"\\q\"\n", "line 1: " },
                { "\"a\\0\": 1\n", "line 1: a key has at most" },
                { "a: \xff\n", "line 1: " },
                { "a: \x01\n", "line 1: " },
                { "a: }\n", "line 1: " },
        };

        check_bad(TEMPLATE_YAML, cases, COUNT(cases));
}

TEST(toml)
{
        static const struct good cases[] = {
                { "", "{}" },
                { "image = \"host\"\n[resourceLimits]\npidLimit = 5\n", "{\"image\":\"host\",\"resourceLimits\":{\"pidLimit\":5}}" },
                { "[spec]\nimage = 'x'\n[spec.env]\nA = \"1\"\n[spec.labels]\n\"a/b\" = \"c\"\n",
                  "{\"spec\":{\"image\":\"x\",\"env\":{\"A\":\"1\"},\"labels\":{\"a/b\":\"c\"}}}" },
                { "env = {A = \"1\", B.c = 2, 'd e' = []}", "{\"env\":{\"A\":\"1\",\"B\":{\"c\":2},\"d e\":[]}}" },
                { "a.b.c = 1\na.d = 2\n", "{\"a\":{\"b\":{\"c\":1},\"d\":2}}" },
                { "[a.b]\nx = 1\n[a]\ny = 2\n", "{\"a\":{\"b\":{\"x\":1},\"y\":2}}" },
                { "[a]\nb.c = 1\n[a.b.d]\ne = 2\n", "{\"a\":{\"b\":{\"c\":1,\"d\":{\"e\":2}}}}" },
                { "[[r]]\nx = 1\n[[r]]\n[r.s]\ny = 2\n[[r.t]]\n", "{\"r\":[{\"x\":1},{\"s\":{\"y\":2},\"t\":[{}]}]}" },
                { "a = [1, [2, 'x'], {b = true}, # more\n 1.5,\n]\n", "{\"a\":[1,[2,\"x\"],{\"b\":true},1.5]}" },
                { "a = \"\"\nb = 1_000\nc = -0.25\nd = false", "{\"a\":\"\",\"b\":1000,\"c\":-0.25,\"d\":false}" },
                { "a . \"b\" . 'c' = 1", "{\"a\":{\"b\":{\"c\":1}}}" },
                { "1 = 2\n'' = 3", "{\"1\":2,\"\":3}" },
        };

        check_good(TEMPLATE_TOML, cases, COUNT(cases));
}

TEST(toml_that_is_refused)
{
        static const struct good cases[] = {
                { "a = 1\na = 2\n", "line 2: 'a' is there twice" },
                { "[a]\n[b]\n[a]\n", "line 3: the table is there twice" },
                { "[a]\nb = 1\n[a.b]\n", "line 3: the table is there twice" },
                { "[a]\nb = 1\n[a.b.c]\n", "line 3: that name is there already" },
                { "a = {b = 1}\na.c = 2\n", "line 2: that name is there already" },
                { "a = {b = 1}\n[a]\nc = 2\n", "line 2: the table is there twice" },
                { "a = {b = {}}\n[a.b.c]\n", "line 2: that name is there already" },
                { "a = {b = 1, b = 2}\n", "line 1: 'b' is there twice" },
                { "a = {b = {c = 1}, b.d = 2}\n", "line 1: that name is there already" },
                { "[a.b]\n[a]\nb.c = 1\n", "line 3: that name is there already" },
                { "[a]\nb.c = 1\n[a.b]\n", "line 3: the table is there twice" },
                { "a = []\n[[a]]\n", "line 2: that name is there already" },
                { "[[a]]\n[a]\n", "line 2: the table is there twice" },
                { "[a]\n[[a]]\n", "line 2: that name is there already" },
                { "[[a]]\n[[a.b]]\n[a.b]\n", "line 3: the table is there twice" },
                { "a = 1 b = 2\n", "line 1: there is something behind" },
                { "a = [1 2]\n", "line 1: an array wants a comma" },
                { "a = [1,\n", "line 2: an array wants a comma" },
                { "a = [,]\n", "line 1: a value is missing" },
                { "a = {b = 1,}\n", "line 1: a name is wanted here" },
                { "a = {b = 1\n}\n", "line 1: an inline table wants" },
                { "a = {b 1}\n", "line 1: a key wants '='" },
                { "[a\n", "line 1: a table's name ends" },
                { "[[a]\n", "line 1: the name of an array" },
                { "[]\n", "line 1: a name is wanted" },
                { "a..b = 1\n", "line 1: a name is wanted" },
                { "a.b\n", "line 1: a key wants '='" },
                { "a = 1979-05-27\n", "line 1: that is no value" },
                { "a = \"\"\"x\"\"\"\n", "line 1: strings of several lines" },
                { "a = \"\\u0000\"\n", "line 1: an escape names no character" },
                { "a = inf\n", "line 1: that is no value" },
                { "a.b.c.d.e.f.g.h.i.j.k.l.m.n.o.p.q = 1\n", "line 1: more than 16 names" },
        };

        check_bad(TEMPLATE_TOML, cases, COUNT(cases));
}

TEST(json)
{
        static const struct good good[] = {
                { " {\"a\" : [ 1 , \"\\u00e9\\/\" , null , {} , [] ] }\n", "{\"a\":[1,\"\xc3\xa9/\",null,{},[]]}" },
                { "{\"a\":1.50e+3,\"b\":-0}", "{\"a\":1.50e+3,\"b\":-0}" },
        };
        static const struct good bad[] = {
                { "", "line 1: " },
                { "[1]", "line 1: it is not an object" },
                { "{\n\"a\": 1,\n\"a\": 2}", "line 3: " },
                { "{\n\"a\": 01}", "line 2: " },
                { "{\"a\":\n\"\\u0000\"}", "line 2: a string with a NUL" },
                { "{\"\\u0000\":1}", "line 1: a key has" },
                { "{} {}", "line 1: " },
        };

        check_good(TEMPLATE_JSON, good, COUNT(good));
        check_bad(TEMPLATE_JSON, bad, COUNT(bad));
}

TEST(sizes_become_bytes)
{
        static const struct good yaml[] = {
                { "resourceLimits: {memoryBytes: 512M, diskBytes: '2GiB', swapBytes: 0, pidLimit: 64}",
                  "{\"resourceLimits\":{\"memoryBytes\":536870912,\"diskBytes\":2147483648,\"swapBytes\":0,\"pidLimit\":64}}" },
                { "spec: {resources: {memoryBytes: 1K, outputBytesPerSecond: unlimited}}",
                  "{\"spec\":{\"resources\":{\"memoryBytes\":1024,\"outputBytesPerSecond\":\"unlimited\"}}}" },
                /* only where a size is meant */
                { "resourceLimits: {pidLimit: 1K}\nenv: {memoryBytes: 512M}\nmemoryBytes: 512M",
                  "{\"resourceLimits\":{\"pidLimit\":\"1K\"},\"env\":{\"memoryBytes\":\"512M\"},\"memoryBytes\":\"512M\"}" },
        };
        static const struct good toml[] = { { "[resourceLimits]\nmemoryBytes = \"1G\"\n",
                                              "{\"resourceLimits\":{\"memoryBytes\":1073741824}}" } };

        check_good(TEMPLATE_YAML, yaml, COUNT(yaml));
        check_good(TEMPLATE_TOML, toml, COUNT(toml));
}

/* `n` times `piece` between the two. */
static size_t build(char *to, const char *before, const char *piece, size_t n, const char *after)
{
        char *at = to + sprintf(to, "%s", before);

        while (n-- > 0)
                at += sprintf(at, "%s", piece);
        at += sprintf(at, "%s", after);
        return (size_t)(at - to);
}

TEST(limits)
{
        static char text[TEMPLATE_TEXT_MAX + 64], key[TEMPLATE_MEMBERS_MAX + 1], line[TEMPLATE_MEMBERS_MAX + 16];
        struct err e;
        size_t n;

        n = build(text, "a: \"", "x", TEMPLATE_TEXT_MAX - 5, "\"");
        CHECK_INT(n, TEMPLATE_TEXT_MAX);
        CHECK_INT(read_into_out(TEMPLATE_YAML, text, n, &e), 0);
        n = build(text, "a: \"", "x", TEMPLATE_TEXT_MAX - 4, "\"");
        CHECK(read_into_out(TEMPLATE_YAML, text, n, &e) < 0 && strstr(e.msg, "65537 bytes; at most 65536"));

        /* escapes that are longer than they look */
        n = build(text, "a: \"", "\\L", (TEMPLATE_TEXT_MAX - 8) / 2, "\"");
        CHECK_INT(read_into_out(TEMPLATE_YAML, text, n, &e), 0);
        CHECK_INT(strlen(out), (TEMPLATE_TEXT_MAX - 8) / 2 * 3 + 8);

        static const char *const open[] = { "a: ", "a = ", "{\"a\":" }, *const end[] = { "", "", "}" };
        for (unsigned f = 0; f < TEMPLATE_FORMATS; f++) {
                for (unsigned d = TEMPLATE_DEPTH_MAX - 1; d <= TEMPLATE_DEPTH_MAX; d++) {
                        n = build(text, open[f], "[", d, "1");
                        n += build(text + n, "", "]", d, end[f]);
                        int r = read_into_out((enum template_format)f, text, n, &e);
                        CHECK((r == 0) == (d < TEMPLATE_DEPTH_MAX));
                        CHECK(r == 0 || strstr(e.msg, "nested"));
                }
                for (unsigned c = TEMPLATE_MEMBERS_MAX; c <= TEMPLATE_MEMBERS_MAX + 1; c++) {
                        n = build(text, open[f], "[1", 1, "");
                        n += build(text + n, "", ",1", c - 1, "]");
                        n += build(text + n, "", "", 0, end[f]);
                        CHECK((read_into_out((enum template_format)f, text, n, &e) == 0) == (c == TEMPLATE_MEMBERS_MAX));
                }
                n = build(text, open[f], "[[1]", 1, ""); /* with the two around it 4, and 1023 times 4 */
                n += build(text + n, "", ",[1,1,1]", 1023, "]");
                n += build(text + n, "", "", 0, end[f]);
                CHECK_INT(read_into_out((enum template_format)f, text, n, &e), 0);
                n = build(text, open[f], "[[1,1]", 1, "");
                n += build(text + n, "", ",[1,1,1]", 1023, "]");
                n += build(text + n, "", "", 0, end[f]);
                CHECK(read_into_out((enum template_format)f, text, n, &e) < 0 && strstr(e.msg, "more than 4096 values"));
        }
        for (unsigned len = TEMPLATE_MEMBERS_MAX - 1; len <= TEMPLATE_MEMBERS_MAX; len++) {
                build(key, "", "k", len, "");
                n = (size_t)snprintf(line, sizeof(line), "%s = 1", key);
                CHECK((read_into_out(TEMPLATE_TOML, line, n, &e) == 0) == (len < TEMPLATE_MEMBERS_MAX));
        }
}

/* What comes out is JSON that the reader of specs takes, all of it. */
TEST(a_whole_template)
{
        static const char yaml[] = "image: host\n"
                                   "resourceLimits:\n"
                                   "  memoryBytes: 256M\n"
                                   "  cpuMillicores: 500\n"
                                   "env: {LANG: C.UTF-8, PORT: '8080'}\n"
                                   "labels: {team: research}\n"
                                   "ttlSeconds: 1.5\n"
                                   "networkPolicy: deny-all\n";
        static struct json_node nodes[256];
        static struct spec spec;
        static char arena[4096];
        struct spec_faults faults;
        struct err e;

        CHECK_INT(read_into_out(TEMPLATE_YAML, yaml, strlen(yaml), &e), 0);
        CHECK(json_parse(out, strlen(out), nodes, 256, NULL) > 0);
        spec_init(&spec);
        CHECK_INT(spec_json_read(nodes, &spec, arena, sizeof(arena), &faults, &e), 0);
        CHECK_INT(spec.limits.value[LIMIT_MEMORY], 256 << 20);
        CHECK_INT(spec.limits.value[LIMIT_CPU], 500);
        CHECK_INT(spec.env_count, 2);
        CHECK_STR(spec.env[1], "PORT=8080");
        CHECK_INT(spec.ttl_ms, 1500);
}

TEST(formats)
{
        CHECK_INT(template_format_of("yaml"), TEMPLATE_YAML);
        CHECK_INT(template_format_of("toml"), TEMPLATE_TOML);
        CHECK_INT(template_format_of("json"), TEMPLATE_JSON);
        CHECK_INT(template_format_of("YAML"), TEMPLATE_FORMATS);
        CHECK_INT(template_format_of(""), TEMPLATE_FORMATS);
}
