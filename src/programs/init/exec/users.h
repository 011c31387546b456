/*
 * Names to ids, by the sandbox's own /etc/passwd and /etc/group. What stands there was written by whoever is in the sandbox, so it is
 * read in a child that has given up everything, and only numbers and short strings come back.
 */
#pragma once

#include "programs/init/exec/confine.h"

/*
 * `user` is `name`, `uid`, `name:group` or `uid:gid`. *id holds the default user on entry. Returns 0 and sets *id, or an errno: ENOENT where there is
 * no such user or group. A uid that passwd does not know keeps the default gid.
 */
int users_find(const char *user, struct identity *id);
