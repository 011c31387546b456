/*
 * A sandbox of a pool becomes somebody's: one record, one message, one answer (docs/decisions/0005-claim.md). What else the claim wants, its limits and its
 * files, comes between record and message.
 *
 * The record names the claim before creto-init is told of it, and creto-init takes one claim in its life. So what a later daemon finds in both says what
 * happened: one that is bound and whose record does not say to what, or the other way round, is nobody's and is ended.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include "base/clock.h"
#include "base/str.h"
#include "base/text.h"
#include "base/time.h"
#include "domain/spec_json.h"
#include "services/sandbox/internal.h"
#include "wire/image_answer.h"
#include "wire/json.h"

enum { CLAIM_MS = 10000, PREPARE_MS = 60000 };

bool is_pooled(const struct sandbox *sb)
{
        return sb->info.pool[0] && !sb->has_claim;
}

void pooled_tell(struct sandbox *sb, enum sandbox_pooled what, const struct err *e)
{
        if (sb->info.pool[0] && sb->all->on_pooled)
                sb->all->on_pooled(sb->all->pooled_ctx, sb, what, e);
}

void *sandbox_member(const struct sandbox *sb)
{
        return sb->member;
}

void sandbox_set_member(struct sandbox *sb, void *member)
{
        sb->member = member;
}

bool sandbox_claimable(const struct sandbox *sb)
{
        return sb->info.state == SANDBOX_READY && is_pooled(sb) && sb->verified && sb->session && !sb->doomed;
}

/* ---- is it bound as its record says? ---- */

static void answered(struct sandbox *sb)
{
        auto_text w = text_new();
        struct json_put j = json_put_over(&w);

        sb->claim_boot = 0;
        json_put_object(&j);
        json_put_key(&j, "poolId");
        json_put_string(&j, sb->info.pool);
        json_put_end(&j);
        sandbox_event(sb, "SandboxClaimed", sb->request_id, text_c(&w));
        sandbox_touch(sb);
        sandbox_arm(sb);
        waiters_tell(sb, &sb->claiming, NULL);
}

static void send_bind(struct sandbox *sb)
{
        void (*along)(void *ctx, struct sandbox *sb) = sb->along;

        sb->bind_sent = true;
        session_bind(sb->session, sb->claim);
        sb->along = NULL;
        if (along)
                along(sb->along_ctx, sb);
        session_flush(sb->session);
        watch_set(sb->watch, session_events(sb->session));
}

bool claim_binds_first(struct sandbox *sb)
{
        if (!sb->has_claim || session_bound(sb->session))
                return false;
        if (!sb->bind_sent)
                send_bind(sb);
        return true;
}

void claim_greeted(struct sandbox *sb)
{
        enum sandbox_state next;

        sb->verified = true;
        if (is_pooled(sb)) {
                pooled_tell(sb, SANDBOX_POOLED_READY, NULL);
        } else if (sb->has_claim && lifecycle_step(sb->info.state, SANDBOX_EV_START, &next)) { /* made anew, as its restart policy says */
                sandbox_set_state(sb, next);
                record_put(sb, NULL, NULL);
        }
}

void claim_stepped(struct sandbox *sb)
{
        const uint8_t *bound = session_bound(sb->session);
        struct err e;

        if (!sb->info.pool[0] || sb->info.state == SANDBOX_CREATING || (sb->verified && !sb->claiming))
                return;
        if (sb->claiming && !bound) {
                if (sb->may_bind && !sb->bind_sent) /* the connection is another one, or its limits have been changed first */
                        send_bind(sb);
                return;
        }
        if (bound ? sb->has_claim && memcmp(bound, sb->claim, GUEST_CLAIM) == 0 : !sb->has_claim) {
                bool first = !sb->verified;

                sb->verified = true;
                if (sb->claiming)
                        answered(sb);
                else if (first && sandbox_claimable(sb))
                        pooled_tell(sb, SANDBOX_POOLED_READY, NULL);
                return;
        }
        err_set(&e, ERR_INTERNAL_ERROR, 0, bound ? "it is bound to a claim that its record does not name" : "its claim was never answered");
        sb->unknown |= !bound;
        sandbox_failed(sb, &e);
}

void claim_dropped(struct sandbox *sb)
{
        sb->verified = sb->bind_sent = false;
}

void claim_timed_out(struct sandbox *sb)
{
        struct err e;

        err_set(&e, ERR_TIMEOUT, 0, "sandbox %s has not taken its claim within %d s", sb->info.id, CLAIM_MS / 1000);
        sandbox_failed(sb, &e);
}

/* ---- what is bound ---- */

static bool binds(const struct sandbox_claim *c)
{
        return c->env_count > 0 || c->label_count > 0 || c->limits.wanted != 0 || c->ttl_ms || c->idle_ms;
}

static int merge_strings(const char **list, size_t *count, size_t max, const char *const *more, size_t n, const char *what, struct err *e)
{
        for (size_t i = 0; i < n; i++) {
                size_t k = str_find_pair(list, *count, more[i]);

                if (k == max)
                        return err_set(e, ERR_INVALID_SPEC, 0, "%s: with those of the template there are more than %zu", what, max);
                list[k] = more[i];
                *count += k == *count;
        }
        return 0;
}

static void merge_limits(struct limits *to, const struct limits *from)
{
        for (unsigned i = 0; i < LIMIT_COUNT; i++)
                if (from->wanted & (1U << i))
                        to->value[i] = from->value[i];
        to->wanted |= from->wanted;
}

int sandbox_claim_check(const struct sandboxes *all, const char *class, const struct spec *spec, const struct sandbox_claim *c,
                        struct err *e)
{
        const struct ipc_class *is = class_find(all, class);
        struct limits to = spec->limits;

        if (is && !(is->can & 1U << CAN_CHANGE_LIMITS) && c->limits.wanted) {
                err_set(e, ERR_INVALID_SPEC, 0, "a sandbox of runtime class '%s' keeps the limits that it was started with", class);
                return err_hint(e, "claim without limits, or from a pool whose template has the ones you need");
        }
        uint32_t missing = is ? limits_missing(&c->limits, is->limits) & c->limits.wanted : 0;
        if (missing) {
                err_set(e, ERR_NOT_SUPPORTED, 0, "resourceLimits.%s: runtime class '%s' cannot keep it",
                        limit_table[__builtin_ctz(missing)].field, class);
                return err_hint(e, "leave it out; creto-runtime runtimes says what each class keeps");
        }
        merge_limits(&to, &c->limits);
        return limits_check_change(&spec->limits, &to, e);
}

static struct image_answer image_of(const struct setup *s)
{
        size_t command = str_count(s->command), env = str_count(s->image_env);

        return (struct image_answer){
                .env = { (uint32_t)env, s->image_env },
                .entrypoint = { (uint32_t)s->entrypoint_count, s->command },
                .cmd = { (uint32_t)(command - s->entrypoint_count), s->command + s->entrypoint_count },
                .cwd = s->cwd,
                .user = s->user,
        };
}

/* A claim that wants more than the template must find it on this host. */
static int admit_change(struct sandbox *sb, const struct limits *to, struct err *e)
{
        struct sandboxes *all = sb->all;
        const struct limits before = class_promise(all, sb->choice.name, &sb->limits), after = class_promise(all, sb->choice.name, to);
        const char *resource;

        host_look(all);
        admission_remove(&all->promised, &before);
        all->promised.of_owner = 0;
        int r = admission_check(&all->config.rules, &all->host, &all->promised, &after, &resource, e);
        admission_add(&all->promised, r == 0 ? &after : &before);
        return r;
}

static int bind_spec(struct sandbox *sb, const struct sandbox_claim *c, struct err *e)
{
        static struct spec spec;
        const struct image_answer image = image_of(&sb->setup);
        char *arena = NULL, *text = NULL;
        size_t len;
        int r = record_spec(sb, &spec, &arena, e);

        if (r == 0)
                r = merge_strings(spec.env, &spec.env_count, SPEC_ENV_MAX, c->env, c->env_count, "env", e);
        if (r == 0)
                r = merge_strings(spec.labels, &spec.label_count, SPEC_LABELS_MAX, c->labels, c->label_count, "labels", e);
        spec.env[spec.env_count] = NULL;
        merge_limits(&spec.limits, &c->limits);
        if (c->ttl_ms)
                spec.ttl_ms = c->ttl_ms;
        if (c->idle_ms)
                spec.idle_ms = c->idle_ms;
        if (r == 0)
                r = limits_check_change(&sb->limits, &spec.limits, e);
        if (r == 0 && !(text = spec_json_text(&spec, &len)))
                r = err_set(e, ERR_RESOURCE_EXHAUSTED, 0, "out of memory");
        if (r == 0 && c->limits.wanted)
                r = admit_change(sb, &spec.limits, e);
        if (r == 0)
                r = setup_make(sb, &spec, &image, e);
        if (r == 0) {
                free(sb->spec_json);
                sb->info.spec = sb->spec_json = text;
                sb->info.spec_len = len;
        } else {
                free(text);
        }
        free(arena);
        return r;
}

/* ---- the claim ---- */

/* All that the claim wants is done: from here on it is bound, or it never was. */
void sandbox_claim_bind(struct sandbox *sb)
{
        if (!sb->claiming)
                return;
        sb->may_bind = true;
        sb->claim_boot = clock_ms(CLOCK_BOOTTIME) + CLAIM_MS;
        sandbox_arm(sb);
        if (sb->session && session_greeted(sb->session))
                send_bind(sb);
}

static void prepare(struct sandbox *sb)
{
        if (!sb->prepare) {
                sandbox_claim_bind(sb);
                return;
        }
        sb->claim_boot = clock_ms(CLOCK_BOOTTIME) + PREPARE_MS;
        sandbox_arm(sb);
        sb->prepare(sb->prepare_ctx);
}

static void on_limited(void *ctx, const struct link_answer *a)
{
        struct sandbox *sb = ctx;
        struct err e;

        if (!sb->limit_asked)
                return;
        sb->limit_asked = false;
        if (!sb->claiming)
                return;
        if (a->error) {
                e = *a->error;
                sandbox_failed(sb, &e);
        } else {
                prepare(sb);
        }
}

static void on_recorded(void *ctx, const struct err *failure)
{
        struct sandbox *sb = ctx;
        struct err e;

        if (!sb->claiming)
                return;
        if (failure) {
                e = *failure;
                err_wrap(&e, "the claim cannot be recorded");
                sandbox_failed(sb, &e);
        } else if (sb->limit_asked) {
                link_limit(sb->all->link, sb->info.id, sb->limits.value, sb->limits.wanted, on_limited, sb);
        } else {
                prepare(sb);
        }
}

int sandboxes_may_own_more(const struct sandboxes *all, const char *owner, struct err *e)
{
        unsigned mine = sandboxes_of_owner(all, owner);

        if (all->config.rules.max_per_owner == 0 || mine < all->config.rules.max_per_owner)
                return 0;
        err_set(e, ERR_RESOURCE_EXHAUSTED, 0, "%s has %u sandboxes, and may have no more", owner, mine);
        return err_hint(e, "release one first");
}

static int may_claim(const struct sandbox *sb, const struct sandbox_claim *c, struct err *e)
{
        if (!sandbox_claimable(sb))
                return err_set(e, ERR_SANDBOX_NOT_READY, 0, "sandbox %s is %s, and cannot be claimed", sb->info.id,
                               lifecycle_name(sb->info.state));
        return sandboxes_may_own_more(sb->all, c->owner, e);
}

bool sandbox_claimed_by(const struct sandbox *sb, const char *pool, uint64_t asked)
{
        return strcmp(sb->info.pool, pool) == 0 && sb->info.claimed_ms != 0 && (sb->asked == 0 || sb->asked == asked);
}

void sandbox_claim(struct sandbox *sb, const struct sandbox_claim *c, sandbox_done_fn *done, void *ctx)
{
        enum sandbox_state next;
        struct err e;

        if (may_claim(sb, c, &e) < 0 || (binds(c) && bind_spec(sb, c, &e) < 0)) {
                done(ctx, NULL, &e);
                return;
        }
        if (getrandom(sb->claim, GUEST_CLAIM, 0) != GUEST_CLAIM)
                abort(); /* a claim that can be guessed is worse than none */
        if (!waiter_add(&sb->claiming, done, ctx)) {
                err_set(&e, ERR_RESOURCE_EXHAUSTED, 0, "out of memory");
                done(ctx, NULL, &e);
                return;
        }
        sb->has_claim = true;
        sb->may_bind = false;
        sb->prepare = c->prepare;
        sb->prepare_ctx = c->prepare_ctx;
        sb->along = c->along;
        sb->along_ctx = c->along_ctx;
        sb->limit_asked = c->limits.wanted != 0;
        snprintf(sb->info.owner, sizeof(sb->info.owner), "%s", c->owner);
        snprintf(sb->request_id, sizeof(sb->request_id), "%s", c->request_id ? c->request_id : "");
        sandbox_set_key(sb, c->key ? c->key : "");
        sb->asked = c->asked;
        sb->info.claimed_ms = time_wall_ms();
        sb->claim_boot = clock_ms(CLOCK_BOOTTIME) + CLAIM_MS;
        if (sb->ttl_ms) {
                sb->expires_boot = clock_ms(CLOCK_BOOTTIME) + sb->ttl_ms;
                sb->info.expires_ms = sb->info.claimed_ms + sb->ttl_ms;
        }
        if (lifecycle_step(sb->info.state, SANDBOX_EV_START, &next))
                sandbox_set_state(sb, next);
        sandbox_arm(sb);
        record_put(sb, on_recorded, sb);
}
