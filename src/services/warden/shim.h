/*
 * What root does for a containerd shim, beside what it does for any engine: fifos and a socket in the bundle, and creto-shim, which is nobody and speaks with it.
 */
#pragma once

#include "services/warden/nest.h"

/* What the bundle has besides; `runtime` is where the program behind the shim is, or "". */
int shim_fill(int bundle, struct nest_box *b, const char *runtime, bool old, struct err *e);
/* The shim has come up: starts creto-shim. Its pid, or a negative code. */
int shim_start(struct nest *n, struct nest_box *b, struct err *e);
/* 0: the container has started; 1: not yet; or a negative code. */
int shim_hear(struct nest_box *b, struct err *e);
