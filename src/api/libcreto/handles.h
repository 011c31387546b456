/*
 * What the public handles are, for the files of this folder.
 */
#pragma once

#include "base/err.h"
#include "creto/runtime.h"
#include "domain/spec.h"
#include "services/driver/driver.h"
#include "services/guest/session.h"

enum { PATH_CAP = 400, IMAGE_TEXT_MAX = 1 << 20 };

struct creto_runtime {
        struct driver driver;
        int root_dir;
        char run_dir[PATH_CAP], state_dir[PATH_CAP], image_store[PATH_CAP + 16];
        int image_source; /* descriptor of a local archive or layout, opened before root was dropped; -1 */
        unsigned live;    /* sandboxes */
};

/* What an image says of the commands that run in it; everything empty for the host. */
struct image_defaults {
        uint32_t layer_count;
        char (*layers)[IPC_DIGEST_HEX + 1];
        const char **env, **command; /* NULL-ended; entrypoint and cmd in one */
        size_t entrypoint_count;
        const char *cwd, *user;
        void *memory; /* that the strings are in */
};

struct creto_sandbox {
        struct creto_runtime *rt;
        struct session *session;
        char id[IPC_ID_MAX + 1];
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

/* Brings the image of `ref` into the store and says what it is. For "host" and "dir:" everything stays empty. */
int image_resolve(struct creto_runtime *rt, const char *ref, bool pull, struct image_defaults *out, struct err *e);
void image_defaults_release(struct image_defaults *d);
