/*
 * Mounts by descriptor, with the kernel's own calls: made, copied, moved. A detached mount is a descriptor, and is gone with it. What fails says what and where.
 */
#pragma once

#include <stdint.h>

#include "base/err.h"

/* A new filesystem of that type. `options` ends with { NULL, NULL }; one without a value is a flag. `attrs`: MOUNT_ATTR_*. Returns a detached mount, or a negative code. */
int mount_new(const char *fs, const char *const (*options)[2], uint64_t attrs, struct err *e);

/* A tmpfs of that size, root's, mode 0755, without setuid and devices. */
int mount_tmpfs(uint64_t bytes, uint64_t inodes, struct err *e);

/* An overlay to be read, of `count` detached mounts, the lowest first. */
int mount_overlay(const int *layers, unsigned count, struct err *e);

/* Puts a detached mount there. */
int mount_at(int mount, const char *at, struct err *e);

/* A copy of the mount of `from` (a file or a tree), with `attrs` set, put at `to`. */
int mount_copy(const char *from, const char *to, uint64_t attrs, struct err *e);

/* The working directory becomes the root, and the root before it is left. */
int mount_pivot(struct err *e);
