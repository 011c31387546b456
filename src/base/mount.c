#include "base/mount.h"

#include <stdio.h>
#include <sys/mount.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/sys.h"

int mount_new(const char *fs, const char *const (*options)[2], uint64_t attrs, struct err *e)
{
        auto_fd context = sys_fsopen(fs, FSOPEN_CLOEXEC);

        if (context < 0)
                return err_sys(e, "mounts: cannot open filesystem type %s", fs);
        for (; (*options)[0]; options++) {
                unsigned cmd = (*options)[1] ? FSCONFIG_SET_STRING : FSCONFIG_SET_FLAG;

                if (sys_fsconfig(context, cmd, (*options)[0], (*options)[1], 0) < 0)
                        return err_sys(e, "mounts: %s option %s", fs, (*options)[0]);
        }
        if (sys_fsconfig(context, FSCONFIG_CMD_CREATE, NULL, NULL, 0) < 0)
                return err_sys(e, "mounts: cannot mount %s", fs);
        int fd = sys_fsmount(context, FSMOUNT_CLOEXEC, (unsigned)attrs);
        return fd < 0 ? err_sys(e, "mounts: cannot mount %s", fs) : fd;
}

int mount_tmpfs(uint64_t bytes, uint64_t inodes, struct err *e)
{
        char size[32], count[32];
        const char *const options[][2] = { { "size", size }, { "nr_inodes", count }, { "mode", "0755" }, { NULL, NULL } };

        snprintf(size, sizeof(size), "%llu", (unsigned long long)bytes);
        snprintf(count, sizeof(count), "%llu", (unsigned long long)inodes);
        return mount_new("tmpfs", options, MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV, e);
}

/* The highest first. By one option where its 255 bytes are enough, for which the names are short, seen from the directory where they are; else one by one,
 * which Linux 6.5 and later take. */
static int name_layers(int context, const int *layers, unsigned count)
{
        char lower[256];
        size_t len = 0;
        int r = 0;

        for (unsigned i = count; i-- > 0 && len < sizeof(lower);)
                len += (size_t)snprintf(lower + len, sizeof(lower) - len, "%d%s", layers[i], i > 0 ? ":" : "");
        if (len < sizeof(lower))
                return sys_fsconfig(context, FSCONFIG_SET_STRING, "lowerdir", lower, 0);
        for (unsigned i = count; i-- > 0 && r == 0;) {
                snprintf(lower, sizeof(lower), "%d", layers[i]);
                r = sys_fsconfig(context, FSCONFIG_SET_STRING, "lowerdir+", lower, 0);
        }
        return r;
}

static int create_overlay(int context, const int *layers, unsigned count)
{
        if (sys_fsconfig(context, FSCONFIG_SET_STRING, "source", "image", 0) < 0 || name_layers(context, layers, count) < 0)
                return -1;
        return sys_fsconfig(context, FSCONFIG_SET_FLAG, "userxattr", NULL, 0) < 0 ||
                               sys_fsconfig(context, FSCONFIG_CMD_CREATE, NULL, NULL, 0) < 0
                       ? -1
                       : 0;
}

int mount_overlay(const int *layers, unsigned count, struct err *e)
{
        auto_fd context = sys_fsopen("overlay", FSOPEN_CLOEXEC);

        if (context < 0 || chdir("/proc/self/fd") < 0)
                return err_sys(e, "mounts: no overlay filesystem");
        int r = create_overlay(context, layers, count);
        if (r < 0) {
                err_sys(e, "mounts: cannot overlay %u layers", count);
                err_hint(e, "before Linux 6.5 it takes about 60 layers: use an image with fewer");
        }
        if (chdir("/") < 0 || r < 0)
                return r < 0 ? -(int)e->code : err_sys(e, "mounts: no root directory");
        int fd = sys_fsmount(context, FSMOUNT_CLOEXEC, MOUNT_ATTR_RDONLY | MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV);
        return fd < 0 ? err_sys(e, "mounts: cannot mount the image") : fd;
}

int mount_at(int mount, const char *at, struct err *e)
{
        return sys_move_mount(mount, "", AT_FDCWD, at, MOVE_MOUNT_F_EMPTY_PATH) < 0 ? err_sys(e, "mounts: cannot mount on %s", at) : 0;
}

int mount_copy(const char *from, const char *to, uint64_t attrs, struct err *e)
{
        struct mount_attr attr = { .attr_set = attrs };
        auto_fd tree = sys_open_tree(AT_FDCWD, from, OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC | AT_RECURSIVE);

        if (tree < 0)
                return err_sys(e, "mounts: cannot copy the mount of %s", from);
        if (attrs && sys_mount_setattr(tree, "", AT_EMPTY_PATH | AT_RECURSIVE, &attr) < 0)
                return err_sys(e, "mounts: cannot restrict the mount of %s", from);
        return mount_at(tree, to, e);
}

int mount_pivot(struct err *e)
{
        if (sys_pivot_root(".", ".") < 0)
                return err_sys(e, "mounts: cannot change the root");
        if (umount2(".", MNT_DETACH) < 0 || chdir("/") < 0)
                return err_sys(e, "mounts: cannot leave the old root");
        return 0;
}
