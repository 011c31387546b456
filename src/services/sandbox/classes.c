/*
 * Runtime classes as the daemon sees them: which there are is the warden's to say; which of them are drained is the operator's, and is remembered. And the class
 * that a sandbox gets.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/str.h"
#include "base/text.h"
#include "domain/classes.h"
#include "domain/vmm.h"
#include "services/sandbox/internal.h"
#include "services/vm/vm.h"
#include "wire/json.h"

#define DRAINED_KEY "runtimes/drained"

enum { FRESH_MS = 2000 };

const struct ipc_classes *sandboxes_classes(const struct sandboxes *all)
{
        return &all->classes;
}

const struct ipc_class *class_find(const struct sandboxes *all, const char *name)
{
        for (uint32_t i = 0; i < all->classes.count; i++)
                if (strcmp(all->classes.of[i].name, name) == 0)
                        return &all->classes.of[i];
        return NULL;
}

/* ---- asking the warden ---- */

struct look {
        struct sandboxes *all;
        void (*done)(void *ctx);
        void *ctx;
};

/* What a class needs of the host, besides its engine. */
static void check_requires(struct sandboxes *all)
{
        for (uint32_t i = 0; i < all->classes.count; i++) {
                struct ipc_class *c = &all->classes.of[i];
                const struct runtime_class *is = classes_find(all->config.table, c->name);

                for (unsigned k = 0; is && k < is->require_count && c->available; k++) {
                        if (access(is->requires[k], F_OK) == 0)
                                continue;
                        c->available = 0;
                        snprintf(c->reason, sizeof(c->reason), "runtime class '%s': %s is not here", is->name, is->requires[k]);
                        snprintf(c->hint, sizeof(c->hint), "it is in runtime.%s.requires of the configuration", is->name);
                }
        }
}

static void on_classes(void *ctx, const struct link_answer *a)
{
        struct look *l = ctx;

        if (a->classes) {
                l->all->classes = *a->classes;
                machine_describe(l->all);
                check_requires(l->all);
        }
        l->done(l->ctx);
        free(l);
}

void sandboxes_look_classes(struct sandboxes *all, void (*done)(void *ctx), void *ctx)
{
        struct look *l = malloc(sizeof(*l));

        if (!l || !link_is_up(all->link)) {
                free(l);
                done(ctx);
                return;
        }
        *l = (struct look){ all, done, ctx };
        all->classes_ms = clock_ms(CLOCK_MONOTONIC);
        link_classes(all->link, on_classes, l);
}

void sandboxes_freshen_classes(struct sandboxes *all, void (*done)(void *ctx), void *ctx)
{
        if (clock_ms(CLOCK_MONOTONIC) - all->classes_ms < FRESH_MS)
                done(ctx);
        else
                sandboxes_look_classes(all, done, ctx);
}

/* ---- what a cold start takes ---- */

/* NULL where there is no room, or it is not there and not to be made. */
static struct cold_starts *cold_slot(struct sandboxes *all, const char *name, bool make)
{
        for (unsigned i = 0; i < IPC_CLASSES_MAX; i++) {
                struct cold_starts *c = &all->cold[i];

                if (strcmp(c->class, name) == 0)
                        return c;
                if (c->class[0] == '\0') {
                        snprintf(c->class, sizeof(c->class), "%s", make ? name : "");
                        return make ? c : NULL;
                }
        }
        return NULL;
}

void classes_started(struct sandbox *sb)
{
        uint64_t us = sb->asked_us ? clock_us(CLOCK_MONOTONIC) - sb->asked_us : 0;
        struct cold_starts *c = us && (!sb->vm || vm_booted(sb->vm)) ? cold_slot(sb->all, sb->info.runtime, true) : NULL;

        sb->asked_us = 0;
        if (c)
                c->us[c->count++ % COLD_STARTS] = us;
}

static int by_time(const void *a, const void *b)
{
        const uint64_t *x = a, *y = b;

        return *x < *y ? -1 : *x > *y;
}

unsigned sandboxes_cold_start(const struct sandboxes *all, const char *class, uint64_t *median_us)
{
        const struct cold_starts *c = cold_slot((struct sandboxes *)(uintptr_t)all, class, false);
        unsigned n = !c ? 0 : c->count < COLD_STARTS ? c->count : COLD_STARTS;
        uint64_t sorted[COLD_STARTS];

        if (n == 0)
                return 0;
        memcpy(sorted, c->us, n * sizeof(sorted[0]));
        qsort(sorted, n, sizeof(sorted[0]), by_time);
        *median_us = (sorted[(n - 1) / 2] + sorted[n / 2]) / 2;
        return n;
}

/* ---- may it be used ---- */

static char *drained_slot(struct sandboxes *all, const char *name)
{
        for (unsigned i = 0; i < CLASSES_MAX; i++)
                if (strcmp(all->drained_classes[i], name) == 0)
                        return all->drained_classes[i];
        return NULL;
}

bool sandboxes_drained(const struct sandboxes *all, const char *class)
{
        return all->drained || drained_slot((struct sandboxes *)(uintptr_t)all, class) != NULL;
}

int sandboxes_class_check(const struct sandboxes *all, const char *class, struct err *e)
{
        if (!sandboxes_drained(all, class))
                return 0;
        err_set(e, ERR_BACKEND_UNAVAILABLE, 0, "runtime class '%s' is drained: it takes no new sandboxes", class);
        return err_hint(e, "creto-runtime enable --runtime %s", class);
}

/* ---- which one ---- */

static void look(void *ctx, const char *name, struct choice_class *out)
{
        const struct sandboxes *all = ctx;
        const struct ipc_class *is = class_find(all, name);
        char before[CLASS_NAME_MAX + 32];

        *out = (struct choice_class){ .known = is || all->classes.count == 0,
                                      .drained = sandboxes_drained(all, name),
                                      .limits = UINT32_MAX };
        snprintf(out->reason, sizeof(out->reason), "creto-warden has not named it yet");
        if (!is)
                return;
        out->available = is->available;
        out->limits = is->limits;
        snprintf(before, sizeof(before), "runtime class '%s': ", name);
        snprintf(out->reason, sizeof(out->reason), "%s", is->reason + (str_has_prefix(is->reason, before) ? strlen(before) : 0));
}

static struct choice_world world(const struct sandboxes *all)
{
        return (struct choice_world){ all->config.policy, look, (void *)(uintptr_t)all };
}

int sandboxes_choose(const struct sandboxes *all, const struct spec *spec, struct choice *out, struct err *e)
{
        const struct choice_world w = world(all);
        const struct choice_wish wish = { spec->runtime, spec->trust, spec->allow_fallback, spec->limits.wanted, spec->hw_config };

        return choice_make(&w, &wish, out, e);
}

void class_set(struct sandbox *sb, const struct choice *choice)
{
        sb->choice = *choice;
        sb->info.runtime = sb->choice.name;
        sb->info.choice = &sb->choice;
}

struct limits class_promise(const struct sandboxes *all, const char *class, const struct limits *l)
{
        const struct runtime_class *is = classes_find(all->config.table, class);
        struct limits out = limits_outside(class, l);

        if (is && out.value[LIMIT_MEMORY] != LIMIT_UNLIMITED)
                out.value[LIMIT_MEMORY] += is->overhead;
        return out;
}

/* Of the next class that may: can it be had with this spec? */
static bool try_next(struct sandbox *sb, const char *why)
{
        const struct choice_world w = world(sb->all);
        struct choice next = sb->choice;
        struct err e;

        while (choice_next(&w, sb->limits.wanted, why, &next)) {
                int r = vmm_is_class(next.name) ? machine_check(sb->all, next.name, &sb->limits, &e)
                        : sb->vcpus             ? machine_needed(next.name, &e)
                                                : 0;

                if (r == 0) {
                        sandbox_promise(sb, false);
                        class_set(sb, &next);
                        sandbox_promise(sb, true);
                        return true;
                }
                why = e.msg;
        }
        return false;
}

bool class_fall_back(struct sandbox *sb, const struct err *why)
{
        char text[CHOICE_NOTICE_MAX + 1], before[CLASS_NAME_MAX + 32];

        if (sb->remaking && sb->doomed) /* it has failed already, and what is left of it ends now */
                return true;
        snprintf(before, sizeof(before), "runtime class '%s': ", sb->choice.name);
        snprintf(text, sizeof(text), "%.200s", why->msg + (str_has_prefix(why->msg, before) ? strlen(before) : 0));
        if (why->code != ERR_BACKEND_UNAVAILABLE || !sb->allow_fallback || sb->info.pool[0] || sb->info.state != SANDBOX_CREATING ||
            !try_next(sb, text))
                return false;
        sb->offered = false; /* the next class has an engine of its own */
        sb->offer[0] = '\0';
        choice_notice(&sb->choice, text, sizeof(text));
        sandbox_log(sb, true, text);
        record_put(sb, NULL, NULL);
        if (sb->in_warden) {
                sb->remaking = true;
                sandbox_end(sb);
        } else {
                sandbox_make(sb);
        }
        return true;
}

void class_say_fallback(const struct sandbox *sb, struct err *e)
{
        const struct choice_world w = world(sb->all);

        if (e->code == ERR_BACKEND_UNAVAILABLE && !sb->allow_fallback && !sb->info.pool[0])
                choice_hint(&w, sb->choice.name, e);
}

void sandboxes_class_policy(const struct sandboxes *all, const char *class, struct sandbox_class_policy *out)
{
        const struct choice_world w = world(all);
        const struct choice_wish nothing = { .runtime = CLASS_AUTO };
        struct choice normal;
        struct err e;

        *out = (struct sandbox_class_policy){ .table = classes_find(all->config.table, class) };
        for (unsigned i = 0; i < TRUST_LEVELS; i++)
                if (all->config.policy->trust[i][0] && strcmp(all->config.policy->trust[i], class) == 0)
                        out->trust |= 1U << i;
        out->is_default = choice_make(&w, &nothing, &normal, &e) == 0 && strcmp(normal.name, class) == 0;
}

/* ---- drained ones ---- */

static void remember(struct sandboxes *all)
{
        struct wbuf w = text_new();
        struct json_put j = json_put_over(&w);
        size_t len;

        json_put_array(&j);
        for (unsigned i = 0; i < CLASSES_MAX; i++)
                if (all->drained_classes[i][0])
                        json_put_string(&j, all->drained_classes[i]);
        json_put_end(&j);
        char *text = text_take(&w, &len);
        const struct store_op op = { DRAINED_KEY, text, len, STORE_ANY };
        if (text)
                store_txn(all->config.store, &op, 1, true, NULL, NULL);
        free(text);
}

int sandboxes_drain_class(struct sandboxes *all, const char *class, bool drained, struct err *e)
{
        char *slot = class[0] ? drained_slot(all, class) : NULL;

        if (!slot && (class[0] == '\0' || (all->classes.count > 0 && !class_find(all, class)) || strlen(class) > CLASS_NAME_MAX)) {
                err_set(e, ERR_SANDBOX_NOT_FOUND, 0, "no runtime class '%.40s' here", class);
                return err_hint(e, "creto-runtime runtimes");
        }
        if (drained && !slot) {
                slot = drained_slot(all, "");
                if (!slot)
                        return err_set(e, ERR_RESOURCE_EXHAUSTED, 0, "%d runtime classes are drained already", CLASSES_MAX);
                snprintf(slot, CLASS_NAME_MAX + 1, "%s", class);
        } else if (!drained && slot) {
                slot[0] = '\0';
        } else {
                return 0;
        }
        remember(all);
        return 0;
}

static bool take_drained(void *ctx, const struct store_kv *kv)
{
        struct sandboxes *all = ctx;
        struct json_node nodes[CLASSES_MAX + 1];
        struct json_fault fault;
        unsigned n = 0;

        if (strcmp(kv->key, DRAINED_KEY) != 0 || json_parse(kv->value, kv->len, nodes, CLASSES_MAX + 1, &fault) < 0)
                return true;
        for (const struct json_node *m = json_first(nodes); m && n < CLASSES_MAX; m = json_next(nodes, m))
                if (json_str(m, all->drained_classes[n], sizeof(all->drained_classes[n])))
                        n++;
        return true;
}

void classes_load(struct sandboxes *all)
{
        store_range(all->config.store, DRAINED_KEY, take_drained, NULL, all);
}
