/*
 * All pools: found, made, changed, deleted, shown.
 */
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/text.h"
#include "base/time.h"
#include "domain/spec_json.h"
#include "services/pool/internal.h"

/* ---- members ---- */

static void unlink_member(struct member *m)
{
        struct members *list = &m->pool->lists[m->state];

        *(m->prev ? &m->prev->next : &list->first) = m->next;
        *(m->next ? &m->next->prev : &list->last) = m->prev;
        m->next = m->prev = NULL;
        list->count--;
        m->pool->replacing -= m->replacing;
        m->replacing = false;
}

static void link_member(struct member *m)
{
        struct members *list = &m->pool->lists[m->state];

        m->prev = list->last;
        *(list->last ? &list->last->next : &list->first) = m;
        list->last = m;
        list->count++;
}

void member_to(struct member *m, enum member_state state)
{
        if (m->pool)
                unlink_member(m);
        m->state = state;
        if (m->pool)
                link_member(m);
}

struct member *member_new(struct pool *p)
{
        struct member *m = calloc(1, sizeof(*m));

        if (!m)
                return NULL;
        m->pool = p;
        m->born_ms = clock_ms(CLOCK_MONOTONIC);
        link_member(m);
        return m;
}

void member_free(struct member *m)
{
        if (m->pool)
                unlink_member(m);
        free(m);
}

/* ---- the log ---- */

static const char *const phases[PHASES] = { "Warming", "Ready", "Claimed", "Evicted", "Scaling", "Pool" };

void pool_log(struct pool *p, enum pool_phase phase, bool bad, const struct sandbox *sb, enum err_code code, const char *fmt, ...)
{
        struct phase_log *log = &p->logs[phase];
        struct pool_log *entry = &log->entries[log->at];
        va_list args;

        log->number[log->at] = ++p->log_number;
        log->at = (log->at + 1) % PHASE_KEPT;
        log->count += log->count < PHASE_KEPT;
        *entry = (struct pool_log){ .at_ms = time_wall_ms(), .phase = phases[phase], .bad = bad, .code = code };
        if (sb)
                snprintf(entry->sandbox, sizeof(entry->sandbox), "%s", sandbox_info(sb)->id);
        va_start(args, fmt);
        vsnprintf(entry->text, sizeof(entry->text), fmt, args);
        va_end(args);
        if (bad || phase == PHASE_POOL)
                p->all->config.log(p->all->config.ctx, bad, p->info.id, entry->text);
}

void pool_each_log(const struct pool *p, const char *phase, void (*fn)(void *ctx, const struct pool_log *entry), void *ctx)
{
        unsigned taken[PHASES] = { 0 };

        for (;;) {
                unsigned best = PHASES, index = 0;

                for (unsigned i = 0; i < PHASES; i++) {
                        const struct phase_log *log = &p->logs[i];
                        unsigned at = (log->at + PHASE_KEPT - log->count + taken[i]) % PHASE_KEPT;

                        if (taken[i] == log->count || (phase && strcmp(phase, phases[i]) != 0))
                                continue;
                        if (best == PHASES || log->number[at] < p->logs[best].number[index])
                                best = i, index = at;
                }
                if (best == PHASES)
                        return;
                taken[best]++;
                fn(ctx, &p->logs[best].entries[index]);
        }
}

/* ---- finding ---- */

struct pool *pools_find(struct pools *all, const char *id)
{
        for (struct pool *p = all->first; p; p = p->next)
                if (strcmp(p->info.id, id) == 0 && !p->deleted)
                        return p;
        return NULL;
}

static struct pool *not_deleted(struct pool *p)
{
        while (p && p->deleted)
                p = p->next;
        return p;
}

struct pool *pools_first(struct pools *all)
{
        return not_deleted(all->first);
}

struct pool *pools_next(struct pool *p)
{
        return not_deleted(p->next);
}

const struct pool_info *pool_info(struct pool *p)
{
        struct pool_info *i = &p->info;
        uint64_t now = clock_ms(CLOCK_MONOTONIC);
        const struct member *oldest = p->lists[MEMBER_READY].first;

        i->ready = p->lists[MEMBER_READY].count;
        i->claimed = p->lists[MEMBER_CLAIMED].count + p->lists[MEMBER_CLAIMING].count;
        i->warming = p->lists[MEMBER_WARMING].count;
        i->claims_per_minute = pool_stats_per_minute(&p->stats, now);
        i->mean_ms = pool_stats_mean_ms(&p->stats);
        i->p99_ms = pool_stats_p99_ms(&p->stats);
        i->claims = p->stats.claims;
        i->cold = p->stats.cold;
        i->oldest_s = oldest && now > oldest->born_ms ? (now - oldest->born_ms) / 1000 : 0;
        return i;
}

const char *pool_runtime(const struct pool *p)
{
        return p->info.runtime;
}

/* ---- making and freeing ---- */

/* In the order of ids. */
static void insert(struct pools *all, struct pool *p)
{
        struct pool **at = &all->first;

        while (*at && strcmp((*at)->info.id, p->info.id) < 0)
                at = &(*at)->next;
        p->next = *at;
        *at = p;
        all->count++;
}

struct pool *pool_new(struct pools *all, const char *id, const char *owner)
{
        struct pool *p = calloc(1, sizeof(*p));

        if (!p)
                return NULL;
        p->logs = calloc(PHASES, sizeof(*p->logs));
        if (!p->logs) {
                free(p);
                return NULL;
        }
        p->all = all;
        p->waiting_last = &p->waiting;
        snprintf(p->info.id, sizeof(p->info.id), "%s", id);
        snprintf(p->info.owner, sizeof(p->info.owner), "%s", owner);
        pool_settings_default(&p->info.settings);
        insert(all, p);
        return p;
}

void pool_free(struct pool *p)
{
        struct pools *all = p->all;

        p->gone = p->deleted = true;
        if (p->busy > 0)
                return;
        for (struct pool **at = &all->first; *at; at = &(*at)->next)
                if (*at == p) {
                        *at = p->next;
                        all->count--;
                        break;
                }
        for (unsigned s = 0; s < MEMBER_STATES; s++)
                for (struct member *m = p->lists[s].first, *next; m; m = next) {
                        next = m->next;
                        if (m->state == MEMBER_WARMING && !m->adopted) {
                                all->under_way--;
                                all->foreground -= !m->background;
                        }
                        m->pool = NULL;
                        if (m->state == MEMBER_READY && m->sb)
                                sandbox_terminate(m->sb, NULL, NULL);
                }
        pools_turn_soon(all); /* what was under way for it has left its place to others */
        free(p->spec_json);
        free(p->arena);
        free(p->logs);
        free(p);
}

/* ---- what is asked of one ---- */

/* A change that is being written; the pool stays as long. */
struct change {
        struct pool *pool;
        pool_done_fn *done;
        void *ctx;
};

/* Of one that is being deleted nothing is changed: its record would be there again. */
static struct change *change_new(struct pool *p, pool_done_fn *done, void *ctx)
{
        struct change *c = NULL;
        struct err e;

        if (p->deleted)
                err_set(&e, ERR_POOL_NOT_FOUND, 0, "pool '%s' was deleted meanwhile", p->info.id);
        else if (!(c = malloc(sizeof(*c))))
                err_set(&e, ERR_RESOURCE_EXHAUSTED, 0, "out of memory");
        if (!c) {
                done(ctx, NULL, &e);
                return NULL;
        }
        *c = (struct change){ p, done, ctx };
        p->busy++;
        return c;
}

static void change_free(struct change *c)
{
        struct pool *p = c->pool;

        free(c);
        p->busy--;
        if (p->gone)
                pool_free(p);
}

static void end_ready(struct pool *p)
{
        struct err e;

        p->extra = 0;
        while (p->lists[MEMBER_READY].first)
                member_end(p->lists[MEMBER_READY].first);
        err_set(&e, ERR_NO_READY_SANDBOXES, 0, "pool '%s' is %s", p->info.id, p->deleted ? "deleted" : "draining");
        claims_refuse_all(p, &e);
}

static void on_created(void *ctx, const struct err *failure)
{
        struct change *c = ctx;
        struct pool *p = c->pool;

        if (failure) {
                struct err e = *failure;

                err_wrap(&e, "the pool cannot be recorded");
                p->deleted = true;
                c->done(c->ctx, NULL, &e);
                end_ready(p);
                pool_free(p);
        } else {
                char notice[CHOICE_NOTICE_MAX + 1];

                choice_notice(&p->choice, notice, sizeof(notice));
                pool_log(p, PHASE_POOL, false, NULL, ERR_NONE, "created: %llu to %llu ready%s%s",
                         (unsigned long long)p->info.settings.min_ready, (unsigned long long)p->info.settings.max_ready,
                         notice[0] ? "; " : "", notice);
                pools_turn_soon(p->all);
                c->done(c->ctx, p, NULL);
        }
        change_free(c);
}

static bool same_settings(const struct pool_settings *a, const struct pool_settings *b)
{
        return a->min_ready == b->min_ready && a->max_ready == b->max_ready && a->max_age_s == b->max_age_s && a->reusable == b->reusable &&
               a->auto_scaling == b->auto_scaling && a->headroom == b->headroom && a->scale_down_s == b->scale_down_s;
}

/* Returns 1 where the same pool is there already. */
static int check_new(struct pools *all, const struct pool_request *req, const char *spec, struct pool **same, struct err *e)
{
        struct pool *p;

        if (pool_id_check(req->id, e) < 0 || pool_settings_check(&req->settings, e) < 0 || sandboxes_image_check(req->spec->image, e) < 0)
                return -(int)e->code;
        if (req->spec->engine_offer)
                return err_set(e, ERR_INVALID_SPEC, 0, "template.engineOffer: an engine is offered for one sandbox, and a pool makes more");
        if ((p = pools_find(all, req->id))) {
                *same = p;
                if (strcmp(p->spec_json, spec) == 0 && same_settings(&p->info.settings, &req->settings))
                        return 1;
                err_set(e, ERR_INVALID_SPEC, 0, "there is a pool '%s' already, and it is another", req->id);
                return err_hint(e, "update it, or take another id");
        }
        if (all->count < POOLS_MAX)
                return 0;
        return err_set(e, ERR_RESOURCE_EXHAUSTED, 0, "there are %u pools, and no more are kept", all->count);
}

void pool_create(struct pools *all, const struct pool_request *req, pool_done_fn *done, void *ctx)
{
        struct pool *p = NULL;
        struct change *c = NULL;
        struct choice choice;
        struct err e;
        size_t len;
        char *spec = spec_json_text(req->spec, &len);

        int r = spec ? check_new(all, req, spec, &p, &e) : err_set(&e, ERR_RESOURCE_EXHAUSTED, 0, "out of memory");
        if (r == 0)
                r = sandboxes_choose(all->config.sandboxes, req->spec, &choice, &e);
        if (r != 0) {
                free(spec);
                done(ctx, r > 0 ? p : NULL, r > 0 ? NULL : &e);
                return;
        }
        if (!(p = pool_new(all, req->id, req->owner))) {
                free(spec);
                err_set(&e, ERR_RESOURCE_EXHAUSTED, 0, "out of memory");
                done(ctx, NULL, &e);
                return;
        }
        p->info.created_ms = time_wall_ms();
        p->info.settings = req->settings;
        p->wanted = req->spec->limits.wanted;
        pool_set_class(p, &choice);
        if (pool_set_spec(p, spec, len, &e) < 0) {
                pool_free(p);
                done(ctx, NULL, &e);
        } else if ((c = change_new(p, done, ctx))) {
                pool_record_put(p, on_created, c);
        } else {
                pool_free(p);
        }
}

static void on_changed(void *ctx, const struct err *failure)
{
        struct change *c = ctx;
        struct err e;

        if (failure) {
                e = *failure;
                err_wrap(&e, "the change is made, and cannot be recorded");
        }
        pools_turn_soon(c->pool->all);
        c->done(c->ctx, failure ? NULL : c->pool, failure ? &e : NULL);
        change_free(c);
}

void pool_update(struct pool *p, const struct pool_settings *settings, pool_done_fn *done, void *ctx)
{
        struct change *c;
        struct err e;

        if (pool_settings_check(settings, &e) < 0) {
                done(ctx, NULL, &e);
                return;
        }
        if (!(c = change_new(p, done, ctx)))
                return;
        p->info.settings = *settings;
        p->scaling = (struct pool_scaling){ 0 };
        if (p->extra > settings->max_ready)
                p->extra = (unsigned)settings->max_ready;
        pool_log(p, PHASE_POOL, false, NULL, ERR_NONE, "updated: %llu to %llu ready, auto scaling %s",
                 (unsigned long long)settings->min_ready, (unsigned long long)settings->max_ready, settings->auto_scaling ? "on" : "off");
        while (p->lists[MEMBER_READY].count > settings->max_ready)
                member_end(p->lists[MEMBER_READY].first);
        pool_record_put(p, on_changed, c);
}

void pool_set_state(struct pool *p, enum pool_state state, pool_done_fn *done, void *ctx)
{
        struct change *c = change_new(p, done, ctx);

        if (!c)
                return;
        if (p->info.state != state)
                pool_log(p, PHASE_POOL, false, NULL, ERR_NONE, "%s", state == POOL_DRAINING ? "drained" : "active again");
        p->info.state = state;
        if (state == POOL_DRAINING)
                end_ready(p);
        pool_record_put(p, on_changed, c);
}

static void on_deleted(void *ctx, const struct err *failure)
{
        struct change *c = ctx;
        struct pool *p = c->pool;

        if (failure) {
                struct err e = *failure;

                p->deleted = false;
                err_wrap(&e, "the pool is drained, and its record cannot be deleted");
                c->done(c->ctx, NULL, &e);
        } else {
                p->all->config.log(p->all->config.ctx, false, p->info.id, "deleted");
                p->all->config.count(p->all->config.ctx, POOL_COUNT_GONE, p->info.id, 0);
                c->done(c->ctx, NULL, NULL);
                pool_free(p);
        }
        change_free(c);
}

void pool_delete(struct pool *p, pool_done_fn *done, void *ctx)
{
        struct change *c = change_new(p, done, ctx);

        if (!c)
                return;
        p->info.state = POOL_DELETING;
        p->deleted = true;
        end_ready(p);
        pool_record_delete(p, on_deleted, c);
}

unsigned pool_evict(struct pool *p, unsigned count)
{
        unsigned n = 0;

        for (; n < count && p->lists[MEMBER_READY].first; n++)
                member_end(p->lists[MEMBER_READY].first);
        if (n > 0)
                pool_log(p, PHASE_EVICTED, false, NULL, ERR_NONE, "%u ended on request", n);
        pools_turn_soon(p->all);
        return n;
}

int pool_spawn(struct pool *p, unsigned count, unsigned *begun, struct err *e)
{
        uint64_t have = p->lists[MEMBER_READY].count + p->lists[MEMBER_WARMING].count + p->extra, max = p->info.settings.max_ready;

        if (p->info.state != POOL_ACTIVE) {
                err_set(e, ERR_NO_READY_SANDBOXES, 0, "pool '%s' is draining: it makes no new sandboxes", p->info.id);
                return err_hint(e, "make it active again first");
        }
        if (have >= max) {
                err_set(e, ERR_RESOURCE_EXHAUSTED, 0, "pool '%s' has %llu sandboxes ready or warming, and maxReady is %llu", p->info.id,
                        (unsigned long long)have, (unsigned long long)max);
                return err_hint(e, "raise maxReady");
        }
        *begun = count < max - have ? count : (unsigned)(max - have);
        p->extra += *begun;
        pools_turn_soon(p->all);
        return 0;
}

void pool_release(struct pool *p, struct sandbox *sb, bool *replaced, sandbox_done_fn *done, void *ctx)
{
        struct member *m = sandbox_member(sb);
        const struct sandbox_info *info = sandbox_info(sb);
        struct event_facts facts = { "SandboxReleased", info->id, info->owner, NULL, NULL };
        struct err e;

        if (strcmp(info->pool, p->info.id) != 0 || info->claimed_ms == 0 || (m && m->state == MEMBER_CLAIMING)) {
                err_set(&e, ERR_SANDBOX_NOT_FOUND, 0, "no sandbox %s is claimed from pool '%s'", info->id, p->info.id);
                done(ctx, NULL, &e);
                return;
        }
        if (!m || m->pool != p ||
            m->state != MEMBER_CLAIMED) { /* it was released before, and the answer was lost; or it has ended by itself */
                *replaced = false;
                sandbox_terminate(sb, done, ctx);
                return;
        }
        *replaced = p->info.settings.reusable && p->info.state == POOL_ACTIVE &&
                    p->lists[MEMBER_READY].count + p->lists[MEMBER_WARMING].count + p->extra < p->info.settings.max_ready;
        p->extra += *replaced;
        pools_turn_soon(p->all);
        events_add(p->all->config.events, &facts);
        member_to(m, MEMBER_LEAVING);
        sandbox_terminate(sb, done, ctx);
}

/* ---- open and close ---- */

/* What an earlier daemon has left of its members. */
static int adopt(struct pools *all, struct sandbox *sb, struct err *e)
{
        const struct sandbox_info *i = sandbox_info(sb);
        struct pool *p = pools_find(all, i->pool);
        uint64_t now = clock_ms(CLOCK_MONOTONIC), wall = time_wall_ms();

        if (i->state == SANDBOX_TERMINATED || i->state == SANDBOX_FAILED)
                return 0; /* nothing of it may be left, and then nobody would ever say that it has ended */
        if (!p && i->claimed_ms == 0)
                sandbox_terminate(sb, NULL, NULL);
        struct member *m = p ? member_new(p) : NULL;
        if (!m)
                return p ? err_set(e, ERR_RESOURCE_EXHAUSTED, 0, "out of memory") : 0;
        m->sb = sb;
        m->adopted = true;
        sandbox_set_member(sb, m);
        if (i->started_ms && wall > i->started_ms && wall - i->started_ms < now)
                m->born_ms = now - (wall - i->started_ms);
        if (i->claimed_ms)
                member_to(m, MEMBER_CLAIMED);
        else if (i->state != SANDBOX_CREATING && i->state != SANDBOX_READY)
                member_to(m, MEMBER_LEAVING);
        return 0;
}

int pools_open(const struct pools_config *config, struct pools **out, struct err *e)
{
        struct pools *all = calloc(1, sizeof(*all));
        int r = 0;

        if (!all)
                return err_set(e, ERR_RESOURCE_EXHAUSTED, 0, "out of memory");
        all->config = *config;
        pace_init(&all->pace, config->cores);
        all->turn = timer_new(config->loop, pools_turn, all);
        r = all->turn ? pool_record_load_all(all, e) : err_set(e, ERR_RESOURCE_EXHAUSTED, 0, "out of memory");
        for (struct sandbox *sb = sandboxes_first(config->sandboxes), *next; r == 0 && sb; sb = next) {
                next = sandboxes_next(sb);
                if (sandbox_info(sb)->pool[0])
                        r = adopt(all, sb, e);
        }
        if (r < 0) {
                pools_close(all);
                return r;
        }
        sandboxes_on_pooled(config->sandboxes, fill_on_pooled, all);
        pools_turn_soon(all);
        *out = all;
        return 0;
}

void pools_close(struct pools *all)
{
        if (!all)
                return;
        sandboxes_on_pooled(all->config.sandboxes, NULL, NULL);
        while (all->first)
                pool_free(all->first);
        timer_free(all->turn);
        free(all);
}

void pools_stop(struct pools *all)
{
        struct err e;

        all->stopped = true;
        err_set(&e, ERR_BACKEND_UNAVAILABLE, 0, "the service is stopping");
        for (struct pool *p = all->first; p; p = p->next)
                claims_refuse_all(p, &e);
}
