/*
 * The warden's side of its protocol (docs/protocols/ipc.md): one connection, a table of what is permitted in which state, and the loop. Everything
 * that is not permitted ends the connection.
 */
#pragma once

#include "base/err.h"
#include "domain/warden_args.h"
#include "services/warden/nest.h"

struct monitor_config {
        struct warden_args args;
        int peer;          /* the connection; owned; -1: none yet */
        int listener;      /* service: where connections come from; else -1 */
        bool peer_is_root; /* who made the connection */
        bool user;
};

/* Private: serves the connection until it ends; then nothing of it is left. Service: serves one connection after another. Returns the exit status of the program. */
int monitor_run(const struct monitor_config *config);
