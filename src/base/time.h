/*
 * The time of day, for people: milliseconds since 1970 and RFC 3339. What waits for something uses base/clock.h, which nobody sets.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

enum { TIME_TEXT_MAX = 32 };

uint64_t time_wall_ms(void);

/* "2026-11-24T05:00:00.123Z". Returns out. */
const char *time_format(uint64_t wall_ms, char out[TIME_TEXT_MAX]);
