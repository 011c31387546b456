#include "base/sock.h"

#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/sys.h"

int sock_pair(int type, int out[2])
{
        return socketpair(AF_UNIX, type | SOCK_CLOEXEC, 0, out);
}

int sock_connect_file(int file)
{
        struct sockaddr_un a = { .sun_family = AF_UNIX };
        struct stat st;
        auto_fd fd = file < 0 ? -1 : socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);

        if (fd < 0 || fstat(file, &st) < 0)
                return -1;
        if (!S_ISSOCK(st.st_mode)) {
                errno = ENOTSOCK;
                return -1;
        }
        snprintf(a.sun_path, sizeof(a.sun_path), "/proc/self/fd/%d", file);
        return connect(fd, (struct sockaddr *)&a, sizeof(a)) < 0 ? -1 : take_fd(&fd);
}

int sock_connect_in(int dir, const char *path)
{
        int at = sys_openat2(dir, path, O_RDONLY | O_DIRECTORY | O_CLOEXEC, RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS);
        DIR *names = at < 0 ? NULL : fdopendir(at);
        const struct dirent *entry;
        int fd = -1;

        while (names && fd < 0 && (entry = readdir(names))) {
                auto_fd file = entry->d_name[0] == '.' ? -1 : openat(at, entry->d_name, O_PATH | O_NOFOLLOW | O_CLOEXEC);

                if (file >= 0)
                        fd = sock_connect_file(file);
        }
        if (names)
                closedir(names);
        return fd;
}

int sock_send(int fd, const void *data, size_t len, const int *fds, size_t nfds)
{
        _Alignas(struct cmsghdr) char control[CMSG_SPACE(sizeof(int) * SOCK_FDS_MAX)] = { 0 };
        struct iovec iov = { .iov_base = (void *)data, .iov_len = len };
        struct msghdr msg = { .msg_iov = &iov, .msg_iovlen = 1 };

        if (nfds > SOCK_FDS_MAX) {
                errno = EINVAL;
                return -1;
        }
        if (nfds > 0) {
                msg.msg_control = control;
                msg.msg_controllen = (__typeof__(msg.msg_controllen))CMSG_SPACE(sizeof(int) * nfds);
                struct cmsghdr *c = CMSG_FIRSTHDR(&msg);
                c->cmsg_level = SOL_SOCKET;
                c->cmsg_type = SCM_RIGHTS;
                c->cmsg_len = (__typeof__(c->cmsg_len))CMSG_LEN(sizeof(int) * nfds);
                memcpy(CMSG_DATA(c), fds, sizeof(int) * nfds);
        }
        for (;;) {
                ssize_t n = sendmsg(fd, &msg, MSG_NOSIGNAL);

                if (n < 0 && errno == EINTR)
                        continue;
                if (n < 0)
                        return -1;
                if ((size_t)n != len) {
                        errno = EMSGSIZE;
                        return -1;
                }
                return 0;
        }
}

/* musl's CMSG_NXTHDR compares a length with a difference of pointers. */
#pragma GCC diagnostic ignored "-Wsign-compare"

static void take_fds(const struct cmsghdr *c, int *fds, size_t room, size_t *got, bool *refused)
{
        size_t count = (c->cmsg_len - CMSG_LEN(0)) / sizeof(int);

        for (size_t i = 0; i < count; i++) {
                int one;

                memcpy(&one, CMSG_DATA(c) + i * sizeof(int), sizeof(one));
                if (*got < room) {
                        fds[(*got)++] = one;
                } else {
                        close(one);
                        *refused = true;
                }
        }
}

static ssize_t receive(int fd, int flags, void *data, size_t cap, int *fds, size_t *nfds, struct ucred *who)
{
        _Alignas(struct cmsghdr) char control[CMSG_SPACE(sizeof(int) * SOCK_FDS_MAX) + CMSG_SPACE(sizeof(struct ucred))];
        struct iovec iov = { .iov_base = data, .iov_len = cap };
        struct msghdr msg = { .msg_iov = &iov, .msg_iovlen = 1, .msg_control = control, .msg_controllen = sizeof(control) };
        size_t room = nfds ? *nfds : 0, got = 0;
        bool refused = false;
        ssize_t n;

        if (nfds)
                *nfds = 0;
        do {
                n = recvmsg(fd, &msg, flags | MSG_CMSG_CLOEXEC);
        } while (n < 0 && errno == EINTR);
        if (n < 0)
                return -1;
        for (struct cmsghdr *c = CMSG_FIRSTHDR(&msg); c; c = CMSG_NXTHDR(&msg, c)) {
                if (c->cmsg_level == SOL_SOCKET && c->cmsg_type == SCM_RIGHTS)
                        take_fds(c, fds, room, &got, &refused);
                else if (who && c->cmsg_level == SOL_SOCKET && c->cmsg_type == SCM_CREDENTIALS)
                        memcpy(who, CMSG_DATA(c), sizeof(*who));
        }
        if (refused || (msg.msg_flags & (MSG_TRUNC | MSG_CTRUNC))) {
                for (size_t i = 0; i < got; i++)
                        close(fds[i]);
                errno = EMSGSIZE;
                return -1;
        }
        if (nfds)
                *nfds = got;
        return n;
}

ssize_t sock_recv(int fd, void *data, size_t cap, int *fds, size_t *nfds)
{
        return receive(fd, 0, data, cap, fds, nfds, NULL);
}

int sock_name_senders(int fd, bool on)
{
        return setsockopt(fd, SOL_SOCKET, SO_PASSCRED, &(int){ on }, sizeof(int));
}

ssize_t sock_recv_from(int fd, void *data, size_t cap, pid_t *sender)
{
        struct ucred who = { 0 };
        ssize_t n = receive(fd, MSG_DONTWAIT, data, cap, NULL, NULL, &who);

        *sender = who.pid;
        return n;
}

ssize_t sock_recv_with(int fd, void *data, size_t cap, int *passed, uid_t *sender)
{
        struct ucred who = { .uid = (uid_t)-1 };
        size_t nfds = 1;

        *passed = -1;
        ssize_t n = receive(fd, MSG_DONTWAIT, data, cap, passed, &nfds, &who);
        if (n < 0)
                *passed = -1;
        *sender = who.uid;
        return n;
}

static bool address(const char *path, struct sockaddr_un *a)
{
        *a = (struct sockaddr_un){ .sun_family = AF_UNIX };
        if (snprintf(a->sun_path, sizeof(a->sun_path), "%s", path) < (int)sizeof(a->sun_path))
                return true;
        errno = ENAMETOOLONG;
        return false;
}

int sock_bind_datagrams(const char *dir, const char *name)
{
        char path[512];
        struct sockaddr_un a;
        auto_fd fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);

        snprintf(path, sizeof(path), "%s/%s", dir, name);
        if (fd < 0 || !address(path, &a) || sock_name_senders(fd, true) < 0 || (unlink(path) < 0 && errno != ENOENT))
                return -1;
        mode_t before = umask(0177);
        int r = bind(fd, (struct sockaddr *)&a, sizeof(a));
        umask(before);
        return r < 0 ? -1 : take_fd(&fd);
}

int sock_send_datagram(const char *path, const void *data, size_t len, int passed)
{
        struct sockaddr_un a;
        auto_fd fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);

        if (fd < 0 || !address(path, &a) || connect(fd, (struct sockaddr *)&a, sizeof(a)) < 0)
                return -1;
        return sock_send(fd, data, len, &passed, 1);
}
