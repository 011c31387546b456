/* Frames from the host to the room that acts on them; one table says what may come. */
#pragma once

#include "wire/guest.h"

/* The answer to a frame that must come again when there is more room to answer it. */
extern const char PROTOCOL_WAIT[];

/* Returns NULL, PROTOCOL_WAIT, or what the frame did wrong. */
const char *protocol_frame(const struct guest_frame *frame);

/* A new connection begins: forgets half of a request that the old one left. */
void protocol_reset(void);
