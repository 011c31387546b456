/*
 * How many sandboxes a pool should keep ready: what is claimed while one is made (Little's law), the bursts that were seen, headroom, and no hurry to shrink. Pure: the same trace of
 * claims gives the same sizes.
 */
#pragma once

#include "domain/pool/settings.h"
#include "domain/pool/stats.h"

struct pool_scaling {
        unsigned target;       /* what was last said; 0: nothing yet */
        uint64_t enough_since; /* since when less than that would have been enough; 0: it would not */
        unsigned enough;       /* the most that was wanted since then */
};

/* `refill_ms`: from the decision to make one until it is ready, as measured (0: not known yet). Between min_ready and max_ready; min_ready without auto scaling. */
unsigned pool_scaling_target(struct pool_scaling *sc, const struct pool_settings *s, const struct pool_stats *stats, uint64_t refill_ms,
                             uint64_t now_ms);
