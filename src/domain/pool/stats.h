/*
 * What is known of a pool's claims: how many in the last minute, how long they took, how fast they come. Fixed size, no allocation. Times are a monotonic clock's, in ms. Pure.
 */
#pragma once

#include <stdint.h>

enum {
        POOL_LATENCIES = 1024, /* the last ones, of which mean and 99th percentile are taken */
        POOL_SECONDS = 64,     /* claims are counted by the second, for the last minute */
        POOL_BURST_MINUTES = 15,
};

struct pool_stats {
        uint32_t latency_us[POOL_LATENCIES];
        uint32_t latency_at, latency_count;
        uint64_t claims, cold; /* in all; those that found no ready one */
        uint64_t second[POOL_SECONDS];
        uint32_t by_second[POOL_SECONDS];
        uint64_t minute[POOL_BURST_MINUTES];
        uint32_t burst[POOL_BURST_MINUTES]; /* the most claims within one second of that minute */
};

void pool_stats_claim(struct pool_stats *s, uint64_t now_ms);
void pool_stats_latency(struct pool_stats *s, uint64_t us);

unsigned pool_stats_per_minute(const struct pool_stats *s, uint64_t now_ms);
/* Claims a second over the last `seconds` (at most 60). */
double pool_stats_rate(const struct pool_stats *s, uint64_t now_ms, unsigned seconds);
/* The most claims in one second of the last POOL_BURST_MINUTES. */
unsigned pool_stats_burst(const struct pool_stats *s, uint64_t now_ms);
double pool_stats_mean_ms(const struct pool_stats *s); /* 0 where there were none */
double pool_stats_p99_ms(const struct pool_stats *s);
