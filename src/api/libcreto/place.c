/*
 * Which runtime class a sandbox of embedded mode gets: there is no operator's configuration here, so the built-in classes, and what is installed. The warden looks again.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "api/libcreto/handles.h"
#include "base/fd.h"
#include "base/str.h"
#include "domain/vmm.h"

static bool is_installed(const char *program)
{
        char path[CLASS_BINARY_MAX + 32];

        for (unsigned i = 0; class_place(program, i, path, sizeof(path)); i++)
                if (access(path, F_OK) == 0)
                        return true;
        return false;
}

static void look(void *ctx, const char *name, struct choice_class *out)
{
        const struct creto_runtime *rt = ctx;
        const struct runtime_class *class;
        struct classes all;

        classes_init(&all);
        class = classes_find(&all, name);
        *out = (struct choice_class){ .known = class != NULL, .limits = class ? ~class_lacks(class) : 0 };
        if (!class)
                return;
        bool may = rt->is_root || !class_has_shim(class);
        out->available = class->driver == CLASS_NATIVE ||
                         (may && is_installed(class->binary) && (!class_runtime(class) || is_installed(class_runtime(class))));
        snprintf(out->reason, sizeof(out->reason), may ? "%s is not installed" : "%s needs root", class->binary);
}

static struct choice_policy policy;

static struct choice_world world(struct creto_runtime *rt)
{
        choice_policy_init(&policy);
        if (!rt->is_root) /* an ordinary user's gVisor promises less: who wants it names it */
                snprintf(policy.normal, sizeof(policy.normal), "native");
        return (struct choice_world){ &policy, look, rt };
}

int place_open_engine(const char *path, int *out, struct err *e)
{
        struct stat st;

        if (geteuid() != 0) {
                err_set(e, ERR_AUTHORIZATION_DENIED, 0, "--runsc-path: only root may name an engine");
                return err_hint(e, "sudo, or leave it out");
        }
        int fd = fd_open_trusted(path, false, &st);
        if (fd >= 0) {
                *out = fd;
                return 0;
        }
        err_set(e, ERR_INVALID_SPEC, errno == EPERM ? 0 : errno, "--runsc-path: '%.200s' %s", path,
                errno == EPERM ? "is no program that root owns and nobody else may write" : "cannot be opened");
        return errno == EPERM ? err_hint(e, "chown root and chmod 755 it, if you trust who made it") : -(int)e->code;
}

int place_choose(struct creto_runtime *rt, const struct spec *spec, struct choice *out, struct err *e)
{
        const struct choice_wish wish = { spec->runtime, spec->trust, spec->allow_fallback, spec->limits.wanted, spec->hw_config };
        const struct choice_world w = world(rt);

        if (vmm_is_class(spec->runtime)) {
                err_set(e, ERR_NOT_SUPPORTED, 0, "runtime class '%s' needs the service", spec->runtime);
                return err_hint(e, "start creto-runtimed, then: creto-runtime spawn --runtime %s", spec->runtime);
        }
        return choice_make(&w, &wish, out, e);
}

bool place_fall_back(struct creto_runtime *rt, const struct spec *spec, struct choice *c, struct err *e)
{
        const struct choice_world w = world(rt);
        char before[CLASS_NAME_MAX + 32];

        if (e->code != ERR_BACKEND_UNAVAILABLE)
                return false;
        snprintf(before, sizeof(before), "runtime class '%s': ", c->name);
        if (spec->allow_fallback)
                return choice_next(&w, spec->limits.wanted, e->msg + (str_has_prefix(e->msg, before) ? strlen(before) : 0), c);
        if (str_has_prefix(e->msg, before))
                choice_hint(&w, c->name, e);
        return false;
}
