/*
 * The kinds of exec that are functions of creto-init (docs/protocols/guest.md). They run in a child that is confined like any command,
 * and so can do what the sandboxed user can do. Nothing here allocates.
 */
#pragma once

#include <stdint.h>

/* Runs one to its end; returns the exit status: 0, or an errno after one line on standard error. */
int files_run(uint8_t kind, uint32_t argc, char **argv);
