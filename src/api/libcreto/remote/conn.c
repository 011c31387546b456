#include "api/libcreto/remote/conn.h"

#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/fd.h"

enum { CONNECT_TIMEOUT_MS = 10 * 1000, TCP_SILENCE_MS = 30 * 1000 };

struct conn *conn_new(const struct host *host)
{
        struct conn *c = malloc(sizeof(*c));

        if (!c)
                return NULL;
        c->host = host;
        c->fd = -1;
        c->timeout_ms = CONN_TIMEOUT_MS;
        c->lost = c->silent = false;
        c->at = c->len = 0;
        return c;
}

void conn_free(struct conn *c)
{
        if (!c)
                return;
        conn_close(c);
        free(c);
}

void conn_close(struct conn *c)
{
        fd_close(&c->fd);
        c->at = c->len = 0;
}

/* ---- failures ---- */

static int unreachable(struct conn *c, int sys, struct err *e)
{
        err_set(e, sys == EACCES || sys == EPERM ? ERR_AUTHORIZATION_DENIED : ERR_BACKEND_UNAVAILABLE, sys,
                "cannot reach creto-runtime at %s", c->host->text);
        if (sys == EACCES || sys == EPERM)
                return err_hint(e, "the socket is for root and for those whom the service's configuration names");
        return err_hint(e, "is creto-runtime running? systemctl start creto-runtime");
}

static int hung_up(struct conn *c, struct err *e)
{
        c->lost = true;
        err_set(e, ERR_BACKEND_UNAVAILABLE, 0, "creto-runtime at %s ended the connection before its answer%s", c->host->text,
                c->silent ? "" : " was whole");
        return err_hint(e, "has it been restarted? journalctl -u creto-runtime");
}

static int no_http(struct conn *c, struct err *e)
{
        err_set(e, ERR_BACKEND_UNAVAILABLE, 0, "what answers at %s is not creto-runtime: %s", c->host->text, c->res.why);
        return err_hint(e, "--host or CRETO_RUNTIME_HOST must name its socket or its HTTP port");
}

/* Returns what poll() saw. */
static int wait_for(struct conn *c, short events, unsigned timeout_ms, struct err *e)
{
        uint64_t end = clock_ms(CLOCK_MONOTONIC) + timeout_ms;

        for (;;) {
                struct pollfd p = { .fd = c->fd, .events = events };
                uint64_t now = clock_ms(CLOCK_MONOTONIC);
                int n = poll(&p, 1, now >= end ? 0 : (int)(end - now));

                if (n > 0)
                        return p.revents;
                if (n < 0 && errno != EINTR)
                        return err_sys(e, "cannot wait");
                if (n == 0)
                        break;
        }
        err_set(e, ERR_TIMEOUT, 0, "creto-runtime at %s has not answered for %u.%03u s", c->host->text, timeout_ms / 1000,
                timeout_ms % 1000);
        return err_hint(e, "it may be busy; creto-runtime health asks it how it is");
}

/* ---- open ---- */

/* Nobody may have said anything on a connection where nothing is asked, so bytes are as bad as an end. */
static bool still_good(struct conn *c)
{
        struct pollfd p = { .fd = c->fd, .events = POLLIN };

        return c->fd >= 0 && c->at == c->len && poll(&p, 1, 0) == 0;
}

static void set_options(const struct conn *c)
{
        int one = 1, silence = TCP_SILENCE_MS;

        if (c->host->address.ss_family == AF_UNIX)
                return;
        setsockopt(c->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
        setsockopt(c->fd, SOL_SOCKET, SO_KEEPALIVE, &one, sizeof(one));
        setsockopt(c->fd, IPPROTO_TCP, TCP_USER_TIMEOUT, &silence, sizeof(silence));
}

/* A unix socket whose backlog is full says EAGAIN, and nothing says when it no longer is. */
static int connect_once(struct conn *c)
{
        uint64_t end = clock_ms(CLOCK_MONOTONIC) + CONNECT_TIMEOUT_MS;

        while (connect(c->fd, (const struct sockaddr *)&c->host->address, c->host->address_len) < 0) {
                if (errno != EAGAIN || clock_ms(CLOCK_MONOTONIC) > end)
                        return errno;
                poll(NULL, 0, 10);
        }
        return 0;
}

int conn_open(struct conn *c, struct err *e)
{
        int sys, seen = POLLOUT;
        socklen_t len = sizeof(sys);

        if (still_good(c))
                return 0;
        conn_close(c);
        c->fd = socket(c->host->address.ss_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
        if (c->fd < 0)
                return err_sys(e, "cannot make a socket");
        set_options(c);
        sys = connect_once(c);
        if (sys == EINPROGRESS || sys == EINTR) {
                seen = wait_for(c, POLLOUT, c->timeout_ms < CONNECT_TIMEOUT_MS ? c->timeout_ms : CONNECT_TIMEOUT_MS, e);
                sys = seen < 0 ? ETIMEDOUT : 0;
                if (sys == 0)
                        getsockopt(c->fd, SOL_SOCKET, SO_ERROR, &sys, &len);
        }
        if (sys == 0)
                return 0;
        conn_close(c);
        return unreachable(c, sys, e);
}

/* ---- send and receive ---- */

int conn_write(struct conn *c, const void *data, size_t len, struct err *e)
{
        const uint8_t *p = data;

        c->lost = false;
        c->silent = true;
        while (len > 0) {
                int seen = wait_for(c, POLLIN | POLLOUT, c->timeout_ms, e);
                if (seen < 0)
                        return seen;
                if (seen & (POLLIN | POLLERR | POLLHUP))
                        return 1;
                ssize_t n = send(c->fd, p, len, MSG_NOSIGNAL);
                if (n < 0 && errno != EAGAIN && errno != EINTR)
                        return 1; /* what it said before is still to be read */
                p += n > 0 ? n : 0;
                len -= n > 0 ? (size_t)n : 0;
        }
        return 0;
}

int conn_fill(struct conn *c, struct err *e)
{
        for (;;) {
                ssize_t n = recv(c->fd, c->in, sizeof(c->in), 0);

                if (n < 0 && errno == EAGAIN) {
                        int seen = wait_for(c, POLLIN, c->timeout_ms, e);
                        if (seen < 0)
                                return seen;
                        continue;
                }
                if (n < 0 && errno == EINTR)
                        continue;
                c->at = 0;
                c->len = n > 0 ? (size_t)n : 0;
                if (n > 0)
                        c->silent = false;
                return n > 0;
        }
}

/* One event of the response, with as many bytes as it takes. HTTP_MORE: the connection has ended, or it failed and *code is negative. */
static enum http_event next_event(struct conn *c, struct bytes *piece, int *code, struct err *e)
{
        for (;;) {
                size_t used;
                enum http_event event = http_read(&c->res, c->in + c->at, c->len - c->at, &used, piece);

                c->at += used;
                if (event != HTTP_MORE)
                        return event;
                *code = conn_fill(c, e);
                if (*code <= 0)
                        return HTTP_MORE;
        }
}

int conn_head(struct conn *c, bool may_upgrade, struct err *e)
{
        struct bytes piece;
        int code = 0;

        http_response_init(&c->res, false);
        c->res.may_upgrade = may_upgrade;
        switch (next_event(c, &piece, &code, e)) {
        case HTTP_HEAD:
                return 0;
        case HTTP_BAD:
                return no_http(c, e);
        default:
                return code < 0 ? code : hung_up(c, e);
        }
}

int conn_piece(struct conn *c, struct bytes *piece, struct err *e)
{
        int code = 0;
        enum http_event event = next_event(c, piece, &code, e);

        if (event == HTTP_MORE && code == 0)
                event = http_eof(&c->res) == HTTP_DONE ? HTTP_DONE : HTTP_MORE;
        switch (event) {
        case HTTP_BODY:
                return 1;
        case HTTP_DONE:
                if (c->res.close)
                        conn_close(c);
                return 0;
        case HTTP_BAD:
                return no_http(c, e);
        default:
                return code < 0 ? code : hung_up(c, e);
        }
}
