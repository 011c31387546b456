/*
 * `creto-runtime pool`: which command it is, which options it takes, and which pool it is about.
 */
#include "programs/runtime/pool/pool.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/str.h"
#include "domain/spec.h"

enum { BINDING_MAX = SPEC_ENV_MAX + SPEC_LABELS_MAX + 64 };

/* Which words a command takes. */
enum words { NO_WORD, POOL, MAYBE_POOL, POOL_OR_ALL, SANDBOXES };

enum command {
        CREATE = 1,
        UPDATE = 2,
        GET = 4,
        LIST = 8,
        STATS = 16,
        LOGS = 32,
        DRAIN = 64,
        ACTIVATE = 128,
        EVICT = 256,
        SPAWN = 512,
        DELETE = 1024,
        CLAIM = 2048,
        RELEASE = 4096,
};

#define SETTINGS                                                                                                                           \
        "[--min-ready N] [--max-ready N] [--max-age T] [--reusable[=true|false]] [--auto-scaling-enabled[=true|false]] "                   \
        "[--auto-scaling-headroom PERCENT] [--auto-scaling-scale-down T] [--json]"

static const struct verb {
        const char *name;
        enum command command;
        enum words words;
        int (*run)(struct creto_runtime *rt, const struct pool_line *line);
        const char *usage;
} verbs[] = {
        { "create", CREATE, POOL, pool_create, "pool create --id POOL --template FILE.yaml|.toml|.json " SETTINGS },
        { "update", UPDATE, POOL, pool_update, "pool update POOL " SETTINGS },
        { "get", GET, POOL, pool_get, "pool get POOL [--json]" },
        { "list", LIST, NO_WORD, pool_list, "pool list [--json]" },
        { "stats", STATS, MAYBE_POOL, pool_stats, "pool stats [POOL] [--json]" },
        { "logs", LOGS, POOL, pool_logs, "pool logs POOL [--phase Warming|Ready|Claimed|Evicted|Scaling|Pool] [--limit N] [--json]" },
        { "drain", DRAIN, POOL_OR_ALL, pool_drain, "pool drain POOL | --all [--json]" },
        { "activate", ACTIVATE, POOL, pool_activate, "pool activate POOL [--json]" },
        { "evict", EVICT, POOL, pool_evict, "pool evict POOL --count N [--json]" },
        { "spawn", SPAWN, POOL, pool_spawn, "pool spawn POOL [--count N] [--json]" },
        { "delete", DELETE, POOL, pool_delete, "pool delete POOL" },
        { "claim", CLAIM, POOL, pool_claim,
          "pool claim POOL [--env NAME=VALUE]... [--label KEY=VALUE]... [--memory SIZE] [--cpu N] [--pids N] [--ttl T] [--idle-timeout T] "
          "[--file FILE:/PATH]... [--runtime CLASS] [--no-fallback] [-q] [--json] [-- CMD...]" },
        { "release", RELEASE, SANDBOXES, pool_release, "pool release ID... [--json]" },
};

static struct pool_line line;

static const struct {
        unsigned commands;
        struct cli_option option;
} options[] = {
        { ~0U & ~DELETE, { "json", 0, NULL, &line.json } },
        { ~0U & ~(LIST | RELEASE), { "pool-id", 0, &line.id, NULL } },
        { ~0U & ~(LIST | RELEASE), { "id", 0, &line.id, NULL } },
        { CREATE, { "template", 0, &line.template, NULL } },
        { CREATE | UPDATE, { "min-ready", 0, &line.n.min_ready, NULL } },
        { CREATE | UPDATE, { "max-ready", 0, &line.n.max_ready, NULL } },
        { CREATE | UPDATE, { "max-age", 0, &line.n.max_age, NULL } },
        { CREATE | UPDATE, { "reusable", 0, &line.reusable, &line.has_reusable } },
        { CREATE | UPDATE, { "auto-scaling-enabled", 0, &line.auto_scaling, &line.has_auto_scaling } },
        { CREATE | UPDATE, { "auto-scaling-headroom", 0, &line.n.headroom, NULL } },
        { CREATE | UPDATE, { "auto-scaling-scale-down", 0, &line.n.scale_down, NULL } },
        { LOGS, { "phase", 0, &line.phase, NULL } },
        { LOGS, { "limit", 'n', &line.limit, NULL } },
        { DRAIN, { "all", 'a', NULL, &line.all } },
        { EVICT | SPAWN, { "count", 0, &line.count, NULL } },
        { CLAIM, { "quiet", 'q', NULL, &line.quiet } },
        { CLAIM, { "no-fallback", 0, NULL, &line.no_fallback } },
        { CLAIM, { "file", 0, NULL, NULL, &line.files } },
        { CLAIM, { "env", 'e', NULL, NULL, &line.binding } },
        { CLAIM, { "label", 'l', NULL, NULL, &line.binding } },
        { CLAIM, { "memory", 0, NULL, NULL, &line.binding } },
        { CLAIM, { "memory-swap", 0, NULL, NULL, &line.binding } },
        { CLAIM, { "cpu", 0, NULL, NULL, &line.binding } },
        { CLAIM, { "pids", 0, NULL, NULL, &line.binding } },
        { CLAIM, { "disk", 0, NULL, NULL, &line.binding } },
        { CLAIM, { "disk-inodes", 0, NULL, NULL, &line.binding } },
        { CLAIM, { "nofile", 0, NULL, NULL, &line.binding } },
        { CLAIM, { "core", 0, NULL, NULL, &line.binding } },
        { CLAIM, { "output-rate", 0, NULL, NULL, &line.binding } },
        { CLAIM, { "ttl", 0, NULL, NULL, &line.binding } },
        { CLAIM, { "idle-timeout", 0, NULL, NULL, &line.binding } },
        { CLAIM, { "runtime", 0, NULL, NULL, &line.binding } },
        { CLAIM, { "network-policy", 0, NULL, NULL, &line.binding } },
        { CLAIM, { "egress-allow", 0, NULL, NULL, &line.binding } },
        { CLAIM, { "secret", 0, NULL, NULL, &line.binding } },
        { CLAIM, { "agent-nhi", 0, NULL, NULL, &line.binding } },
        { CLAIM, { "delegate", 0, NULL, NULL, &line.binding } },
        { CLAIM, { "volume", 0, NULL, NULL, &line.binding } },
};

enum { OPTIONS = sizeof(options) / sizeof(options[0]) };

/* Sorts the words of the line; false where they are not what the command takes. */
static bool take_words(const struct verb *verb, int count, char **words)
{
        if (verb->words == SANDBOXES) {
                line.words = words;
                line.word_count = (size_t)count;
                return count > 0;
        }
        if (count > (verb->words != NO_WORD && !line.id))
                return false;
        if (count == 1)
                line.id = words[0];
        switch (verb->words) {
        case POOL:
                return line.id != NULL;
        case POOL_OR_ALL:
                return (line.id != NULL) != (line.all != 0);
        default:
                return true;
        }
}

static int run(const struct verb *verb, int argc, char **argv)
{
        static struct creto_option binding[BINDING_MAX], files[CRETO_CLAIM_FILES_MAX];
        struct cli_option mine[OPTIONS];
        size_t count = 0;
        int status;

        line.binding = (struct cli_list){ binding, 0, BINDING_MAX };
        line.files = (struct cli_list){ files, 0, CRETO_CLAIM_FILES_MAX };
        for (size_t i = 0; i < OPTIONS; i++)
                if (options[i].commands & verb->command)
                        mine[count++] = options[i].option;
        int n = cli_options(argc, argv, mine, count, verb->command == CLAIM ? &line.command : NULL);
        if (n == 0)
                return 64;
        if (!take_words(verb, n - 1, argv + 1) || (line.command && (!line.command[0] || line.json)))
                return cli_usage(verb->usage);
        struct creto_runtime *rt = cli_connect(&status);
        if (!rt)
                return status;
        status = verb->run(rt, &line);
        creto_close(rt);
        return status ? status : fflush(stdout) != 0;
}

int cmd_pool(int argc, char **argv)
{
        if (argc < 2)
                return cli_usage("pool create|update|get|list|stats|logs|claim|release|spawn|evict|drain|activate|delete");
        for (size_t i = 0; i < sizeof(verbs) / sizeof(verbs[0]); i++)
                if (strcmp(verbs[i].name, argv[1]) == 0)
                        return run(&verbs[i], argc - 1, argv + 1);
        return cli_wrong("'creto-runtime help pool' lists them", "there is no command 'pool %.64s'", argv[1]);
}

/* ---- what several of them need ---- */

bool pool_number(const char *option, const char *text, uint64_t *out, int *status)
{
        if (str_parse_u64(text, out))
                return true;
        *status = cli_wrong("", "--%s: '%.64s' is not a whole number from 0", option, text);
        return false;
}

static char *read_all(int fd, size_t max, size_t *len)
{
        char *data = malloc(max + 1);
        ssize_t n = 1;

        for (*len = 0; data && *len <= max && n > 0;) {
                n = read(fd, data + *len, max + 1 - *len);
                if (n < 0 && errno == EINTR)
                        n = 1;
                else if (n > 0)
                        *len += (size_t)n;
        }
        if (data && n < 0) {
                free(data);
                data = NULL;
        }
        return data;
}

char *pool_file(const char *path, size_t max, size_t *len, unsigned *mode, int *status)
{
        auto_fd fd = open(path, O_RDONLY | O_CLOEXEC);
        struct stat st;
        char *data = fd >= 0 && fstat(fd, &st) == 0 ? read_all(fd, max, len) : NULL;

        if (!data) {
                *status = cli_wrong("", "'%.300s': %s", path, strerror(errno));
                return NULL;
        }
        if (*len > max) {
                *status = cli_wrong("", "'%.300s' is larger than %zu bytes", path, max);
                free(data);
                return NULL;
        }
        if (mode)
                *mode = st.st_mode & 0777;
        return data;
}
