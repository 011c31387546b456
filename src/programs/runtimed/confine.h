/*
 * What the daemon gives up once it has opened what it needs: files but its own, other programs, other processes, privileges.
 */
#pragma once

#include "base/err.h"

/* `state` (written to) is all of the filesystem that is left, besides a few files of /proc and /dev that are read. What this kernel cannot do is said in
 * *missing ("Landlock"), empty where nothing is missing. For good. */
int confine_daemon(const char *state, const char **missing, struct err *e);
