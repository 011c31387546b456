/* A configuration: what is told of it, and what is refused, with the line and the reason. */
#include "test.h"

#include "wire/toml.h"

static char told[4096];

static const char *tell(void *ctx, const char *table, const char *key, const struct toml_value *v)
{
        size_t n = strlen(told);

        (void)ctx;
        n += (size_t)snprintf(told + n, sizeof(told) - n, "%s.%s=", table, key);
        switch (v->type) {
        case TOML_STRING:
                n += (size_t)snprintf(told + n, sizeof(told) - n, "'%s'", v->string);
                break;
        case TOML_INTEGER:
                n += (size_t)snprintf(told + n, sizeof(told) - n, "%lld", (long long)v->integer);
                break;
        case TOML_FLOAT:
                n += (size_t)snprintf(told + n, sizeof(told) - n, "%g", v->number);
                break;
        case TOML_BOOLEAN:
                n += (size_t)snprintf(told + n, sizeof(told) - n, "%s", v->boolean ? "yes" : "no");
                break;
        case TOML_STRINGS:
                for (size_t i = 0; i < v->count; i++)
                        n += (size_t)snprintf(told + n, sizeof(told) - n, "%s'%s'", i ? "," : "[", v->items[i]);
                n += (size_t)snprintf(told + n, sizeof(told) - n, "%s", v->count ? "]" : "[]");
                break;
        }
        snprintf(told + n, sizeof(told) - n, ";");
        return strcmp(key, "refused") == 0 ? "is refused" : NULL;
}

TEST(what_is_taken)
{
        static const struct {
                const char *text, *want;
        } cases[] = {
                { "", "" },
                { "# nothing\n\n  \t\n", "" },
                { "a = 1", ".a=1;" },
                { "a=1\r\nb = -2 # two\r\n", ".a=1;.b=-2;" },
                { "[t]\nx = \"s\"\n[ u ]\nx = 's\\n'\n", "t.x='s';u.x='s\\n';" },
                { "a = \"\\t\\\"\\\\\\u00e9\\U0001F600\"", ".a='\t\"\\\xc3\xa9\xf0\x9f\x98\x80';" },
                { "a = true\nb = false", ".a=yes;.b=no;" },
                { "a = 1_000\nb = 0.5\nc = -1.25\nd = +3", ".a=1000;.b=0.5;.c=-1.25;.d=3;" },
                { "a = []", ".a=[];" },
                { "a = [ \"x\", 'y' ]", ".a=['x','y'];" },
                { "a = [\n  \"x\", # first\n\n  'y',\n]\nb = 1", ".a=['x','y'];.b=1;" },
                { "a = [ \"x\"\n, 'y' # z\n]", ".a=['x','y'];" },
        };

        for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
                struct toml_fault fault;

                told[0] = '\0';
                if (toml_read(cases[i].text, strlen(cases[i].text), tell, NULL, &fault) != 0)
                        test_fail(__FILE__, __LINE__, "'%s': line %u: %s", cases[i].text, fault.line, fault.why);
                else if (strcmp(told, cases[i].want) != 0)
                        test_fail(__FILE__, __LINE__, "'%s': %s, wanted %s", cases[i].text, told, cases[i].want);
        }
}

TEST(what_is_refused)
{
        static const struct {
                const char *text;
                unsigned line;
                const char *why;
        } cases[] = {
                { "a", 1, "wants '='" },
                { "\n= 1", 2, "a name of" },
                { "a = ", 1, "a value is missing" },
                { "a = 1 2", 1, "behind the value" },
                { "a = x", 1, "that is no value" },
                { "a = 01", 1, "that is no value" },
                { "a = 1.", 1, "that is no value" },
                { "a = 1e3", 1, "that is no value" },
                { "a = 1979-05-27", 1, "that is no value" },
                { "a = 9999999999999999999", 1, "that is no value" },
                { "a = \"x", 1, "does not end on its line" },
                { "a = \"x\ny\"", 1, "does not end on its line" },
                { "a = \"\"\"x\"\"\"", 1, "several lines" },
                { "a = \"\\q\"", 1, "no such escape" },
                { "a = \"\\u0000\"", 1, "no character" },
                { "a = \"\\ud800\"", 1, "no character" },
                { "a = \"\xff\"", 1, "UTF-8" },
                { "a = \"\x01\"", 1, "control character" },
                { "# \x01", 1, "control character" },
                { "a = { b = 1 }", 1, "inline tables" },
                { "[[a]]", 1, "arrays of tables" },
                { "[a", 1, "ends with ']'" },
                { "[a.b.c]", 1, "ends with ']'" },
                { "a = 1\na = 2", 2, "twice" },
                { "[a]\n[b]\n[a]", 3, "twice" },
                { "a = [1]", 1, "of strings" },
                { "a = ['x' 'y']", 1, "a comma" },
                { "a = ['x',,]", 1, "of strings" },
                { "a = [\n'x',\n", 3, "of strings" },
                { "x = 1\nrefused = 1\n", 2, "is refused" },
        };

        for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
                struct toml_fault fault = { 0 };

                told[0] = '\0';
                if (toml_read(cases[i].text, strlen(cases[i].text), tell, NULL, &fault) == 0)
                        test_fail(__FILE__, __LINE__, "'%s' is taken", cases[i].text);
                else if (fault.line != cases[i].line || !strstr(fault.why, cases[i].why))
                        test_fail(__FILE__, __LINE__, "'%s': line %u: %s", cases[i].text, fault.line, fault.why);
        }
}

TEST(limits)
{
        static char text[40000];
        struct toml_fault fault;

        for (size_t n = TOML_STRING_MAX; n <= TOML_STRING_MAX + 1; n++) {
                told[0] = '\0';
                int len = snprintf(text, sizeof(text), "a = \"%0*d\"", (int)n, 0);
                CHECK((toml_read(text, (size_t)len, tell, NULL, &fault) == 0) == (n == TOML_STRING_MAX));
        }
        for (size_t n = TOML_NAME_MAX; n <= TOML_NAME_MAX + 1; n++) {
                told[0] = '\0';
                int len = snprintf(text, sizeof(text), "%0*d = 1", (int)n, 0);
                CHECK((toml_read(text, (size_t)len, tell, NULL, &fault) == 0) == (n == TOML_NAME_MAX));
        }
        for (size_t n = TOML_ITEMS_MAX; n <= TOML_ITEMS_MAX + 1; n++) {
                size_t len = (size_t)snprintf(text, sizeof(text), "a = [");

                told[0] = '\0';
                for (size_t i = 0; i < n; i++)
                        len += (size_t)snprintf(text + len, sizeof(text) - len, "'',");
                len += (size_t)snprintf(text + len, sizeof(text) - len, "]");
                CHECK((toml_read(text, len, tell, NULL, &fault) == 0) == (n == TOML_ITEMS_MAX));
        }
}
