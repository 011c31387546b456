/*
 * The listener of the sandbox's seccomp filter: calls that nothing but an attack has a use for come here, are counted, and refused.
 */
#pragma once

#include "wire/guest.h"

/* One notification, where poll said that there is one. Returns false where the listener is of no more use. */
bool notify_answer(int fd);

/* Adds what was counted. */
void notify_stats(struct guest_stats *stats);

/* How many calls were refused so far. */
uint64_t notify_refused(void);
