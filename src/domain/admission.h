/*
 * Whether one more sandbox fits: what is promised already, what this host has, and what it must keep. Pure; who asks has looked.
 */
#pragma once

#include <stdint.h>

#include "base/err.h"
#include "domain/limits.h"

struct admission_rules {
        unsigned max_sandboxes;                                     /* 0: as many as there is room for */
        unsigned max_per_owner;                                     /* 0: no limit */
        double memory_overcommit, pids_overcommit, disk_overcommit; /* promises ÷ what there is; 0: not counted */
        uint64_t min_free_memory, min_free_disk;                    /* bytes that a new sandbox may not touch */
};

/* What the host has now. UINT64_MAX where that is not known: then it is not asked about. */
struct admission_host {
        uint64_t memory_total, memory_free;
        uint64_t disk_total, disk_free;
        uint64_t pids_total, pids_used;
};

/* What the sandboxes that live were promised; a limit that is unlimited counts as nothing. */
struct admission_promised {
        unsigned sandboxes, of_owner;
        uint64_t memory, disk, pids;
};

void admission_add(struct admission_promised *p, const struct limits *l);
void admission_remove(struct admission_promised *p, const struct limits *l);

/* RESOURCE_EXHAUSTED with the numbers, and *resource ("memory", "disk", "pids", "slots", "share") for who counts refusals. */
int admission_check(const struct admission_rules *rules, const struct admission_host *host, const struct admission_promised *promised,
                    const struct limits *l, const char **resource, struct err *e);
