/* The guest stream over a container's standard streams (creto-shim): cut between frames only, whoever dies at which byte. */
#include "test.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/sock.h"
#include "programs/shim/relay.h"

static struct relay r;
static int in[2], out[2]; /* the container's */
static int listener;

static int listening(void)
{
        const struct sockaddr_un any = { .sun_family = AF_UNIX };
        int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

        return bind(fd, (const struct sockaddr *)&any, sizeof(any.sun_family)) < 0 || listen(fd, 8) < 0 ? -1 : fd;
}

static int caller(void)
{
        struct sockaddr_un a;
        socklen_t len = sizeof(a);
        int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

        return getsockname(listener, (struct sockaddr *)&a, &len) < 0 || connect(fd, (struct sockaddr *)&a, len) < 0 ? -1 : fd;
}

static void finish(void)
{
        for (int i = 0; i < 2; i++) {
                close(in[i]);
                close(out[i]);
        }
        fd_close(&listener);
        fd_close(&r.candidate);
        fd_close(&r.host);
}

/* Until there is nothing more to be done. */
static bool turns(void)
{
        struct pollfd p[RELAY_POLLS];

        for (int i = 0; i < 100; i++) {
                relay_watch(&r, p);
                if (poll(p, RELAY_POLLS, 0) <= 0)
                        return true;
                if (!relay_turn(&r, p))
                        return false;
        }
        return true;
}

static size_t frame(uint8_t *to, uint16_t type, const void *payload, size_t len)
{
        struct wbuf w = wbuf_over(to, GUEST_HEADER + GUEST_FRAME_MAX);

        guest_frame_put(&w, type, 0, 0, payload, len);
        return w.bad ? 0 : w.len;
}

static size_t hello(uint8_t *to, uint64_t epoch)
{
        const struct guest_hello h = { .version = GUEST_VERSION, .max_frame = GUEST_FRAME_MAX, .epoch = epoch };
        uint8_t payload[64];
        struct wbuf w = wbuf_over(payload, sizeof(payload));

        guest_put_hello(&w, &h);
        return frame(to, GUEST_HELLO, payload, w.len);
}

static size_t hello_ok(uint8_t *to, uint64_t epoch)
{
        static struct guest_hello_ok ok;
        uint8_t payload[256];
        struct wbuf w = wbuf_over(payload, sizeof(payload));

        ok = (struct guest_hello_ok){ .version = GUEST_VERSION, .max_frame = GUEST_FRAME_MAX, .epoch = epoch };
        guest_put_hello_ok(&w, &ok);
        return frame(to, GUEST_HELLO_OK, payload, w.len);
}

static size_t pong(uint8_t *to, uint64_t v)
{
        return frame(to, GUEST_PONG, &v, sizeof(v));
}

static bool gives(int fd, const uint8_t *data, size_t len)
{
        return write(fd, data, len) == (ssize_t)len && turns();
}

static bool has(int fd, const uint8_t *data, size_t len)
{
        uint8_t got[4096];
        ssize_t n = turns() ? read(fd, got, sizeof(got)) : -2;

        return n < 0 ? len == 0 && n == -1 && errno == EAGAIN : n == (ssize_t)len && memcmp(got, data, len) == 0;
}

static bool has_nothing(int fd)
{
        return has(fd, NULL, 0);
}

static bool has_ended(int fd)
{
        return turns() && read(fd, (uint8_t[1]){ 0 }, 1) == 0;
}

static void begin(void)
{
        uint8_t data[256];
        size_t n;

        listener = listening();
        if (pipe2(in, O_CLOEXEC | O_NONBLOCK) < 0 || pipe2(out, O_CLOEXEC | O_NONBLOCK) < 0)
                abort();
        relay_init(&r, in[1], out[0], listener);
        n = hello(data, 0);
        CHECK(!r.answers && has(in[0], data, n));
        n = hello_ok(data, 0);
        CHECK(gives(out[1], data, n) && r.answers);
}

/* A host program that was greeted. */
static int greeted(uint64_t epoch)
{
        uint8_t data[256];
        int host = caller();
        size_t n = hello(data, epoch);

        if (!gives(host, data, n) || !has(in[0], data, n))
                return -1;
        n = hello_ok(data, epoch);
        return gives(out[1], data, n) && has(host, data, n) ? host : -1;
}

TEST(both_ways)
{
        uint8_t data[256];
        size_t n;

        begin();
        int host = greeted(1);
        CHECK(host >= 0);
        n = pong(data, 7);
        CHECK(gives(out[1], data, n) && has(host, data, n));
        n = frame(data, GUEST_PING, "12345678", 8);
        CHECK(gives(host, data, n) && has(in[0], data, n));
        close(host);
        finish();
}

TEST(half_a_frame_goes_nowhere)
{
        uint8_t data[256], next[256];
        size_t n = frame(data, GUEST_PING, "12345678", 8), m;

        for (size_t cut = 1; cut < n; cut++) {
                begin();
                int host = greeted(1);
                CHECK(host >= 0 && gives(host, data, cut) && has_nothing(in[0]));
                close(host); /* it dies here */
                CHECK(turns() && has_nothing(in[0]));
                host = caller();
                m = hello(next, 2);
                CHECK(gives(host, next, m) && has(in[0], next, m)); /* the first that the container has is the next one's HELLO */
                close(host);
                finish();
        }
}

TEST(what_was_for_the_one_before_is_dropped)
{
        uint8_t data[256];
        size_t n = pong(data, 1);

        for (size_t cut = 0; cut <= n; cut++) {
                begin();
                int host = greeted(1), next = caller();
                uint8_t text[256];
                size_t m = hello(text, 2);

                CHECK(host >= 0 && gives(out[1], data, cut)); /* a part of one frame is there */
                CHECK(gives(next, text, m) && has(in[0], text, m));
                CHECK(gives(out[1], data + cut, n - cut) && gives(out[1], data, n));
                m = hello_ok(text, 1); /* an answer, but to another */
                CHECK(gives(out[1], text, m) && has_nothing(next));
                m = hello_ok(text, 2);
                CHECK(gives(out[1], text, m) && has(next, text, m));
                CHECK(gives(out[1], data, n) && has(next, data, n));
                close(host);
                close(next);
                finish();
        }
}

TEST(nobody_is_there)
{
        uint8_t data[256];
        size_t n = pong(data, 1);

        begin();
        for (int i = 0; i < 10000; i++) /* more than any buffer holds */
                CHECK(gives(out[1], data, n));
        CHECK(greeted(1) >= 0);
        finish();
}

TEST(who_is_let_in)
{
        uint8_t data[256];
        size_t n;

        begin();
        int host = greeted(5), other = caller();
        CHECK(host >= 0 && other >= 0);
        n = hello(data, 5); /* not a greater epoch */
        CHECK(gives(other, data, n) && has_ended(other) && has_nothing(in[0]));
        close(other);
        other = caller();
        n = frame(data, GUEST_PING, "1234567812345678", 16); /* no HELLO */
        CHECK(gives(other, data, n) && has_ended(other) && has_nothing(in[0]));
        close(other);
        int silent = caller();
        CHECK(turns());
        other = caller(); /* one that says nothing keeps nobody out */
        CHECK(turns() && has_ended(silent));
        close(silent);
        n = pong(data, 1);
        CHECK(gives(out[1], data, n) && has(host, data, n)); /* and the one that is there is still */
        n = hello(data, 6);
        CHECK(gives(other, data, 3) && gives(other, data + 3, n - 3) && has(in[0], data, n) && has_ended(host));
        close(other);
        close(host);
        finish();
}

TEST(a_host_program_that_breaks_the_protocol)
{
        uint8_t data[GUEST_HEADER] = { 0xff, 0xff, 0xff, 0xff, GUEST_PING };

        begin();
        int host = greeted(1);
        CHECK(host >= 0 && gives(host, data, sizeof(data)) && has_ended(host) && has_nothing(in[0]));
        close(host);
        CHECK(greeted(2) >= 0);
        finish();
}

TEST(a_container_that_breaks_the_protocol)
{
        uint8_t data[GUEST_HEADER + 8] = { 0xff, 0xff, 0xff, 0xff, GUEST_PONG };

        begin();
        int host = greeted(1);
        CHECK(host >= 0 && gives(out[1], data, sizeof(data)) && has(host, data, sizeof(data))); /* the host program will see it */
        close(host);
        finish();
}

TEST(nobody_reads)
{
        static uint8_t data[GUEST_HEADER + GUEST_FRAME_MAX];
        static uint8_t payload[GUEST_FRAME_MAX];
        size_t n = frame(data, GUEST_OUTPUT, payload, sizeof(payload)), put = 0, got = 0;
        ssize_t m = 0;

        begin();
        int host = greeted(1);
        CHECK(host >= 0);
        for (int i = 0; i < 1000 && turns(); i++)
                if ((m = write(out[1], data + put % n, n - put % n)) > 0)
                        put += (size_t)m;
        CHECK(m < 0 && put < 1000 * n); /* it waits */
        while (turns() && (m = read(host, payload, sizeof(payload))) > 0)
                got += (size_t)m;
        CHECK_INT(got, put - put % n);
        close(host);
        finish();
}

TEST(the_only_host_program)
{
        uint8_t data[256];
        size_t n = hello(data, 1);
        int ends[2];

        begin();
        CHECK(sock_pair(SOCK_STREAM, ends) == 0);
        fd_set_nonblock(ends[1], true);
        relay_init(&r, in[1], out[0], ends[0]);
        size_t m = hello(data, 0);
        CHECK(has(in[0], data, m));
        m = hello_ok(data, 0);
        CHECK(gives(out[1], data, m) && has_nothing(ends[1]));
        n = hello(data, 1);
        CHECK(gives(ends[1], data, n) && has(in[0], data, n));
        n = hello_ok(data, 1);
        CHECK(gives(out[1], data, n) && has(ends[1], data, n));
        close(ends[1]);
        CHECK(!turns()); /* there is no other */
        finish();
}
