/*
 * How many sandboxes a pool should keep ready. A pool that always makes up for what was claimed misses only where more is claimed while one is made than it keeps; so it keeps, with
 * headroom on top, the larger of what the present rate asks for in that time (Little's law: claims a second by seconds of refill) and the most that was claimed in so short a time in the
 * last POOL_BURST_MINUTES. It grows at once, and shrinks only after scale_down_s in which less was enough, to the most that was wanted in that time. Pure: the same trace
 * of claims gives the same sizes.
 */
#pragma once

#include "domain/pool/settings.h"
#include "domain/pool/stats.h"

enum { POOL_REFILL_GUESS_MS = 1000 }; /* where none was measured yet */

/* Zeroed: nothing was said yet. */
struct pool_scaling {
        unsigned target;       /* what was last said */
        uint64_t enough_since; /* since when less than that would have been enough; 0: it would not */
        unsigned enough;       /* the most that was wanted since then */
};

/* `refill_ms`: from the decision to make one until it is ready, as measured (0: not known yet). Between min_ready and max_ready; min_ready without auto scaling. To be
 * asked at each claim and now and then without one (each second, say): only so does it shrink. */
unsigned pool_scaling_target(struct pool_scaling *sc, const struct pool_settings *s, const struct pool_stats *stats, uint64_t refill_ms,
                             uint64_t now_ms);
