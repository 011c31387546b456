/*
 * Where controls run: everything that the attacks destroy is a copy. Root of the machine, but in its own mount, pid, ipc, uts, net and
 * cgroup namespaces, on an overlay whose upper layer is memory, with a process 1 that is an ordinary program.
 */
#include <fcntl.h>
#include <net/if.h>
#include <net/route.h>
#include <netinet/in.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "attack.h"

static void need(long r, const char *what)
{
        if (r >= 0)
                return;
        perror(what);
        _exit(3);
}

static void make_root(void)
{
        need(mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL), "private");
        need(mount("control", "/mnt", "tmpfs", 0, "size=64m"), "tmpfs");
        need(mkdir("/mnt/up", 0755) | mkdir("/mnt/work", 0755) | mkdir("/mnt/root", 0755), "mkdir");
        need(mount("control", "/mnt/root", "overlay", 0, "lowerdir=/,upperdir=/mnt/up,workdir=/mnt/work"), "overlay");
        need(mount("/dev", "/mnt/root/dev", NULL, MS_BIND | MS_REC, NULL), "bind /dev");
        need(mount("control", "/mnt/root/run", "tmpfs", 0, "size=1m"), "mount /run");
        need(mount("control", "/mnt/root/tmp", "tmpfs", 0, "size=256m"), "mount /tmp");
        need(chdir("/mnt/root"), "chdir");
        need(syscall(SYS_pivot_root, ".", "."), "pivot_root");
        need(umount2(".", MNT_DETACH), "umount");
        need(chdir("/"), "chdir /");
        mount("control", "/dev/pts", "devpts", 0, "newinstance,ptmxmode=0666");
        mount("control", "/dev/shm", "tmpfs", 0, "size=512m");
        mount("control", "/sys", "sysfs", MS_RDONLY, NULL);
}

static void make_network(void)
{
        struct ifreq up = { .ifr_name = "lo", .ifr_flags = IFF_UP | IFF_RUNNING };
        struct rtentry route = { .rt_flags = RTF_UP, .rt_dev = up.ifr_name };
        int s = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);

        route.rt_dst.sa_family = route.rt_genmask.sa_family = AF_INET;
        need(ioctl(s, SIOCSIFFLAGS, &up), "lo up");
        need(ioctl(s, SIOCADDRT, &route), "route");
        close(s);
}

/* Sockets of process 1: what a control stream would look like. */
static void make_sockets(void)
{
        struct sockaddr_un abstract = { .sun_family = AF_UNIX, .sun_path = "\0creto-control" };
        struct sockaddr_un path = { .sun_family = AF_UNIX, .sun_path = "/run/control.sock" };
        int a = socket(AF_UNIX, SOCK_STREAM, 0), b = socket(AF_UNIX, SOCK_STREAM, 0);

        need(bind(a, (struct sockaddr *)&abstract, sizeof(sa_family_t) + 14), "bind");
        need(bind(b, (struct sockaddr *)&path, sizeof(path)), "bind");
        need(listen(a, 8) | listen(b, 8), "listen");
}

void enter_private(void)
{
        int status;
        pid_t first, attacker;

        need(unshare(CLONE_NEWNS | CLONE_NEWPID | CLONE_NEWIPC | CLONE_NEWUTS | CLONE_NEWNET | CLONE_NEWCGROUP), "unshare");
        make_root();
        first = fork();
        need(first, "fork");
        if (first > 0) {
                waitpid(first, &status, 0);
                if (WIFSIGNALED(status)) {
                        signal(WTERMSIG(status), SIG_DFL);
                        kill(getpid(), WTERMSIG(status));
                }
                _exit(WEXITSTATUS(status));
        }
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        need(mount("proc", "/proc", "proc", 0, NULL), "proc");
        mount("/dev/null", "/proc/cpuinfo", NULL, MS_BIND, NULL); /* something to uncover */
        make_network();
        make_sockets();
        attacker = fork();
        need(attacker, "fork");
        if (attacker > 0) {
                while (waitpid(-1, &status, 0) != attacker)
                        ;
                _exit(WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status));
        }
        close_range(3, ~0U, 0);
}
