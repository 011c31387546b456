/*
 * What keeps pools full: how many there should be, how many may be made at once, what is too old, and what comes of each.
 *
 * Everything is decided in one place, pools_turn(), a turn of the loop after something has happened. Claims go first: as long as one waits, hardly
 * anything is made that nobody waits for.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include "base/clock.h"
#include "base/time.h"
#include "services/pool/internal.h"

enum { SMOOTH = 8 };

static uint32_t any(void)
{
        uint32_t v = 0;

        if (getrandom(&v, sizeof(v), GRND_NONBLOCK) != sizeof(v))
                return 0;
        return v;
}

/* ---- one of them ---- */

static void made(struct member *m)
{
        m->pool->all->under_way--;
        m->pool->all->foreground -= !m->background;
}

void member_end(struct member *m)
{
        struct sandbox *sb = m->sb;

        member_to(m, MEMBER_LEAVING);
        sandbox_terminate(sb, NULL, NULL);
}

static int begin(struct pool *p, bool background, struct err *e)
{
        const struct sandbox_request req = {
                .owner = p->info.owner, .spec = &p->spec, .pool = p->info.id, .choice = &p->choice, .background = background
        };
        struct member *m = member_new(p);

        if (!m)
                return err_set(e, ERR_RESOURCE_EXHAUSTED, 0, "out of memory");
        m->background = background;
        p->all->under_way++;
        p->all->foreground += !background;
        int r = sandbox_create_pooled(p->all->config.sandboxes, &req, m, e);
        if (r < 0) {
                made(m);
                member_free(m);
        }
        return r;
}

void pool_failed(struct pool *p, const struct sandbox *sb, const struct err *e)
{
        struct pools *all = p->all;
        uint64_t now = clock_ms(CLOCK_MONOTONIC);

        p->crowded = false;
        if (backoff_wait(&p->backoff, now) == 0) /* those that were made together fail together, and count once */
                backoff_failed(&p->backoff, now, (uint8_t)any());
        p->info.failure = e->code;
        snprintf(p->info.failure_text, sizeof(p->info.failure_text), "%.250s", e->msg);
        p->info.failed_ms = time_wall_ms();
        p->info.retry_ms = p->info.failed_ms + backoff_wait(&p->backoff, now);
        pool_log(p, PHASE_WARMING, true, sb, e->code, "%s", e->msg);
        all->config.count(all->config.ctx, POOL_COUNT_FAILED, p->info.id, 1);
}

/* ---- what has become of one ---- */

static void ready(struct member *m, struct sandbox *sb)
{
        struct pool *p = m->pool;
        uint64_t now = clock_ms(CLOCK_MONOTONIC), took = now - m->born_ms, age = p->info.settings.max_age_s * 1000;

        m->sb = sb;
        if (!m->adopted) {
                made(m);
                p->refill_ms = p->refill_ms ? (p->refill_ms * (SMOOTH - 1) + took) / SMOOTH : took ? took : 1;
                pace_made(&p->all->pace, took, now);
                pool_log(p, PHASE_READY, false, sb, ERR_NONE, "ready after %llu ms", (unsigned long long)took);
                m->born_ms = now;
        }
        m->adopted = false;
        backoff_worked(&p->backoff);
        p->info.failure = ERR_NONE;
        p->info.failed_ms = p->info.retry_ms = 0;
        m->old_ms = pool_old_at(m->born_ms, age, any());
        m->over_ms = age ? m->born_ms + age : UINT64_MAX;
        if (p->info.state != POOL_ACTIVE || p->all->stopped) {
                member_end(m);
                return;
        }
        claim_offer(m);
        for (struct member *old = p->replacing ? p->lists[MEMBER_READY].first : NULL; old; old = old->next)
                if (old->replacing && old != m) {
                        pool_log(p, PHASE_EVICTED, false, old->sb, ERR_NONE, "replaced: it was old");
                        member_end(old);
                        break;
                }
        if (m->state == MEMBER_READY && p->lists[MEMBER_READY].count > p->info.settings.max_ready + p->replacing) {
                pool_log(p, PHASE_EVICTED, false, sb, ERR_NONE, "it was made for a client that has left, and there are enough");
                member_end(m);
        }
}

static void failed(struct member *m, struct sandbox *sb, const struct err *e)
{
        struct pool *p = m->pool;
        enum member_state was = m->state;
        bool adopted = m->adopted;

        if (was == MEMBER_LEAVING)
                return;
        if (was == MEMBER_WARMING && !adopted)
                made(m);
        m->sb = sb;
        m->adopted = false;
        member_to(m, MEMBER_LEAVING);
        if (was == MEMBER_WARMING && !adopted) {
                pool_failed(p, sb, e);
                claim_refuse(p, e);
        } else if (was == MEMBER_READY || was == MEMBER_WARMING) {
                pool_log(p, PHASE_READY, true, sb, e->code, "it died while it waited: %s", e->msg);
        }
}

static void ended(struct member *m)
{
        struct pool *p = m->pool;

        if (m->state == MEMBER_WARMING && !m->adopted) /* ended by somebody before it was ready */
                made(m);
        if (m->state == MEMBER_CLAIMED && p->info.settings.reusable && p->info.state == POOL_ACTIVE &&
            p->lists[MEMBER_READY].count + p->lists[MEMBER_WARMING].count + p->extra < p->info.settings.max_ready)
                p->extra++;
        member_free(m);
}

void fill_on_pooled(void *ctx, struct sandbox *sb, enum sandbox_pooled what, const struct err *e)
{
        struct pools *all = ctx;
        struct member *m = sandbox_member(sb);

        if (!m)
                return;
        if (what == SANDBOX_POOLED_ENDED)
                sandbox_set_member(sb, NULL);
        if (!m->pool) { /* its pool is deleted */
                if (what == SANDBOX_POOLED_ENDED)
                        free(m);
                else if (what == SANDBOX_POOLED_READY)
                        sandbox_terminate(sb, NULL, NULL);
                return;
        }
        switch (what) {
        case SANDBOX_POOLED_READY:
                if (m->state == MEMBER_WARMING)
                        ready(m, sb);
                break;
        case SANDBOX_POOLED_FAILED:
                failed(m, sb, e);
                break;
        case SANDBOX_POOLED_ENDED:
                ended(m);
                break;
        }
        pools_turn_soon(all);
}

/* ---- how many ---- */

static void scale(struct pool *p, uint64_t now)
{
        unsigned before = p->info.target, ready = p->lists[MEMBER_READY].count;

        p->scaling.capacity = p->all->pace.per_second;
        p->info.target = pool_scaling_target(&p->scaling, &p->info.settings, &p->stats, p->refill_ms, now);
        if (p->info.target == before)
                return;
        if (before)
                pool_log(p, PHASE_SCALING, false, NULL, ERR_NONE, "%u ready are wanted, before %u", p->info.target, before);
        for (; p->info.settings.auto_scaling && p->info.target < before && ready > p->info.target; ready--)
                member_end(p->lists[MEMBER_READY].first);
}

/* Too old to be claimed: ended. Old: replaced. Returns when there is more to do. */
static uint64_t age(struct pool *p, uint64_t now)
{
        uint64_t next = UINT64_MAX;

        if (p->info.settings.max_age_s == 0)
                return next;
        for (struct member *m = p->lists[MEMBER_READY].first, *after; m; m = after) {
                after = m->next;
                if (now >= m->over_ms) {
                        pool_log(p, PHASE_EVICTED, false, m->sb, ERR_NONE, "it was too old");
                        member_end(m);
                } else if (now >= m->old_ms && !m->replacing) {
                        m->replacing = true;
                        p->replacing++;
                } else if (!m->replacing && m->old_ms < next) {
                        next = m->old_ms;
                }
                if (m->state == MEMBER_READY && m->over_ms < next)
                        next = m->over_ms;
        }
        return next;
}

static unsigned wanted(const struct pool *p)
{
        unsigned have = p->lists[MEMBER_READY].count + p->lists[MEMBER_WARMING].count, target = p->info.target + p->replacing;

        if (have < target)
                return target - have;
        return have < p->info.settings.max_ready + p->replacing ? p->extra : 0;
}

/* ---- making ---- */

/* As many as wait, and one for each. That there is no room for one is its claim's to know, and nothing that the pool has to wait for. */
static void make_for_claims(struct pool *p)
{
        struct err e;

        claims_serve(p);
        while (p->info.waiting > p->lists[MEMBER_WARMING].count && p->all->foreground < FOREGROUND_MAX)
                if (begin(p, false, &e) < 0)
                        claim_refuse(p, &e);
}

/* Returns when it can be tried again, or UINT64_MAX. */
static uint64_t make_ahead(struct pool *p, unsigned parallel, uint64_t now)
{
        struct err e;

        while (wanted(p) > 0) {
                uint64_t wait = backoff_wait(&p->backoff, now);

                if (wait > 0)
                        return now + wait;
                if (sandboxes_drained(p->all->config.sandboxes, p->info.runtime))
                        return now + TICK_MS;
                if (p->all->under_way - p->all->foreground >= parallel)
                        return UINT64_MAX; /* each that is done brings the next turn */
                bool extra = p->lists[MEMBER_READY].count + p->lists[MEMBER_WARMING].count >= p->info.target + p->replacing;
                if (begin(p, true, &e) < 0) {
                        pool_failed(p, NULL, &e);
                        p->crowded = true;
                } else if (extra) {
                        p->extra--;
                }
        }
        return UINT64_MAX;
}

static bool restless(const struct pool *p, uint64_t now)
{
        return p->info.settings.auto_scaling && (p->info.target > p->info.settings.min_ready || pool_stats_per_minute(&p->stats, now) > 0);
}

static void set_turn(struct pools *all, uint64_t at, uint64_t now)
{
        if (all->turn_ms != 0 && all->turn_ms <= at)
                return;
        all->turn_ms = at;
        timer_set(all->turn, at > now ? at - now : 0);
}

void pools_turn_in(struct pools *all, uint64_t ms)
{
        uint64_t now = clock_ms(CLOCK_MONOTONIC);

        set_turn(all, now + ms, now);
}

void pools_turn_soon(struct pools *all)
{
        pools_turn_in(all, 0);
}

static uint64_t turn_of(struct pool *p, unsigned parallel, uint64_t now)
{
        uint64_t next, at;

        if (p->info.state != POOL_ACTIVE)
                return UINT64_MAX;
        scale(p, now);
        next = age(p, now);
        if ((at = make_ahead(p, parallel, now)) < next)
                next = at;
        if (restless(p, now) && now + TICK_MS < next)
                next = now + TICK_MS;
        return next;
}

void pools_turn(void *ctx)
{
        struct pools *all = ctx;
        uint64_t now = clock_ms(CLOCK_MONOTONIC), next = UINT64_MAX;
        bool claims_wait = false;

        all->turn_ms = 0;
        if (all->stopped)
                return;
        if (!all->settled && !(all->settled = sandboxes_settled(all->config.sandboxes))) {
                set_turn(all, now + SETTLE_MS, now);
                return;
        }
        for (struct pool *p = all->first; p; p = p->next) {
                make_for_claims(p);
                claims_wait |= p->waiting != NULL;
        }
        for (struct pool *p = all->first; p; p = p->next) {
                uint64_t at = turn_of(p, claims_wait ? 1 : pace_parallel(&all->pace), now);

                if (at < next)
                        next = at;
        }
        if (next != UINT64_MAX)
                set_turn(all, next > now ? next : now + 1, now);
}
