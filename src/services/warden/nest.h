/*
 * The warden's sandboxes: making embryos (some ahead of any request), sending them off, and clearing up after them. Nothing is reused
 * between sandboxes but the numbers of id ranges.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/err.h"
#include "domain/classes.h"
#include "domain/limits.h"
#include "services/warden/parts/cgroup.h"
#include "services/warden/parts/disk.h"
#include "services/warden/image.h"
#include "services/warden/parts/space.h"
#include "services/warden/record.h"
#include "wire/boot.h"
#include "wire/ipc.h"

enum nest_state {
        NEST_PREPARED, /* an embryo that waits; belongs to nobody */
        NEST_STARTING, /* somebody else makes it: there is a job */
        NEST_RUNNING,
        NEST_DYING, /* SIGKILL is on its way */
        NEST_DEAD,  /* reaped and cleared; kept until its owner has asked */
};

/* What an engine is doing. */
struct nest_job {
        const struct runtime_class *class;
        int timer;                /* can be read when it has to be looked at again */
        int bundle;               /* a tmpfs */
        int stream;               /* the host's end, or -1 where it is still to be had */
        int socket_dir;           /* where creto-init will make its socket, or -1 */
        bool done;                /* the engine has ended well */
        uint64_t end_ms;          /* when it has taken too long */
        uint32_t serial, missing; /* of the SPAWN; serial 0: nobody waits any more */
};

/* A sandbox as it is asked for: checked. */
struct nest_order {
        const struct ipc_spawn *req;
        const struct runtime_class *class;
        const int *layers; /* descriptors (root kinds 1 and 2, borrowed), lowest first */
        unsigned layer_count;
        struct limits limits;
        uint32_t missing; /* limits that are not enforced, as in SPAWNED */
};

struct nest_box {
        char id[IPC_ID_MAX + 1];
        enum nest_state state;
        pid_t pid;
        int pidfd;
        int sock; /* to the embryo, until it is creto-init */
        int slot;
        int status;   /* wait status, NEST_DEAD */
        bool adopted; /* another warden's child: how it ends is not ours to know */
        bool frozen;
        uint64_t started_ms; /* CLOCK_BOOTTIME */
        bool wanted;         /* TERMINATE came, under this serial */
        uint32_t serial;
        uint64_t disk_bytes, disk_inodes;
        struct limits limits; /* as written to the groups */
        struct cgroup group;
        struct nest_job *job;        /* NEST_STARTING */
        struct image_hold *image;    /* what it is mounted on; NULL: no layers of the store */
        struct ipc_usage usage;      /* the last reading */
        char complaint[ERR_MSG_MAX]; /* why it never became a sandbox; empty where it did */
        struct nest_box *next;
};

struct nest_config {
        const char *run_dir;
        const char *state_dir;
        bool user;
        bool private;
        unsigned prepared; /* how many embryos to keep */
        const struct classes *classes;
};

/* What is known of a class's engine, as long as its file is the same. */
struct nest_engine {
        uint64_t dev, ino, changed_ns;
        bool works, old;
        char version[IPC_CLASS_TEXT_MAX + 1];
};

struct nest {
        struct nest_config config;
        struct cgroup_host cgroups;
        struct disk_host disk;
        struct record_dirs kept;
        struct space_slots slots;
        int init_exe; /* sealed memory file */
        int zygote;   /* socket */
        pid_t zygote_pid;
        int netns;                               /* one that was made while the zygote started, or -1 */
        unsigned serial;                         /* of group names */
        bool grouped;                            /* groups have been made */
        bool strays;                             /* children that we did not make may end as ours */
        struct nest_engine engines[CLASSES_MAX]; /* as config.classes */
        bool told;                               /* the zygote, as janitor, knows where */
        struct nest_box *boxes;
};

/* Not private: takes over the sandboxes that records name. */
int nest_init(struct nest *n, const struct nest_config *config, struct err *e);
/* Kills and clears everything. */
void nest_release(struct nest *n);
/* A service that ends: what belongs to nobody goes, the sandboxes stay for who comes next. */
void nest_leave(struct nest *n);

/* A new guest stream of a sandbox, in service mode. A descriptor, or a negative code. */
int nest_attach(struct nest *n, const struct nest_box *box, struct err *e);
int nest_freeze(struct nest *n, struct nest_box *box, bool frozen, struct err *e);

/* Puts a sandbox under other limits, from its record on. What fails changes nothing. */
int nest_limit(struct nest *n, struct nest_box *box, const struct limits *to, struct err *e);

/* Which limits can be enforced on this host and in this mode: bit per limit. */
uint32_t nest_limits(const struct nest *n);

/* Starts a sandbox from a checked order; see `spawn` of driver.h. On success *box is it. */
int nest_spawn(struct nest *n, const struct nest_order *o, struct nest_box **box, int *stream, struct err *e);
int nest_step(struct nest *n, struct nest_box *box, int *stream, struct err *e);
/* What there is of the classes, and why one cannot be had. */
void nest_classes(struct nest *n, struct ipc_classes *out);

struct nest_box *nest_find(struct nest *n, const char *id);
void nest_kill(struct nest_box *box);
void nest_read_usage(struct nest *n, struct nest_box *box);

/* Called when the pidfd of `box` is readable: reaps it and removes what it had. */
void nest_reap(struct nest *n, struct nest_box *box);
/* Forgets a dead box. */
void nest_forget(struct nest *n, struct nest_box *box);

/* Makes one more embryo if fewer than wanted are waiting. Returns 1 where one was made, 0 where none was needed, or a negative code. */
int nest_prepare(struct nest *n, struct nest_box **made, struct err *e);
unsigned nest_prepared(const struct nest *n); /* how many there are */

/* Restarts the zygote if it is gone. */
int nest_ensure_zygote(struct nest *n, struct err *e);
