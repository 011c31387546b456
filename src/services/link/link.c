#include "services/link/link.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>

#include "base/clock.h"
#include "base/fd.h"
#include "base/sock.h"

enum { RETRY_MS = 100, GREETING_MS = 5000, SWEEP_MS = 1000, READ_AT_ONCE = 64 };

struct request {
        struct request *next; /* of the queue it is in */
        uint32_t serial;
        enum ipc_type type, answer;
        bool repeatable;
        uint64_t deadline_ms; /* while it waits for a warden */
        int fds[2];
        size_t nfds;
        link_done_fn *done;
        void *ctx;
        size_t len;
        uint8_t data[];
};

struct queue {
        struct request *first, **last;
        size_t count;
};

enum state { DOWN, GREETING, UP };

struct link {
        struct loop *loop;
        struct sockaddr_un address;
        unsigned prepared;
        const struct link_events *events;
        void *ctx;
        enum state state;
        int fd;
        struct watch *watch;
        struct timer *retry, *sweep;
        uint32_t serial;
        struct queue waiting, asked; /* to be sent; sent */
        struct queue images;         /* to be sent when no other image request is under way */
        bool image_busy;
};

/* ---- queues ---- */

static void queue_init(struct queue *q)
{
        *q = (struct queue){ .first = NULL };
        q->last = &q->first;
}

static void push(struct queue *q, struct request *r)
{
        r->next = NULL;
        *q->last = r;
        q->last = &r->next;
        q->count++;
}

static void push_front(struct queue *q, struct request *r)
{
        r->next = q->first;
        if (!q->first)
                q->last = &r->next;
        q->first = r;
        q->count++;
}

static struct request *take(struct queue *q, struct request **at)
{
        struct request *r = *at;

        *at = r->next;
        if (q->last == &r->next)
                q->last = at;
        q->count--;
        return r;
}

/* Answers come in the order of the requests but for those that wait for something, so the one looked for is near the front. */
static struct request *take_serial(struct queue *q, uint32_t serial)
{
        for (struct request **at = &q->first; *at; at = &(*at)->next)
                if ((*at)->serial == serial)
                        return take(q, at);
        return NULL;
}

static void forget_all(struct queue *q)
{
        while (q->first)
                free(take(q, &q->first));
}

/* ---- ends of requests ---- */

static void send_waiting(struct link *l);

static void finish(struct link *l, struct request *r, const struct link_answer *a)
{
        if (r->type == IPC_IMAGE)
                l->image_busy = false;
        if (r->done)
                r->done(r->ctx, a);
        free(r);
}

static void fail(struct link *l, struct request *r, const struct err *e)
{
        const struct link_answer a = { .error = e, .lost = e->code == ERR_BACKEND_UNAVAILABLE, .fd = -1 };

        finish(l, r, &a);
}

static void no_warden(struct err *e)
{
        err_set(e, ERR_BACKEND_UNAVAILABLE, 0, "creto-warden does not answer");
        err_hint(e, "is it running? systemctl status creto-warden; sandboxes that run are not touched by that");
}

static void fail_overdue(struct link *l)
{
        uint64_t now = clock_ms(CLOCK_MONOTONIC);
        struct err e;

        no_warden(&e);
        while (l->waiting.first && l->waiting.first->deadline_ms <= now)
                fail(l, take(&l->waiting, &l->waiting.first), &e);
        while (l->images.first && l->images.first->deadline_ms <= now)
                fail(l, take(&l->images, &l->images.first), &e);
        if (l->waiting.first || l->images.first)
                timer_set(l->sweep, SWEEP_MS);
}

/* ---- the connection ---- */

static void disconnect(struct link *l, const char *why)
{
        struct queue asked = l->asked;
        enum state before = l->state;
        struct err e;

        if (asked.first == NULL)
                asked.last = &asked.first;
        watch_free(l->watch);
        l->watch = NULL;
        fd_close(&l->fd);
        l->state = DOWN;
        queue_init(&l->asked);
        timer_set(l->retry, before == UP ? 0 : RETRY_MS);
        struct queue again;
        queue_init(&again);
        struct queue lost;
        queue_init(&lost);
        while (asked.first) {
                struct request *r = take(&asked, &asked.first);
                push(r->repeatable ? &again : &lost, r);
        }
        while (l->waiting.first)
                push(&again, take(&l->waiting, &l->waiting.first));
        while (again.first) {
                struct request *r = take(&again, &again.first);
                r->deadline_ms = clock_ms(CLOCK_MONOTONIC) + LINK_WAIT_MS;
                push(&l->waiting, r);
        }
        if (l->waiting.first || l->images.first)
                timer_set(l->sweep, SWEEP_MS);
        if (before == UP)
                l->events->down(l->ctx, why);
        err_set(&e, ERR_BACKEND_UNAVAILABLE, 0, "creto-warden ended while this was done");
        err_hint(&e, "it is started again by itself; ask again");
        while (lost.first)
                fail(l, take(&lost, &lost.first), &e);
}

static bool send_one(struct link *l, const struct request *r)
{
        if (sock_send(l->fd, r->data, r->len, r->fds, r->nfds) == 0)
                return true;
        if (errno != EAGAIN)
                shutdown(l->fd, SHUT_RDWR); /* its end is read, and handled there */
        return false;
}

static void send_waiting(struct link *l)
{
        if (l->state != UP)
                return;
        while (l->waiting.first && send_one(l, l->waiting.first))
                push(&l->asked, take(&l->waiting, &l->waiting.first));
        if (!l->waiting.first && l->images.first && !l->image_busy && send_one(l, l->images.first)) {
                push(&l->asked, take(&l->images, &l->images.first));
                l->image_busy = true;
        }
        watch_set(l->watch, l->waiting.first || (l->images.first && !l->image_busy) ? POLLIN | POLLOUT : POLLIN);
}

static bool payload(enum ipc_type type, struct rbuf *body, struct link_answer *a)
{
        static union {
                struct ipc_spawned spawned;
                struct ipc_usage usage;
                struct ipc_listed listed;
                struct ipc_freeze freeze;
                struct ipc_classes classes;
        } m;
        char id[IPC_ID_MAX + 1];

        switch (type) {
        case IPC_SPAWNED:
                a->spawned = &m.spawned;
                return ipc_get_spawned(body, &m.spawned) == 0 && a->fd >= 0;
        case IPC_USAGE_OK:
                a->usage = &m.usage;
                return ipc_get_usage(body, &m.usage) == 0;
        case IPC_TERMINATED:
                a->usage = &m.usage;
                return ipc_get_terminated(body, id, &m.usage) == 0;
        case IPC_LISTED:
                a->listed = &m.listed;
                return ipc_get_listed(body, &m.listed) == 0;
        case IPC_ATTACHED:
                return ipc_get_id(body, id) == 0 && a->fd >= 0;
        case IPC_FROZEN:
                return ipc_get_freeze(body, &m.freeze) == 0;
        case IPC_LIMITED:
                return ipc_get_limited(body, &a->limits_missing) == 0;
        case IPC_CLASSES_OK:
                a->classes = &m.classes;
                return ipc_get_classes(body, &m.classes) == 0;
        case IPC_IMAGE_DONE:
                return ipc_get_status(body, &a->status) == 0;
        default:
                return false;
        }
}

static bool on_answer(struct link *l, const struct ipc_header *head, struct rbuf *body, int fd)
{
        struct request *r = take_serial(&l->asked, head->serial);
        struct link_answer a = { .fd = fd };
        struct err e;

        if (!r) {
                fd_close(&fd);
                return false;
        }
        if (head->type == IPC_ERROR && ipc_get_error(body, &e) == 0 && e.code != ERR_NONE && e.code < ERR_CODE_COUNT) {
                fd_close(&a.fd);
                a.error = &e;
        } else if (head->type != r->answer || !payload(head->type, body, &a)) {
                fd_close(&fd);
                err_set(&e, ERR_INTERNAL_ERROR, 0, "creto-warden gave an answer that is none");
                fail(l, r, &e);
                return false;
        }
        finish(l, r, &a);
        return true;
}

static bool on_greeting(struct link *l, const struct ipc_header *head, struct rbuf *body)
{
        struct ipc_hello_ok hello;

        if (head->type != IPC_HELLO_OK || ipc_get_hello_ok(body, &hello) < 0)
                return false;
        timer_stop(l->retry);
        l->state = UP;
        l->events->up(l->ctx, &hello);
        return true;
}

/* Returns false where the connection has ended or has to. */
static bool read_one(struct link *l, bool *more)
{
        static uint8_t data[IPC_MESSAGE_MAX];
        struct ipc_exited exited;
        struct ipc_header head;
        struct rbuf body;
        size_t nfds = 1;
        int fd = -1;
        ssize_t n = sock_recv(l->fd, data, sizeof(data), &fd, &nfds);

        *more = n > 0;
        if (n < 0 && (errno == EAGAIN || errno == EINTR))
                return true;
        if (n <= 0)
                return false;
        if (nfds == 0)
                fd = -1;
        if (ipc_get_header(data, (size_t)n, &head, &body) < 0 || (l->state == GREETING && !on_greeting(l, &head, &body))) {
                fd_close(&fd);
                return false;
        }
        if (head.type == IPC_HELLO_OK) {
                fd_close(&fd);
                return true;
        }
        if (head.serial != 0)
                return on_answer(l, &head, &body, fd);
        fd_close(&fd);
        if (head.type != IPC_EXITED || ipc_get_exited(&body, &exited) < 0)
                return false;
        l->events->exited(l->ctx, &exited);
        return true;
}

static void on_ready(void *ctx)
{
        struct link *l = ctx;
        bool more = true;

        for (int i = 0; i < READ_AT_ONCE && more; i++)
                if (!read_one(l, &more)) {
                        disconnect(l, "the connection ended");
                        return;
                }
        send_waiting(l);
}

static bool greet(struct link *l)
{
        const struct ipc_hello hello = { .version = IPC_VERSION, .prepared = l->prepared };
        uint8_t data[64];
        struct wbuf w = wbuf_over(data, sizeof(data));

        ipc_put_header(&w, IPC_HELLO, ++l->serial);
        ipc_put_hello(&w, &hello);
        return !w.bad && sock_send(l->fd, w.data, w.len, NULL, 0) == 0;
}

/* Also called where a warden that was connected to has not said anything for too long. */
static void connect_now(void *ctx)
{
        struct link *l = ctx;

        if (l->state == GREETING) {
                disconnect(l, "no greeting");
                return;
        }
        timer_set(l->retry, RETRY_MS);
        l->fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
        if (l->fd < 0)
                return;
        if (connect(l->fd, (struct sockaddr *)&l->address, sizeof(l->address)) < 0 || !greet(l) ||
            !(l->watch = watch_new(l->loop, l->fd, POLLIN, on_ready, l))) {
                fd_close(&l->fd);
                return;
        }
        l->state = GREETING;
        timer_set(l->retry, GREETING_MS);
}

static void sweep(void *ctx)
{
        struct link *l = ctx;

        if (l->state != UP)
                fail_overdue(l);
}

int link_new(struct loop *loop, const char *socket, unsigned prepared, const struct link_events *events, void *ctx, struct link **out,
             struct err *e)
{
        struct link *l = calloc(1, sizeof(*l));

        if (!l || strlen(socket) >= sizeof(l->address.sun_path)) {
                free(l);
                return err_set(e, ERR_INVALID_SPEC, 0, "'%.200s' is too long for a socket", socket);
        }
        *l = (struct link){ .loop = loop, .prepared = prepared, .events = events, .ctx = ctx, .fd = -1 };
        l->address.sun_family = AF_UNIX;
        snprintf(l->address.sun_path, sizeof(l->address.sun_path), "%s", socket);
        queue_init(&l->waiting);
        queue_init(&l->asked);
        queue_init(&l->images);
        l->retry = timer_new(loop, connect_now, l);
        l->sweep = timer_new(loop, sweep, l);
        if (!l->retry || !l->sweep) {
                link_free(l);
                return err_set(e, ERR_RESOURCE_EXHAUSTED, 0, "out of memory");
        }
        timer_set(l->retry, 0);
        *out = l;
        return 0;
}

void link_free(struct link *l)
{
        if (!l)
                return;
        watch_free(l->watch);
        timer_free(l->retry);
        timer_free(l->sweep);
        fd_close(&l->fd);
        forget_all(&l->waiting);
        forget_all(&l->asked);
        forget_all(&l->images);
        free(l);
}

bool link_is_up(const struct link *l)
{
        return l->state == UP;
}

/* ---- requests ---- */

static uint8_t message[IPC_MESSAGE_MAX];

static struct wbuf begin(struct link *l, enum ipc_type type)
{
        struct wbuf w = wbuf_over(message, sizeof(message));

        if (++l->serial == 0)
                l->serial = 1;
        ipc_put_header(&w, type, l->serial);
        return w;
}

static void refuse(link_done_fn *done, void *ctx, enum err_code code, const char *why)
{
        struct link_answer a = { .fd = -1 };
        struct err e;

        err_set(&e, code, 0, "%s", why);
        a.error = &e;
        if (done)
                done(ctx, &a);
}

static struct request *make(struct link *l, const struct wbuf *w, enum ipc_type type, enum ipc_type answer, link_done_fn *done, void *ctx)
{
        struct request *r = NULL;

        if (w->bad)
                refuse(done, ctx, ERR_INVALID_SPEC, "the request is larger than the warden takes");
        else if (l->waiting.count + l->asked.count + l->images.count >= LINK_REQUESTS_MAX || !(r = malloc(sizeof(*r) + w->len)))
                refuse(done, ctx, ERR_RESOURCE_EXHAUSTED, "too many requests wait for creto-warden");
        if (!r)
                return NULL;
        *r = (struct request){
                .serial = l->serial,
                .type = type,
                .answer = answer,
                .repeatable = done && type != IPC_SPAWN && type != IPC_IMAGE && type != IPC_LIST,
                .deadline_ms = clock_ms(CLOCK_MONOTONIC) + LINK_WAIT_MS,
                .done = done,
                .ctx = ctx,
                .len = w->len,
        };
        memcpy(r->data, w->data, w->len);
        return r;
}

static void ask(struct link *l, const struct wbuf *w, enum ipc_type type, enum ipc_type answer, link_done_fn *done, void *ctx)
{
        struct request *r = make(l, w, type, answer, done, ctx);

        if (!r)
                return;
        push(&l->waiting, r);
        if (l->state == UP)
                send_waiting(l);
        else
                timer_set(l->sweep, SWEEP_MS);
}

static void ask_id(struct link *l, const char *id, enum ipc_type type, enum ipc_type answer, link_done_fn *done, void *ctx)
{
        struct wbuf w = begin(l, type);

        ipc_put_id(&w, id);
        ask(l, &w, type, answer, done, ctx);
}

void link_spawn(struct link *l, const struct ipc_spawn *req, link_done_fn *done, void *ctx)
{
        struct wbuf w = begin(l, IPC_SPAWN);

        ipc_put_spawn(&w, req);
        ask(l, &w, IPC_SPAWN, IPC_SPAWNED, done, ctx);
}

void link_usage(struct link *l, const char *id, link_done_fn *done, void *ctx)
{
        ask_id(l, id, IPC_USAGE, IPC_USAGE_OK, done, ctx);
}

void link_terminate(struct link *l, const char *id, link_done_fn *done, void *ctx)
{
        ask_id(l, id, IPC_TERMINATE, IPC_TERMINATED, done, ctx);
}

void link_attach(struct link *l, const char *id, link_done_fn *done, void *ctx)
{
        ask_id(l, id, IPC_ATTACH, IPC_ATTACHED, done, ctx);
}

/* Goes before everything that waits: what is there has to be known first. */
void link_list(struct link *l, uint32_t first, link_done_fn *done, void *ctx)
{
        struct wbuf w = begin(l, IPC_LIST);

        ipc_put_list(&w, first);
        struct request *r = make(l, &w, IPC_LIST, IPC_LISTED, done, ctx);
        if (!r)
                return;
        push_front(&l->waiting, r);
        send_waiting(l);
}

void link_freeze(struct link *l, const char *id, bool frozen, link_done_fn *done, void *ctx)
{
        struct ipc_freeze freeze = { .frozen = frozen };
        struct wbuf w = begin(l, IPC_FREEZE);

        snprintf(freeze.id, sizeof(freeze.id), "%s", id);
        ipc_put_freeze(&w, &freeze);
        ask(l, &w, IPC_FREEZE, IPC_FROZEN, done, ctx);
}

void link_limit(struct link *l, const char *id, const uint64_t limits[IPC_LIMITS], uint32_t wanted, link_done_fn *done, void *ctx)
{
        struct ipc_limit limit = { .limits_wanted = wanted };
        struct wbuf w = begin(l, IPC_LIMIT);

        snprintf(limit.id, sizeof(limit.id), "%s", id);
        memcpy(limit.limits, limits, sizeof(limit.limits));
        ipc_put_limit(&w, &limit);
        ask(l, &w, IPC_LIMIT, IPC_LIMITED, done, ctx);
}

void link_classes(struct link *l, link_done_fn *done, void *ctx)
{
        struct wbuf w = begin(l, IPC_CLASSES);

        ask(l, &w, IPC_CLASSES, IPC_CLASSES_OK, done, ctx);
}

void link_image(struct link *l, const struct ipc_image *req, const int fds[2], link_done_fn *done, void *ctx)
{
        struct wbuf w = begin(l, IPC_IMAGE);

        ipc_put_image(&w, req);
        struct request *r = make(l, &w, IPC_IMAGE, IPC_IMAGE_DONE, done, ctx);
        if (!r)
                return;
        r->fds[0] = fds[0];
        r->fds[1] = fds[1];
        r->nfds = 2;
        push(&l->images, r);
        send_waiting(l);
}
