/*
 * SHA-256, from OpenSSL, and files that must have one.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

enum { DIGEST_HEX = 64 };

struct digest; /* one hash under way */

struct digest *digest_new(void); /* NULL: out of memory */
void digest_free(struct digest *d);
void digest_free_p(struct digest **d);
#define auto_digest __attribute__((cleanup(digest_free_p))) struct digest *

void digest_add(struct digest *d, const void *data, size_t len);
void digest_end(struct digest *d, char hex[DIGEST_HEX + 1]);

void digest_of(const void *data, size_t len, char hex[DIGEST_HEX + 1]);

/* From the descriptor's position to its end. *size is what was read; more than `max` is RESOURCE_EXHAUSTED. */
int digest_fd(int fd, uint64_t max, char hex[DIGEST_HEX + 1], uint64_t *size, struct err *e);
