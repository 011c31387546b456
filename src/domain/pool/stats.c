/*
 * Counters in rings that are indexed by time: a slot holds the time that it counts for, and one that holds another is empty.
 */
#include "domain/pool/stats.h"

#include <stdlib.h>
#include <string.h>

/* Widths in tenths of a second; those above POOL_TENTHS are counted by whole seconds. */
static const uint32_t windows[POOL_WINDOWS] = { 1, 2, 3, 4, 6, 8, 10, 16, 24, 32, 48, 64, 100, 140, 200, 280, 400, 600 };

enum { WINDOW_SECOND = 6 }; /* the one of 10 tenths */

static void count(uint64_t *time, uint32_t *counts, uint64_t slots, uint64_t t)
{
        uint64_t i = t % slots;

        if (time[i] != t) {
                time[i] = t;
                counts[i] = 0;
        }
        if (counts[i] < UINT32_MAX)
                counts[i]++;
}

static uint32_t at(const uint64_t *time, const uint32_t *counts, uint64_t slots, uint64_t t)
{
        return time[t % slots] == t ? counts[t % slots] : 0;
}

/* Of the `width` slots up to t. */
static unsigned sum(const uint64_t *time, const uint32_t *counts, uint64_t slots, uint64_t t, uint64_t width)
{
        uint64_t n = 0;

        for (uint64_t i = 0; i < width && i <= t; i++)
                n += at(time, counts, slots, t - i);
        return n < UINT32_MAX ? (unsigned)n : UINT32_MAX;
}

/*
 * Of all windows that end at t, in one pass: those from `w` on that are at most `slots` wide, in units of `unit` tenths. Returns the first
 * that is wider.
 */
static unsigned widen(const uint64_t *time, const uint32_t *counts, uint64_t slots, uint64_t t, unsigned unit, unsigned w, uint32_t *most)
{
        uint64_t n = 0;

        for (uint64_t i = 0; i < slots && w < POOL_WINDOWS; i++) {
                n += i <= t ? at(time, counts, slots, t - i) : 0;
                if ((i + 1) * unit != windows[w])
                        continue;
                if (n > most[w])
                        most[w] = n < UINT32_MAX ? (uint32_t)n : UINT32_MAX;
                w++;
        }
        return w;
}

static void remember_bursts(struct pool_stats *s, uint64_t now_ms)
{
        uint64_t minute = now_ms / 60000, i = minute % POOL_BURST_SLOTS;

        if (s->minute[i] != minute) {
                s->minute[i] = minute;
                memset(s->burst[i], 0, sizeof(s->burst[i]));
        }
        unsigned w = widen(s->tenth, s->by_tenth, POOL_TENTHS, now_ms / 100, 1, 0, s->burst[i]);

        widen(s->second, s->by_second, POOL_SECONDS, now_ms / 1000, 10, w, s->burst[i]);
}

void pool_stats_claim(struct pool_stats *s, uint64_t now_ms)
{
        s->claims++;
        count(s->tenth, s->by_tenth, POOL_TENTHS, now_ms / 100);
        count(s->second, s->by_second, POOL_SECONDS, now_ms / 1000);
        remember_bursts(s, now_ms);
}

void pool_stats_latency(struct pool_stats *s, uint64_t us)
{
        s->latency_us[s->latency_at] = us < UINT32_MAX ? (uint32_t)us : UINT32_MAX;
        s->latency_at = (s->latency_at + 1) % POOL_LATENCIES;
        if (s->latency_count < POOL_LATENCIES)
                s->latency_count++;
}

unsigned pool_stats_per_minute(const struct pool_stats *s, uint64_t now_ms)
{
        return sum(s->second, s->by_second, POOL_SECONDS, now_ms / 1000, 60);
}

double pool_stats_rate(const struct pool_stats *s, uint64_t now_ms, unsigned seconds)
{
        if (seconds < 1)
                seconds = 1;
        if (seconds > 60)
                seconds = 60;
        return sum(s->second, s->by_second, POOL_SECONDS, now_ms / 1000, seconds + 1) / (seconds + (double)(now_ms % 1000) / 1000);
}

static uint32_t burst(const struct pool_stats *s, uint64_t now_ms, unsigned window)
{
        uint64_t now = now_ms / 60000;
        uint32_t most = 0;

        for (unsigned i = 0; i < POOL_BURST_SLOTS; i++)
                if (s->minute[i] <= now && now - s->minute[i] < POOL_BURST_SLOTS && s->burst[i][window] > most)
                        most = s->burst[i][window];
        return most;
}

unsigned pool_stats_burst(const struct pool_stats *s, uint64_t now_ms)
{
        return burst(s, now_ms, WINDOW_SECOND);
}

/* Slots stand still while time runs: a window that begins within a slot reaches into one more than it is wide. */
static unsigned window_of(uint64_t ms)
{
        unsigned w = 0;

        while (w + 1 < POOL_WINDOWS && windows[w] * 100 < ms + (windows[w] <= POOL_TENTHS ? 100 : 1000))
                w++;
        return w;
}

unsigned pool_stats_shortage(const struct pool_stats *s, uint64_t now_ms, uint64_t refill_ms, double per_second)
{
        unsigned first = window_of(refill_ms);
        double most = burst(s, now_ms, first);

        for (unsigned w = first + 1; w < POOL_WINDOWS && per_second > 0; w++) {
                double made = per_second * ((double)windows[w] * 100 - (double)refill_ms) / 1000, n = burst(s, now_ms, w) - made;

                most = n > most ? n : most;
        }
        return (unsigned)most;
}

double pool_stats_mean_ms(const struct pool_stats *s)
{
        double sum_us = 0;

        for (uint32_t i = 0; i < s->latency_count; i++)
                sum_us += s->latency_us[i];
        return s->latency_count ? sum_us / s->latency_count / 1000 : 0;
}

static int by_value(const void *a, const void *b)
{
        uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;

        return (x > y) - (x < y);
}

double pool_stats_p99_ms(const struct pool_stats *s)
{
        uint32_t sorted[POOL_LATENCIES], n = s->latency_count;

        if (n == 0)
                return 0;
        memcpy(sorted, s->latency_us, n * sizeof(sorted[0]));
        qsort(sorted, n, sizeof(sorted[0]), by_value);
        return sorted[(n * 99 + 99) / 100 - 1] / 1000.0;
}
