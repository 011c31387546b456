#include "programs/init/channel.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stddef.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/vfs.h>
#include <sys/wait.h>
#include <termios.h>
#include <unistd.h>

#include "base/fd.h"
#include "programs/init/files/dir.h"
#include "programs/init/init.h"
#include "programs/init/exec/notify.h"
#include "programs/init/prewarm/prewarm.h"
#include "programs/init/stream.h"

enum {
        OUTPUT_HEAD = 9,   /* of an OUTPUT payload, before its bytes */
        CONTROL_MAX = 512, /* the longest payload that a channel owes */
        WINDOW_STEP = GUEST_RING / 4,
        TTY_REST = GUEST_RING, /* read from a terminal at most, after the command's end */
        SETTLE_MAX = 1024 * 1024,
        BUCKET_MIN = 64 * 1024,
        BUCKET_WAKES = 20, /* a second, at most, while output_bps holds commands back */
};

enum state { FREE, NEW, RUNNING, EXITED, FAILED };
enum owed { OWE_STARTED = 1, OWE_WINDOW = 2, OWE_END = 4 };
enum ring { RING_IN, RING_OUT, RING_ERR, RINGS };

/*
 * One stream of output. acked <= sent <= high <= produced <= acked + GUEST_RING. `sent` goes back to `acked` with a new connection,
 * `high` never does.
 */
struct flow {
        int fd; /* -1: nothing more will come */
        uint64_t acked, sent, high, produced;
        uint64_t rest; /* once exited: what may still be read */
};

struct channel {
        uint32_t number;
        uint8_t state;
        uint8_t owed;
        bool tty;
        bool server; /* for prewarming */
        bool held;   /* STARTED is not to be said yet */
        pid_t pid;
        uint64_t deadline; /* now_us(), 0: none */
        struct flow flow[2];

        /* taken <= received <= granted <= taken + GUEST_RING */
        int in_fd; /* of a terminal: the same as flow[0].fd, and not owned */
        bool has_stdin;
        bool in_ended;   /* STDIN_EOF has come */
        uint8_t in_eofs; /* ^D still to write to a terminal */
        uint8_t in_last; /* the last byte received */
        uint64_t in_taken, in_received, in_granted;

        union {
                struct guest_exit exit;
                struct guest_failed failed;
        };
};

static struct channel channels[GUEST_EXECS_MAX];
static uint32_t slots; /* of which were ever in use; scans go no further */
static uint32_t turn;  /* who sends first */
static uint32_t last_number;
static uint8_t rings[GUEST_EXECS_MAX][RINGS][GUEST_RING] __attribute__((aligned(4096)));

static struct {
        uint64_t tokens, filled_at;
        bool started;
} bucket;

static uint8_t *ring_of(const struct channel *c, enum ring which)
{
        return rings[c - channels][which];
}

/* The longest piece from `offset` that is not cut by the ring's end. */
static size_t ring_piece(uint64_t offset, uint64_t len)
{
        uint64_t whole = GUEST_RING - offset % GUEST_RING;

        return (size_t)(len < whole ? len : whole);
}

/* The rate of output */

static uint64_t bucket_size(void)
{
        return boot.output_bps / 10 > BUCKET_MIN ? boot.output_bps / 10 : BUCKET_MIN;
}

static bool bucket_limits(void)
{
        return boot.output_bps != BOOT_UNLIMITED && boot.output_bps != 0;
}

/* What must be in the bucket before commands are read again after it was empty. */
static uint64_t bucket_worth(void)
{
        uint64_t worth = boot.output_bps / BUCKET_WAKES;

        return worth < 1 ? 1 : worth > BUCKET_MIN ? BUCKET_MIN : worth;
}

static void bucket_fill(void)
{
        uint64_t now = now_us();

        if (!bucket.started) {
                bucket.started = true;
                bucket.tokens = bucket_size();
                bucket.filled_at = now;
        }
        uint64_t passed = now - bucket.filled_at;
        if (passed > 1000000) /* more than fills it */
                passed = 1000000;
        uint64_t more = (uint64_t)((unsigned __int128)passed * boot.output_bps / 1000000);
        if (more == 0)
                return;
        bucket.filled_at = now;
        bucket.tokens = bucket.tokens + more > bucket_size() ? bucket_size() : bucket.tokens + more;
}

/* How many bytes may be read from commands now. */
static uint64_t bucket_left(void)
{
        if (!bucket_limits())
                return UINT64_MAX;
        bucket_fill();
        return bucket.tokens >= bucket_worth() ? bucket.tokens : 0;
}

static void bucket_take(uint64_t n)
{
        if (bucket_limits())
                bucket.tokens -= n < bucket.tokens ? n : bucket.tokens;
}

static int bucket_wait_ms(void)
{
        uint64_t missing = bucket_worth() - bucket.tokens;
        uint64_t us = missing * 1000000 / boot.output_bps;

        return us > 1000000 ? 1000 : (int)(us / 1000) + 1;
}

/* Slots */

static struct channel *find(uint32_t number)
{
        for (uint32_t i = 0; i < slots; i++)
                if (channels[i].state != FREE && channels[i].number == number)
                        return &channels[i];
        return NULL;
}

bool channel_used(uint32_t number)
{
        return number <= last_number;
}

struct channel *channel_new(uint32_t number)
{
        last_number = number;
        for (uint32_t i = 0; i < GUEST_EXECS_MAX; i++) {
                if (i < slots && channels[i].state != FREE)
                        continue;
                if (i >= slots)
                        slots = i + 1;
                channels[i] = (struct channel){ .number = number, .state = NEW, .in_fd = -1, .flow = { { .fd = -1 }, { .fd = -1 } } };
                return &channels[i];
        }
        return NULL;
}

void channel_failed(struct channel *c, const struct guest_failed *why)
{
        c->state = FAILED;
        c->failed = *why;
        c->owed = OWE_END;
}

void channel_started(struct channel *c, pid_t pid, int in, int out, int err, uint32_t timeout_ms)
{
        c->state = RUNNING;
        c->pid = pid;
        c->in_fd = in;
        c->has_stdin = in >= 0;
        c->flow[0].fd = out;
        c->flow[1].fd = err;
        c->tty = err < 0;
        c->exit = (struct guest_exit){ 0 };
        c->deadline = timeout_ms ? now_us() + (uint64_t)timeout_ms * 1000 : 0;
        c->owed = OWE_STARTED | (c->has_stdin ? OWE_WINDOW : 0);
}

void channel_hold(struct channel *c)
{
        c->server = c->held = true;
        c->owed &= (uint8_t)~OWE_STARTED;
}

void channel_announce(struct channel *c)
{
        if (!c->held)
                return;
        c->held = false;
        c->deadline = 0;
        c->owed |= OWE_STARTED;
}

pid_t channel_pid(const struct channel *c)
{
        return c->pid;
}

bool channel_has(pid_t pid)
{
        for (uint32_t i = 0; i < slots; i++)
                if (channels[i].state == RUNNING && channels[i].pid == pid)
                        return true;
        return false;
}

static void drop_pages(const struct channel *c, enum ring which, uint64_t used)
{
        if (used > 0)
                madvise(ring_of(c, which), GUEST_RING, MADV_DONTNEED);
}

static void channel_free(struct channel *c)
{
        drop_pages(c, RING_IN, c->in_received);
        drop_pages(c, RING_OUT, c->flow[0].produced);
        drop_pages(c, RING_ERR, c->flow[1].produced);
        c->state = FREE;
}

/* Standard input */

static bool in_gone(const struct channel *c)
{
        return c->in_fd < 0;
}

static void in_close(struct channel *c)
{
        if (c->tty)
                c->in_fd = -1;
        else
                fd_close(&c->in_fd);
        c->in_taken = c->in_received;
        c->in_eofs = 0;
}

static void in_window(struct channel *c)
{
        if (!c->in_ended && c->in_taken + GUEST_RING - c->in_granted >= WINDOW_STEP)
                c->owed |= OWE_WINDOW;
}

/* A terminal ends its input with a character, which right after unfinished text only hands over that text. */
static void tty_eof(struct channel *c)
{
        struct termios t;
        uint8_t eof = tcgetattr(c->in_fd, &t) == 0 ? t.c_cc[VEOF] : 4;

        while (c->in_eofs > 0) {
                if (write(c->in_fd, &eof, 1) != 1)
                        return;
                c->in_eofs--;
        }
}

static void in_write(struct channel *c)
{
        while (!in_gone(c) && c->in_taken < c->in_received) {
                size_t len = ring_piece(c->in_taken, c->in_received - c->in_taken);
                ssize_t n = write(c->in_fd, ring_of(c, RING_IN) + c->in_taken % GUEST_RING, len);

                if (n < 0 && errno == EAGAIN)
                        break;
                if (n < 0)
                        in_close(c); /* nobody reads: what comes is dropped, and the window goes on */
                else
                        c->in_taken += (uint64_t)n;
        }
        in_window(c);
        if (in_gone(c) || !c->in_ended || c->in_taken < c->in_received)
                return;
        if (c->tty)
                tty_eof(c);
        else
                in_close(c);
}

/* The channel, or NULL with *wrong NULL where the frame crossed its end. */
static struct channel *running(uint32_t number, const char **wrong)
{
        struct channel *c = find(number);

        *wrong = channel_used(number) ? NULL : "no such channel";
        return c && c->state == RUNNING ? c : NULL;
}

const char *channel_stdin(uint32_t number, const struct guest_data *d)
{
        const char *wrong;
        struct channel *c = running(number, &wrong);

        if (!c)
                return wrong;
        if (d->offset != c->in_received)
                return "STDIN with a gap";
        if (c->in_ended)
                return "STDIN after STDIN_EOF";
        if (d->bytes.len > c->in_granted - c->in_received)
                return "STDIN beyond the window";
        for (size_t done = 0; done < d->bytes.len;) {
                size_t len = ring_piece(c->in_received, d->bytes.len - done);

                if (!in_gone(c))
                        memcpy(ring_of(c, RING_IN) + c->in_received % GUEST_RING, d->bytes.data + done, len);
                c->in_received += len;
                done += len;
        }
        c->in_last = d->bytes.data[d->bytes.len - 1];
        if (in_gone(c))
                c->in_taken = c->in_received;
        in_write(c);
        return NULL;
}

const char *channel_stdin_eof(uint32_t number, uint64_t offset)
{
        const char *wrong;
        struct channel *c = running(number, &wrong);

        if (!c)
                return wrong;
        if (offset != c->in_received)
                return "STDIN_EOF with a gap";
        if (c->in_ended) /* said again after a new HELLO */
                return NULL;
        c->in_ended = true;
        c->in_eofs = c->in_received > 0 && c->in_last != '\n' ? 2 : 1;
        if (c->has_stdin)
                in_write(c);
        return NULL;
}

/* Output */

static void flow_close(struct channel *c, struct flow *f)
{
        int left = 0;

        if (f->fd < 0)
                return;
        if (!c->tty && c->state == EXITED && ioctl(f->fd, FIONREAD, &left) == 0 && left > 0)
                c->exit.dropped += (uint64_t)left;
        if (c->tty)
                in_close(c);
        fd_close(&f->fd);
}

static uint64_t flow_room(const struct channel *c, const struct flow *f)
{
        uint64_t room = f->fd < 0 ? 0 : GUEST_RING - (f->produced - f->acked);

        return c->state == EXITED && f->rest < room ? f->rest : room;
}

/* One read. Returns false where there is no use in another now. */
static bool flow_read(struct channel *c, struct flow *f)
{
        uint64_t room = flow_room(c, f), tokens = room > 0 ? bucket_left() : 0;
        size_t len = ring_piece(f->produced, tokens < room ? tokens : room);

        if (len == 0)
                return false;
        ssize_t n = read(f->fd, ring_of(c, f == c->flow ? RING_OUT : RING_ERR) + f->produced % GUEST_RING, len);
        if (n > 0) {
                f->produced += (uint64_t)n;
                f->rest -= c->state == EXITED ? (uint64_t)n : 0;
                bucket_take((uint64_t)n);
        } else if (n == 0 || errno != EAGAIN || c->state == EXITED) {
                flow_close(c, f); /* the end; of a terminal, EIO */
        }
        if (c->state == EXITED && f->rest == 0)
                flow_close(c, f);
        return n > 0 && f->fd >= 0;
}

/*
 * After the command's end: what was there then, as far as the ring takes it. Not left to poll: a surviving child may have read it itself,
 * from /dev/stdout, and then neither bytes nor a hangup would ever come.
 */
static void flow_drain(struct channel *c)
{
        for (size_t i = 0; i < 2; i++)
                while (c->flow[i].fd >= 0 && flow_read(c, &c->flow[i]))
                        ;
}

/* It waits, and writes nothing; what does not fit the ring is of no interest. */
bool channel_settle(struct channel *server)
{
        static char rest[4096];

        flow_drain(server);
        for (size_t i = 0; i < 2; i++)
                for (size_t done = 0; server->flow[i].fd >= 0 && done < SETTLE_MAX;) {
                        ssize_t n = read(server->flow[i].fd, rest, sizeof(rest));

                        if (n <= 0)
                                break;
                        done += (size_t)n;
                }
        return server->flow[0].fd >= 0 && server->flow[1].fd >= 0;
}

void channel_take(struct channel *c, struct channel *server, bool has_stdin, uint32_t timeout_ms)
{
        if (!has_stdin)
                in_close(server);
        channel_started(c, server->pid, take_fd(&server->in_fd), take_fd(&server->flow[0].fd), take_fd(&server->flow[1].fd), timeout_ms);
        server->state = EXITED;
        server->deadline = 0;
        server->owed = (uint8_t)((server->owed & OWE_STARTED) | OWE_END);
}

const char *channel_ack(uint32_t number, uint8_t which, uint64_t offset)
{
        struct channel *c = find(number);

        if (!c || c->state == FAILED)
                return channel_used(number) ? NULL : "no such channel";
        struct flow *f = &c->flow[which - GUEST_STDOUT];
        if (offset > f->high)
                return "ACK of what was never sent";
        if (offset > f->acked)
                f->acked = offset;
        if (f->sent < f->acked)
                f->sent = f->acked;
        return NULL;
}

static void send_output(struct channel *c, size_t i)
{
        struct flow *f = &c->flow[i];

        while (f->sent < f->produced) {
                size_t room = stream_room(), piece = ring_piece(f->sent, f->produced - f->sent);

                if (room < OUTPUT_HEAD + CONTROL_MAX)
                        return;
                if (piece > room - OUTPUT_HEAD)
                        piece = room - OUTPUT_HEAD;
                struct wbuf w = stream_begin();
                guest_put_output(&w, (uint8_t)(GUEST_STDOUT + i), f->sent, ring_of(c, i == 0 ? RING_OUT : RING_ERR) + f->sent % GUEST_RING,
                                 piece);
                stream_end(GUEST_OUTPUT, c->number, &w);
                f->sent += piece;
                if (f->high < f->sent)
                        f->high = f->sent;
        }
}

/* Owed frames */

static void send_started(struct channel *c)
{
        struct wbuf w = stream_begin();

        guest_put_u32(&w, (uint32_t)c->pid);
        stream_end(GUEST_STARTED, c->number, &w);
        c->owed &= (uint8_t)~OWE_STARTED;
}

static void send_window(struct channel *c)
{
        struct wbuf w = stream_begin();

        c->in_granted = c->in_taken + GUEST_RING;
        guest_put_u64(&w, c->in_granted);
        stream_end(GUEST_STDIN_WINDOW, c->number, &w);
        c->owed &= (uint8_t)~OWE_WINDOW;
}

static bool flow_done(const struct flow *f)
{
        return f->fd < 0 && f->sent == f->produced;
}

static void send_end(struct channel *c)
{
        struct wbuf w = stream_begin();

        if (c->state == FAILED) {
                guest_put_failed(&w, &c->failed);
                stream_end(GUEST_FAILED, c->number, &w);
        } else {
                c->exit.stdout_total = c->flow[0].produced;
                c->exit.stderr_total = c->flow[1].produced;
                guest_put_exit(&w, &c->exit);
                stream_end(GUEST_EXIT, c->number, &w);
        }
        c->owed &= (uint8_t)~OWE_END;
}

static void pump_one(struct channel *c)
{
        if ((c->owed & OWE_STARTED) && stream_room() >= CONTROL_MAX) {
                send_started(c);
                flow_drain(c); /* what it has written by now goes with it, instead of being waited for */
        }
        if ((c->owed & OWE_WINDOW) && c->state == RUNNING && stream_room() >= CONTROL_MAX)
                send_window(c);
        if (c->owed & OWE_STARTED)
                return; /* nothing goes before it */
        if (c->state == EXITED)
                flow_drain(c);
        send_output(c, 0);
        send_output(c, 1);
        if ((c->owed & OWE_END) && flow_done(&c->flow[0]) && flow_done(&c->flow[1]) && stream_room() >= CONTROL_MAX)
                send_end(c);
}

void channel_pump(void)
{
        if (!stream_up() || slots == 0)
                return;
        for (uint32_t i = 0; i < slots && stream_room() >= CONTROL_MAX; i++) {
                struct channel *c = &channels[(turn + i) % slots];

                if (c->state > NEW)
                        pump_one(c);
        }
        turn = (turn + 1) % slots;
}

void channel_resume(struct guest_hello_ok *ok)
{
        ok->last = last_number;
        for (uint32_t i = 0; i < slots; i++) {
                struct channel *c = &channels[i];

                if (c->state <= NEW)
                        continue;
                ok->channels[ok->count++] = (struct guest_channel_state){
                        .channel = c->number,
                        .state = (uint8_t)((c->state == RUNNING ? GUEST_STATE_RUNNING : GUEST_STATE_EXITED) |
                                           (c->server ? GUEST_STATE_PREWARM : 0)),
                        .stdin_taken = c->in_received,
                        .stdout_acked = c->flow[0].acked,
                        .stderr_acked = c->flow[1].acked,
                };
                for (size_t k = 0; k < 2; k++)
                        c->flow[k].sent = c->flow[k].acked;
                c->owed = (uint8_t)((c->state == FAILED || c->held ? 0 : OWE_STARTED) | (c->state == RUNNING ? 0 : OWE_END) |
                                    (c->state == RUNNING && c->has_stdin ? OWE_WINDOW : 0));
        }
}

const char *channel_release(uint32_t number)
{
        struct channel *c = find(number);

        if (!c)
                return channel_used(number) ? NULL : "no such channel";
        if (c->state == RUNNING)
                return "RELEASE of a running exec";
        flow_close(c, &c->flow[0]);
        flow_close(c, &c->flow[1]);
        channel_free(c);
        return NULL;
}

/* Signals and time */

const char *channel_signal(uint32_t number, uint32_t signo, uint8_t scope)
{
        const char *wrong;
        struct channel *c = running(number, &wrong);

        if (c) /* not reaped yet, so the number cannot be another's */
                kill(scope ? -c->pid : c->pid, (int)signo);
        return wrong;
}

const char *channel_resize(uint32_t number, uint16_t rows, uint16_t cols)
{
        const char *wrong;
        struct channel *c = running(number, &wrong);
        struct winsize size = { .ws_row = rows, .ws_col = cols };

        if (c && c->tty && c->flow[0].fd >= 0)
                ioctl(c->flow[0].fd, TIOCSWINSZ, &size);
        return wrong;
}

static void kill_of_session(pid_t pid, pid_t session)
{
        if (getsid(pid) == session)
                kill(pid, SIGKILL);
}

static void channel_expire(struct channel *c)
{
        c->deadline = 0;
        c->exit.reason |= GUEST_REASON_TIMEOUT;
        kill(-c->pid, SIGKILL);
        kill(c->pid, SIGKILL);
        dir_processes(kill_of_session, c->pid);
}

static int ms_until(uint64_t deadline, uint64_t now)
{
        uint64_t ms = (deadline - now + 999) / 1000;

        return ms > 1000000000 ? 1000000000 : (int)ms;
}

static int sooner(int a, int b)
{
        return a < 0 || (b >= 0 && b < a) ? b : a;
}

int channel_clock(void)
{
        int next = -1;
        bool held = false;

        for (uint32_t i = 0; i < slots; i++) {
                struct channel *c = &channels[i];

                if (c->state == RUNNING && c->deadline) {
                        uint64_t now = now_us();

                        if (c->deadline <= now)
                                channel_expire(c);
                        else
                                next = sooner(next, ms_until(c->deadline, now));
                }
                if (c->state > NEW && (flow_room(c, &c->flow[0]) > 0 || flow_room(c, &c->flow[1]) > 0))
                        held = true;
        }
        return held && bucket_left() == 0 ? sooner(next, bucket_wait_ms()) : next;
}

/* The end */

static uint64_t micros(struct timeval t)
{
        return (uint64_t)t.tv_sec * 1000000 + (uint64_t)t.tv_usec;
}

static uint32_t disk_reason(void)
{
        struct statfs fs;
        uint32_t reason = 0;

        if (!boot.disk_watch || statfs(boot.disk_path, &fs) < 0)
                return 0;
        uint64_t total = (uint64_t)fs.f_blocks * (uint64_t)fs.f_bsize, left = (uint64_t)fs.f_bavail * (uint64_t)fs.f_bsize;
        uint64_t near = total / 16 < 1024 * 1024 ? total / 16 : 1024 * 1024; /* a filesystem refuses somewhat before its last block */
        if (left < total / 200 || left < near)
                reason |= GUEST_REASON_DISK;
        if (fs.f_files > 0 && fs.f_ffree < 2)
                reason |= GUEST_REASON_INODES;
        return reason;
}

/* The number behind a name at the beginning of a line. */
static uint64_t number_of(const char *text, const char *name)
{
        size_t len = strlen(name);
        uint64_t n = 0;

        for (const char *at = text; at && *at; at = strchr(at, '\n'), at += at != NULL)
                if (strncmp(at, name, len) == 0)
                        for (at += len; *at >= '0' && *at <= '9'; at++)
                                n = n * 10 + (uint64_t)(*at - '0');
        return n;
}

/* What has happened since the last command that did not end well. */
static uint32_t counted_reasons(void)
{
        static uint64_t kills_seen, forks_seen;
        static char text[16384];
        uint64_t kills = kills_seen, forks = forks_seen;
        uint32_t reasons = 0;

        if (!boot_has(BOOT_COUNT))
                return 0;
        if (fd_read_file(AT_FDCWD, "/proc/vmstat", text, sizeof(text)) > 0)
                kills = number_of(text, "oom_kill ");
        ssize_t n = pread(BOOT_FD_FORKS, text, sizeof(text) - 1, 0);
        text[n > 0 ? n : 0] = '\0';
        if (n > 0)
                forks = number_of(text, "max ");
        reasons |= kills > kills_seen ? GUEST_REASON_MEMORY : 0;
        reasons |= forks > forks_seen ? GUEST_REASON_PIDS : 0;
        kills_seen = kills;
        forks_seen = forks;
        return reasons;
}

static void channel_exited(struct channel *c, int status, const struct rusage *used)
{
        c->exit.code = WIFEXITED(status) ? WEXITSTATUS(status) : -1;
        c->exit.signal = WIFSIGNALED(status) ? WTERMSIG(status) : 0;
        c->exit.reason |= disk_reason();
        if (status != 0)
                c->exit.reason |= counted_reasons();
        c->exit.user_us = micros(used->ru_utime);
        c->exit.system_us = micros(used->ru_stime);
        c->exit.peak_kib = (uint64_t)used->ru_maxrss;
        c->exit.refused = notify_refused();
        c->state = EXITED;
        c->deadline = 0;
        c->owed = (uint8_t)((c->owed & OWE_STARTED) | OWE_END);
        if (!c->tty)
                in_close(c);
        for (size_t i = 0; i < 2; i++) {
                struct flow *f = &c->flow[i];
                int left = 0;

                if (f->fd < 0)
                        continue;
                if (!c->tty && ioctl(f->fd, FIONREAD, &left) < 0)
                        left = 0;
                f->rest = c->tty ? TTY_REST : (uint64_t)left;
                if (f->rest == 0)
                        flow_close(c, f);
        }
        flow_drain(c);
}

void channel_reap(void)
{
        struct rusage used;
        int status;
        pid_t pid;

        while ((pid = wait4(-1, &status, WNOHANG, &used)) > 0) {
                prewarm_reaped(pid);
                for (uint32_t i = 0; i < slots; i++)
                        if (channels[i].state == RUNNING && channels[i].pid == pid)
                                channel_exited(&channels[i], status, &used);
        }
}

void channel_watch(void)
{
        bool flowing = bucket_left() > 0;

        for (uint32_t i = 0; i < slots; i++) {
                struct channel *c = &channels[i];

                if (c->state <= NEW || c->state == FAILED)
                        continue;
                if (!in_gone(c) && (c->in_taken < c->in_received || (c->in_ended && c->in_eofs > 0)))
                        watch_add(c->in_fd, POLLOUT, WATCH_STDIN, i);
                for (uint32_t k = 0; k < 2; k++)
                        if (flowing && flow_room(c, &c->flow[k]) > 0)
                                watch_add(c->flow[k].fd, POLLIN, k == 0 ? WATCH_STDOUT : WATCH_STDERR, i);
        }
}

void channel_ready(enum watch what, uint32_t index, short revents)
{
        struct channel *c = &channels[index];

        if (c->state != RUNNING && c->state != EXITED)
                return;
        if (what == WATCH_STDIN)
                in_write(c);
        else if (c->flow[what == WATCH_STDERR].fd >= 0)
                flow_read(c, &c->flow[what == WATCH_STDERR]);
}
