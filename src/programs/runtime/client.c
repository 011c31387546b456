/*
 * Commands that ask a service: what they share, and those about one sandbox.
 */
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/str.h"
#include "domain/classes.h"
#include "domain/spec.h"
#include "programs/runtime/cli.h"

enum { OPTIONS_MAX = SPEC_ENV_MAX + SPEC_LABELS_MAX + 64 };

const char *cli_host, *cli_key;

struct creto_runtime *cli_connect(int *status)
{
        struct creto_runtime *rt = NULL;
        struct creto_error e;

        *status = 0;
        if (creto_connect(cli_host, cli_key, &rt, &e) < 0)
                *status = cli_error(&e);
        return rt;
}

/* ---- options ---- */

static const struct cli_option global[] = { { "host", 0, &cli_host, NULL }, { "api-key", 0, &cli_key, NULL } };

static const struct cli_option *find(const struct cli_option *options, size_t count, const char *name, size_t len, char letter)
{
        for (size_t i = 0; i < count; i++)
                if (letter ? options[i].letter == letter : strlen(options[i].name) == len && strncmp(options[i].name, name, len) == 0)
                        return &options[i];
        return letter ? NULL : options == global ? NULL : find(global, 2, name, len, 0);
}

static bool is_flag(const char *word)
{
        return word && (strcmp(word, "true") == 0 || strcmp(word, "false") == 0);
}

/* Returns how many words it took, or 0. */
static int take(const struct cli_option *o, const char *equals, char **argv, int i, int argc)
{
        const char *value = equals ? equals + 1 : i + 1 < argc ? argv[i + 1] : NULL;

        if (o->seen)
                *o->seen = 1;
        if (!o->value && !o->list)
                return equals ? 0 : 1;
        if (o->seen && !equals && !is_flag(value))
                return 1;
        if (!value || (o->list && o->list->count == o->list->max))
                return 0;
        if (o->list)
                o->list->items[o->list->count++] = (struct creto_option){ o->name, value };
        else
                *o->value = value;
        return equals ? 1 : 2;
}

int cli_options(int argc, char **argv, const struct cli_option *options, size_t count, char ***rest)
{
        int left = 1;

        if (rest)
                *rest = NULL;
        for (int i = 1; i < argc;) {
                char *word = argv[i], *equals = strchr(word, '=');

                if (strcmp(word, "--") == 0 && rest) {
                        *rest = argv + i + 1;
                        break;
                }
                if (word[0] != '-' || !word[1]) {
                        argv[left++] = word;
                        i++;
                        continue;
                }
                int n = 1;
                if (word[1] != '-') {
                        for (const char *l = word + 1; *l; l++) {
                                const struct cli_option *o = find(options, count, "", 0, *l);
                                n = o ? take(o, NULL, argv, i, argc) : 0;
                                if (n == 0)
                                        break;
                        }
                } else {
                        size_t len = equals ? (size_t)(equals - word) - 2 : strlen(word) - 2;
                        const struct cli_option *o = find(options, count, word + 2, len, 0);
                        n = o ? take(o, equals, argv, i, argc) : 0;
                }
                if (n == 0) {
                        cli_wrong("'creto-runtime help' shows how", "'%.64s' is no option here, or its value is missing", word);
                        return 0;
                }
                i += n;
        }
        argv[left] = rest && *rest ? argv[left] : NULL;
        return left;
}

/* ---- one sandbox ---- */

static struct creto_sandbox *open_one(const char *id, struct creto_runtime **rt, int *status)
{
        struct creto_sandbox *sb = NULL;
        struct creto_error e;

        if (!(*rt = cli_connect(status)))
                return NULL;
        if (creto_sandbox_open(*rt, id, &sb, &e) < 0)
                *status = cli_error(&e);
        return sb;
}

void cli_default_class(struct creto_option *options, size_t *count, size_t max)
{
        const char *class = getenv("CRETO_RUNTIME_CLASS");

        for (size_t i = 0; i < *count; i++)
                if (strcmp(options[i].name, "runtime") == 0 || strcmp(options[i].name, "trust") == 0 ||
                    strcmp(options[i].name, "runsc-path") == 0)
                        return;
        if (class && class[0] && *count < max)
                options[(*count)++] = (struct creto_option){ "runtime", class };
}

/* Is that all which the class keeps on no host? */
static bool is_of_the_class(const char *missing, const char *class)
{
        static struct classes built_in;
        char own[160];

        classes_init(&built_in);
        const struct runtime_class *is = classes_find(&built_in, class);
        limits_name(is ? class_lacks(is) : 0, own, sizeof(own));
        return strcmp(missing, own) == 0;
}

void cli_tell_spawned(const struct creto_sandbox *sb)
{
        bool chosen = strcmp(creto_sandbox_requested_class(sb), CLASS_AUTO) == 0, read = isatty(STDERR_FILENO);
        const char *notice = creto_sandbox_notice(sb), *missing = creto_sandbox_missing(sb);

        if (notice[0] && (!chosen || read))
                fprintf(stderr, "creto-runtime: notice: %s%s\n", notice,
                        chosen ? " (CRETO_RUNTIME_CLASS=native, or --runtime native, asks for no other)" : "");
        if (missing[0] && (read || !is_of_the_class(missing, creto_sandbox_class(sb))))
                fprintf(stderr, "creto-runtime: notice: these defaults are weaker here: %s\n", missing);
}

static int spawn_option(struct creto_option *options, size_t *count, int argc, char **argv, int i)
{
        char *name = argv[i] + 2, *equals = strchr(name, '=');
        int takes;

        if (strncmp(argv[i], "--", 2) != 0 || *count == OPTIONS_MAX)
                return 0;
        if (equals)
                *equals = '\0';
        takes = strcmp(name, "idle-timeout") == 0 ? 1 : spec_takes_value(name);
        if (takes < 0 || (takes && !equals && i + 1 >= argc) || (!takes && equals))
                return 0;
        options[(*count)++] = (struct creto_option){ name, !takes ? NULL : equals ? equals + 1 : argv[i + 1] };
        return takes && !equals ? 2 : 1;
}

int cmd_spawn(int argc, char **argv)
{
        static struct creto_option options[OPTIONS_MAX];
        struct creto_sandbox *sb;
        struct creto_error e;
        size_t count = 0;
        int quiet = 0, json = 0, status;

        for (int i = 1, n; i < argc; i += n) {
                n = 1;
                if (strcmp(argv[i], "-q") == 0 || strcmp(argv[i], "--quiet") == 0)
                        quiet = 1;
                else if (strcmp(argv[i], "--json") == 0)
                        json = 1;
                else if ((strcmp(argv[i], "--host") == 0 || strcmp(argv[i], "--api-key") == 0) && i + 1 < argc)
                        *(argv[i][2] == 'h' ? &cli_host : &cli_key) = argv[i + 1], n = 2;
                else if ((n = spawn_option(options, &count, argc, argv, i)) == 0)
                        return cli_wrong("'creto-runtime help run' lists them", "'%.64s' is no option of spawn, or its value is missing",
                                         argv[i]);
        }
        cli_default_class(options, &count, OPTIONS_MAX);
        struct creto_runtime *rt = cli_connect(&status);
        if (!rt)
                return status;
        if (creto_spawn(rt, options, count, &sb, &e) < 0) {
                status = cli_error(&e);
        } else if (json) {
                struct creto_info info;
                char *text;

                status = creto_get(sb, &info, &text, &e) < 0 ? cli_error(&e) : cli_json(text);
                creto_sandbox_free(sb);
        } else {
                if (quiet)
                        printf("%s\n", creto_sandbox_id(sb));
                else
                        printf("Sandbox spawned: %s\nStatus: Ready\nAttestation hash: none\n", creto_sandbox_id(sb));
                cli_tell_spawned(sb);
                creto_sandbox_free(sb);
        }
        creto_close(rt);
        return status;
}

/* exec ID [-it] [--env K=V]… -- CMD…: --env as often as one likes, so it is taken before the others. */
static size_t take_env(int *argc, char **argv, const char **env)
{
        size_t n = 0;
        int left = 1;

        for (int i = 1; i < *argc; i++) {
                if (strcmp(argv[i], "--") == 0) {
                        while (i < *argc)
                                argv[left++] = argv[i++];
                        break;
                }
                if ((strcmp(argv[i], "--env") == 0 || strcmp(argv[i], "-e") == 0) && i + 1 < *argc && n < SPEC_ENV_MAX)
                        env[n++] = argv[++i];
                else
                        argv[left++] = argv[i];
        }
        *argc = left;
        argv[left] = NULL;
        env[n] = NULL;
        return n;
}

int cmd_exec(int argc, char **argv)
{
        static const char *env[SPEC_ENV_MAX + 1];
        struct cli_exec x = { .env = env };
        const char *timeout = NULL;
        const struct cli_option options[] = { { "interactive", 'i', NULL, &x.interactive },
                                              { "tty", 't', NULL, &x.tty },
                                              { "cwd", 0, &x.cwd, NULL },
                                              { "user", 'u', &x.user, NULL },
                                              { "timeout", 0, &timeout, NULL } };
        struct creto_runtime *rt;
        char **command;
        uint64_t ms = 0;
        int status;

        take_env(&argc, argv, env);
        int n = cli_options(argc, argv, options, 5, &command);
        if (n == 0)
                return 64;
        if (timeout && (!str_parse_ms(timeout, &ms) || ms == 0 || ms > UINT32_MAX))
                return cli_wrong("write --timeout 30s", "--timeout: '%.64s' is not a time from 1ms to 49d", timeout);
        if (n < 2 || (n > 2 && command) || !command)
                return cli_usage("exec ID [-it] [--env NAME=VALUE] [--cwd DIR] [--user USER] [--timeout T] -- CMD...");
        x.argv = (const char *const *)command;
        x.timeout_ms = (uint32_t)ms;
        struct creto_sandbox *sb = open_one(argv[1], &rt, &status);
        if (sb)
                status = cli_exec(sb, &x);
        creto_sandbox_free(sb);
        creto_close(rt);
        return status;
}

int cmd_get(int argc, char **argv)
{
        int json = 0, status, n;
        const struct cli_option options[] = { { "json", 0, NULL, &json } };
        struct creto_info info;
        struct creto_runtime *rt;
        struct creto_error e;
        char *text;

        n = cli_options(argc, argv, options, 1, NULL);
        if (n != 2)
                return n ? cli_usage("get ID [--json]") : 64;
        struct creto_sandbox *sb = open_one(argv[1], &rt, &status);
        if (sb)
                status = creto_get(sb, &info, &text, &e) < 0 ? cli_error(&e) : cli_json(text);
        creto_sandbox_free(sb);
        creto_close(rt);
        return status;
}

static void print_bytes(const char *name, uint64_t used, uint64_t limit)
{
        char a[32], b[32];

        if (used == UINT64_MAX)
                return;
        str_format_bytes(used, a, sizeof(a));
        str_format_bytes(limit, b, sizeof(b));
        printf("%s: %s%s%s\n", name, a, limit != UINT64_MAX ? " of " : "", limit != UINT64_MAX ? b : "");
}

int cmd_status(int argc, char **argv)
{
        int json = 0, status, n;
        const struct cli_option options[] = { { "json", 0, NULL, &json } };
        struct creto_status s;
        struct creto_runtime *rt;
        struct creto_error e;
        char *text = NULL;

        n = cli_options(argc, argv, options, 1, NULL);
        if (n != 2)
                return n ? cli_usage("status ID [--json]") : 64;
        struct creto_sandbox *sb = open_one(argv[1], &rt, &status);
        if (sb && creto_status(sb, &s, &text, &e) < 0) {
                status = cli_error(&e);
        } else if (sb && json) {
                status = cli_json(text);
        } else if (sb) {
                printf("Sandbox: %s\nStatus: %s\nCommands running: %u\n", creto_sandbox_id(sb), s.status, s.execs);
                if (s.cpu_percent >= 0)
                        printf("CPU: %.1f%%\n", s.cpu_percent);
                print_bytes("Memory", s.usage.memory_bytes, UINT64_MAX);
                print_bytes("Disk", s.disk_used, s.disk_total);
                if (s.usage.pids != UINT64_MAX)
                        printf("Processes: %llu\n", (unsigned long long)s.usage.pids);
                creto_free(text);
        }
        creto_sandbox_free(sb);
        creto_close(rt);
        return status;
}

int cmd_logs(int argc, char **argv)
{
        const char *tail = NULL;
        const struct cli_option options[] = { { "tail", 'n', &tail, NULL } };
        struct creto_runtime *rt;
        struct creto_error e;
        uint64_t lines = 0;
        int status, n = cli_options(argc, argv, options, 1, NULL);

        if (n != 2)
                return n ? cli_usage("logs ID [--tail N]") : 64;
        if (tail && (!str_parse_u64(tail, &lines) || lines > 1000000))
                return cli_wrong("", "--tail: '%.64s' is not a number of lines", tail);
        struct creto_sandbox *sb = open_one(argv[1], &rt, &status);
        if (sb && creto_logs(sb, (unsigned)lines, STDOUT_FILENO, &e) < 0)
                status = cli_error(&e);
        creto_sandbox_free(sb);
        creto_close(rt);
        return status;
}

/* ---- changes ---- */

static int change(int argc, char **argv, const char *usage, int (*what)(struct creto_sandbox *, char **, struct creto_error *))
{
        struct creto_runtime *rt;
        struct creto_error e;
        int status, n = cli_options(argc, argv, NULL, 0, NULL);

        if (n != 2)
                return n ? cli_usage(usage) : 64;
        struct creto_sandbox *sb = open_one(argv[1], &rt, &status);
        if (sb && what(sb, NULL, &e) < 0)
                status = cli_error(&e);
        creto_sandbox_free(sb);
        creto_close(rt);
        return status;
}

int cmd_pause(int argc, char **argv)
{
        return change(argc, argv, "pause ID", creto_pause);
}

int cmd_resume(int argc, char **argv)
{
        return change(argc, argv, "resume ID", creto_resume);
}

int cmd_renew(int argc, char **argv)
{
        const char *ttl = NULL;
        const struct cli_option options[] = { { "ttl", 0, &ttl, NULL } };
        struct creto_runtime *rt;
        struct creto_error e;
        uint64_t ms = 0;
        int status, n = cli_options(argc, argv, options, 1, NULL);

        if (n != 2 || !ttl)
                return n ? cli_usage("renew ID --ttl T|none") : 64;
        if (strcmp(ttl, "none") != 0 && (!str_parse_ms(ttl, &ms) || ms == 0))
                return cli_wrong("write --ttl 1h", "--ttl: '%.64s' is not a time", ttl);
        struct creto_sandbox *sb = open_one(argv[1], &rt, &status);
        if (sb && creto_renew(sb, ms, NULL, &e) < 0)
                status = cli_error(&e);
        creto_sandbox_free(sb);
        creto_close(rt);
        return status;
}

/* Ends one; what cannot be ended is said, and the others go on. */
static int terminate_one(struct creto_runtime *rt, const char *id, int force)
{
        struct creto_sandbox *sb;
        struct creto_error e;

        if (creto_sandbox_open(rt, id, &sb, &e) < 0 || (force ? creto_terminate_force(sb, &e) : creto_terminate(sb, &e)) < 0)
                return cli_error(&e);
        return 0;
}

static int terminate_all(struct creto_runtime *rt, int force)
{
        const struct creto_list_query query = { 0 };
        struct creto_info *all = NULL;
        struct creto_error e;
        size_t count = 0;
        int status = 0;

        if (creto_list(rt, &query, &all, &count, NULL, &e) < 0)
                return cli_error(&e);
        for (size_t i = 0; i < count; i++) {
                int one = terminate_one(rt, all[i].id, force);

                status = one ? one : status;
        }
        creto_free(all);
        return status;
}

int cmd_terminate(int argc, char **argv)
{
        int all = 0, force = 0, status = 0;
        const struct cli_option options[] = { { "all", 0, NULL, &all }, { "force", 'f', NULL, &force } };
        int n = cli_options(argc, argv, options, 2, NULL);

        if (n == 0 || (n > 1) == (all != 0))
                return n ? cli_usage("terminate ID... | --all [--force]") : 64;
        struct creto_runtime *rt = cli_connect(&status);
        if (!rt)
                return status;
        if (all)
                status = terminate_all(rt, force);
        for (int i = 1; i < n; i++) {
                int one = terminate_one(rt, argv[i], force);

                status = one ? one : status;
        }
        creto_close(rt);
        return status;
}
