/*
 * How many sandboxes a pool should keep ready. It makes up for every claim, so it misses where more is claimed in the time that one takes
 * to make than it keeps, or more for longer than this host makes. So it keeps, with headroom on top, the larger of
 *   - what the present rate asks for: claims a second by seconds of refill (Little's law), and
 *   - what would have been enough for every claim of the last POOL_BURST_MINUTES (pool_stats_shortage).
 * It grows at once, and shrinks only after scale_down_s in which less was enough, to the most that was wanted in that time. Pure: the same
 * trace of claims gives the same sizes.
 */
#pragma once

#include "domain/pool/settings.h"
#include "domain/pool/stats.h"

enum { POOL_REFILL_GUESS_MS = 1000 }; /* where none was measured yet */

/* Zeroed: nothing was said yet. */
struct pool_scaling {
        double capacity;       /* how many this host makes a second, told by the caller (struct pace, per_second); 0: not known */
        unsigned target;       /* what was last said */
        uint64_t enough_since; /* since when less than that would have been enough; 0: it would not */
        unsigned enough;       /* the most that was wanted since then */
};

/*
 * `refill_ms`: from the beginning of making one until it is ready, as measured (0: not known yet). Time in which one waits for its turn is
 * not part of it: then a pool that grows would take itself for slow, and grow more. Between min_ready and max_ready; min_ready without
 * auto scaling. To be asked at each claim, and each second or so: only so does it shrink.
 */
unsigned pool_scaling_target(struct pool_scaling *sc, const struct pool_settings *s, const struct pool_stats *stats, uint64_t refill_ms,
                             uint64_t now_ms);
