/*
 * What the warden hands to creto-init at exec: which descriptors it starts with, and one fixed struct, read from a pipe. Both programs
 * are built together and check `size` and `version`; nothing else ever reads this, so it is the struct itself and not a codec.
 */
#pragma once

#include <stdint.h>

enum boot_fd {
        BOOT_FD_NULL_LAST = 2, /* 0, 1, 2: /dev/null */
        BOOT_FD_STREAM = 3,    /* the guest stream, connected; or a listening unix socket (BOOT_LISTEN) */
        BOOT_FD_CONFIG = 4,    /* a pipe holding one struct boot_config; closed after reading */
        BOOT_FD_OUT = 4,       /* later, with BOOT_STDIO: BOOT_FD_STREAM is read, and this is written */
        BOOT_FD_NOTIFY = 5,    /* the seccomp listener of the whole sandbox (BOOT_NOTIFY) */
        BOOT_FD_SLOT = 6,      /* kept open and never used: it holds the id range (BOOT_SLOT) */
        BOOT_FD_FORKS = 6,     /* a control group's pids.events (BOOT_COUNT, where there is no BOOT_SLOT) */
        BOOT_FD_FIRST_FREE = 7,
};

/*
 * An OCI engine starts it as `/dev/init oci`: then the configuration is standard input, the stream is 3 and the slot 4, or 2 where there is BOOT_BIND
 * (gVisor passes on the standard streams and nothing else). With BOOT_STDIO standard input is the configuration and then what the host sends, standard output
 * what the host gets, and there is nothing else. It puts them where the others expect them.
 */
#define BOOT_SOCKET "/dev/guest/s"
enum boot_engine_fd { BOOT_ENGINE_CONFIG = 0, BOOT_ENGINE_STREAM = 3, BOOT_ENGINE_SLOT = 4, BOOT_ENGINE_BIND_SLOT = 2 };

enum boot_flag {
        BOOT_LISTEN = 1,    /* BOOT_FD_STREAM listens: connections come and go, the sandbox stays */
        BOOT_NOTIFY = 2,    /* BOOT_FD_NOTIFY is there */
        BOOT_DIE_ALONE = 4, /* exit when the stream ends, and die with the parent (private warden) */
        BOOT_ONE_UID = 8,   /* only one uid is mapped: every command runs as the uid creto-init has */
        BOOT_SLOT = 16,     /* BOOT_FD_SLOT is there */
        /* Started by an OCI engine: */
        BOOT_FILTER = 64,      /* install the seccomp filter, which nobody else did */
        BOOT_BIND = 128,       /* make the socket to listen on as BOOT_SOCKET */
        BOOT_NO_PARENT = 256,  /* the parent is not the warden: do not die with it */
        BOOT_OWN_KERNEL = 512, /* not Linux but who plays it, and has no securebits */
        BOOT_STDIO = 2048,     /* the guest stream is standard input and output; their end is its end */
        /* In a virtual machine, whose kernel is this sandbox's alone, it counts by itself: */
        BOOT_COUNT = 1024, /* who was killed for want of memory, as /proc/vmstat says; forks that were refused, as BOOT_FD_FORKS does */
};

enum { BOOT_VERSION = 3, BOOT_WRITABLE_MAX = 16, BOOT_PATH_MAX = 64 };

#define BOOT_UNLIMITED UINT64_MAX

struct boot_config {
        uint32_t size;
        uint32_t version;
        uint32_t flags;       /* enum boot_flag */
        uint32_t default_uid; /* who runs a command that names no user */
        uint32_t default_gid;
        uint32_t disk_watch;  /* 1: `disk_path` is a filesystem of its own whose fullness is reported */
        uint64_t nofile;      /* RLIMIT_NOFILE of commands */
        uint64_t core_bytes;  /* RLIMIT_CORE */
        uint64_t stack_bytes; /* RLIMIT_STACK, soft */
        uint64_t as_bytes;    /* RLIMIT_AS, where memory cannot be limited otherwise */
        uint64_t nproc;       /* RLIMIT_NPROC, likewise */
        uint64_t fsize_bytes; /* RLIMIT_FSIZE */
        uint64_t output_bps;  /* bytes a second that all execs together may write to their streams */
        char disk_path[BOOT_PATH_MAX];
        char home[BOOT_PATH_MAX]; /* home of the default user, where /etc/passwd does not say */
        uint32_t writable_count;  /* paths below which Landlock lets commands write */
        uint32_t
                init_id; /* who creto-init is to become, where it starts as root (BOOT_OWN_KERNEL), or how its one id is called (BOOT_ONE_UID and an engine) */
        char writable[BOOT_WRITABLE_MAX][BOOT_PATH_MAX];
};
