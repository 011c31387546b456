/*
 * Claims: a ready sandbox is popped, once; where none is ready the claim waits for the next one, and one more is made for it.
 *
 * Popping is in memory and in one loop. What makes it hold over every crash is what the sandbox's record and its creto-init say (services/sandbox/claim.c).
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "services/pool/internal.h"

/* ---- the copy ---- */

/* Run twice, first to measure. */
struct packer {
        char *memory;
        size_t at;
};

static void *pack(struct packer *p, const void *data, size_t len, size_t align)
{
        p->at = (p->at + align - 1) & ~(align - 1);
        char *to = p->memory ? p->memory + p->at : NULL;

        if (to && data && len > 0)
                memcpy(to, data, len);
        p->at += len;
        return to;
}

static const char *pack_text(struct packer *p, const char *s)
{
        return s ? pack(p, s, strlen(s) + 1, 1) : NULL;
}

static const char *const *pack_list(struct packer *p, const char *const *list, size_t count)
{
        const char **out = pack(p, NULL, count * sizeof(*out), sizeof(*out));

        for (size_t i = 0; i < count; i++) {
                const char *s = pack_text(p, list[i]);

                if (out)
                        out[i] = s;
        }
        return out;
}

static void pack_claim(struct packer *p, struct claim *c, const struct claim_request *req)
{
        struct sandbox_claim *b = &c->bind;

        pack(p, NULL, sizeof(*c), 1);
        b->owner = pack_text(p, req->owner);
        b->request_id = pack_text(p, req->request_id);
        b->key = pack_text(p, req->key);
        b->env = pack_list(p, req->spec->env, req->spec->env_count);
        b->labels = pack_list(p, req->spec->labels, req->spec->label_count);
        c->files = pack(p, req->files, req->file_count * sizeof(*req->files), sizeof(void *));
        for (size_t i = 0; i < req->file_count; i++) {
                const char *path = pack_text(p, req->files[i].path);
                const void *data = pack(p, req->files[i].data, req->files[i].len, 1);

                if (c->files) {
                        c->files[i].path = path;
                        c->files[i].data = data;
                }
        }
}

static void go_along(void *ctx, struct sandbox *sb)
{
        struct claim *c = ctx;

        c->begun = true;
        c->along(c->ctx, sb);
}

static struct claim *claim_new(struct pool *p, const struct claim_request *req, claim_done_fn *done, void *ctx)
{
        struct claim scratch = { 0 };
        struct packer measure = { NULL, 0 }, pack;

        pack_claim(&measure, &scratch, req);
        pack = (struct packer){ malloc(measure.at), 0 };
        if (!pack.memory)
                return NULL;
        struct claim *c = (struct claim *)(void *)pack.memory;
        *c = (struct claim){ .pool = p,
                             .size = measure.at,
                             .file_count = req->file_count,
                             .done = done,
                             .left = req->left,
                             .along = req->along,
                             .ctx = ctx,
                             .born_us = clock_us(CLOCK_MONOTONIC) };
        pack_claim(&pack, c, req);
        c->bind.env_count = req->spec->env_count;
        c->bind.label_count = req->spec->label_count;
        c->bind.asked = req->asked;
        c->bind.limits = req->spec->limits;
        c->bind.ttl_ms = req->spec->ttl_ms;
        c->bind.idle_ms = req->spec->idle_ms;
        c->bind.prepare = req->file_count > 0 ? claim_place_files : NULL;
        c->bind.prepare_ctx = c;
        c->bind.along = req->along ? go_along : NULL;
        c->bind.along_ctx = c;
        return c;
}

/* ---- handing out ---- */

struct again {
        struct again *next;
        claim_done_fn *done;
        void *ctx;
};

/* Its answer; an error where `e` is not NULL. */
void claim_finish(struct claim *c, const struct err *e)
{
        struct pool *p = c->pool;
        struct pools *all = p->all;

        if (!e) {
                pool_stats_latency(&p->stats, c->us);
                all->config.count(all->config.ctx, POOL_COUNT_CLAIM, p->info.id, (double)c->us / 1e6);
        }
        struct member *m = c->member;
        struct sandbox *sb = e || !m ? NULL : m->sb;
        if (m)
                m->claim = NULL;
        for (struct again *a = c->again, *next; a; a = next) {
                next = a->next;
                a->done(a->ctx, sb, !c->cold, c->us, e);
                free(a);
        }
        c->done(c->ctx, sb, !c->cold, c->us, e);
        p->busy -= m != NULL;
        if (p->gone)
                pool_free(p);
        free(c);
}

static void wait_first(struct claim *c)
{
        struct pool *p = c->pool;

        c->next = p->waiting;
        if (!p->waiting)
                p->waiting_last = &c->next;
        p->waiting = c;
        p->info.waiting++;
        p->all->waiting_bytes += c->size;
}

static void wait_last(struct claim *c)
{
        struct pool *p = c->pool;

        c->next = NULL;
        *p->waiting_last = c;
        p->waiting_last = &c->next;
        p->info.waiting++;
        p->all->waiting_bytes += c->size;
        if (!c->cold) {
                p->stats.cold++;
                p->all->config.count(p->all->config.ctx, POOL_COUNT_COLD, p->info.id, 1);
        }
        c->cold = true;
}

static struct claim *take_waiting(struct pool *p, struct claim **at)
{
        struct claim *c = *at;

        if (!c)
                return NULL;
        if (!(*at = c->next))
                p->waiting_last = at;
        p->info.waiting--;
        p->all->waiting_bytes -= c->size;
        return c;
}

static struct claim *first_waiting(struct pool *p)
{
        return take_waiting(p, &p->waiting);
}

static void drop_left(struct pool *p)
{
        struct err e;

        err_set(&e, ERR_TIMEOUT, 0, "the client has left");
        for (struct claim **at = &p->waiting; *at;)
                if ((*at)->left && !(*at)->again && (*at)->left((*at)->ctx))
                        claim_finish(take_waiting(p, at), &e);
                else
                        at = &(*at)->next;
}

static void give(struct claim *c, struct member *m);

static struct member *pop(struct pool *p)
{
        uint64_t now = clock_ms(CLOCK_MONOTONIC);

        for (struct member *m = p->lists[MEMBER_READY].first; m; m = m->next)
                if (now < m->over_ms && sandbox_claimable(m->sb))
                        return m;
        return NULL;
}

static void on_claimed(void *ctx, struct sandbox *sb, const struct err *e)
{
        struct claim *c = ctx;
        struct pool *p = c->pool;
        struct member *m = c->member;

        if (!e) {
                c->us = clock_us(CLOCK_MONOTONIC) - c->born_us;
                member_to(m, MEMBER_CLAIMED);
                pool_log(p, PHASE_CLAIMED, false, sb, ERR_NONE, "by %s after %.2f ms%s", sandbox_info(sb)->owner, (double)c->us / 1000,
                         c->cold ? ", made for it" : "");
                claim_finish(c, NULL);
                return;
        }
        struct err why = c->failed ? c->why : *e;
        claim_stop_files(c);
        if (sandbox_claimable(m->sb)) { /* refused: it stays what it was */
                member_to(m, MEMBER_READY);
                claim_finish(c, &why);
                return;
        }
        if (c->failed || c->begun || why.code == ERR_RESOURCE_EXHAUSTED || ++c->tries == CLAIM_TRIES || p->info.state != POOL_ACTIVE ||
            p->all->stopped) {
                claim_finish(c, &why);
                return;
        }
        p->busy--;
        m->claim = NULL;
        c->member = NULL;
        wait_first(c);
        if ((m = pop(p))) {
                claim_offer(m);
        } else {
                c->cold = true;
                pools_turn_soon(p->all);
        }
}

static void give(struct claim *c, struct member *m)
{
        c->member = m;
        m->claim = c;
        c->pool->busy++;
        member_to(m, MEMBER_CLAIMING);
        sandbox_claim(m->sb, &c->bind, on_claimed, c);
}

static void answer_again(struct pool *p, struct sandbox *sb, uint64_t asked, claim_done_fn *done, void *ctx);

static struct sandbox *find_same(struct pool *p, const char *owner, const char *key)
{
        return key && key[0] ? sandboxes_find_key(p->all->config.sandboxes, owner, key) : NULL;
}

void claim_offer(struct member *m)
{
        struct sandbox *same;
        struct claim *c;

        drop_left(m->pool);
        while ((c = first_waiting(m->pool)) && (same = find_same(m->pool, c->bind.owner, c->bind.key))) { /* it waited twice */
                for (struct again *a = c->again, *next; a; a = next) {
                        next = a->next;
                        answer_again(m->pool, same, c->bind.asked, a->done, a->ctx);
                        free(a);
                }
                answer_again(m->pool, same, c->bind.asked, c->done, c->ctx);
                free(c);
        }
        if (c)
                give(c, m);
        else
                member_to(m, MEMBER_READY);
}

void claims_serve(struct pool *p)
{
        struct member *m;

        drop_left(p);
        while (p->waiting && (m = pop(p)))
                claim_offer(m);
}

/* Each of those that wait has one that is made for it; the first has none any more. */
void claim_refuse(struct pool *p, const struct err *e)
{
        if (p->info.waiting > p->lists[MEMBER_WARMING].count)
                claim_finish(first_waiting(p), e);
}

void claims_refuse_all(struct pool *p, const struct err *e)
{
        for (struct claim *c; (c = first_waiting(p));)
                claim_finish(c, e);
}

/* ---- the request ---- */

static void none_ready(struct pool *p, struct err *e)
{
        const struct pool_info *i = &p->info;

        if (i->failure != ERR_NONE) {
                err_set(e, ERR_NO_READY_SANDBOXES, 0, "pool '%s' has no ready sandbox, and the last one could not be made: %.150s", i->id,
                        i->failure_text);
                err_hint(e, "creto-runtime pool logs %s --phase Warming", i->id);
        } else {
                err_set(e, ERR_NO_READY_SANDBOXES, 0, "pool '%s' has no ready sandbox; %u are warming", i->id,
                        p->lists[MEMBER_WARMING].count);
                err_hint(e, "try again soon, claim with fallback, or raise minReady");
        }
}

/* What was tried a moment ago and failed is not tried again for each claim. Where there was no room, a claim may find the place that is left to it. */
static bool keeps_failing(const struct pool *p)
{
        return p->lists[MEMBER_WARMING].count == 0 && !p->crowded && backoff_wait(&p->backoff, clock_ms(CLOCK_MONOTONIC)) > 0;
}

static int may_claim(struct pool *p, const struct claim_request *req, struct err *e)
{
        const struct sandbox_claim bind = { .limits = req->spec->limits };
        size_t bytes = 0;

        if (p->info.state != POOL_ACTIVE) {
                err_set(e, ERR_NO_READY_SANDBOXES, 0, "pool '%s' is draining: it hands out no sandboxes", p->info.id);
                return err_hint(e, "claim from another pool, or make it active again");
        }
        if (p->all->stopped)
                return err_set(e, ERR_BACKEND_UNAVAILABLE, 0, "the service is stopping");
        if (sandboxes_class_check(p->all->config.sandboxes, p->info.runtime, e) < 0)
                return -(int)e->code;
        if (req->file_count > CLAIM_FILES_MAX)
                return err_set(e, ERR_INVALID_SPEC, 0, "files: %zu, and at most %d are placed by a claim", req->file_count,
                               CLAIM_FILES_MAX);
        for (size_t i = 0; i < req->file_count; i++)
                bytes += req->files[i].len;
        if (bytes > CLAIM_FILES_BYTES_MAX)
                return err_set(e, ERR_INVALID_SPEC, 0, "files: %zu bytes, and at most %d are placed by a claim", bytes,
                               CLAIM_FILES_BYTES_MAX);
        if (sandboxes_may_own_more(p->all->config.sandboxes, req->owner, e) < 0)
                return -(int)e->code;
        return sandbox_claim_check(p->all->config.sandboxes, p->info.runtime, &p->spec, &bind, e);
}

/* What an owner has waiting, in all pools. */
static void count_waiting(const struct pools *all, const char *owner, unsigned *count, size_t *bytes)
{
        *count = 0;
        *bytes = 0;
        for (const struct pool *p = all->first; p; p = p->next)
                for (const struct claim *c = p->waiting; c; c = c->next)
                        if (strcmp(c->bind.owner, owner) == 0) {
                                ++*count;
                                *bytes += c->size;
                        }
}

/* What waits in memory has a limit, because what is sent with a claim is not small; and nobody may take all the places there are. */
static struct claim *may_wait(struct pool *p, struct claim *c, struct err *e)
{
        size_t bytes = p->all->waiting_bytes + c->size, own_bytes;
        unsigned own;

        count_waiting(p->all, c->bind.owner, &own, &own_bytes);
        own_bytes += c->size;
        if (p->info.waiting >= POOL_WAITING_MAX)
                err_set(e, ERR_RESOURCE_EXHAUSTED, 0, "%d claims wait for pool '%s', and no more may", POOL_WAITING_MAX, p->info.id);
        else if (own >= POOL_WAITING_EACH)
                err_set(e, ERR_RESOURCE_EXHAUSTED, 0, "%d claims of '%s' wait, and no more may", POOL_WAITING_EACH, c->bind.owner);
        else if (bytes > WAITING_BYTES_MAX || own_bytes > WAITING_BYTES_EACH)
                err_set(e, ERR_RESOURCE_EXHAUSTED, 0,
                        "claims that wait have %zu MiB in memory with this one, %zu of them yours, and may have %d and %d", bytes >> 20,
                        own_bytes >> 20, WAITING_BYTES_MAX >> 20, WAITING_BYTES_EACH >> 20);
        else
                return c;
        err_hint(e, "try again when some are answered, or raise minReady");
        free(c);
        return NULL;
}

/* A claim that was made before with the same key: its answer again, when it has one. */
static void answer_again(struct pool *p, struct sandbox *sb, uint64_t asked, claim_done_fn *done, void *ctx)
{
        struct member *m = sandbox_member(sb);
        struct claim *c = m ? m->claim : NULL;
        struct again *a = NULL;
        struct err e;

        if (!sandbox_claimed_by(sb, p->info.id, asked)) {
                err_set(&e, ERR_INVALID_SPEC, 0, "this idempotency key was used for another request (sandbox %s)", sandbox_info(sb)->id);
                err_hint(&e, "use a new key for a new claim");
                done(ctx, NULL, false, 0, &e);
        } else if (!c) {
                done(ctx, sb, true, 0, NULL);
        } else if (!(a = malloc(sizeof(*a)))) {
                err_set(&e, ERR_RESOURCE_EXHAUSTED, 0, "out of memory");
                done(ctx, NULL, false, 0, &e);
        } else {
                *a = (struct again){ c->again, done, ctx };
                c->again = a;
        }
}

void pool_claim(struct pool *p, const struct claim_request *req, claim_done_fn *done, void *ctx)
{
        struct sandbox *same = find_same(p, req->owner, req->key);
        struct member *m = NULL;
        struct claim *c = NULL;
        struct err e;

        if (same) {
                answer_again(p, same, req->asked, done, ctx);
                return;
        }
        if (may_claim(p, req, &e) == 0) {
                pool_stats_claim(&p->stats, clock_ms(CLOCK_MONOTONIC));
                m = p->waiting ? NULL : pop(p);
                if (!m && (!req->fallback || keeps_failing(p)))
                        none_ready(p, &e);
                else if (!(c = claim_new(p, req, done, ctx)))
                        err_set(&e, ERR_RESOURCE_EXHAUSTED, 0, "out of memory");
                else if (!m)
                        c = may_wait(p, c, &e);
        }
        if (!c) {
                done(ctx, NULL, false, 0, &e);
        } else if (m) {
                give(c, m);
                pools_turn_in(p->all, REFILL_MS);
        } else {
                wait_last(c);
                pools_turn_in(p->all, 0);
        }
}
