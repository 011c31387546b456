/*
 * How fast pools are filled: as many at once as this host gets done without each taking much longer, none while claims wait for a place
 * (that is the caller's to see), and ever more rarely where making them fails. Pure; times are a monotonic clock's, in ms.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

enum { PACE_PARALLEL_MAX = 32, PACE_BACKOFF_MS = 500, PACE_BACKOFF_MAX_MS = 60000 };

/*
 * One for all pools: the host has one capacity. It is found by climbing: throughput is measured in windows of half a second or more, and
 * now and then one more, or one fewer, is tried at once. More stay only where more get done, fewer wherever as many get done. A window in
 * which there was too little to do says nothing and is dropped.
 */
struct pace {
        unsigned parallel; /* how many may be under way at once */
        double per_second; /* throughput at the parallelism that is held, measured while there was enough to do; 0: not yet */
        int trial;         /* +1, -1: more or fewer than before are being tried; 0: none */
        unsigned before;
        int next;          /* what is tried next */
        unsigned hold;     /* windows until then */
        unsigned settle;   /* so many are made before a window begins, since they began before the last change */
        uint64_t begin_ms; /* the present window: its beginning, what was made in it, how long they took in all */
        unsigned made;
        double took_ms;
        uint64_t last_ms; /* when one was last made; 0: never */
};

void pace_init(struct pace *p, unsigned cores);
/* How many may be under way now: 1 to PACE_PARALLEL_MAX. */
unsigned pace_parallel(const struct pace *p);
/* One was made, and took so long. */
void pace_made(struct pace *p, uint64_t took_ms, uint64_t now_ms);

/* One a pool. Zeroed: nothing has failed. */
struct backoff {
        unsigned failures; /* in a row */
        uint64_t until_ms; /* nothing is tried before; 0: now */
};

/*
 * `jitter`: random, 0 … 255; spreads pools that fail together. Half a second to three quarters, then twice that each time, up to a minute.
 */
void backoff_failed(struct backoff *b, uint64_t now_ms, uint8_t jitter);
void backoff_worked(struct backoff *b);
/* 0: may be tried now, else ms to wait. */
uint64_t backoff_wait(const struct backoff *b, uint64_t now_ms);

/*
 * When one that was made at `born_ms` is too old: max_age less up to a tenth of it, by `seed` (any number of its own, a counter will do), so
 * that those made together do not age together. UINT64_MAX where max_age is 0: never.
 */
uint64_t pool_old_at(uint64_t born_ms, uint64_t max_age_ms, uint32_t seed);
