/*
 * Base64 (RFC 4648, section 4): the standard alphabet, padded, on one line.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>

#include "base/buf.h"

/* How many characters `len` bytes become, and the most bytes that `len` characters can hold. */
#define BASE64_ENCODED(len) (((len) / 3 + ((len) % 3 != 0)) * 4)
#define BASE64_DECODED(len) ((len) / 4 * 3)

/* Bad where it does not fit. */
void base64_put(struct wbuf *w, const void *data, size_t len);

/*
 * Strictly: nothing outside the alphabet (no line ends either), all of the padding and none too much, unused bits zero, so that there is one text
 * for any bytes. Writes *out_len only on success, `out` maybe without it; `out` may be `text`. False where it is not base64 or does not fit.
 */
bool base64_decode(const char *text, size_t len, void *out, size_t cap, size_t *out_len);
