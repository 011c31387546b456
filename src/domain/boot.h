/*
 * What creto-init is told at its start, as far as it follows from limits. Pure.
 */
#pragma once

#include <stdint.h>

#include "domain/limits.h"
#include "wire/boot.h"

/* `can`: the limits that a group enforces, bit per limit; the others are enforced as well as a process limit can. Who runs commands, and where their home is,
 * is left empty. */
void boot_fill(struct boot_config *c, uint32_t flags, const struct limits *l, uint32_t can);
/* For one whose stream is its standard input and output. `pids`: how many processes each user may have; no group counts them. */
void boot_on_stdio(struct boot_config *c, uint64_t pids);
