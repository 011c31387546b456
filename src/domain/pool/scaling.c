#include "domain/pool/scaling.h"

enum { RATE_SECONDS_MIN = 10, RATE_SECONDS_MAX = 60 };

/*
 * Over as long as one takes to make, so that a short calm or rush says little of a long refill; but over no less than is needed for a rate
 * to be one.
 */
static unsigned rate_seconds(uint64_t refill_ms)
{
        uint64_t s = refill_ms / 1000;

        return s < RATE_SECONDS_MIN ? RATE_SECONDS_MIN : s > RATE_SECONDS_MAX ? RATE_SECONDS_MAX : (unsigned)s;
}

static unsigned wanted(const struct pool_settings *s, const struct pool_stats *stats, uint64_t refill_ms, double capacity, uint64_t now_ms)
{
        double by_rate = pool_stats_rate(stats, now_ms, rate_seconds(refill_ms)) * (double)refill_ms / 1000;
        double by_burst = pool_stats_shortage(stats, now_ms, refill_ms, capacity);
        double n = (by_rate > by_burst ? by_rate : by_burst) * (1 + (double)s->headroom / 100);

        if (n >= (double)s->max_ready)
                return (unsigned)s->max_ready;
        uint64_t up = (uint64_t)n + ((double)(uint64_t)n < n); /* a part of one is one */

        return (unsigned)(up > s->min_ready ? up : s->min_ready);
}

static void shrink(struct pool_scaling *sc, uint64_t scale_down_ms, unsigned want, uint64_t now_ms)
{
        if (sc->enough_since == 0 || now_ms < sc->enough_since) {
                sc->enough_since = now_ms > 0 ? now_ms : 1;
                sc->enough = want;
        } else if (want > sc->enough) {
                sc->enough = want;
        }
        if (now_ms - sc->enough_since < scale_down_ms)
                return;
        sc->target = sc->enough;
        sc->enough_since = want < sc->target ? now_ms : 0;
        sc->enough = want;
}

unsigned pool_scaling_target(struct pool_scaling *sc, const struct pool_settings *s, const struct pool_stats *stats, uint64_t refill_ms,
                             uint64_t now_ms)
{
        if (!s->auto_scaling) {
                *sc = (struct pool_scaling){ .capacity = sc->capacity, .target = (unsigned)s->min_ready };
                return sc->target;
        }
        unsigned want = wanted(s, stats, refill_ms > 0 ? refill_ms : POOL_REFILL_GUESS_MS, sc->capacity, now_ms);

        if (sc->target > s->max_ready) /* it was lowered */
                sc->target = (unsigned)s->max_ready;
        if (want >= sc->target) {
                sc->target = want;
                sc->enough_since = 0;
        } else {
                shrink(sc, s->scale_down_s * 1000, want, now_ms);
        }
        return sc->target;
}
