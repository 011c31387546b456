/* The guest protocol's codec: round trips, every limit, and every truncation of every message. */
#include "wire/guest.h"

#include "base/err.h"
#include "test.h"

static uint8_t mem[4 * GUEST_EXEC_MAX];

static struct wbuf fresh(void)
{
        return wbuf_over(mem, sizeof(mem));
}

static struct bytes written(const struct wbuf *w)
{
        return (struct bytes){ w->data, w->len };
}

/*
 * Decodes the message in a block of exactly its size (so that a sanitizer sees the first byte beyond), every beginning of it, and it with
 * one byte more. Returns true where only the whole was taken.
 */
static bool exact(const struct wbuf *w, int (*get)(struct bytes payload))
{
        bool right = !w->bad;

        for (size_t len = 0; len <= w->len + 1; len++) {
                uint8_t *copy = malloc(len ? len : 1);

                memset(copy, 0, len ? len : 1);
                memcpy(copy, w->data, len < w->len ? len : w->len);
                if ((get((struct bytes){ copy, len }) == 0) != (len == w->len))
                        right = false;
                free(copy);
        }
        return right;
}

/* For messages that end in bytes: any beginning from `least` on is one too. */
static bool open_ended(const struct wbuf *w, size_t least, int (*get)(struct bytes payload))
{
        bool right = !w->bad;

        for (size_t len = 0; len <= w->len; len++)
                if ((get((struct bytes){ w->data, len }) == 0) != (len >= least))
                        right = false;
        return right;
}

TEST(frames)
{
        uint8_t b[64];
        struct wbuf w = wbuf_over(b, sizeof(b));
        struct guest_frame f;
        size_t used;

        guest_frame_put(&w, GUEST_EXEC, GUEST_MORE, 0x01020304, "abc", 3);
        CHECK(!w.bad);
        CHECK_INT(w.len, GUEST_HEADER + 3);
        for (size_t len = 0; len < w.len; len++) {
                CHECK_INT(guest_frame_parse(b, len, 3, &f, &used), 0);
                CHECK_INT(used, len < 4 ? 0 : w.len);
        }
        CHECK_INT(guest_frame_parse(b, sizeof(b), 3, &f, &used), 1);
        CHECK_INT(used, w.len);
        CHECK(f.type == GUEST_EXEC && f.flags == GUEST_MORE && f.channel == 0x01020304);
        CHECK(f.payload.len == 3 && memcmp(f.payload.data, "abc", 3) == 0);
        CHECK_INT(guest_frame_parse(b, 4, 2, &f, &used), -1); /* longer than the maximum; known early */
        b[6] = 2;
        CHECK_INT(guest_frame_parse(b, sizeof(b), 3, &f, &used), -1);
        b[6] = 0;
        b[7] = 1;
        CHECK_INT(guest_frame_parse(b, sizeof(b), 3, &f, &used), -1);
        memset(b, 0xff, sizeof(b));
        CHECK_INT(guest_frame_parse(b, sizeof(b), GUEST_FRAME_MAX, &f, &used), -1);
}

TEST(frames_that_do_not_fit)
{
        uint8_t b[GUEST_HEADER + 4];
        struct wbuf w = wbuf_over(b, sizeof(b));

        guest_frame_put(&w, GUEST_PING, 0, 0, "12345", 5);
        CHECK(w.bad);
        CHECK_INT(w.len, 0); /* not even the header */
        w = wbuf_over(b, sizeof(b));
        guest_frame_put(&w, GUEST_PING, 0, 0, "1234", 4);
        CHECK(!w.bad);
        w = fresh();
        guest_frame_put(&w, GUEST_EXEC, 0, 1, mem, GUEST_FRAME_MAX + 1);
        CHECK(w.bad);
}

static struct guest_hello hello;
static int get_hello(struct bytes p)
{
        return guest_get_hello(p, &hello);
}

TEST(hello_message)
{
        struct wbuf w = fresh();
        static const struct {
                uint32_t max;
                int r;
        } cases[] = { { GUEST_FRAME_MIN_MAX, 0 }, { GUEST_FRAME_MAX, 0 }, { GUEST_FRAME_MIN_MAX - 1, -1 }, { GUEST_FRAME_MAX + 1, -1 } };

        guest_put_hello(&w, &(struct guest_hello){ 1, 4096, 0x1122334455667788 });
        CHECK(exact(&w, get_hello));
        CHECK(get_hello(written(&w)) == 0 && hello.version == 1 && hello.max_frame == 4096 && hello.epoch == 0x1122334455667788);
        for (size_t i = 0; i < 4; i++) {
                w = fresh();
                guest_put_hello(&w, &(struct guest_hello){ 1, cases[i].max, 0 });
                CHECK_INT(get_hello(written(&w)), cases[i].r);
        }
}

static struct guest_hello_ok hello_ok;
static int get_hello_ok(struct bytes p)
{
        return guest_get_hello_ok(p, &hello_ok);
}

TEST(hello_ok_message)
{
        static struct guest_hello_ok m = {
                .version = 1, .max_frame = GUEST_FRAME_MAX, .epoch = 3, .last = GUEST_EXECS_MAX, .count = GUEST_EXECS_MAX
        };
        struct wbuf w = fresh();

        for (uint32_t i = 0; i < GUEST_EXECS_MAX; i++)
                m.channels[i] = (struct guest_channel_state){ i + 1, (uint8_t)(1 + i % 2), i, 2 * i, UINT64_MAX - i };
        memset(m.bound, 0xb0, sizeof(m.bound));
        guest_put_hello_ok(&w, &m);
        CHECK_INT(w.len, 40 + 29 * GUEST_EXECS_MAX);
        CHECK(GUEST_FRAME_MIN_MAX >= w.len);
        CHECK(exact(&w, get_hello_ok));
        CHECK(get_hello_ok(written(&w)) == 0 && hello_ok.channels[127].stderr_acked == UINT64_MAX - 127);
        CHECK(memcmp(hello_ok.bound, m.bound, GUEST_CLAIM) == 0);
        mem[44] = 3; /* no such state */
        CHECK_INT(get_hello_ok(written(&w)), -1);
        mem[44] = 1;
        memset(mem + 40, 0, 4); /* channel 0 is no exec */
        CHECK_INT(get_hello_ok(written(&w)), -1);
        m.count++;
        w = fresh();
        guest_put_hello_ok(&w, &m);
        CHECK(w.bad);
        memset(mem, 0xff, 40);
        CHECK_INT(get_hello_ok((struct bytes){ mem, 40 + 29 * GUEST_EXECS_MAX }), -1);
}

static uint8_t claim[GUEST_CLAIM];
static int get_claim(struct bytes p)
{
        return guest_get_claim(p, claim);
}

TEST(claim_message)
{
        const uint8_t one[GUEST_CLAIM] = { [GUEST_CLAIM - 1] = 1 }, none[GUEST_CLAIM] = { 0 };
        struct wbuf w = fresh();

        guest_put_claim(&w, one);
        CHECK_INT(w.len, GUEST_CLAIM);
        CHECK(exact(&w, get_claim));
        CHECK(get_claim(written(&w)) == 0 && memcmp(claim, one, GUEST_CLAIM) == 0);
        CHECK(!guest_claim_is_none(one) && guest_claim_is_none(none));
        w = fresh();
        guest_put_claim(&w, none);
        CHECK_INT(get_claim(written(&w)), -1);
}

static struct guest_exec exec;
static int get_exec(struct bytes p)
{
        return guest_get_exec(p, &exec);
}

static struct guest_exec plain(void)
{
        return (struct guest_exec){ .uid = GUEST_ID_LOOKUP, .gid = 7 };
}

TEST(exec_request)
{
        struct guest_exec m = plain();
        struct wbuf w = fresh();

        m.kind = GUEST_KIND_WRITE;
        m.flags = GUEST_EXEC_TTY | GUEST_EXEC_STDIN;
        m.rows = 24;
        m.cols = 300;
        m.timeout_ms = 77;
        m.user = (struct bytes){ (const uint8_t *)"ann:staff", 9 };
        m.cwd = (struct bytes){ (const uint8_t *)"/", 1 };
        guest_put_exec(&w, &m, (const char *const[]){ "a", "", "ccc", NULL }, (const char *const[]){ "A=", "B=x=y", NULL });
        CHECK(exact(&w, get_exec));
        CHECK_INT(get_exec(written(&w)), 0);
        CHECK(exec.kind == m.kind && exec.flags == m.flags && exec.rows == 24 && exec.cols == 300 && exec.timeout_ms == 77);
        CHECK(exec.user.len == 9 && exec.cwd.len == 1 && exec.uid == GUEST_ID_LOOKUP && exec.gid == 7);
        CHECK_INT(exec.argc, 3);
        CHECK_INT(exec.envc, 2);
        CHECK_INT(guest_exec_next(&exec.args).len, 1);
        CHECK_INT(guest_exec_next(&exec.args).len, 0);
        CHECK(memcmp(guest_exec_next(&exec.args).data, "ccc", 3) == 0);
        CHECK(rbuf_done(&exec.args));
        CHECK_INT(guest_exec_next(&exec.envs).len, 2);
        CHECK_INT(guest_exec_next(&exec.envs).len, 5);
        CHECK(rbuf_done(&exec.envs));
}

static int with_strings(const char *const *argv, const char *const *env)
{
        struct guest_exec m = plain();
        struct wbuf w = fresh();

        guest_put_exec(&w, &m, argv, env);
        return w.bad ? -2 : get_exec(written(&w));
}

static int with_header(uint8_t kind, uint8_t flags, size_t user, size_t cwd)
{
        static uint8_t text[GUEST_PATH_MAX + 2];
        struct guest_exec m = plain();
        struct wbuf w = fresh();

        memset(text, 'p', sizeof(text));
        m.kind = kind;
        m.flags = flags;
        m.user = (struct bytes){ text, user };
        m.cwd = (struct bytes){ text, cwd };
        guest_put_exec(&w, &m, NULL, NULL);
        return get_exec(written(&w));
}

TEST(exec_header_limits)
{
        CHECK_INT(with_header(0, 0, 0, 0), 0);
        CHECK_INT(with_header(GUEST_KIND_COUNT - 1, 7, GUEST_USER_MAX, GUEST_PATH_MAX), 0);
        CHECK_INT(with_header(GUEST_KIND_COUNT, 0, 0, 0), -1);
        CHECK_INT(with_header(0, 16, 0, 0), -1);
        CHECK_INT(with_header(0, 0, GUEST_USER_MAX + 1, 0), -1);
        CHECK_INT(with_header(0, 0, 0, GUEST_PATH_MAX + 1), -1);
}

TEST(exec_string_limits)
{
        static char text[GUEST_STR_MAX + 2];
        static const char *many[GUEST_ARG_MAX + 2];

        memset(text, 'x', sizeof(text) - 1);
        CHECK_INT(with_strings((const char *const[]){ text, NULL }, NULL), -1);
        text[GUEST_STR_MAX] = '\0';
        CHECK_INT(with_strings((const char *const[]){ text, NULL }, NULL), 0);
        CHECK_INT(with_strings(NULL, (const char *const[]){ "A", NULL }), -1);
        CHECK_INT(with_strings(NULL, (const char *const[]){ "", NULL }), -1);
        CHECK_INT(with_strings(NULL, (const char *const[]){ "=x", NULL }), -1);
        CHECK_INT(with_strings(NULL, (const char *const[]){ "A=", NULL }), 0);
        for (size_t i = 0; i < GUEST_ARG_MAX + 1; i++)
                many[i] = "A=";
        CHECK_INT(with_strings(many, NULL), -1);
        many[GUEST_ARG_MAX] = NULL;
        CHECK_INT(with_strings(many, NULL), 0);
        many[GUEST_ENV_MAX + 1] = NULL;
        CHECK_INT(with_strings(NULL, many), -1);
        many[GUEST_ENV_MAX] = NULL;
        CHECK_INT(with_strings(NULL, many), 0);
        for (size_t i = 0; i < 9; i++)
                many[i] = text;
        many[8] = NULL; /* each fits; all together do not */
        CHECK_INT(with_strings(many, NULL), -1);
}

TEST(exec_strings_have_no_nul)
{
        struct guest_exec m = plain();
        struct wbuf w = fresh();

        guest_put_exec(&w, &m, (const char *const[]){ "ab", NULL }, NULL);
        uint8_t *at = memmem(mem, w.len, "ab", 2);
        CHECK(at);
        *at = 0;
        CHECK_INT(get_exec(written(&w)), -1);
}

static struct guest_data data;
static int get_stdin(struct bytes p)
{
        return guest_get_stdin(p, &data);
}
static int get_output(struct bytes p)
{
        return guest_get_output(p, &data);
}

TEST(data_messages)
{
        struct wbuf w = fresh();

        guest_put_stdin(&w, 99, "abc", 3);
        CHECK(open_ended(&w, 9, get_stdin));
        CHECK(get_stdin(written(&w)) == 0 && data.stream == 0 && data.offset == 99 && data.bytes.len == 3);
        w = fresh();
        guest_put_output(&w, GUEST_STDERR, 5, "xy", 2);
        CHECK(open_ended(&w, 10, get_output));
        CHECK(get_output(written(&w)) == 0 && data.stream == GUEST_STDERR && data.offset == 5 && memcmp(data.bytes.data, "xy", 2) == 0);
        mem[0] = 0;
        CHECK_INT(get_output(written(&w)), -1);
        mem[0] = 3;
        CHECK_INT(get_output(written(&w)), -1);
        w = fresh();
        guest_put_stdin(&w, UINT64_MAX - 1, "abc", 3); /* the offset behind it overflows */
        CHECK_INT(get_stdin(written(&w)), -1);
}

static uint8_t small;
static uint16_t pair[2];
static uint32_t word;
static uint64_t number;
static char text_out[16];
static int get_ack(struct bytes p)
{
        return guest_get_ack(p, &small, &number);
}
static int get_signal(struct bytes p)
{
        return guest_get_signal(p, &word, &small);
}
static int get_resize(struct bytes p)
{
        return guest_get_resize(p, &pair[0], &pair[1]);
}
static int get_u64(struct bytes p)
{
        return guest_get_u64(p, &number);
}
static int get_u32(struct bytes p)
{
        return guest_get_u32(p, &word);
}
static int get_text(struct bytes p)
{
        return guest_get_text(p, text_out, sizeof(text_out));
}

static int signal_of(uint32_t signo, uint8_t scope)
{
        struct wbuf w = fresh();

        guest_put_signal(&w, signo, scope);
        return get_signal(written(&w));
}

TEST(small_messages)
{
        struct wbuf w = fresh();

        guest_put_ack(&w, GUEST_STDOUT, 1ULL << 40);
        CHECK(exact(&w, get_ack) && get_ack(written(&w)) == 0 && small == GUEST_STDOUT && number == 1ULL << 40);
        mem[0] = 0;
        CHECK_INT(get_ack(written(&w)), -1);
        w = fresh();
        guest_put_signal(&w, 15, 1);
        CHECK(exact(&w, get_signal) && get_signal(written(&w)) == 0 && word == 15 && small == 1);
        CHECK(signal_of(1, 0) == 0 && signal_of(64, 1) == 0 && signal_of(0, 0) < 0 && signal_of(65, 0) < 0 && signal_of(9, 2) < 0);
        w = fresh();
        guest_put_resize(&w, 24, 65535);
        CHECK(exact(&w, get_resize) && get_resize(written(&w)) == 0 && pair[0] == 24 && pair[1] == 65535);
        w = fresh();
        guest_put_u64(&w, UINT64_MAX);
        CHECK(exact(&w, get_u64) && get_u64(written(&w)) == 0 && number == UINT64_MAX);
        w = fresh();
        guest_put_u32(&w, 0x80000001);
        CHECK(exact(&w, get_u32) && get_u32(written(&w)) == 0 && word == 0x80000001);
        w = fresh();
        guest_put_text(&w, "fifteen letters");
        CHECK(exact(&w, get_text) && get_text(written(&w)) == 0);
        CHECK_STR(text_out, "fifteen letters");
        w = fresh();
        guest_put_text(&w, "sixteen letters!");
        CHECK_INT(get_text(written(&w)), -1);
}

static struct guest_exit ended;
static int get_exit(struct bytes p)
{
        return guest_get_exit(p, &ended);
}

static int exit_of(int32_t code, int32_t signo, uint32_t reason)
{
        struct wbuf w = fresh();

        guest_put_exit(&w, &(struct guest_exit){ .code = code, .signal = signo, .reason = reason });
        return get_exit(written(&w));
}

TEST(exit_message)
{
        struct wbuf w = fresh();

        guest_put_exit(&w, &(struct guest_exit){ -1, 9, 1, 2, 3, 4, 5, 6, 7, 8 });
        CHECK_INT(w.len, 68);
        CHECK(exact(&w, get_exit) && get_exit(written(&w)) == 0);
        CHECK(ended.code == -1 && ended.signal == 9 && ended.reason == 1 && ended.stdout_total == 2 && ended.stderr_total == 3);
        CHECK(ended.dropped == 4 && ended.user_us == 5 && ended.system_us == 6 && ended.peak_kib == 7 && ended.refused == 8);
        CHECK(exit_of(0, 0, 0) == 0 && exit_of(255, 0, 7) == 0 && exit_of(-1, 64, 0) == 0);
        CHECK(exit_of(256, 0, 0) < 0 && exit_of(-1, 0, 0) < 0 && exit_of(0, 9, 0) < 0 && exit_of(-1, 65, 0) < 0 && exit_of(0, 0, 32) < 0);
}

static struct guest_failed failed;
static int get_failed(struct bytes p)
{
        return guest_get_failed(p, &failed);
}

TEST(failed_message)
{
        struct guest_failed m = { .code = ERR_TIMEOUT, .sys = 2, .stage = GUEST_STAGE_CWD, .message = "no" };
        struct wbuf w = fresh();

        guest_put_failed(&w, &m);
        CHECK(exact(&w, get_failed) && get_failed(written(&w)) == 0);
        CHECK(failed.code == ERR_TIMEOUT && failed.sys == 2 && failed.stage == GUEST_STAGE_CWD);
        CHECK_STR(failed.message, "no");
        memset(m.message, 'x', sizeof(m.message)); /* not ended */
        w = fresh();
        guest_put_failed(&w, &m);
        CHECK(get_failed(written(&w)) == 0 && strlen(failed.message) == sizeof(m.message) - 1);
        mem[8] = GUEST_STAGE_SYSTEM + 1;
        CHECK_INT(get_failed(written(&w)), -1);
        mem[8] = 0;
        mem[0] = ERR_CODE_COUNT;
        CHECK_INT(get_failed(written(&w)), -1);
        mem[0] = 0;
        CHECK_INT(get_failed(written(&w)), -1);
}

static struct guest_stats stats;
static int get_stats(struct bytes p)
{
        return guest_get_stats(p, &stats);
}

TEST(stats_message)
{
        struct guest_stats m = { 1, 2, 3, 4, 5, 6, GUEST_CALLS_MAX, { { 0, 0 } } };
        struct wbuf w = fresh();

        for (uint32_t i = 0; i < GUEST_CALLS_MAX; i++)
                m.calls[i] = (struct guest_call_count){ i, i * 2 };
        guest_put_stats(&w, &m);
        CHECK(w.len <= GUEST_FRAME_MIN_MAX);
        CHECK(exact(&w, get_stats) && get_stats(written(&w)) == 0);
        CHECK(stats.disk_total == 1 && stats.inodes_free == 4 && stats.processes == 5 && stats.violations == 6);
        CHECK_INT(stats.calls[63].times, 126);
        m.count++;
        w = fresh();
        guest_put_stats(&w, &m);
        CHECK(w.bad);
        CHECK_INT(get_stats(written(&w)), -1);
}
