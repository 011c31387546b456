#include "programs/shim/task.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/fd.h"

enum { POLL_SHIM, POLL_SINK, POLL_EVENTS };

static const char *const methods[TASK_STEPS] = { "Create", "Start", "Wait" };

/* Each call is a stream of its own; a client's have odd numbers. */
static uint32_t stream_of(enum task_step step)
{
        return 2 * (uint32_t)step + 1;
}

static bool end(struct task *t, const char *what)
{
        snprintf(t->why, sizeof(t->why), "%s: %s", methods[t->step], what);
        return false;
}

static bool ask(struct task *t, enum task_step step, uint64_t now_ms)
{
        uint8_t data[TTRPC_MESSAGE_MAX + TTRPC_HEADER];
        struct wbuf w = wbuf_over(data, sizeof(data));

        t->step = step;
        t->since_ms = now_ms;
        if (step == TASK_CREATE)
                task_put_create(&w, stream_of(step), &t->create);
        else
                task_put_call(&w, stream_of(step), methods[step], t->create.id);
        if (w.bad || write(t->shim.fd, w.data, w.len) != (ssize_t)w.len)
                return end(t, w.bad ? "the request is too long" : "the shim does not take it");
        return true;
}

void task_init(struct task *t, const struct task_create *create, int shim, int sink, uint64_t now_ms)
{
        *t = (struct task){ .create = *create, .shim.fd = shim, .sink = sink };
        for (int i = 0; i < SINK_MAX; i++)
                t->events[i].fd = -1;
        fd_set_nonblock(shim, true);
        fd_set_nonblock(sink, true);
        ask(t, TASK_CREATE, now_ms); /* what fails here is seen by the first turn */
}

/* 1: something came; 0: not now; -1: it has ended. */
static int talk_read(struct talk *c)
{
        ssize_t n = read(c->fd, c->in + c->len, sizeof(c->in) - c->len);

        if (n < 0 && (errno == EAGAIN || errno == EINTR))
                return 0;
        if (n <= 0)
                return -1;
        c->len += (size_t)n;
        return 1;
}

static void talk_drop(struct talk *c, size_t used)
{
        c->len -= used;
        memmove(c->in, c->in + used, c->len);
}

/* ---- answers ---- */

static bool refused(struct task *t, const struct ttrpc_response *r)
{
        char words[SAID_MAX - 64];
        size_t len = r->message.len < sizeof(words) ? r->message.len : sizeof(words) - 1;

        memcpy(words, r->message.data ? r->message.data : (const uint8_t *)"", len);
        words[len] = '\0';
        for (char *s = words; *s; s++)
                *s = (char)(*s == '\n' ? ' ' : *s);
        t->refused = true;
        return end(t, len > 0 ? words : "it is refused");
}

static bool ended(struct task *t, const struct ttrpc_response *r)
{
        char words[64];
        uint32_t status;

        if (task_get_wait(r->payload, &status) < 0)
                return end(t, "what the shim answers is no answer");
        snprintf(words, sizeof(words), "the container has ended with status %u", status);
        return end(t, words);
}

static bool answered(struct task *t, const struct ttrpc_frame *f, uint64_t now_ms)
{
        struct ttrpc_response r;

        if (f->type != TTRPC_RESPONSE || f->stream != stream_of(t->step) || ttrpc_get_response(f->payload, &r) < 0)
                return end(t, "what the shim answers is no answer");
        if (r.code != 0)
                return refused(t, &r);
        return t->step == TASK_WAIT ? ended(t, &r) : ask(t, t->step + 1, now_ms);
}

static bool hear_shim(struct task *t, uint64_t now_ms)
{
        int more = talk_read(&t->shim), found = 0;
        struct ttrpc_frame f;
        size_t used;

        while (more > 0 && (found = ttrpc_parse(t->shim.in, t->shim.len, &f, &used)) == 1) {
                if (!answered(t, &f, now_ms))
                        return false;
                talk_drop(&t->shim, used);
        }
        if (found < 0)
                return end(t, "what the shim answers is no answer");
        return more < 0 ? end(t, "the shim has ended") : true;
}

/* ---- events: nothing that they say is needed ---- */

static bool answer_event(const struct talk *c, uint32_t stream)
{
        uint8_t data[TTRPC_HEADER];
        struct wbuf w = wbuf_over(data, sizeof(data));

        ttrpc_put_empty(&w, stream);
        return write(c->fd, w.data, w.len) == (ssize_t)w.len;
}

static void hear_events(struct talk *c)
{
        int more = talk_read(c), found = 0;
        struct ttrpc_frame f;
        size_t used;

        while (more > 0 && (found = ttrpc_parse(c->in, c->len, &f, &used)) == 1) {
                if (f.type != TTRPC_REQUEST || !answer_event(c, f.stream))
                        more = -1;
                talk_drop(c, used);
        }
        if (more < 0 || found < 0)
                fd_close(&c->fd);
}

static void accept_events(struct task *t)
{
        int fd = accept4(t->sink, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC), i = 0;

        while (i < SINK_MAX && t->events[i].fd >= 0)
                i++;
        if (i == SINK_MAX) {
                fd_close(&fd);
                return;
        }
        t->events[i].fd = fd;
        t->events[i].len = 0;
}

/* ---- the loop's ---- */

void task_watch(const struct task *t, struct pollfd *p)
{
        p[POLL_SHIM] = (struct pollfd){ .fd = t->shim.fd, .events = POLLIN };
        p[POLL_SINK] = (struct pollfd){ .fd = t->sink, .events = POLLIN };
        for (int i = 0; i < SINK_MAX; i++)
                p[POLL_EVENTS + i] = (struct pollfd){ .fd = t->events[i].fd, .events = POLLIN };
}

int task_patience(const struct task *t, uint64_t now_ms)
{
        if (t->step == TASK_WAIT && t->answers)
                return -1;
        return now_ms - t->since_ms < TASK_STEP_MS ? (int)(TASK_STEP_MS - (now_ms - t->since_ms)) : 0;
}

bool task_turn(struct task *t, const struct pollfd *p, uint64_t now_ms)
{
        if (t->why[0])
                return false;
        for (int i = 0; i < SINK_MAX; i++)
                if (p[POLL_EVENTS + i].revents && t->events[i].fd >= 0)
                        hear_events(&t->events[i]);
        if (p[POLL_SINK].revents & POLLIN)
                accept_events(t);
        if (p[POLL_SHIM].revents && !hear_shim(t, now_ms))
                return false;
        return task_patience(t, now_ms) != 0 ||
               end(t, t->step == TASK_WAIT ? "the container has not answered in 15 s" : "the shim has not answered in 15 s");
}
