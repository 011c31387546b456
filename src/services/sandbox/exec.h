/*
 * What a command is, for the two files that have to do with it.
 */
#pragma once

#include "services/sandbox/internal.h"

struct chunk;

struct exec {
        unsigned refs;
        struct sandbox *sandbox; /* NULL once it is out of that's list */
        struct exec *next;
        struct session_exec *guest; /* NULL while there is no connection, and once it has been released */
        struct exec_info info;
        char *command;
        char request_id[SANDBOX_REQUEST_MAX + 1];
        uint64_t born_ms; /* CLOCK_MONOTONIC */
        uint32_t timeout_ms;
        bool program;
        bool adopted;    /* an earlier daemon knew more of its output than has come again yet */
        bool concluding; /* it has ended, and why is being asked */
        bool abandoned;  /* nobody will ask for its end */
        bool fresh;      /* there is output that its reader was not told of */
        const struct exec_reader *reader;
        /* output: chunks in the order they came, from the oldest that is kept */
        struct chunk *first, *last;
        uint64_t received[2]; /* where the session stands: behind info.bytes where output comes again */
        uint64_t next_out[2]; /* the reader's place */
        uint64_t gone[2];     /* what was advanced over when exec_confirm() was called last */
        uint64_t acked[2];
};

/* What a command finds in its environment, `own` besides; to be freed, or NULL. */
const char **exec_environment(const struct sandbox *sb, const char *const *own);

/* prewarm.c: true where its server may serve this command. */
bool prewarm_serves(const struct sandbox *sb, const char *const *argv, const char *const *env);

/* The session's output function: takes all of it. */
ssize_t output_take(void *ctx, int stream, const void *data, size_t len);
void output_begin_at(struct exec *x, uint64_t stdout_offset, uint64_t stderr_offset);
void output_discard(struct exec *x);
void output_free(struct exec *x);
