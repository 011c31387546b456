/*
 * What the commands of the command line share.
 */
#pragma once

#include "creto/runtime.h"

/* Prints "creto-runtime: message" and "hint: …" to standard error; returns the exit status of the code. */
int cli_error(const struct creto_error *e);

/* "usage: creto-runtime …"; returns 64. */
int cli_usage(const char *text);

/* One line to standard error: "creto-runtime: …". */
void cli_note(const char *text);

int cmd_run(int argc, char **argv);
int cmd_image(int argc, char **argv);
