#include "base/ns.h"

#include <errno.h>
#include <fcntl.h>
#include <net/if.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/fd.h"

enum { STACK = 16384 };

static _Alignas(16) char stack[STACK];

int ns_lo_up(struct err *e)
{
        struct ifreq lo = { .ifr_name = "lo", .ifr_flags = IFF_UP };
        auto_fd s = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);

        return s < 0 || ioctl(s, SIOCSIFFLAGS, &lo) < 0 ? err_sys(e, "cannot set up a network namespace") : 0;
}

/* Holds a namespace open until it is mapped. It must not outlive us, since it has a copy of every descriptor we have: a parent that died before the
 * order to die with it was given is noticed by the other name of our parent. */
static int userns_child(void *parent)
{
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        if (syscall(SYS_getppid) != *(pid_t *)parent)
                return 0;
        while (pause() < 0)
                ;
        return 0;
}

static int write_map(pid_t pid, const char *file, const struct ns_map *map, struct err *e)
{
        char path[64], text[64];

        snprintf(path, sizeof(path), "/proc/%d/%s", pid, file);
        snprintf(text, sizeof(text), "%u %u %u", map->inside, map->outside, map->count);
        return fd_write_file(AT_FDCWD, path, text) < 0 ? err_sys(e, "cannot write the id map '%s'", text) : 0;
}

int ns_user(const struct ns_map *map, struct err *e)
{
        char path[64];
        int r;
        static pid_t self; /* static: the child may look after we are gone */

        self = getpid();
        pid_t pid = clone(userns_child, stack + STACK, CLONE_VM | CLONE_NEWUSER | SIGCHLD, &self);

        if (pid < 0)
                return err_sys(e, "cannot make a user namespace");
        r = write_map(pid, "uid_map", map, e);
        if (r == 0)
                r = write_map(pid, "gid_map", map, e);
        if (r == 0) {
                snprintf(path, sizeof(path), "/proc/%d/ns/user", pid);
                r = open(path, O_RDONLY | O_CLOEXEC);
                if (r < 0)
                        r = err_sys(e, "cannot open a user namespace");
        }
        kill(pid, SIGKILL);
        waitpid(pid, NULL, 0);
        return r;
}

int ns_become_root(struct err *e)
{
        char map[64];
        uid_t uid = geteuid();
        gid_t gid = getegid();

        if (unshare(CLONE_NEWUSER | CLONE_NEWNS) < 0) {
                err_set(e, ERR_NOT_SUPPORTED, errno, "cannot make a user namespace");
                return err_hint(e, "'creto-runtime doctor' says what forbids it; as root it is not needed");
        }
        snprintf(map, sizeof(map), "0 %u 1", gid);
        if (fd_write_file(AT_FDCWD, "/proc/self/setgroups", "deny") < 0 || fd_write_file(AT_FDCWD, "/proc/self/gid_map", map) < 0)
                return err_sys(e, "cannot map our group");
        snprintf(map, sizeof(map), "0 %u 1", uid);
        if (fd_write_file(AT_FDCWD, "/proc/self/uid_map", map) < 0)
                return err_sys(e, "cannot map our user");
        if (setresgid(0, 0, 0) < 0 || setresuid(0, 0, 0) < 0)
                return err_sys(e, "cannot become root of our own user namespace");
        return 0;
}
