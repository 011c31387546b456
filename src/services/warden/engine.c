#include "services/warden/engine.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/sys.h"

enum { TRY_MS = 2000, SAID_MAX = 65536 };

void engine_exec(int exe, int count, const char *const *argv)
{
        static char *const env[] = { "PATH=/usr/sbin:/usr/bin:/sbin:/bin", NULL };
        sigset_t none;

        sigemptyset(&none);
        sigprocmask(SIG_SETMASK, &none, NULL);
        signal(SIGPIPE, SIG_DFL);
        sys_close_range((unsigned)count, ~0U, 1U << 2 /* CLOSE_RANGE_CLOEXEC */);
        fcntl(exe, F_SETFD, 0); /* a script's interpreter opens it once more */
        syscall(SYS_execveat, exe, "", argv, env, AT_EMPTY_PATH);
}

/* ---- is it there, and whose is it ---- */

static int open_engine(const struct runtime_class *class, struct stat *st, struct err *e)
{
        char path[CLASS_BINARY_MAX + 32];
        int fd = -1;

        if (class->binary[0] == '/')
                fd = open(class->binary, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
        for (const char *const *dir = class_dirs; *dir && fd < 0 && class->binary[0] != '/'; dir++) {
                snprintf(path, sizeof(path), "%s/%s", *dir, class->binary);
                fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
        }
        if (fd < 0) {
                err_set(e, ERR_BACKEND_UNAVAILABLE, errno == ENOENT ? 0 : errno, "runtime class '%s': its engine %s is not installed", class->name,
                        class->binary);
                return err_hint(e, "%s", class_hint(class));
        }
        if (fstat(fd, st) == 0 && S_ISREG(st->st_mode) && st->st_uid == 0 && !(st->st_mode & 022) && (st->st_mode & 0111))
                return fd;
        close(fd);
        err_set(e, ERR_BACKEND_UNAVAILABLE, 0, "runtime class '%s': %s is no program that root owns and nobody else may write", class->name,
                class->binary);
        return err_hint(e, "chown root and chmod 755 it, if you trust who made it");
}

/* ---- does it work ---- */

/* Runs it for TRY_MS at most and takes the first line of what it says. Returns its wait status, or -1. */
static int try_engine(int exe, const char *const *argv, char *said, size_t cap)
{
        auto_fd out = memfd_create("said", MFD_CLOEXEC);
        int status = -1;
        pid_t pid = out < 0 ? -1 : fork();

        if (pid == 0) {
                const struct rlimit size = { SAID_MAX, SAID_MAX };
                int null = open("/dev/null", O_RDONLY | O_CLOEXEC);

                prctl(PR_SET_PDEATHSIG, SIGKILL);
                setsid();
                setrlimit(RLIMIT_FSIZE, &size);
                if (null >= 0 && dup2(null, 0) >= 0 && dup2(out, 1) >= 0 && dup2(out, 2) >= 0)
                        engine_exec(fcntl(exe, F_DUPFD_CLOEXEC, 10), 3, argv);
                _exit(127);
        }
        auto_fd pidfd = pid < 0 ? -1 : sys_pidfd_open(pid);
        if (pidfd < 0)
                return -1;
        struct pollfd p = { .fd = pidfd, .events = POLLIN };
        bool late = poll(&p, 1, TRY_MS) <= 0;
        kill(late ? -pid : pid, late ? SIGKILL : 0);
        while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
                ;
        ssize_t n = pread(out, said, cap - 1, 0);
        said[n > 0 ? n : 0] = '\0';
        for (char *c = said; *c; c++)
                if (*c < ' ' || *c > '~')
                        *c = *c == '\n' ? '\0' : '?';
        return late ? -1 : status;
}

static int not_working(const struct runtime_class *class, struct err *e)
{
        err_set(e, ERR_BACKEND_UNAVAILABLE, 0, "runtime class '%s': %s --version does not answer as an engine does", class->name, class->binary);
        return err_hint(e, "is it the right program? Run it by hand; what it answered is looked at again when the file changes");
}

int engine_ready(struct nest *n, const struct runtime_class *class, bool *old, struct err *e)
{
        struct nest_engine *known = &n->engines[class - n->config.classes->of];
        const char *version[] = { class->binary, "--version", NULL }, *argv[CLASS_ARGS_MAX];
        char ignored[64];
        struct stat st;

        if (n->config.user) {
                err_set(e, ERR_BACKEND_UNAVAILABLE, 0, "runtime class '%s' needs root", class->name);
                return err_hint(e, "use the service, or sudo; class native does without");
        }
        auto_fd exe = open_engine(class, &st, e);
        if (exe < 0)
                return exe;
        uint64_t changed = (uint64_t)st.st_ctim.tv_sec * 1000000000 + (uint64_t)st.st_ctim.tv_nsec;
        if (known->ino != st.st_ino || known->dev != st.st_dev || known->changed_ns != changed) {
                *known = (struct nest_engine){ .dev = st.st_dev, .ino = st.st_ino, .changed_ns = changed };
                known->works = try_engine(exe, version, known->version, sizeof(known->version)) == 0;
                known->old = known->works && class_probe_argv(class, argv) && try_engine(exe, argv, ignored, sizeof(ignored)) != 0;
        }
        *old = known->old;
        return known->works ? take_fd(&exe) : not_working(class, e);
}
