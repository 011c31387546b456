#include "base/fd.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/timerfd.h>
#include <unistd.h>

enum { FD_HIGH = 64, FD_ARRANGED_MAX = 16 };

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
        auto_fd fd = openat(dir, path,
                            O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY | O_CLOEXEC); /* what is a pipe by now holds up nobody */
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

int fd_high(int fd)
{
        return fcntl(fd, F_DUPFD_CLOEXEC, FD_HIGH);
}

int fd_arrange(const int *fds, size_t count)
{
        int high[FD_ARRANGED_MAX];

        if (count > FD_ARRANGED_MAX) {
                errno = EINVAL;
                return -1;
        }
        for (size_t i = 0; i < count; i++)
                if (fds[i] >= 0 && (high[i] = fd_high(fds[i])) < 0)
                        return -1;
        for (size_t i = 0; i < count; i++)
                if (fds[i] >= 0 && (dup2(high[i], (int)i) < 0 || close(high[i]) < 0))
                        return -1;
        return 0;
}

int fd_new_file(int dir, const char *path, mode_t mode, const void *data, size_t len)
{
        auto_fd fd = openat(dir, path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW | O_APPEND, mode);

        return fd < 0 || (len > 0 && fd_write_all(fd, data, len) < 0) ? -1 : take_fd(&fd);
}

int fd_new_fifo(int dir, const char *path)
{
        return mkfifoat(dir, path, 0600) < 0 ? -1 : openat(dir, path, O_RDWR | O_NONBLOCK | O_CLOEXEC | O_NOFOLLOW);
}

int fd_pipe_with(const void *data, size_t len)
{
        int ends[2];

        if (pipe2(ends, O_CLOEXEC) < 0)
                return -1;
        if (fd_write_all(ends[1], data, len) < 0)
                fd_close(&ends[0]);
        fd_close(&ends[1]);
        return ends[0];
}

int fd_set_timer(int timer, uint64_t ms)
{
        struct itimerspec t = { .it_value = { .tv_sec = (time_t)(ms / 1000), .tv_nsec = (long)(ms % 1000) * 1000000 } };

        return timerfd_settime(timer, 0, &t, NULL);
}

bool fd_is_trusted(int fd, bool any_owner, struct stat *st)
{
        return fstat(fd, st) == 0 && S_ISREG(st->st_mode) && (any_owner || st->st_uid == 0) && !(st->st_mode & 022) && (st->st_mode & 0111);
}

int fd_open_trusted(const char *path, bool any_owner, struct stat *st)
{
        auto_fd fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);

        if (fd < 0)
                return -1;
        if (fd_is_trusted(fd, any_owner, st))
                return take_fd(&fd);
        errno = EPERM;
        return -1;
}

int fd_copy(int from, int to)
{
        char chunk[16384];
        off_t at = 0;
        ssize_t n;

        for (; (n = pread(from, chunk, sizeof(chunk), at)) > 0; at += n)
                if (fd_write_all(to, chunk, (size_t)n) < 0)
                        return -1;
        return n < 0 ? -1 : 0;
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

int fd_copy_sparse(int from, int to)
{
        static char chunk[65536];
        off_t at = 0;

        while ((at = lseek(from, at, SEEK_DATA)) >= 0) {
                off_t end = lseek(from, at, SEEK_HOLE);

                while (at < end) {
                        size_t want = end - at > (off_t)sizeof(chunk) ? sizeof(chunk) : (size_t)(end - at);
                        ssize_t n = pread(from, chunk, want, at);

                        if (n <= 0 || pwrite(to, chunk, (size_t)n, at) != n)
                                return -1;
                        at += n;
                }
        }
        return 0;
}

int fd_sealed_copy(int from, const char *name)
{
        char path[64];
        auto_fd to = memfd_create(name, MFD_CLOEXEC | MFD_ALLOW_SEALING);

        if (to < 0 || fd_copy(from, to) < 0 || fchmod(to, 0555) < 0 ||
            fcntl(to, F_ADD_SEALS, F_SEAL_SEAL | F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE) < 0)
                return -1;
        /* execve refuses a file that is open for writing */
        snprintf(path, sizeof(path), "/proc/self/fd/%d", to);
        return open(path, O_RDONLY | O_CLOEXEC);
}

int fd_each_name(int dir, void (*call)(void *user, const char *name), void *user)
{
        int fd = openat(dir, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        DIR *d = fd < 0 ? NULL : fdopendir(fd);
        struct dirent *entry;

        if (!d) {
                fd_close(&fd);
                return -1;
        }
        while ((entry = readdir(d)))
                if (strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0)
                        call(user, entry->d_name);
        closedir(d);
        return 0;
}
