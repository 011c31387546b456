#include "base/loop.h"

#include <event2/event.h>
#include <poll.h>
#include <stdlib.h>

struct loop {
        struct event_base *base;
};

struct watch {
        struct event *event;
        int fd;
        short events;
        loop_fn *fn;
        void *ctx;
};

struct timer {
        struct event *event;
        loop_fn *fn;
        void *ctx;
};

int loop_new(struct loop **out, struct err *e)
{
        struct loop *l = calloc(1, sizeof(*l));

        if (l)
                l->base = event_base_new();
        if (!l || !l->base) {
                free(l);
                return err_set(e, ERR_RESOURCE_EXHAUSTED, 0, "cannot make an event loop");
        }
        *out = l;
        return 0;
}

void loop_run(struct loop *l)
{
        event_base_loop(l->base, EVLOOP_NO_EXIT_ON_EMPTY);
}

void loop_stop(struct loop *l)
{
        event_base_loopbreak(l->base);
}

static void on_watch(evutil_socket_t fd, short what, void *arg)
{
        const struct watch *w = arg;

        (void)fd;
        (void)what;
        w->fn(w->ctx);
}

static short to_event(short events)
{
        return (short)(EV_PERSIST | (events & POLLIN ? EV_READ : 0) | (events & POLLOUT ? EV_WRITE : 0));
}

struct watch *watch_new(struct loop *l, int fd, short events, loop_fn *fn, void *ctx)
{
        struct watch *w = malloc(sizeof(*w));

        if (!w)
                return NULL;
        *w = (struct watch){ .fd = fd, .events = events, .fn = fn, .ctx = ctx };
        w->event = event_new(l->base, fd, to_event(events), on_watch, w);
        if (!w->event || (events && event_add(w->event, NULL) < 0)) {
                watch_free(w);
                return NULL;
        }
        return w;
}

void watch_set(struct watch *w, short events)
{
        if (events == w->events)
                return;
        struct event_base *base = event_get_base(w->event);
        event_del(w->event);
        event_assign(w->event, base, w->fd, to_event(events), on_watch, w);
        if (events)
                event_add(w->event, NULL);
        w->events = events;
}

void watch_free(struct watch *w)
{
        if (!w)
                return;
        if (w->event)
                event_free(w->event);
        free(w);
}

struct watch *watch_signal(struct loop *l, int signo, loop_fn *fn, void *ctx)
{
        struct watch *w = malloc(sizeof(*w));

        if (!w)
                return NULL;
        *w = (struct watch){ .fd = -1, .fn = fn, .ctx = ctx };
        w->event = evsignal_new(l->base, signo, on_watch, w);
        if (!w->event || event_add(w->event, NULL) < 0) {
                watch_free(w);
                return NULL;
        }
        return w;
}

static void on_timer(evutil_socket_t fd, short what, void *arg)
{
        const struct timer *t = arg;

        (void)fd;
        (void)what;
        t->fn(t->ctx);
}

struct timer *timer_new(struct loop *l, loop_fn *fn, void *ctx)
{
        struct timer *t = malloc(sizeof(*t));

        if (!t)
                return NULL;
        *t = (struct timer){ .fn = fn, .ctx = ctx };
        t->event = evtimer_new(l->base, on_timer, t);
        if (!t->event) {
                free(t);
                return NULL;
        }
        return t;
}

void timer_set(struct timer *t, uint64_t ms)
{
        struct timeval tv = { .tv_sec = (time_t)(ms / 1000), .tv_usec = (suseconds_t)(ms % 1000 * 1000) };

        event_add(t->event, &tv);
}

void timer_stop(struct timer *t)
{
        event_del(t->event);
}

void timer_free(struct timer *t)
{
        if (!t)
                return;
        event_free(t->event);
        free(t);
}
