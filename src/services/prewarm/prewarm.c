#include "services/prewarm/prewarm.h"

#include <string.h>

#include "prewarm_node.h"
#include "prewarm_python.h"

/* What an interpreter, its libraries or the C library read when they start; a name that ends in '*' stands for all that begin so. */
static const char *const start_names[] = {
        "PYTHON*", "NODE_*", "UV_*",           "LD_*",     "LANG",       "LANGUAGE",    "LC_*",  "LOCPATH",
        "TZ",      "TZDIR",  "GLIBC_TUNABLES", "MALLOC_*", "GCONV_PATH", "OPENSSL_*",   "SSL_*", "ICU_DATA",
        "HOME",    "OMP_*",  "OPENBLAS_*",     "MKL_*",    "NUMEXPR_*",  "VIRTUAL_ENV",
};

void prewarm_argv(const struct spec_prewarm *p, const char *out[PREWARM_ARGV_MAX])
{
        static const char *const python[] = { "python3", "-c", "import sys; exec(compile(sys.argv[1], \"<prewarm>\", \"exec\"), {})",
                                              prewarm_python, NULL };
        static const char *const node[] = { "node", "-r", prewarm_node, NULL };
        const char *const *before = p->interpreter == SPEC_PREWARM_PYTHON ? python : p->interpreter == SPEC_PREWARM_NODE ? node : NULL;
        size_t n = 0;

        for (; before && before[n]; n++)
                out[n] = before[n];
        for (size_t i = 0; i < p->count; i++)
                out[n++] = p->items[i];
        out[n] = NULL;
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
static bool python_takes(const char *const *argv)
{
        if (strcmp(argv[0], "python3") != 0 && strcmp(argv[0], "python") != 0)
                return false;
        if (!argv[1] || is_script(argv[1]))
                return argv[1] != NULL;
        return (strcmp(argv[1], "-c") == 0 || strcmp(argv[1], "-m") == 0) && argv[2];
}

/* `node -e CODE …` or `FILE …`. */
static bool node_takes(const char *const *argv)
{
        if (strcmp(argv[0], "node") != 0)
                return false;
        if (!argv[1] || is_script(argv[1]))
                return argv[1] != NULL;
        return strcmp(argv[1], "-e") == 0 && argv[2] && (!argv[3] || is_script(argv[3]));
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
        for (; env && *env; env++)
                if (strcmp(*env, pair) == 0)
                        return true;
        return false;
}

bool prewarm_takes(const struct spec_prewarm *p, const char *const *argv, const char *const *own, const char *const *env)
{
        switch (p->interpreter) {
        case SPEC_PREWARM_NONE:
                return false;
        case SPEC_PREWARM_PYTHON:
                if (!python_takes(argv))
                        return false;
                break;
        case SPEC_PREWARM_NODE:
                if (!node_takes(argv))
                        return false;
                break;
        case SPEC_PREWARM_COMMAND:
                if (strcmp(argv[0], p->items[0]) != 0)
                        return false;
                break;
        }
        for (; own && *own; own++)
                if (is_start_name(*own) && !has(env, *own))
                        return false;
        return true;
}
