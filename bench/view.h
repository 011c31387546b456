/*
 * The view of the host that crun needs. crun refuses a host whose version 1 cgroups stand beside a cgroup2 mount that holds a
 * controller ("hybrid mode"). Seen from a private mount namespace in which that one mount is gone, the same host is plain version 1.
 * The host's own mounts are never changed.
 */
#pragma once

/* Enters that view; does nothing on a host without a hybrid layout. Returns 0, or -1 with errno. */
int view_enter(void);
