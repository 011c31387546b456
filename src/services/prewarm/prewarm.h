/*
 * Interpreters that are started before there is anything to run (docs/protocols/prewarm.md): how one is started, and which commands one may serve. Pure.
 */
#pragma once

#include <stdbool.h>

#include "domain/spec.h"

enum { PREWARM_ARGV_MAX = SPEC_PREWARM_MAX + 8 };

/* The command of the server, NULL-ended; its strings live as long as those of `p`. */
void prewarm_argv(const struct spec_prewarm *p, const char *out[PREWARM_ARGV_MAX]);

/* True where the server's own standard streams become those of its one command, its input too. */
bool prewarm_has_stdin(const struct spec_prewarm *p);

/*
 * True where the server does for `argv` what a cold start does, as far as can be told from here; the server may still refuse. `own` is what the command adds
 * to the environment that the server was started with (`env`); both NULL-ended, `own` may be NULL.
 */
bool prewarm_takes(const struct spec_prewarm *p, const char *const *argv, const char *const *own, const char *const *env);
