/*
 * A daemon that is somebody else's: confined as creto-runtimed is, then one attack, named by the second argument.
 *
 *      attack-daemon STATE_DIR ATTACK [PATH]
 *
 * Exit status 0: it worked; 1: it was refused (errno on standard output); killed by SIGSYS: it was refused for good.
 */
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/ptrace.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <unistd.h>

#include "programs/runtimed/confine.h"

static int read_path(const char *path)
{
        return open(path, O_RDONLY | O_CLOEXEC);
}

static int write_path(const char *path)
{
        return open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
}

static int list_path(const char *path)
{
        return open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
}

static int connect_path(const char *path)
{
        struct sockaddr_un a = { .sun_family = AF_UNIX };
        int fd = socket(AF_UNIX, SOCK_STREAM, 0);

        snprintf(a.sun_path, sizeof(a.sun_path), "%s", path);
        return connect(fd, (struct sockaddr *)&a, sizeof(a));
}

static int execute(const char *path)
{
        return execl(path, path, (char *)NULL);
}

static int trace(const char *path)
{
        (void)path;
        return (int)ptrace(PTRACE_ATTACH, getppid(), NULL, NULL);
}

static int mount_path(const char *path)
{
        return mount("none", path, "tmpfs", 0, NULL);
}

static int new_user(const char *path)
{
        (void)path;
        return unshare(CLONE_NEWUSER);
}

static int become_root(const char *path)
{
        (void)path;
        return setresuid(0, 0, 0);
}

static int fork_one(const char *path)
{
        (void)path;
        return (int)syscall(SYS_fork);
}

static int change_root(const char *path)
{
        return chroot(path);
}

static int make_node(const char *path)
{
        return mkfifo(path, 0600);
}

static const struct {
        const char *name;
        int (*run)(const char *path);
} attacks[] = { { "read", read_path },   { "write", write_path }, { "list", list_path },     { "connect", connect_path },
                { "exec", execute },     { "ptrace", trace },     { "mount", mount_path },   { "userns", new_user },
                { "root", become_root }, { "fork", fork_one },    { "chroot", change_root }, { "fifo", make_node } };

int main(int argc, char **argv)
{
        const char *missing;
        struct err e;

        if (argc < 3 || confine_daemon(argv[1], &missing, &e) < 0)
                return 64;
        for (size_t i = 0; i < sizeof(attacks) / sizeof(attacks[0]); i++)
                if (strcmp(attacks[i].name, argv[2]) == 0) {
                        if (attacks[i].run(argc > 3 ? argv[3] : "/") >= 0)
                                return 0;
                        printf("%d\n", errno);
                        return 1;
                }
        return 64;
}
