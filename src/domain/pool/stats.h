/*
 * What is known of a pool's claims: how many in the last minute, how long they took, how fast they come, and how many came at once. Fixed
 * size (some 6 KiB), no allocation. Zeroed: no claims yet. Times are a monotonic clock's, in ms; one that goes back loses accuracy, no
 * more. Pure.
 */
#pragma once

#include <stdint.h>

enum {
        POOL_LATENCIES = 1024,   /* the last ones, of which mean and 99th percentile are taken */
        POOL_TENTHS = 64,        /* claims are counted by the tenth of a second, for the last 6.4 s */
        POOL_SECONDS = 64,       /* and by the second, for the last minute */
        POOL_BURST_MINUTES = 15, /* how long a burst is remembered */
        POOL_BURST_SLOTS = POOL_BURST_MINUTES + 1,
        POOL_WINDOWS = 18, /* widths at which bursts are measured, 0.1 s to 60 s, steps of about a half */
};

struct pool_stats {
        uint32_t latency_us[POOL_LATENCIES];
        uint32_t latency_at, latency_count;
        uint64_t claims, cold; /* in all; those that found no ready one, counted by whoever made one for them */
        uint64_t tenth[POOL_TENTHS];
        uint32_t by_tenth[POOL_TENTHS];
        uint64_t second[POOL_SECONDS];
        uint32_t by_second[POOL_SECONDS];
        uint64_t minute[POOL_BURST_SLOTS];
        uint32_t burst[POOL_BURST_SLOTS][POOL_WINDOWS]; /* the most claims within one such window that ended in that minute */
};

/* One came, whatever became of it. */
void pool_stats_claim(struct pool_stats *s, uint64_t now_ms);
/* One was answered, so long after it came. */
void pool_stats_latency(struct pool_stats *s, uint64_t us);

unsigned pool_stats_per_minute(const struct pool_stats *s, uint64_t now_ms);
/* Claims a second over the last `seconds` (1 to 60) and the part of one that has begun. */
double pool_stats_rate(const struct pool_stats *s, uint64_t now_ms, unsigned seconds);
/* The most claims in any one second of the last POOL_BURST_MINUTES. */
unsigned pool_stats_burst(const struct pool_stats *s, uint64_t now_ms);
/*
 * How many would have had to be ready so that no claim of the last POOL_BURST_MINUTES found none: the most that any span of time took
 * beyond what was made up for in it, where one takes refill_ms to make and per_second are made at best (0: as many as are wanted). An
 * upper estimate, since spans are measured in steps; none is longer than a minute.
 */
unsigned pool_stats_shortage(const struct pool_stats *s, uint64_t now_ms, uint64_t refill_ms, double per_second);
double pool_stats_mean_ms(const struct pool_stats *s); /* 0 where there were none */
double pool_stats_p99_ms(const struct pool_stats *s);  /* the nearest rank */
