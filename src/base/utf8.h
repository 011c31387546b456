/*
 * UTF-8 (RFC 3629), one character at a time, strictly: nothing overlong, no surrogates, nothing above U+10FFFF.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

enum { UTF8_NONE = -1, UTF8_SIZE_MAX = 4 };

/* Takes one character; there is at least a byte. Returns UTF8_NONE, and takes nothing, where none begins here. */
int32_t utf8_get(const uint8_t **at, const uint8_t *end);

/* The bytes of a character; returns how many. */
size_t utf8_put(char out[UTF8_SIZE_MAX], int32_t point);
