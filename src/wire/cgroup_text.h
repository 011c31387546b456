/*
 * What the kernel writes into files about control groups. Pure.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum cgroup_controller {
        CGROUP_MEMORY = 1,
        CGROUP_CPU = 2,
        CGROUP_PIDS = 4,
        CGROUP_CPUACCT = 8,
        CGROUP_ALL = 15,
};

/* The controllers named in a list like "cpu,cpuacct" (or "rw,cpu", or "cpu io memory"). */
unsigned cgroup_bits(const char *list);
/* The name of the first of them; NULL where there is none. */
const char *cgroup_controller_name(unsigned bits);

/* Our own group in the hierarchy whose line in /proc/self/cgroup has these controllers ("" for v2). */
bool cgroup_own_path(const char *table, unsigned bits, bool v2, char *out, size_t cap);

/* The number behind `key` in lines of "key value", or the only number where key is NULL. UINT64_MAX where it is not there. */
uint64_t cgroup_figure(const char *text, const char *key);

/* Whose group "creto-PID-N" is; 0 where it is not of that form. */
int cgroup_owner(const char *name);
