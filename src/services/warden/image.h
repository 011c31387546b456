/*
 * Starting creto-image: the one program that touches registries and archives. It runs as root of a user namespace whose ids are the image
 * range, so on the host it owns the image store and nothing else.
 */
#pragma once

#include <stdbool.h>
#include <sys/types.h>

#include "base/err.h"
#include "wire/ipc.h"

enum { IMAGE_FD_FIRST = 5 };

/* Opens the store, made if it is not there. Returns a directory descriptor. */
int image_store_open(const char *path, bool user, struct err *e);

/* The layers that one sandbox is mounted on. Whoever removes layers leaves those that somebody holds (docs/formats/image-store.md). */
struct image_layer {
        char hex[IPC_DIGEST_HEX + 1];
        int fd; /* shared flock */
        unsigned holders;
        struct image_layer *next;
};

struct image_hold {
        unsigned count;
        struct image_layer *layers[];
};

/* Opens the layers of a request, lowest first, and holds them; the warden follows no name that is not 64 hex digits. Returns owned; the
 * descriptors are the layers'. NULL with *e: IMAGE_NOT_FOUND where one is not there. */
struct image_hold *image_hold(int store, const struct ipc_spawn *req, struct err *e);
void image_let_go(struct image_hold *h);

/* Starts creto-image on `store`; fds are its stdout, its stderr, and what it may open as /proc/self/fd/5 and up. Returns the pid. */
pid_t image_start(int store, const struct ipc_image *req, const int *fds, size_t nfds, bool user, struct err *e);
