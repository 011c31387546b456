/*
 * The native driver's unprivileged half: starts a private warden and speaks its protocol. It opens nothing and decides nothing that the
 * warden does not check again.
 */
#pragma once

#include <stdbool.h>
#include <sys/types.h>

#include "base/err.h"
#include "wire/ipc.h"

struct driver_config {
        const char *run_dir, *state_dir, *image_store;
        unsigned prepared;
};

struct driver {
        int sock;
        pid_t warden;
        uint32_t serial;
        struct ipc_hello_ok hello;
        bool greeted;
};

/* A program of ours: beside our own, in ../FOLDER/ (build tree), or where it is installed; never where an environment says. False: nowhere. */
bool driver_program_path(const char *program, const char *folder, char out[1024]);
/* The warden is beside our own program, in ../warden/ (build tree), or where it is installed; never where an environment says. False: nowhere. */
bool driver_warden_path(char out[1024]);

/* Starts the warden and greets it; the answer is taken with the first one that is waited for. */
int driver_start(struct driver *d, const struct driver_config *config, struct err *e);

/* Hangs up when the warden ends. */
int driver_fd(const struct driver *d);

/* Ends the connection and waits until the warden has cleared up and is gone. */
void driver_stop(struct driver *d);

/* Starts a sandbox. `root` is the descriptor for IPC_ROOT_DIR or -1, `engine` that of IPC_SPAWN_ENGINE or -1. On success *stream is the guest stream, owned by the caller. */
int driver_spawn(struct driver *d, const struct ipc_spawn *req, int root, int engine, struct ipc_spawned *out, int *stream, struct err *e);

int driver_usage(struct driver *d, const char *id, struct ipc_usage *out, struct err *e);
int driver_terminate(struct driver *d, const char *id, struct ipc_usage *out, struct err *e);

/* Runs creto-image with `fds` as its stdout, stderr and extra descriptors. */
int driver_image(struct driver *d, const struct ipc_image *req, const int *fds, size_t nfds, int *status, struct err *e);
