/*
 * Between the guest's kernel and creto-vm-host: every message as it is, requests one way, replies the other. It understands nothing of them but their
 * length, which stands at the front of both. A process of its own, which nothing in the guest can reach.
 */
#include "programs/vm/relay.h"

#include <errno.h>
#include <linux/fuse.h>
#include <poll.h>
#include <stdbool.h>
#include <stdint.h>
#include <string.h>
#include <unistd.h>

#include "base/fd.h"
#include "programs/vm/vm.h"

enum { REQUEST_MAX = 16 * 1024, REPLY_MAX = VM_FUSE_DATA + 4096 };

static uint8_t request[REQUEST_MAX], reply[2 * REPLY_MAX];
static size_t request_at, request_len, reply_len;

/* False at an end. */
static bool take_request(int fuse)
{
        ssize_t n = read(fuse, request, sizeof(request));

        if (n < 0) /* ENOENT: it was taken back before we had it */
                return errno == EAGAIN || errno == EINTR || errno == ENOENT;
        request_at = 0;
        request_len = (size_t)n;
        return true;
}

static bool send_request(int port)
{
        while (request_at < request_len) {
                ssize_t n = write(port, request + request_at, request_len - request_at);

                if (n < 0 && errno == EINTR)
                        continue;
                if (n < 0)
                        return errno == EAGAIN;
                request_at += (size_t)n;
        }
        return true;
}

/* Every whole reply goes to the kernel; false where there is none to be made of the bytes. */
static bool give_replies(int fuse)
{
        size_t at = 0;
        uint32_t len;

        while (reply_len - at >= sizeof(struct fuse_out_header)) {
                memcpy(&len, reply + at, sizeof(len));
                if (len < sizeof(struct fuse_out_header) || len > REPLY_MAX)
                        return false;
                if (reply_len - at < len)
                        break;
                if (write(fuse, reply + at, len) < 0 && errno != ENOENT && errno != EINTR && errno != EINVAL)
                        return false;
                at += len;
        }
        reply_len -= at;
        memmove(reply, reply + at, reply_len);
        return true;
}

static bool take_replies(int fuse, int port)
{
        for (;;) {
                ssize_t n = read(port, reply + reply_len, sizeof(reply) - reply_len);

                if (n < 0)
                        return errno == EAGAIN || errno == EINTR;
                if (n == 0)
                        return false;
                reply_len += (size_t)n;
                if (!give_replies(fuse))
                        return false;
        }
}

void relay_run(int fuse, int port)
{
        fd_set_nonblock(fuse, true);
        fd_set_nonblock(port, true);
        for (;;) {
                bool sending = request_at < request_len;
                struct pollfd p[2] = { { .fd = sending ? -1 : fuse, .events = POLLIN },
                                       { .fd = port, .events = (short)(POLLIN | (sending ? POLLOUT : 0)) } };

                if (poll(p, 2, -1) < 0 && errno != EINTR)
                        return;
                if ((p[0].revents & POLLERR) || (p[1].revents & POLLHUP))
                        return;
                if ((p[1].revents & POLLIN) && !take_replies(fuse, port))
                        return;
                if ((p[0].revents & POLLIN) && !take_request(fuse))
                        return;
                if (!send_request(port))
                        return;
        }
}
