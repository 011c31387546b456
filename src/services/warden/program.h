/*
 * Our sibling programs: where they are is known from where we are, never from the environment.
 */
#pragma once

/* Opens creto-NAME for reading: beside our own file, or in ../NAME/ as in a build tree. Returns a descriptor, or -1 with errno. */
int program_open(const char *name);
