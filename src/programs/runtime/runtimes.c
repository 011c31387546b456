/*
 * Runtime classes: what they are and what they cost here; taken out of use and back.
 */
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/str.h"
#include "programs/runtime/cli.h"

enum { MEASURE_TIMES = 5, MEASURE_MS = 10000 };

/* ---- what there is ---- */

/* "284/381", "12.3 ms", or "-". */
static const char *coverage(const struct creto_runtime_class *c, char out[32])
{
        snprintf(out, 32, c->syscalls ? "%u/%u" : "–", c->syscalls, c->syscalls_of);
        return out;
}

static const char *cold_start(const struct creto_runtime_class *c, char out[32])
{
        snprintf(out, 32, c->cold_starts ? "%.1f ms" : "–", c->cold_start_ms);
        return out;
}

static const char *state(const struct creto_runtime_class *c)
{
        return !c->available ? "missing" : c->enabled ? "available" : "drained";
}

/* "–" is three bytes and one column. */
static int wide(const char *text, int columns)
{
        return (unsigned char)text[0] == 0xe2 ? columns + 2 : columns;
}

/* A reason of the service's begins with the class where it is about one; here the class stands in front of it anyway. */
static const char *reason(const struct creto_runtime_class *c)
{
        char before[sizeof(c->name) + 32];

        snprintf(before, sizeof(before), "runtime class '%s': ", c->name);
        return c->reason + (str_has_prefix(c->reason, before) ? strlen(before) : 0);
}

static bool missing_alike(const struct creto_runtime_class *a, const struct creto_runtime_class *b)
{
        return !a->available && !b->available && strcmp(reason(a), reason(b)) == 0 && strcmp(a->hint, b->hint) == 0;
}

/* "kata, kata-qemu: what is not installed", and below it what to do: once for all that lack the same. */
static void print_missing(const struct creto_runtime_class *all, size_t count)
{
        const char *gap = "\n";

        for (size_t i = 0; i < count; i++) {
                size_t first = 0;

                while (first < i && !missing_alike(&all[first], &all[i]))
                        first++;
                if (all[i].available || first < i)
                        continue;
                printf("%s%s", gap, all[i].name);
                for (size_t k = i + 1; k < count; k++)
                        if (missing_alike(&all[i], &all[k]))
                                printf(", %s", all[k].name);
                printf(": %s\n", reason(&all[i]));
                if (all[i].hint[0])
                        printf("        %s\n", all[i].hint);
                gap = "";
        }
}

static void print_table(const struct creto_runtime_class *all, size_t count)
{
        char calls[32], cold[32];

        printf("%-16s %-10s %-18s %9s %-10s %-4s %11s  %s\n", "CLASS", "STATE", "FOR", "SYSCALLS", "CHECKPOINT", "GPU", "COLD START",
               "ISOLATION");
        for (size_t i = 0; i < count; i++) {
                const struct creto_runtime_class *c = &all[i];

                coverage(c, calls);
                cold_start(c, cold);
                printf("%-16s %-10s %-18s %*s %-10s %-4s %*s  %s\n", c->name, state(c), c->serves, wide(calls, 9), calls,
                       c->checkpoint ? "yes" : "no", c->gpu ? "yes" : "no", wide(cold, 11), cold, c->isolation);
        }
        print_missing(all, count);
}

static void print_lines(const struct creto_runtime_class *all, size_t count)
{
        char calls[32], cold[32];

        for (size_t i = 0; i < count; i++) {
                const struct creto_runtime_class *c = &all[i];

                printf("%s\t%s\t%s\t%s\t%s%s%s\t%s\t%s\t%s\t%s\t%s\n", c->name, c->available ? "available" : "missing",
                       c->enabled ? "enabled" : "drained", c->isolation, c->available ? c->version : reason(c), c->hint[0] ? ": " : "",
                       c->hint, coverage(c, calls), c->checkpoint ? "checkpoint" : "-", c->gpu ? "gpu" : "-", cold_start(c, cold),
                       c->serves[0] ? c->serves : "-");
        }
}

/* ---- measuring: the service does it, with every sandbox that is asked for ---- */

static int measure_one(struct creto_runtime *rt, const char *class)
{
        const struct creto_option options[] = { { "runtime", class }, { "ttl", "2m" } }; /* whatever becomes of us */
        uint64_t end = clock_ms(CLOCK_MONOTONIC) + MEASURE_MS;
        struct creto_sandbox *sb;
        struct creto_error e;

        for (int i = 0; i < MEASURE_TIMES && clock_ms(CLOCK_MONOTONIC) < end; i++)
                if (creto_spawn(rt, options, sizeof(options) / sizeof(options[0]), &sb, &e) < 0 || creto_terminate(sb, &e) < 0)
                        return cli_error(&e);
        return 0;
}

/* One after another: the figures are of a host that does nothing else. */
static int measure(struct creto_runtime *rt, const struct creto_runtime_class *all, size_t count)
{
        int status = 0;

        for (size_t i = 0; i < count; i++) {
                int one = all[i].available && all[i].enabled ? measure_one(rt, all[i].name) : 0;

                status = status ? status : one;
        }
        return status;
}

int cmd_runtimes(int argc, char **argv)
{
        int json = 0, measured = 0, status;
        const struct cli_option options[] = { { "json", 0, NULL, &json }, { "measure", 0, NULL, &measured } };
        struct creto_runtime_class *classes = NULL;
        struct creto_error e;
        char *text = NULL;
        size_t count = 0;
        int n = cli_options(argc, argv, options, 2, NULL);

        if (n != 1)
                return n ? cli_usage("runtimes [--measure] [--json]") : 64;
        struct creto_runtime *rt = cli_connect(&status);
        if (rt && measured && creto_runtime_list(rt, &classes, &count, NULL, &e) == 0)
                status = measure(rt, classes, count);
        creto_free(classes);
        classes = NULL;
        count = 0;
        if (rt && creto_runtime_list(rt, &classes, &count, &text, &e) < 0)
                status = cli_error(&e);
        else if (rt && json)
                fputs(text, stdout);
        else if (rt)
                (isatty(STDOUT_FILENO) ? print_table : print_lines)(classes, count);
        creto_free(classes);
        creto_free(text);
        creto_close(rt);
        return status;
}

/* ---- in use, or not ---- */

static int enable(int argc, char **argv, int enabled)
{
        const char *class = NULL;
        const struct cli_option options[] = { { "runtime", 0, &class, NULL } };
        struct creto_error e;
        int status, n = cli_options(argc, argv, options, 1, NULL);

        if (n != 1 || !class)
                return n ? cli_usage(enabled ? "enable --runtime CLASS" : "drain --runtime CLASS") : 64;
        struct creto_runtime *rt = cli_connect(&status);
        if (rt && creto_runtime_enable(rt, class, enabled, NULL, &e) < 0)
                status = cli_error(&e);
        creto_close(rt);
        return status;
}

int cmd_drain(int argc, char **argv)
{
        return enable(argc, argv, 0);
}

int cmd_enable(int argc, char **argv)
{
        return enable(argc, argv, 1);
}
