/* Starting a child: from an order, all of whose memory is ready, to a confined command, or to why there is none. */
#pragma once

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "programs/init/exec/confine.h"

struct spawn {
        uint8_t kind; /* enum guest_kind */
        char **argv;  /* NULL-ended; argv[-1] is there and may be written */
        uint32_t argc;
        char **env;
        const char *path; /* where programs are looked up */
        const char *cwd;  /* NULL: the home of `id` if it is there, else "/" */
        const struct identity *id;
        int fds[3]; /* standard input, output, error of the child; borrowed */
        bool tty;   /* fds are one terminal, to be the controlling one */
        int server; /* GUEST_KIND_PREWARM: descriptor 3 of the child, borrowed */
};

struct spawn_failure {
        int32_t stage; /* enum guest_stage */
        int32_t sys;   /* errno */
};

/*
 * Returns the child's pid once its program runs (a function of ours: once it is confined), or -1 with *failure. Waits for that, which
 * takes as long as the kernel takes to load a program, and at most SPAWN_MS.
 */
enum { SPAWN_MS = 10000 };
pid_t spawn(const struct spawn *order, struct spawn_failure *failure);
