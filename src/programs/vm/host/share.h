#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "programs/vm/vm.h"

/* An answer is a fuse_out_header and what was read. */
enum { SHARE_REQUEST_MAX = 16 * 1024, SHARE_ANSWER_MAX = 16 + VM_FUSE_DATA };

/* What was looked up below `root`, which is borrowed. `owners`: whom files belong to is shown; else it is root, whoever that is here. NULL: no memory. */
struct share *share_new(int root, bool owners);
void share_free(struct share *s);

/* The length of the request that these bytes begin with; 0 where more are to come; -1 where it is none, and so nothing that follows. */
ssize_t share_next(const void *data, size_t len);

/* Answers a request that share_next() has seen. Returns the answer's length; 0 where there is none to this. */
size_t share_answer(struct share *s, const void *request, size_t len, uint8_t out[SHARE_ANSWER_MAX]);

/* Answers FUSE requests on a connected socket from the tree at `root`, read-only, until the other end closes it. */
void share_run(int socket, int root, bool owners);
