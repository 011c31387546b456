/*
 * Interpreters that are started before there is anything to run (docs/protocols/prewarm.md): how one is started, and which commands one may serve. Pure.
 */
#pragma once

#include <stdbool.h>

#include "domain/spec.h"

enum { PREWARM_ARGV_MAX = SPEC_PREWARM_MAX + 8 };

/* Node's main program is another one for code than for a file, and is chosen when it starts. The others do all they do as PREWARM_CODE. */
enum prewarm_form { PREWARM_COLD, PREWARM_CODE, PREWARM_FILE };

/* The command of the server, NULL-ended; its strings live as long as those of `p`. */
void prewarm_argv(const struct spec_prewarm *p, enum prewarm_form form, const char *out[PREWARM_ARGV_MAX]);

/* The environment of the server: `env`, which is the sandbox's, and perhaps more. NULL-ended, borrows the strings; returns NULL with *e, else it is to be
 * freed. */
const char **prewarm_env(const struct spec_prewarm *p, const char *const *env, struct err *e);

/* True where the server's own standard streams become those of its one command, its input too. */
bool prewarm_has_stdin(const struct spec_prewarm *p);

/* True where the two environments are the same in what an interpreter reads when it starts. NULL-ended. */
bool prewarm_same_start(const char *const *a, const char *const *b);

/*
 * PREWARM_COLD unless the server does for `argv` with `env` what a cold start does, as far as can be told from here; the server may still refuse. `server`
 * is the environment that it was started with. All NULL-ended.
 */
enum prewarm_form prewarm_takes(const struct spec_prewarm *p, const char *const *argv, const char *const *env, const char *const *server);
