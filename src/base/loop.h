/*
 * The daemon's one loop: descriptors, timers, signals. libevent does the work; this is all that we want of it.
 *
 * One thread. Handlers may free anything, themselves included. Time is CLOCK_MONOTONIC, so a clock that is set changes nothing.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"

struct loop;
struct watch;
struct timer;

typedef void loop_fn(void *ctx);

int loop_new(struct loop **out, struct err *e);

/* Runs until loop_stop(). */
void loop_run(struct loop *l);
void loop_stop(struct loop *l);

/* Calls `fn` whenever `fd` is ready for one of `events` (POLLIN, POLLOUT). The descriptor stays the caller's, and open longer than the watch. NULL without
 * memory. */
struct watch *watch_new(struct loop *l, int fd, short events, loop_fn *fn, void *ctx);
void watch_set(struct watch *w, short events); /* 0: nothing for now */
void watch_free(struct watch *w);

struct watch *watch_signal(struct loop *l, int signo, loop_fn *fn, void *ctx);

/* Calls `fn` once, `ms` after timer_set(); set again it starts anew. NULL without memory. */
struct timer *timer_new(struct loop *l, loop_fn *fn, void *ctx);
void timer_set(struct timer *t, uint64_t ms);
void timer_stop(struct timer *t);
void timer_free(struct timer *t);
