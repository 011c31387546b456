/*
 * What happens in a service, as it happens: server-sent events, asked for again from the last one that came where the connection ends.
 */
#include <poll.h>
#include <stdlib.h>
#include <string.h>

#include "api/libcreto/remote/call.h"
#include "base/clock.h"

enum { EVENT_MAX = 64 * 1024, AGAIN_MS = 30 * 1000, PAUSE_MS = 200, SILENCE_MS = 60 * 1000 /* the service says something every 15 s */ };

struct listener {
        struct remote *rm;
        const char *sandbox;
        creto_event_fn *fn;
        void *ctx;
        char last[SSE_ID_MAX + 1];
        bool heard; /* since it was connected */
        int ended;  /* what the caller returned */
};

/* 0 where the caller has enough, 1 where the connection has ended. */
static int hear(struct listener *l, struct conn *conn, struct sse *s, struct err *e)
{
        struct bytes piece;
        int r;

        while ((r = conn_piece(conn, &piece, e)) == 1) {
                for (size_t used, at = 0;;) {
                        enum sse_event ev = sse_read(s, piece.data + at, piece.len - at, &used);

                        at += used;
                        if (ev == SSE_BAD)
                                return err_set(e, ERR_BACKEND_UNAVAILABLE, 0, "what comes from %s are no events", l->rm->host.text);
                        if (ev == SSE_MORE)
                                break;
                        const struct creto_event event = { .name = s->event, .id = s->id, .json = s->data };
                        memcpy(l->last, s->id, sizeof(l->last));
                        l->ended = l->fn(l->ctx, &event);
                        if (l->ended)
                                return 0;
                }
                l->heard = true;
        }
        return r == 0 || conn->lost ? 1 : r;
}

static int listen_once(struct listener *l, struct conn *conn, char *room, struct err *e)
{
        struct sse s;
        struct call c;

        call_begin(&c, l->rm, "GET", "/v1/events");
        if (l->sandbox)
                http_query(&c.req, "sandboxId", l->sandbox);
        c.conn = conn;
        c.accept = "text/event-stream";
        c.last_event_id = l->last[0] ? l->last : NULL;
        c.timeout_ms = SILENCE_MS;
        if (call_start(&c, e) < 0)
                return e->code == ERR_BACKEND_UNAVAILABLE ? 1 : -(int)e->code;
        sse_init(&s, room, EVENT_MAX);
        int r = hear(l, conn, &s, e);
        conn_close(conn);
        return r;
}

int creto_events(struct creto_runtime *rt, const char *sandbox_id, const char *after, creto_event_fn *fn, void *ctx,
                 struct creto_error *err)
{
        struct listener l = { .rm = rt->remote, .sandbox = sandbox_id, .fn = fn, .ctx = ctx };
        uint64_t since = clock_ms(CLOCK_MONOTONIC);
        struct err e = { 0 };
        int r = 1;

        if (remote_needed(rt, "events", &e) < 0)
                return error_failed(err, &e);
        if (after && strlen(after) >= sizeof(l.last)) {
                err_set(&e, ERR_INVALID_SPEC, 0, "'%.40s' is the id of no event", after);
                return error_failed(err, &e);
        }
        memcpy(l.last, after ? after : "", after ? strlen(after) + 1 : 1);
        struct conn *conn = conn_new(&rt->remote->host);
        char *room = malloc(EVENT_MAX);
        if (!conn || !room)
                r = err_set(&e, ERR_RESOURCE_EXHAUSTED, 0, "out of memory");
        for (bool first = true; r == 1; first = false) {
                l.heard = false;
                r = listen_once(&l, conn, room, &e);
                if (l.heard)
                        since = clock_ms(CLOCK_MONOTONIC);
                if (r == 1 && ((first && !l.heard) || clock_ms(CLOCK_MONOTONIC) - since > AGAIN_MS))
                        r = e.code ? -(int)e.code
                                   : err_set(&e, ERR_BACKEND_UNAVAILABLE, 0, "%s has ended the connection", rt->remote->host.text);
                if (r == 1)
                        poll(NULL, 0, PAUSE_MS);
        }
        free(room);
        conn_free(conn);
        return r < 0 ? error_failed(err, &e) : l.ended;
}
