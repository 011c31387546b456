/*
 * Runtime classes as the daemon sees them: which there are is the warden's to say; which of them are drained is the operator's, and is remembered.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/text.h"
#include "domain/classes.h"
#include "services/sandbox/internal.h"
#include "services/vm/vm.h"
#include "wire/json.h"

#define DRAINED_KEY "runtimes/drained"

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

static void on_classes(void *ctx, const struct link_answer *a)
{
        struct look *l = ctx;

        if (a->classes) {
                l->all->classes = *a->classes;
                machine_describe(l->all);
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
        link_classes(all->link, on_classes, l);
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
        const char *name = strcmp(class, "auto") == 0 ? "native" : class;

        if (all->classes.count > 0 && !class_find(all, name)) {
                err_set(e, ERR_INVALID_SPEC, 0, "there is no runtime class '%s'", name);
                return err_hint(e, "creto-runtime runtimes lists them");
        }
        if (!sandboxes_drained(all, name))
                return 0;
        err_set(e, ERR_BACKEND_UNAVAILABLE, 0, "runtime class '%s' is drained: it takes no new sandboxes", name);
        return err_hint(e, "creto-runtime enable --runtime %s", name);
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
