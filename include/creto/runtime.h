/*
 * libcreto-runtime: run untrusted code in a sandbox, from C.
 *
 * Ownership: handles belong to the caller and are freed by the function named with them; strings and vectors passed in are borrowed for
 * the call; strings inside results live as long as the result's struct. Threads: a handle is used by one thread at a time. Blocking: every
 * function says so. Errors: functions return 0, or a negative CRETO_E_* code with *err filled; on failure nothing else is changed. `err` may
 * not be NULL.
 *
 * Process effects of embedded mode (no service needed): creto_open() starts one child process, the private warden. Started as root it stays root, and the
 * caller keeps its own identity unless it asks for CRETO_DROP_ROOT.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#ifdef __cplusplus
extern "C" {
#endif

/* The API's error codes, in the order of the table in docs/errors.md; functions return them negated. */
enum creto_error_code {
        CRETO_E_IMAGE_NOT_FOUND = 1,
        CRETO_E_AUTHORIZATION_DENIED,
        CRETO_E_RESOURCE_EXHAUSTED,
        CRETO_E_INVALID_SPEC,
        CRETO_E_SANDBOX_NOT_FOUND,
        CRETO_E_SANDBOX_NOT_READY,
        CRETO_E_POOL_NOT_FOUND,
        CRETO_E_NO_READY_SANDBOXES,
        CRETO_E_BACKEND_UNAVAILABLE,
        CRETO_E_UNAUTHENTICATED,
        CRETO_E_RATE_LIMITED,
        CRETO_E_TIMEOUT,
        CRETO_E_NOT_SUPPORTED,
        CRETO_E_INTERNAL_ERROR,
};

struct creto_error {
        int code; /* enum creto_error_code */
        int sys;  /* errno, or 0 */
        char message[512];
        char hint[256]; /* what to do now; may be empty */
};

struct creto_runtime;
struct creto_sandbox;

enum creto_open_flag {
        CRETO_DROP_ROOT = 1, /* the calling process becomes a fixed unprivileged user for good, once the warden runs */
};

struct creto_open_options {
        unsigned flags;        /* enum creto_open_flag */
        unsigned prepared;     /* sandboxes to keep made ahead, 0 to 64: the next spawn takes one of them */
        int image_fd, auth_fd; /* as creto_open_sources() fills them, or -1. Borrowed */
        const char *state_dir; /* NULL: /var/lib/creto-runtime as root, $XDG_DATA_HOME/creto-runtime otherwise */
        const char *run_dir;   /* NULL: /run/creto-runtime */
};

/* Opens what `image` names on this machine (the directory of dir: and oci:, the file of an archive), or for a registry the file of credentials that skopeo
 * would take ($REGISTRY_AUTH_FILE, …/containers/auth.json, ~/.docker/config.json), with the rights that the caller has now; what there is none of
 * becomes -1. Needed before CRETO_DROP_ROOT; without that, creto_spawn() does it by itself. The caller closes both after creto_open(). */
int creto_open_sources(const char *image, struct creto_open_options *options, struct creto_error *err);

/* Starts a private warden; everything made through it ends with it. Blocks for about a millisecond. creto_close() takes every sandbox down, waits until
 * nothing of them is left (a few milliseconds), and frees the handle; NULL is fine. */
int creto_open(const struct creto_open_options *options, struct creto_runtime **out, struct creto_error *err);
void creto_close(struct creto_runtime *rt);

/* An option by its name on the command line of `creto-runtime run`, without --: { "memory", "64M" }. `value` is NULL for a switch. */
struct creto_option {
        const char *name;
        const char *value;
};

/* Makes a sandbox from options (see creto-runtime(1)) and waits until it takes commands. Blocks for milliseconds; for an image that is not in the store,
 * for as long as pulling takes. */
int creto_spawn(struct creto_runtime *rt, const struct creto_option *options, size_t count, struct creto_sandbox **out,
                struct creto_error *err);

const char *creto_sandbox_id(const struct creto_sandbox *sb);

/* What this mode of this host does not enforce although it is a default ("memory, cpu, pids"), or "". */
const char *creto_sandbox_missing(const struct creto_sandbox *sb);

enum creto_exec_flag {
        CRETO_EXEC_TTY = 1,
};

struct creto_exec;

struct creto_exec_options {
        const char *const *argv; /* NULL-ended; NULL or empty: the image's own command */
        const char *const *env;  /* NULL-ended NAME=value, besides those of the sandbox; may be NULL */
        const char *cwd;         /* NULL: the sandbox's */
        const char *user;        /* NULL: the sandbox's */
        unsigned flags;          /* enum creto_exec_flag */
        uint16_t rows, cols;     /* of the terminal; 0: 24 × 80 */
        uint32_t timeout_ms;     /* 0: none */
        int stdin_fd;            /* read until its end and passed on; -1: /dev/null. Borrowed */
        /* Called with output as it comes, stream 1 or 2; returns how much of it was taken. With less than all it is called again with the rest when
         * output_fd[stream - 1] can be written to; the command is held back meanwhile. A negative return ends the exec. May be NULL: output is thrown
         * away. */
        ssize_t (*on_output)(void *ctx, int stream, const void *data, size_t len);
        int output_fd[2];
        /* With wake_fd ≥ 0: called whenever that descriptor is readable, so that signals can be passed on. */
        int wake_fd;
        void (*on_wake)(void *ctx, struct creto_exec *exec);
        void *ctx;
};

enum { CRETO_REASONS = 6 };

struct creto_result {
        int status; /* as a shell would say it: the exit code, or 128 + signal; 124 where time ran out */
        int code;   /* exit code, or -1 */
        int signal; /* signal that ended it, or 0 */
        unsigned reason_count;
        char reasons[CRETO_REASONS][160]; /* "killed: memory limit 64 MiB": whatever the sandbox's limits had to do with it */
        uint64_t user_us, system_us;      /* of the command and what it waited for, from its rusage */
        uint64_t peak_kib;                /* peak resident memory, likewise */
        uint64_t dropped;                 /* bytes that background processes wrote after the end */
        uint64_t refused_calls;           /* attack calls of the whole sandbox so far */
};

/* Runs a command and waits for its end. Blocks as long as it runs; where its output is not taken, no longer than two seconds after a signal that ends
 * programs, or the end of the sandbox's time. */
int creto_exec(struct creto_sandbox *sb, const struct creto_exec_options *options, struct creto_result *result, struct creto_error *err);

/* From on_wake: signal the command (its whole process group where `group`), or tell it the terminal's new size. */
void creto_exec_signal(struct creto_exec *exec, int signo, int group);
void creto_exec_resize(struct creto_exec *exec, uint16_t rows, uint16_t cols);

/* "3 attack calls refused: bpf 1, keyctl 2", or "" where there were none. Asks the sandbox; blocks for a fraction of a millisecond. */
int creto_sandbox_refused(struct creto_sandbox *sb, char *out, size_t cap, struct creto_error *err);

struct creto_usage { /* UINT64_MAX: this host does not keep it */
        uint64_t memory_bytes, memory_peak_bytes;
        uint64_t cpu_us, throttled_us;
        uint64_t pids, oom_kills, forks_refused;
};

int creto_sandbox_usage(struct creto_sandbox *sb, struct creto_usage *usage, struct creto_error *err);

/* Kills everything inside, waits until nothing is left of it, and frees the handle, whatever it returns. */
int creto_terminate(struct creto_sandbox *sb, struct creto_error *err);

/* The image store: `verb` is list, pull, rm or prune, `ref` the image of pull and rm, else NULL. Output and progress go to the caller's
 * descriptors 1 and 2, errors too; *status is the exit status to end with. Blocks, for as long as pulling takes. */
int creto_image(struct creto_runtime *rt, const char *verb, const char *ref, int *status, struct creto_error *err);

const char *creto_version(void);

#ifdef __cplusplus
}
#endif
