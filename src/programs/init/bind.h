/*
 * The claim that this sandbox is bound to. There is at most one in the life of creto-init: nothing here ever changes or forgets it, so
 * that two claims can never both be told that the sandbox is theirs.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "wire/guest.h"

/* Binds to `claim`, which is not none, where there is no claim yet; does nothing where there is one. */
void bind_take(const uint8_t claim[GUEST_CLAIM]);

/* The last BIND of this connection named the claim that it is bound to: the host that speaks is the claim's. */
bool bind_taken(void);
void bind_reset(void); /* another connection */

/* The claim, GUEST_CLAIM bytes; none (zeros) until there is one. */
const uint8_t *bind_claim(void);
