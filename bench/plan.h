/*
 * The plan of a measurement: one command a line, fields parted by tabs: a name, the view it runs in ("host", or "crun", see view.h),
 * then its arguments. "%p" inside an argument is replaced by the number of the parallel loop that runs it (0 outside of loops).
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>

#define PLAN_MAX_COMMANDS 64
#define PLAN_MAX_ARGS 128
#define PLAN_MAX_FILE (256 * 1024)

struct plan_command {
        const char *name;
        bool crun_view;
        char *argv[PLAN_MAX_ARGS + 1];
};

struct plan {
        char *text; /* what every string above points into */
        size_t n;
        struct plan_command command[PLAN_MAX_COMMANDS];
};

/* Reads the plan from a file. Returns 0, or -1 after a message on standard error. The plan lives as long as the program. */
int plan_read(struct plan *p, const char *path);

/* Replaces "%p" in a command's arguments by the number. Called once, in the process of the loop. Returns 0, or -1 without memory. */
int plan_number(struct plan_command *c, unsigned number);
