#include "domain/choice.h"

#include <stdio.h>
#include <string.h>

#include "domain/limits.h"

const char *const trust_names[TRUST_LEVELS] = { "", "trusted", "standard", "untrusted", "confidential" };

/* The strongest first. */
static const char *const automatic[] = { "gvisor", "native" };

enum trust trust_of(const char *name)
{
        for (unsigned i = TRUST_UNSAID + 1; i < TRUST_LEVELS; i++)
                if (strcmp(trust_names[i], name) == 0)
                        return (enum trust)i;
        return TRUST_UNSAID;
}

void choice_policy_init(struct choice_policy *p)
{
        *p = (struct choice_policy){ .normal = CLASS_AUTO,
                                     .trust = { [TRUST_TRUSTED] = "runc", [TRUST_STANDARD] = "gvisor", [TRUST_UNTRUSTED] = "kata" },
                                     .fallback_count = 2,
                                     .fallback = { "gvisor", "native" } };
}

static void name_it(char out[CLASS_NAME_MAX + 1], const char *name)
{
        snprintf(out, CLASS_NAME_MAX + 1, "%s", name);
}

/* Another reason why a class is not the one. */
static void add_why(struct choice *c, const char *class, const char *reason)
{
        char more[CHOICE_WHY_MAX + CLASS_NAME_MAX + 8];
        size_t n = strlen(c->why);

        snprintf(more, sizeof(more), "%s%.*s: %.*s", n ? "; " : "", CLASS_NAME_MAX, class, CHOICE_WHY_MAX, reason);
        snprintf(c->why + n, sizeof(c->why) - n, "%.*s", (int)(sizeof(c->why) - n - 1), more);
}

/* NULL where it can be had. */
static const char *not_to_be_had(const struct choice_class *is)
{
        return !is->known ? "there is no such class" : is->drained ? "it is drained" : !is->available ? is->reason : NULL;
}

/* NULL where it can be had, with the limits that were named. */
static const char *not_for_these(const struct choice_class *is, uint32_t limits, char text[64])
{
        const char *why = not_to_be_had(is);

        for (unsigned i = 0; i < LIMIT_COUNT && !why; i++)
                if (limits & ~is->limits & (1U << i)) {
                        snprintf(text, 64, "it cannot keep --%s", limit_table[i].flag);
                        why = text;
                }
        return why;
}

/* ---- one after the other ---- */

static int choose_automatic(const struct choice_world *w, const struct choice_wish *wish, struct choice *c, struct err *e)
{
        enum { LAST = sizeof(automatic) / sizeof(automatic[0]) - 1 };

        for (unsigned i = 0; i <= LAST; i++) {
                struct choice_class is = { .known = false };
                char text[64];

                w->look(w->ctx, automatic[i], &is);
                const char *why = i < LAST ? not_for_these(&is, wish->limits, text)
                                           : not_to_be_had(&is); /* the last one says itself what it lacks */
                if (!why) {
                        name_it(c->name, automatic[i]);
                        return 0;
                }
                add_why(c, automatic[i], why);
        }
        err_set(e, ERR_BACKEND_UNAVAILABLE, 0, "no runtime class takes new sandboxes: %s", c->why);
        return err_hint(e, "creto-runtime runtimes says what each lacks; creto-runtime enable --runtime CLASS ends a drain");
}

bool choice_next(const struct choice_world *w, uint32_t limits, const char *why, struct choice *c)
{
        const struct choice_policy *p = w->policy;
        struct choice next = *c;
        unsigned i = 0;

        add_why(&next, c->name, why);
        while (i < p->fallback_count && strcmp(p->fallback[i], c->name) != 0)
                i++;
        i = i == p->fallback_count ? 0 : i + 1;
        for (; i < p->fallback_count; i++) {
                struct choice_class is = { .known = false };
                char text[64];

                if (strcmp(p->fallback[i], c->requested) == 0)
                        continue; /* that was tried first */
                w->look(w->ctx, p->fallback[i], &is);
                const char *not_this = not_for_these(&is, limits, text);
                if (!not_this) {
                        name_it(next.name, p->fallback[i]);
                        *c = next;
                        return true;
                }
                add_why(&next, p->fallback[i], not_this);
        }
        return false;
}

/* ---- what was asked for ---- */

/* The class of a trust level. */
static int choose_trusted(const struct choice_world *w, const struct choice_wish *wish, struct choice *c, struct err *e)
{
        const char *level = trust_names[wish->trust], *class = w->policy->trust[wish->trust];

        if (!class[0]) {
                err_set(e, ERR_BACKEND_UNAVAILABLE, 0, "trust level '%s': no runtime class here has it", level);
                return err_hint(
                        e, "[trust] of the configuration says which class a level leads to; no fallback stands in for one that has none");
        }
        if (strcmp(wish->runtime, CLASS_AUTO) != 0 && strcmp(wish->runtime, class) != 0) {
                err_set(e, ERR_INVALID_SPEC, 0,
                        "trust level '%s' leads to runtime class '%s' here, and runtime class '%s' was named as well", level, class,
                        wish->runtime);
                return err_hint(e, "name one of the two");
        }
        name_it(c->name, class);
        return 0;
}

void choice_hint(const struct choice_world *w, const char *class, struct err *e)
{
        struct choice c = { .why = "" };
        char before[ERR_HINT_MAX];

        name_it(c.name, class);
        name_it(c.requested, class);
        if (!choice_next(w, 0, "", &c))
                return;
        snprintf(before, sizeof(before), "%.150s", e->hint);
        err_hint(e, "%s%s--allow-fallback (allowFallback) is content with %s instead", before, before[0] ? "; " : "", c.name);
}

static int refuse(const struct choice_world *w, const struct choice *c, const struct choice_class *is, struct err *e)
{
        err_set(e, ERR_BACKEND_UNAVAILABLE, 0,
                is->drained ? "runtime class '%s' is drained: it takes no new sandboxes" : "there is no runtime class '%s' here", c->name);
        if (is->drained)
                err_hint(e, "creto-runtime enable --runtime %s", c->name);
        else
                err_hint(e, "creto-runtime runtimes lists them");
        choice_hint(w, c->name, e);
        return -(int)e->code;
}

/* Firecracker by Kata's shim, where that is installed and gives what was named: it is the same machine with more around it. */
static void prefer_kata(const struct choice_world *w, const struct choice_wish *wish, struct choice *c)
{
        static const char ours[] = "firecracker", theirs[] = "kata-fc";
        struct choice_class own = { .known = false }, kata = { .known = false };
        char text[64];

        if (strcmp(c->name, ours) != 0 || wish->hardware)
                return;
        w->look(w->ctx, ours, &own);
        w->look(w->ctx, theirs, &kata);
        if (own.drained || not_for_these(&kata, wish->limits, text))
                return;
        add_why(c, ours, "Kata's is installed");
        name_it(c->name, theirs);
}

int choice_make(const struct choice_world *w, const struct choice_wish *wish, struct choice *out, struct err *e)
{
        bool is_auto = strcmp(wish->runtime, CLASS_AUTO) == 0;
        struct choice c = { .why = "" };
        struct choice_class is = { .known = false };

        if (wish->trust != TRUST_UNSAID && choose_trusted(w, wish, &c, e) < 0)
                return -(int)e->code;
        if (!c.name[0])
                name_it(c.name, is_auto ? w->policy->normal : wish->runtime);
        name_it(c.requested, is_auto && wish->trust == TRUST_UNSAID ? CLASS_AUTO : c.name);
        if (strcmp(c.name, CLASS_AUTO) == 0) {
                if (choose_automatic(w, wish, &c, e) < 0)
                        return -(int)e->code;
                *out = c;
                return 0;
        }
        prefer_kata(w, wish, &c);
        w->look(w->ctx, c.name, &is);
        if (!is.known && !is_auto && wish->trust == TRUST_UNSAID) {
                err_set(e, ERR_INVALID_SPEC, 0, "there is no runtime class '%s'", c.name);
                return err_hint(e, "creto-runtime runtimes lists them");
        }
        const char *why = not_to_be_had(&is);
        if (why && (!wish->allow_fallback || !choice_next(w, wish->limits, why, &c)) && (!is.known || is.drained))
                return refuse(w, &c, &is, e);
        *out = c;
        return 0;
}

void choice_notice(const struct choice *c, char *out, size_t cap)
{
        bool is_auto = strcmp(c->requested, CLASS_AUTO) == 0;

        out[0] = '\0';
        if (c->why[0])
                snprintf(out, cap, "the runtime class is %s%s%s; %s", c->name, is_auto ? "" : ", not ", is_auto ? "" : c->requested,
                         c->why);
}
