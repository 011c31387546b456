/*
 * How a command ended, said so that a person understands it: not "137" but "killed: memory limit 512 MiB". Pure.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "domain/limits.h"

enum { OUTCOME_LINES = 6, OUTCOME_LINE = 160 };

/* What was seen. Counters of what happened while the command ran; UINT64_MAX where the host does not keep one. */
struct outcome_facts {
        bool ended; /* the command's end was seen: code and signal hold */
        int code, signal;
        bool timed_out, ttl_over, disk_full, inodes_full;
        uint64_t timeout_ms, ttl_ms;
        uint64_t oom_kills, forks_refused;
        uint64_t attack_calls;
        const struct limits *limits;
};

struct outcome {
        int status; /* for the shell: the command's, 128+n for signal n, 124 where time ran out */
        unsigned count;
        char lines[OUTCOME_LINES][OUTCOME_LINE]; /* what to tell; empty where the command simply ended */
};

void outcome_of(const struct outcome_facts *f, struct outcome *o);
