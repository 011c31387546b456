#include "base/loopdev.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/loop.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/ioctl.h>

#include "base/fd.h"

enum { TRIES = 64 };

int loopdev_open(int backing, char path[32], struct err *e)
{
        auto_fd control = open("/dev/loop-control", O_RDWR | O_CLOEXEC);
        struct loop_config config = { .fd = (uint32_t)backing,
                                      .block_size = 4096,
                                      .info = { .lo_flags = LO_FLAGS_AUTOCLEAR | LO_FLAGS_DIRECT_IO } };

        if (control < 0) {
                err_set(e, ERR_NOT_SUPPORTED, errno, "disk: no loop devices");
                return err_hint(e, "modprobe loop");
        }
        for (int i = 0; i < TRIES; i++) {
                int number = ioctl(control, LOOP_CTL_GET_FREE);

                if (number < 0)
                        break;
                snprintf(path, 32, "/dev/loop%d", number);
                auto_fd fd = open(path, O_RDWR | O_CLOEXEC);
                if (fd < 0)
                        break;
                if (ioctl(fd, LOOP_CONFIGURE, &config) == 0)
                        return take_fd(&fd);
                if (errno == EINVAL && (config.info.lo_flags & LO_FLAGS_DIRECT_IO)) /* a filesystem without direct I/O */
                        config.info.lo_flags &= ~(uint32_t)LO_FLAGS_DIRECT_IO;
                else if (errno != EBUSY) /* EBUSY: somebody else took it first */
                        break;
        }
        return err_sys(e, "disk: cannot set up a loop device");
}
