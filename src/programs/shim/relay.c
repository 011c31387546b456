#include "programs/shim/relay.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/fd.h"

/* Host programs have greater ones. */
enum { OWN_EPOCH = 0 };

enum { POLL_LISTENER, POLL_CANDIDATE, POLL_HOST, POLL_FROM, POLL_TO };

static void put_hello(struct relay_way *w)
{
        const struct guest_hello h = { .version = GUEST_VERSION, .max_frame = GUEST_FRAME_MAX, .epoch = OWN_EPOCH };
        struct wbuf payload = wbuf_over(w->data + GUEST_HEADER, RELAY_HELLO - GUEST_HEADER);

        guest_put_hello(&payload, &h);
        guest_frame_header(w->data, GUEST_HELLO, 0, 0, (uint32_t)payload.len);
        w->len = w->whole = GUEST_HEADER + payload.len;
}

void relay_init(struct relay *r, int to, int from, int guest)
{
        int listens = 0;
        socklen_t len = sizeof(listens);

        getsockopt(guest, SOL_SOCKET, SO_ACCEPTCONN, &listens, &len);
        *r = (struct relay){ .to = to, .from = from, .listener = listens ? guest : -1, .candidate = -1, .host = listens ? -1 : guest };
        r->epoch = OWN_EPOCH;
        r->waiting = true;
        put_hello(&r->down);
        fd_set_nonblock(to, true);
        fd_set_nonblock(from, true);
        fd_set_nonblock(guest, true);
}

/* ---- one way ---- */

static void tidy(struct relay_way *w)
{
        memmove(w->data, w->data + w->pos, w->len - w->pos);
        w->whole -= w->pos;
        w->len -= w->pos;
        w->pos = 0;
}

/* Room is kept for a HELLO. */
static size_t room(const struct relay_way *w)
{
        return RELAY_BUFFER - RELAY_HELLO - (w->len - w->pos);
}

/* 1: something came; 0: not now; -1: it has ended. */
static int way_read(struct relay_way *w, int fd)
{
        tidy(w);
        ssize_t n = room(w) == 0 ? 0 : read(fd, w->data + w->len, room(w));

        if (n < 0)
                return errno == EAGAIN || errno == EINTR ? 0 : -1;
        w->len += (size_t)n;
        return n > 0 ? 1 : -1;
}

static bool way_write(struct relay_way *w, int fd)
{
        ssize_t n = w->pos == w->whole ? 0 : write(fd, w->data + w->pos, w->whole - w->pos);

        if (n < 0)
                return errno == EAGAIN || errno == EINTR;
        w->pos += (size_t)n;
        return true;
}

/* The next frame behind what is whole. 1, 0 where more is to come, or -1. */
static int way_frame(const struct relay_way *w, struct guest_frame *f, size_t *used)
{
        return guest_frame_parse(w->data + w->whole, w->len - w->whole, GUEST_FRAME_MAX, f, used);
}

/* ---- host programs ---- */

static void lose_host(struct relay *r)
{
        fd_close(&r->host);
        r->down.len = r->down.whole; /* half a frame is nobody's */
}

static bool greets(const struct relay *r, struct guest_hello *h)
{
        struct guest_frame f;
        size_t used;

        return guest_frame_parse(r->hello, r->hello_len, GUEST_FRAME_MAX, &f, &used) == 1 && f.type == GUEST_HELLO && f.channel == 0 &&
               f.flags == 0 && guest_get_hello(f.payload, h) == 0 && h->epoch > r->epoch;
}

/* What is on its way to the one before is dropped: it is sent again after HELLO, as far as it matters. */
static void take_candidate(struct relay *r)
{
        struct guest_hello h;

        tidy(&r->down);
        if (!greets(r, &h) || RELAY_BUFFER - r->down.whole < RELAY_HELLO) {
                fd_close(&r->candidate);
                return;
        }
        lose_host(r);
        r->host = take_fd(&r->candidate);
        r->epoch = h.epoch;
        r->waiting = true;
        memcpy(r->down.data + r->down.whole, r->hello, RELAY_HELLO);
        r->down.len = r->down.whole += RELAY_HELLO;
        r->up.pos = r->up.whole;
}

static void read_candidate(struct relay *r)
{
        ssize_t n = read(r->candidate, r->hello + r->hello_len, RELAY_HELLO - r->hello_len);

        if (n < 0 && (errno == EAGAIN || errno == EINTR))
                return;
        r->hello_len += n > 0 ? (size_t)n : 0;
        if (n <= 0)
                fd_close(&r->candidate);
        else if (r->hello_len == RELAY_HELLO)
                take_candidate(r);
}

/* The newest counts: an older one that says nothing must not keep others out. */
static void accept_candidate(struct relay *r)
{
        int fd = accept4(r->listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);

        if (fd < 0)
                return;
        fd_close(&r->candidate);
        r->candidate = fd;
        r->hello_len = 0;
}

/* ---- frames ---- */

static void sort_down(struct relay *r)
{
        struct guest_frame f;
        size_t used;
        int found;

        while ((found = way_frame(&r->down, &f, &used)) == 1)
                r->down.whole += used;
        if (found < 0)
                lose_host(r);
}

static bool is_for_host(struct relay *r, const struct guest_frame *f)
{
        static struct guest_hello_ok ok;

        bool greeting = f->type == GUEST_HELLO_OK && guest_get_hello_ok(f->payload, &ok) == 0;

        r->answers |= greeting;
        if (greeting && ok.epoch == r->epoch)
                r->waiting = false;
        return r->host >= 0 && !r->waiting && !(greeting && ok.epoch == OWN_EPOCH);
}

static void sort_up(struct relay *r)
{
        struct relay_way *w = &r->up;
        struct guest_frame f;
        size_t used;
        int found;

        while (!w->broken && (found = way_frame(w, &f, &used)) != 0) {
                w->broken = found < 0;
                if (found == 1 && is_for_host(r, &f)) {
                        w->whole += used;
                } else if (found == 1) {
                        memmove(w->data + w->whole, w->data + w->whole + used, w->len - w->whole - used);
                        w->len -= used;
                }
        }
        if (w->broken)
                w->whole = w->len;
        if (w->broken && r->host < 0)
                w->pos = w->whole;
}

/* ---- the loop's ---- */

void relay_watch(const struct relay *r, struct pollfd *p)
{
        bool up = r->up.pos < r->up.whole, down = r->down.pos < r->down.whole;

        p[POLL_LISTENER] = (struct pollfd){ .fd = r->listener, .events = POLLIN };
        p[POLL_CANDIDATE] = (struct pollfd){ .fd = r->candidate, .events = POLLIN };
        p[POLL_HOST] = (struct pollfd){ .events = (short)((room(&r->down) > 0 ? POLLIN : 0) | (up ? POLLOUT : 0)) };
        p[POLL_HOST].fd = p[POLL_HOST].events ? r->host : -1; /* its end is seen when there is room again */
        p[POLL_FROM] = (struct pollfd){ .fd = room(&r->up) > 0 ? r->from : -1, .events = POLLIN };
        p[POLL_TO] = (struct pollfd){ .fd = down ? r->to : -1, .events = POLLOUT };
}

bool relay_turn(struct relay *r, const struct pollfd *p)
{
        if (p[POLL_HOST].revents & (POLLIN | POLLHUP | POLLERR)) {
                if (room(&r->down) > 0 && way_read(&r->down, r->host) < 0)
                        lose_host(r);
                sort_down(r);
        }
        if (p[POLL_FROM].revents & POLLIN && way_read(&r->up, r->from) > 0)
                sort_up(r);
        if (r->host >= 0 && !way_write(&r->up, r->host))
                lose_host(r);
        if (!way_write(&r->down, r->to))
                return false;
        if (p[POLL_CANDIDATE].revents && r->candidate >= 0)
                read_candidate(r);
        if (p[POLL_LISTENER].revents & POLLIN)
                accept_candidate(r);
        return r->host >= 0 || r->listener >= 0;
}
