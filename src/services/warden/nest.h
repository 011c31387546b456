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
#include "wire/ipc.h"
#include "wire/shim.h"

enum nest_state {
        NEST_WAITING,  /* asked for; there is nothing of it yet */
        NEST_MAKING,   /* the zygote, its embryo and its maker work; the socket says how it goes */
        NEST_PREPARED, /* an embryo that waits */
        NEST_RUNNING,
        NEST_DYING,    /* SIGKILL is on its way */
        NEST_CLEARING, /* reaped; its groups are not empty yet */
        NEST_DEAD,     /* reaped and cleared; kept until its owner has asked */
        NEST_STATES,
};

/* What one asks for, besides its limits and the layers of its root. */
struct nest_want {
        const struct runtime_class *class; /* NULL: native */
        uint32_t missing;                  /* limits that are not enforced: bits */
        uint64_t pids;                     /* how many commands may be where the class cannot keep that limit */
        uint32_t uid, gid;
        char hostname[IPC_HOSTNAME_MAX + 1], home[IPC_HOME_MAX + 1];
        bool own_ids;   /* the files of its root belong to whom they shall */
        uint32_t flags; /* enum ipc_spawn_flag */
};

/* A change of a running sandbox for which the kernel may take its time: a child of ours makes it. */
struct nest_errand {
        enum ipc_type type; /* LIMIT or FREEZE */
        uint32_t asked;     /* its serial; 0: nobody waits for the answer any more */
        int sock;           /* readable when it is done; -1: there is none */
        pid_t pid;
        struct limits limits;
        bool frozen;
};

/* An engine at work (oci.c). */
struct nest_job {
        int timer;          /* when it has to be looked at again */
        int bundle;         /* a tmpfs */
        int stream;         /* the host's end, or -1 where it is still to be had */
        int told;           /* an ordinary user's engine: how it ended is read here (proc_hold()); or -1 */
        int socket_dir;     /* where creto-init will make its socket, or -1 */
        int shim[SHIM_FDS]; /* what creto-shim will have, or -1; then SHIM_FD_READY alone */
        bool done;          /* the engine has ended well */
        uint64_t end_ms;    /* when it has taken too long */
};

struct nest_box {
        char id[IPC_ID_MAX + 1]; /* "": nobody's: made ahead, or not wanted any more */
        enum nest_state state;
        struct nest_want want;
        uint32_t asked; /* the serial of SPAWN */
        pid_t pid;
        int pidfd;  /* -1: there is no process, as far as is known */
        int sock;   /* to the embryo, until it is creto-init; of a job, what can be read when there is something to be done */
        int root;   /* until it is ordered: the directory that is its root, or -1 */
        int engine; /* the one that was offered for it, or -1 */
        int slot;
        int status;   /* wait status, NEST_DEAD */
        bool adopted; /* another warden's child: how it ends is not ours to know */
        bool frozen;
        bool unwanted;       /* to be forgotten once it is cleared */
        uint64_t started_ms; /* CLOCK_BOOTTIME */
        bool wanted;         /* TERMINATE came, under this serial */
        uint32_t serial;
        unsigned tries; /* to clear it */
        struct nest_errand errand;
        struct nest_job *job; /* NULL: no engine makes it */
        struct limits limits; /* as written to the groups */
        struct cgroup group;
        struct image_hold *image;    /* what it is mounted on; NULL: no layers of the store */
        struct ipc_usage usage;      /* the last reading */
        char complaint[ERR_MSG_MAX]; /* why it never became a sandbox; empty where it did */
        struct nest_box *next;
};

/* What is known of a class's engine, as long as its file is the same. */
struct nest_engine {
        uint64_t dev, ino, changed_ns;
        bool works, old;
        uint64_t again_ms, wait_ms; /* one that does not work is asked again then, which is so long after the last time */
        char version[IPC_CLASS_TEXT_MAX + 1];
};

struct nest_config {
        const struct classes *classes;
        const char *run_dir;
        const char *state_dir;
        bool user;
        bool private;
        bool kvm;          /* sandboxes may have /dev/kvm */
        unsigned prepared; /* how many embryos to keep */
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
        unsigned serial;                         /* of group names */
        bool grouped;                            /* groups have been made */
        bool strays;                             /* children that we did not make may end as ours */
        struct nest_engine engines[CLASSES_MAX]; /* as config.classes */
        bool told;                               /* the zygote, as janitor, knows where */
        unsigned making_max;                     /* at once, of background ones; of all twice as many */
        unsigned sweeps;                         /* left: of groups of wardens before us, whose embryos were not dead yet */
        unsigned count[NEST_STATES];
        struct nest_box *boxes; /* newest first */
};

/* Not private: takes over the sandboxes that records name. */
int nest_init(struct nest *n, const struct nest_config *config, struct err *e);
/* Kills and clears everything. */
void nest_release(struct nest *n);
/* A service that ends: what belongs to nobody goes, the sandboxes stay for who comes next. */
void nest_leave(struct nest *n);

/* A new guest stream of a sandbox, in service mode. A descriptor, or a negative code. */
int nest_attach(struct nest *n, const struct nest_box *box, struct err *e);
/* Freezes a sandbox, lets it go on, or puts it under other limits, its record too. 0: it is done; 1: its errand's socket is to be watched; or a negative
 * code, and then nothing has changed. `asked` and what is to be changed to are set in *what. */
int nest_change(struct nest *n, struct nest_box *box, const struct nest_errand *what, struct err *e);
/* When the socket of the errand is readable, or the sandbox is gone: as nest_change(). */
int nest_changed(struct nest *n, struct nest_box *box, struct err *e);

/* Which limits can be enforced on this host and in this mode: bit per limit. */
uint32_t nest_limits(const struct nest *n);
/* What there is of the runtime classes, and why one cannot be had. */
void nest_classes(struct nest *n, struct ipc_classes *out);

/* Takes a checked request: NEST_PREPARED where an embryo made ahead fits it, else NEST_WAITING. `root` (owned) is its root where that is a directory, or -1;
 * `image` (owned) what holds its layers, or NULL. NULL with *e, and then both are still the caller's. */
struct nest_box *nest_order(struct nest *n, const char *id, const struct nest_want *want, const struct limits *l, int root,
                            struct image_hold *image, struct err *e);
/* One more to be made ahead, or NULL where none is wanted now. */
struct nest_box *nest_prepare(struct nest *n);
/* The one that has waited longest and may be made now, or NULL. */
struct nest_box *nest_next(struct nest *n, bool background);
/* Orders its embryo; from now on its socket is to be heard. */
int nest_begin(struct nest *n, struct nest_box *box, struct err *e);
/* What its socket says. 0: it is NEST_PREPARED; 1: more is to come; negative: it will be nothing. */
int nest_hear(struct nest *n, struct nest_box *box, struct err *e);
/* A prepared one becomes a sandbox. On success it runs and *stream is the host's end of its guest stream (owned by the caller). */
int nest_send_off(struct nest *n, struct nest_box *box, int *stream, struct err *e);

struct nest_box *nest_find(struct nest *n, const char *id);
void nest_kill(struct nest *n, struct nest_box *box);
/* It is nobody's any more, and ends. */
void nest_disown(struct nest *n, struct nest_box *box);
void nest_read_usage(struct nest *n, struct nest_box *box);

/* Called when the pidfd of `box` is readable: reaps it. */
void nest_reap(struct nest *n, struct nest_box *box);
/* Takes back everything that it had. False: NEST_CLEARING, to be tried again in a moment. */
bool nest_clear(struct nest *n, struct nest_box *box);
/* In a moment again, as long as there are sweeps left. */
void nest_sweep(struct nest *n);
/* Forgets a cleared box. */
void nest_forget(struct nest *n, struct nest_box *box);

/* Restarts the zygote if it is gone. */
int nest_ensure_zygote(struct nest *n, struct err *e);
