/*
 * The conversation with a shim: Create, Start, Wait, one after the other, and the end of it. What else there is (Kill, Delete, Shutdown …) is not needed: the
 * sandbox's groups end everything.
 */
#pragma once

#include <poll.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "wire/ttrpc.h"

enum { SINK_MAX = 4, TASK_POLLS = 2 + SINK_MAX, SAID_MAX = 512, TASK_STEP_MS = 15000 };

enum task_step { TASK_CREATE, TASK_START, TASK_WAIT, TASK_STEPS };

struct talk {
        int fd; /* or -1 */
        uint8_t in[TTRPC_HEADER + TTRPC_FRAME_MAX];
        size_t len;
};

struct task {
        struct task_create create; /* borrowed */
        enum task_step step;
        uint64_t since_ms; /* that it was asked for */
        bool answers;      /* the container does: from now on there is no hurry */
        struct talk shim, events[SINK_MAX];
        int sink;           /* where the shim connects to say what happens */
        char why[SAID_MAX]; /* it has ended */
        bool refused;       /* and that is what the shim says of it */
};

/* Takes the shim's socket and the listening one, both made non-blocking, and asks for the first. */
void task_init(struct task *t, const struct task_create *create, int shim, int sink, uint64_t now_ms);

/* What it waits for: TASK_POLLS of them. */
void task_watch(const struct task *t, struct pollfd *p);
/* False: it has ended, and `why` says why. */
bool task_turn(struct task *t, const struct pollfd *p, uint64_t now_ms);
/* How long it waits at most: -1 for ever. */
int task_patience(const struct task *t, uint64_t now_ms);
