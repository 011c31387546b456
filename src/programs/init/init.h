/*
 * What every room of creto-init shares: the configuration it was started with, and its clock.
 *
 * creto-init is pid 1 of a sandbox. It never allocates: all state is static, and a page that is not touched costs nothing. It never
 * parses what the sandbox can write (users.c does so in a child), never waits for a command, and sleeps in one ppoll(2).
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/clock.h"
#include "wire/boot.h"

extern struct boot_config boot;

static inline bool boot_has(uint32_t flag)
{
        return (boot.flags & flag) != 0;
}

static inline uint64_t now_us(void)
{
        return clock_us(CLOCK_MONOTONIC);
}
