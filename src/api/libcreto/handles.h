/*
 * What the public handles are, for the files of this folder.
 */
#pragma once

#include <stdbool.h>

#include "base/err.h"
#include "creto/runtime.h"
#include "domain/spec.h"
#include "services/driver/driver.h"
#include "services/guest/guest.h"

enum { PATH_CAP = 400, EXEC_ID_CAP = 24 };

struct remote;
struct remote_exec;

struct creto_exec {
        struct session_exec *x;
        int fatal;                  /* the last signal of those that end programs, or 0 */
        struct remote_exec *remote; /* of a service; then nothing else holds */
};

struct creto_runtime {
        struct remote *remote; /* a running service; NULL: embedded, and what follows holds */
        struct driver driver;
        int image_fd, auth_fd; /* owned; -1: none */
        bool dropped;          /* what is not open by now cannot be opened */
        char run_dir[PATH_CAP], state_dir[PATH_CAP], image_store[PATH_CAP + 16];
        unsigned live; /* sandboxes */
};

/* What an image says of the commands that run in it; everything empty for the host. */
struct image_defaults {
        uint32_t layer_count;
        char (*layers)[IPC_DIGEST_HEX + 1];
        const char *const *env; /* NULL-ended, or NULL */
        const char **command;   /* likewise; entrypoint and cmd in one */
        size_t entrypoint_count;
        const char *cwd, *user; /* NULL: it says nothing */
        void *memory;           /* that all of this is in */
};

struct creto_sandbox {
        struct creto_runtime *rt;
        struct session *session;
        char id[IPC_ID_MAX + 1];
        char pool[CRETO_POOL_ID_MAX + 1]; /* where it was claimed through this handle */
        char begun[EXEC_ID_CAP];          /* the command that was begun with the claim, and that nobody has attached to yet; or "" */
        char missing[160];
        struct limits limits;
        uint64_t ttl_end_ms; /* CLOCK_MONOTONIC; 0: none */
        uint64_t ttl_ms;
        const char **env; /* of the sandbox; NULL-ended, owned with its strings */
        char *cwd, *user;
        uint32_t timeout_ms;
        struct ipc_usage before; /* the counters when the command that runs was started */
        struct image_defaults image;
};

void error_out(struct creto_error *out, const struct err *e);
/* The same, and returns the negative code. */
int error_failed(struct creto_error *out, const struct err *e);

/* Opens what `text` names, as creto_open_sources(). */
int image_open_sources(const char *text, int *image, int *auth, struct err *e);

/* Brings the image of `text` into the store and says what it is. For "host" and "dir:" everything stays empty; *root is then the directory of dir:,
 * borrowed, else -1. */
int image_resolve(struct creto_runtime *rt, const char *text, bool pull, struct image_defaults *out, int *root, struct err *e);
void image_defaults_release(struct image_defaults *d);
