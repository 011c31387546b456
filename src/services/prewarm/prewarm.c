#include "services/prewarm/prewarm.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "prewarm_node.h"
#include "prewarm_python.h"

/* What an interpreter, its libraries or the C library read when they start; a name that ends in '*' stands for all that begin so. */
static const char *const start_names[] = {
        "PYTHON*", "NODE_*", "UV_*",           "LD_*",     "LANG",       "LANGUAGE",    "LC_*",  "LOCPATH",
        "TZ",      "TZDIR",  "GLIBC_TUNABLES", "MALLOC_*", "GCONV_PATH", "OPENSSL_*",   "SSL_*", "ICU_DATA",
        "HOME",    "OMP_*",  "OPENBLAS_*",     "MKL_*",    "NUMEXPR_*",  "VIRTUAL_ENV",
};

void prewarm_argv(const struct spec_prewarm *p, enum prewarm_form form, const char *out[PREWARM_ARGV_MAX])
{
        static const char *const python[] = { "python3", "-c", "import sys; exec(compile(sys.argv[1], \"<prewarm>\", \"exec\"), {})",
                                              prewarm_python, NULL };
        static const char *const node[] = { "node", "-r", "/proc/self/environ", "-e", "0", NULL };
        static const char *const node_file[] = { "node", "-r", "/proc/self/environ", "prewarm", NULL };
        static const char *const none[] = { NULL };
        const char *const *before = p->interpreter == SPEC_PREWARM_PYTHON ? python
                                    : p->interpreter != SPEC_PREWARM_NODE ? none
                                    : form == PREWARM_FILE                ? node_file
                                                                          : node;
        size_t n = 0;

        for (; before[n]; n++)
                out[n] = before[n];
        for (size_t i = 0; i < p->count; i++)
                out[n++] = p->items[i];
        out[n] = NULL;
}

/* ---- the environment ---- */

/*
 * What node loads first it takes from a file, and /proc/self/environ is one: the text is in a variable, and whatever else is there stands in a comment. A comment of
 * one kind does for all but an environment that has the ends of both.
 */
static char node_in_block[sizeof(prewarm_node) + 32], node_in_line[sizeof(prewarm_node) + 32];

static bool any_has(const char *const *env, const char *const *ends)
{
        for (; *env; env++)
                for (const char *const *end = ends; *end; end++)
                        if (strstr(*env, *end))
                                return true;
        return false;
}

static int node_variables(const char *const *env, const char **first, const char **last, struct err *e)
{
        static const char *const block_ends[] = { "*/", NULL }, *const line_ends[] = { "\n", "\r", "\xe2\x80\xa8", "\xe2\x80\xa9", NULL };

        if (!any_has(env, block_ends)) {
                snprintf(node_in_block, sizeof(node_in_block), "creto_prewarm_js=*/;%s//", prewarm_node);
                *first = "creto_prewarm=0/*";
                *last = node_in_block;
                return 0;
        }
        snprintf(node_in_line, sizeof(node_in_line), "creto_prewarm=0;%s//", prewarm_node);
        *first = node_in_line;
        if (!any_has(env, line_ends))
                return 0;
        return err_set(e, ERR_INVALID_SPEC, 0, "node cannot be prewarmed where variables have both \"*/\" and the end of a line in them");
}

const char **prewarm_env(const struct spec_prewarm *p, const char *const *env, struct err *e)
{
        const char *first = NULL, *last = NULL;
        size_t n = 0, count = 0;

        if (p->interpreter == SPEC_PREWARM_NODE && node_variables(env, &first, &last, e) < 0)
                return NULL;
        while (env[count])
                count++;
        const char **out = calloc(count + 3, sizeof(*out));
        if (!out) {
                err_set(e, ERR_RESOURCE_EXHAUSTED, 0, "out of memory");
                return NULL;
        }
        if (first)
                out[n++] = first;
        for (size_t i = 0; i < count; i++)
                out[n++] = env[i];
        if (last)
                out[n++] = last;
        return out;
}

bool prewarm_has_stdin(const struct spec_prewarm *p)
{
        return p->interpreter == SPEC_PREWARM_NODE;
}

/* ---- which commands ---- */

static bool is_script(const char *arg)
{
        return arg && arg[0] && arg[0] != '-';
}

/* `python3 -c CODE …`, `-m MODULE …` or `FILE …`. */
static enum prewarm_form python_form(const char *const *argv)
{
        if (strcmp(argv[0], "python3") != 0 && strcmp(argv[0], "python") != 0)
                return PREWARM_COLD;
        if (is_script(argv[1]))
                return PREWARM_CODE;
        return argv[1] && (strcmp(argv[1], "-c") == 0 || strcmp(argv[1], "-m") == 0) && argv[2] ? PREWARM_CODE : PREWARM_COLD;
}

/* `node -e CODE …` or `FILE …`. An option behind the code is one of node's. */
static enum prewarm_form node_form(const char *const *argv)
{
        if (strcmp(argv[0], "node") != 0)
                return PREWARM_COLD;
        if (is_script(argv[1]))
                return PREWARM_FILE;
        return argv[1] && strcmp(argv[1], "-e") == 0 && argv[2] && (!argv[3] || is_script(argv[3])) ? PREWARM_CODE : PREWARM_COLD;
}

static enum prewarm_form form_of(const struct spec_prewarm *p, const char *const *argv)
{
        switch (p->interpreter) {
        case SPEC_PREWARM_NONE:
                return PREWARM_COLD;
        case SPEC_PREWARM_PYTHON:
                return python_form(argv);
        case SPEC_PREWARM_NODE:
                return node_form(argv);
        case SPEC_PREWARM_COMMAND:
                return strcmp(argv[0], p->items[0]) == 0 ? PREWARM_CODE : PREWARM_COLD;
        }
        return PREWARM_COLD;
}

static bool is_start_name(const char *pair)
{
        size_t len = strcspn(pair, "=");

        for (size_t i = 0; i < sizeof(start_names) / sizeof(start_names[0]); i++) {
                size_t n = strcspn(start_names[i], "*");

                if (strncmp(pair, start_names[i], n) == 0 && (start_names[i][n] || len == n))
                        return true;
        }
        return false;
}

static bool has(const char *const *env, const char *pair)
{
        for (; *env; env++)
                if (strcmp(*env, pair) == 0)
                        return true;
        return false;
}

static bool all_in(const char *const *env, const char *const *other)
{
        for (; *env; env++)
                if (is_start_name(*env) && !has(other, *env))
                        return false;
        return true;
}

bool prewarm_same_start(const char *const *a, const char *const *b)
{
        return all_in(a, b) && all_in(b, a);
}

enum prewarm_form prewarm_takes(const struct spec_prewarm *p, const char *const *argv, const char *const *env, const char *const *server)
{
        return prewarm_same_start(env, server) ? form_of(p, argv) : PREWARM_COLD;
}
