/*
 * The serial port of a machine as a socket. What goes in goes in whole frames, each in one STDIN frame of the native sandbox: creto-init takes that in whole
 * or, where this daemon dies, not at all. What comes out is acknowledged up to the end of a frame, so that the next daemon's reading begins with one.
 */
#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <poll.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/fd.h"
#include "base/sock.h"
#include "services/vm/internal.h"

int pump_open(struct pump *p, struct session_exec *machine)
{
        int ends[2];

        if (sock_pair(SOCK_STREAM, ends) < 0)
                return -1;
        fd_set_nonblock(ends[0], true);
        p->machine = machine;
        p->fd = ends[0];
        return ends[1];
}

void pump_close(struct pump *p)
{
        watch_free(p->watch);
        p->watch = NULL;
        fd_close(&p->fd);
}

static uint32_t payload_length(const uint8_t head[GUEST_HEADER])
{
        return (uint32_t)head[0] | (uint32_t)head[1] << 8 | (uint32_t)head[2] << 16 | (uint32_t)head[3] << 24;
}

/* ---- from the machine ---- */

/* Whether frames are well formed is for the session to say; here only their lengths count. */
static void follow(struct pump *p, const uint8_t *data, size_t len)
{
        while (len > 0) {
                bool head = p->left == 0;
                size_t want = head ? GUEST_HEADER - p->head_len : p->left, n = len < want ? len : want;

                if (head) {
                        memcpy(p->head + p->head_len, data, n);
                        p->head_len += n;
                } else {
                        p->left -= n;
                }
                data += n;
                len -= n;
                p->passed += n;
                if (head && p->head_len == GUEST_HEADER)
                        p->left = payload_length(p->head);
                if (p->head_len == GUEST_HEADER && p->left == 0) {
                        p->head_len = 0;
                        p->whole = p->passed;
                }
        }
}

ssize_t pump_take(struct pump *p, const void *data, size_t len)
{
        /* a machine that was found may speak before there is a session */
        ssize_t n = p->fd < 0 ? 0 : send(p->fd, data, len, MSG_DONTWAIT | MSG_NOSIGNAL);

        p->full = n < (ssize_t)len;
        if (n < 0)
                return errno == EAGAIN || errno == EINTR ? 0 : -1;
        follow(p, data, (size_t)n);
        return n;
}

/* ---- to the machine ---- */

/* How many bytes at the front are whole frames that fit into `room`. */
static size_t whole_frames(const struct pump *p, size_t room)
{
        size_t at = 0;

        while (p->in_len - at >= GUEST_HEADER) {
                size_t frame = (size_t)payload_length(p->in + at) + GUEST_HEADER;

                if (frame > p->in_len - at || at + frame > room)
                        break;
                at += frame;
        }
        return at;
}

void pump_move(struct pump *p)
{
        size_t n;

        ssize_t got = p->fd < 0 || p->in_len == sizeof(p->in) ? 0 : recv(p->fd, p->in + p->in_len, sizeof(p->in) - p->in_len, MSG_DONTWAIT);
        if (got > 0)
                p->in_len += (size_t)got;
        while ((n = whole_frames(p, session_exec_room(p->machine))) > 0) {
                session_exec_write(p->machine, p->in, n);
                p->in_len -= n;
                memmove(p->in, p->in + n, p->in_len);
        }
        session_exec_ack(p->machine, GUEST_STDOUT, p->whole);
}

short pump_events(const struct pump *p)
{
        return (short)((p->in_len < sizeof(p->in) ? POLLIN : 0) | (p->full ? POLLOUT : 0));
}
