/* ttrpc, against bytes that containerd-shim-runc-v2 1.6.20 sent and took; and the conversation of creto-shim with such a shim. */
#include "test.h"

#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/sock.h"
#include "programs/shim/task.h"
#include "wire/ttrpc.h"

#define ID "sb-5c05a3edae7a"
#define BYTES(text) ((const uint8_t *)(text)), (sizeof(text) - 1)

static const char create[] = "\0\0\0\x8a\0\0\0\x01\x01\0\n\x17"
                             "containerd.task.v2.Task\x12\x06"
                             "Create\x1ag\n\x0f" ID "\x12\x04/tmp*\n/tmp/stdin2\x0b/tmp/stdout:\x08/tmp/logR+\n\x1a"
                             "containerd.runc.v1.Options\x12\r2\x0b/tmp/engine";
static const char created[] = "\0\0\0\x06\0\0\0\x01\x02\0\x12\x04\x08\x86\x8f\x01";
static const char start[] = "\0\0\0\x33\0\0\0\x03\x01\0\n\x17"
                            "containerd.task.v2.Task\x12\x05Start\x1a\x11\n\x0f" ID;
static const char started[] = "\0\0\0\x06\0\0\0\x03\x02\0\x12\x04\x08\x86\x8f\x01";
static const char wait[] = "\0\0\0\x32\0\0\0\x05\x01\0\n\x17"
                           "containerd.task.v2.Task\x12\x04Wait\x1a\x11\n\x0f" ID;
static const char waited[] = "\0\0\0\x13\0\0\0\x05\x02\0\x12\x11\x08\x89\x01\x12\x0c\x08\xca\x9f\xb6\xd8\x06\x10\xee\xe9\x9c\xa6\x01";
static const char refused[] = "\0\0\0\x2a\0\0\0\x01\x02\0\n\x28\x08\x02\x12\x24OCI runtime create failed:\nno engine";
static const char event[] = "\0\0\0\xbd\0\0\0\x03\x01\0\n*containerd.services.events.ttrpc.v1.Events\x12\x07"
                            "Forward\x1a[\nY\n\x0c\x08\xc7\x9f\xb6\xd8\x06\x10\xad\xdf\x87\x91\x02\x12\x05"
                            "creto\x1a\x0c/tasks/start\"4\n\x1b"
                            "containerd.events.TaskStart\x12\x15\n\x0f" ID "\x10\x86\x8f\x01 \x96\xfd\x8f\xd0\x12*#\n\x1a"
                            "containerd-namespace-ttrpc\x12\x05"
                            "creto";
static const struct task_create request = {
        ID, "/tmp", "/tmp/stdin", "/tmp/stdout", "/tmp/log", "containerd.runc.v1.Options", "/tmp/engine", 6
};

/* ---- bytes ---- */

TEST(requests_are_as_a_shim_takes_them)
{
        uint8_t room[TTRPC_MESSAGE_MAX];
        struct wbuf w = wbuf_over(room, sizeof(room));

        task_put_create(&w, 1, &request);
        CHECK(!w.bad && w.len == sizeof(create) - 1 && memcmp(room, create, w.len) == 0);
        w = wbuf_over(room, sizeof(room));
        task_put_call(&w, 3, "Start", ID);
        CHECK(!w.bad && w.len == sizeof(start) - 1 && memcmp(room, start, w.len) == 0);
        w = wbuf_over(room, sizeof(room));
        task_put_call(&w, 5, "Wait", ID);
        CHECK(!w.bad && w.len == sizeof(wait) - 1 && memcmp(room, wait, w.len) == 0);
        w = wbuf_over(room, sizeof(room));
        ttrpc_put_empty(&w, 7);
        CHECK(!w.bad && w.len == 10 && memcmp(room, "\0\0\0\0\0\0\0\x07\x02\0", 10) == 0);
}

TEST(requests_that_do_not_fit)
{
        static char text[TTRPC_STRING_MAX + 2];
        uint8_t room[TTRPC_MESSAGE_MAX];
        struct task_create c = request;
        struct wbuf w = wbuf_over(room, 20);

        task_put_create(&w, 1, &c);
        CHECK(w.bad);
        memset(text, 'x', sizeof(text) - 1);
        w = wbuf_over(room, sizeof(room));
        task_put_call(&w, 1, "Start", text);
        CHECK(w.bad);
        c.option = text;
        w = wbuf_over(room, sizeof(room));
        task_put_create(&w, 1, &c);
        CHECK(w.bad);
        text[TTRPC_STRING_MAX] = '\0';
        c.option = "";
        c.id = c.bundle = c.in = text;
        w = wbuf_over(room, sizeof(room));
        task_put_create(&w, 1, &c);
        CHECK(w.bad);
}

TEST(answers_of_a_shim)
{
        struct ttrpc_response r;
        struct ttrpc_frame f;
        uint32_t status = 0;
        size_t used;

        CHECK_INT(ttrpc_parse(BYTES(created), &f, &used), 1);
        CHECK(used == sizeof(created) - 1 && f.stream == 1 && f.type == TTRPC_RESPONSE && ttrpc_get_response(f.payload, &r) == 0);
        CHECK(r.code == 0 && r.message.len == 0 && r.payload.len == 4);
        CHECK_INT(ttrpc_parse(BYTES(waited), &f, &used), 1);
        CHECK(f.stream == 5 && ttrpc_get_response(f.payload, &r) == 0 && task_get_wait(r.payload, &status) == 0);
        CHECK_INT(status, 137);
        CHECK_INT(ttrpc_parse(BYTES(refused), &f, &used), 1);
        CHECK(ttrpc_get_response(f.payload, &r) == 0 && r.code == 2 && r.message.len == 36 &&
              memcmp(r.message.data, "OCI runtime", 11) == 0);
        CHECK_INT(ttrpc_parse(BYTES(event), &f, &used), 1);
        CHECK(f.type == TTRPC_REQUEST && f.stream == 3 && used == sizeof(event) - 1);
}

TEST(frames_come_in_pieces)
{
        struct ttrpc_frame f;
        size_t used;

        for (size_t n = 0; n < sizeof(event) - 1; n++)
                CHECK_INT(ttrpc_parse((const uint8_t *)event, n, &f, &used), 0);
}

TEST(what_is_no_frame)
{
        struct ttrpc_frame f;
        size_t used;

        CHECK_INT(ttrpc_parse(BYTES("\0\x01\0\x01\0\0\0\x01\x02\0"), &f, &used), -1); /* longer than is taken */
        CHECK_INT(ttrpc_parse(BYTES("\0\x01\0\0\0\0\0\x01\x02\0"), &f, &used), 0);    /* as long as is taken */
        CHECK_INT(ttrpc_parse(BYTES("\xff\xff\xff\xff\0\0\0\x01\x02\0"), &f, &used), -1);
        CHECK_INT(ttrpc_parse(BYTES("\0\0\0\0\0\0\0\x01\x03\0"), &f, &used), -1); /* no such type */
        CHECK_INT(ttrpc_parse(BYTES("HTTP/1.1 400 Bad Request\r\n"), &f, &used), -1);
}

TEST(what_is_no_message)
{
        static const struct {
                const char *bytes;
                size_t len;
        } bad[] = {
                { "\x12", 1 },                                                  /* ends after a tag */
                { "\x12\x05xx", 4 },                                            /* a length beyond the end */
                { "\x12\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01", 11 },         /* the longest there is */
                { "\x08\xff\xff\xff\xff\xff\xff\xff\xff\xff\x02", 11 },         /* more than 64 bits */
                { "\x08\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01", 13 }, /* a number without end */
                { "\x02\x00", 2 },                                              /* field 0 */
                { "\x0b\x0c", 2 },                                              /* a group */
                { "\x09xxxxxxx", 8 },                                           /* seven bytes of eight */
                { "\x0a\x02\x08", 3 },                                          /* a status that is longer than the message */
                { "\x0a\x01\x08", 3 },                                          /* and one that ends too soon */
        };
        struct ttrpc_response r;

        for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
                CHECK_INT(ttrpc_get_response((struct bytes){ (const uint8_t *)bad[i].bytes, bad[i].len }, &r), -1);
        /* what is not known is passed over, whatever it is */
        CHECK_INT(ttrpc_get_response((struct bytes){ (const uint8_t *)"\x1dxxxx\x19yyyyyyyy\x32\x01z\x40\x01\x12\x01p", 22 }, &r), 0);
        CHECK(r.payload.len == 1 && r.payload.data[0] == 'p');
}

/* ---- a conversation ---- */

static struct task task;
static int shim, events;
static uint64_t now;

static int listening(void)
{
        const struct sockaddr_un any = { .sun_family = AF_UNIX }; /* a name of the kernel's choice */
        int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

        return bind(fd, (const struct sockaddr *)&any, sizeof(any.sun_family)) < 0 || listen(fd, 8) < 0 ? -1 : fd;
}

static int caller(int listener)
{
        struct sockaddr_un a;
        socklen_t len = sizeof(a);
        int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

        return getsockname(listener, (struct sockaddr *)&a, &len) < 0 || connect(fd, (struct sockaddr *)&a, len) < 0 ? -1 : fd;
}

static void begin(void)
{
        int ends[2];

        now = 1000;
        if (sock_pair(SOCK_STREAM, ends) < 0)
                abort();
        shim = ends[1];
        fd_set_nonblock(shim, true);
        task_init(&task, &request, ends[0], listening(), now);
}

static void finish(void)
{
        fd_close(&shim);
        fd_close(&task.shim.fd);
        fd_close(&task.sink);
        for (int i = 0; i < SINK_MAX; i++)
                fd_close(&task.events[i].fd);
}

static bool turn(void)
{
        struct pollfd p[TASK_POLLS];

        task_watch(&task, p);
        poll(p, TASK_POLLS, 0);
        return task_turn(&task, p, now);
}

static bool heard(int fd, const char *want, size_t len)
{
        char got[512];

        return read(fd, got, sizeof(got)) == (ssize_t)len && memcmp(got, want, len) == 0;
}

#define SAYS(text) (write(shim, text, sizeof(text) - 1) == (ssize_t)sizeof(text) - 1)
#define HEARS(text) heard(shim, text, sizeof(text) - 1)

TEST(a_container_from_its_begin_to_its_end)
{
        begin();
        CHECK(HEARS(create) && turn() && task.step == TASK_CREATE);
        CHECK(SAYS(created) && turn() && HEARS(start) && task.step == TASK_START);
        CHECK(SAYS(started) && turn() && HEARS(wait) && task.step == TASK_WAIT);
        CHECK_INT(task_patience(&task, now), TASK_STEP_MS);
        task.answers = true;
        now += 1000000;
        CHECK(turn() && task_patience(&task, now) == -1);
        CHECK(SAYS(waited) && !turn());
        CHECK_STR(task.why, "Wait: the container has ended with status 137");
        finish();
}

TEST(events_are_answered)
{
        begin();
        events = caller(task.sink);
        CHECK(events >= 0 && turn());
        CHECK(write(events, event, 5) == 5 && turn() && write(events, event + 5, sizeof(event) - 6) > 0 && turn());
        CHECK(heard(events, "\0\0\0\0\0\0\0\x03\x02\0", 10));
        CHECK(write(events, "garbage that is no frame", 24) == 24 && turn());
        CHECK(read(events, (char[1]){ 0 }, 1) == 0); /* hung up, and nothing else */
        CHECK(!task.why[0]);
        close(events);
        int many[2 * SINK_MAX];
        for (int i = 0; i < 2 * SINK_MAX; i++) {
                many[i] = caller(task.sink);
                CHECK(many[i] >= 0 && turn());
        }
        for (int i = 0; i < 2 * SINK_MAX; i++)
                CHECK_INT(read(many[i], (char[1]){ 0 }, 1), i < SINK_MAX ? -1 : 0); /* no more than there is room for */
        for (int i = 0; i < 2 * SINK_MAX; i++)
                close(many[i]);
        finish();
}

TEST(a_shim_that_fails)
{
        static const struct {
                const char *says;
                size_t len;
                const char *why;
        } cases[] = {
                { refused, sizeof(refused) - 1, "Create: OCI runtime create failed: no engine" },
                { "\0\0\0\x04\0\0\0\x01\x02\0\n\x02\x08\x05", 14, "Create: it is refused" },
                { "garbage that is no frame", 24, "Create: what the shim answers is no answer" },
                { started, sizeof(started) - 1, "Create: what the shim answers is no answer" }, /* to what was not asked */
                { event, sizeof(event) - 1, "Create: what the shim answers is no answer" },     /* a request */
                { "\0\0\0\x01\0\0\0\x01\x02\0\x12", 11, "Create: what the shim answers is no answer" },
                { "", 0, "Create: the shim has ended" },
                { created, 9, "Create: the shim has ended" },
        };

        for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
                begin();
                CHECK(write(shim, cases[i].says, cases[i].len) == (ssize_t)cases[i].len);
                fd_close(&shim);
                CHECK((!turn() || !turn()) && !turn());
                CHECK_STR(task.why, cases[i].why);
                finish();
        }
}

TEST(a_shim_that_does_not_answer)
{
        begin();
        CHECK_INT(task_patience(&task, now), TASK_STEP_MS);
        now += TASK_STEP_MS - 1;
        CHECK(turn() && task_patience(&task, now) == 1);
        CHECK(SAYS(created) && turn() && task_patience(&task, now) == TASK_STEP_MS);
        now += TASK_STEP_MS;
        CHECK(!turn());
        CHECK_STR(task.why, "Start: the shim has not answered in 15 s");
        finish();
}

TEST(a_container_that_does_not_answer)
{
        begin();
        CHECK(SAYS(created) && turn() && SAYS(started) && turn() && task.step == TASK_WAIT);
        now += TASK_STEP_MS;
        CHECK(!turn());
        CHECK_STR(task.why, "Wait: the container has not answered in 15 s");
        finish();
}
