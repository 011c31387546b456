#include "services/warden/parts/mnt.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/mount.h"
#include "base/sys.h"
#include "domain/skeleton.h"
#include "wire/oci.h"

#define KVM "/dev/kvm"

enum { KVM_MAJOR = 10, KVM_MINOR = 232, SHM_INODES = 65536, LAYER_BYTES = 256 << 10, LAYER_FILES = 64, LAYERS_MAX = 128 };

static int fail_at(const char *what, const char *path, struct err *e)
{
        return err_sys(e, "mounts: cannot %s %s", what, path);
}

/* ---- the template ---- */

static const struct {
        const char *name;
        unsigned minor;
} devices[] = { { "null", 3 }, { "zero", 5 }, { "full", 7 }, { "random", 8 }, { "urandom", 9 } };

static const char *under(char *out, size_t cap, const char *base, const char *path)
{
        snprintf(out, cap, "%s%s", base, path);
        return out;
}

static int make_skeleton(const char *at, struct err *e)
{
        char path[256];

        for (size_t i = 0; skeleton_dirs[i]; i++)
                if (mkdir(under(path, sizeof(path), at, skeleton_dirs[i]), 0755) < 0)
                        return fail_at("make", path, e);
        for (size_t i = 0; skeleton_links[i][0]; i++)
                if (symlink(skeleton_links[i][0], under(path, sizeof(path), at, skeleton_links[i][1])) < 0)
                        return fail_at("make", path, e);
        for (size_t i = 0; skeleton_files[i].path; i++) {
                auto_fd fd = open(under(path, sizeof(path), at, skeleton_files[i].path), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0644);

                if (fd < 0 || fd_write_all(fd, skeleton_files[i].text, strlen(skeleton_files[i].text)) < 0)
                        return fail_at("write", path, e);
        }
        return 0;
}

static int make_device(const char *at, const char *name, unsigned major, unsigned minor, bool user, struct err *e)
{
        char path[256], from[64];

        snprintf(path, sizeof(path), "%s/dev/%s", at, name);
        snprintf(from, sizeof(from), "/dev/%s", name);
        if (!user) {
                if (mknod(path, S_IFCHR | 0666, makedev(major, minor)) < 0)
                        return fail_at("make", path, e);
                return 0;
        }
        auto_fd fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
        if (fd < 0)
                return fail_at("make", path, e);
        return mount_copy(from, path, MOUNT_ATTR_NOSUID | MOUNT_ATTR_NOEXEC, e);
}

static int make_devices(const char *at, bool user, struct err *e)
{
        for (size_t i = 0; i < sizeof(devices) / sizeof(devices[0]); i++)
                if (make_device(at, devices[i].name, 1, devices[i].minor, user, e) < 0)
                        return -(int)e->code;
        return make_device(at, "tty", 5, 0, user, e);
}

static int bind_host(const char *at, struct err *e)
{
        const uint64_t attrs = MOUNT_ATTR_RDONLY | MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV;
        char to[256], target[256];
        struct stat st;

        if (mount_copy("/usr", under(to, sizeof(to), at, "/usr"), attrs, e) < 0)
                return -(int)e->code;
        for (size_t i = 0; skeleton_top_dirs[i]; i++) {
                if (lstat(skeleton_top_dirs[i], &st) < 0)
                        continue;
                under(to, sizeof(to), at, skeleton_top_dirs[i]);
                if (S_ISLNK(st.st_mode)) {
                        ssize_t n = readlink(skeleton_top_dirs[i], target, sizeof(target) - 1);
                        target[n < 0 ? 0 : n] = '\0';
                        if (n <= 0 || symlink(target, to) < 0)
                                return fail_at("make", to, e);
                } else if (mkdir(to, 0755) < 0 || mount_copy(skeleton_top_dirs[i], to, attrs, e) < 0) {
                        return fail_at("mount", to, e);
                }
        }
        for (size_t i = 0; skeleton_host_files[i]; i++)
                if (stat(skeleton_host_files[i], &st) == 0 &&
                    mount_copy(skeleton_host_files[i], under(to, sizeof(to), at, skeleton_host_files[i]), attrs, e) < 0)
                        return -(int)e->code;
        return 0;
}

/* Where an OCI engine mounts what is the sandbox's own. */
static int make_engine_points(int at, struct err *e)
{
        auto_fd init = openat(at, "dev/init", O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0444);

        return init < 0 || mkdirat(at, "dev/guest", 0755) < 0 ? err_sys(e, "mounts: cannot make mount points") : 0;
}

/* An overlay of its own over what all share: files that nobody else can watch (inotify) or lock (flock). */
static int own_usr(const char *at, struct err *e)
{
        char usr[64], options[160];

        under(usr, sizeof(usr), at, "/usr");
        snprintf(options, sizeof(options), "lowerdir=%s:%s/mnt", usr, at);
        return mount("usr", usr, "overlay", MS_RDONLY | MS_NOSUID | MS_NODEV, options) < 0 ? fail_at("mount an overlay on", usr, e) : 0;
}

int mnt_host_root(const char *at, struct err *e)
{
        auto_fd dir = open(at, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

        if (make_skeleton(at, e) < 0 || make_engine_points(dir, e) < 0 || bind_host(at, e) < 0 || own_usr(at, e) < 0)
                return -(int)e->code;
        return mount_copy(at, at, MOUNT_ATTR_RDONLY | MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV, e);
}

int mnt_enter_template(bool user, bool kvm, struct err *e)
{
        const char *at = "/tmp";
        char proc[64];

        if (unshare(CLONE_NEWNS) < 0)
                return err_sys(e, "mounts: cannot make a mount namespace");
        if (mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0)
                return err_sys(e, "mounts: cannot detach from the host's mounts");
        if (mount("sandbox", at, "tmpfs", MS_NOSUID, "mode=0755,size=1m,nr_inodes=256") < 0)
                return fail_at("mount a tmpfs on", at, e);
        if (make_skeleton(at, e) < 0 || make_devices(at, user, e) < 0 || bind_host(at, e) < 0)
                return -(int)e->code;
        if (kvm && mknod(under(proc, sizeof(proc), at, KVM), S_IFREG | 0444, 0) < 0)
                return fail_at("make", proc, e);
        if (user && mount("/proc", under(proc, sizeof(proc), at, HOST_PROC), NULL, MS_BIND | MS_REC, NULL) < 0)
                return fail_at("keep", proc, e);
        if (chdir(at) < 0 || mount(NULL, at, NULL, MS_REMOUNT | MS_BIND | MS_RDONLY | MS_NOSUID, NULL) < 0)
                return fail_at("close", at, e);
        return mount_pivot(e);
}

/* ---- what each sandbox has of its own ---- */

static int mask_proc(const char *at, struct err *e)
{
        static const char file[] = "/etc/resolv.conf", dir[] = "/mnt"; /* the template's, empty and read-only */
        char path[128];
        struct stat st;

        for (size_t i = 0; proc_masked[i]; i++) {
                if (lstat(under(path, sizeof(path), at, proc_masked[i]), &st) < 0)
                        continue;
                if (mount(S_ISDIR(st.st_mode) ? dir : file, path, NULL, MS_BIND, NULL) < 0)
                        return fail_at("mask", path, e);
        }
        for (size_t i = 0; proc_readonly[i]; i++) {
                if (lstat(under(path, sizeof(path), at, proc_readonly[i]), &st) < 0)
                        continue;
                if (mount_copy(path, path, MOUNT_ATTR_RDONLY | MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV | MOUNT_ATTR_NOEXEC, e) < 0)
                        return -(int)e->code;
        }
        return 0;
}

static int mount_proc(const struct mnt_own *own, const char *at, struct err *e)
{
        char path[64];

        if (mount("proc", under(path, sizeof(path), at, "/proc"), "proc", MS_NOSUID | MS_NODEV | MS_NOEXEC, NULL) < 0) {
                err_sys(e, "mounts: cannot mount /proc");
                return own->user ? err_hint(e, "something on this host covers parts of /proc, as inside a container; run as root there")
                                 : -(int)e->code;
        }
        return mask_proc(at, e);
}

static int mount_dev(const struct mnt_own *own, const char *at, struct err *e)
{
        char path[64], options[96];
        int n = snprintf(options, sizeof(options), "newinstance,ptmxmode=0666,mode=0620,max=64");

        if (own->tty_gid != UINT32_MAX)
                snprintf(options + n, sizeof(options) - (size_t)n, ",gid=%u", own->tty_gid);
        if (mount("devpts", under(path, sizeof(path), at, "/dev/pts"), "devpts", MS_NOSUID | MS_NOEXEC, options) < 0)
                return fail_at("mount", path, e);
        snprintf(options, sizeof(options), "mode=1777,size=64m,nr_inodes=%d", SHM_INODES);
        if (mount("shm", under(path, sizeof(path), at, "/dev/shm"), "tmpfs", MS_NOSUID | MS_NODEV, options) < 0)
                return fail_at("mount", path, e);
        return 0;
}

/* The disk goes on /tmp, its directories to their places, and its own `tmp` last, over its root, which then has no name any more. */
static int mount_disk(const struct mnt_own *own, const char *at, struct err *e)
{
        static const char *const places[][2] = {
                { "/tmp/home", "/home/agent" },
                { "/tmp/var-tmp", "/var/tmp" },
                { "/tmp/run", "/run" },
                { "/tmp/tmp", "/tmp" },
        };
        char from[64], to[64];

        if (mount_at(own->disk, under(to, sizeof(to), at, "/tmp"), e) < 0)
                return -(int)e->code;
        for (size_t i = 0; i < sizeof(places) / sizeof(places[0]); i++)
                if (mount_copy(under(from, sizeof(from), at, places[i][0]), under(to, sizeof(to), at, places[i][1]), 0, e) < 0)
                        return -(int)e->code;
        return 0;
}

static const char *own_root(const struct mnt_own *own)
{
        return own->root >= 0 ? NEW_ROOT : "";
}

int mnt_build_own(const struct mnt_own *own, struct err *e)
{
        const char *at = own_root(own);

        if (own->root >= 0 && (mount_at(own->root, at, e) < 0 || mount_copy("/dev", NEW_ROOT "/dev", 0, e) < 0))
                return -(int)e->code;
        if (own->root < 0 && own_usr("", e) < 0)
                return -(int)e->code;
        return mount_proc(own, at, e) < 0 || mount_dev(own, at, e) < 0 ? -(int)e->code : 0;
}

int mnt_add_beside(struct mnt_own *own, struct err *e)
{
        int r = mount_at(own->root, NEW_ROOT, e);

        own->root = -1;
        return r;
}

/* Everybody may open it who has it; whether this host has one is seen then. */
int mnt_add_kvm(struct err *e)
{
        const char *at = "/srv", *node = "/srv/kvm";

        if (mount("kvm", at, "tmpfs", MS_NOSUID | MS_NOEXEC, "mode=0755,size=4k,nr_inodes=4") < 0 ||
            mknod(node, S_IFCHR | 0666, makedev(KVM_MAJOR, KVM_MINOR)) < 0 || mount(node, KVM, NULL, MS_BIND, NULL) < 0 ||
            umount2(at, MNT_DETACH) < 0)
                return fail_at("make", KVM, e);
        return 0;
}

int mnt_add_disk(const struct mnt_own *own, struct err *e)
{
        const char *at = own_root(own);

        if (mount_disk(own, at, e) < 0)
                return -(int)e->code;
        if (own->user && umount2(HOST_PROC, MNT_DETACH) < 0)
                return fail_at("leave", HOST_PROC, e);
        if (own->root >= 0 && (chdir(at) < 0 || mount_pivot(e) < 0))
                return fail_at("enter", at, e);
        return 0;
}

/* ---- image roots ---- */

/* The layer of ours above an image's: mount points and the few files that name the sandbox, not the image. */
static int make_top_layer(struct err *e)
{
        static const char *const dirs[] = { "proc", "dev", "tmp", "run", "var", "var/tmp", "home", "home/agent", "etc", "mnt" };
        auto_fd top = mount_tmpfs(LAYER_BYTES, LAYER_FILES, e);

        if (top < 0)
                return top;
        for (size_t i = 0; i < sizeof(dirs) / sizeof(dirs[0]); i++)
                if (mkdirat(top, dirs[i], 0755) < 0)
                        return err_sys(e, "mounts: cannot make a layer");
        for (size_t i = 0; skeleton_files[i].path; i++) {
                const char *path = skeleton_files[i].path + 1;

                if (strcmp(path, "etc/hosts") != 0 && strcmp(path, "etc/resolv.conf") != 0)
                        continue;
                auto_fd fd = openat(top, path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0644);
                if (fd < 0 || fd_write_all(fd, skeleton_files[i].text, strlen(skeleton_files[i].text)) < 0)
                        return err_sys(e, "mounts: cannot write %s", path);
        }
        if (make_engine_points(top, e) < 0)
                return -(int)e->code;
        return take_fd(&top);
}

/* A directory that was opened in another mount namespace (an ordinary user's: root's warden stays in the caller's) is found again in ours. */
static int clone_elsewhere(int layer)
{
        char link[32], path[4096];
        struct stat there, here;

        snprintf(link, sizeof(link), "/proc/self/fd/%d", layer);
        ssize_t n = readlink(link, path, sizeof(path) - 1);
        if (n <= 0)
                return -1;
        path[n] = '\0';
        auto_fd again = open(path, O_PATH | O_DIRECTORY | O_CLOEXEC);
        if (again < 0 || fstat(layer, &there) < 0 || fstat(again, &here) < 0)
                return -1;
        if (there.st_dev != here.st_dev || there.st_ino != here.st_ino) {
                errno = ESTALE;
                return -1;
        }
        return sys_open_tree(again, "", OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC | AT_EMPTY_PATH);
}

static int map_layer(int layer, int idmap, struct err *e)
{
        struct mount_attr attr = { .attr_set = MOUNT_ATTR_RDONLY | MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV };
        auto_fd tree = sys_open_tree(layer, "", OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC | AT_EMPTY_PATH);

        if (tree < 0 && errno == EINVAL && idmap < 0)
                tree = clone_elsewhere(layer);
        if (tree < 0)
                return err_sys(e, "mounts: cannot open a layer");
        if (idmap >= 0) {
                attr.attr_set |= MOUNT_ATTR_IDMAP;
                attr.userns_fd = (uint64_t)idmap;
        }
        if (sys_mount_setattr(tree, "", AT_EMPTY_PATH, &attr) < 0) {
                err_set(e, ERR_NOT_SUPPORTED, errno, "mounts: cannot map the owners of an image layer");
                return err_hint(
                        e, "idmapped mounts need Linux 5.19 and a filesystem that has them: keep the image store on ext4, xfs or btrfs");
        }
        return take_fd(&tree);
}

int mnt_overlay(const int *layers, unsigned count, int idmap, struct err *e)
{
        int parts[LAYERS_MAX + 1];
        unsigned made = 0;
        int r = 0;

        if (count > LAYERS_MAX)
                return err_set(e, ERR_INVALID_SPEC, 0, "an image may have %d layers, not %u", LAYERS_MAX, count);
        for (; made < count && r >= 0; made += r >= 0) {
                r = map_layer(layers[made], idmap, e);
                if (r >= 0)
                        parts[made] = r;
        }
        if (r >= 0)
                r = make_top_layer(e);
        if (r >= 0) {
                parts[made++] = r;
                r = mount_overlay(parts, made, e);
        }
        while (made > 0)
                close(parts[--made]);
        return r;
}
