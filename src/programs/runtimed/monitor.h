/*
 * The foreground start: the only part of this program that is root. It reads nothing but its own command line and configuration.
 */
#pragma once

#include "programs/runtimed/config.h"

/* Where the daemon finds what it inherits. */
enum { FD_SOCKET = 3, FD_LISTEN = 4 };

/* Returns the exit status. */
int monitor_main(const struct config *config, char **argv);
