/*
 * creto-init, driven as a host drives it: a real process, pid 1 of namespaces of its own, spoken to in the guest protocol and nothing
 * else. Needs unprivileged user namespaces; the tests with several users need root. CRETO_INIT in the environment names the program,
 * else the one built here is taken.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/capability.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "base/err.h"
#include "base/fd.h"
#include "base/sock.h"
#include "test.h"
#include "wire/boot.h"
#include "wire/guest.h"
#include "wire/prewarm.h"

enum { CHANNELS = 512, TEXT = 64 * 1024, WAIT_MS = 15000, INSIDE_UID = 1000 };

struct chan {
        bool started, exited, failed, window_seen;
        uint32_t pid;
        uint64_t window, sent;
        uint64_t next[2], acked[2];
        uint64_t sum[2];    /* of all output bytes, by position */
        char text[2][TEXT]; /* the first of them */
        struct guest_exit exit;
        struct guest_failed fail;
};

struct host {
        int fd;
        pid_t middle;
        uint32_t most; /* what creto-init may send in one frame; 0: GUEST_FRAME_MAX */
        bool again;    /* this is not the first connection */
        bool no_ack, pong, closed, protocol_error, hello_ok;
        uint64_t pong_value;
        struct guest_stats stats;
        bool stats_seen;
        uint8_t bound[GUEST_CLAIM];
        unsigned bounds; /* how many BOUND there were */
        struct guest_hello_ok ok;
        char error[256];
        uint8_t in[GUEST_HEADER + GUEST_FRAME_MAX];
        size_t in_len;
        struct chan *chans;
        uint32_t first; /* number of chans[0] */
};

static struct shared {
        pid_t init;
} * shared;

static char scratch[64]; /* the one directory that commands may write to */

static const char *init_path(void)
{
        const char *p = getenv("CRETO_INIT");
#ifdef CRETO_INIT_PATH
        return p ? p : CRETO_INIT_PATH;
#else
        return p;
#endif
}

static uint64_t now_ms(void)
{
        struct timespec t;

        clock_gettime(CLOCK_MONOTONIC, &t);
        return (uint64_t)t.tv_sec * 1000 + (uint64_t)t.tv_nsec / 1000000;
}

/* The place */

static int put_file(const char *path, const char *text)
{
        return fd_write_file(AT_FDCWD, path, text);
}

static void keep_caps(void)
{
        struct __user_cap_header_struct header = { .version = _LINUX_CAPABILITY_VERSION_3 };
        uint32_t want = 1U << CAP_SETUID | 1U << CAP_SETGID | 1U << CAP_SETPCAP | 1U << CAP_KILL;
        struct __user_cap_data_struct data[2] = { { want, want, want }, { 0, 0, 0 } };
        static const int caps[] = { CAP_SETUID, CAP_SETGID, CAP_SETPCAP, CAP_KILL };

        syscall(SYS_capset, &header, data);
        for (size_t i = 0; i < 4; i++)
                prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE, caps[i], 0, 0);
}

static void mounts(void)
{
        mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL);
        mount("proc", "/proc", "proc", MS_NOSUID | MS_NODEV | MS_NOEXEC, NULL);
        if (mount("devpts", "/dev/pts", "devpts", MS_NOSUID | MS_NOEXEC, "newinstance,ptmxmode=0666,mode=0620") == 0)
                mount("/dev/pts/ptmx", "/dev/ptmx", NULL, MS_BIND, NULL);
}

enum { NOTIFIED_CALL = 425 }; /* io_uring_setup */

/* A filter that refuses nothing, and asks about one call. Returns its listener. */
static int listen_for_calls(void)
{
        struct sock_filter code[] = {
                BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
                BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, NOTIFIED_CALL, 0, 1),
                BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_USER_NOTIF),
                BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
        };
        struct sock_fprog prog = { sizeof(code) / sizeof(code[0]), code };
        int fd = (int)syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, SECCOMP_FILTER_FLAG_NEW_LISTENER, &prog);

        return fcntl(fd, F_DUPFD, 20);
}

static void be_init(int stream, int config, uint32_t flags)
{
        bool many = !(flags & BOOT_ONE_UID);
        int null = open("/dev/null", O_RDWR | O_CLOEXEC);

        mounts();
        prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0);
        if (many) {
                prctl(PR_SET_KEEPCAPS, 1, 0, 0, 0);
                if (syscall(SYS_setgroups, 0, NULL) < 0 || syscall(SYS_setresgid, 65535, 65535, 65535) < 0 ||
                    syscall(SYS_setresuid, 65535, 65535, 65535) < 0)
                        _exit(90);
        }
        keep_caps();
        prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
        int a = fcntl(stream, F_DUPFD, 20), b = fcntl(config, F_DUPFD, 20), program = open(init_path(), O_PATH | O_CLOEXEC);
        for (int i = 0; i < 3; i++)
                dup2(null, i);
        if (flags & BOOT_STDIO) {
                dup2(a, 0);
                dup2(a, 1);
        }
        dup2(a, 3);
        dup2(b, 4);
        if (program < 0)
                _exit(91);
        if (flags & BOOT_NOTIFY)
                dup2(listen_for_calls(), 5);
        int p = fcntl(program, F_DUPFD_CLOEXEC, 40);
        syscall(SYS_close_range, flags & BOOT_STDIO ? 3 : flags & BOOT_NOTIFY ? 6 : 5, 39, 0);
        char *argv[] = { (char *)"creto-init", flags & BOOT_STDIO ? (char *)"oci" : NULL, NULL }, *env[] = { NULL };
        syscall(SYS_execveat, p, "", argv, env, AT_EMPTY_PATH);
        _exit(92);
}

static void be_middle(int stream, int config, uint32_t flags, int ready, int go)
{
        bool many = !(flags & BOOT_ONE_UID);
        char map[64], c;

        prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0);
        unsigned uid = (unsigned)getuid(), gid = (unsigned)getgid();
        if (unshare(CLONE_NEWUSER | CLONE_NEWPID | CLONE_NEWNS) < 0)
                _exit(93);
        if (many) { /* the parent writes the maps */
                if (write(ready, "r", 1) != 1 || read(go, &c, 1) != 1)
                        _exit(94);
        } else {
                put_file("/proc/self/setgroups", "deny");
                snprintf(map, sizeof(map), "%d %u 1", INSIDE_UID, uid);
                if (put_file("/proc/self/uid_map", map) < 0)
                        _exit(95);
                snprintf(map, sizeof(map), "%d %u 1", INSIDE_UID, gid);
                put_file("/proc/self/gid_map", map);
        }
        pid_t init = fork();
        if (init == 0)
                be_init(stream, config, flags);
        shared->init = init;
        close(stream);
        if (write(ready, "i", 1) != 1)
                _exit(96);
        int status = 0;
        waitpid(init, &status, 0);
        _exit(WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status));
}

static bool tune_config(struct boot_config *c, uint32_t flags)
{
        *c = (struct boot_config){
                .size = sizeof(*c),
                .version = BOOT_VERSION,
                .flags = flags,
                .default_uid = INSIDE_UID,
                .default_gid = INSIDE_UID,
                .nofile = 1024,
                .core_bytes = 0,
                .stack_bytes = 8 << 20,
                .as_bytes = BOOT_UNLIMITED,
                .nproc = BOOT_UNLIMITED,
                .fsize_bytes = BOOT_UNLIMITED,
                .output_bps = BOOT_UNLIMITED,
                .writable_count = 1,
        };
        snprintf(c->home, sizeof(c->home), "/tmp");
        snprintf(c->disk_path, sizeof(c->disk_path), "/tmp");
        snprintf(c->writable[0], sizeof(c->writable[0]), "%s", scratch);
        return true;
}

static int launch_with(struct host *h, int stream, const struct boot_config *c)
{
        int config[2], ready[2], go[2];
        bool many = !(c->flags & BOOT_ONE_UID);
        char b;

        if (pipe(config) < 0 || pipe(ready) < 0 || pipe(go) < 0 || write(config[1], c, sizeof(*c)) != sizeof(*c))
                return -1;
        close(config[1]);
        fflush(stdout);
        h->middle = fork();
        if (h->middle == 0) {
                close(ready[0]);
                close(go[1]);
                if (h->fd >= 0)
                        close(h->fd);
                be_middle(stream, config[0], c->flags, ready[1], go[0]);
        }
        close(config[0]);
        close(ready[1]);
        close(go[0]);
        if (many && read(ready[0], &b, 1) == 1) {
                char path[64];

                snprintf(path, sizeof(path), "/proc/%d/uid_map", (int)h->middle);
                put_file(path, "0 200000 65536");
                snprintf(path, sizeof(path), "/proc/%d/gid_map", (int)h->middle);
                put_file(path, "0 200000 65536");
                if (write(go[1], "g", 1) != 1)
                        return -1;
        }
        int r = read(ready[0], &b, 1) == 1 ? 0 : -1;
        close(ready[0]);
        close(go[1]);
        return r;
}

static void host_init(struct host *h)
{
        *h = (struct host){ .fd = -1, .first = 1 };
        h->chans = mmap(NULL, CHANNELS * sizeof(struct chan), PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        if (!shared)
                shared = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
        if (!scratch[0]) {
                snprintf(scratch, sizeof(scratch), "/tmp/creto-init-test.%d", (int)getpid());
                mkdir(scratch, 0777);
                chmod(scratch, 0777);
        }
}

static void host_stop(struct host *h)
{
        if (h->fd >= 0)
                close(h->fd);
        if (h->middle > 0) {
                for (int i = 0; i < 200 && waitpid(h->middle, NULL, WNOHANG) == 0; i++)
                        usleep(10000);
                kill(h->middle, SIGKILL);
                waitpid(h->middle, NULL, 0);
        }
        munmap(h->chans, CHANNELS * sizeof(struct chan));
}

/* Frames */

static struct chan *chan(struct host *h, uint32_t n)
{
        return &h->chans[n % CHANNELS];
}

static int send_all(struct host *h, const void *data, size_t len)
{
        const uint8_t *p = data;

        while (len > 0) {
                ssize_t n = send(h->fd, p, len, MSG_NOSIGNAL);

                if (n < 0)
                        return -1;
                p += n;
                len -= (size_t)n;
        }
        return 0;
}

static int send_frame(struct host *h, uint16_t type, uint8_t flags, uint32_t channel, const void *data, size_t len)
{
        uint8_t head[GUEST_HEADER];

        guest_frame_header(head, type, flags, channel, (uint32_t)len);
        return send_all(h, head, sizeof(head)) < 0 || send_all(h, data, len) < 0 ? -1 : 0;
}

static int hello_max(struct host *h, uint64_t epoch, uint32_t max)
{
        uint8_t b[64];
        struct wbuf w = wbuf_over(b, sizeof(b));

        guest_put_hello(&w, &(struct guest_hello){ GUEST_VERSION, max, epoch });
        return send_frame(h, GUEST_HELLO, 0, 0, b, w.len);
}

static int hello(struct host *h, uint64_t epoch)
{
        return hello_max(h, epoch, GUEST_FRAME_MAX);
}

static void ack(struct host *h, uint32_t channel, uint8_t stream, uint64_t offset)
{
        uint8_t b[16];
        struct wbuf w = wbuf_over(b, sizeof(b));

        guest_put_ack(&w, stream, offset);
        send_frame(h, GUEST_ACK, 0, channel, b, w.len);
        chan(h, channel)->acked[stream - 1] = offset;
}

static void ack_all(struct host *h, uint32_t channel)
{
        for (uint8_t s = 1; s <= 2; s++)
                if (chan(h, channel)->next[s - 1] > chan(h, channel)->acked[s - 1])
                        ack(h, channel, s, chan(h, channel)->next[s - 1]);
}

static uint64_t weigh(uint64_t offset, const uint8_t *p, size_t len)
{
        uint64_t sum = 0;

        for (size_t i = 0; i < len; i++)
                sum += (uint64_t)(p[i] + 1) * ((offset + i) % 65521 + 1);
        return sum;
}

static bool on_output(struct host *h, struct chan *c, uint32_t number, struct bytes payload)
{
        struct guest_data d;

        if (guest_get_output(payload, &d) < 0 || c->exited || d.offset > c->next[d.stream - 1])
                return false;
        size_t s = d.stream - 1, had = (size_t)(c->next[s] - d.offset);
        if (had > 0 && !h->again) /* only after a new HELLO is anything said twice */
                return false;
        if (had >= d.bytes.len)
                return true;
        d.bytes.data += had;
        d.bytes.len -= had;
        d.offset += had;
        c->sum[s] += weigh(d.offset, d.bytes.data, d.bytes.len);
        if (d.offset < TEXT - 1) {
                size_t room = (size_t)(TEXT - 1 - d.offset), n = d.bytes.len < room ? d.bytes.len : room;
                memcpy(c->text[s] + d.offset, d.bytes.data, n);
        }
        c->next[s] += d.bytes.len;
        if (!h->no_ack)
                ack_all(h, number);
        return true;
}

/* Returns false where creto-init broke the protocol. */
static bool on_frame(struct host *h, const struct guest_frame *f)
{
        struct chan *c = chan(h, f->channel);

        switch (f->type) {
        case GUEST_HELLO_OK:
                h->hello_ok = true;
                return guest_get_hello_ok(f->payload, &h->ok) == 0;
        case GUEST_STARTED:
                c->started = true;
                return guest_get_u32(f->payload, &c->pid) == 0;
        case GUEST_STDIN_WINDOW:
                c->window_seen = true;
                return guest_get_u64(f->payload, &c->window) == 0;
        case GUEST_OUTPUT:
                return on_output(h, c, f->channel, f->payload);
        case GUEST_EXIT:
                c->exited = true;
                return guest_get_exit(f->payload, &c->exit) == 0 && c->exit.stdout_total == c->next[0] &&
                       c->exit.stderr_total == c->next[1];
        case GUEST_FAILED:
                c->failed = true;
                return guest_get_failed(f->payload, &c->fail) == 0;
        case GUEST_PONG:
                h->pong = true;
                return guest_get_u64(f->payload, &h->pong_value) == 0;
        case GUEST_STATS_REPLY:
                h->stats_seen = true;
                return guest_get_stats(f->payload, &h->stats) == 0;
        case GUEST_BOUND:
                h->bounds++;
                return f->channel == 0 && guest_get_claim(f->payload, h->bound) == 0;
        case GUEST_PROTOCOL_ERROR:
                h->protocol_error = true;
                return guest_get_text(f->payload, h->error, sizeof(h->error)) == 0;
        default:
                return false;
        }
}

/* Takes in what comes within `ms`; returns 1, 0 where nothing came, -1 at the end of the stream or where the protocol was broken. */
static int step(struct host *h, int ms)
{
        struct pollfd p = { .fd = h->fd, .events = POLLIN };
        struct guest_frame f;
        size_t used, pos = 0;

        if (poll(&p, 1, ms) <= 0)
                return 0;
        ssize_t n = read(h->fd, h->in + h->in_len, sizeof(h->in) - h->in_len);
        if (n <= 0) {
                h->closed = true;
                return -1;
        }
        h->in_len += (size_t)n;
        for (int r; (r = guest_frame_parse(h->in + pos, h->in_len - pos, h->most ? h->most : GUEST_FRAME_MAX, &f, &used)) != 0;
             pos += used) {
                if (r < 0 || !on_frame(h, &f)) {
                        printf("# broken frame: type %#x channel %u length %zu\n", f.type, f.channel, f.payload.len);
                        return -1;
                }
        }
        memmove(h->in, h->in + pos, h->in_len - pos);
        h->in_len -= pos;
        return 1;
}

#define WAIT_FOR(h, cond)                                                                                                                  \
        ({                                                                                                                                 \
                uint64_t until_ = now_ms() + WAIT_MS;                                                                                      \
                int r_ = 1;                                                                                                                \
                while (!(cond) && r_ >= 0 && now_ms() < until_)                                                                            \
                        r_ = step(h, 200);                                                                                                 \
                (cond);                                                                                                                    \
        })

/* Requests */

static struct guest_exec order(uint8_t kind, uint8_t flags)
{
        return (struct guest_exec){ .kind = kind, .flags = flags, .uid = GUEST_ID_LOOKUP, .gid = GUEST_ID_LOOKUP };
}

static uint8_t request[2 * GUEST_EXEC_MAX];

static int send_request(struct host *h, uint32_t n, size_t len)
{
        for (size_t pos = 0; pos < len || len == 0;) {
                size_t piece = len - pos < GUEST_FRAME_MAX ? len - pos : GUEST_FRAME_MAX;

                if (send_frame(h, GUEST_EXEC, pos + piece < len ? GUEST_MORE : 0, n, request + pos, piece) < 0)
                        return -1;
                pos += piece;
        }
        *chan(h, n) = (struct chan){ 0 };
        return 0;
}

static int begin(struct host *h, uint32_t n, const struct guest_exec *m, const char *const *argv, const char *const *env)
{
        struct wbuf w = wbuf_over(request, sizeof(request));

        guest_put_exec(&w, m, argv, env);
        return w.bad ? -1 : send_request(h, n, w.len);
}

#define ARGV(...) ((const char *const[]){ __VA_ARGS__, NULL })

static int begin_sh(struct host *h, uint32_t n, uint8_t flags, const char *script)
{
        struct guest_exec m = order(GUEST_KIND_PROGRAM, flags);

        return begin(h, n, &m, ARGV("sh", "-c", script), NULL);
}

static bool ended(struct host *h, uint32_t n)
{
        return chan(h, n)->exited || chan(h, n)->failed;
}

static bool sh(struct host *h, uint32_t n, const char *script)
{
        return begin_sh(h, n, 0, script) == 0 && WAIT_FOR(h, ended(h, n)) && chan(h, n)->exited;
}

static bool builtin(struct host *h, uint32_t n, uint8_t kind, const char *const *argv)
{
        struct guest_exec m = order(kind, 0);

        return begin(h, n, &m, argv, NULL) == 0 && WAIT_FOR(h, ended(h, n)) && chan(h, n)->exited;
}

static void send_stdin(struct host *h, uint32_t n, const void *data, size_t len)
{
        static uint8_t b[GUEST_FRAME_MAX];
        struct wbuf w = wbuf_over(b, sizeof(b));

        guest_put_stdin(&w, chan(h, n)->sent, data, len);
        send_frame(h, GUEST_STDIN, 0, n, b, w.len);
        chan(h, n)->sent += len;
}

static void send_eof(struct host *h, uint32_t n)
{
        uint8_t b[8];
        struct wbuf w = wbuf_over(b, sizeof(b));

        guest_put_u64(&w, chan(h, n)->sent);
        send_frame(h, GUEST_STDIN_EOF, 0, n, b, w.len);
}

static void send_signal(struct host *h, uint32_t n, uint32_t signo, uint8_t scope)
{
        uint8_t b[8];
        struct wbuf w = wbuf_over(b, sizeof(b));

        guest_put_signal(&w, signo, scope);
        send_frame(h, GUEST_SIGNAL, 0, n, b, w.len);
}

static void release(struct host *h, uint32_t n)
{
        send_frame(h, GUEST_RELEASE, 0, n, NULL, 0);
}

static bool ping(struct host *h)
{
        uint8_t b[8] = { 7, 1 };

        h->pong = false;
        return send_frame(h, GUEST_PING, 0, 0, b, sizeof(b)) == 0 && WAIT_FOR(h, h->pong) && h->pong_value == 0x107;
}

/* A sandbox with a connected stream that has said HELLO. */
static int launch_max(struct host *h, const struct boot_config *c, uint32_t max)
{
        int pair[2];

        if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) < 0)
                return -1;
        h->fd = pair[0];
        if (launch_with(h, pair[1], c) < 0)
                return -1;
        close(pair[1]);
        return hello_max(h, 1, max) == 0 && WAIT_FOR(h, h->hello_ok) ? 0 : -1;
}

static int launch_config(struct host *h, const struct boot_config *c)
{
        return launch_max(h, c, GUEST_FRAME_MAX);
}

static int launch(struct host *h)
{
        struct boot_config c;

        host_init(h);
        tune_config(&c, BOOT_ONE_UID | BOOT_DIE_ALONE);
        return launch_config(h, &c);
}

static void host_end(struct host *h)
{
        host_stop(h);
}

#define HOST __attribute__((cleanup(host_end))) struct host

static long rss_kib(void)
{
        char path[64], text[4096];

        snprintf(path, sizeof(path), "/proc/%d/status", (int)shared->init);
        if (fd_read_file(AT_FDCWD, path, text, sizeof(text)) < 0)
                return -1;
        const char *p = strstr(text, "VmRSS:");
        return p ? atol(p + 6) : -1;
}

static bool small(long kib)
{
#ifdef __SANITIZE_ADDRESS__
        return rss_kib() > 0; /* the rest is the sanitizer's own */
#else
        return rss_kib() > 0 && rss_kib() < kib;
#endif
}

/* The tests */

TEST(hello_and_ping)
{
        HOST h;

        CHECK(launch(&h) == 0);
        CHECK_INT(h.ok.version, GUEST_VERSION);
        CHECK_INT(h.ok.count, 0);
        CHECK(ping(&h));
}

TEST(exit_codes)
{
        HOST h;
        struct guest_exec m = order(GUEST_KIND_PROGRAM, 0);

        CHECK(launch(&h) == 0);
        CHECK(begin(&h, 1, &m, ARGV("true"), NULL) == 0 && WAIT_FOR(&h, ended(&h, 1)));
        CHECK(chan(&h, 1)->started && chan(&h, 1)->exited);
        CHECK(chan(&h, 1)->pid > 1);
        CHECK_INT(chan(&h, 1)->exit.code, 0);
        CHECK(begin(&h, 2, &m, ARGV("false"), NULL) == 0 && WAIT_FOR(&h, ended(&h, 2)));
        CHECK_INT(chan(&h, 2)->exit.code, 1);
        CHECK(sh(&h, 3, "exit 3"));
        CHECK_INT(chan(&h, 3)->exit.code, 3);
        CHECK(sh(&h, 4, "kill -9 $$"));
        CHECK_INT(chan(&h, 4)->exit.code, -1);
        CHECK_INT(chan(&h, 4)->exit.signal, 9);
        CHECK(sh(&h, 5, "echo out; echo err >&2"));
        CHECK_STR(chan(&h, 5)->text[0], "out\n");
        CHECK_STR(chan(&h, 5)->text[1], "err\n");
        CHECK(chan(&h, 5)->exit.peak_kib > 0);
}

TEST(surroundings)
{
        HOST h;

        CHECK(launch(&h) == 0);
        CHECK(sh(&h, 1,
                 "ls /proc/self/fd | tr '\\n' ' '; grep -E '^(Cap|NoNewPrivs|SigBlk|SigIgn)' /proc/self/status | tr -s '\\t\\n' '  '"));
        const char *t = chan(&h, 1)->text[0];
        CHECK(strncmp(t, "0 1 2 3 ", 8) == 0); /* 3 is ls's own */
        CHECK(strstr(t, "CapInh: 0000000000000000"));
        CHECK(strstr(t, "CapPrm: 0000000000000000"));
        CHECK(strstr(t, "CapBnd: 0000000000000000"));
        CHECK(strstr(t, "CapAmb: 0000000000000000"));
        CHECK(strstr(t, "NoNewPrivs: 1"));
        CHECK(strstr(t, "SigBlk: 0000000000000000"));
        /* 32 and 33 belong to the C library, which lets nobody touch them, and may come from whoever started the test */
        CHECK(strstr(t, "SigIgn: 0000000000000000") || strstr(t, "SigIgn: 0000000180000000") || strstr(t, "SigIgn: 0000000080000000"));
        CHECK(sh(
                &h, 2,
                "echo $HOME:$PATH; pwd; ulimit -n; ulimit -c; umask; cat /proc/self/stat | cut -d' ' -f5,6 | tr ' ' '\\n' | uniq | wc -l"));
        CHECK_STR(chan(&h, 2)->text[0], "/tmp:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin\n/tmp\n1024\n0\n0022\n1\n");
        CHECK(sh(&h, 3, "cat /proc/1/maps /proc/1/environ 2>&1 | grep -c 'ermission denied'; kill -9 1; echo alive"));
        CHECK_STR(chan(&h, 3)->text[0], "2\nalive\n");
        CHECK(sh(&h, 4, "echo a > /dev/stdout; echo b > /dev/stderr; echo c > /dev/null"));
        CHECK_STR(chan(&h, 4)->text[0], "a\n");
        CHECK_STR(chan(&h, 4)->text[1], "b\n");
}

TEST(landlock)
{
        HOST h;
        char script[512];

        if (syscall(SYS_landlock_create_ruleset, NULL, 0, 1) < 0)
                SKIP("the kernel has no Landlock");
        CHECK(launch(&h) == 0);
        snprintf(script, sizeof(script),
                 "touch %s/x && mv %s/x %s/y && rm %s/y && echo in; touch /tmp/creto-outside 2>/dev/null || echo refused", scratch, scratch,
                 scratch, scratch);
        CHECK(sh(&h, 1, script));
        CHECK_STR(chan(&h, 1)->text[0], "in\nrefused\n");
}

TEST(failures)
{
        HOST h;
        struct guest_exec m = order(GUEST_KIND_PROGRAM, 0);

        CHECK(launch(&h) == 0);
        CHECK(begin(&h, 1, &m, ARGV("no-such-command"), NULL) == 0 && WAIT_FOR(&h, ended(&h, 1)));
        CHECK(chan(&h, 1)->failed && !chan(&h, 1)->started);
        CHECK_INT(chan(&h, 1)->fail.stage, GUEST_STAGE_EXEC);
        CHECK_INT(chan(&h, 1)->fail.sys, ENOENT);
        CHECK_STR(chan(&h, 1)->fail.message, "cannot execute 'no-such-command': No such file or directory");
        CHECK(begin(&h, 2, &m, ARGV("/etc/passwd"), NULL) == 0 && WAIT_FOR(&h, ended(&h, 2)));
        CHECK_INT(chan(&h, 2)->fail.sys, EACCES);
        m.cwd = (struct bytes){ (const uint8_t *)"/no/such", 8 };
        CHECK(begin(&h, 3, &m, ARGV("true"), NULL) == 0 && WAIT_FOR(&h, ended(&h, 3)));
        CHECK_INT(chan(&h, 3)->fail.stage, GUEST_STAGE_CWD);
        m = order(GUEST_KIND_PROGRAM, 0);
        CHECK(begin(&h, 4, &m, NULL, NULL) == 0 && WAIT_FOR(&h, ended(&h, 4)));
        CHECK_INT(chan(&h, 4)->fail.stage, GUEST_STAGE_REQUEST);
        m.uid = 12;
        CHECK(begin(&h, 5, &m, ARGV("true"), NULL) == 0 && WAIT_FOR(&h, ended(&h, 5)));
        CHECK_INT(chan(&h, 5)->fail.stage, GUEST_STAGE_USER);
        CHECK_INT(chan(&h, 5)->fail.code, ERR_NOT_SUPPORTED);
        m = order(GUEST_KIND_PROGRAM, 0);
        m.user = (struct bytes){ (const uint8_t *)"nobody-here", 11 };
        CHECK(begin(&h, 6, &m, ARGV("true"), NULL) == 0 && WAIT_FOR(&h, ended(&h, 6)));
        CHECK_INT(chan(&h, 6)->fail.stage, GUEST_STAGE_USER);
        CHECK_INT(chan(&h, 6)->fail.code, ERR_INVALID_SPEC);
        memset(request, 0xff, 100);
        CHECK(send_request(&h, 7, 100) == 0 && WAIT_FOR(&h, ended(&h, 7)));
        CHECK_INT(chan(&h, 7)->fail.code, ERR_INVALID_SPEC);
        memset(request, 0, GUEST_EXEC_MAX + 1);
        CHECK(send_request(&h, 8, GUEST_EXEC_MAX + 1) == 0 && WAIT_FOR(&h, ended(&h, 8)));
        CHECK_INT(chan(&h, 8)->fail.stage, GUEST_STAGE_REQUEST);
        CHECK(sh(&h, 9, "echo fine"));
        CHECK_INT(h.protocol_error, 0);
}

TEST(scripts_without_interpreter)
{
        HOST h;
        char path[128];
        struct guest_exec m = order(GUEST_KIND_PROGRAM, 0);

        CHECK(launch(&h) == 0);
        snprintf(path, sizeof(path), "%s/plain", scratch);
        int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0755);
        CHECK(fd >= 0 && write(fd, "echo plain $1\n", 14) == 14);
        close(fd);
        CHECK(begin(&h, 1, &m, ARGV(path, "text"), NULL) == 0 && WAIT_FOR(&h, ended(&h, 1)));
        CHECK_STR(chan(&h, 1)->text[0], "plain text\n");
}

TEST(standard_input)
{
        HOST h;

        CHECK(launch(&h) == 0);
        CHECK(begin_sh(&h, 1, GUEST_EXEC_STDIN, "cat; echo done") == 0);
        CHECK(WAIT_FOR(&h, chan(&h, 1)->window_seen));
        CHECK_INT(chan(&h, 1)->window, GUEST_RING);
        send_stdin(&h, 1, "hello ", 6);
        CHECK(WAIT_FOR(&h, chan(&h, 1)->next[0] == 6));
        send_stdin(&h, 1, "world\n", 6);
        send_eof(&h, 1);
        CHECK(WAIT_FOR(&h, ended(&h, 1)));
        CHECK_STR(chan(&h, 1)->text[0], "hello world\ndone\n"); /* the other half stayed open */
        CHECK(sh(&h, 2, "cat; echo none"));
        CHECK_STR(chan(&h, 2)->text[0], "none\n");
}

TEST(nobody_reads_input)
{
        HOST h;
        static uint8_t junk[16384];

        CHECK(launch(&h) == 0);
        CHECK(begin_sh(&h, 1, GUEST_EXEC_STDIN, "exec <&-; sleep 1; echo x") == 0);
        CHECK(WAIT_FOR(&h, chan(&h, 1)->window_seen));
        while (chan(&h, 1)->sent < 2 * 1024 * 1024 && !ended(&h, 1)) {
                CHECK(WAIT_FOR(&h, chan(&h, 1)->window - chan(&h, 1)->sent >= sizeof(junk) || ended(&h, 1)));
                if (!ended(&h, 1))
                        send_stdin(&h, 1, junk, sizeof(junk));
        }
        CHECK(chan(&h, 1)->sent >= 2 * 1024 * 1024);
        CHECK(WAIT_FOR(&h, ended(&h, 1)));
        CHECK_STR(chan(&h, 1)->text[0], "x\n");
}

/* 64 MiB through cat; the acknowledgements come late, and for a second not at all. */
TEST(bulk_and_back_pressure)
{
        HOST h;
        static uint8_t piece[30000];
        uint64_t total = 64 << 20, sum = 0;
        bool paused = false, eof = false;

        CHECK(launch(&h) == 0);
        h.no_ack = true;
        CHECK(begin_sh(&h, 1, GUEST_EXEC_STDIN, "exec cat") == 0);
        struct chan *c = chan(&h, 1);
        while (!ended(&h, 1)) {
                size_t n = c->window - c->sent < sizeof(piece) ? (size_t)(c->window - c->sent) : sizeof(piece);

                if (c->sent + n > total)
                        n = (size_t)(total - c->sent);
                for (size_t i = 0; i < n; i++)
                        piece[i] = (uint8_t)((c->sent + i) * 2654435761U >> 13);
                if (n > 0) {
                        sum += weigh(c->sent, piece, n);
                        send_stdin(&h, 1, piece, n);
                }
                if (c->sent == total && !eof) {
                        eof = true;
                        send_eof(&h, 1);
                }
                if (!paused && c->next[0] > total / 2) {
                        paused = true;
                        usleep(1000000);
                        CHECK(small(3000));
                }
                CHECK(c->next[0] - c->acked[0] <= GUEST_RING);
                if (c->next[0] - c->acked[0] > 60000 || c->exited || eof)
                        ack_all(&h, 1);
                CHECK(step(&h, n > 0 ? 0 : 2000) >= 0);
        }
        CHECK_INT(c->next[0], total);
        CHECK(c->sum[0] == sum);
        CHECK_INT(c->exit.code, 0);
        release(&h, 1);
        CHECK(ping(&h));
        CHECK(small(1500));
}

TEST(host_that_does_not_read)
{
        HOST h;

        CHECK(launch(&h) == 0);
        CHECK(begin_sh(&h, 1, 0, "yes | head -c 3000000") == 0);
        CHECK(begin_sh(&h, 2, 0, "yes | head -c 3000000 >&2") == 0);
        usleep(700000);
        CHECK(WAIT_FOR(&h, ended(&h, 1) && ended(&h, 2)));
        CHECK_INT(chan(&h, 1)->next[0], 3000000);
        CHECK_INT(chan(&h, 2)->next[1], 3000000);
}

TEST(small_frames)
{
        HOST h;
        struct boot_config c;

        host_init(&h);
        tune_config(&c, BOOT_ONE_UID | BOOT_DIE_ALONE);
        h.most = GUEST_FRAME_MIN_MAX;
        CHECK(launch_max(&h, &c, GUEST_FRAME_MIN_MAX) == 0);
        CHECK(sh(&h, 1, "yes | head -c 300000"));
        CHECK_INT(chan(&h, 1)->next[0], 300000);
        CHECK(send_frame(&h, GUEST_STATS, 0, 0, NULL, 0) == 0 && WAIT_FOR(&h, h.stats_seen));
}

TEST(signals)
{
        HOST h;

        CHECK(launch(&h) == 0);
        CHECK(begin_sh(&h, 1, 0, "trap 'echo got; exit 5' TERM; echo up; while :; do sleep 0.05; done") == 0);
        CHECK(WAIT_FOR(&h, chan(&h, 1)->next[0] == 3));
        send_signal(&h, 1, SIGTERM, 0);
        CHECK(WAIT_FOR(&h, ended(&h, 1)));
        CHECK_INT(chan(&h, 1)->exit.code, 5);
        CHECK(begin_sh(&h, 2, 0, "sleep 100 & echo up; wait") == 0);
        CHECK(WAIT_FOR(&h, chan(&h, 2)->next[0] == 3));
        send_signal(&h, 2, SIGKILL, 1);
        CHECK(WAIT_FOR(&h, ended(&h, 2)));
        CHECK_INT(chan(&h, 2)->exit.signal, 9);
        send_signal(&h, 2, SIGKILL, 1); /* it crossed the end */
        CHECK(ping(&h));
}

TEST(timeouts)
{
        HOST h;
        struct guest_exec m = order(GUEST_KIND_PROGRAM, 0);
        uint64_t start = now_ms();

        CHECK(launch(&h) == 0);
        m.timeout_ms = 300;
        /* a member of the session in a group of its own goes with it */
        CHECK(begin(&h, 1, &m, ARGV("bash", "-c", "set -m; sleep 51.5 & sleep 100"), NULL) == 0 && WAIT_FOR(&h, ended(&h, 1)));
        CHECK_INT(chan(&h, 1)->exit.signal, 9);
        CHECK_INT(chan(&h, 1)->exit.reason & GUEST_REASON_TIMEOUT, GUEST_REASON_TIMEOUT);
        CHECK(now_ms() - start >= 300 && now_ms() - start < 5000);
        CHECK(sh(&h, 2, "grep -l 51.5 /proc/[0-9]*/cmdline | grep -v self | grep -vw $$ | wc -l"));
        CHECK(sh(&h, 3, "ps -e -o args | grep -c '[s]leep 51.5'"));
        CHECK_STR(chan(&h, 3)->text[0], "0\n");
        m.timeout_ms = 60000;
        CHECK(begin(&h, 4, &m, ARGV("true"), NULL) == 0 && WAIT_FOR(&h, ended(&h, 4)));
        CHECK_INT(chan(&h, 4)->exit.reason & GUEST_REASON_TIMEOUT, 0);
}

TEST(terminal)
{
        HOST h;
        struct guest_exec m = order(GUEST_KIND_PROGRAM, GUEST_EXEC_TTY | GUEST_EXEC_STDIN);
        uint8_t b[4];
        struct wbuf w = wbuf_over(b, sizeof(b));

        CHECK(launch(&h) == 0);
        m.rows = 33;
        m.cols = 99;
        CHECK(begin(&h, 1, &m, ARGV("sh", "-c", "stty size; tty >/dev/tty && read x; stty size; cat; echo bye"), NULL) == 0);
        if (WAIT_FOR(&h, chan(&h, 1)->failed || chan(&h, 1)->next[0] > 0) && chan(&h, 1)->failed)
                SKIP("no pseudo terminals here");
        CHECK(WAIT_FOR(&h, strstr(chan(&h, 1)->text[0], "/dev/")));
        CHECK(strncmp(chan(&h, 1)->text[0], "33 99\r\n", 7) == 0);
        guest_put_resize(&w, 40, 120);
        send_frame(&h, GUEST_RESIZE, 0, 1, b, w.len);
        send_stdin(&h, 1, "go\n", 3);
        CHECK(WAIT_FOR(&h, strstr(chan(&h, 1)->text[0], "40 120")));
        send_stdin(&h, 1, "half", 4); /* without its newline */
        send_eof(&h, 1);
        CHECK(WAIT_FOR(&h, ended(&h, 1)));
        CHECK(strstr(chan(&h, 1)->text[0], "bye"));
        CHECK_INT(chan(&h, 1)->exit.code, 0);
        CHECK(begin(&h, 2, &m, ARGV("sh", "-c", "yes | head -c 100000; exit 4"), NULL) == 0 && WAIT_FOR(&h, ended(&h, 2)));
        CHECK_INT(chan(&h, 2)->next[0], 150000); /* a terminal makes \r\n of \n */
        CHECK_INT(chan(&h, 2)->exit.code, 4);
}

TEST(large_requests)
{
        HOST h;
        static const char *env[GUEST_ENV_MAX + 1];
        static char names[GUEST_ENV_MAX][16], big[120 * 1024 + 1];
        struct guest_exec m = order(GUEST_KIND_PROGRAM, 0);

        CHECK(launch(&h) == 0);
        for (int i = 0; i < GUEST_ENV_MAX; i++) {
                snprintf(names[i], sizeof(names[i]), "V%d=%d", i, i);
                env[i] = names[i];
        }
        env[GUEST_ENV_MAX] = NULL;
        memset(big, 'x', sizeof(big) - 1);
        CHECK(begin(&h, 1, &m, ARGV("env"), env) == 0 && WAIT_FOR(&h, ended(&h, 1)));
        CHECK_INT(chan(&h, 1)->exit.code, 0);
        CHECK(chan(&h, 1)->next[0] > 80000);
        CHECK(begin(&h, 2, &m, ARGV("sh", "-c", "echo ${#1}", "sh", big), NULL) == 0 && WAIT_FOR(&h, ended(&h, 2)));
        CHECK_STR(chan(&h, 2)->text[0], "122880\n");
        CHECK(small(1500));
}

TEST(many_at_once)
{
        HOST h;

        CHECK(launch(&h) == 0);
        for (uint32_t i = 1; i <= GUEST_EXECS_MAX; i++)
                CHECK(begin_sh(&h, i, 0, "sleep 100") == 0);
        CHECK(WAIT_FOR(&h, chan(&h, GUEST_EXECS_MAX)->started));
        CHECK(begin_sh(&h, 200, 0, "true") == 0 && WAIT_FOR(&h, ended(&h, 200)));
        CHECK_INT(chan(&h, 200)->failed, 1);
        CHECK_INT(chan(&h, 200)->fail.code, ERR_RESOURCE_EXHAUSTED);
        for (uint32_t i = 1; i <= GUEST_EXECS_MAX; i++)
                send_signal(&h, i, SIGKILL, 1);
        for (uint32_t i = 1; i <= GUEST_EXECS_MAX; i++)
                CHECK(WAIT_FOR(&h, ended(&h, i)));
        CHECK(begin_sh(&h, 201, 0, "true") == 0 && WAIT_FOR(&h, ended(&h, 201))); /* ended, but not released */
        CHECK_INT(chan(&h, 201)->failed, 1);
        release(&h, 7);
        CHECK(sh(&h, 202, "echo room"));
        CHECK_STR(chan(&h, 202)->text[0], "room\n");
}

TEST(orphans)
{
        HOST h;

        CHECK(launch(&h) == 0);
        CHECK(sh(&h, 1, "(sleep 0.5; echo late; sleep 50) & echo early"));
        CHECK_STR(chan(&h, 1)->text[0], "early\n");
        release(&h, 1);
        CHECK(sh(&h, 2, "for i in 1 2 3 4 5; do (sleep 0.1 &) ; done; sleep 0.5; ps -e -o stat | grep -c Z"));
        CHECK_STR(chan(&h, 2)->text[0], "0\n");
}

/* What was in the pipe at the end may be read by a surviving child instead: the end is told all the same. */
TEST(stolen_output)
{
        HOST h;

        CHECK(launch(&h) == 0);
        h.no_ack = true;
        CHECK(begin_sh(&h, 1, 0,
                       "head -c 190000 /dev/zero; (exec 3</dev/stdout; sleep 0.5; head -c 58928 <&3 >/dev/null; sleep 100) &"
                       "exit 0") == 0);
        CHECK(WAIT_FOR(&h, chan(&h, 1)->next[0] == GUEST_RING));
        usleep(1000000);
        h.no_ack = false;
        ack_all(&h, 1);
        CHECK(WAIT_FOR(&h, ended(&h, 1)));
        CHECK_INT(chan(&h, 1)->exit.stdout_total, GUEST_RING);
}

TEST(output_rate)
{
        HOST h;
        struct boot_config c;
        uint64_t start;

        host_init(&h);
        tune_config(&c, BOOT_ONE_UID | BOOT_DIE_ALONE);
        c.output_bps = 200000;
        CHECK(launch_config(&h, &c) == 0);
        start = now_ms();
        CHECK(sh(&h, 1, "yes | head -c 265536"));
        CHECK_INT(chan(&h, 1)->next[0], 265536);
        CHECK(now_ms() - start > 800 && now_ms() - start < 2500); /* 64 KiB at once, the rest in a second */
}

TEST(statistics)
{
        HOST h;

        CHECK(launch(&h) == 0);
        CHECK(begin_sh(&h, 1, 0, "sleep 100") == 0 && WAIT_FOR(&h, chan(&h, 1)->started));
        CHECK(send_frame(&h, GUEST_STATS, 0, 0, NULL, 0) == 0 && WAIT_FOR(&h, h.stats_seen));
        CHECK(h.stats.processes >= 2 && h.stats.processes < 10);
        CHECK(h.stats.disk_total > 0);
        CHECK_INT(h.stats.violations, 0);
}

TEST(attack_calls)
{
        HOST h;
        struct boot_config c;
        const char *caller = "i=0; while [ $i -lt 3 ]; do perl -e '$r = syscall(425, 1, 0); print \"$r $!\\n\"'; i=$((i+1)); done";

        host_init(&h);
        tune_config(&c, BOOT_ONE_UID | BOOT_DIE_ALONE | BOOT_NOTIFY);
        CHECK(launch_config(&h, &c) == 0);
        CHECK(sh(&h, 1, caller));
        if (chan(&h, 1)->next[0] == 0)
                SKIP("there is no perl to make the call with");
        CHECK_STR(chan(&h, 1)->text[0], "-1 Operation not permitted\n-1 Operation not permitted\n-1 Operation not permitted\n");
        CHECK_INT(chan(&h, 1)->exit.refused, 3);
        CHECK(send_frame(&h, GUEST_STATS, 0, 0, NULL, 0) == 0 && WAIT_FOR(&h, h.stats_seen));
        CHECK_INT(h.stats.violations, 3);
        CHECK_INT(h.stats.count, 1);
        CHECK_INT(h.stats.calls[0].number, NOTIFIED_CALL);
        CHECK_INT(h.stats.calls[0].times, 3);
}

TEST(idle_costs_nothing)
{
        HOST h;
        char path[64], a[512], b[512];

        CHECK(launch(&h) == 0);
        CHECK(begin_sh(&h, 1, 0, "sleep 100") == 0 && WAIT_FOR(&h, chan(&h, 1)->started));
        CHECK(ping(&h));
        usleep(50000);
        snprintf(path, sizeof(path), "/proc/%d/schedstat", (int)shared->init);
        CHECK(fd_read_file(AT_FDCWD, path, a, sizeof(a)) > 0);
        usleep(300000);
        CHECK(fd_read_file(AT_FDCWD, path, b, sizeof(b)) > 0);
        CHECK_STR(a, b);
}

static bool refused(struct host *h)
{
        for (int i = 0; i < 50 && !h->closed; i++)
                if (step(h, 200) < 0 && h->closed)
                        break;
        return h->closed;
}

TEST(broken_rules)
{
        static const struct {
                uint16_t type;
                uint8_t flags;
                uint32_t channel;
                const char *payload;
                size_t len;
        } bad[] = {
                { 0x70, 0, 0, "", 0 },                         /* unknown */
                { GUEST_EXIT, 0, 1, "", 0 },                   /* wrong direction */
                { GUEST_STDIN, 0, 9, "\0\0\0\0\0\0\0\0x", 9 }, /* no such channel */
                { GUEST_ACK, 0, 9, "\1\0\0\0\0\0\0\0\0", 9 },
                { GUEST_PING, 0, 3, "\0\0\0\0\0\0\0\0", 8 }, /* not a matter of a channel */
                { GUEST_PING, 0, 0, "\0\0\0", 3 },
                { GUEST_EXEC, 0, 0, "", 0 },
                { GUEST_HELLO, 0, 0, "\2\0\0\0\0\x80\0\0\1\0\0\0\0\0\0\0", 16 }, /* the epoch is the same */
                { GUEST_HELLO, 0, 0, "\1\0\0\0\0\x80\0\0\2\0\0\0\0\0\0\0", 16 }, /* another version */
                { GUEST_BIND, 0, 0, "0123456789abcdef", 15 },
                { GUEST_BIND, 0, 0, "0123456789abcdef", 17 },
                { GUEST_BIND, 0, 0, "\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0", 16 }, /* none */
                { GUEST_BIND, 0, 1, "0123456789abcdef", 16 },
                { GUEST_BIND, GUEST_MORE, 0, "0123456789abcdef", 16 },
                { GUEST_BOUND, 0, 0, "0123456789abcdef", 16 },
        };

        for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
                HOST h;

                CHECK(launch(&h) == 0);
                CHECK(send_frame(&h, bad[i].type, bad[i].flags, bad[i].channel, bad[i].payload, bad[i].len) == 0);
                CHECK(refused(&h));
                CHECK_INT(h.protocol_error, 1);
        }
        HOST h;
        CHECK(launch(&h) == 0);
        CHECK(begin_sh(&h, 1, GUEST_EXEC_STDIN, "sleep 9") == 0 && WAIT_FOR(&h, chan(&h, 1)->window_seen));
        chan(&h, 1)->sent = 5; /* a gap */
        send_stdin(&h, 1, "x", 1);
        CHECK(refused(&h) && h.protocol_error);
}

TEST(garbage)
{
        uint64_t state = 88172645463325252ULL;
        uint8_t noise[4096];

        for (int i = 0; i < 60; i++) {
                HOST h;

                CHECK(launch(&h) == 0);
                for (size_t k = 0; k < sizeof(noise); k++) {
                        state ^= state << 13;
                        state ^= state >> 7;
                        state ^= state << 17;
                        noise[k] = (uint8_t)(state >> 20);
                }
                if (i % 2) { /* a good header, so that the payload is looked at */
                        guest_frame_header(noise, (uint16_t)(1 + i / 2 % 11), 0, (uint32_t)(i % 3), (uint32_t)(state % 64));
                }
                send_all(&h, noise, sizeof(noise));
                shutdown(h.fd, SHUT_WR);
                CHECK(refused(&h));
                int status = 0;
                CHECK(waitpid(h.middle, &status, 0) == h.middle);
                h.middle = 0;
                CHECK(WIFEXITED(status) && (WEXITSTATUS(status) == 0 || WEXITSTATUS(status) == 1)); /* an end of its own, not a crash */
        }
}

TEST(shutdown_and_eof)
{
        HOST h;
        int status = -1;

        CHECK(launch(&h) == 0);
        CHECK(begin_sh(&h, 1, 0, "sleep 100") == 0 && WAIT_FOR(&h, chan(&h, 1)->started));
        CHECK(send_frame(&h, GUEST_SHUTDOWN, 0, 0, NULL, 0) == 0);
        CHECK(waitpid(h.middle, &status, 0) == h.middle);
        CHECK_INT(status, 0);
        h.middle = 0;
        HOST k;
        CHECK(launch(&k) == 0);
        close(k.fd);
        k.fd = -1;
        CHECK(waitpid(k.middle, &status, 0) == k.middle);
        CHECK_INT(status, 0);
        k.middle = 0;
}

/* Files */

static struct chan *file(struct host *h, uint32_t *n, uint8_t kind, const char *const *argv)
{
        return builtin(h, ++*n, kind, argv) ? chan(h, *n) : chan(h, 0);
}

TEST(files)
{
        HOST h;
        uint32_t n = 0;
        char dir[128], a[160], b[160], script[512];
        struct guest_exec m = order(GUEST_KIND_WRITE, GUEST_EXEC_STDIN);

        CHECK(launch(&h) == 0);
        snprintf(dir, sizeof(dir), "%s/files", scratch);
        snprintf(a, sizeof(a), "%s/sub/a b", dir);
        snprintf(b, sizeof(b), "%s/sub/b", dir);
        snprintf(script, sizeof(script), "%s/sub", dir);
        CHECK_INT(file(&h, &n, GUEST_KIND_MKDIR, ARGV(script, "750"))->exit.code, ENOENT);
        CHECK(strstr(chan(&h, n)->text[1], "No such file"));
        CHECK_INT(file(&h, &n, GUEST_KIND_MKDIR, ARGV(script, "750", "p"))->exit.code, 0);
        CHECK(chan(&h, n)->exited);
        CHECK_INT(file(&h, &n, GUEST_KIND_MKDIR, ARGV(script, "750", "p"))->exit.code, 0);
        CHECK(begin(&h, ++n, &m, ARGV(a, "640"), NULL) == 0 && WAIT_FOR(&h, chan(&h, n)->window_seen));
        send_stdin(&h, n, "content", 7);
        send_eof(&h, n);
        CHECK(WAIT_FOR(&h, ended(&h, n)));
        CHECK_INT(chan(&h, n)->exit.code, 0);
        CHECK_INT(file(&h, &n, GUEST_KIND_READ, ARGV(a))->exit.code, 0);
        CHECK_STR(chan(&h, n)->text[0], "content");
        CHECK_INT(file(&h, &n, GUEST_KIND_LIST, ARGV(script))->exit.code, 0);
        unsigned mode = 0;
        CHECK(sscanf(chan(&h, n)->text[0], "f\t%o\t1000\t1000\t7\t", &mode) == 1 && mode == 0640);
        CHECK(strstr(chan(&h, n)->text[0], "\ta\\x20b\n"));
        CHECK_INT(file(&h, &n, GUEST_KIND_STAT, ARGV(dir))->exit.code, 0);
        CHECK(sscanf(chan(&h, n)->text[0], "d\t%o\t", &mode) == 1 && mode == 0755);
        CHECK_INT(file(&h, &n, GUEST_KIND_RENAME, ARGV(a, b))->exit.code, 0);
        CHECK_INT(file(&h, &n, GUEST_KIND_READ, ARGV(a))->exit.code, ENOENT);
        CHECK_INT(file(&h, &n, GUEST_KIND_REMOVE, ARGV(dir))->exit.code, ENOTEMPTY);
        CHECK_INT(file(&h, &n, GUEST_KIND_READ, ARGV("/etc/shadow-no"))->exit.code, ENOENT);
        if (syscall(SYS_landlock_create_ruleset, NULL, 0, 1) > 0)
                CHECK_INT(file(&h, &n, GUEST_KIND_MKDIR, ARGV("/tmp/creto-outside-dir", "755"))->exit.code, EACCES);
        CHECK_INT(file(&h, &n, GUEST_KIND_PROCESSES, NULL)->exit.code, 0);
        CHECK(strstr(chan(&h, n)->text[0], "creto-init\n"));
        CHECK(strncmp(chan(&h, n)->text[0], "1\t0\t1000\t", 9) == 0);
}

TEST(remove_trees)
{
        HOST h;
        uint32_t n = 1;
        char script[1024], dir[128];
        struct stat st;

        CHECK(launch(&h) == 0);
        snprintf(dir, sizeof(dir), "%s/tree", scratch);
        snprintf(
                script, sizeof(script),
                "mkdir -p %s/keep %s && cd %s && touch %s/keep/x && ln -s ../keep link && i=0; while [ $i -lt 700 ]; do mkdir d; touch f$i; cd d; i=$((i+1)); done; "
                "cd %s; mkdir many; cd many; seq 3000 | xargs touch; echo made",
                scratch, dir, dir, scratch, dir);
        CHECK(sh(&h, 1, script));
        CHECK_STR(chan(&h, 1)->text[0], "made\n");
        CHECK_INT(file(&h, &n, GUEST_KIND_REMOVE, ARGV(dir, "r"))->exit.code, 0);
        CHECK_STR(chan(&h, n)->text[1], "");
        CHECK(lstat(dir, &st) < 0);
        snprintf(dir, sizeof(dir), "%s/keep/x", scratch);
        CHECK(lstat(dir, &st) == 0);
        snprintf(script, sizeof(script), "ln -s keep %s/link2", scratch);
        CHECK(sh(&h, ++n, script));
        snprintf(script, sizeof(script), "%s/link2", scratch);
        CHECK_INT(file(&h, &n, GUEST_KIND_REMOVE, ARGV(script, "r"))->exit.code, 0);
        CHECK(lstat(dir, &st) == 0);
}

/* Connections */

static int dial(struct host *h, const char *path)
{
        struct sockaddr_un a = { .sun_family = AF_UNIX };

        snprintf(a.sun_path, sizeof(a.sun_path), "%s", path);
        if (h->fd >= 0)
                close(h->fd);
        h->fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
        h->in_len = 0;
        h->hello_ok = h->closed = h->protocol_error = false;
        h->again = true;
        return connect(h->fd, (struct sockaddr *)&a, sizeof(a));
}

/* One that listens at `path`, in the scratch directory. */
static int launch_listening(struct host *h, char *path, size_t cap)
{
        struct sockaddr_un a = { .sun_family = AF_UNIX };
        struct boot_config c;

        host_init(h);
        snprintf(path, cap, "%s/sock", scratch);
        unlink(path);
        snprintf(a.sun_path, sizeof(a.sun_path), "%s", path);
        auto_fd listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
        if (bind(listener, (struct sockaddr *)&a, sizeof(a)) < 0 || listen(listener, 8) < 0)
                return -1;
        tune_config(&c, BOOT_ONE_UID | BOOT_LISTEN);
        return launch_with(h, listener, &c);
}

/* Asks to be bound to a claim whose bytes are all `c`; returns what all bytes of the answer are, or 0. */
static int bind_to(struct host *h, int c)
{
        uint8_t claim[GUEST_CLAIM];
        unsigned before = h->bounds;

        memset(claim, c, sizeof(claim));
        if (send_frame(h, GUEST_BIND, 0, 0, claim, sizeof(claim)) < 0 || !WAIT_FOR(h, h->bounds > before))
                return 0;
        memset(claim, h->bound[0], sizeof(claim));
        return memcmp(claim, h->bound, sizeof(claim)) == 0 ? h->bound[0] : 0;
}

/* As a container's: its configuration comes first, then the stream; another host program greets with a greater epoch, and its end is the end. */
TEST(over_standard_streams)
{
        struct boot_config c;
        int pair[2], status;
        HOST h;

        host_init(&h);
        tune_config(&c, BOOT_ONE_UID | BOOT_STDIO | BOOT_NO_PARENT);
        CHECK(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) == 0);
        h.fd = pair[0];
        CHECK(write(h.fd, &c, sizeof(c)) == (ssize_t)sizeof(c) && launch_with(&h, pair[1], &c) == 0);
        close(pair[1]);
        CHECK(hello(&h, 0) == 0 && WAIT_FOR(&h, h.hello_ok));
        h.hello_ok = false;
        CHECK(hello(&h, 1) == 0 && WAIT_FOR(&h, h.hello_ok));
        CHECK(sh(&h, 1, "cat; echo out"));
        CHECK_STR(chan(&h, 1)->text[0], "out\n"); /* a command has nothing of those */
        CHECK(ping(&h));
        close(h.fd);
        h.fd = -1;
        CHECK(waitpid(h.middle, &status, 0) == h.middle && WIFEXITED(status));
        h.middle = 0;
}

TEST(one_claim_for_life)
{
        const uint8_t none[GUEST_CLAIM] = { 0 };
        char path[96];
        HOST h;

        CHECK(launch_listening(&h, path, sizeof(path)) == 0);
        CHECK(dial(&h, path) == 0 && hello(&h, 1) == 0 && WAIT_FOR(&h, h.hello_ok));
        CHECK(memcmp(h.ok.bound, none, GUEST_CLAIM) == 0);
        CHECK(sh(&h, 1, "echo unbound"));
        CHECK_INT(bind_to(&h, 'a'), 'a');
        CHECK_INT(bind_to(&h, 'a'), 'a'); /* said once more */
        CHECK_INT(bind_to(&h, 'b'), 'a'); /* another's */
        CHECK_INT(h.bounds, 3);

        /* A connection that breaks off changes nothing, and neither does one that breaks the rules. */
        CHECK(dial(&h, path) == 0 && hello(&h, 2) == 0 && WAIT_FOR(&h, h.hello_ok));
        CHECK_INT(h.ok.bound[0], 'a');
        CHECK(send_frame(&h, GUEST_BIND, 0, 0, none, GUEST_CLAIM) == 0 && refused(&h));
        CHECK(dial(&h, path) == 0 && hello(&h, 3) == 0 && WAIT_FOR(&h, h.hello_ok));
        CHECK(h.ok.bound[0] == 'a' && h.ok.bound[GUEST_CLAIM - 1] == 'a');
        CHECK_INT(bind_to(&h, 'b'), 'a');
        CHECK(sh(&h, 2, "echo bound"));
        CHECK(send_frame(&h, GUEST_SHUTDOWN, 0, 0, NULL, 0) == 0);
}

/* What became of the exec `n`, if it was not started: the code of its failure; else 0. */
static int bound_exec(struct host *h, uint32_t n)
{
        if (begin_sh(h, n, GUEST_EXEC_BOUND, "echo run") < 0 || !WAIT_FOR(h, ended(h, n)))
                return -1;
        return chan(h, n)->exited ? 0 : (int)chan(h, n)->fail.code;
}

/* A command that is a claim's runs where the last BIND of its connection was taken, and nowhere else. */
TEST(command_of_a_claim)
{
        uint8_t claim[GUEST_CLAIM];
        char path[96];
        HOST h;

        CHECK(launch_listening(&h, path, sizeof(path)) == 0);
        CHECK(dial(&h, path) == 0 && hello(&h, 1) == 0 && WAIT_FOR(&h, h.hello_ok));
        CHECK_INT(bound_exec(&h, 1), ERR_SANDBOX_NOT_READY); /* no BIND yet */
        memset(claim, 'a', sizeof(claim));
        CHECK(send_frame(&h, GUEST_BIND, 0, 0, claim, sizeof(claim)) == 0); /* both at once */
        CHECK_INT(bound_exec(&h, 2), 0);
        CHECK(h.bounds == 1 && h.bound[0] == 'a');
        memset(claim, 'b', sizeof(claim));
        CHECK(send_frame(&h, GUEST_BIND, 0, 0, claim, sizeof(claim)) == 0); /* another's */
        CHECK_INT(bound_exec(&h, 3), ERR_SANDBOX_NOT_READY);
        CHECK(h.bounds == 2 && h.bound[0] == 'a');
        CHECK_INT(bind_to(&h, 'a'), 'a');
        CHECK_INT(bound_exec(&h, 4), 0);
        CHECK(dial(&h, path) == 0 && hello(&h, 2) == 0 && WAIT_FOR(&h, h.hello_ok));
        CHECK_INT(bound_exec(&h, 5), ERR_SANDBOX_NOT_READY); /* this connection has not asked */
        CHECK(sh(&h, 6, "echo bound"));
        CHECK(send_frame(&h, GUEST_SHUTDOWN, 0, 0, NULL, 0) == 0);
}

/* Its answer was never read: the next connection knows. */
TEST(bound_unheard)
{
        char path[96];
        HOST h;

        CHECK(launch_listening(&h, path, sizeof(path)) == 0);
        CHECK(dial(&h, path) == 0 && hello(&h, 1) == 0);
        CHECK(send_frame(&h, GUEST_BIND, 0, 0, "0123456789abcdef", GUEST_CLAIM) == 0 && ping(&h));
        CHECK(dial(&h, path) == 0 && hello(&h, 2) == 0 && WAIT_FOR(&h, h.hello_ok));
        CHECK(memcmp(h.ok.bound, "0123456789abcdef", GUEST_CLAIM) == 0);
        CHECK(send_frame(&h, GUEST_SHUTDOWN, 0, 0, NULL, 0) == 0);
}

TEST(attach_again)
{
        HOST h;
        struct sockaddr_un a = { .sun_family = AF_UNIX };
        char path[96];

        CHECK(launch_listening(&h, path, sizeof(path)) == 0);
        snprintf(a.sun_path, sizeof(a.sun_path), "%s", path);

        CHECK(dial(&h, path) == 0 && hello(&h, 5) == 0 && WAIT_FOR(&h, h.hello_ok));
        CHECK(begin_sh(&h, 1, GUEST_EXEC_STDIN, "i=0; while [ $i -lt 40000 ]; do echo $i; i=$((i+1)); done; cat; exit 6") == 0);
        h.no_ack = true;
        CHECK(WAIT_FOR(&h, chan(&h, 1)->next[0] > 50000 && chan(&h, 1)->window_seen));
        ack(&h, 1, GUEST_STDOUT, 20000);
        send_stdin(&h, 1, "tail\n", 5);
        CHECK(ping(&h)); /* the input is taken */

        CHECK(dial(&h, path) == 0 && hello(&h, 5) == 0); /* not greater: refused */
        CHECK(refused(&h));

        chan(&h, 1)->started = false;

        /* A greater epoch, with one connection that says nothing in between, and one that leaves half a frame. */
        int silent = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
        CHECK(connect(silent, (struct sockaddr *)&a, sizeof(a)) == 0 && write(silent, "\x10\0\0", 3) == 3);
        CHECK(dial(&h, path) == 0 && hello(&h, 6) == 0 && WAIT_FOR(&h, h.hello_ok));
        CHECK_INT(h.ok.count, 1);
        CHECK_INT(h.ok.channels[0].channel, 1);
        CHECK_INT(h.ok.channels[0].stdin_taken, 5);
        CHECK_INT(h.ok.channels[0].stdout_acked, 20000);
        uint64_t had = chan(&h, 1)->next[0];
        h.no_ack = false;
        ack(&h, 1, GUEST_STDOUT, had);
        ack(&h, 1, GUEST_STDERR, 0);
        CHECK(WAIT_FOR(&h, chan(&h, 1)->started));
        send_eof(&h, 1);
        CHECK(WAIT_FOR(&h, ended(&h, 1)));
        CHECK_INT(chan(&h, 1)->exit.code, 6);
        CHECK_INT(chan(&h, 1)->next[0], 228890 + 5);

        /* The end is said again until it is released. */
        chan(&h, 1)->exited = false;
        CHECK(dial(&h, path) == 0 && hello(&h, 7) == 0 && WAIT_FOR(&h, h.hello_ok));
        CHECK_INT(h.ok.channels[0].state, GUEST_STATE_EXITED);
        ack(&h, 1, GUEST_STDOUT, chan(&h, 1)->next[0]);
        CHECK(WAIT_FOR(&h, ended(&h, 1)));
        release(&h, 1);
        CHECK(sh(&h, 2, "echo on"));
        close(silent);

        /* A broken connection costs the sandbox nothing. */
        CHECK(begin_sh(&h, 3, 0, "sleep 0.5; echo still here") == 0 && WAIT_FOR(&h, chan(&h, 3)->started));
        send_all(&h, "\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff", 12);
        CHECK(refused(&h));
        CHECK(dial(&h, path) == 0 && hello(&h, 8) == 0 && WAIT_FOR(&h, h.hello_ok));
        CHECK_INT(h.ok.count, 2);
        CHECK(WAIT_FOR(&h, ended(&h, 3)));
        CHECK_STR(chan(&h, 3)->text[0], "still here\n");
        CHECK(send_frame(&h, GUEST_SHUTDOWN, 0, 0, NULL, 0) == 0);
}

/* Several users; with ids of its own for the sandbox, as in earnest */

TEST(users)
{
        HOST h;
        struct boot_config c;
        struct guest_exec m = order(GUEST_KIND_PROGRAM, 0);

        if (getuid() != 0)
                SKIP("several users need root");
        host_init(&h);
        tune_config(&c, BOOT_DIE_ALONE);
        CHECK(launch_config(&h, &c) == 0);
        CHECK(sh(&h, 1, "id -u; id -g; id -G; grep -c '0000000000000000' /proc/self/status; echo x >/dev/stdout"));
        CHECK(strncmp(chan(&h, 1)->text[0], "1000\n1000\n1000\n", 15) == 0);
        CHECK(strstr(chan(&h, 1)->text[0], "x\n"));
        m.user = (struct bytes){ (const uint8_t *)"daemon", 6 };
        CHECK(begin(&h, 2, &m, ARGV("sh", "-c", "id -u; id -g; echo $USER $HOME"), NULL) == 0 && WAIT_FOR(&h, ended(&h, 2)));
        CHECK(strstr(chan(&h, 2)->text[0], "1\n1\ndaemon /"));
        m.user = (struct bytes){ (const uint8_t *)"0:12", 4 };
        CHECK(begin(&h, 3, &m, ARGV("sh", "-c", "id -u; id -g; grep ^CapEff /proc/self/status | cut -f2"), NULL) == 0 &&
              WAIT_FOR(&h, ended(&h, 3)));
        CHECK_STR(chan(&h, 3)->text[0], "0\n12\n0000000000000000\n");
        m.user = (struct bytes){ 0 };
        m.uid = 65535;
        CHECK(begin(&h, 4, &m, ARGV("true"), NULL) == 0 && WAIT_FOR(&h, ended(&h, 4)));
        CHECK_INT(chan(&h, 4)->fail.code, ERR_NOT_SUPPORTED);
        m.uid = 77;
        m.gid = 78;
        m.flags = GUEST_EXEC_TTY;
        CHECK(begin(&h, 5, &m, ARGV("sh", "-c", "exec 3<&1; stat -c %u $(tty <&3); id -g"), NULL) == 0 && WAIT_FOR(&h, ended(&h, 5)));
        CHECK(chan(&h, 5)->failed || strncmp(chan(&h, 5)->text[0], "77\r\n78", 6) == 0);
        CHECK(sh(&h, 6, "kill -CHLD 1; kill -KILL 1; cat /proc/1/mem; :"));
        CHECK(ping(&h));
}

/* A sanitizer's child is a copy of all memory, and may be stopped again and again until its time is over. */
#ifdef __SANITIZE_ADDRESS__
enum { CHILD_IS_SLOW = 1 };
#else
enum { CHILD_IS_SLOW = 0 };
#endif

/* Whoever has the user's id can stop a child on its way to its program; that must not stop creto-init. */
TEST(stopped_on_the_way)
{
        HOST h;
        struct boot_config c;

        if (getuid() != 0)
                SKIP("several users need root");
        host_init(&h);
        tune_config(&c, BOOT_DIE_ALONE);
        CHECK(launch_config(&h, &c) == 0);
        CHECK(begin_sh(&h, 1, 0, "while :; do kill -STOP -1; done 2>/dev/null") == 0 && WAIT_FOR(&h, chan(&h, 1)->started));
        for (uint32_t i = 2; i < 12; i++) {
                uint64_t start = now_ms();

                CHECK(begin_sh(&h, i, 0, "true") == 0 && ping(&h));
                CHECK(chan(&h, i)->started || (CHILD_IS_SLOW && chan(&h, i)->failed));
                CHECK(now_ms() - start < 60000);
        }
        send_signal(&h, 1, SIGKILL, 1);
        CHECK(WAIT_FOR(&h, ended(&h, 1)));
        CHECK(sh(&h, 20, "echo fine"));
        CHECK_STR(chan(&h, 20)->text[0], "fine\n");
}

/* Prewarm servers: this program is one, good or bad, where it is started with --prewarm MODE. */

static char self[256]; /* how a sandbox starts this program */

static void say(const void *packet, size_t len)
{
        if (send(PREWARM_FD, packet, len, MSG_NOSIGNAL) < 0)
                _exit(1);
}

static void say_ready(uint8_t flags)
{
        say((uint8_t[]){ PREWARM_READY, flags }, 2);
}

/* Becomes a child of pid 1 with a session of its own; the server goes on with its next standby. */
static bool be_orphan(void)
{
        pid_t between = fork();

        if (between > 0) {
                waitpid(between, NULL, 0);
                return false;
        }
        if (fork() > 0)
                _exit(0);
        while (getppid() != 1)
                usleep(200);
        setsid();
        return true;
}

static size_t get_run(uint8_t *packet, int fds[3])
{
        char control[CMSG_SPACE(3 * sizeof(int))];
        struct iovec iov = { packet, PREWARM_PACKET_MAX };
        struct msghdr m = { .msg_iov = &iov, .msg_iovlen = 1, .msg_control = control, .msg_controllen = sizeof(control) };
        ssize_t n = recvmsg(PREWARM_FD, &m, 0);
        const struct cmsghdr *c = CMSG_FIRSTHDR(&m);

        if (n <= 0)
                _exit(0);
        for (int i = 0; i < 3; i++)
                fds[i] = -1;
        if (c && c->cmsg_type == SCM_RIGHTS)
                memcpy(fds, CMSG_DATA(c), 3 * sizeof(int));
        return (size_t)n;
}

/* What a RUN asks for, by exec, with WARM=1 in its environment. */
static void be_command(const uint8_t *packet, size_t len, const int fds[3])
{
        static char *argv[256], *env[256];
        struct prewarm_run m;

        if (prewarm_get_run((struct bytes){ packet, len }, &m) < 0 || m.argc > 200 || m.envc > 200)
                _exit(90);
        for (uint32_t i = 0; i < m.argc; i++) {
                struct bytes b = prewarm_run_next(&m.args);

                argv[i] = strndup((const char *)b.data, b.len);
        }
        for (uint32_t i = 0; i < m.envc; i++) {
                struct bytes b = prewarm_run_next(&m.envs);

                env[i] = strndup((const char *)b.data, b.len);
        }
        env[m.envc] = (char *)"WARM=1";
        char *cwd = strndup((const char *)m.cwd.data, m.cwd.len);
        if (chdir(cwd) < 0) {
                uint8_t refused[] = { PREWARM_REFUSED, (uint8_t)errno, 0, 0, 0 };

                say(refused, sizeof(refused));
                _exit(0);
        }
        for (int i = 0; i < 3 && fds[i] >= 0; i++)
                fd_move(fds[i], i);
        if (fds[0] < 0 && !(m.flags & PREWARM_STDIN)) {
                close(0);
                open("/dev/null", O_RDONLY);
        }
        say((uint8_t[]){ PREWARM_TAKEN }, 1);
        syscall(SYS_close_range, 3, ~0U, 0);
        execvpe(argv[0], argv, env);
        _exit(127);
}

enum { DIES_SOMETIMES = 128 }; /* having read what it is to run */

static void serve_well(uint8_t flags)
{
        static uint8_t packet[PREWARM_PACKET_MAX];
        int fds[3], ends[2];
        char c;

        for (;;) {
                if (flags & PREWARM_KEEPS) {
                        printf("of the server\n");
                        fflush(stdout);
                } else {
                        if (pipe2(ends, O_CLOEXEC) < 0)
                                _exit(1);
                        if (!be_orphan()) {
                                close(ends[1]);
                                if (read(ends[0], &c, 1) < 0)
                                        _exit(1);
                                close(ends[0]);
                                if (recv(PREWARM_FD, &c, 1, MSG_PEEK | MSG_DONTWAIT) == 0)
                                        _exit(0);
                                continue;
                        }
                }
                say_ready(flags & PREWARM_KEEPS);
                size_t len = get_run(packet, fds);
                if ((flags & DIES_SOMETIMES) && now_ms() % 3 == 0)
                        raise(SIGKILL);
                be_command(packet, len, fds);
        }
}

static void serve_badly(const char *mode)
{
        static uint8_t packet[PREWARM_PACKET_MAX];
        int fds[3];

        if (strcmp(mode, "talks first") == 0)
                say((uint8_t[]){ PREWARM_TAKEN }, 1);
        else if (strcmp(mode, "talks nonsense") == 0)
                say("nonsense!", 9);
        else if (strcmp(mode, "sends descriptors") == 0)
                sock_send(PREWARM_FD, (uint8_t[]){ PREWARM_READY, 1 }, 2, (int[]){ 0, 1, 2 }, 3);
        else if (strcmp(mode, "is somebody else's child") == 0)
                say_ready(fork() == 0 ? 0 : PREWARM_KEEPS);
        else if (strcmp(mode, "floods") == 0)
                for (;;)
                        say_ready(PREWARM_KEEPS);
        else if (strcmp(mode, "keeps nothing") == 0)
                say_ready(0); /* the server itself, as if it were another */
        else if (strcmp(mode, "hangs up") == 0)
                say_ready(PREWARM_KEEPS), close(PREWARM_FD);
        else if (strcmp(mode, "never answers") == 0)
                say_ready(PREWARM_KEEPS), get_run(packet, fds);
        else if (strcmp(mode, "stops") == 0)
                say_ready(PREWARM_KEEPS), raise(SIGSTOP);
        else if (strcmp(mode, "answers with nonsense") == 0)
                say_ready(PREWARM_KEEPS), get_run(packet, fds), say("\7", 1);
        else if (strcmp(mode, "lets another answer") == 0) {
                say_ready(PREWARM_KEEPS);
                get_run(packet, fds);
                if (fork() == 0)
                        say((uint8_t[]){ PREWARM_TAKEN }, 1);
        } else if (strcmp(mode, "dies of it") == 0)
                say_ready(PREWARM_KEEPS), get_run(packet, fds), raise(SIGKILL);
        else if (strcmp(mode, "shuts its output") == 0)
                close(1), say_ready(PREWARM_KEEPS);
        else if (strcmp(mode, "dies at once") == 0)
                _exit(3);
        for (;;)
                pause();
}

__attribute__((constructor)) static void be_server(int argc, char **argv)
{
        if (argc < 1)
                return;
        ssize_t n = readlink("/proc/self/exe", self, sizeof(self) - 1);
        self[n < 0 ? 0 : n] = '\0';
        if (argc < 3 || strcmp(argv[1], "--prewarm") != 0)
                return;
        if (strcmp(argv[2], "well") == 0)
                serve_well(0);
        else if (strcmp(argv[2], "dies sometimes") == 0)
                serve_well(DIES_SOMETIMES);
        else if (strcmp(argv[2], "keeps") == 0)
                serve_well(PREWARM_KEEPS);
        else
                serve_badly(argv[2]);
        _exit(0);
}

static int begin_server(struct host *h, uint32_t n, const char *mode, uint8_t flags, uint32_t timeout_ms)
{
        struct guest_exec m = order(GUEST_KIND_PREWARM, flags);

        m.timeout_ms = timeout_ms;
        return begin(h, n, &m, ARGV(self, "--prewarm", mode), NULL);
}

static bool server_up(struct host *h, uint32_t n, const char *mode, uint8_t flags)
{
        return begin_server(h, n, mode, flags, 0) == 0 && WAIT_FOR(h, chan(h, n)->started || ended(h, n)) && chan(h, n)->started;
}

static bool warm_sh(struct host *h, uint32_t n, const char *script)
{
        return begin_sh(h, n, GUEST_EXEC_WARM, script) == 0 && WAIT_FOR(h, ended(h, n)) && chan(h, n)->exited;
}

TEST(warm_commands)
{
        HOST h;
        struct guest_exec m = order(GUEST_KIND_PROGRAM, GUEST_EXEC_WARM);

        CHECK(launch(&h) == 0);
        CHECK(warm_sh(&h, 1, "echo cold$WARM"));
        CHECK_STR(chan(&h, 1)->text[0], "cold\n"); /* there is no server */
        CHECK(server_up(&h, 2, "well", 0));
        CHECK(warm_sh(&h, 3, "echo warm$WARM; echo err >&2; pwd; exit 7"));
        CHECK_STR(chan(&h, 3)->text[0], "warm1\n/tmp\n");
        CHECK_STR(chan(&h, 3)->text[1], "err\n");
        CHECK_INT(chan(&h, 3)->exit.code, 7);
        CHECK(chan(&h, 3)->started && chan(&h, 3)->exit.peak_kib > 0);
        CHECK(sh(&h, 4, "echo cold$WARM")); /* nobody asked for it */
        CHECK_STR(chan(&h, 4)->text[0], "cold\n");
        CHECK(warm_sh(&h, 5, "kill -9 $$"));
        CHECK_INT(chan(&h, 5)->exit.signal, 9);
        CHECK(warm_sh(&h, 6,
                      "ls /proc/self/fd | tr '\\n' ' '; cut -d' ' -f4-6 /proc/$$/stat | tr ' ' '\\n' | uniq | wc -l; cat; echo $PPID"));
        CHECK_STR(chan(&h, 6)->text[0], "0 1 2 3 2\n1\n"); /* pid 1; and one number for group and session */
        m.cwd = (struct bytes){ (const uint8_t *)"/no/such", 8 };
        CHECK(begin(&h, 7, &m, ARGV("true"), NULL) == 0 && WAIT_FOR(&h, ended(&h, 7)));
        CHECK(chan(&h, 7)->failed); /* it refused, and the cold start said why */
        CHECK_INT(chan(&h, 7)->fail.stage, GUEST_STAGE_CWD);
        m.cwd = (struct bytes){ (const uint8_t *)"/", 1 };
        CHECK(begin(&h, 8, &m, ARGV("sh", "-c", "pwd; echo $WARM$X"), ARGV("X=y")) == 0 && WAIT_FOR(&h, ended(&h, 8)));
        CHECK_STR(chan(&h, 8)->text[0], "/\n1y\n");
        m.flags |= GUEST_EXEC_TTY;
        CHECK(begin(&h, 9, &m, ARGV("sh", "-c", "echo cold$WARM"), NULL) == 0 && WAIT_FOR(&h, ended(&h, 9)));
        CHECK_STR(chan(&h, 9)->text[0], "cold\r\n");
        CHECK(begin_server(&h, 10, "well", 0, 0) == 0 && WAIT_FOR(&h, ended(&h, 10)));
        CHECK(chan(&h, 10)->failed);
        CHECK_INT(chan(&h, 10)->fail.code, ERR_RESOURCE_EXHAUSTED); /* one is enough */
        CHECK(ping(&h) && !ended(&h, 2));
}

TEST(warm_commands_are_commands)
{
        HOST h;
        struct guest_exec m = order(GUEST_KIND_PROGRAM, GUEST_EXEC_WARM | GUEST_EXEC_STDIN);

        CHECK(launch(&h) == 0 && server_up(&h, 1, "well", 0));
        CHECK(begin(&h, 2, &m, ARGV("sh", "-c", "echo $WARM; cat"), NULL) == 0 && WAIT_FOR(&h, chan(&h, 2)->window_seen));
        send_stdin(&h, 2, "hello\n", 6);
        send_eof(&h, 2);
        CHECK(WAIT_FOR(&h, ended(&h, 2)));
        CHECK_STR(chan(&h, 2)->text[0], "1\nhello\n");
        m.flags = GUEST_EXEC_WARM;
        m.timeout_ms = 200;
        CHECK(begin(&h, 3, &m, ARGV("sh", "-c", "echo $WARM; sleep 1000 & wait"), NULL) == 0 && WAIT_FOR(&h, ended(&h, 3)));
        CHECK_STR(chan(&h, 3)->text[0], "1\n");
        CHECK(chan(&h, 3)->exit.signal == SIGKILL && chan(&h, 3)->exit.reason == GUEST_REASON_TIMEOUT);
        m.timeout_ms = 0;
        CHECK(begin(&h, 4, &m, ARGV("sh", "-c", "trap 'echo got; exit 5' TERM; echo $WARM; sleep 1000 & wait"), NULL) == 0);
        CHECK(WAIT_FOR(&h, chan(&h, 4)->next[0] >= 2));
        send_signal(&h, 4, SIGTERM, 0);
        CHECK(WAIT_FOR(&h, ended(&h, 4)));
        CHECK_STR(chan(&h, 4)->text[0], "1\ngot\n");
        CHECK_INT(chan(&h, 4)->exit.code, 5);
        CHECK(begin(&h, 5, &m, ARGV("sh", "-c", "echo $WARM; sleep 1000; :"), NULL) == 0 && WAIT_FOR(&h, chan(&h, 5)->next[0] >= 2));
        send_signal(&h, 5, SIGKILL, 1);
        CHECK(WAIT_FOR(&h, ended(&h, 5)));
        CHECK_INT(chan(&h, 5)->exit.signal, SIGKILL);
        CHECK(warm_sh(&h, 6, "grep -E '^(CapEff|NoNewPrivs)' /proc/self/status | tr -s '\\t\\n' '  '; ulimit -n; umask; echo $WARM"));
        CHECK_STR(chan(&h, 6)->text[0], "CapEff: 0000000000000000 NoNewPrivs: 1 1024\n0022\n1\n");
        if (syscall(SYS_landlock_create_ruleset, NULL, 0, 1) >= 0) {
                CHECK(warm_sh(&h, 7, "touch /tmp/creto-outside 2>/dev/null || echo refused $WARM"));
                CHECK_STR(chan(&h, 7)->text[0], "refused 1\n");
        }
        for (uint32_t i = 10; i < 40; i++)
                CHECK(begin_sh(&h, i, GUEST_EXEC_WARM, "echo $WARM; sleep 0.05") == 0);
        for (uint32_t i = 10; i < 40; i++) {
                CHECK(WAIT_FOR(&h, ended(&h, i)) && chan(&h, i)->exited);
                CHECK_STR(chan(&h, i)->text[0], "1\n");
        }
        CHECK(warm_sh(&h, 40, "head -c 3000000 /dev/zero; echo $WARM >&2"));
        CHECK_INT(chan(&h, 40)->exit.stdout_total, 3000000);
        CHECK_STR(chan(&h, 40)->text[1], "1\n");
        send_signal(&h, 1, SIGKILL, 0);
        CHECK(WAIT_FOR(&h, ended(&h, 1)));
        CHECK(warm_sh(&h, 41, "echo cold$WARM"));
        CHECK_STR(chan(&h, 41)->text[0], "cold\n");
        release(&h, 1);
        CHECK(server_up(&h, 42, "well", 0) && warm_sh(&h, 43, "echo $WARM"));
        CHECK_STR(chan(&h, 43)->text[0], "1\n");
        CHECK(sh(&h, 44,
                 "for i in $(seq 100); do n=$(cat /proc/[0-9]*/comm | grep -c unit-init); [ $n = 2 ] && break; sleep 0.1; done; echo $n"));
        CHECK_STR(chan(&h, 44)->text[0], "2\n"); /* server and standby: nothing of the server before */
}

TEST(servers_that_become_the_command)
{
        HOST h;
        struct guest_exec m = order(GUEST_KIND_PROGRAM, GUEST_EXEC_WARM | GUEST_EXEC_STDIN);

        CHECK(launch(&h) == 0 && server_up(&h, 1, "keeps", GUEST_EXEC_STDIN));
        CHECK(warm_sh(&h, 2, "echo $WARM; cat; echo err >&2; exit 3"));
        CHECK_STR(chan(&h, 2)->text[0], "1\n");
        CHECK_STR(chan(&h, 2)->text[1], "err\n");
        CHECK_INT(chan(&h, 2)->exit.code, 3);
        CHECK_INT(chan(&h, 2)->pid, chan(&h, 1)->pid);
        CHECK(WAIT_FOR(&h, ended(&h, 1)) && chan(&h, 1)->exited);
        CHECK_INT(chan(&h, 1)->exit.code, 0); /* used up */
        CHECK_STR(chan(&h, 1)->text[0], "of the server\n");
        CHECK(warm_sh(&h, 3, "echo cold$WARM"));
        CHECK_STR(chan(&h, 3)->text[0], "cold\n");
        CHECK(server_up(&h, 4, "keeps", GUEST_EXEC_STDIN));
        CHECK(begin(&h, 5, &m, ARGV("sh", "-c", "echo $WARM; cat"), NULL) == 0 && WAIT_FOR(&h, chan(&h, 5)->window_seen));
        send_stdin(&h, 5, "in\n", 3);
        send_eof(&h, 5);
        CHECK(WAIT_FOR(&h, ended(&h, 5)));
        CHECK_STR(chan(&h, 5)->text[0], "1\nin\n");
        CHECK(server_up(&h, 6, "keeps", 0)); /* which has no input to give */
        CHECK(begin(&h, 7, &m, ARGV("sh", "-c", "echo cold$WARM; cat"), NULL) == 0 && WAIT_FOR(&h, chan(&h, 7)->window_seen));
        send_eof(&h, 7);
        CHECK(WAIT_FOR(&h, ended(&h, 7)));
        CHECK_STR(chan(&h, 7)->text[0], "cold\n");
        CHECK(warm_sh(&h, 8, "echo $WARM"));
        CHECK_STR(chan(&h, 8)->text[0], "1\n");
        CHECK(ping(&h));
}

TEST(bad_servers)
{
        static const char *const modes[] = {
                "talks first",
                "talks nonsense",
                "sends descriptors",
                "is somebody else's child",
                "floods",
                "keeps nothing",
                "hangs up",
                "never answers",
                "stops",
                "answers with nonsense",
                "lets another answer",
                "dies of it",
                "shuts its output",
                "dies at once",
        };
        HOST h;

        CHECK(launch(&h) == 0);
        for (uint32_t i = 0; i < sizeof(modes) / sizeof(modes[0]); i++) {
                uint32_t n = 1 + 4 * i;

                CHECK(begin_server(&h, n, modes[i], GUEST_EXEC_STDIN, 1000) == 0);
                CHECK(WAIT_FOR(&h, chan(&h, n)->started || ended(&h, n)));
                CHECK(warm_sh(&h, n + 1, "echo cold$WARM"));
                if (strcmp(chan(&h, n + 1)->text[0], "cold\n") != 0)
                        printf("# a server that %s\n", modes[i]);
                CHECK_STR(chan(&h, n + 1)->text[0], "cold\n");
                CHECK(ping(&h));
                send_signal(&h, n, SIGKILL, 0);
                CHECK(WAIT_FOR(&h, ended(&h, n)));
                CHECK(sh(&h, n + 2, "echo $WARM"));
                release(&h, n);
        }
        CHECK(server_up(&h, 200, "well", 0) && warm_sh(&h, 201, "echo $WARM"));
        CHECK_STR(chan(&h, 201)->text[0], "1\n");
}

/* Whatever becomes of a standby, each command runs once: by the next, or cold. */
TEST(standbys_that_die)
{
        HOST h;
        uint32_t n = 0, server = 0, warm = 0, seen = 0;
        char script[256];

        CHECK(launch(&h) == 0);
        while (n < 200) {
                if (!server || ended(&h, server))
                        CHECK(server_up(&h, server = ++n, "dies sometimes", 0));
                snprintf(script, sizeof(script), "echo %u >> %s/ran; echo w$WARM", ++seen, scratch);
                CHECK(warm_sh(&h, ++n, script));
                warm += strcmp(chan(&h, n)->text[0], "w1\n") == 0;
                release(&h, n);
        }
        CHECK(warm > 10 && warm < seen);
        snprintf(script, sizeof(script), "sort -n %s/ran | uniq | wc -l; wc -l < %s/ran", scratch, scratch);
        CHECK(sh(&h, ++n, script));
        snprintf(script, sizeof(script), "%u\n%u\n", seen, seen);
        CHECK_STR(chan(&h, n)->text[0], script);
}

TEST(servers_that_are_not_ready)
{
        HOST h;
        struct guest_exec m = order(GUEST_KIND_PREWARM, 0);

        CHECK(launch(&h) == 0);
        CHECK(begin_server(&h, 1, "waits", 0, 200) == 0 && WAIT_FOR(&h, ended(&h, 1)));
        CHECK(!chan(&h, 1)->started && chan(&h, 1)->exited && chan(&h, 1)->exit.reason == GUEST_REASON_TIMEOUT);
        CHECK(begin(&h, 2, &m, ARGV("sh", "-c", "echo why >&2; exit 4"), NULL) == 0 && WAIT_FOR(&h, ended(&h, 2)));
        CHECK(!chan(&h, 2)->started && chan(&h, 2)->exited && chan(&h, 2)->exit.code == 4);
        CHECK_STR(chan(&h, 2)->text[1], "why\n");
        CHECK(begin(&h, 3, &m, ARGV("no-such-server"), NULL) == 0 && WAIT_FOR(&h, ended(&h, 3)));
        CHECK(chan(&h, 3)->failed);
        CHECK_INT(chan(&h, 3)->fail.stage, GUEST_STAGE_EXEC);
        CHECK(begin(&h, 4, &m, NULL, NULL) == 0 && WAIT_FOR(&h, ended(&h, 4)) && chan(&h, 4)->failed);
        m.flags = GUEST_EXEC_TTY;
        CHECK(begin(&h, 5, &m, ARGV("true"), NULL) == 0 && WAIT_FOR(&h, ended(&h, 5)) && chan(&h, 5)->failed);
        CHECK(begin_server(&h, 6, "waits", 0, 0) == 0);
        uint64_t start = now_ms();
        for (uint32_t i = 7; i < 57; i++) { /* only the first of them waits for a standby */
                CHECK(warm_sh(&h, i, "echo cold$WARM"));
                CHECK_STR(chan(&h, i)->text[0], "cold\n");
        }
        CHECK(now_ms() - start < 50ULL * PREWARM_READY_MS);
}

TEST(warm_after_another_hello)
{
        HOST h;
        struct boot_config c;
        char path[96];

        host_init(&h);
        snprintf(path, sizeof(path), "%s/warm", scratch);
        struct sockaddr_un a = { .sun_family = AF_UNIX };
        snprintf(a.sun_path, sizeof(a.sun_path), "%s", path);
        int listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
        CHECK(bind(listener, (struct sockaddr *)&a, sizeof(a)) == 0 && listen(listener, 8) == 0);
        tune_config(&c, BOOT_ONE_UID | BOOT_LISTEN);
        CHECK(launch_with(&h, listener, &c) == 0);
        close(listener);
        CHECK(dial(&h, path) == 0 && hello(&h, 1) == 0 && WAIT_FOR(&h, h.hello_ok));
        CHECK(server_up(&h, 1, "well", 0) && begin_server(&h, 2, "well", 0, 0) == 0 && WAIT_FOR(&h, ended(&h, 2)));
        CHECK(warm_sh(&h, 3, "echo $WARM"));
        chan(&h, 1)->started = false;
        CHECK(dial(&h, path) == 0 && hello(&h, 2) == 0 && WAIT_FOR(&h, h.hello_ok));
        bool found = false;
        for (uint32_t i = 0; i < h.ok.count; i++)
                if (h.ok.channels[i].channel == 1)
                        found = h.ok.channels[i].state == (GUEST_STATE_RUNNING | GUEST_STATE_PREWARM);
                else
                        CHECK(!(h.ok.channels[i].state & GUEST_STATE_PREWARM));
        CHECK(found && WAIT_FOR(&h, chan(&h, 1)->started));
        CHECK(warm_sh(&h, 4, "echo $WARM"));
        CHECK_STR(chan(&h, 4)->text[0], "1\n");
        send_frame(&h, GUEST_SHUTDOWN, 0, 0, NULL, 0);
}

TEST(the_example)
{
        HOST h;
        struct guest_exec m = order(GUEST_KIND_PREWARM, 0), run = order(GUEST_KIND_PROGRAM, GUEST_EXEC_WARM);

        CHECK(launch(&h) == 0);
        CHECK(begin(&h, 1, &m, ARGV(PREWARM_EXAMPLE, "--serve"), NULL) == 0 && WAIT_FOR(&h, chan(&h, 1)->started || ended(&h, 1)));
        CHECK(chan(&h, 1)->started);
        for (uint32_t i = 2; i < 12; i++) {
                CHECK(begin(&h, i, &run, ARGV(PREWARM_EXAMPLE, "100", "1000"), NULL) == 0 && WAIT_FOR(&h, ended(&h, i)));
                CHECK_STR(chan(&h, i)->text[0], "25\n168\n");
                CHECK_INT(chan(&h, i)->exit.code, 0);
                CHECK(chan(&h, i)->exit.user_us + chan(&h, i)->exit.system_us < 1000000);
        }
        CHECK(begin(&h, 12, &run, ARGV(PREWARM_EXAMPLE, "9999999"), NULL) == 0 && WAIT_FOR(&h, ended(&h, 12)));
        CHECK_INT(chan(&h, 12)->exit.code, 2);
        CHECK_STR(chan(&h, 12)->text[1], "9999999 is more than 5000000\n");
        run.cwd = (struct bytes){ (const uint8_t *)"/no/such", 8 };
        CHECK(begin(&h, 13, &run, ARGV(PREWARM_EXAMPLE, "1"), NULL) == 0 && WAIT_FOR(&h, ended(&h, 13)) && chan(&h, 13)->failed);
        send_signal(&h, 1, SIGKILL, 0);
        CHECK(WAIT_FOR(&h, ended(&h, 1)));
        run.cwd = (struct bytes){ 0 };
        CHECK(begin(&h, 14, &run, ARGV(PREWARM_EXAMPLE, "100"), NULL) == 0 && WAIT_FOR(&h, ended(&h, 14)));
        CHECK_STR(chan(&h, 14)->text[0], "25\n");
}

__attribute__((destructor)) static void sweep(void)
{
        char command[128];

        if (scratch[0]) {
                snprintf(command, sizeof(command), "rm -rf %s", scratch);
                if (system(command) != 0)
                        printf("# %s is left\n", scratch);
        }
}
