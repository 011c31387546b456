/*
 * The foreground start: the only part of this program that is root. It reads nothing but its own command line and configuration.
 */
#pragma once

#include "programs/runtimed/config.h"

/* Returns the exit status. */
int monitor_main(const struct config *config, char **argv);
