#include "services/warden/engine.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include "base/clock.h"
#include "base/fd.h"
#include "base/proc.h"
#include "domain/offers.h"

/* One that never answers holds up everybody else for TRY_MS at a time: it is asked less and less. */
enum { TRY_MS = 2000, AGAIN_MS = 5000, AGAIN_MS_MAX = 160000 };

/* What an ordinary user starts has no rights but theirs; and whose it is, their namespace does not say. */
static int open_engine(const struct runtime_class *class, const char *binary, bool user, char path[ENGINE_PATH_MAX], struct stat *st,
                       struct err *e)
{
        int fd = -1, failed = ENOENT;

        for (unsigned i = 0; fd < 0 && class_place(binary, i, path, ENGINE_PATH_MAX); i++)
                if ((fd = fd_open_trusted(path, user, st)) < 0 && errno != ENOENT)
                        failed = errno;
        if (fd >= 0)
                return fd;
        err_set(e, ERR_BACKEND_UNAVAILABLE, 0, "runtime class '%s': %s %s", class->name, binary,
                failed != EPERM ? "is not installed"
                : user          ? "is no program that nobody else may write"
                                : "is no program that root owns and nobody else may write");
        return err_hint(e, "%s",
                        failed == EPERM ? "chmod 755 it, and for the service chown root, if you trust who made it"
                                        : class_hint(class, binary));
}

/* Looked at now: it may have been given away since it was opened. */
static int take_offered(int offered, struct stat *st, struct err *e)
{
        return fd_is_trusted(offered, false, st) ? fcntl(offered, F_DUPFD_CLOEXEC, 3) : offers_distrust(e);
}

static int not_working(const struct runtime_class *class, const struct nest_engine *known, struct err *e)
{
        err_set(e, ERR_BACKEND_UNAVAILABLE, 0, "runtime class '%s': %s %s does not answer as an engine does", class->name, class->binary,
                class_version_arg(class));
        return err_hint(e, "is it the right program? Run it by hand; it is asked again when the file changes, and after %d s",
                        (int)(known->wait_ms / 1000));
}

/* One that took too long, on a host that had other things to do, may be well. `runtime`: what the engine calls, or the engine itself. */
static void ask(const struct runtime_class *class, int exe, int runtime, struct nest_engine *known)
{
        const char *version[] = { class->binary, class_version_arg(class), NULL }, *argv[CLASS_ARGS_MAX];
        char ignored[64];
        int old = 0;

        known->works = proc_ask(exe, version, TRY_MS, known->version, sizeof(known->version)) == 0;
        if (known->works && class_probe_argv(class, argv))
                old = proc_ask(runtime, argv, TRY_MS, ignored, sizeof(ignored));
        known->works &= old >= 0 && !WIFSIGNALED(old);
        known->old = old > 0;
        known->wait_ms = !known->wait_ms ? AGAIN_MS : known->wait_ms < AGAIN_MS_MAX ? 2 * known->wait_ms : AGAIN_MS_MAX;
        known->again_ms = clock_ms(CLOCK_MONOTONIC) + known->wait_ms;
}

int engine_ready(struct nest *n, const struct runtime_class *class, int offered, bool *old, char behind[ENGINE_PATH_MAX], struct err *e)
{
        struct nest_engine this_one = { .works = false }, *known = offered >= 0 ? &this_one : &n->engines[class - n->config.classes->of];
        char path[ENGINE_PATH_MAX];
        struct stat st, second = { 0 };
        bool user = n->config.user;

        if (user && class_has_shim(class)) {
                err_set(e, ERR_BACKEND_UNAVAILABLE, 0, "runtime class '%s' needs root", class->name);
                return err_hint(e, "use the service, or sudo; an OCI engine does without");
        }
        behind[0] = '\0';
        auto_fd exe = offered >= 0 ? take_offered(offered, &st, e) : open_engine(class, class->binary, user, path, &st, e);
        auto_fd runtime = exe >= 0 && class_runtime(class) ? open_engine(class, class_runtime(class), user, behind, &second, e) : -1;
        if (exe < 0 || (runtime < 0 && class_runtime(class)))
                return -(int)e->code;
        uint64_t changed = (uint64_t)(st.st_ctim.tv_sec ^ second.st_ctim.tv_sec) * 1000000000 +
                           (uint64_t)(st.st_ctim.tv_nsec ^ second.st_ctim.tv_nsec);
        if (known->ino != st.st_ino || known->dev != st.st_dev || known->changed_ns != changed)
                *known = (struct nest_engine){ .dev = st.st_dev, .ino = st.st_ino, .changed_ns = changed };
        if (!known->works && clock_ms(CLOCK_MONOTONIC) >= known->again_ms)
                ask(class, exe, runtime >= 0 ? runtime : exe, known);
        *old = known->old;
        return known->works ? take_fd(&exe) : not_working(class, known, e);
}
