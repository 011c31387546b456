/*
 * The writable disk of a sandbox: a filesystem of its own with a size and a number of inodes, handed over as a detached mount.
 *
 * As root it is ext4 on a sparse, nameless file behind a loop device that frees itself: what is written is page cache that gives way, not the
 * sandbox's memory, and everything vanishes with the last mount, whoever was killed. The empty filesystem is made once per size by
 * mke2fs and copied from then on. An ordinary user gets a tmpfs of that size, which is memory, and so does who has no limit on memory.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"

struct disk_host {
        bool loop; /* may be had */
        int state; /* directory for the empty filesystems and the nameless files; -1 without loop */
};

int disk_host_init(struct disk_host *d, const char *state_dir, bool root, struct err *e);
void disk_host_release(struct disk_host *d);

/* `memory`: a tmpfs will do. Returns a detached mount holding the directories tmp, var-tmp, run (mode 1777, 1777, 0755) and home (0700, owned by `owner`), all
 * owned by host ids within the sandbox's range; or a negative code. */
int disk_make(const struct disk_host *d, bool memory, uint64_t bytes, uint64_t inodes, uint32_t root_uid, uint32_t owner, struct err *e);
