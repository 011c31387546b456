/*
 * The limits of a sandbox: their names, units, bounds and defaults, in one table. Pure.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

enum limit {
        LIMIT_MEMORY, /* bytes; page cache counts but gives way */
        LIMIT_SWAP,   /* bytes beyond memory */
        LIMIT_CPU,    /* thousandths of one core */
        LIMIT_PIDS,   /* processes and threads, creto-init not counted */
        LIMIT_DISK,   /* bytes of the writable disk */
        LIMIT_INODES, /* files on the writable disk */
        LIMIT_NOFILE, /* open files a process */
        LIMIT_CORE,   /* bytes of a core file */
        LIMIT_OUTPUT, /* bytes a second over all output streams */
        LIMIT_COUNT,
};

#define LIMIT_UNLIMITED UINT64_MAX

struct limits {
        uint64_t value[LIMIT_COUNT];
        uint32_t wanted; /* bit per limit: the caller named it, so it may not be weakened */
};

struct limit_info {
        const char *flag;  /* as on the command line, without -- */
        const char *field; /* as in the API's resourceLimits */
        const char *noun;  /* "memory": as in "killed: memory limit 512 MiB" */
        bool is_bytes;     /* printed and read with binary suffixes */
        bool may_unlimited;
        bool needs_cgroup; /* only a cgroup can enforce it */
        uint64_t min, max, def;
};

extern const struct limit_info limit_table[LIMIT_COUNT];

void limits_default(struct limits *l);

/* Reads "512M", "2G", "unlimited", "300" into *l and marks it as wanted. INVALID_SPEC names the limit, the value and the bounds. */
int limits_set(struct limits *l, enum limit which, const char *text, struct err *e);

/* True where every value stands within its bounds. */
bool limits_valid(const struct limits *l);

static inline bool limits_wanted(const struct limits *l, enum limit which)
{
        return l->wanted & (1U << which);
}

/* "512 MiB", "200", "unlimited". Returns out. */
const char *limit_format(enum limit which, uint64_t value, char *out, size_t cap);
