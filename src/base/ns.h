/*
 * Namespaces that are more than a system call: with a map of ids, with a loopback that is up.
 */
#pragma once

#include <stdint.h>

#include "base/err.h"

/* One line of an id map. */
struct ns_map {
        uint32_t inside, outside, count;
};

/* The loopback of the network namespace that we are in. */
int ns_lo_up(struct err *e);

/* A new user namespace, child of ours, with this map for uids and gids. Returns a descriptor, or a negative code. */
int ns_user(const struct ns_map *map, struct err *e);

/* Makes us root of a new user namespace whose only id is the one we have. */
int ns_become_root(struct err *e);
