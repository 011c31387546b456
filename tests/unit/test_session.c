/* The host's end of a guest stream, against a peer that says what a creto-init does, and what one that was taken over might. */
#include "services/guest/guest.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/fd.h"
#include "test.h"

struct pair {
        struct session *s;
        int peer;
};

static const uint8_t claim_a[GUEST_CLAIM] = "claim a, claim a";
static const uint8_t claim_b[GUEST_CLAIM] = "claim b, claim b";
static const uint8_t none[GUEST_CLAIM];

static void pair_release(struct pair *p)
{
        session_free(p->s);
        fd_close(&p->peer);
}

#define PAIR struct pair __attribute__((cleanup(pair_release)))

static int pair_make(struct pair *p)
{
        int ends[2];
        struct err e;

        if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) < 0)
                return -1;
        p->peer = ends[1];
        return session_new(ends[0], 1, &p->s, &e);
}

static void say(struct pair *p, uint16_t type, uint32_t channel, const void *payload, size_t len)
{
        static uint8_t space[GUEST_HEADER + GUEST_FRAME_MAX];
        struct wbuf w = wbuf_over(space, sizeof(space));

        guest_frame_put(&w, type, 0, channel, payload, len);
        CHECK(!w.bad && write(p->peer, w.data, w.len) == (ssize_t)w.len);
}

static void say_hello(struct pair *p, const uint8_t bound[GUEST_CLAIM])
{
        struct guest_hello_ok ok = { .version = GUEST_VERSION, .max_frame = GUEST_FRAME_MAX, .epoch = 1 };
        uint8_t space[64];
        struct wbuf w = wbuf_over(space, sizeof(space));

        memcpy(ok.bound, bound, GUEST_CLAIM);
        guest_put_hello_ok(&w, &ok);
        say(p, GUEST_HELLO_OK, 0, w.data, w.len);
}

/* The frame that the session has sent next, if there is one already; its payload is good until the next. */
static bool heard(struct pair *p, uint16_t type, struct bytes *payload)
{
        static uint8_t frame[GUEST_HEADER + GUEST_FRAME_MAX];
        struct guest_frame f;
        size_t used;

        if (recv(p->peer, frame, GUEST_HEADER, MSG_DONTWAIT) != GUEST_HEADER || guest_frame_parse(frame, 4, GUEST_FRAME_MAX, &f, &used) < 0)
                return false;
        if (used > GUEST_HEADER && recv(p->peer, frame + GUEST_HEADER, used - GUEST_HEADER, MSG_DONTWAIT) != (ssize_t)(used - GUEST_HEADER))
                return false;
        if (guest_frame_parse(frame, used, GUEST_FRAME_MAX, &f, &used) != 1)
                return false;
        *payload = f.payload;
        return f.type == type;
}

static int step(struct pair *p)
{
        struct err e;

        return session_step(p->s, &e);
}

/* A session that has been greeted by a sandbox bound to `bound`. */
static int greeted(struct pair *p, const uint8_t bound[GUEST_CLAIM])
{
        struct bytes payload;

        if (pair_make(p) < 0 || step(p) != 0 || !heard(p, GUEST_HELLO, &payload))
                return -1;
        say_hello(p, bound);
        return step(p) == 0 && session_greeted(p->s) ? 0 : -1;
}

static bool bound_to(const struct pair *p, const uint8_t claim[GUEST_CLAIM])
{
        const uint8_t *bound = session_bound(p->s);

        return bound && memcmp(bound, claim, GUEST_CLAIM) == 0;
}

TEST(bound_by_us)
{
        PAIR p = { 0 };
        struct bytes payload;

        CHECK(greeted(&p, none) == 0);
        CHECK(!session_bound(p.s));
        session_bind(p.s, claim_a);
        session_flush(p.s);
        CHECK(heard(&p, GUEST_BIND, &payload)); /* without a step */
        CHECK(payload.len == GUEST_CLAIM && memcmp(payload.data, claim_a, GUEST_CLAIM) == 0);
        CHECK(!session_bound(p.s)); /* asked is not answered */
        say(&p, GUEST_BOUND, 0, claim_a, GUEST_CLAIM);
        CHECK(step(&p) == 0 && bound_to(&p, claim_a));
        session_bind(p.s, claim_b);
        session_bind(p.s, claim_a);
        say(&p, GUEST_BOUND, 0, claim_a, GUEST_CLAIM);
        say(&p, GUEST_BOUND, 0, claim_a, GUEST_CLAIM);
        CHECK(step(&p) == 0 && bound_to(&p, claim_a));
        say(&p, GUEST_BOUND, 0, claim_a, GUEST_CLAIM); /* one more than there were questions */
        CHECK(step(&p) < 0);
}

TEST(bound_before)
{
        PAIR p = { 0 };

        CHECK(greeted(&p, claim_b) == 0);
        CHECK(bound_to(&p, claim_b));
        session_bind(p.s, claim_a);
        say(&p, GUEST_BOUND, 0, claim_b, GUEST_CLAIM);
        CHECK(step(&p) == 0 && bound_to(&p, claim_b));
}

/* What was asked before the greeting is held against what the greeting says. */
TEST(bound_while_greeting)
{
        PAIR p = { 0 };

        CHECK(pair_make(&p) == 0);
        session_bind(p.s, claim_a);
        say_hello(&p, claim_b);
        say(&p, GUEST_BOUND, 0, claim_b, GUEST_CLAIM);
        CHECK(step(&p) == 0 && bound_to(&p, claim_b));
}

TEST(bound_against_the_rules)
{
        static const struct {
                const uint8_t *before, *asked, *asked_next, *answer;
                size_t len;
                uint32_t channel;
        } bad[] = {
                { none, NULL, NULL, claim_a, GUEST_CLAIM, 0 },       /* nobody asked */
                { claim_a, NULL, NULL, claim_a, GUEST_CLAIM, 0 },    /* likewise */
                { none, claim_a, NULL, claim_b, GUEST_CLAIM, 0 },    /* nobody else can have asked meanwhile */
                { none, claim_a, claim_b, claim_b, GUEST_CLAIM, 0 }, /* the first one counts */
                { claim_b, claim_a, NULL, claim_a, GUEST_CLAIM, 0 }, /* it said otherwise before */
                { none, claim_a, NULL, none, GUEST_CLAIM, 0 },       /* no claim */
                { none, claim_a, NULL, claim_a, GUEST_CLAIM - 1, 0 },
                { none, claim_a, NULL, claim_a, GUEST_CLAIM, 1 }, /* not a matter of a channel */
        };

        for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
                PAIR p = { 0 };

                CHECK(greeted(&p, bad[i].before) == 0);
                if (bad[i].asked)
                        session_bind(p.s, bad[i].asked);
                if (bad[i].asked_next)
                        session_bind(p.s, bad[i].asked_next);
                say(&p, GUEST_BOUND, bad[i].channel, bad[i].answer, bad[i].len);
                CHECK(step(&p) < 0);
        }
}

/* A request goes out when it is flushed; what the stream does not take then, later, and in order. */
TEST(flush)
{
        PAIR p = { 0 };
        const struct guest_exec req = { .uid = GUEST_ID_LOOKUP, .gid = GUEST_ID_LOOKUP };
        static char big[GUEST_STR_MAX];
        const char *argv[] = { "true", NULL, NULL };
        struct session_exec *x;
        struct bytes payload;
        struct err e;
        size_t pieces = 0;

        CHECK(greeted(&p, none) == 0);
        CHECK(session_exec_new(p.s, &req, argv, NULL, NULL, NULL, &x, &e) == 0);
        CHECK(session_events(p.s) & POLLOUT);
        session_flush(p.s);
        CHECK(heard(&p, GUEST_EXEC, &payload) && !(session_events(p.s) & POLLOUT));

        int small = 4096;
        CHECK(setsockopt(session_fd(p.s), SOL_SOCKET, SO_SNDBUF, &small, sizeof(small)) == 0);
        memset(big, 'x', sizeof(big) - 1);
        argv[1] = big;
        CHECK(session_exec_new(p.s, &req, argv, NULL, NULL, NULL, &x, &e) == 0);
        session_flush(p.s);
        CHECK(session_events(p.s) & POLLOUT);
        session_bind(p.s, claim_a);
        static uint8_t all[2 * GUEST_STR_MAX];
        size_t len = 0;
        while (session_events(p.s) & POLLOUT) {
                ssize_t n = recv(p.peer, all + len, sizeof(all) - len, MSG_DONTWAIT);

                len += n > 0 ? (size_t)n : 0;
                CHECK(step(&p) == 0);
        }
        ssize_t n = recv(p.peer, all + len, sizeof(all) - len, MSG_DONTWAIT);
        len += n > 0 ? (size_t)n : 0;
        struct guest_frame f;
        size_t at = 0, used;
        for (; guest_frame_parse(all + at, len - at, GUEST_FRAME_MAX, &f, &used) == 1 && f.type == GUEST_EXEC; at += used)
                pieces++;
        CHECK_INT(pieces, (GUEST_STR_MAX + GUEST_FRAME_MAX - 1) / GUEST_FRAME_MAX + 1);
        CHECK(f.type == GUEST_BIND && at + used == len);
}

/* A serial port brings what an earlier host program asked for; none of it counts before the answer to our own greeting. */
TEST(serial_drops_what_is_not_ours)
{
        PAIR p = { 0 };
        uint8_t space[64];
        struct wbuf w = wbuf_over(space, sizeof(space));
        const struct guest_hello_ok old = { .version = GUEST_VERSION, .max_frame = GUEST_FRAME_MAX, .epoch = 0 };
        const struct guest_hello_ok ours = { .version = GUEST_VERSION, .max_frame = GUEST_FRAME_MAX, .epoch = 1, .last = 7 };

        CHECK(pair_make(&p) == 0);
        session_over_serial(p.s, 16384);
        guest_put_u64(&w, 1);
        say(&p, GUEST_STDIN_WINDOW, 3, space, w.len);
        say(&p, GUEST_BOUND, 0, claim_a, GUEST_CLAIM);
        w.len = 0;
        guest_put_hello_ok(&w, &old);
        say(&p, GUEST_HELLO_OK, 0, space, w.len);
        CHECK_INT(step(&p), 0);
        CHECK(!session_greeted(p.s) && !session_bound(p.s));
        w.len = 0;
        guest_put_hello_ok(&w, &ours);
        say(&p, GUEST_HELLO_OK, 0, space, w.len);
        CHECK_INT(step(&p), 0);
        CHECK(session_greeted(p.s) && !session_bound(p.s));
}

/* Behind the greeting the rules are those of every stream. */
TEST(serial_is_strict_after_the_greeting)
{
        PAIR p = { 0 };

        CHECK(pair_make(&p) == 0);
        session_over_serial(p.s, 16384);
        CHECK_INT(write(p.peer, "\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff", 12), 12);
        CHECK(step(&p) < 0);
}

/* A stream that has ended is no reason to fail where nobody looks: the next step says it. */
TEST(flush_into_nothing)
{
        PAIR p = { 0 };

        signal(SIGPIPE, SIG_IGN); /* as all our programs do */
        CHECK(greeted(&p, none) == 0);
        fd_close(&p.peer);
        session_bind(p.s, claim_a);
        CHECK_INT(step(&p), 1);
        CHECK(!session_bound(p.s));
}
