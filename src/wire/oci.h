/*
 * The config.json of an OCI bundle, from a few checked fields. The bundle is /tmp of the engine that reads it. Pure, and the only place that writes one.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/buf.h"

/* Entries of proc that show or steer the machine: as the usual container default. Most are readable by host root alone already. NULL-ended. */
extern const char *const proc_masked[], *const proc_readonly[];

struct oci_config {
        const char *hostname; /* [a-z0-9-] */
        uint32_t first_id;    /* host id of the sandbox's id 0 */
        uint32_t
                ids; /* how many there are; the last one is creto-init's. 1: an ordinary user's, who has no more; creto-init gives it its number */
        uint64_t nofile;    /* open files of creto-init */
        bool own_network;   /* the engine makes the network namespace; else it is the one that the engine is in */
        bool start_as_root; /* creto-init drops that by itself: some engines take the capabilities from whoever is not root */
        bool root_as_it_is; /* the root is mounted read-only, and the engine shall not mount it so once more */
        bool socket_dir;    /* creto-init makes its socket in a directory from outside */
};

void oci_config_put(struct wbuf *w, const struct oci_config *c);
