/*
 * `creto-runtime list`: a table for people, bare ids for scripts.
 */
#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/str.h"
#include "programs/runtime/cli.h"

static void print_table(const struct creto_info *all, size_t count)
{
        printf("%-18s %-11s %-16s %-24s %-16s %6s %6s %10s\n", "ID", "STATUS", "RUNTIME", "IMAGE", "POOL", "AGE", "CPU%", "MEMORY");
        for (size_t i = 0; i < count; i++) {
                const struct creto_info *s = &all[i];
                char when[32], cpu[16] = "-", memory[32] = "-";

                if (s->cpu_percent >= 0)
                        snprintf(cpu, sizeof(cpu), "%.1f", s->cpu_percent);
                if (s->has_usage && s->usage.memory_bytes != UINT64_MAX)
                        str_format_bytes(s->usage.memory_bytes, memory, sizeof(memory));
                printf("%-18s %-11s %-16s %-24.24s %-16s %6s %6s %10s\n", s->id, s->status, s->runtime, s->image,
                       s->pool[0] ? s->pool : "-", cli_age(s->created_ms, when), cpu, memory);
        }
}

/* With the service down, the warden's records still say what there is. */
static int list_records(const struct creto_error *why)
{
        const char *run = getenv("CRETO_RUNTIME_RUN_DIR");
        char path[512];
        struct dirent *d;

        snprintf(path, sizeof(path), "%.480s/sandboxes", run && *run ? run : "/run/creto-runtime");
        DIR *dir = opendir(path);
        if (!dir)
                return cli_error(why);
        fprintf(stderr, "creto-runtime: %s\ncreto-runtime: notice: these are the records in %s; nothing else is known of them\n",
                why->message, path);
        if (why->hint[0])
                fprintf(stderr, "hint: %s\n", why->hint);
        while ((d = readdir(dir)))
                if (str_is_id(d->d_name, 64))
                        printf("%s\n", d->d_name);
        closedir(dir);
        return 0;
}

int cmd_list(int argc, char **argv)
{
        struct creto_list_query q = { 0 };
        const char *limit = NULL;
        int json = 0, status;
        const struct cli_option options[] = { { "status", 's', &q.status, NULL },
                                              { "runtime", 0, &q.runtime, NULL },
                                              { "agent-nhi", 0, &q.agent_nhi, NULL },
                                              { "label", 'l', &q.label, NULL },
                                              { "pool", 0, &q.pool, NULL },
                                              { "sort-by", 0, &q.sort_by, NULL },
                                              { "descending", 0, NULL, &q.descending },
                                              { "cpu-usage", 0, &q.cpu_usage, NULL },
                                              { "memory-usage", 0, &q.memory_usage, NULL },
                                              { "limit", 0, &limit, NULL },
                                              { "all", 'a', NULL, &q.all },
                                              { "json", 0, NULL, &json } };
        struct creto_info *all = NULL;
        struct creto_error e;
        char *text = NULL;
        size_t count = 0;
        uint64_t most = 0;
        int n = cli_options(argc, argv, options, sizeof(options) / sizeof(options[0]), NULL);

        if (n != 1)
                return n ? cli_usage(
                                   "list [--status S] [--runtime CLASS] [--label K=V] [--pool POOL] [--sort-by cpu_usage|memory_usage|age] [--descending] [--cpu-usage '>80%'] "
                                   "[--memory-usage '>50%'] [--limit N] [--all] [--json]")
                         : 64;
        if (limit && (!str_parse_u64(limit, &most) || most == 0))
                return cli_usage("list --limit N: a number from 1");
        q.limit = (size_t)most;
        q.usage = isatty(STDOUT_FILENO) && !json;
        struct creto_runtime *rt = cli_connect(&status);
        if (!rt)
                return status;
        if (creto_list(rt, &q, &all, &count, &text, &e) < 0) {
                status = e.code == CRETO_E_BACKEND_UNAVAILABLE && e.sys ? list_records(&e) : cli_error(&e);
        } else if (json) {
                fputs(text, stdout);
        } else if (isatty(STDOUT_FILENO)) {
                print_table(all, count);
        } else {
                for (size_t i = 0; i < count; i++)
                        printf("%s\n", all[i].id);
        }
        creto_free(text);
        creto_free(all);
        creto_close(rt);
        return status;
}
