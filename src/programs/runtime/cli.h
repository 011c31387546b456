/*
 * What the commands of the command line share.
 */
#pragma once

#include "creto/runtime.h"

/* Prints "creto-runtime: message" and "hint: …" to standard error; returns the exit status of the code. */
int cli_error(const struct creto_error *e);

/* "usage: creto-runtime …"; returns 64. */
int cli_usage(const char *text);

/* One line to standard error: "creto-runtime: …". */
void cli_note(const char *text);

/* INVALID_SPEC with this message; returns its exit status. `hint` may be "". */
__attribute__((format(printf, 2, 3))) int cli_wrong(const char *hint, const char *fmt, ...);

/* Prints what the API said, and gives it to creto_free(); returns the exit status. */
int cli_json(char *json);

/* "90s", "45m", "20h", "9d" since then. */
const char *cli_age(int64_t since_ms, char out[32]);

/* A command in this terminal: streams, signals, its status. */
struct cli_exec {
        const char *const *argv, *const *env; /* NULL-ended; env may be NULL */
        const char *cwd, *user;               /* or NULL */
        uint32_t timeout_ms;
        int tty, interactive;
        /* Instead of a sandbox: gets one for these options; NULL: that was said, and *status is what to end with. */
        struct creto_sandbox *(*get)(void *ctx, const struct creto_exec_options *o, int *status);
        void *ctx;
};

int cli_exec(struct creto_sandbox *sb, const struct cli_exec *x);

/* Where the service is, from --host and --api-key before the command; NULL: not said. */
extern const char *cli_host, *cli_key;

/* The handle of the service; on failure the error is printed, and *status is what to end with. */
struct creto_runtime *cli_connect(int *status);

/* Where neither --runtime nor --trust says it: the class of CRETO_RUNTIME_CLASS, if there is one. */
void cli_default_class(struct creto_option *options, size_t *count, size_t max);

/* To standard error, what is to be said of a sandbox that was made. Always: that another class stands in for the one asked for, and which defaults this host cannot
 * enforce. Only to a terminal: what "auto" passed over, and what the class keeps on no host (gvisor: pids). Whoever reads that each time can do nothing about it. */
void cli_tell_spawned(const struct creto_sandbox *sb);

/* An option that may be given often. */
struct cli_list {
        struct creto_option *items;
        size_t count, max;
};

/* Options of a command: NAME, letter or 0, and where its value goes. A switch has `seen` alone; with both the value is true or false and may be left out. */
struct cli_option {
        const char *name;
        char letter;
        const char **value;
        int *seen;
        struct cli_list *list;
};

/* Takes the options from argv, wherever they stand before `--`; what is left is argv[1] to the returned number. 0: an error was printed. The words behind `--`
 * are *rest, NULL-ended, or NULL. */
int cli_options(int argc, char **argv, const struct cli_option *options, size_t count, char ***rest);

int cmd_spawn(int argc, char **argv);
int cmd_exec(int argc, char **argv);
int cmd_get(int argc, char **argv);
int cmd_status(int argc, char **argv);
int cmd_logs(int argc, char **argv);
int cmd_list(int argc, char **argv);
int cmd_pause(int argc, char **argv);
int cmd_resume(int argc, char **argv);
int cmd_renew(int argc, char **argv);
int cmd_terminate(int argc, char **argv);
int cmd_cp(int argc, char **argv);
int cmd_keys(int argc, char **argv);
int cmd_runtimes(int argc, char **argv);
int cmd_drain(int argc, char **argv);
int cmd_enable(int argc, char **argv);
int cmd_health(int argc, char **argv);
int cmd_events(int argc, char **argv);
int cmd_pool(int argc, char **argv);
int cmd_completion(int argc, char **argv);

int cmd_run(int argc, char **argv);
int cmd_image(int argc, char **argv);
