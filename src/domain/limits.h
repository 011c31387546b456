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
/* Of processes, for a class that cannot limit them: neither a limit, nor asked for without one. What they are on the host, about as many, may be so many that the
 * host has numbers left. */
#define LIMIT_NO_PIDS (LIMIT_UNLIMITED - 1)
#define LIMIT_NO_PIDS_HOST 4096

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
        bool fixed;        /* cannot be changed while the sandbox runs */
        uint64_t min, max, def;
};

extern const struct limit_info limit_table[LIMIT_COUNT];

void limits_default(struct limits *l);

/* Reads "512M", "2G", "unlimited", "300" into *l and marks it as wanted. INVALID_SPEC names the limit, the value and the bounds. */
int limits_set(struct limits *l, enum limit which, const char *text, struct err *e);

/* True where every value stands within its bounds. */
bool limits_valid(const struct limits *l);

/* May a sandbox that runs under `from` be put under `to`? INVALID_SPEC names the field: one out of bounds, or one that stays as it is for the life of a
 * sandbox (diskBytes, diskInodes). */
int limits_check_change(const struct limits *from, const struct limits *to, struct err *e);

/* Which limits are asked for and cannot be enforced where only those of `can` can: bit per limit. */
uint32_t limits_missing(const struct limits *l, uint32_t can);

/* Writes "memory, cpu" for these bits; swap goes with memory, and is left out. */
void limits_name(uint32_t bits, char *out, size_t cap);

/* NOT_SUPPORTED where one of them was named by the caller. */
int limits_check_enforced(const struct limits *l, uint32_t can, struct err *e);

static inline bool limits_wanted(const struct limits *l, enum limit which)
{
        return l->wanted & (1U << which);
}

/* "512 MiB", "200", "unlimited". Returns out. */
const char *limit_format(enum limit which, uint64_t value, char *out, size_t cap);
