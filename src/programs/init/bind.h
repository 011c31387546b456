/*
 * The claim that this sandbox is bound to. There is at most one in the life of creto-init: nothing here ever changes or forgets it, so
 * that two claims can never both be told that the sandbox is theirs.
 */
#pragma once

#include <stdint.h>

#include "wire/guest.h"

/* Binds to `claim`, which is not none, where there is no claim yet; does nothing where there is one. */
void bind_take(const uint8_t claim[GUEST_CLAIM]);

/* The claim, GUEST_CLAIM bytes; none (zeros) until there is one. */
const uint8_t *bind_claim(void);
