/* Prewarmed interpreters, the pure half: what is said on the socket, what a spec may ask for, which commands a warm interpreter may serve. */
#include "services/prewarm/prewarm.h"

#include "domain/spec_json.h"
#include "test.h"
#include "wire/prewarm.h"

static uint8_t mem[2 * PREWARM_PACKET_MAX];

/* ---- the socket ---- */

static int take_answer(const void *data, size_t len, struct prewarm_answer *m)
{
        return prewarm_get_answer((struct bytes){ data, len }, m);
}

TEST(answers)
{
        static const struct prewarm_answer all[] = { { .type = PREWARM_READY },
                                                     { .type = PREWARM_READY, .flags = PREWARM_KEEPS },
                                                     { .type = PREWARM_TAKEN },
                                                     { .type = PREWARM_REFUSED, .sys = 2 } };
        struct prewarm_answer m;

        for (size_t i = 0; i < sizeof(all) / sizeof(all[0]); i++) {
                struct wbuf w = wbuf_over(mem, sizeof(mem));

                prewarm_put_answer(&w, &all[i]);
                CHECK(!w.bad && w.len < PREWARM_ANSWER_MAX);
                for (size_t len = 0; len <= w.len + 1; len++)
                        CHECK_INT(take_answer(mem, len, &m) == 0, len == w.len);
                CHECK_INT(take_answer(mem, w.len, &m), 0);
                CHECK(m.type == all[i].type && m.flags == all[i].flags && m.sys == all[i].sys);
        }
        CHECK(take_answer("\1\2", 2, &m) < 0);         /* a flag that there is not */
        CHECK(take_answer("\3\0\0\0\0", 5, &m) < 0);   /* refused for no reason */
        CHECK(take_answer("\3\0\x10\0\0", 5, &m) < 0); /* no errno */
        CHECK(take_answer("\4", 1, &m) < 0 && take_answer("\x81\0", 2, &m) < 0);
}

static bool next_is(struct rbuf *strings, const char *text)
{
        struct bytes b = prewarm_run_next(strings);

        return b.len == strlen(text) && memcmp(b.data, text, b.len) == 0;
}

TEST(runs)
{
        char *const argv[] = { (char *)"python3", (char *)"-c", (char *)"", NULL }, *const env[] = { (char *)"A=b", (char *)"C=", NULL };
        struct wbuf w = wbuf_over(mem, sizeof(mem));
        struct prewarm_run m;

        prewarm_put_run(&w, PREWARM_STDIN | PREWARM_CWD_WISH, "/tmp", argv, env);
        CHECK(!w.bad);
        for (size_t len = 0; len <= w.len + 1; len++)
                CHECK_INT(prewarm_get_run((struct bytes){ mem, len }, &m) == 0, len == w.len);
        CHECK_INT(prewarm_get_run((struct bytes){ mem, w.len }, &m), 0);
        CHECK(m.flags == (PREWARM_STDIN | PREWARM_CWD_WISH) && m.cwd.len == 4 && m.argc == 3 && m.envc == 2);
        CHECK(next_is(&m.args, "python3") && next_is(&m.args, "-c") && next_is(&m.args, "") && rbuf_done(&m.args));
        CHECK(next_is(&m.envs, "A=b") && next_is(&m.envs, "C=") && rbuf_done(&m.envs));
        mem[1] = 4;
        CHECK(prewarm_get_run((struct bytes){ mem, w.len }, &m) < 0);
}

static bool goes(const char *cwd, char *const *argv, char *const *env)
{
        struct wbuf w = wbuf_over(mem, sizeof(mem));
        struct prewarm_run m;

        prewarm_put_run(&w, 0, cwd, argv, env);
        return !w.bad && prewarm_get_run((struct bytes){ mem, w.len }, &m) == 0;
}

TEST(runs_have_limits)
{
        static char text[PREWARM_PACKET_MAX], path[PREWARM_PATH_MAX + 2], *many[PREWARM_ARGS_MAX + 2];
        char *none[] = { NULL }, *one[] = { text, NULL }, *wrong[] = { (char *)"A", NULL }, *nameless[] = { (char *)"=x", NULL };

        memset(text, 'x', PREWARM_PACKET_MAX - 64);
        CHECK(goes("/", one, none));
        memset(text, 'x', sizeof(text) - 1);
        CHECK(!goes("/", one, none)); /* more than a packet */
        text[1] = '\0';
        CHECK(goes("/", one, none) && !goes("/", none, none) && !goes("/", one, wrong) && !goes("/", one, nameless));
        memset(path, '/', PREWARM_PATH_MAX);
        CHECK(goes(path, one, none));
        path[PREWARM_PATH_MAX] = '/';
        CHECK(!goes(path, one, none));
        for (size_t i = 0; i < PREWARM_ARGS_MAX; i++)
                many[i] = (char *)"";
        CHECK(goes("/", many, none));
        many[PREWARM_ARGS_MAX] = (char *)"";
        CHECK(!goes("/", many, none));
}

/* ---- the spec ---- */

static struct json_node nodes[512];
static struct spec spec;
static struct spec_faults faults;
static struct err e;
static char arena[8192];

/* The first field that is at fault, or NULL. */
static const char *fault_of(const char *text)
{
        spec_init(&spec);
        if (json_parse(text, strlen(text), nodes, 512, NULL) < 0)
                return "no JSON";
        return spec_json_read(json_root(nodes), &spec, arena, sizeof(arena), &faults, &e) == 0 ? NULL : faults.list[0].field;
}

static bool comes_back(const char *text)
{
        static char out[8192];
        struct wbuf w = wbuf_over(out, sizeof(out) - 1);
        struct json_put j = json_put_over(&w);

        if (fault_of(text))
                return false;
        spec_json_put(&j, &spec);
        out[w.len] = '\0';
        const char *inner = strchr(text, ':') - 9;
        size_t len = strlen(inner) - 1; /* without the brace of the whole */
        const char *at = strstr(out, "\"prewarm\"");
        return at && strncmp(at, inner, len) == 0;
}

TEST(a_spec_names_a_server)
{
        CHECK(comes_back("{\"prewarm\":{\"interpreter\":\"python\",\"imports\":[\"json\",\"a.b_2\"]}}"));
        CHECK(spec.prewarm.interpreter == SPEC_PREWARM_PYTHON && spec.prewarm.count == 2 && !spec.prewarm.items[2]);
        CHECK_STR(spec.prewarm.items[1], "a.b_2");
        CHECK(comes_back("{\"prewarm\":{\"interpreter\":\"node\",\"imports\":[\"node:fs\",\"@a/b-c\",\"./x.js\"]}}"));
        CHECK(comes_back("{\"prewarm\":{\"interpreter\":\"node\",\"imports\":[]}}"));
        CHECK(comes_back("{\"prewarm\":{\"command\":[\"/opt/server\",\"\"]}}"));
        CHECK(spec.prewarm.interpreter == SPEC_PREWARM_COMMAND && spec.prewarm.count == 2);
        CHECK(!fault_of("{\"prewarm\":{\"interpreter\":\"python\"}}") && !fault_of("{\"prewarm\":null}"));
        CHECK_INT(spec.prewarm.interpreter, SPEC_PREWARM_NONE);
}

TEST(a_spec_names_it_wrongly)
{
        static const struct {
                const char *text, *field;
        } all[] = {
                { "{\"prewarm\":\"python\"}", "spec.prewarm" },
                { "{\"prewarm\":{}}", "spec.prewarm" },
                { "{\"prewarm\":{\"imports\":[\"a\"]}}", "spec.prewarm" },
                { "{\"prewarm\":{\"interpreter\":\"python\",\"command\":[\"a\"]}}", "spec.prewarm" },
                { "{\"prewarm\":{\"imports\":[],\"command\":[\"a\"]}}", "spec.prewarm" },
                { "{\"prewarm\":{\"interpreter\":\"ruby\"}}", "spec.prewarm.interpreter" },
                { "{\"prewarm\":{\"interpreter\":1}}", "spec.prewarm.interpreter" },
                { "{\"prewarm\":{\"interpreter\":\"python\",\"x\":1}}", "spec.prewarm.x" },
                { "{\"prewarm\":{\"interpreter\":\"python\",\"imports\":\"a\"}}", "spec.prewarm.imports" },
                { "{\"prewarm\":{\"interpreter\":\"python\",\"imports\":[\"a\",1]}}", "spec.prewarm.imports[1]" },
                { "{\"prewarm\":{\"interpreter\":\"python\",\"imports\":[\"\"]}}", "spec.prewarm.imports[0]" },
                { "{\"prewarm\":{\"interpreter\":\"python\",\"imports\":[\"a.\"]}}", "spec.prewarm.imports[0]" },
                { "{\"prewarm\":{\"interpreter\":\"python\",\"imports\":[\".a\"]}}", "spec.prewarm.imports[0]" },
                { "{\"prewarm\":{\"interpreter\":\"python\",\"imports\":[\"a b\"]}}", "spec.prewarm.imports[0]" },
                { "{\"prewarm\":{\"interpreter\":\"python\",\"imports\":[\"1a\"]}}", "spec.prewarm.imports[0]" },
                { "{\"prewarm\":{\"interpreter\":\"python\",\"imports\":[\"-c\"]}}", "spec.prewarm.imports[0]" },
                { "{\"prewarm\":{\"interpreter\":\"node\",\"imports\":[\"--eval\"]}}", "spec.prewarm.imports[0]" },
                { "{\"prewarm\":{\"interpreter\":\"node\",\"imports\":[\"a b\"]}}", "spec.prewarm.imports[0]" },
                { "{\"prewarm\":{\"command\":[]}}", "spec.prewarm.command" },
                { "{\"prewarm\":{\"command\":[\"\"]}}", "spec.prewarm.command" },
                { "{\"prewarm\":{\"command\":\"a\"}}", "spec.prewarm.command" },
                { "{\"prewarm\":{\"command\":[\"a\",null]}}", "spec.prewarm.command[1]" },
        };

        for (size_t i = 0; i < sizeof(all) / sizeof(all[0]); i++) {
                const char *field = fault_of(all[i].text);

                CHECK(field);
                CHECK_STR(field, all[i].field);
                CHECK_INT(e.code, ERR_INVALID_SPEC);
        }
}

static const char *with_imports(size_t count, size_t len)
{
        static char text[8192];
        size_t at = (size_t)sprintf(text, "{\"prewarm\":{\"interpreter\":\"python\",\"imports\":[");

        for (size_t i = 0; i < count; i++)
                at += (size_t)sprintf(text + at, "%s\"%0*d\"", i ? "," : "", (int)len, 0);
        for (char *c = strchr(text, '['); *c; c++)
                if (*c == '0')
                        *c = 'm';
        sprintf(text + at, "]}}");
        return text;
}

TEST(a_spec_has_limits)
{
        CHECK(!fault_of(with_imports(SPEC_PREWARM_MAX, 3)) && !fault_of(with_imports(1, SPEC_IMPORT_MAX)));
        CHECK_STR(fault_of(with_imports(SPEC_PREWARM_MAX + 1, 3)), "spec.prewarm.imports");
        CHECK_STR(fault_of(with_imports(1, SPEC_IMPORT_MAX + 1)), "spec.prewarm.imports[0]");
}

/* ---- which commands ---- */

static const char *const sandbox_env[] = { "LANG=C.UTF-8", "PYTHONPATH=/app", NULL };

static enum prewarm_form form(enum spec_interpreter interpreter, const char *const *argv, const char *const *env)
{
        const struct spec_prewarm p = { .interpreter = interpreter, .items = { "/opt/server", NULL }, .count = 1 };

        return prewarm_takes(&p, argv, env ? env : sandbox_env, sandbox_env);
}

#define ARGV(...)                                                                                                                          \
        (const char *const[])                                                                                                              \
        {                                                                                                                                  \
                __VA_ARGS__, NULL                                                                                                          \
        }
#define PYTHON(...) form(SPEC_PREWARM_PYTHON, ARGV(__VA_ARGS__), NULL)
#define NODE(...) form(SPEC_PREWARM_NODE, ARGV(__VA_ARGS__), NULL)

TEST(python_commands)
{
        CHECK(PYTHON("python3", "-c", "1") && PYTHON("python", "-c", "1", "-x") && PYTHON("python3", "-m", "a.b", "-v"));
        CHECK(PYTHON("python3", "x.py") && PYTHON("python3", "/tmp/x", "a", "-c"));
        CHECK(!PYTHON("python3") && !PYTHON("python3", "-") && !PYTHON("python3", "") && !PYTHON("python3", "-c") &&
              !PYTHON("python3", "-m"));
        CHECK(!PYTHON("python3", "-u", "x.py") && !PYTHON("python3", "-c1") && !PYTHON("python3", "-V") &&
              !PYTHON("python3", "--", "x.py"));
        CHECK(!PYTHON("/usr/bin/python3", "-c", "1") && !PYTHON("python3.11", "-c", "1") && !PYTHON("node", "-e", "1") && !PYTHON("sh"));
}

TEST(node_commands)
{
        CHECK_INT(NODE("node", "-e", "1"), PREWARM_CODE);
        CHECK_INT(NODE("node", "-e", "1", "a", "-b"), PREWARM_CODE);
        CHECK_INT(NODE("node", "x.js", "-e"), PREWARM_FILE);
        CHECK(!NODE("node") && !NODE("node", "-e") && !NODE("node", "-e", "1", "-p") && !NODE("node", "-p", "1") &&
              !NODE("node", "--eval", "1"));
        CHECK(!NODE("node", "-") && !NODE("node", "") && !NODE("nodejs", "x.js") && !NODE("/usr/bin/node", "x.js"));
}

TEST(other_commands)
{
        CHECK_INT(form(SPEC_PREWARM_COMMAND, ARGV("/opt/server", "a"), NULL), PREWARM_CODE);
        CHECK_INT(form(SPEC_PREWARM_COMMAND, ARGV("server", "a"), NULL), PREWARM_COLD);
        CHECK_INT(form(SPEC_PREWARM_NONE, ARGV("python3", "-c", "1"), NULL), PREWARM_COLD);
}

TEST(variables_of_a_start_go_cold)
{
        static const char *const cold[] = { "PYTHONHOME=/",
                                            "PYTHONPATH=/other",
                                            "PYTHONUNBUFFERED=1",
                                            "NODE_OPTIONS=--x",
                                            "NODE_PATH=/",
                                            "LD_PRELOAD=x",
                                            "LANG=C",
                                            "LC_ALL=C",
                                            "TZ=UTC",
                                            "HOME=/root",
                                            "MALLOC_ARENA_MAX=1",
                                            "GLIBC_TUNABLES=x",
                                            "UV_THREADPOOL_SIZE=1" };
        static const char *const warm[] = { "A=b",     "LANG=C.UTF-8", "PYTHONPATH=/app", "XPYTHONHOME=/",
                                            "HOMER=x", "LANGX=1",      "TZX=1",           "NODE=1" };

        for (size_t i = 0; i < sizeof(cold) / sizeof(cold[0]); i++)
                CHECK_INT(form(SPEC_PREWARM_PYTHON, ARGV("python3", "-c", "1"), ARGV("LANG=C.UTF-8", "PYTHONPATH=/app", "A=b", cold[i])),
                          PREWARM_COLD);
        for (size_t i = 0; i < sizeof(warm) / sizeof(warm[0]); i++)
                CHECK_INT(form(SPEC_PREWARM_PYTHON, ARGV("python3", "-c", "1"), ARGV("LANG=C.UTF-8", "PYTHONPATH=/app", warm[i])),
                          PREWARM_CODE);
        CHECK_INT(form(SPEC_PREWARM_PYTHON, ARGV("python3", "-c", "1"), ARGV("LANG=C.UTF-8")), PREWARM_COLD); /* one is missing */
        CHECK_INT(form(SPEC_PREWARM_PYTHON, ARGV("python3", "-c", "1"), ARGV("LANG=C", "PYTHONPATH=/app")), PREWARM_COLD);
}

/* ---- how one is started ---- */

TEST(servers)
{
        const struct spec_prewarm python = { .interpreter = SPEC_PREWARM_PYTHON, .items = { "json", NULL }, .count = 1 };
        const struct spec_prewarm node = { .interpreter = SPEC_PREWARM_NODE, .items = { "fs", NULL }, .count = 1 };
        struct spec_prewarm full = { .interpreter = SPEC_PREWARM_PYTHON, .count = SPEC_PREWARM_MAX };
        const char *argv[PREWARM_ARGV_MAX];

        prewarm_argv(&python, PREWARM_CODE, argv);
        CHECK_STR(argv[0], "python3");
        CHECK_STR(argv[4], "json");
        CHECK(!argv[5] && strlen(argv[3]) > 1000 && strlen(argv[3]) < SPEC_STRING_MAX);
        prewarm_argv(&node, PREWARM_CODE, argv);
        CHECK_STR(argv[3], "-e");
        CHECK_STR(argv[5], "fs");
        prewarm_argv(&node, PREWARM_FILE, argv);
        CHECK_STR(argv[4], "fs");
        for (size_t i = 0; i < SPEC_PREWARM_MAX; i++)
                full.items[i] = "m";
        prewarm_argv(&full, PREWARM_CODE, argv);
        CHECK(!argv[SPEC_PREWARM_MAX + 4]);
        CHECK(prewarm_has_stdin(&node) && !prewarm_has_stdin(&python));
}

TEST(environments)
{
        const struct spec_prewarm python = { .interpreter = SPEC_PREWARM_PYTHON }, node = { .interpreter = SPEC_PREWARM_NODE };
        const char **env = prewarm_env(&python, ARGV("A=*/", "B=\n"), &e);

        CHECK(env && !env[2]);
        CHECK_STR(env[0], "A=*/");
        free(env);
        env = prewarm_env(&node, ARGV("A=1\n2"), &e); /* in a block comment */
        CHECK(env && env[2] && !env[3]);
        CHECK_STR(env[0], "creto_prewarm=0/*");
        CHECK_STR(env[1], "A=1\n2");
        CHECK(strncmp(env[2], "creto_prewarm_js=*/;", 20) == 0 && strlen(env[2]) < SPEC_STRING_MAX);
        free(env);
        env = prewarm_env(&node, ARGV("A=src/*/x"), &e); /* behind the text, in the comment of its line */
        CHECK(env && env[1] && !env[2]);
        CHECK(strncmp(env[0], "creto_prewarm=0;", 16) == 0 && strcmp(env[0] + strlen(env[0]) - 2, "//") == 0);
        free(env);
        CHECK(!prewarm_env(&node, ARGV("A=*/", "B=\n"), &e));
        CHECK_INT(e.code, ERR_INVALID_SPEC);
}
