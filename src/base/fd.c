#include "base/fd.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <string.h>
#include <unistd.h>

void fd_close(int *fd)
{
        if (*fd >= 0) {
                int saved = errno;

                close(*fd);
                *fd = -1;
                errno = saved;
        }
}

int fd_write_all(int fd, const void *data, size_t len)
{
        const char *p = data;

        while (len > 0) {
                ssize_t n = write(fd, p, len);

                if (n < 0 && errno == EINTR)
                        continue;
                if (n < 0)
                        return -1;
                p += n;
                len -= (size_t)n;
        }
        return 0;
}

int fd_read_all(int fd, void *data, size_t len)
{
        char *p = data;

        while (len > 0) {
                ssize_t n = read(fd, p, len);

                if (n < 0 && errno == EINTR)
                        continue;
                if (n == 0)
                        errno = ENODATA;
                if (n <= 0)
                        return -1;
                p += n;
                len -= (size_t)n;
        }
        return 0;
}

ssize_t fd_read_file(int dir, const char *path, char *out, size_t cap)
{
        auto_fd fd = openat(dir, path, O_RDONLY | O_CLOEXEC);
        size_t len = 0;

        if (fd < 0)
                return -1;
        while (len < cap - 1) {
                ssize_t n = read(fd, out + len, cap - 1 - len);

                if (n < 0 && errno == EINTR)
                        continue;
                if (n < 0)
                        return -1;
                if (n == 0)
                        break;
                len += (size_t)n;
        }
        out[len] = '\0';
        return (ssize_t)len;
}

int fd_write_file(int dir, const char *path, const char *text)
{
        size_t len = strlen(text);
        auto_fd fd = openat(dir, path, O_WRONLY | O_CLOEXEC);

        if (fd < 0)
                return -1;
        ssize_t n = write(fd, text, len);
        if (n >= 0 && (size_t)n != len) {
                errno = EIO;
                return -1;
        }
        return n < 0 ? -1 : 0;
}

int fd_move(int fd, int target)
{
        if (fd == target)
                return fcntl(fd, F_SETFD, 0);
        return dup2(fd, target) < 0 ? -1 : 0;
}

int fd_set_nonblock(int fd, bool on)
{
        int flags = fcntl(fd, F_GETFL);

        if (flags < 0)
                return -1;
        return fcntl(fd, F_SETFL, on ? flags | O_NONBLOCK : flags & ~O_NONBLOCK);
}

bool fd_readable(int fd, int wait_ms)
{
        struct pollfd p = { .fd = fd, .events = POLLIN };
        int r;

        while ((r = poll(&p, 1, wait_ms)) < 0 && errno == EINTR)
                ;
        return r != 0;
}
