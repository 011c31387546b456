/*
 * How fast pools are filled: as many at once as this host gets done without each taking much longer, none while claims wait for a place, and ever more rarely where making them
 * fails. Pure; times are a monotonic clock's, in ms.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

enum { PACE_PARALLEL_MAX = 32, PACE_BACKOFF_MS = 500, PACE_BACKOFF_MAX_MS = 60000 };

/* One for all pools: the host has one capacity. */
struct pace {
        unsigned parallel;  /* how many may be under way at once */
        double best_ms;     /* how long one takes when it is alone, or the least seen of late */
        double per_second;  /* throughput at the present parallelism */
        uint64_t window_ms; /* when the present window of measurement began */
        unsigned window_done;
        double last_rate; /* of the window before */
        int direction;    /* whether the last step was up or down */
};

void pace_init(struct pace *p, unsigned cores);
/* How many may be under way now. */
unsigned pace_parallel(const struct pace *p);
/* One was made, and took so long. */
void pace_made(struct pace *p, uint64_t took_ms, uint64_t now_ms);

/* One a pool. */
struct backoff {
        unsigned failures; /* in a row */
        uint64_t until_ms; /* nothing is tried before; 0: now */
};

/* `jitter`: random, 0 … 255; spreads pools that fail together. */
void backoff_failed(struct backoff *b, uint64_t now_ms, uint8_t jitter);
void backoff_worked(struct backoff *b);
/* 0: may be tried now, else ms to wait. */
uint64_t backoff_wait(const struct backoff *b, uint64_t now_ms);

/* When one that was made at `born_ms` is too old: max_age less up to a tenth of it, by `seed`, so that those made together do not age together. UINT64_MAX: never. */
uint64_t pool_old_at(uint64_t born_ms, uint64_t max_age_ms, uint32_t seed);
