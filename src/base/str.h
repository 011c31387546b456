/*
 * Text to numbers and back, strictly: no sign, no blanks, no rest, no overflow.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

bool str_parse_u64(const char *s, uint64_t *out);

/* A size: digits and an optional K, M, G or T (binary; a following "i", "B" or "iB" is taken too). */
bool str_parse_bytes(const char *s, uint64_t *out);

/* A time in seconds with an optional s, m, h or d, to milliseconds; one decimal point is allowed ("0.5", "1.5m"). */
bool str_parse_ms(const char *s, uint64_t *out);

/* "512 MiB", "1.5 GiB", "300 bytes". */
void str_format_bytes(uint64_t bytes, char *out, size_t cap);

/* True where s is 1 to max bytes of [a-z0-9-], not beginning with '-'. */
bool str_is_id(const char *s, size_t max);

/* The last line of what a program said, for people: what is not printable ASCII becomes '?'. */
void str_last_line(const char *text, char *out, size_t cap);

/* Writes 2 × len digits and a NUL. */
void str_hex(const void *data, size_t len, char *out);
/* True where `hex` is exactly 2 × len digits. */
bool str_unhex(const char *hex, void *out, size_t len);

/* Of a NULL-ended list, or of none (NULL). */
size_t str_count(const char *const *list);

/* Of `n` NAME=VALUE pairs the first with the name of `pair`; `n` where none has it. */
size_t str_find_pair(const char *const *pairs, size_t n, const char *pair);

static inline bool str_has_prefix(const char *s, const char *prefix)
{
        while (*prefix)
                if (*s++ != *prefix++)
                        return false;
        return true;
}

/* Tells data apart that differ by accident (FNV-1a, 64 bits); who chooses them can make two that do not. Begins with STR_HASH, or goes on from an earlier one. */
#define STR_HASH 14695981039346656037ULL
uint64_t str_hash(uint64_t h, const void *data, size_t len);
