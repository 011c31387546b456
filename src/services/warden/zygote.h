/*
 * The zygote: a separately executed process, with none of the warden's memory, that lives in the template's mount namespace and makes the
 * warden's children there. Such a child, an embryo, makes all its namespaces and mounts and waits for one message; then it drops everything and becomes
 * creto-init. Beside it works a maker, a child of the zygote that goes back to the warden's mounts: it makes the user namespace, the disk and the root
 * of an image, hands them to the embryo and ends. What waits in the kernel waits in these two; the warden only hears of it. Between them
 * only fixed-size structs go by; they are the structs themselves, since one binary is at both ends.
 *
 * In a private warden the zygote is also the janitor: when the warden is gone, it removes what the kernel does not remove by itself.
 */
#pragma once

#include <stdint.h>
#include <sys/types.h>

#include "base/err.h"
#include "wire/boot.h"
#include "wire/ipc.h"

enum {
        ZYGOTE_FD_SOCK = 3,  /* to the warden, SOCK_SEQPACKET */
        ZYGOTE_FD_SLOTS = 4, /* keeps the id ranges locked as long as we live; may be closed */
};

enum zygote_make_flag {
        ZYGOTE_USER = 1,        /* ordinary user's namespace */
        ZYGOTE_CGROUP = 2,      /* a v2 group to clone into comes along */
        ZYGOTE_DISK = 4,        /* the directory of disks comes along */
        ZYGOTE_MEMORY = 8,      /* a disk in memory will do */
        ZYGOTE_OWN_IDS = 16,    /* the layers' files belong to whom they shall, not to the image range */
        ZYGOTE_BACKGROUND = 32, /* gives way to others until it is made */
        ZYGOTE_BESIDE = 128,    /* the layers are shown at NEW_ROOT, and are no root */
        ZYGOTE_KVM = 256,       /* it has /dev/kvm */
        ZYGOTE_SWEEP = 64,      /* nothing is made: the descriptors are the directories that the janitor sweeps; no answer */
};

/* warden → zygote; descriptors: the embryo's socket, [cgroup], [directory of disks], `doors` of v1 groups, `layers` of the root, lowest first. */
struct zygote_make {
        uint32_t flags;
        uint32_t doors, layers;
        uint32_t uid;   /* who runs commands, inside */
        uint32_t first; /* of its range of ids */
        uint64_t disk_bytes, disk_inodes;
};

enum embryo_stage {
        EMBRYO_FAILED,
        EMBRYO_BORN, /* the sender is the embryo: its pid comes with the message */
        EMBRYO_READY, /* maker → embryo: here are the parts; embryo → warden: it waits. Nothing follows but the end of the socket, at exec */
};

/* embryo (or zygote, where there is none) → warden; maker → embryo, with descriptors: userns, disk, [root]. */
struct embryo_report {
        int32_t stage;
        struct err err; /* EMBRYO_FAILED */
};

/* warden → embryo; descriptors: the guest stream or the socket to listen on, creto-init, [what holds the id range]. */
struct embryo_go {
        uint32_t cgroup_ns; /* 1: make a cgroup namespace now that we are in our group */
        uint32_t init_id;   /* the uid and gid, as the new user namespace sees them */
        uint32_t one_uid;   /* 1: no groups may be set */
        char hostname[IPC_HOSTNAME_MAX + 1];
        char machine_id[34]; /* a line */
        struct boot_config boot;
};

/* The program. argv: "creto-warden" "--zygote" "root|user" "private|service" WARDEN-PID "kvm|-". */
int zygote_main(char **argv);

/* In the maker, and only there: makes what is ordered of the descriptors for it, and sends it. */
struct maker_fds {
        int out, mounts, disk; /* the embryo; the warden's mount namespace; the directory of disks, or -1 */
        const int *layers;
};
_Noreturn void maker_run(const struct zygote_make *make, const struct maker_fds *fds);

/* In the embryo, and only there: waits on `sock` for the message above and becomes creto-init. Does not return. */
_Noreturn void embryo_run(int sock, int userns);
