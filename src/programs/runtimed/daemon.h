/*
 * The daemon itself: unprivileged, one loop, nothing that waits.
 */
#pragma once

#include "programs/runtimed/config.h"

/* Returns the exit status. */
int daemon_run(const struct config *config);
