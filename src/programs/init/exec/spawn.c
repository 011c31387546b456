/*
 * A command's child shares pid 1's memory until execve (CLONE_VM): copying even small page tables costs more than all the rest. It is
 * not vfork: pid 1 waits at the reading end of a pipe that execve closes, with a deadline, because a process that has become the
 * command's user can be stopped by that user's other processes, and pid 1 must not stop with it. For the same reason:
 *
 *  - the child calls the kernel and writes its own stack and argv[-1], nothing else of pid 1's memory but errno;
 *  - pid 1 does nothing meanwhile but poll(2), and kill(2) to continue it, so that nobody else writes errno;
 *  - that memory is not dumpable, so that nobody may look into it though it carries the user's id.
 *
 * A function of ours runs for long, and gets a copy of the memory.
 */
#include "programs/init/exec/spawn.h"

#include <errno.h>
#include <limits.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <termios.h>

#include "base/fd.h"
#include "base/sys.h"
#include "programs/init/files/files.h"
#include "wire/guest.h"
#include "wire/prewarm.h"

#ifdef __has_feature
#if __has_feature(address_sanitizer)
#define SANITIZED 1
#endif
#endif
#ifdef __SANITIZE_ADDRESS__
#define SANITIZED 1
#endif

enum { FDS_MAX = 1024, STACK = 256 * 1024, PATH_SIZE = 4096, REPORT_FD = 3, STEP_MS = 1 };

struct child {
        const struct spawn *order;
        int report;
};

static bool is_program(const struct spawn *s)
{
        return s->kind == GUEST_KIND_PROGRAM || s->kind == GUEST_KIND_PREWARM;
}

/* The child */

static int place(const struct child *c)
{
        for (int i = 0; i < 3; i++)
                if (c->order->fds[i] != i && dup2(c->order->fds[i], i) < 0)
                        return errno;
        /* 3 is the stream to the host; whatever else pid 1 has open, and what a child still needs of it, has another number. */
        if (c->order->kind == GUEST_KIND_PREWARM ? dup2(c->order->server, PREWARM_FD) < 0 : dup3(c->report, REPORT_FD, O_CLOEXEC) < 0)
                return errno;
        if (c->order->tty && ioctl(1, TIOCSCTTY, 0) < 0)
                return errno;
        return 0;
}

static int enter_cwd(const struct spawn *s)
{
        if (s->cwd)
                return chdir(s->cwd) < 0 ? errno : 0;
        if (s->id->home[0] && chdir(s->id->home) == 0)
                return 0;
        return chdir("/") < 0 ? errno : 0;
}

static void try_program(const char *path, const struct spawn *s)
{
        execve(path, s->argv, s->env);
        if (errno != ENOEXEC)
                return;
        /* Text without an interpreter line is the shell's, as execvp(3) has it. */
        char **argv = s->argv - 1;
        argv[0] = (char *)"/bin/sh";
        argv[1] = (char *)path;
        execve(argv[0], argv, s->env);
}

static int run_program(const struct spawn *s)
{
        const char *name = s->argv[0];
        char path[PATH_SIZE];
        bool denied = false;
        size_t name_len = strlen(name);

        if (strchr(name, '/')) {
                try_program(name, s);
                return errno;
        }
        if (name_len > 255)
                return ENAMETOOLONG;
        for (const char *p = s->path, *end; p; p = *end ? end + 1 : NULL) {
                end = strchrnul(p, ':');
                size_t len = (size_t)(end - p);

                if (len + name_len + 2 > sizeof(path))
                        continue;
                memcpy(path, p, len);
                if (len > 0)
                        path[len++] = '/';
                memcpy(path + len, name, name_len + 1);
                try_program(path, s);
                if (errno == EACCES)
                        denied = true;
                else if (errno != ENOENT && errno != ENOTDIR && errno != ENAMETOOLONG && errno != ELOOP)
                        return errno;
        }
        return denied ? EACCES : ENOENT;
}

static int report_fd(const struct child *c)
{
        return c->order->kind == GUEST_KIND_PREWARM ? c->report : REPORT_FD;
}

static void close_range_of(unsigned first, unsigned last)
{
        if (sys_close_range(first, last, 0) == 0)
                return;
        for (unsigned fd = first; fd <= last && fd < FDS_MAX; fd++) /* an old gVisor has no such call */
                close((int)fd);
}

static void close_others(const struct child *c)
{
        unsigned report = (unsigned)report_fd(c);

        if (report > PREWARM_FD + 1)
                close_range_of(PREWARM_FD + 1, report - 1);
        close_range_of(report + 1, INT_MAX); /* gVisor takes nothing beyond */
}

static void must(const struct child *c, int sys, enum guest_stage stage)
{
        struct spawn_failure f = { (int32_t)stage, sys };

        if (sys == 0)
                return;
        if (write(report_fd(c), &f, sizeof(f)) != (ssize_t)sizeof(f))
                _exit(126);
        _exit(127);
}

static void reset_signals(void)
{
        struct sigaction dfl = { .sa_handler = SIG_DFL };
        sigset_t none;

        sigaction(SIGCHLD, &dfl, NULL); /* the only one that pid 1 changed; main.c saw to the inherited ones */
        sigemptyset(&none);
        sigprocmask(SIG_SETMASK, &none, NULL);
}

static int child_main(void *arg)
{
        const struct child *c = arg;
        const struct spawn *s = c->order;

        setsid();
        must(c, place(c), GUEST_STAGE_SYSTEM);
        must(c, confine_become(s->id), GUEST_STAGE_USER);
        must(c, confine_limits(), GUEST_STAGE_CONFINE);
        must(c, enter_cwd(s), GUEST_STAGE_CWD);
        must(c, confine_landlock(), GUEST_STAGE_CONFINE);
        close_others(c);
        reset_signals();
        if (is_program(s))
                must(c, run_program(s), GUEST_STAGE_EXEC);
        close(REPORT_FD);
        _exit(files_run(s->kind, s->argc, s->argv));
}

/* pid 1 */

static pid_t start(struct child *c)
{
#ifdef SANITIZED
        pid_t pid = fork(); /* a sanitizer does not know of a second stack in shared memory */

        if (pid == 0)
                _exit(child_main(c));
        return pid;
#else
        static uint8_t stack[STACK] __attribute__((aligned(4096)));

        return clone(child_main, stack + STACK, SIGCHLD | (is_program(c->order) ? CLONE_VM : 0), c);
#endif
}

/* False where the time is over. A child that takes longer than it should may have been stopped: it is told to go on. */
static bool report_ready(pid_t pid, int fd)
{
        struct pollfd p = { .fd = fd, .events = POLLIN };

        for (int waited = 0; waited < SPAWN_MS; waited += STEP_MS) {
                if (poll(&p, 1, STEP_MS) > 0)
                        return true;
                kill(pid, SIGCONT); /* it is not reaped and we may: this does not fail, and so does not write errno */
        }
        return false;
}

/* Returns 0 where the child went on to run, or -1 with *failure. */
static int await(pid_t pid, int fd, struct spawn_failure *failure)
{
        bool late = !report_ready(pid, fd);

        if (late)
                kill(pid, SIGKILL);
        ssize_t n = read(fd, failure, sizeof(*failure));
        if (!late && n == 0)
                return 0;
        if (n != (ssize_t)sizeof(*failure))
                *failure = (struct spawn_failure){ GUEST_STAGE_SYSTEM, ETIMEDOUT };
        while (waitpid(pid, NULL, 0) < 0 && errno == EINTR)
                ;
        return -1;
}

pid_t spawn(const struct spawn *order, struct spawn_failure *failure)
{
        int ends[2];

        *failure = (struct spawn_failure){ GUEST_STAGE_SYSTEM, 0 };
        if (pipe2(ends, O_CLOEXEC) < 0) {
                failure->sys = errno;
                return -1;
        }
        auto_fd reading = ends[0];
        auto_fd writing = ends[1];
        struct child c = { order, writing };
        pid_t pid = start(&c);
        if (pid < 0) {
                failure->sys = errno;
                return -1;
        }
        close(take_fd(&writing)); /* fd_close() would write errno, see above */
        return await(pid, reading, failure) < 0 ? -1 : pid;
}
