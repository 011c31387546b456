/*
 * From a blob to a tree, in three processes: one decompresses, we hash, one makes the tree. The first and the last see hostile bytes and are
 * confined for it (confine.c); we only count and hash.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"
#include "services/image/digest.h"
#include "services/image/unpack/tree.h"

struct unpack_job {
        int blob; /* borrowed; read from its position to its end */
        uint64_t blob_size;
        int root; /* borrowed: an empty directory */
        struct tree_options tree;
        void (*progress)(void *user, uint64_t bytes); /* or NULL */
        void *user;
};

/* Unpacks, and says what the uncompressed stream hashed to. On an error the directory holds a part. */
int unpack_run(const struct unpack_job *job, char hex[DIGEST_HEX + 1], struct err *e);

/* True where we may give files to the ids 0 to 65535: where each of them is mapped, and we are 0. */
bool unpack_has_ids(void);

/* The two ends, for unpack.c and the tests. Both read and write blocking descriptors. */
int inflate_run(int in, int out, struct err *e);
int untar_run(int in, struct tree *t, struct err *e);

/* What a confined process keeps. */
struct confine {
        int keep[3]; /* descriptors that stay, as 3, 4, 5; -1 for none */
        int beneath; /* index in keep[] of the directory it may write beneath, or -1 */
        uint64_t file_max;
};

/* In a child: gives up everything but that, for good. */
int confine_apply(const struct confine *c, struct err *e);
