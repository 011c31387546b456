/* From EXEC frames to a running command: the request is put together here, one at a time, and becomes a channel. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/buf.h"

/* One piece; `more`: another follows. Returns NULL, or what the frame did wrong. A request that cannot be met is answered by FAILED. */
const char *exec_piece(uint32_t number, struct bytes piece, bool more);

/* Forgets a request of which pieces are missing. */
void exec_reset(void);
