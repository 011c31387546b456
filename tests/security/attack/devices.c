/* Devices: making them, and finding them. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "attack.h"

static int make_node(const char *kind)
{
        mode_t type = kind[0] == 'b' ? S_IFBLK : S_IFCHR;
        dev_t number = kind[0] == 'b' ? makedev(7, 0) : makedev(1, 1);
        int r = mknod("/tmp/.attack-node", type | 0666, number);

        unlink("/tmp/.attack-node");
        return judge(r);
}

static int make_and_read(const char *unused)
{
        char byte;

        (void)unused;
        if (mknod("/tmp/.attack-kmsg", S_IFCHR | 0666, makedev(1, 11)) < 0)
                return judge(-1);
        int fd = open("/tmp/.attack-kmsg", O_RDONLY | O_NONBLOCK | O_CLOEXEC);
        unlink("/tmp/.attack-kmsg");
        if (fd < 0)
                return judge(-1);
        return judge(read(fd, &byte, 1) >= 0 || errno != EPERM ? 0 : -1);
}

static int open_device(const char *path)
{
        int fd = open(path, O_RDWR | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);

        if (fd < 0)
                fd = open(path, O_RDONLY | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
        return judge(fd);
}

static bool is_ordinary(dev_t d)
{
        unsigned ma = major(d), mi = minor(d);

        return (ma == 1 && (mi == 3 || mi == 5 || mi == 7 || mi == 8 || mi == 9)) || (ma == 5 && (mi == 0 || mi == 2)) ||
               (ma >= 136 && ma <= 143);
}

/* Some devices act on being opened; those are not looked at. */
static int visit(const char *path, const struct stat *st, int type, struct FTW *walk)
{
        (void)type;
        (void)walk;
        if ((!S_ISCHR(st->st_mode) && !S_ISBLK(st->st_mode)) || is_ordinary(st->st_rdev) || strstr(path, "watchdog") || strstr(path, "kvm"))
                return 0;
        if (open_device(path) != WON)
                return 0;
        say("%s", path);
        return 1;
}

static int walk(const char *top)
{
        int r = nftw(top, visit, 32, FTW_PHYS | (strcmp(top, "/") == 0 ? 0 : FTW_MOUNT));

        if (r == 0)
                say("none");
        return r == 1 ? WON : REFUSED;
}

const struct attack attacks_devices[] = {
        { "mknod-block", 'P', false, "make a block device", make_node, "b" },
        { "mknod-char", 'P', false, "make a character device", make_node, "c" },
        { "mknod-kmsg", 'P', false, "make the kernel log's device and read it", make_and_read, NULL },
        { "device-mem", 'P', true, "open /dev/mem", open_device, "/dev/mem" },
        { "device-kmem", 'P', true, "open /dev/kmem", open_device, "/dev/kmem" },
        { "device-port", 'P', true, "open /dev/port", open_device, "/dev/port" },
        { "device-kmsg", 'P', false, "open /dev/kmsg", open_device, "/dev/kmsg" },
        { "device-disk", 'P', true, "open the machine's disk, /dev/vda", open_device, "/dev/vda" },
        { "device-sda", 'P', true, "open the machine's disk, /dev/sda", open_device, "/dev/sda" },
        { "device-loop-control", 'P', true, "open /dev/loop-control", open_device, "/dev/loop-control" },
        { "device-loop", 'P', true, "open /dev/loop0", open_device, "/dev/loop0" },
        { "device-vsock", 'P', true, "open /dev/vsock", open_device, "/dev/vsock" },
        { "device-fuse", 'P', true, "open /dev/fuse", open_device, "/dev/fuse" },
        { "device-tun", 'P', true, "open /dev/net/tun", open_device, "/dev/net/tun" },
        { "device-userfaultfd", 'P', true, "open /dev/userfaultfd", open_device, "/dev/userfaultfd" },
        { "device-console", 'P', true, "open /dev/console", open_device, "/dev/console" },
        { "device-any", 'P', false, "open any device in /dev beyond null, zero, full, random, urandom, tty and ptys", walk, "/dev" },
        { NULL, 0, false, NULL, NULL, NULL },
};
