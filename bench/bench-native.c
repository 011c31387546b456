/*
 * What needs a running warden, measured through the public library: bench-native spawn|exec|churn|idle N. One JSON object on standard output; bench/run
 * says what is in it, docs/benchmarks.md how it is measured.
 */
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "creto/runtime.h"

enum { PREPARED = 8, CHURN_LOOPS = 2, COUNT_MAX = 100000, SETTLE_TRIES = 20 };

static const struct timespec pause_between = { .tv_nsec = 20 * 1000000L };

_Noreturn static void fail(const char *what, const struct creto_error *e)
{
        fprintf(stderr, "bench-native: %s: %s\n", what, e->message);
        exit(1);
}

static double now_ms(void)
{
        struct timespec t;

        clock_gettime(CLOCK_MONOTONIC, &t);
        return (double)t.tv_sec * 1e3 + (double)t.tv_nsec / 1e6;
}

static struct creto_runtime *start(unsigned prepared)
{
        const struct creto_open_options options = { .prepared = prepared, .image_fd = -1, .auth_fd = -1 };
        struct creto_runtime *rt;
        struct creto_error e;

        if (creto_open(&options, &rt, &e) < 0)
                fail("open", &e);
        return rt;
}

enum limits { DEFAULT_LIMITS, NO_GROUPS };

static struct creto_sandbox *spawn(struct creto_runtime *rt, enum limits limits)
{
        static const struct creto_option none[] = {
                { "runtime", "native" }, { "memory", "unlimited" }, { "cpu", "unlimited" }, { "pids", "unlimited" }
        };
        struct creto_sandbox *sb;
        struct creto_error e;

        if (creto_spawn(rt, none, limits == NO_GROUPS ? 4 : 1, &sb, &e) < 0)
                fail("spawn", &e);
        return sb;
}

static ssize_t on_output(void *ctx, int stream, const void *data, size_t len)
{
        double *first = ctx;

        (void)stream;
        (void)data;
        if (len > 0 && *first == 0)
                *first = now_ms();
        return (ssize_t)len;
}

/* Returns when its first byte was here. */
static double run(struct creto_sandbox *sb, const char *const *argv)
{
        double first = 0;
        const struct creto_exec_options options = { .argv = argv, .stdin_fd = -1, .on_output = on_output, .wake_fd = -1, .ctx = &first };
        struct creto_result result;
        struct creto_error e;

        if (creto_exec(sb, &options, &result, &e) < 0)
                fail("exec", &e);
        if (result.status != 0) {
                fprintf(stderr, "bench-native: exec: status %d\n", result.status);
                exit(1);
        }
        return first;
}

static void end(struct creto_sandbox *sb)
{
        struct creto_error e;

        if (creto_terminate(sb, &e) < 0)
                fail("terminate", &e);
}

static void print_ms(const char *name, const double *ms, size_t n)
{
        printf("\"%s\": [", name);
        for (size_t i = 0; i < n; i++)
                printf("%s%.4f", i ? ", " : "", ms[i]);
        printf("]");
}

/* Request to first byte of a command's output, in a sandbox that was made ahead; in the pause the warden makes the next. */
static void bench_spawn(double *ms, size_t n)
{
        static const char *const argv[] = { "/bin/echo", "x", NULL };
        struct creto_runtime *rt = start(PREPARED);

        for (size_t i = 0; i < n + PREPARED; i++) {
                nanosleep(&pause_between, NULL);
                double began = now_ms();
                struct creto_sandbox *sb = spawn(rt, DEFAULT_LIMITS);
                double first = run(sb, argv);

                if (i >= PREPARED) /* what the first ones find is still being made */
                        ms[i - PREPARED] = first - began;
                end(sb);
        }
        creto_close(rt);
        printf("{");
        print_ms("ms", ms, n);
        printf("}\n");
}

static void bench_exec(double *ms, size_t n)
{
        static const char *const argv[] = { "/bin/true", NULL };
        struct creto_runtime *rt = start(0);
        struct creto_sandbox *sb = spawn(rt, DEFAULT_LIMITS);

        run(sb, argv);
        for (size_t i = 0; i < n; i++) {
                double began = now_ms();

                run(sb, argv);
                ms[i] = now_ms() - began;
        }
        end(sb);
        creto_close(rt);
        printf("{");
        print_ms("ms", ms, n);
        printf("}\n");
}

struct churn {
        const char *name;
        enum limits limits;
        bool command;
};

/* One client with a warden of its own, as each of the peer's loops is a process of its own. */
static void churn_loop(const struct churn *c, size_t n)
{
        static const char *const argv[] = { "/bin/true", NULL };
        struct creto_runtime *rt = start(c->limits == NO_GROUPS ? 0 : PREPARED); /* what is made ahead has limits */

        for (size_t i = 0; i < n; i++) {
                struct creto_sandbox *sb = spawn(rt, c->limits);

                if (c->command)
                        run(sb, argv);
                end(sb);
        }
        creto_close(rt);
}

static double churn_rate(const struct churn *c, size_t n)
{
        double began = now_ms();
        int status;

        for (int i = 0; i < CHURN_LOOPS; i++) {
                pid_t pid = fork();

                if (pid == 0) {
                        churn_loop(c, n / CHURN_LOOPS);
                        _exit(0); /* what is printed is not ours */
                }
        }
        for (int i = 0; i < CHURN_LOOPS; i++)
                if (wait(&status) < 0 || status != 0)
                        exit(1);
        return (double)(n / CHURN_LOOPS * CHURN_LOOPS) * 1e3 / (now_ms() - began);
}

static void bench_churn(size_t n)
{
        static const struct churn kinds[] = { { "per_second", NO_GROUPS, false },
                                              { "true_per_second", NO_GROUPS, true },
                                              { "limits_per_second", DEFAULT_LIMITS, true } };

        for (size_t i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++)
                printf("%s\"%s\": %.1f", i ? ", " : "{", kinds[i].name, churn_rate(&kinds[i], n));
        printf("}\n");
}

static long available_kib(void)
{
        char line[128];
        long kib = -1;
        FILE *f = fopen("/proc/meminfo", "re");

        while (f && kib < 0 && fgets(line, sizeof(line), f))
                if (sscanf(line, "MemAvailable: %ld", &kib) != 1)
                        kib = -1;
        if (f)
                fclose(f);
        return kib;
}

/* Once it stands still: what is freed is freed some time later. */
static long settled_kib(void)
{
        long last = available_kib();

        for (int i = 0; i < SETTLE_TRIES; i++) {
                nanosleep(&(struct timespec){ .tv_nsec = 500 * 1000000L }, NULL);
                long now = available_kib();
                if (labs(now - last) < 512)
                        return now;
                last = now;
        }
        return last;
}

static void bench_idle(double *ms, size_t n)
{
        struct creto_sandbox **all = calloc(n, sizeof(struct creto_sandbox *));
        struct rlimit files;

        if (!all)
                exit(1);
        if (getrlimit(RLIMIT_NOFILE, &files) == 0) {
                files.rlim_cur = files.rlim_max;
                setrlimit(RLIMIT_NOFILE, &files);
        }
        long before = settled_kib();
        struct creto_runtime *rt = start(PREPARED);
        double began = now_ms();
        for (size_t i = 0; i < n; i++) {
                double at = now_ms();

                all[i] = spawn(rt, DEFAULT_LIMITS);
                ms[i] = now_ms() - at;
        }
        double seconds = (now_ms() - began) / 1e3;
        long full = settled_kib();
        for (size_t i = 0; i < n; i++)
                end(all[i]);
        creto_close(rt);
        free(all);
        printf("{\"kib_each\": %.1f, \"seconds\": %.3f, ", (double)(before - full) / (double)n, seconds);
        print_ms("ms", ms, n);
        printf("}\n");
}

int main(int argc, char **argv)
{
        const char *mode = argc == 3 ? argv[1] : "";
        long n = argc == 3 ? strtol(argv[2], NULL, 10) : 0;
        double *ms = n > 0 && n <= COUNT_MAX ? calloc((size_t)n, sizeof(*ms)) : NULL;

        if (!ms) {
                fprintf(stderr, "usage: bench-native spawn|exec|churn|idle N\n");
                return 64;
        }
        if (strcmp(mode, "spawn") == 0)
                bench_spawn(ms, (size_t)n);
        else if (strcmp(mode, "exec") == 0)
                bench_exec(ms, (size_t)n);
        else if (strcmp(mode, "churn") == 0)
                bench_churn((size_t)n);
        else if (strcmp(mode, "idle") == 0)
                bench_idle(ms, (size_t)n);
        else
                return 64;
        free(ms);
        return 0;
}
