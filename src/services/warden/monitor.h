/*
 * The warden's side of its protocol (docs/protocols/ipc.md): one connection, a table of what is permitted in which state, and the loop. Everything
 * that is not permitted ends the connection.
 */
#pragma once

#include "base/err.h"
#include "services/warden/nest.h"

struct monitor_config {
        int peer;          /* the connection; owned; -1: none yet */
        int listener;      /* service: where connections come from; else -1 */
        uid_t peer_uid;    /* service: who may, besides root */
        bool peer_is_root; /* who made it */
        const char *run_dir;
        const char *state_dir;   /* root: ours; user: only for images */
        const char *image_store; /* absolute path */
        bool user;
        struct classes classes;
};

/* Private: serves the connection until it ends; then nothing of it is left. Service: serves one connection after another. Returns the exit status of the program. */
int monitor_run(const struct monitor_config *config);
