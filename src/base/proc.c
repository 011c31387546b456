#include "base/proc.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/str.h"
#include "base/sys.h"

void proc_exec(int exe, int count, const char *const *argv, const char *more)
{
        const char *const env[] = { "PATH=/usr/sbin:/usr/bin:/sbin:/bin", more, NULL };
        sigset_t none;

        sigemptyset(&none);
        sigprocmask(SIG_SETMASK, &none, NULL);
        signal(SIGPIPE, SIG_DFL);
        sys_close_range((unsigned)count, ~0U, 1U << 2 /* CLOSE_RANGE_CLOEXEC */);
        fcntl(exe, F_SETFD, 0); /* a script's interpreter opens it once more */
        syscall(SYS_execveat, exe, "", argv, env, AT_EMPTY_PATH);
}

static void answer(int exe, const char *const *argv, int out)
{
        const int fds[] = { open("/dev/null", O_RDONLY | O_CLOEXEC), out, out };

        prctl(PR_SET_PDEATHSIG, SIGKILL);
        setsid();
        exe = fd_high(exe);
        if (fd_arrange(fds, 3) == 0)
                proc_exec(exe, 3, argv, NULL);
        _exit(127);
}

int proc_ask(int exe, const char *const *argv, int ms, char *said, size_t cap)
{
        static char text[PROC_SAID_MAX + 1];
        auto_fd out = memfd_create("said", MFD_CLOEXEC | MFD_ALLOW_SEALING);
        int status = -1;

        if (out < 0 || ftruncate(out, PROC_SAID_MAX) < 0 || fcntl(out, F_ADD_SEALS, F_SEAL_GROW | F_SEAL_SHRINK | F_SEAL_SEAL) < 0)
                return -1;
        pid_t pid = fork();

        if (pid == 0)
                answer(exe, argv, out);
        if (pid < 0)
                return -1;
        auto_fd pidfd = sys_pidfd_open(pid);
        struct pollfd p = { .fd = pidfd, .events = POLLIN };
        bool late = pidfd < 0 || poll(&p, 1, ms) <= 0;
        if (late && kill(-pid, SIGKILL) < 0)
                kill(pid, SIGKILL);
        while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
                ;
        ssize_t n = pread(out, text, PROC_SAID_MAX, 0);
        text[n > 0 ? n : 0] = '\0';
        size_t len = strcspn(text, "\n");
        if (len > 0 && text[len - 1] == ':' && text[len]) {
                text[len] = ' ';
                len = strcspn(text, "\n");
        }
        text[len] = '\0';
        str_last_line(text, said, cap);
        return late ? -1 : status;
}

/* A parent that was killed before the order to die with it was given does not read any more. */
static bool has_parent(const int told[2])
{
        struct pollfd p = { .fd = told[1] };

        close(told[0]);
        return prctl(PR_SET_PDEATHSIG, SIGKILL) == 0 && poll(&p, 1, 0) == 0;
}

static int end_as(const siginfo_t *info)
{
        return info->si_code == CLD_EXITED ? info->si_status : 128 + info->si_status;
}

static void tell(int fd, siginfo_t info)
{
        siginfo_t other;

        if (waitid(P_ALL, 0, &other, WEXITED | WNOHANG | WNOWAIT) < 0)
                info.si_pid = 0;
        fd_write_all(fd, &info, sizeof(info));
}

void proc_hold(const int told[2])
{
        siginfo_t info;
        int end = 0;
        pid_t child = has_parent(told) ? fork() : -1;

        if (child == 0)
                return;
        if (child < 0 || dup2(told[1], 0) < 0)
                _exit(127);
        sys_close_range(1, ~0U, 0);
        for (int r; (r = waitid(P_ALL, 0, &info, WEXITED)) == 0 || errno == EINTR;) {
                if (r == 0)
                        end = end_as(&info);
                if (r == 0 && info.si_pid == child)
                        tell(0, info);
        }
        _exit(end);
}

void proc_bury(bool (*known)(void *ctx, pid_t pid), void *ctx)
{
        for (;;) {
                siginfo_t info = { 0 };

                if (waitid(P_ALL, 0, &info, WEXITED | WNOHANG | WNOWAIT) < 0 || info.si_pid == 0 || known(ctx, info.si_pid))
                        return;
                waitpid(info.si_pid, NULL, 0);
        }
}

uint64_t proc_start_time(pid_t pid)
{
        char path[32], text[1024];
        unsigned long long start = 0;

        snprintf(path, sizeof(path), "/proc/%d/stat", pid);
        if (fd_read_file(AT_FDCWD, path, text, sizeof(text)) <= 0)
                return 0;
        char *field = strrchr(text, ')'); /* the name before it may hold anything */
        for (int i = 2; field && i < 22; i++)
                field = strchr(field + 1, ' ');
        return field && sscanf(field, " %llu", &start) == 1 ? start : 0;
}
