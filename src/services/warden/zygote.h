/*
 * The zygote: a separately executed process, with none of the warden's memory, that lives in the template's mount namespace and makes the
 * warden's children there. Such a child, an embryo, has all its namespaces and mounts and waits for one message; then it drops everything and becomes
 * creto-init. Between the two only fixed-size structs go by; they are the structs themselves, since one binary is at both ends.
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
        ZYGOTE_USER = 1,   /* ordinary user's namespace */
        ZYGOTE_ROOT = 2,   /* its root will be an image's */
        ZYGOTE_CGROUP = 4, /* a v2 group to clone into comes along */
        ZYGOTE_SWEEP = 8,  /* nothing is made: the descriptors are the directories that the janitor sweeps; no answer */
};

/* warden → zygote; descriptors: embryo's socket, netns, [cgroup]. */
struct zygote_make {
        uint32_t flags;
        uint32_t tty_gid;
};

/* zygote → warden */
struct zygote_made {
        int32_t pid; /* or -errno */
};

/* warden → embryo, when they are made; descriptors: userns, disk, [root]. */
struct embryo_parts {
        uint32_t image; /* 1: a root comes along */
};

/* embryo → warden: it waits (ok), or what went wrong; nothing follows but the end of the socket, at exec. */
struct embryo_report {
        int32_t ok;
        struct err err;
};

/* warden → embryo; descriptors: the guest stream or the socket to listen on, creto-init, [what holds the id range]. */
struct embryo_go {
        uint32_t cgroup_ns; /* 1: make a cgroup namespace now that we are in our group */
        uint32_t init_id;   /* the uid and gid, as the new user namespace sees them */
        uint32_t one_uid;   /* 1: no groups may be set */
        char hostname[IPC_HOSTNAME_MAX + 1];
        char machine_id[33];
        struct boot_config boot;
};

/* The program. argv: "creto-warden" "--zygote" "root|user" "private|service" WARDEN-PID. */
int zygote_main(char **argv);

/* In the embryo, and only there: waits on `sock` for the message above and becomes creto-init. Does not return. */
_Noreturn void embryo_run(int sock, int userns);
