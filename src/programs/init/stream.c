#include "programs/init/stream.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/socket.h>
#include <poll.h>
#include <termios.h>
#include <unistd.h>

#include "base/fd.h"
#include "programs/init/bind.h"
#include "programs/init/channel.h"
#include "programs/init/init.h"
#include "programs/init/protocol.h"

enum {
        OUT_MAX = 2 * (GUEST_HEADER + GUEST_FRAME_MAX),
        HELLO_SIZE = GUEST_HEADER + 16,
        HELLO_OK_MAX = 24 + GUEST_CLAIM + GUEST_EXECS_MAX * 29,
};

static int listener = -1;
static int stream = -1;
static int way_out = -1; /* of what is no socket: not `stream` */
static bool greeted;

/* A connection that has not said HELLO yet. Exactly one HELLO is read from it, so that nothing has to be handed over. */
static int candidate = -1;
static uint8_t hello[HELLO_SIZE];
static size_t hello_len;

static bool epoch_known;
static uint64_t epoch;
static uint32_t host_max;

static uint8_t in[GUEST_HEADER + GUEST_FRAME_MAX];
static size_t in_len;
static bool in_waits; /* its first frame has to wait for room in `out` */
static uint8_t out[OUT_MAX];
static size_t out_pos, out_len;

void stream_init(void)
{
        struct termios t;

        fcntl(BOOT_FD_STREAM, F_SETFL, O_RDWR | O_NONBLOCK);
        fcntl(BOOT_FD_STREAM, F_SETFD, FD_CLOEXEC);
        if (boot_has(BOOT_LISTEN)) {
                listener = BOOT_FD_STREAM;
                return;
        }
        stream = BOOT_FD_STREAM;
        if (boot_has(BOOT_STDIO)) {
                way_out = BOOT_FD_OUT;
                fcntl(way_out, F_SETFL, O_WRONLY | O_NONBLOCK);
                fcntl(way_out, F_SETFD, FD_CLOEXEC);
        }
        if (tcgetattr(stream, &t) == 0) { /* a serial port carries bytes, not lines */
                cfmakeraw(&t);
                tcsetattr(stream, TCSANOW, &t);
        }
}

bool stream_up(void)
{
        return stream >= 0 && greeted;
}

/* Without a listener there is no next connection: with BOOT_DIE_ALONE, and where it was a pipe, nobody is left to run for. */
static void stream_lost(int status)
{
        fd_close(&stream);
        greeted = false;
        in_waits = false;
        in_len = out_pos = out_len = 0;
        if (listener < 0 && (boot_has(BOOT_DIE_ALONE) || boot_has(BOOT_STDIO)))
                _exit(status);
}

static size_t out_space(void)
{
        if (out_pos > 0 && out_pos == out_len)
                out_pos = out_len = 0;
        if (out_pos > OUT_MAX / 2) {
                memmove(out, out + out_pos, out_len - out_pos);
                out_len -= out_pos;
                out_pos = 0;
        }
        return OUT_MAX - out_len;
}

size_t stream_room(void)
{
        size_t space = out_space();

        if (space <= GUEST_HEADER)
                return 0;
        return space - GUEST_HEADER < host_max ? space - GUEST_HEADER : host_max;
}

struct wbuf stream_begin(void)
{
        return wbuf_over(out + out_len + GUEST_HEADER, OUT_MAX - out_len - GUEST_HEADER);
}

void stream_end(uint16_t type, uint32_t channel, const struct wbuf *payload)
{
        if (payload->bad)
                return;
        guest_frame_header(out + out_len, type, 0, channel, (uint32_t)payload->len);
        out_len += GUEST_HEADER + payload->len;
}

static void stream_flush(void)
{
        while (stream >= 0 && out_pos < out_len) {
                ssize_t n = write(way_out >= 0 ? way_out : stream, out + out_pos, out_len - out_pos);

                if (n < 0 && errno == EINTR)
                        continue;
                if (n < 0 && errno == EAGAIN)
                        return;
                if (n < 0) {
                        stream_lost(0);
                        return;
                }
                out_pos += (size_t)n;
        }
}

/* Best effort: the other end has broken the rules, and may not even read. */
static void send_protocol_error(int fd, const char *text)
{
        uint8_t payload[256], frame[GUEST_HEADER + sizeof(payload)];
        struct wbuf p = wbuf_over(payload, sizeof(payload));
        struct wbuf f = wbuf_over(frame, sizeof(frame));

        guest_put_text(&p, text);
        guest_frame_put(&f, GUEST_PROTOCOL_ERROR, 0, 0, payload, p.len);
        if (!p.bad && !f.bad && write(fd, frame, f.len) < 0)
                return;
}

static void stream_fail(const char *text)
{
        stream_flush();
        if (stream >= 0 && out_pos == out_len)
                send_protocol_error(way_out >= 0 ? way_out : stream, text);
        stream_lost(1);
}

static const char *check_hello(struct bytes payload, struct guest_hello *h)
{
        if (guest_get_hello(payload, h) < 0)
                return "malformed HELLO";
        if (h->version != GUEST_VERSION)
                return "this version of the protocol is not spoken here";
        if (epoch_known && h->epoch <= epoch)
                return "the epoch is not greater than the last one";
        return NULL;
}

static void greet(const struct guest_hello *h)
{
        static struct guest_hello_ok ok;

        epoch_known = true;
        epoch = h->epoch;
        host_max = h->max_frame;
        greeted = true;
        ok = (struct guest_hello_ok){ .version = GUEST_VERSION, .max_frame = GUEST_FRAME_MAX, .epoch = epoch };
        memcpy(ok.bound, bind_claim(), GUEST_CLAIM);
        channel_resume(&ok);
        struct wbuf w = stream_begin();
        guest_put_hello_ok(&w, &ok);
        stream_end(GUEST_HELLO_OK, 0, &w);
}

const char *stream_hello(struct bytes payload)
{
        struct guest_hello h;
        const char *wrong = check_hello(payload, &h);

        if (wrong)
                return wrong;
        if (out_space() < GUEST_HEADER + HELLO_OK_MAX)
                return PROTOCOL_WAIT;
        greet(&h);
        return NULL;
}

/* Connections */

static void candidate_accept(void)
{
        int fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);

        if (fd < 0)
                return;
        fd_close(&candidate); /* the newest counts: an older one that says nothing must not keep others out */
        candidate = fd;
        hello_len = 0;
}

static void candidate_judge(void)
{
        struct guest_frame frame;
        struct guest_hello h;
        size_t used;
        const char *wrong = "HELLO must be the first frame";

        if (guest_frame_parse(hello, hello_len, GUEST_FRAME_MAX, &frame, &used) == 1 && frame.type == GUEST_HELLO && frame.channel == 0 &&
            frame.flags == 0)
                wrong = check_hello(frame.payload, &h);
        if (wrong) {
                send_protocol_error(candidate, wrong);
                fd_close(&candidate);
                return;
        }
        if (stream >= 0)
                stream_lost(0);
        stream = take_fd(&candidate);
        if (boot_has(BOOT_DIE_ALONE)) /* there is no next one */
                fd_close(&listener);
        protocol_reset();
        greet(&h);
}

static void candidate_read(void)
{
        ssize_t n = read(candidate, hello + hello_len, sizeof(hello) - hello_len);

        if (n < 0 && (errno == EAGAIN || errno == EINTR))
                return;
        if (n <= 0) {
                fd_close(&candidate);
                return;
        }
        hello_len += (size_t)n;
        if (hello_len == sizeof(hello))
                candidate_judge();
}

/* Frames in */

static void stream_take(void)
{
        size_t pos = 0;

        in_waits = false;
        while (stream >= 0) {
                struct guest_frame frame;
                size_t used;
                int r = guest_frame_parse(in + pos, in_len - pos, GUEST_FRAME_MAX, &frame, &used);

                if (r == 0)
                        break;
                const char *wrong = r < 0                                   ? "not a frame"
                                    : !greeted && frame.type != GUEST_HELLO ? "HELLO must be the first frame"
                                                                            : protocol_frame(&frame);
                if (wrong == PROTOCOL_WAIT) {
                        in_waits = true;
                        break;
                }
                if (wrong) {
                        stream_fail(wrong);
                        return;
                }
                pos += used;
        }
        if (stream >= 0 && pos > 0) {
                memmove(in, in + pos, in_len - pos);
                in_len -= pos;
        }
}

static void stream_read(void)
{
        ssize_t n = read(stream, in + in_len, sizeof(in) - in_len);

        if (n < 0 && (errno == EAGAIN || errno == EINTR))
                return;
        if (n <= 0) {
                stream_lost(0);
                return;
        }
        in_len += (size_t)n;
        stream_take();
}

void stream_turn(void)
{
        do {
                if (in_waits)
                        stream_take();
                channel_pump();
                if (out_pos == out_len)
                        return;
                stream_flush();
        } while (stream >= 0 && out_pos == out_len);
}

void stream_watch(void)
{
        if (listener >= 0)
                watch_add(listener, POLLIN, WATCH_LISTEN, 0);
        if (candidate >= 0)
                watch_add(candidate, POLLIN, WATCH_CANDIDATE, 0);
        short out_events = out_pos < out_len ? POLLOUT : 0;
        if (stream >= 0)
                watch_add(stream, (short)((in_waits || in_len == sizeof(in) ? 0 : POLLIN) | (way_out < 0 ? out_events : 0)), WATCH_STREAM,
                          0);
        if (stream >= 0 && way_out >= 0 && out_events)
                watch_add(way_out, out_events, WATCH_STREAM, 0);
}

void stream_ready(enum watch what, short revents)
{
        if (what == WATCH_LISTEN)
                candidate_accept();
        else if (what == WATCH_CANDIDATE && candidate >= 0)
                candidate_read();
        else if (what == WATCH_STREAM && stream >= 0 && (revents & POLLIN))
                stream_read();
        else if (what == WATCH_STREAM && stream >= 0 && (revents & (POLLHUP | POLLERR | POLLNVAL)))
                stream_lost(0);
}
