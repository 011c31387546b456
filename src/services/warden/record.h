/*
 * What outlives the warden in service mode: a record of each sandbox, and the socket that its creto-init listens on. Both are files in the run
 * directory that only root can reach; docs/protocols/ipc.md says who may rely on what.
 */
#pragma once

#include <stdint.h>
#include <sys/types.h>

#include "base/err.h"
#include "domain/limits.h"
#include "services/warden/parts/cgroup.h"
#include "wire/ipc.h"

enum { RECORD_VERSION = 1 };

struct record_dirs {
        int records, sockets; /* RUN/sandboxes, RUN/guest; -1 where the warden is private */
};

/* A file holds exactly one. Written and read by the same program, or by its successor, which takes no other version. */
struct record {
        uint32_t size, version;
        char id[IPC_ID_MAX + 1];
        char group[CGROUP_NAME_MAX]; /* "": no groups */
        int32_t pid, slot;
        uint64_t pid_start;  /* field 22 of /proc/PID/stat: with the pid it names one process of this boot */
        uint64_t started_ms; /* CLOCK_BOOTTIME */
        uint64_t limits[LIMIT_COUNT];
};

/* Makes the directories where they are not there. */
int record_dirs_open(const char *run_dir, struct record_dirs *d, struct err *e);
void record_dirs_close(struct record_dirs *d);

/* Written whole or not at all. */
int record_write(const struct record_dirs *d, const struct record *r, struct err *e);
/* The record and the socket. */
void record_remove(const struct record_dirs *d, const char *id);
/* Calls back for every record that is one; what is none is removed, and so are sockets that no record names. */
void record_each(const struct record_dirs *d, void (*call)(void *user, const struct record *r), void *user);

/* Mounts a detached mount in the place of the socket: creto-init will make that there by itself. */
int record_mount(const struct record_dirs *d, const char *id, int mount, struct err *e);
/* A connection to the socket in such a directory, as record_connect(). */
int record_connect_at(int dir, struct err *e);

/* The socket that a new sandbox listens on, and a connection to one. Descriptors, or negative codes. */
int record_listen(const struct record_dirs *d, const char *id, struct err *e);
int record_connect(const struct record_dirs *d, const char *id, struct err *e);
