/*
 * What happens, as it happens: a feed of lifecycle events, the last of which are kept in memory for who comes late. Not the audit log: nothing depends on
 * an event being taken.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

enum { EVENTS_KEPT = 4096, EVENT_JSON_MAX = 2048, EVENT_NAME_MAX = 32, EVENT_ID_MAX = 64, EVENT_OWNER_MAX = 128 };

struct events;
struct event_reader;

struct event {
        uint64_t number; /* 1, 2, 3, … of this start of the service, above what an earlier start has given */
        char name[EVENT_NAME_MAX + 1];
        char sandbox[EVENT_ID_MAX + 1];
        char owner[EVENT_OWNER_MAX + 1];
        char *json; /* the whole event as the API shows it */
};

/* What is put into an event; strings are borrowed. */
struct event_facts {
        const char *name;       /* "SandboxSpawned" */
        const char *sandbox;    /* or NULL */
        const char *owner;      /* or NULL */
        const char *request_id; /* or NULL */
        const char *detail;     /* one JSON object, or NULL */
};

int events_new(struct events **out, struct err *e);

void events_add(struct events *ev, const struct event_facts *f);

/* A reader: `ready` is called when there may be something to take. It begins after event number `after` where that is still kept, else with the oldest
 * that is; UINT64_MAX: with what comes from now on. */
struct event_reader *events_read(struct events *ev, uint64_t after, void (*ready)(void *ctx), void *ctx);
/* The next one, or NULL. Borrowed until the next call of anything here. */
const struct event *events_next(struct event_reader *r);
void events_stop(struct event_reader *r);

/* Every event of one sandbox that is kept, oldest first. */
void events_each(const struct events *ev, const char *sandbox, void (*fn)(void *ctx, const struct event *e), void *ctx);
