/*
 * All sandboxes: finding them, and taking over what an earlier daemon left.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/time.h"
#include "services/sandbox/internal.h"
#include "services/vm/vm.h"

enum { SWEEP_MS = 60000 };

/* ---- finding ---- */

static unsigned bucket_of(const char *id)
{
        uint32_t h = 2166136261U;

        for (; *id; id++)
                h = (h ^ (uint8_t)*id) * 16777619U;
        return h % BUCKETS;
}

struct sandbox *sandboxes_find(struct sandboxes *all, const char *id)
{
        for (struct sandbox *sb = all->buckets[bucket_of(id)]; sb; sb = sb->chain)
                if (strcmp(sb->info.id, id) == 0)
                        return sb;
        return NULL;
}

struct sandbox *sandboxes_first(struct sandboxes *all)
{
        return all->first;
}

struct sandbox *sandboxes_next(struct sandbox *sb)
{
        return sb->next;
}

unsigned sandboxes_count(const struct sandboxes *all, enum sandbox_state state)
{
        return all->counts[state];
}

/* ---- making and forgetting ---- */

struct sandbox *sandbox_new(struct sandboxes *all, const char *id, const char *owner)
{
        struct sandbox *sb = calloc(1, sizeof(*sb));

        if (!sb)
                return NULL;
        sb->all = all;
        snprintf(sb->info.id, sizeof(sb->info.id), "%s", id);
        snprintf(sb->info.owner, sizeof(sb->info.owner), "%s", owner);
        memset(&sb->info.usage.now, 0xff, sizeof(sb->info.usage.now));
        sb->info.usage.cpu_percent = sb->info.usage.memory_percent = -1;
        sb->info.usage.disk_used = sb->info.usage.disk_total = UINT64_MAX;
        memset(&sb->before, 0xff, sizeof(sb->before));
        sb->born_ms = clock_ms(CLOCK_MONOTONIC);
        sb->prev = all->last;
        if (all->last)
                all->last->next = sb;
        else
                all->first = sb;
        all->last = sb;
        struct sandbox **bucket = &all->buckets[bucket_of(id)];
        sb->chain = *bucket;
        *bucket = sb;
        all->counts[sb->info.state]++;
        return sb;
}

static unsigned key_bucket(const char *owner, const char *key)
{
        return (bucket_of(owner) * 31 + bucket_of(key)) % BUCKETS;
}

struct sandbox *sandboxes_find_key(struct sandboxes *all, const char *owner, const char *key)
{
        for (struct sandbox *sb = all->key_buckets[key_bucket(owner, key)]; sb; sb = sb->key_chain)
                if (strcmp(sb->key, key) == 0 && strcmp(sb->info.owner, owner) == 0 && !sb->unknown)
                        return sb;
        return NULL;
}

void sandbox_set_key(struct sandbox *sb, const char *key)
{
        struct sandbox **bucket = &sb->all->key_buckets[key_bucket(sb->info.owner, key)];

        if (!key[0])
                return;
        snprintf(sb->key, sizeof(sb->key), "%s", key);
        sb->key_chain = *bucket;
        *bucket = sb;
}

void sandbox_free(struct sandbox *sb)
{
        struct sandboxes *all = sb->all;

        for (struct sandbox **at = &all->key_buckets[key_bucket(sb->info.owner, sb->key)]; *at; at = &(*at)->key_chain)
                if (*at == sb) {
                        *at = sb->key_chain;
                        break;
                }

        for (struct sandbox **at = &all->buckets[bucket_of(sb->info.id)]; *at; at = &(*at)->chain)
                if (*at == sb) {
                        *at = sb->chain;
                        break;
                }
        if (sb->prev)
                sb->prev->next = sb->next;
        else
                all->first = sb->next;
        if (sb->next)
                sb->next->prev = sb->prev;
        else
                all->last = sb->prev;
        all->counts[sb->info.state]--;
        execs_free(sb);
        prewarm_free(sb);
        watch_free(sb->watch);
        session_free(sb->session);
        vm_free(sb->vm);
        timer_free(sb->timer);
        timer_free(sb->look_timer);
        timer_free(sb->attach_timer);
        setup_release(&sb->setup);
        free(sb->spec_json);
        free(sb->log);
        free(sb);
}

static bool is_over(const struct sandbox *sb)
{
        return sb->info.state == SANDBOX_TERMINATED || (sb->info.state == SANDBOX_FAILED && !sb->in_warden);
}

void sandboxes_on_pooled(struct sandboxes *all, sandbox_pooled_fn *fn, void *ctx)
{
        all->on_pooled = fn;
        all->pooled_ctx = ctx;
}

/* What has ended is remembered for a while, and not more of it than SANDBOX_ENDED_MAX. */
static void forget_old(void *ctx)
{
        struct sandboxes *all = ctx;
        uint64_t now = time_wall_ms();
        unsigned over = 0;

        for (const struct sandbox *sb = all->first; sb; sb = sb->next)
                over += is_over(sb);
        for (struct sandbox *sb = all->first, *next; sb; sb = next) {
                next = sb->next;
                if (!is_over(sb) || sb->creating || sb->ending || sb->looking || sb->member)
                        continue;
                if (over <= SANDBOX_ENDED_MAX && (now < sb->info.ended_ms || now - sb->info.ended_ms < all->config.ended_keep_ms))
                        continue;
                over--;
                sandbox_forget(sb);
        }
        timer_set(all->sweep, SWEEP_MS);
}

void sandbox_forget(struct sandbox *sb)
{
        record_delete(sb);
        sb->all->config.count(sb->all->config.ctx, SANDBOX_COUNT_GONE, sb->info.id, 0);
        sandbox_free(sb);
}

void sandbox_promise(struct sandbox *sb, bool promised)
{
        const struct limits takes = limits_outside(sb->setup.runtime, &sb->limits);

        if (sb->promised != promised)
                (promised ? admission_add : admission_remove)(&sb->all->promised, &takes);
        sb->promised = promised;
}

void sandbox_set_state(struct sandbox *sb, enum sandbox_state state)
{
        struct sandboxes *all = sb->all;

        all->counts[sb->info.state]--;
        all->counts[state]++;
        sb->info.state = state;
        if (state != SANDBOX_TERMINATED && state != SANDBOX_FAILED)
                return;
        if (!sb->info.ended_ms)
                sb->info.ended_ms = time_wall_ms();
        if (!sb->in_warden)
                sandbox_promise(sb, false);
        if (++all->ended > SANDBOX_ENDED_MAX + SANDBOX_ENDED_MAX / 8) {
                all->ended = 0;
                timer_set(all->sweep, 0);
        }
}

void sandbox_log(struct sandbox *sb, bool bad, const char *text)
{
        if (sb->all->config.log)
                sb->all->config.log(sb->all->config.ctx, bad, sb->info.id, text);
}

void sandbox_event(struct sandbox *sb, const char *name, const char *request_id, const char *detail)
{
        const struct event_facts f = { name, sb->info.id, sb->info.owner, request_id, detail };

        events_add(sb->all->config.events, &f);
}

bool waiter_add(struct waiter **list, sandbox_done_fn *done, void *ctx)
{
        struct waiter *w = malloc(sizeof(*w));

        if (!w)
                return false;
        *w = (struct waiter){ *list, done, ctx };
        *list = w;
        return true;
}

void waiters_tell(struct sandbox *sb, struct waiter **list, const struct err *e)
{
        struct waiter *w = *list;

        *list = NULL;
        while (w) {
                struct waiter *next = w->next;

                w->done(w->ctx, e ? NULL : sb, e);
                free(w);
                w = next;
        }
}

const struct sandbox_info *sandbox_info(const struct sandbox *sb)
{
        return &sb->info;
}

bool sandbox_has_key(const struct sandbox *sb)
{
        return sb->key[0] != '\0';
}

bool sandbox_is_taken_over(const struct sandbox *sb)
{
        return sb->adopting;
}

/* ---- the warden ---- */

/* One that the records name and that is not there. */
static void take_missing(struct sandbox *sb)
{
        struct err e;

        if (sb->doomed)
                return; /* the warden has been asked to end it, and will say that it is not there */
        sb->in_warden = false;
        if (sb->info.state == SANDBOX_TERMINATING) {
                sandbox_end(sb);
                return;
        }
        err_set(&e, ERR_INTERNAL_ERROR, 0, "it ended while nobody looked: the host was started again, or it was killed");
        sandbox_died(sb, &e);
}

static void ignore(void *ctx, const struct link_answer *a)
{
        (void)ctx;
        (void)a;
}

static void take_one(struct sandbox *sb, const struct ipc_listed_box *box)
{
        struct err e;

        if (sb->spawning)
                return; /* what is there was begun before; the answer to our SPAWN says so */
        if (sb->doomed)
                return; /* the link asks again by itself, and twice is once too often */
        sb->in_warden = true;
        if (sb->info.state == SANDBOX_TERMINATING || sb->info.state == SANDBOX_TERMINATED || sb->info.state == SANDBOX_FAILED) {
                sandbox_end(sb);
        } else if (box->state == IPC_BOX_EXITED || box->state == IPC_BOX_DYING) {
                err_set(&e, ERR_INTERNAL_ERROR, 0, "it ended while the service was down (status %d)", box->status);
                sandbox_died(sb, &e);
        } else {
                bool paused = sb->info.state == SANDBOX_PAUSED;

                if (!sb->session && !sb->vm)
                        sandbox_attach(sb);
                if (paused != (box->state == IPC_BOX_FROZEN)) /* somebody died between the record and the deed */
                        link_freeze(sb->all->link, sb->info.id, paused, ignore, NULL);
        }
}

static void settle(struct sandboxes *all)
{
        for (struct sandbox *sb = all->first, *next; sb; sb = next) {
                next = sb->next;
                if (sb->in_warden && !sb->listed && !sb->spawning)
                        take_missing(sb);
        }
        all->listed = true;
        all->listed_ms = clock_ms(CLOCK_MONOTONIC);
}

static void on_list(void *ctx, const struct link_answer *a)
{
        struct sandboxes *all = ctx;

        if (a->error)
                return; /* the link is down again, and asks again when it is up */
        for (uint32_t i = 0; i < a->listed->count; i++) {
                const struct ipc_listed_box *box = &a->listed->boxes[i];
                struct sandbox *sb = sandboxes_find(all, box->id);

                if (sb) {
                        sb->listed = true;
                        take_one(sb, box);
                } else {
                        all->config.log(all->config.ctx, true, box->id, "the warden has a sandbox that no record names: it is ended");
                        link_terminate(all->link, box->id, NULL, NULL);
                }
        }
        all->list_seen += a->listed->count;
        if (a->listed->count > 0 && all->list_seen < a->listed->total)
                link_list(all->link, all->list_seen, on_list, all);
        else
                settle(all);
}

static void classes_known(void *ctx)
{
        (void)ctx;
}

static void nothing(void *ctx)
{
        (void)ctx;
}

static void on_up(void *ctx, const struct ipc_hello_ok *hello)
{
        struct sandboxes *all = ctx;

        all->warden = *hello;
        all->listed = false;
        all->list_seen = 0;
        for (struct sandbox *sb = all->first; sb; sb = sb->next)
                sb->listed = false;
        all->config.log(all->config.ctx, false, NULL, "creto-warden answers");
        sandboxes_look_classes(all, nothing, NULL);
        link_list(all->link, 0, on_list, all);
        sandboxes_look_classes(all, classes_known, all);
}

static void on_down(void *ctx, const char *why)
{
        struct sandboxes *all = ctx;

        (void)why;
        all->listed = false;
        all->config.count(all->config.ctx, SANDBOX_COUNT_RESTARTS, NULL, 1);
        all->config.log(all->config.ctx, true, NULL, "creto-warden ended; sandboxes go on, new ones wait for it to come back");
}

static void on_exited(void *ctx, const struct ipc_exited *x)
{
        struct sandboxes *all = ctx;
        struct sandbox *sb = sandboxes_find(all, x->id);
        struct err e;

        if (!sb || sb->doomed || sb->spawning)
                return;
        sb->info.usage.now = x->usage;
        if (x->usage.oom_kills > 0 && x->usage.oom_kills != IPC_USAGE_UNKNOWN)
                err_set(&e, ERR_RESOURCE_EXHAUSTED, 0, "creto-init was killed for want of memory");
        else
                err_set(&e, ERR_INTERNAL_ERROR, 0, "creto-init ended by itself (status %d)", x->status);
        sandbox_died(sb, &e);
}

/* ---- open and close ---- */

int sandboxes_open(const struct sandboxes_config *config, struct sandboxes **out, struct err *e)
{
        static const struct link_events events = { on_up, on_down, on_exited };
        struct sandboxes *all = calloc(1, sizeof(*all));

        if (!all)
                return err_set(e, ERR_RESOURCE_EXHAUSTED, 0, "out of memory");
        all->config = *config;
        all->epoch = clock_ms(CLOCK_BOOTTIME);
        all->images = image_cache_new(all);
        all->sweep = timer_new(config->loop, forget_old, all);
        if (!all->images || !all->sweep)
                err_set(e, ERR_RESOURCE_EXHAUSTED, 0, "out of memory");
        else if (host_boot_id(all->boot_id) < 0)
                err_sys(e, "cannot read the kernel's boot id");
        else if (classes_load(all), record_load_all(all, e) == 0 && link_new(config->loop, config->warden_socket, config->prepared, &events,
                                                                             all, &all->link, e) == 0) {
                timer_set(all->sweep, SWEEP_MS);
                *out = all;
                return 0;
        }
        sandboxes_close(all);
        return -(int)e->code;
}

void sandboxes_close(struct sandboxes *all)
{
        if (!all)
                return;
        link_free(all->link);
        while (all->first)
                sandbox_free(all->first);
        image_cache_free(all->images);
        timer_free(all->sweep);
        free(all);
}

bool sandboxes_warden_up(const struct sandboxes *all)
{
        return link_is_up(all->link);
}

/* One that is paused answers when it is resumed; one that does not answer at all does not hold up the others for ever. */
bool sandboxes_settled(const struct sandboxes *all)
{
        if (!link_is_up(all->link) || !all->listed)
                return false;
        if (clock_ms(CLOCK_MONOTONIC) - all->listed_ms > ADOPT_MS)
                return true;
        for (const struct sandbox *sb = all->first; sb; sb = sb->next)
                if (sb->adopting && sb->info.state != SANDBOX_PAUSED)
                        return false;
        return true;
}

void sandboxes_drain(struct sandboxes *all, bool drained)
{
        all->drained = drained;
}
