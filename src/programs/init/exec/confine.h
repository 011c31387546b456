/*
 * How a child becomes a command: user, capabilities, limits, Landlock. What can be found out once is found out once, by
 * confine_prepare(); the child then only makes the system calls.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

enum { CONFINE_GROUPS_MAX = 64 };

struct identity {
        uint32_t uid;
        uint32_t gid;
        uint32_t group_count;
        uint32_t groups[CONFINE_GROUPS_MAX];
        char name[64]; /* empty: not known */
        char home[256];
        char shell[256]; /* empty: not known */
};

/* Reads what children will need, and gives up for all of them what pid 1 has no use for. Does its work once; cheap to call again. */
void confine_prepare(void);

/* pid 1 itself: nobody may look into it; with BOOT_DIE_ALONE it dies with its parent. Again after each change of the fsuid. */
void confine_self(void);

/* Files made from here to confine_leave() (pipes, terminals) belong to `id`, so that a command can open its own /dev/stdout. */
void confine_enter(const struct identity *id);
void confine_leave(void);

/* False where a command may not be `id`: pid 1's own uid, or with BOOT_ONE_UID any other. */
bool confine_may_be(const struct identity *id);

/*
 * In the child, in this order; each returns 0 or an errno. They share pid 1's memory where the child does (spawn.c) and change none
 * of it. confine_become() also drops every capability. confine_landlock() is the last thing before the command.
 */
int confine_become(const struct identity *id);
int confine_limits(void);
int confine_landlock(void);
