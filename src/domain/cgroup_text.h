/*
 * What the kernel's files about control groups say, and what is written into them. Pure: text in, facts out.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "domain/limits.h"

enum cgroup_controller {
        CGROUP_MEMORY = 1,
        CGROUP_CPU = 2,
        CGROUP_PIDS = 4,
        CGROUP_CPUACCT = 8,
        CGROUP_ALL = 15,
};

/* The controllers named in a list like "cpu,cpuacct", "rw,cpu" or "cpu io memory": bits. */
unsigned cgroup_controllers(const char *list);
/* The name of the lowest of these, or NULL where there is none. */
const char *cgroup_controller_name(unsigned bits);

/* The limits that these controllers can enforce, with all that need none: a bit for each. */
uint32_t cgroup_can(unsigned bits);
/* The controllers that these limits need; none where all are unlimited. */
unsigned cgroup_needs(const struct limits *l);

/* The path in the line of /proc/PID/cgroup that has one of these controllers; with `v2`, in version 2's. False where there is none. */
bool cgroup_path(const char *table, unsigned bits, bool v2, char *out, size_t cap);

/* The number behind `key` in lines of "key value", or with NULL the first. UINT64_MAX where there is none. */
uint64_t cgroup_figure(const char *text, const char *key);

/* A limit as it is written: a number, or the word of that file for unlimited (UINT64_MAX). */
void cgroup_format(uint64_t value, const char *unlimited, char *out, size_t cap);

/* Thousandths of a processor as version 2 wants them ("QUOTA PERIOD") and as version 1 does (the quota alone). */
void cgroup_format_cpu(uint64_t millis, bool v2, char *out, size_t cap);

/* The pid in a name of the form "creto-PID-N"; 0 where it is none. */
int cgroup_owner(const char *name);

struct cgroup_usage {
        uint64_t memory, memory_peak, cpu_us, pids, oom_kills, forks_refused, throttled_us; /* UINT64_MAX: not known */
};

/* Where the figures of a group are: one row each, as far as a version keeps it. The last one has no v1_file. */
extern const struct cgroup_row {
        size_t field; /* in struct cgroup_usage */
        unsigned controller;
        const char *v1_file, *v1_key, *v2_file, *v2_key;
        uint64_t v1_divisor;
} cgroup_rows[];
