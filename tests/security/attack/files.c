/* The host's files: reading what is private, changing what is shared. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "attack.h"

static int read_path(const char *path)
{
        char byte;
        int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);

        if (fd < 0)
                return judge(fd);
        ssize_t n = read(fd, &byte, 1);
        if (n == 0)
                say("empty");
        return n > 0 ? WON : n == 0 ? REFUSED : judge(n);
}

static int list_path(const char *path)
{
        DIR *d = opendir(path);

        return judge(d ? 0 : -1);
}

static int create_in(const char *dir)
{
        char path[256];

        snprintf(path, sizeof(path), "%s/.attack", dir);
        int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
        if (fd >= 0)
                unlink(path);
        return judge(fd);
}

static int overwrite(const char *path)
{
        return judge(open(path, O_WRONLY | O_CLOEXEC));
}

static int make_dir(const char *path)
{
        int r = mkdir(path, 0700);

        if (r == 0)
                rmdir(path);
        return judge(r);
}

static int replace(const char *path)
{
        return judge(rename(path, "/tmp/.taken") == 0 || errno == EXDEV ? unlink(path) : -1);
}

static int change_mode(const char *path)
{
        return judge(chmod(path, 04777));
}

static int link_away(const char *path)
{
        char to[64] = "/tmp/.attack-link";
        int r = link(path, to);

        if (r < 0 && errno == EXDEV) { /* another filesystem: then within its own */
                snprintf(to, sizeof(to), "/usr/.attack-link");
                r = link(path, to);
        }
        unlink(to);
        return judge(r);
}

/* A file of a control group that takes processes or limits; opened, and not written to. */
static int open_group(const char *path, const struct stat *st, int type, struct FTW *walk)
{
        const char *name = path + walk->base;

        (void)st;
        if (type != FTW_F || (strcmp(name, "cgroup.procs") != 0 && strcmp(name, "memory.max") != 0 && strcmp(name, "pids.max") != 0) ||
            overwrite(path) != WON)
                return 0;
        say("%s", path);
        return 1;
}

static int any_group(const char *top)
{
        return nftw(top, open_group, 32, FTW_PHYS) == 1 ? WON : REFUSED;
}

/* Upwards from the root, by name and by a descriptor. */
static int climb(const char *name)
{
        char path[512] = "/";
        struct stat st;

        for (int i = 0; i < 40; i++)
                strcat(path, "../");
        strcat(path, name + 1);
        return judge(stat(path, &st));
}

static int symlink_out(const char *target)
{
        char path[] = "/tmp/.attack-out";

        unlink(path);
        if (symlink(target, path) < 0)
                return judge(-1);
        int v = read_path(path);
        int e = errno;
        unlink(path);
        errno = e;
        return v;
}

const struct attack attacks_files[] = {
        { "read-shadow", 'H', false, "read /etc/shadow", read_path, "/etc/shadow" },
        { "list-root-home", 'H', false, "list /root", list_path, "/root" },
        { "read-path", 'T', false, "read a file that the test planted on the host", read_path, NULL },
        { "climb-path", 'T', false, "reach it by /../../..", climb, NULL },
        { "symlink-path", 'T', false, "reach it through a symbolic link", symlink_out, NULL },
        { "list-boot", 'H', true, "list /boot", list_path, "/boot" },
        { "group-write", 'H', true, "open a file of a control group for writing", any_group, "/sys/fs/cgroup" },
        { "sys-write", 'H', true, "open a setting in /sys for writing", overwrite, "/sys/kernel/mm/transparent_hugepage/enabled" },
        { "list-sys", 'H', false, "list /sys", list_path, "/sys" },
        { "create-in-usr", 'P', false, "create a file in /usr", create_in, "/usr" },
        { "create-in-usr-bin", 'P', false, "create a file in /usr/bin", create_in, "/usr/bin" },
        { "create-in-etc", 'P', false, "create a file in /etc", create_in, "/etc" },
        { "create-in-root", 'P', false, "create a file in /", create_in, "/" },
        { "create-in-dev", 'P', false, "create a file in /dev", create_in, "/dev/shm/.." },
        { "create-in-var", 'P', false, "create a file in /var/lib", create_in, "/var/lib" },
        { "mkdir-root", 'P', false, "make a directory in /", make_dir, "/.attack-dir" },
        { "mkdir-home", 'P', false, "make a home for another user", make_dir, "/home/.attack-dir" },
        { "overwrite-program", 'P', false, "open /usr/bin/env for writing", overwrite, "/usr/bin/env" },
        { "overwrite-passwd", 'P', false, "open /etc/passwd for writing", overwrite, "/etc/passwd" },
        { "overwrite-ld-cache", 'P', false, "open /etc/ld.so.cache for writing", overwrite, "/etc/ld.so.cache" },
        { "remove-program", 'P', false, "remove /usr/bin/env", replace, "/usr/bin/env" },
        { "remove-passwd", 'P', false, "remove /etc/passwd", replace, "/etc/passwd" },
        { "chmod-program", 'P', false, "make /usr/bin/env setuid", change_mode, "/usr/bin/env" },
        { "hard-link-program", 'P', false, "hard-link /usr/bin/su elsewhere", link_away, "/usr/bin/su" },
        { NULL, 0, false, NULL, NULL, NULL },
};
