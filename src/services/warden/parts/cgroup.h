/*
 * Control groups, version 1, 2 or both, behind one interface.
 *
 * A sandbox gets one directory `creto-NAME` in every hierarchy that is of use: in v2 (which can clone into a group, for nothing) and in each
 * v1 controller that a limit needs. The
 * directories stand below the group that the warden itself is in; in a pure v2 host, where a group with processes cannot have
 * children with controllers, below the root for root, and below the delegated group for an ordinary user.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/err.h"
#include "domain/cgroup_text.h"

enum { CGROUP_TREES_MAX = 6, CGROUP_NAME_MAX = 96 };

/* One hierarchy that we may create groups in. */
struct cgroup_tree {
        int base;             /* directory descriptor */
        unsigned controllers; /* enum cgroup_controller bits it can control */
        bool v2;
};

struct cgroup_host {
        struct cgroup_tree trees[CGROUP_TREES_MAX];
        unsigned count;
        unsigned controllers; /* all that some tree can control */
        int version;          /* 0 none, 1 limits by v1, 2 limits by v2 */
        char v2_mount[512];   /* where the v2 hierarchy is; "": nowhere */
        int leaf_home;        /* delegated v2: the group that was ours before we moved to a leaf of it, or -1 */
};

/* The groups of one sandbox. */
struct cgroup {
        char name[CGROUP_NAME_MAX];
        int dirs[CGROUP_TREES_MAX]; /* as host->trees; -1 where not used */
        bool used;
};

struct cgroup_limits {
        uint64_t memory, swap, cpu_millis, pids; /* UINT64_MAX: unlimited */
};

/* Finds the hierarchies. A host without usable ones is no error: count is 0. */
void cgroup_host_init(struct cgroup_host *h, bool root);
void cgroup_host_release(struct cgroup_host *h);

/* Makes the groups in the trees that have one of `controllers` (and in v2 always, unless controllers is 0). What fails is to be destroyed too. */
int cgroup_create(const struct cgroup_host *h, struct cgroup *g, const char *name, unsigned controllers, struct err *e);

/* Opens groups that another process has made, and holds them. What is not there is left out. */
void cgroup_adopt(const struct cgroup_host *h, struct cgroup *g, const char *name);

/* Stops everything in the group, or lets it go on; needs v2. Returns 0, or a negative code: NOT_SUPPORTED. */
int cgroup_freeze(const struct cgroup_host *h, const struct cgroup *g, bool frozen, struct err *e);
bool cgroup_is_frozen(const struct cgroup_host *h, const struct cgroup *g);

/* Writes the limits; only trees that were created are touched. */
int cgroup_limit(const struct cgroup_host *h, const struct cgroup *g, const struct cgroup_limits *l, struct err *e);

/* 0 where the group has all of `controllers`; else NOT_SUPPORTED. */
int cgroup_can_limit(const struct cgroup_host *h, const struct cgroup *g, unsigned controllers, struct err *e);

/* Opens the files of its version 1 groups in which a process of one thread writes "0" to enter. (One that another process moves waits some 10 ms for
 * the kernel.) Returns how many, or a negative code. */
int cgroup_doors(const struct cgroup_host *h, const struct cgroup *g, int doors[CGROUP_TREES_MAX], struct err *e);

/* The v2 directory to clone into, opened so that it does not hold the group; or -1. */
int cgroup_clone_fd(const struct cgroup_host *h, const struct cgroup *g);

void cgroup_usage(const struct cgroup_host *h, const struct cgroup *g, struct cgroup_usage *u);

/* Removes the directories. False where processes are still in one: they are killed; to be repeated when they may be gone. */
bool cgroup_destroy(const struct cgroup_host *h, struct cgroup *g);

/* Group names are "creto-PID-N", PID being the warden's as it sees itself. Removes the empty groups that nobody holds: those of wardens that are gone.
 * Returns how many of `own` are left: they are held, or not empty yet; with `own` 0, how many that nobody holds are not empty yet. */
unsigned cgroup_sweep(const struct cgroup_host *h, pid_t own);
