#include "services/events/events.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/text.h"
#include "base/time.h"
#include "wire/json.h"

struct event_reader {
        struct events *ev;
        struct event_reader *next;
        uint64_t at; /* the number of the event to give next */
        void (*ready)(void *ctx);
        void *ctx;
};

struct events {
        struct event kept[EVENTS_KEPT];
        uint64_t first, end; /* numbers kept: first to end - 1 */
        struct event_reader *readers;
};

int events_new(struct events **out, struct err *e)
{
        struct events *ev = calloc(1, sizeof(*ev));

        if (!ev)
                return err_set(e, ERR_RESOURCE_EXHAUSTED, 0, "out of memory");
        /* A later start begins higher, so that a reader that comes back does not miss what has small numbers again. */
        ev->first = ev->end = time_wall_ms() * 1000;
        *out = ev;
        return 0;
}

static void put_string(struct json_put *j, const char *key, const char *value)
{
        json_put_key(j, key);
        if (value && *value)
                json_put_string(j, value);
        else
                json_put_null(j);
}

static char *to_json(const struct event_facts *f)
{
        struct wbuf w = text_new();
        struct json_put j = json_put_over(&w);
        char when[TIME_TEXT_MAX];
        size_t len;

        time_format(time_wall_ms(), when);
        json_put_object(&j);
        put_string(&j, "event", f->name);
        put_string(&j, "time", when);
        put_string(&j, "sandboxId", f->sandbox);
        put_string(&j, "owner", f->owner);
        put_string(&j, "requestId", f->request_id);
        json_put_key(&j, "details");
        json_put_raw(&j, f->detail ? f->detail : "{}", f->detail ? strlen(f->detail) : 2);
        json_put_end(&j);
        return text_take(&w, &len);
}

void events_add(struct events *ev, const struct event_facts *f)
{
        struct event *slot = &ev->kept[ev->end % EVENTS_KEPT];
        char *json = to_json(f);

        if (!json)
                return; /* without memory nobody is told; what it tells of has been recorded elsewhere */
        free(slot->json);
        *slot = (struct event){ .number = ev->end, .json = json };
        snprintf(slot->name, sizeof(slot->name), "%s", f->name);
        snprintf(slot->sandbox, sizeof(slot->sandbox), "%s", f->sandbox ? f->sandbox : "");
        snprintf(slot->owner, sizeof(slot->owner), "%s", f->owner ? f->owner : "");
        ev->end++;
        if (ev->end - ev->first > EVENTS_KEPT)
                ev->first = ev->end - EVENTS_KEPT;
        for (struct event_reader *r = ev->readers, *next; r; r = next) {
                next = r->next;
                r->ready(r->ctx);
        }
}

struct event_reader *events_read(struct events *ev, uint64_t after, void (*ready)(void *ctx), void *ctx)
{
        struct event_reader *r = malloc(sizeof(*r));

        if (!r)
                return NULL;
        *r = (struct event_reader){ .ev = ev, .next = ev->readers, .ready = ready, .ctx = ctx };
        r->at = after == UINT64_MAX || after >= ev->end ? ev->end : after + 1;
        ev->readers = r;
        return r;
}

const struct event *events_next(struct event_reader *r)
{
        if (r->at < r->ev->first)
                r->at = r->ev->first;
        return r->at < r->ev->end ? &r->ev->kept[r->at++ % EVENTS_KEPT] : NULL;
}

void events_stop(struct event_reader *r)
{
        if (!r)
                return;
        for (struct event_reader **at = &r->ev->readers; *at; at = &(*at)->next)
                if (*at == r) {
                        *at = r->next;
                        break;
                }
        free(r);
}

void events_each(const struct events *ev, const char *sandbox, void (*fn)(void *ctx, const struct event *e), void *ctx)
{
        for (uint64_t n = ev->first; n < ev->end; n++)
                if (strcmp(ev->kept[n % EVENTS_KEPT].sandbox, sandbox) == 0)
                        fn(ctx, &ev->kept[n % EVENTS_KEPT]);
}
