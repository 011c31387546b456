/*
 * The daemon's connection to a warden that is a service (docs/protocols/ipc.md): any number of requests at once, answered by callback from the loop.
 *
 * The warden may end and come back at any time. Then the link connects again; requests whose repetition does no harm are made again, a SPAWN under way
 * fails, and what is asked meanwhile waits for LINK_WAIT_MS at most. What it gets from the warden is checked like anything else: a message that breaks
 * the protocol ends the connection.
 */
#pragma once

#include "base/err.h"
#include "base/loop.h"
#include "wire/ipc.h"

enum { LINK_WAIT_MS = 10000, LINK_REQUESTS_MAX = 65536 };

struct link;

struct link_events {
        /* The warden answers: what it is. What was waiting is sent after this returns; requests made in it come first. */
        void (*up)(void *ctx, const struct ipc_hello_ok *hello);
        void (*down)(void *ctx, const char *why);
        /* A sandbox has ended by itself; TERMINATE is still owed. */
        void (*exited)(void *ctx, const struct ipc_exited *exited);
};

/* `socket` is the path that the warden listens at; it need not be there yet. Borrows all but `socket`. */
int link_new(struct loop *loop, const char *socket, unsigned prepared, const struct link_events *events, void *ctx, struct link **out,
             struct err *e);
/* Requests that are not answered are forgotten: their callbacks are not called. */
void link_free(struct link *l);

bool link_is_up(const struct link *l);

struct link_answer {
        const struct err *error;           /* NULL: it was done, and one of these is there */
        bool lost;                         /* the error is that there was no warden to do it */
        const struct ipc_spawned *spawned; /* SPAWN */
        const struct ipc_usage *usage;     /* USAGE, TERMINATE */
        const struct ipc_listed *listed;   /* LIST */
        const struct ipc_classes *classes; /* CLASSES */
        uint32_t limits_missing;           /* LIMIT: bits */
        int32_t status;                    /* IMAGE: wait status */
        int fd;                            /* SPAWN, ATTACH: the guest stream, owned by who is called; else -1 */
};

typedef void link_done_fn(void *ctx, const struct link_answer *a);

/* Each calls `done` exactly once, unless the link is freed: later, or at once where it is refused. */
void link_spawn(struct link *l, const struct ipc_spawn *req, link_done_fn *done, void *ctx);
void link_usage(struct link *l, const char *id, link_done_fn *done, void *ctx);
/* `done` NULL: nobody waits for it, and another warden is not asked again. */
void link_terminate(struct link *l, const char *id, link_done_fn *done, void *ctx);
/* Of this warden: one that comes after it is not asked again. */
void link_list(struct link *l, uint32_t first, link_done_fn *done, void *ctx);
void link_attach(struct link *l, const char *id, link_done_fn *done, void *ctx);
void link_freeze(struct link *l, const char *id, bool frozen, link_done_fn *done, void *ctx);
/* `limits` are all of them as they shall be, `wanted` bits of those that the caller named (struct limits of domain/limits.h). */
void link_limit(struct link *l, const char *id, const uint64_t limits[IPC_LIMITS], uint32_t wanted, link_done_fn *done, void *ctx);
void link_classes(struct link *l, link_done_fn *done, void *ctx);
/* creto-image with these arguments; one runs at a time, the others wait. `fds` (its stdout, its stderr) are borrowed until `done`. */
void link_image(struct link *l, const struct ipc_image *req, const int fds[2], link_done_fn *done, void *ctx);
