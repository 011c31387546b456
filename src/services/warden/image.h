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

/* Opens the layer `hex` of the store; the warden follows no name that is not 64 hex digits. */
int image_layer_open(int store, const char *hex, struct err *e);

/* Starts creto-image on `store`; fds are its stdout, its stderr, and what it may open as /proc/self/fd/5 and up. Returns the pid. */
pid_t image_start(int store, const struct ipc_image *req, const int *fds, size_t nfds, bool user, struct err *e);
