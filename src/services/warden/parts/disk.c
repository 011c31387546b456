#include "services/warden/parts/disk.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/loopdev.h"
#include "base/mount.h"
#include "base/proc.h"
#include "base/sys.h"
#include "domain/mke2fs.h"

enum { SKELETON_BYTES = 65536, SKELETON_INODES = 16 };

/* Part of the name of every empty filesystem that is kept: to be changed with the arguments of mke2fs. */
#define DISK_FORMAT "3"

static const char *const mke2fs_paths[] = { "/sbin/mke2fs", "/usr/sbin/mke2fs" };

/* ---- the empty filesystem ---- */

int disk_host_init(struct disk_host *d, const char *state_dir, bool root, struct err *e)
{
        char path[512];

        *d = (struct disk_host){ .loop = root, .state = -1 };
        if (!root)
                return 0;
        snprintf(path, sizeof(path), "%s/disk", state_dir);
        if ((mkdir(state_dir, 0755) < 0 && errno != EEXIST) || (mkdir(path, 0700) < 0 && errno != EEXIST))
                return err_sys(e, "cannot make %s", path);
        d->state = open(path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
        return d->state < 0 ? err_sys(e, "cannot open %s", path) : 0;
}

void disk_host_release(struct disk_host *d)
{
        fd_close(&d->state);
}

static const struct {
        const char *name;
        mode_t mode;
} dirs[] = { { "tmp", 01777 }, { "var-tmp", 01777 }, { "run", 01777 }, { "home", 0700 } };

enum { MKE2FS_MS = 60000, DIRS = sizeof(dirs) / sizeof(dirs[0]), DIR_HOME = DIRS - 1 };

static int make_dirs(int at, struct err *e)
{
        for (size_t i = 0; i < DIRS; i++)
                if (mkdirat(at, dirs[i].name, 0700) < 0 || fchmodat(at, dirs[i].name, dirs[i].mode, 0) < 0)
                        return err_sys(e, "disk: cannot make '%s'", dirs[i].name);
        return 0;
}

/* `skeleton` is a directory with what the filesystem shall hold. */
static int run_mke2fs(const char *path, const char *skeleton, uint64_t inodes, struct err *e)
{
        const char *argv[MKE2FS_ARGS];
        char count[32], said[64];
        auto_fd exe = -1;

        for (size_t i = 0; i < sizeof(mke2fs_paths) / sizeof(mke2fs_paths[0]) && exe < 0; i++)
                exe = open(mke2fs_paths[i], O_RDONLY | O_CLOEXEC);
        if (exe < 0) {
                err_set(e, ERR_NOT_SUPPORTED, 0, "disk: mke2fs is not installed");
                return err_hint(e, "apt install e2fsprogs");
        }
        snprintf(count, sizeof(count), "%llu", (unsigned long long)inodes);
        mke2fs_argv(path, skeleton, count, argv);
        if (proc_ask(exe, argv, MKE2FS_MS, said, sizeof(said)) == 0)
                return 0;
        err_set(e, ERR_INVALID_SPEC, 0, "disk: no filesystem with %s inodes can be made in that size", count);
        return err_hint(e, "make --disk larger or --disk-inodes smaller: an inode takes 256 bytes");
}

/* What mke2fs copies is in memory, and what it makes has no name yet: whoever is killed meanwhile leaves nothing behind. */
static int make_filesystem(int fd, uint64_t bytes, uint64_t inodes, struct err *e)
{
        char path[64], skeleton[64];

        if (ftruncate(fd, (off_t)bytes) < 0)
                return err_sys(e, "disk: cannot size a filesystem");
        auto_fd dir = mount_tmpfs(SKELETON_BYTES, SKELETON_INODES, e);
        if (dir < 0 || make_dirs(dir, e) < 0)
                return -(int)e->code;
        snprintf(path, sizeof(path), "/proc/%d/fd/%d", getpid(), fd);
        snprintf(skeleton, sizeof(skeleton), "/proc/%d/fd/%d", getpid(), dir);
        return run_mke2fs(path, skeleton, inodes, e);
}

/* Opens the empty filesystem of this size; made where there is none. */
static int open_template(const struct disk_host *d, uint64_t bytes, uint64_t inodes, struct err *e)
{
        char name[64], path[64];

        snprintf(name, sizeof(name), "%llu-%llu." DISK_FORMAT ".ext4", (unsigned long long)bytes, (unsigned long long)inodes);
        int fd = openat(d->state, name, O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
        if (fd >= 0)
                return fd;
        auto_fd out = openat(d->state, ".", O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
        if (out < 0)
                return err_sys(e, "disk: cannot make an empty filesystem");
        if (make_filesystem(out, bytes, inodes, e) < 0)
                return -(int)e->code;
        snprintf(path, sizeof(path), "/proc/self/fd/%d", out);
        if (linkat(AT_FDCWD, path, d->state, name, AT_SYMLINK_FOLLOW) < 0 && errno != EEXIST) /* another warden may have been faster */
                return err_sys(e, "disk: cannot keep the empty filesystem");
        return take_fd(&out);
}

static int make_backing(const struct disk_host *d, uint64_t bytes, uint64_t inodes, struct err *e)
{
        auto_fd from = open_template(d, bytes, inodes, e);
        if (from < 0)
                return from;
        auto_fd to = openat(d->state, ".", O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
        if (to < 0 || ftruncate(to, (off_t)bytes) < 0)
                return err_sys(e, "disk: cannot make a file for it");
        if (fd_copy_sparse(from, to) < 0)
                return err_sys(e, "disk: cannot copy the empty filesystem");
        return take_fd(&to);
}

/* ---- the loop device and its mount ---- */

static int mount_loop(const struct disk_host *d, uint64_t bytes, uint64_t inodes, struct err *e)
{
        char path[32];
        auto_fd backing = make_backing(d, bytes, inodes, e);
        if (backing < 0)
                return backing;
        auto_fd loop = loopdev_open(backing, path, e);
        if (loop < 0)
                return loop;
        const char *const options[][2] = { { "source", path }, { "nobarrier", NULL }, { "noinit_itable", NULL }, { NULL, NULL } };
        return mount_new("ext4", options, MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV, e);
}

int disk_make(const struct disk_host *d, bool memory, uint64_t bytes, uint64_t inodes, uint32_t root_uid, uint32_t owner, struct err *e)
{
        bool loop = d->loop && !memory;
        auto_fd mount = loop ? mount_loop(d, bytes & ~4095ULL, inodes, e) : mount_tmpfs(bytes, inodes, e);

        if (mount < 0 || (!loop && make_dirs(mount, e) < 0)) /* ext4 comes with them */
                return -(int)e->code;
        for (size_t i = 0; i < DIRS; i++) {
                uint32_t uid = i == DIR_HOME ? owner : root_uid;

                if (fchownat(mount, dirs[i].name, uid, uid, AT_SYMLINK_NOFOLLOW) < 0)
                        return err_sys(e, "disk: cannot give '%s' away", dirs[i].name);
        }
        return take_fd(&mount);
}
