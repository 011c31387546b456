/*
 * The guest stream of a container that has nothing but standard input and output: between those and whichever host program is connected. Both directions are cut
 * between frames only, so that a host program may die at any byte, and the next one goes on.
 *
 * Each end distrusts the other, and this trusts neither: it knows where frames begin, and reads HELLO and HELLO_OK; all else is for the ends to judge.
 */
#pragma once

#include <poll.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "wire/guest.h"

enum {
        RELAY_HELLO = GUEST_HEADER + 16,
        RELAY_BUFFER = 2 * (GUEST_HEADER + GUEST_FRAME_MAX) + RELAY_HELLO,
        RELAY_POLLS = 5,
};

/* Bytes 0 to pos are done with, those to whole are whole frames, those to len are the beginning of one. */
struct relay_way {
        uint8_t data[RELAY_BUFFER];
        size_t pos, whole, len;
        bool broken; /* what came is no frame: from now on everything passes, and whoever reads it will see */
};

struct relay {
        int to, from;  /* the container's standard input and output */
        int listener;  /* where host programs connect, or -1 */
        int candidate; /* has not said HELLO yet, or -1 */
        int host;      /* or -1 */
        uint8_t hello[RELAY_HELLO];
        size_t hello_len;
        uint64_t epoch;
        bool waiting; /* for the answer to HELLO: what comes before is not for this host program */
        bool answers; /* the container has answered, to our own first HELLO */
        struct relay_way down, up;
};

/* `guest` is connected, or listens; all are made non-blocking. Greets the container, to see that there is one. */
void relay_init(struct relay *r, int to, int from, int guest);

/* What it waits for: RELAY_POLLS of them, some with descriptor -1. */
void relay_watch(const struct relay *r, struct pollfd *p);
/* False: there is no host program, and there will be none. */
bool relay_turn(struct relay *r, const struct pollfd *p);
