/* Mounts and roots. */
#include <errno.h>
#include <fcntl.h>
#include <linux/mount.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "attack.h"

#define MNT_DETACH 2

static long do_mount(const char *from, const char *to, const char *type, unsigned long flags)
{
        return syscall(SYS_mount, from, to, type, flags, NULL);
}

static int mount_tmpfs(const char *at)
{
        return judge(do_mount("attack", at, "tmpfs", 0));
}

static int mount_bind(const char *at)
{
        return judge(do_mount("/", at, NULL, MS_BIND | MS_REC));
}

static int mount_proc(const char *at)
{
        return judge(do_mount("proc", at, "proc", 0));
}

static int remount(const char *at)
{
        return judge(do_mount(NULL, at, NULL, MS_REMOUNT | MS_BIND));
}

static int make_shared(const char *at)
{
        return judge(do_mount(NULL, at, NULL, MS_REC | MS_SHARED));
}

/* The cover of one of the files that proc shows nothing of; outside, of one that the control covered. */
static int uncover(const char *unused)
{
        static const char *const covers[] = {
                "/proc/kcore", "/proc/keys", "/proc/timer_list", "/proc/cmdline", "/proc/cpuinfo", "/proc/sys"
        };
        long r = -1;

        (void)unused;
        for (size_t i = 0; i < sizeof(covers) / sizeof(covers[0]) && r < 0; i++)
                r = syscall(SYS_umount2, covers[i], MNT_DETACH);
        return judge(r);
}

static int umount_one(const char *at)
{
        return judge(syscall(SYS_umount2, at, MNT_DETACH));
}

static int fs_open(const char *type)
{
        return judge(syscall(SYS_fsopen, type, 0));
}

static int fs_pick(const char *at)
{
        return judge(syscall(SYS_fspick, AT_FDCWD, at, 0));
}

static int fs_config(const char *unused)
{
        (void)unused;
        syscall(SYS_fsconfig, -1, 0, NULL, NULL, 0);
        return judge_reached(-1);
}

static int fs_mount(const char *unused)
{
        int fd = (int)syscall(SYS_fsopen, "tmpfs", 0);

        (void)unused;
        if (fd >= 0)
                syscall(SYS_fsconfig, fd, FSCONFIG_CMD_CREATE, NULL, NULL, 0);
        return judge_reached(syscall(SYS_fsmount, fd, 0, 0));
}

static int tree_clone(const char *at)
{
        return judge(syscall(SYS_open_tree, AT_FDCWD, at, OPEN_TREE_CLONE | AT_RECURSIVE));
}

static int tree_plain(const char *at)
{
        return judge(syscall(SYS_open_tree, AT_FDCWD, at, 0));
}

static int tree_move(const char *unused)
{
        (void)unused;
        return judge_reached(syscall(SYS_move_mount, -1, "", AT_FDCWD, "/tmp", MOVE_MOUNT_F_EMPTY_PATH));
}

static int set_attributes(const char *at)
{
        struct mount_attr attr = { .attr_clr = MOUNT_ATTR_NOSUID };

        return judge(syscall(SYS_mount_setattr, AT_FDCWD, at, 0, &attr, sizeof(attr)));
}

static int pivot(const char *unused)
{
        (void)unused;
        do_mount("/tmp", "/tmp", NULL, MS_BIND);
        if (chdir("/tmp") < 0)
                return judge(-1);
        return judge(syscall(SYS_pivot_root, ".", "."));
}

static int change_root(const char *at)
{
        return judge(syscall(SYS_chroot, at));
}

/* The classic: a new root below, and a way up from outside of it by an open directory. */
static int escape_root(const char *unused)
{
        struct stat before, after;
        int up = open("/", O_RDONLY | O_DIRECTORY | O_CLOEXEC);

        (void)unused;
        mkdir("/tmp/.cage", 0700);
        if (stat("/", &before) < 0 || syscall(SYS_chroot, "/tmp/.cage") < 0 || fchdir(up) < 0 || syscall(SYS_chroot, ".") < 0 ||
            stat("/", &after) < 0)
                return judge(-1);
        return before.st_ino == after.st_ino ? WON : REFUSED;
}

/* What an ordinary user can do on most hosts: a namespace where it is root. */
static int own_namespace_mount(const char *unused)
{
        (void)unused;
        if (syscall(SYS_unshare, CLONE_NEWUSER | CLONE_NEWNS) < 0)
                return judge(-1);
        return mount_tmpfs("/tmp");
}

const struct attack attacks_mounts[] = {
        { "mount-tmpfs", 'P', false, "mount a tmpfs on /tmp", mount_tmpfs, "/tmp" },
        { "mount-over-etc", 'P', false, "mount a tmpfs on /etc", mount_tmpfs, "/etc" },
        { "mount-bind", 'P', false, "bind / on /tmp", mount_bind, "/tmp" },
        { "mount-proc", 'P', false, "mount a proc without covers", mount_proc, "/tmp" },
        { "remount-root", 'P', false, "make / writable", remount, "/" },
        { "make-shared", 'P', false, "make mounts propagate", make_shared, "/" },
        { "umount-cover", 'P', false, "take a cover off /proc", uncover, NULL },
        { "umount-proc", 'P', false, "take /proc away", umount_one, "/proc" },
        { "umount-tmp", 'P', false, "take /tmp away, to what is below", umount_one, "/tmp" },
        { "fsopen", 'P', false, "fsopen a tmpfs", fs_open, "tmpfs" },
        { "fspick", 'P', false, "fspick /proc", fs_pick, "/proc" },
        { "fsconfig", 'U', false, "call fsconfig", fs_config, NULL },
        { "fsmount", 'P', false, "fsmount a tmpfs", fs_mount, NULL },
        { "open-tree-clone", 'P', false, "copy the tree of mounts", tree_clone, "/" },
        { "open-tree", 'U', false, "open_tree /", tree_plain, "/" },
        { "move-mount", 'P', false, "call move_mount", tree_move, NULL },
        { "mount-setattr", 'P', false, "drop nosuid by mount_setattr", set_attributes, "/tmp" },
        { "pivot-root", 'P', false, "change the root by pivot_root", pivot, NULL },
        { "chroot", 'P', false, "chroot", change_root, "/tmp" },
        { "chroot-escape", 'P', false, "chroot below and climb out", escape_root, NULL },
        { "userns-mount", 'U', true, "become root of a namespace of one's own and mount", own_namespace_mount, NULL },
        { NULL, 0, false, NULL, NULL, NULL },
};
