#include "services/warden/engine.h"

#include <errno.h>
#include <sys/stat.h>

#include "base/fd.h"
#include "base/proc.h"

enum { TRY_MS = 2000 };

static int open_engine(const struct runtime_class *class, const char *binary, char path[ENGINE_PATH_MAX], struct stat *st, struct err *e)
{
        int fd = -1, failed = ENOENT;

        for (unsigned i = 0; fd < 0 && class_place(binary, i, path, ENGINE_PATH_MAX); i++)
                if ((fd = fd_open_trusted(path, st)) < 0 && errno != ENOENT)
                        failed = errno;
        if (fd >= 0)
                return fd;
        err_set(e, ERR_BACKEND_UNAVAILABLE, 0, "runtime class '%s': %s %s", class->name, binary,
                failed == EPERM ? "is no program that root owns and nobody else may write" : "is not installed");
        return err_hint(e, "%s", failed == EPERM ? "chown root and chmod 755 it, if you trust who made it" : class_hint(class, binary));
}

static int not_working(const struct runtime_class *class, struct err *e)
{
        err_set(e, ERR_BACKEND_UNAVAILABLE, 0, "runtime class '%s': %s %s does not answer as an engine does", class->name,
                class->binary, class_version_arg(class));
        return err_hint(e, "is it the right program? Run it by hand; what it answered is looked at again when the file changes");
}

int engine_ready(struct nest *n, const struct runtime_class *class, bool *old, char behind[ENGINE_PATH_MAX], struct err *e)
{
        struct nest_engine *known = &n->engines[class - n->config.classes->of];
        const char *version[] = { class->binary, class_version_arg(class), NULL }, *argv[CLASS_ARGS_MAX];
        char ignored[64], path[ENGINE_PATH_MAX];
        struct stat st, second = { 0 };

        if (n->config.user) {
                err_set(e, ERR_BACKEND_UNAVAILABLE, 0, "runtime class '%s' needs root", class->name);
                return err_hint(e, "use the service, or sudo; class native does without");
        }
        behind[0] = '\0';
        auto_fd exe = open_engine(class, class->binary, path, &st, e);
        auto_fd runtime = exe >= 0 && class_runtime(class) ? open_engine(class, class_runtime(class), behind, &second, e) : -1;
        if (exe < 0 || (runtime < 0 && class_runtime(class)))
                return -(int)e->code;
        uint64_t changed = (uint64_t)(st.st_ctim.tv_sec ^ second.st_ctim.tv_sec) * 1000000000 +
                           (uint64_t)(st.st_ctim.tv_nsec ^ second.st_ctim.tv_nsec);
        if (known->ino != st.st_ino || known->dev != st.st_dev || known->changed_ns != changed) {
                *known = (struct nest_engine){ .dev = st.st_dev, .ino = st.st_ino, .changed_ns = changed };
                known->works = proc_ask(exe, version, TRY_MS, known->version, sizeof(known->version)) == 0;
                known->old = known->works && class_probe_argv(class, argv) && proc_ask(runtime >= 0 ? runtime : exe, argv, TRY_MS, ignored, sizeof(ignored)) != 0;
        }
        *old = known->old;
        return known->works ? take_fd(&exe) : not_working(class, e);
}
