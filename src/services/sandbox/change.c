/*
 * What happens to a sandbox that is there: paused, resumed, looked at, ended, by a request or by its own time.
 */
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/time.h"
#include "services/sandbox/internal.h"

enum { RESTART_MS = 500, RESTART_MS_MAX = 60000, LOOK_LEAST_MS = 100, LOOK_DISK_MS = 2000 };

/* ---- its own time ---- */

static void on_time(void *ctx)
{
        struct sandbox *sb = ctx;
        uint64_t now = clock_ms(CLOCK_BOOTTIME);

        if (sb->info.state == SANDBOX_FAILED && !sb->in_warden) {
                if (!sandboxes_drained(sb->all, sb->info.runtime)) /* meanwhile */
                        sandbox_remake(sb);
                return;
        }
        if (sb->claim_boot && now >= sb->claim_boot) {
                claim_timed_out(sb);
                return;
        }
        if (sb->expires_boot && now >= sb->expires_boot)
                sandbox_log(sb, false, "its time is over");
        else if (sb->idle_boot && now >= sb->idle_boot && sb->info.execs == 0)
                sandbox_log(sb, false, "nothing has run in it for its idle timeout");
        else {
                sandbox_arm(sb);
                return;
        }
        sandbox_terminate(sb, NULL, NULL);
}

static bool set_timer(struct sandbox *sb, uint64_t ms)
{
        if (!sb->timer)
                sb->timer = timer_new(sb->all->config.loop, on_time, sb);
        if (sb->timer)
                timer_set(sb->timer, ms);
        return sb->timer != NULL;
}

void sandbox_arm(struct sandbox *sb)
{
        uint64_t now = clock_ms(CLOCK_BOOTTIME), first = UINT64_MAX;
        bool lives = sb->info.state == SANDBOX_READY || sb->info.state == SANDBOX_RUNNING;

        if (lives && sb->expires_boot)
                first = sb->expires_boot;
        if (lives && sb->idle_boot && sb->info.execs == 0 && sb->idle_boot < first)
                first = sb->idle_boot;
        if (lives && sb->claim_boot && sb->claim_boot < first)
                first = sb->claim_boot;
        if (first == UINT64_MAX) {
                if (sb->timer)
                        timer_stop(sb->timer);
                return;
        }
        /* Not further than an hour: CLOCK_BOOTTIME goes on while the host sleeps, the timer does not. */
        set_timer(sb, first <= now ? 0 : first - now > 3600000 ? 3600000 : first - now);
}

void sandbox_touch(struct sandbox *sb)
{
        if (sb->idle_ms && !is_pooled(sb)) {
                sb->idle_boot = clock_ms(CLOCK_BOOTTIME) + sb->idle_ms;
                sb->info.idle_ends_ms = sb->info.execs == 0 ? time_wall_ms() + sb->idle_ms : 0;
        }
        if (sb->idle_ms || sb->expires_boot)
                sandbox_arm(sb);
}

/* ---- the end ---- */

static void gone(struct sandbox *sb)
{
        sb->in_warden = sb->doomed = false;
        sandbox_drop_session(sb);
        sb->adopting = false;
        free(sb->log);
        sb->log = NULL;
        bool anew = sb->remaking && sb->info.state == SANDBOX_CREATING;
        sb->remaking = false;
        if (anew) {
                sb->attach_tries = 0;
                sandbox_make(sb);
                return;
        }
        if (sb->info.state == SANDBOX_FAILED) {
                bool again = sb->restart != SPEC_RESTART_NEVER && sb->info.started_ms && !sandboxes_drained(sb->all, sb->info.runtime) &&
                             !is_pooled(sb) && !sb->unknown;

                sandbox_set_state(sb, SANDBOX_FAILED);
                if (again) {
                        unsigned shift = sb->restarts < 7 ? sb->restarts : 7;

                        sb->restarts++;
                        set_timer(sb, (RESTART_MS << shift) < RESTART_MS_MAX ? RESTART_MS << shift : RESTART_MS_MAX);
                }
        } else {
                sandbox_set_state(sb, SANDBOX_TERMINATED);
                sandbox_event(sb, "SandboxTerminated", NULL, NULL);
        }
        if (sb->info.state == SANDBOX_TERMINATED) {
                timer_free(sb->timer);
                sb->timer = NULL;
        }
        record_put(sb, NULL, NULL);
        waiters_tell(sb, &sb->looking, NULL);
        waiters_tell(sb, &sb->resuming, NULL);
        waiters_tell(sb, &sb->ending, NULL);
        pooled_tell(sb, SANDBOX_POOLED_ENDED, NULL);
        if ((sb->info.state == SANDBOX_FAILED && !sb->info.started_ms) || is_pooled(sb) || sb->unknown)
                sandbox_forget(sb); /* its maker got an error, and nobody has its id */
}

static void on_terminated(void *ctx, const struct link_answer *a)
{
        struct sandbox *sb = ctx;

        if (!a->error || a->error->code == ERR_SANDBOX_NOT_FOUND) {
                if (a->usage)
                        sb->info.usage.now = *a->usage;
                gone(sb);
                return;
        }
        sb->doomed = false; /* when the warden is back and has it, it is asked again */
        sandbox_log(sb, true, a->error->msg);
        struct err e = *a->error;
        waiters_tell(sb, &sb->ending, &e);
}

void sandbox_end(struct sandbox *sb)
{
        if (sb->doomed)
                return;
        if (!sb->in_warden) {
                gone(sb);
                return;
        }
        sb->doomed = true;
        link_terminate(sb->all->link, sb->info.id, on_terminated, sb);
}

void sandbox_terminate(struct sandbox *sb, sandbox_done_fn *done, void *ctx)
{
        enum sandbox_state next;
        struct err e;

        if (sb->info.state == SANDBOX_TERMINATED) {
                if (done)
                        done(ctx, sb, NULL);
                return;
        }
        if (done && !waiter_add(&sb->ending, done, ctx)) {
                err_set(&e, ERR_RESOURCE_EXHAUSTED, 0, "out of memory");
                done(ctx, NULL, &e);
                return;
        }
        bool first = sb->info.state != SANDBOX_TERMINATING;
        if (lifecycle_step(sb->info.state, SANDBOX_EV_TERMINATE, &next) && first) {
                sandbox_set_state(sb, next);
                sb->unknown |= sb->claiming != NULL;
                record_put(sb, NULL, NULL);
                if (sb->timer)
                        timer_stop(sb->timer);
                err_set(&e, ERR_SANDBOX_NOT_FOUND, 0, "sandbox %s was terminated", sb->info.id);
                waiters_tell(sb, &sb->creating, &e);
                waiters_tell(sb, &sb->claiming, &e);
                execs_lose(sb, &e);
        }
        sandbox_end(sb);
}

/* ---- pause and resume ---- */

struct change {
        struct sandbox *sb;
        bool pause;
        sandbox_done_fn *done;
        void *ctx;
};

static void on_frozen(void *ctx, const struct link_answer *a)
{
        struct change *c = ctx;
        struct sandbox *sb = c->sb;
        enum sandbox_state back = c->pause ? SANDBOX_RUNNING : SANDBOX_PAUSED, now = c->pause ? SANDBOX_PAUSED : SANDBOX_RUNNING;

        if (a->error && sb->info.state == now) {
                sandbox_set_state(sb, back);
                record_put(sb, NULL, NULL);
        }
        if (!a->error) {
                if (!c->pause && sb->paused_boot && sb->expires_boot) { /* a pause does not use up its time */
                        uint64_t slept = clock_ms(CLOCK_BOOTTIME) - sb->paused_boot;

                        sb->expires_boot += slept;
                        sb->info.expires_ms += slept;
                }
                sb->paused_boot = c->pause ? clock_ms(CLOCK_BOOTTIME) : 0;
                sandbox_event(sb, c->pause ? "SandboxPaused" : "SandboxResumed", NULL, NULL);
                sandbox_touch(sb);
                sandbox_arm(sb);
                record_put(sb, NULL, NULL);
        }
        struct err e = a->error ? *a->error : (struct err){ 0 };
        if (!a->error && !c->pause && sb->adopting && waiter_add(&sb->resuming, c->done, c->ctx)) { /* it can be taken over only now */
                free(c);
                return;
        }
        c->done(c->ctx, a->error ? NULL : sb, a->error ? &e : NULL);
        free(c);
}

static void change(struct sandbox *sb, bool pause, sandbox_done_fn *done, void *ctx)
{
        enum sandbox_state next;
        struct change *c;
        struct err e;

        if (!lifecycle_step(sb->info.state, pause ? SANDBOX_EV_PAUSE : SANDBOX_EV_RESUME, &next)) {
                err_set(&e, ERR_SANDBOX_NOT_READY, 0, "sandbox %s is %s: %s", sb->info.id, lifecycle_name(sb->info.state),
                        pause ? "only one that is Running can be paused" : "only one that is Paused can be resumed");
                done(ctx, NULL, &e);
                return;
        }
        if (!(c = malloc(sizeof(*c)))) {
                err_set(&e, ERR_RESOURCE_EXHAUSTED, 0, "out of memory");
                done(ctx, NULL, &e);
                return;
        }
        *c = (struct change){ sb, pause, done, ctx };
        sandbox_set_state(sb, next);
        record_put(sb, NULL, NULL);
        link_freeze(sb->all->link, sb->info.id, pause, on_frozen, c);
}

void sandbox_pause(struct sandbox *sb, sandbox_done_fn *done, void *ctx)
{
        change(sb, true, done, ctx);
}

void sandbox_resume(struct sandbox *sb, sandbox_done_fn *done, void *ctx)
{
        change(sb, false, done, ctx);
}

void sandbox_renew(struct sandbox *sb, uint64_t ttl_ms, sandbox_done_fn *done, void *ctx)
{
        struct err e;

        if (sb->info.state != SANDBOX_READY && sb->info.state != SANDBOX_RUNNING && sb->info.state != SANDBOX_PAUSED) {
                err_set(&e, ERR_SANDBOX_NOT_READY, 0, "sandbox %s is %s", sb->info.id, lifecycle_name(sb->info.state));
                done(ctx, NULL, &e);
                return;
        }
        sb->expires_boot = ttl_ms ? clock_ms(CLOCK_BOOTTIME) + ttl_ms : 0;
        sb->info.expires_ms = ttl_ms ? time_wall_ms() + ttl_ms : 0;
        if (sb->paused_boot)
                sb->paused_boot = clock_ms(CLOCK_BOOTTIME);
        sandbox_arm(sb);
        record_put(sb, NULL, NULL);
        done(ctx, sb, NULL);
}

/* ---- a look at what it uses ---- */

static void looked(struct sandbox *sb, const struct err *e)
{
        sb->look_under_way = sb->look_disk = sb->look_waits = false;
        if (sb->look_timer)
                timer_stop(sb->look_timer);
        waiters_tell(sb, &sb->looking, e);
}

/* Also from execs_check(), when the counts of the disk have come. */
void sandbox_look_disk(struct sandbox *sb)
{
        const struct guest_stats *s = sb->session ? session_stats(sb->session) : NULL;

        if (!sb->look_under_way || !sb->look_disk || !s)
                return;
        sb->info.usage.disk_total = s->disk_total;
        sb->info.usage.disk_used = s->disk_total - s->disk_free;
        looked(sb, NULL);
}

static void percentages(struct sandbox *sb, uint64_t now)
{
        struct sandbox_usage *u = &sb->info.usage;
        uint64_t cpu = sb->limits.value[LIMIT_CPU], memory = sb->limits.value[LIMIT_MEMORY];

        if (sb->looked_ms && u->now.cpu_us != IPC_USAGE_UNKNOWN && now - sb->looked_ms >= LOOK_LEAST_MS) {
                double cores = cpu == LIMIT_UNLIMITED ? 1 : (double)cpu / 1000;
                double used = u->now.cpu_us > sb->looked_cpu ? (double)(u->now.cpu_us - sb->looked_cpu) : 0;

                u->cpu_percent = used / ((double)(now - sb->looked_ms) * 1000 * cores) * 100;
        }
        if (!sb->looked_ms || now - sb->looked_ms >= LOOK_LEAST_MS) {
                sb->looked_ms = now;
                sb->looked_cpu = u->now.cpu_us;
        }
        u->memory_percent = memory == LIMIT_UNLIMITED || u->now.memory == IPC_USAGE_UNKNOWN ? -1
                                                                                            : (double)u->now.memory / (double)memory * 100;
}

static void look_now(void *ctx);

static bool set_look_timer(struct sandbox *sb, uint64_t ms)
{
        if (!sb->look_timer)
                sb->look_timer = timer_new(sb->all->config.loop, look_now, sb);
        if (sb->look_timer)
                timer_set(sb->look_timer, ms);
        return sb->look_timer != NULL;
}

static void on_usage(void *ctx, const struct link_answer *a)
{
        struct sandbox *sb = ctx;
        uint64_t now = clock_ms(CLOCK_MONOTONIC);

        if (a->error) {
                struct err e = *a->error;

                looked(sb, e.code == ERR_SANDBOX_NOT_FOUND ? NULL : &e);
                return;
        }
        bool fresh = sb->looked_ms && now - sb->looked_ms < LOOK_FRESH_MS;
        if (!fresh)
                sb->looked_ms = 0;
        sb->info.usage.now = *a->usage;
        percentages(sb, now);
        if (!fresh && a->usage->cpu_us != IPC_USAGE_UNKNOWN && set_look_timer(sb, LOOK_PAUSE_MS))
                return; /* two looks make a rate */
        if (!sb->look_disk || !sb->session || sb->info.state == SANDBOX_PAUSED) {
                looked(sb, NULL);
                return;
        }
        session_ask_stats(sb->session);
        watch_set(sb->watch, session_events(sb->session));
        sb->look_waits = true;
        if (set_look_timer(sb, LOOK_DISK_MS))
                return;
        looked(sb, NULL);
}

static void look_now(void *ctx)
{
        struct sandbox *sb = ctx;

        if (sb->look_waits) { /* the sandbox does not say how full its disk is */
                looked(sb, NULL);
                return;
        }
        link_usage(sb->all->link, sb->info.id, on_usage, sb);
}

void sandbox_look(struct sandbox *sb, bool disk, sandbox_done_fn *done, void *ctx)
{
        struct err e;

        if (!sb->in_warden || sb->doomed || sb->info.state == SANDBOX_CREATING) {
                done(ctx, sb, NULL); /* the last figures there were */
                return;
        }
        if (!waiter_add(&sb->looking, done, ctx)) {
                err_set(&e, ERR_RESOURCE_EXHAUSTED, 0, "out of memory");
                done(ctx, NULL, &e);
                return;
        }
        sb->look_disk |= disk;
        if (sb->look_under_way)
                return;
        sb->look_under_way = true;
        look_now(sb);
}
