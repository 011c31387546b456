/*
 * The programs that the operator lets us start as engines: found, judged by who may write to them, and tried once as long as they are the same file.
 */
#pragma once

#include "services/warden/nest.h"

enum { ENGINE_PATH_MAX = CLASS_BINARY_MAX + 32 };

/* The class's engine, where it can be used now: a descriptor of its file. *old: it is a release without what newer ones have (domain/classes.h). `behind` gets where the program is that
 * its shim calls, "" where it calls none. BACKEND_UNAVAILABLE with a hint, or NOT_SUPPORTED where this warden has no use for one. */
int engine_ready(struct nest *n, const struct runtime_class *class, bool *old, char behind[ENGINE_PATH_MAX], struct err *e);
