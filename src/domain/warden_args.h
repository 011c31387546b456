/*
 * The arguments of creto-warden: what its caller, root or the user himself, lets it do. Pure.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "domain/classes.h"

enum { WARDEN_PATH_MAX = 400 };

#define WARDEN_USAGE                                                                                                                                                                                        \
        "usage: creto-warden --run-dir DIR --state-dir DIR --image-store DIR [--peer UID] [--class NAME,ENGINE,BINARY[,OPTION]...]... [--kvm yes|no], with a connection (with --peer: a listening socket) " \
        "as descriptor 3\n"

struct warden_args {
        const char *run_dir, *state_dir, *image_store; /* absolute, borrowed */
        bool service;                                  /* --peer: descriptor 3 listens */
        uint32_t peer_uid;                             /* service: who may connect, besides root */
        bool kvm;                                      /* sandboxes may have /dev/kvm */
        struct classes classes;
};

/* False where it is none. */
bool warden_args_read(int argc, char **argv, struct warden_args *args);
