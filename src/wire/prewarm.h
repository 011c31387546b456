/*
 * What creto-init and a prewarm server say to each other: bytes to structs and back. docs/protocols/prewarm.md is its specification.
 *
 * Pure: no I/O, no allocation. Strings in a decoded struct point into the packet they came from. A server is written by anybody: what comes from it
 * is hostile.
 */
#pragma once

#include <stdint.h>

#include "base/buf.h"

enum {
        PREWARM_FD = 3, /* of a server */
        PREWARM_PACKET_MAX = 65536,
        PREWARM_PATH_MAX = 4095,
        PREWARM_ARGS_MAX = 8192, /* entries of argv, and of the environment */
        PREWARM_ANSWER_MAX = 8,  /* the longest packet from a standby is shorter */
        PREWARM_READY_MS = 250,  /* for a standby, where none waits */
        PREWARM_TAKE_MS = 2000,  /* for the answer of one that does */
        PREWARM_STREAMS = 3,     /* descriptors with RUN */
};

enum prewarm_type { PREWARM_READY = 1, PREWARM_TAKEN = 2, PREWARM_REFUSED = 3, PREWARM_RUN = 0x81 };

enum prewarm_ready_flag { PREWARM_KEEPS = 1 };
enum prewarm_run_flag { PREWARM_STDIN = 1, PREWARM_CWD_WISH = 2 };

/* From a standby. */
struct prewarm_answer {
        uint8_t type;  /* PREWARM_READY, _TAKEN, _REFUSED */
        uint8_t flags; /* of READY */
        uint32_t sys;  /* of REFUSED: an errno, ≥ 1 */
};

void prewarm_put_answer(struct wbuf *w, const struct prewarm_answer *m);
int prewarm_get_answer(struct bytes packet, struct prewarm_answer *m);

struct prewarm_run {
        uint8_t flags;
        struct bytes cwd;
        uint32_t argc, envc;
        struct rbuf args, envs; /* walk them with prewarm_run_next() */
};

/* `argv` and `env` end with NULL; *w is bad where they do not fit. */
void prewarm_put_run(struct wbuf *w, uint8_t flags, const char *cwd, char *const *argv, char *const *env);
int prewarm_get_run(struct bytes packet, struct prewarm_run *m);
struct bytes prewarm_run_next(struct rbuf *strings);
