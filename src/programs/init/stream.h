/*
 * The stream to the host: connections, epochs, framing, and a queue of frames on their way out. It never blocks, and never takes a frame
 * in whose answer may find no room.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "programs/init/watch.h"
#include "wire/guest.h"

void stream_init(void);

/* True between a HELLO and the end of its connection. */
bool stream_up(void);
void stream_watch(void);
void stream_ready(enum watch what, short revents);

/* Takes what has come in, and sends what can be sent, as far as both go without waiting. */
void stream_turn(void);

/* The largest payload that the host takes and that there is room for now; 0 where there is not even room for a header. */
size_t stream_room(void);

/* Writing a frame: the payload goes to the cursor that begin gives, at most stream_room() bytes of it; end puts the header before it. */
struct wbuf stream_begin(void);
void stream_end(uint16_t type, uint32_t channel, const struct wbuf *payload);

/* A HELLO that came on the present connection. Returns NULL, or what is wrong with it. */
const char *stream_hello(struct bytes payload);
