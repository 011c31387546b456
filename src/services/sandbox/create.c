/*
 * From a request to a sandbox that takes commands: admitted, its image found, recorded, made by the warden, greeted.
 */
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/text.h"
#include "base/time.h"
#include "domain/spec_json.h"
#include "services/sandbox/internal.h"
#include "services/vm/vm.h"
#include "wire/image_answer.h"

enum { AGENT_UID = 1000, ATTACH_MS = 5 };

/* ---- when it fails ---- */

void sandbox_failed(struct sandbox *sb, const struct err *e)
{
        enum sandbox_state next;
        char detail[512];

        if (!lifecycle_step(sb->info.state, SANDBOX_EV_DIED, &next))
                return;
        sandbox_log(sb, true, e->msg);
        sb->unknown |= sb->claiming != NULL;
        if (next == SANDBOX_FAILED) {
                struct wbuf w = wbuf_over(detail, sizeof(detail) - 1);
                struct json_put j = json_put_over(&w);

                sb->info.failure = e->code;
                snprintf(sb->info.failure_text, sizeof(sb->info.failure_text), "%.250s", e->msg);
                json_put_object(&j);
                json_put_key(&j, "reason");
                json_put_string(&j, sb->info.failure_text);
                json_put_end(&j);
                detail[w.bad ? 0 : w.len] = '\0';
                sandbox_set_state(sb, next);
                record_put(sb, NULL, NULL);
                sandbox_event(sb, "SandboxFailed", sb->creating ? sb->request_id : NULL, detail[0] ? detail : NULL);
        }
        execs_lose(sb, e);
        waiters_tell(sb, &sb->creating, e);
        waiters_tell(sb, &sb->claiming, e);
        pooled_tell(sb, SANDBOX_POOLED_FAILED, e);
        sandbox_end(sb);
}

/* It may have died with a warden that had not seen it begin. */
void sandbox_died(struct sandbox *sb, const struct err *e)
{
        if (sb->info.state != SANDBOX_CREATING || sb->tries == MAKE_TRIES) {
                sandbox_failed(sb, e);
                return;
        }
        sb->tries++;
        sb->remaking = true;
        sandbox_end(sb);
}

/* ---- the guest stream ---- */

void sandbox_drop_session(struct sandbox *sb)
{
        execs_unbind(sb);
        claim_dropped(sb);
        prewarm_unbind(sb);
        watch_free(sb->watch);
        session_free(sb->session);
        vm_free(sb->vm);
        sb->watch = NULL;
        sb->session = NULL;
        sb->vm = NULL;
}

static void set_adopting(struct sandbox *sb, bool adopting)
{
        sb->adopting = adopting;
        if (!adopting)
                waiters_tell(sb, &sb->resuming, NULL);
}

static bool attach_later(struct sandbox *sb);

/* Where it has died the warden says so, and why. One that nobody can claim any more is in the way of others. */
static void out_of_reach(struct sandbox *sb, const struct err *why)
{
        struct err e;

        set_adopting(sb, false);
        if (why)
                sandbox_log(sb, true, why->msg);
        if (!is_pooled(sb) || sb->doomed || sb->session || (why && why->code == ERR_BACKEND_UNAVAILABLE))
                return;
        err_set(&e, ERR_INTERNAL_ERROR, 0, "its creto-init cannot be reached: %s", why ? why->msg : "it ends each connection");
        sandbox_died(sb, &e);
}

void sandbox_stream_lost(struct sandbox *sb, const struct err *e)
{
        sandbox_drop_session(sb);
        if (e) /* what breaks the protocol has been taken over */
                sandbox_failed(sb, e);
        else if (!sb->doomed && sb->attach_tries++ < ATTACH_TRIES && (set_adopting(sb, true), attach_later(sb)))
                return; /* it may have dropped us for another; if it has died, the warden says so */
        else
                out_of_reach(sb, NULL);
}

static void on_session(void *ctx)
{
        struct sandbox *sb = ctx;
        struct err e;
        int r = session_step(sb->session, &e);

        if (r == 0 && session_greeted(sb->session)) {
                set_adopting(sb, false);
                sb->attach_tries = 0;
                classes_started(sb);
                if (sb->vm)
                        vm_greeted(sb->vm);
                if (sb->info.state != SANDBOX_CREATING || !claim_binds_first(sb)) {
                        prewarm_begin(sb);
                        claim_stepped(sb);
                }
        }
        if (r == 0) {
                prewarm_check(sb);
                execs_check(sb);
                if (sb->watch)
                        watch_set(sb->watch, session_events(sb->session));
                return;
        }
        if (r > 0)
                execs_check(sb);
        if (sb->session)
                sandbox_stream_lost(sb, r < 0 ? &e : NULL);
}

uint64_t sandboxes_epoch(struct sandboxes *all)
{
        if (++all->epoch < clock_ms(CLOCK_BOOTTIME))
                all->epoch = clock_ms(CLOCK_BOOTTIME);
        return all->epoch;
}

void sandbox_session_new(struct sandbox *sb, int stream)
{
        if (is_machine(sb))
                machine_begin(sb, stream);
        else
                sandbox_stream(sb, stream);
}

void sandbox_stream(struct sandbox *sb, int stream)
{
        struct err e;

        if (session_new(stream, sandboxes_epoch(sb->all), &sb->session, &e) < 0) {
                sandbox_failed(sb, &e);
                return;
        }
        if (sb->vm)
                session_over_serial(sb->session, VM_FRAME_MAX);
        session_on_adopt(sb->session, exec_adopt, sb);
        sb->watch = watch_new(sb->all->config.loop, session_fd(sb->session), session_events(sb->session), on_session, sb);
        if (!sb->watch) {
                err_set(&e, ERR_RESOURCE_EXHAUSTED, 0, "out of memory");
                sandbox_drop_session(sb);
                sandbox_failed(sb, &e);
                return;
        }
        on_session(sb); /* our greeting goes out at once */
}

static void on_attached(void *ctx, const struct link_answer *a)
{
        struct sandbox *sb = ctx;

        if (!a->error && !sb->session && !sb->vm && !sb->doomed) {
                sandbox_session_new(sb, a->fd);
                return;
        }
        if (a->fd >= 0)
                close(a->fd);
        if (a->error && !sb->doomed && sb->attach_tries++ < ATTACH_TRIES && attach_later(sb))
                return;
        out_of_reach(sb, a->error);
}

static void attach_now(void *ctx)
{
        struct sandbox *sb = ctx;

        if (sb->session || sb->vm || sb->doomed || !sb->in_warden)
                set_adopting(sb, false);
        else
                link_attach(sb->all->link, sb->info.id, on_attached, sb);
}

static bool attach_later(struct sandbox *sb)
{
        if (!sb->attach_timer)
                sb->attach_timer = timer_new(sb->all->config.loop, attach_now, sb);
        if (sb->attach_timer)
                timer_set(sb->attach_timer, (uint64_t)ATTACH_MS << sb->attach_tries);
        return sb->attach_timer != NULL;
}

void sandbox_attach(struct sandbox *sb)
{
        set_adopting(sb, true);
        link_attach(sb->all->link, sb->info.id, on_attached, sb);
}

/* ---- ready ---- */

static void tell_spawned(struct sandbox *sb)
{
        char detail[512];
        struct wbuf w = wbuf_over(detail, sizeof(detail) - 1);
        struct json_put j = json_put_over(&w);

        json_put_object(&j);
        json_put_key(&j, "runtimeClass");
        json_put_string(&j, sb->choice.name);
        json_put_key(&j, "requestedRuntimeClass");
        json_put_string(&j, sb->choice.requested);
        if (sb->offered) {
                json_put_key(&j, "engine");
                json_put_string(&j, "offered");
        }
        if (sb->choice.why[0]) {
                json_put_key(&j, "reason");
                json_put_string(&j, sb->choice.why);
        }
        json_put_end(&j);
        detail[w.bad ? 0 : w.len] = '\0';
        sandbox_event(sb, "SandboxSpawned", sb->request_id, detail[0] ? detail : NULL);
}

void sandbox_ready(struct sandbox *sb)
{
        double ms = (double)(clock_ms(CLOCK_MONOTONIC) - sb->born_ms);
        enum sandbox_state next;

        if (!lifecycle_step(sb->info.state, SANDBOX_EV_CREATED, &next))
                return;
        sb->info.started_ms = time_wall_ms();
        if (sb->ttl_ms && !is_pooled(sb)) {
                sb->expires_boot = clock_ms(CLOCK_BOOTTIME) + sb->ttl_ms;
                sb->info.expires_ms = sb->info.started_ms + sb->ttl_ms;
        }
        sandbox_set_state(sb, next);
        record_put(sb, NULL, NULL);
        if (!sb->background)
                sb->all->config.count(sb->all->config.ctx, SANDBOX_COUNT_SPAWNED, sb->info.runtime, ms / 1000);
        tell_spawned(sb);
        sandbox_touch(sb);
        waiters_tell(sb, &sb->creating, NULL);
        claim_greeted(sb);
}

/* ---- the warden's part ---- */

static void on_spawned(void *ctx, const struct link_answer *a)
{
        struct sandbox *sb = ctx;
        struct err e;

        sb->spawning = false;
        if (a->error && a->lost && sb->info.state == SANDBOX_CREATING && sb->tries < MAKE_TRIES) {
                sb->tries++; /* what a warden had not greeted dies with it; the next one makes it */
                sandbox_make(sb);
                return;
        }
        if (a->error && a->error->code == ERR_SANDBOX_NOT_READY && sb->info.state == SANDBOX_CREATING) {
                err_set(&e, ERR_BACKEND_UNAVAILABLE, 0, "creto-warden ended each time while it was made");
                sandbox_died(sb, &e); /* what is there of it from before is taken away first */
                return;
        }
        if (a->error) {
                sb->in_warden = false;
                e = *a->error;
                if (e.code == ERR_IMAGE_NOT_FOUND)
                        image_cache_drop(sb->all->images, sb->setup.image);
                if (!a->lost && class_fall_back(sb, &e))
                        return;
                if (!a->lost)
                        class_say_fallback(sb, &e);
                sandbox_failed(sb, &e);
                return;
        }
        sb->listed = true;
        sb->offer[0] = '\0';
        if (sb->info.state != SANDBOX_CREATING) { /* ended meanwhile; TERMINATE follows behind our SPAWN */
                close(a->fd);
                return;
        }
        limits_name(a->spawned->limits_missing, sb->info.missing, sizeof(sb->info.missing));
        if (sb->session) /* to the one before, which an ATTACH has reached as it ended */
                sandbox_drop_session(sb);
        sandbox_session_new(sb, a->fd);
}

static void ask_warden(struct sandbox *sb, const struct image_answer *image)
{
        static struct ipc_spawn req;
        const struct limits limits = limits_outside(sb->choice.name, &sb->limits);

        memset(&req, 0, sizeof(req));
        snprintf(req.id, sizeof(req.id), "%s", sb->info.id);
        snprintf(req.hostname, sizeof(req.hostname), "%.*s", IPC_HOSTNAME_MAX, sb->info.id);
        req.uid = req.gid = image ? 0 : AGENT_UID;
        snprintf(req.home, sizeof(req.home), "%s", image ? "/root" : "/home/agent");
        req.limits_wanted = limits.wanted;
        memcpy(req.limits, limits.value, sizeof(req.limits));
        req.root = image ? IPC_ROOT_LAYERS : IPC_ROOT_HOST;
        req.layer_count = image ? image->layer_count : 0;
        snprintf(req.class, sizeof(req.class), "%s", is_machine(sb) ? "native" : sb->choice.name);
        req.flags = sb->background ? IPC_SPAWN_BACKGROUND : 0;
        memcpy(req.offer, sb->offer, sizeof(req.offer));
        for (uint32_t i = 0; i < req.layer_count; i++)
                memcpy(req.layers[i], image->layers[i], sizeof(req.layers[i]));
        if (is_machine(sb))
                machine_spawn(sb, &req);
        sb->in_warden = sb->spawning = true;
        sb->asked_us = sb->background || sb->tries ? 0 : clock_us(CLOCK_MONOTONIC);
        link_spawn(sb->all->link, &req, on_spawned, sb);
}

/* ---- the image, then the record ---- */

static int apply_image(struct sandbox *sb, const struct image_answer *image, struct err *e)
{
        struct spec *spec = malloc(sizeof(*spec));
        char *arena = NULL;
        int r = spec ? record_spec(sb, spec, &arena, e) : err_set(e, ERR_RESOURCE_EXHAUSTED, 0, "out of memory");

        if (r == 0)
                r = setup_make(sb, spec, image, e);
        free(arena);
        free(spec);
        return r;
}

static void on_image(void *ctx, const struct image_answer *image, const struct err *failure)
{
        struct sandbox *sb = ctx;
        struct err e;

        if (sb->info.state != SANDBOX_CREATING)
                return; /* ended meanwhile */
        if (failure) {
                e = *failure;
                sandbox_failed(sb, &e);
                return;
        }
        if (image && apply_image(sb, image, &e) < 0) {
                sandbox_failed(sb, &e);
                return;
        }
        if (image) /* what the image says has to be known to who takes it over */
                record_put(sb, NULL, NULL);
        if (sb->all->drained || sandboxes_class_check(sb->all, sb->choice.name, &e) == 0) {
                ask_warden(sb, image);
        } else if (!class_fall_back(sb, &e)) { /* its class was drained while its image came */
                class_say_fallback(sb, &e);
                sandbox_failed(sb, &e);
        }
}

void sandbox_make(struct sandbox *sb)
{
        struct err e;

        if (sb->offered && !sb->offer[0]) {
                err_set(&e, ERR_BACKEND_UNAVAILABLE, 0, "the engine that was offered for it is gone with the service that knew its word");
                sandbox_failed(sb, &e);
                return;
        }
        image_find(sb->all->images, sb->setup.image, sb->pull, on_image, sb);
}

static void on_recorded(void *ctx, const struct err *failure)
{
        struct sandbox *sb = ctx;
        struct err e;

        if (sb->info.state != SANDBOX_CREATING)
                return;
        if (failure) {
                e = *failure;
                err_wrap(&e, "the sandbox cannot be recorded");
                sandbox_failed(sb, &e);
                return;
        }
        sandbox_make(sb);
}

/* Once more, as the spec's restart policy says. */
void sandbox_remake(struct sandbox *sb)
{
        enum sandbox_state next;

        if (!lifecycle_step(sb->info.state, SANDBOX_EV_RESTART, &next))
                return;
        sb->info.failure = ERR_NONE;
        sb->info.failure_text[0] = '\0';
        sb->info.ended_ms = 0;
        sb->attach_tries = 0;
        sb->born_ms = clock_ms(CLOCK_MONOTONIC);
        sandbox_promise(sb, true);
        sandbox_set_state(sb, next);
        record_put(sb, on_recorded, sb);
}

/* ---- the request ---- */

static void make_id(char out[IPC_ID_MAX + 1])
{
        uint8_t raw[6];

        if (getrandom(raw, sizeof(raw), 0) != (ssize_t)sizeof(raw))
                abort(); /* an id that can be guessed is worse than none */
        snprintf(out, IPC_ID_MAX + 1, "sb-%02x%02x%02x%02x%02x%02x", raw[0], raw[1], raw[2], raw[3], raw[4], raw[5]);
}

unsigned sandboxes_of_owner(const struct sandboxes *all, const char *owner)
{
        unsigned n = 0;

        if (all->config.rules.max_per_owner == 0)
                return 0;
        for (const struct sandbox *sb = all->first; sb; sb = sb->next)
                n += sb->promised && !is_pooled(sb) && strcmp(sb->info.owner, owner) == 0;
        return n;
}

/* What nobody waits for leaves a place like its own to what somebody asks for. */
static int leave_a_place(struct sandboxes *all, const struct limits *l, const char **resource, struct err *e)
{
        struct admission_promised with = all->promised;

        admission_add(&with, l);
        if (admission_check(&all->config.rules, &all->host, &with, l, resource, e) == 0)
                return 0;
        err_set(e, ERR_RESOURCE_EXHAUSTED, 0, "there is room for one more sandbox (%s), and no pool takes the last place", *resource);
        return err_hint(e, "end sandboxes, or let the pool be smaller");
}

/* An engine that is taken once makes one sandbox, once. */
static int check_offer(const struct sandbox_request *req, struct err *e)
{
        if (!req->spec->engine_offer || (!req->pool && req->spec->restart == SPEC_RESTART_NEVER))
                return 0;
        err_set(e, ERR_INVALID_SPEC, 0, "spec.engineOffer: an engine is offered for one sandbox, made once");
        return err_hint(e, "leave out restartPolicy; for more than one, a class of its own ([runtime.NAME] of the configuration)");
}

static int choose(struct sandboxes *all, const struct sandbox_request *req, struct choice *out, struct err *e)
{
        if (check_offer(req, e) < 0)
                return -(int)e->code;
        if (req->choice)
                *out = *req->choice;
        if ((req->choice ? sandboxes_class_check(all, out->name, e) : sandboxes_choose(all, req->spec, out, e)) < 0)
                return -(int)e->code;
        if (vmm_is_class(out->name))
                return machine_check(all, out->name, &req->spec->limits, e);
        return req->spec->hw_config ? machine_needed(out->name, e) : 0;
}

static int admit(struct sandboxes *all, const struct sandbox_request *req, const struct limits *promise, struct err *e)
{
        const char *resource;

        host_look(all);
        all->promised.of_owner = req->pool ? 0 : sandboxes_of_owner(all, req->owner);
        if (admission_check(&all->config.rules, &all->host, &all->promised, promise, &resource, e) == 0 &&
            (!req->background || leave_a_place(all, promise, &resource, e) == 0))
                return 0;
        all->config.count(all->config.ctx, SANDBOX_COUNT_REFUSED, resource, 1);
        return -(int)e->code;
}

/* Takes `spec`. */
static struct sandbox *begin(struct sandboxes *all, const struct sandbox_request *req, char *spec, size_t len, struct err *e)
{
        char id[IPC_ID_MAX + 1], notice[CHOICE_NOTICE_MAX + 1];
        struct choice choice;

        if (choose(all, req, &choice, e) < 0) {
                free(spec);
                return NULL;
        }
        const struct limits promise = class_promise(all, choice.name, &req->spec->limits);
        if (admit(all, req, &promise, e) < 0) {
                free(spec);
                return NULL;
        }
        make_id(id);
        struct sandbox *sb = sandbox_new(all, id, req->owner);
        if (!sb) {
                free(spec);
                err_set(e, ERR_RESOURCE_EXHAUSTED, 0, "out of memory");
                return NULL;
        }
        class_set(sb, &choice);
        sb->spec_json = spec;
        sb->info.spec = spec;
        sb->info.spec_len = len;
        sb->info.created_ms = time_wall_ms();
        sb->pull = req->spec->pull;
        sb->background = req->background;
        snprintf(sb->info.pool, sizeof(sb->info.pool), "%s", req->pool ? req->pool : "");
        sandbox_set_key(sb, req->key ? req->key : "");
        snprintf(sb->request_id, sizeof(sb->request_id), "%s", req->request_id ? req->request_id : "");
        sb->offered = req->spec->engine_offer != NULL;
        snprintf(sb->offer, sizeof(sb->offer), "%s", sb->offered ? req->spec->engine_offer : "");
        if (setup_make(sb, req->spec, NULL, e) < 0) {
                sandbox_free(sb);
                return NULL;
        }
        sandbox_promise(sb, true);
        choice_notice(&choice, notice, sizeof(notice));
        if (notice[0] && !req->pool)
                sandbox_log(sb, false, notice);
        return sb;
}

static void create_now(struct sandboxes *all, const struct sandbox_request *req, char *spec, size_t len, sandbox_done_fn *done, void *ctx)
{
        struct err e;
        struct sandbox *sb = begin(all, req, spec, len, &e);

        if (sb && !waiter_add(&sb->creating, done, ctx)) {
                err_set(&e, ERR_RESOURCE_EXHAUSTED, 0, "out of memory");
                sandbox_failed(sb, &e);
                sb = NULL;
        }
        if (sb)
                record_put(sb, on_recorded, sb);
        else
                done(ctx, NULL, &e);
}

int sandbox_create_pooled(struct sandboxes *all, const struct sandbox_request *req, void *member, struct err *e)
{
        size_t len;
        char *spec = spec_json_text(req->spec, &len);

        if (!spec)
                return err_set(e, ERR_RESOURCE_EXHAUSTED, 0, "out of memory");
        struct sandbox *sb = begin(all, req, spec, len, e);
        if (!sb)
                return -(int)e->code;
        sb->member = member;
        record_put(sb, on_recorded, sb);
        return 0;
}

/* The same request again: the same answer. */
static void answer_again(struct sandbox *sb, const char *spec, sandbox_done_fn *done, void *ctx)
{
        struct err e;

        if (strcmp(sb->spec_json, spec) != 0) {
                err_set(&e, ERR_INVALID_SPEC, 0, "this idempotency key was used for another spec (sandbox %s)", sb->info.id);
                err_hint(&e, "use a new key for a new sandbox");
                done(ctx, NULL, &e);
        } else if (sb->info.state == SANDBOX_CREATING) {
                if (waiter_add(&sb->creating, done, ctx))
                        return;
                err_set(&e, ERR_RESOURCE_EXHAUSTED, 0, "out of memory");
                done(ctx, NULL, &e);
        } else if (sb->info.state == SANDBOX_FAILED && sb->info.started_ms == 0) {
                err_set(&e, sb->info.failure, 0, "%s", sb->info.failure_text);
                done(ctx, NULL, &e);
        } else {
                done(ctx, sb, NULL);
        }
}

void sandbox_create(struct sandboxes *all, const struct sandbox_request *req, sandbox_done_fn *done, void *ctx)
{
        struct err e;
        size_t len;
        char *spec = spec_json_text(req->spec, &len);
        struct sandbox *same = req->key && req->key[0] ? sandboxes_find_key(all, req->owner, req->key) : NULL;

        if (!spec) {
                err_set(&e, ERR_RESOURCE_EXHAUSTED, 0, "out of memory");
                done(ctx, NULL, &e);
                return;
        }
        if (!same) {
                create_now(all, req, spec, len, done, ctx);
                return;
        }
        answer_again(same, spec, done, ctx);
        free(spec);
}
