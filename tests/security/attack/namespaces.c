/* Other namespaces: new ones, and somebody else's. */
#include <errno.h>
#include <fcntl.h>
#include <linux/sched.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "attack.h"

static const struct {
        const char *name;
        unsigned flag;
} kinds[] = {
        { "mnt", CLONE_NEWNS },  { "pid", CLONE_NEWPID },   { "net", CLONE_NEWNET },       { "ipc", CLONE_NEWIPC },
        { "uts", CLONE_NEWUTS }, { "user", CLONE_NEWUSER }, { "cgroup", CLONE_NEWCGROUP }, { "time", CLONE_NEWTIME },
};

static unsigned flag_of(const char *name)
{
        for (size_t i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++)
                if (strcmp(kinds[i].name, name) == 0)
                        return kinds[i].flag;
        abort();
}

static int do_unshare(const char *kind)
{
        return judge(syscall(SYS_unshare, flag_of(kind)));
}

static int judge_child(long pid)
{
        if (pid == 0)
                _exit(0);
        if (pid > 0)
                waitpid((pid_t)pid, NULL, __WALL);
        return judge(pid);
}

static int do_clone(const char *kind)
{
        return judge_child(syscall(SYS_clone, flag_of(kind) | SIGCHLD, NULL, NULL, NULL, NULL));
}

/* The kernel reads 32 bits of the flags; a filter that compares 64 could be led astray. */
static int clone_high_bits(const char *kind)
{
        return judge_child(syscall(SYS_clone, flag_of(kind) | SIGCHLD | 1UL << 40, NULL, NULL, NULL, NULL));
}

static int do_clone3(const char *kind)
{
        struct clone_args args = { .flags = flag_of(kind), .exit_signal = SIGCHLD };

        return judge_child(syscall(SYS_clone3, &args, sizeof(args)));
}

static int enter(const char *kind)
{
        char path[64];

        snprintf(path, sizeof(path), "/proc/1/ns/%s", kind);
        int fd = open(path, O_RDONLY | O_CLOEXEC);
        if (fd < 0)
                snprintf(path, sizeof(path), "/proc/self/ns/%s", kind);
        if (fd < 0)
                fd = open(path, O_RDONLY | O_CLOEXEC);
        return judge(syscall(SYS_setns, fd, 0));
}

static int enter_by_pidfd(const char *unused)
{
        (void)unused;
        return judge(syscall(SYS_setns, syscall(SYS_pidfd_open, 1, 0), CLONE_NEWNS));
}

/* Any namespace of the host's process 1 by its number, which has been a constant for years; needs no /proc/PID of it. */
static int by_parent(const char *unused)
{
        int fd = open("/proc/self/ns/pid", O_RDONLY | O_CLOEXEC);

        (void)unused;
        return judge(fd < 0 ? fd : syscall(SYS_ioctl, fd, 0xb702 /* NS_GET_PARENT */));
}

const struct attack attacks_namespaces[] = {
        { "unshare-mnt", 'P', false, "unshare the mount namespace", do_unshare, "mnt" },
        { "unshare-pid", 'P', false, "unshare the pid namespace", do_unshare, "pid" },
        { "unshare-net", 'P', false, "unshare the network namespace", do_unshare, "net" },
        { "unshare-ipc", 'P', false, "unshare the ipc namespace", do_unshare, "ipc" },
        { "unshare-uts", 'P', false, "unshare the uts namespace", do_unshare, "uts" },
        { "unshare-user", 'U', true, "unshare the user namespace", do_unshare, "user" },
        { "unshare-cgroup", 'P', false, "unshare the cgroup namespace", do_unshare, "cgroup" },
        { "unshare-time", 'P', true, "unshare the time namespace", do_unshare, "time" },
        { "clone-mnt", 'P', false, "clone into a new mount namespace", do_clone, "mnt" },
        { "clone-pid", 'P', false, "clone into a new pid namespace", do_clone, "pid" },
        { "clone-net", 'P', false, "clone into a new network namespace", do_clone, "net" },
        { "clone-ipc", 'P', false, "clone into a new ipc namespace", do_clone, "ipc" },
        { "clone-uts", 'P', false, "clone into a new uts namespace", do_clone, "uts" },
        { "clone-user", 'U', true, "clone into a new user namespace", do_clone, "user" },
        { "clone-cgroup", 'P', false, "clone into a new cgroup namespace", do_clone, "cgroup" },
        { "clone-user-high-bits", 'U', true, "the same with bits set that the kernel ignores", clone_high_bits, "user" },
        { "clone3-user", 'U', true, "clone3 into a new user namespace", do_clone3, "user" },
        { "clone3-net", 'P', false, "clone3 into a new network namespace", do_clone3, "net" },
        { "setns-mnt", 'P', false, "enter the mount namespace of process 1", enter, "mnt" },
        { "setns-pid", 'P', false, "enter the pid namespace of process 1", enter, "pid" },
        { "setns-net", 'P', false, "enter the network namespace of process 1", enter, "net" },
        { "setns-ipc", 'P', false, "enter the ipc namespace of process 1", enter, "ipc" },
        { "setns-uts", 'P', false, "enter the uts namespace of process 1", enter, "uts" },
        { "setns-cgroup", 'P', false, "enter the cgroup namespace of process 1", enter, "cgroup" },
        { "setns-pidfd", 'P', false, "enter it by a pidfd of process 1", enter_by_pidfd, NULL },
        { "parent-namespace", 'H', true, "get at the parent of the pid namespace", by_parent, NULL },
        { NULL, 0, false, NULL, NULL, NULL },
};
