/*
 * Channels: one exec each. Rings of output until acknowledged, the window of standard input, the end and its truth. Frames are never
 * queued here: what a channel owes the host is a bit, and becomes a frame when the stream has room (channel_pump()).
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "programs/init/watch.h"
#include "wire/guest.h"

struct channel;

/* A free slot for channel `number`, or NULL where all are taken. */
struct channel *channel_new(uint32_t number);

/* The exec runs: takes the descriptors. `in` -1: no standard input; `err` -1: a terminal, whose one descriptor is `out` (and `in`). */
void channel_started(struct channel *c, pid_t pid, int in, int out, int err, uint32_t timeout_ms);
void channel_failed(struct channel *c, const struct guest_failed *why);

/* Right after channel_started(): a prewarm server, whose STARTED waits for channel_announce(), and its timeout with it. */
void channel_hold(struct channel *c);
void channel_announce(struct channel *c);
/* What it has written so far is its own; then its process and its streams become those of the exec `c`, and its own channel ends with code 0.
 * channel_settle() is false where it has closed one of them. */
bool channel_settle(struct channel *server);
void channel_take(struct channel *c, struct channel *server, bool has_stdin, uint32_t timeout_ms);

/* True where an exec that runs has this process. */
bool channel_has(pid_t pid);
pid_t channel_pid(const struct channel *c);

/* True where the number is, or was, that of an exec. */
bool channel_used(uint32_t number);

/* After a HELLO: lists what is known, and owes it all again. */
void channel_resume(struct guest_hello_ok *ok);
/* Turns what is owed into frames while there is room. */
void channel_pump(void);

/* From the host; each returns NULL, or what the frame did wrong. */
const char *channel_stdin(uint32_t number, const struct guest_data *d);
const char *channel_stdin_eof(uint32_t number, uint64_t offset);
const char *channel_ack(uint32_t number, uint8_t which, uint64_t offset);
const char *channel_signal(uint32_t number, uint32_t signo, uint8_t scope);
const char *channel_resize(uint32_t number, uint16_t rows, uint16_t cols);
const char *channel_release(uint32_t number);

/* From the kernel. */
void channel_watch(void);
void channel_ready(enum watch what, uint32_t index, short revents);
void channel_reap(void);
/* Acts on deadlines that have passed. Returns the ms until the next, or -1 where there is none. */
int channel_clock(void);
