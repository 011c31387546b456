/*
 * The warden's protocol: bytes to structs and back. docs/protocols/ipc.md is its specification. Pure: no I/O, no allocation.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/err.h"

enum {
        IPC_VERSION = 3,
        IPC_HEADER = 8,
        IPC_MESSAGE_MAX = 65536,
        IPC_FDS_MAX = 6,
        IPC_ID_MAX = 64,
        IPC_HOSTNAME_MAX = 63,
        IPC_HOME_MAX = 63,
        IPC_LAYERS_MAX = 128,
        IPC_DIGEST_HEX = 64,
        IPC_LIMITS = 9,
        IPC_PREPARED_MAX = 64,
        IPC_IMAGE_ARGS_MAX = 16,
        IPC_IMAGE_ARG_MAX = 4096,
        IPC_IMAGE_FDS_EXTRA = 4,
        IPC_LIST_MAX = 256, /* sandboxes in one LISTED */
        IPC_CLASS_MAX = 32, /* bytes of a runtime class's name */
        IPC_CLASSES_MAX = 32,
        IPC_CLASS_TEXT_MAX = 255,
};

enum ipc_type {
        IPC_HELLO = 1,
        IPC_SPAWN = 2,
        IPC_USAGE = 3,
        IPC_TERMINATE = 4,
        IPC_IMAGE = 5,
        IPC_LIST = 6,
        IPC_ATTACH = 7,
        IPC_FREEZE = 8,
        IPC_LIMIT = 9,
        IPC_CLASSES = 10,

        IPC_HELLO_OK = 0x81,
        IPC_SPAWNED = 0x82,
        IPC_USAGE_OK = 0x83,
        IPC_TERMINATED = 0x84,
        IPC_EXITED = 0x85,
        IPC_IMAGE_DONE = 0x86,
        IPC_LISTED = 0x87,
        IPC_ATTACHED = 0x88,
        IPC_FROZEN = 0x89,
        IPC_LIMITED = 0x8a,
        IPC_CLASSES_OK = 0x8b,
        IPC_ERROR = 0x8f,
};

enum ipc_hello_flag { IPC_PRIVATE = 1 };
enum ipc_spawn_flag {
        IPC_SPAWN_BACKGROUND = 1, /* nobody waits for it */
        IPC_SPAWN_BESIDE = 2,     /* the layers are no root but a directory (NEW_ROOT) of a sandbox with the host's */
        IPC_SPAWN_KVM = 4,        /* it has /dev/kvm */
        IPC_SPAWN_FLAGS = 7,
};
enum ipc_mode { IPC_MODE_ROOT, IPC_MODE_USER };
enum ipc_root { IPC_ROOT_HOST, IPC_ROOT_LAYERS, IPC_ROOT_DIR };
enum ipc_box { IPC_BOX_RUNNING = 1, IPC_BOX_FROZEN = 2, IPC_BOX_DYING = 3, IPC_BOX_EXITED = 4 };
enum ipc_disk { IPC_DISK_LOOP = 1, IPC_DISK_TMPFS = 2 };

#define IPC_USAGE_UNKNOWN UINT64_MAX

struct ipc_header {
        uint16_t type;
        uint32_t serial;
};

struct ipc_hello {
        uint32_t version;
        uint32_t flags;
        uint32_t prepared;
};

struct ipc_hello_ok {
        uint32_t version;
        uint8_t mode;
        uint8_t cgroup_version;
        uint32_t limits;
        uint8_t disk;
};

struct ipc_spawn {
        char id[IPC_ID_MAX + 1];
        uint8_t root;
        uint32_t layer_count;
        char layers[IPC_LAYERS_MAX][IPC_DIGEST_HEX + 1];
        char hostname[IPC_HOSTNAME_MAX + 1];
        uint32_t uid;
        uint32_t gid;
        char home[IPC_HOME_MAX + 1];
        uint64_t limits[IPC_LIMITS];
        uint32_t limits_wanted;
        uint32_t flags; /* enum ipc_spawn_flag */
        char class[IPC_CLASS_MAX + 1];
};

struct ipc_spawned {
        char id[IPC_ID_MAX + 1];
        uint32_t pid;
        uint32_t limits_missing;
};

struct ipc_usage {
        uint64_t memory;
        uint64_t memory_peak;
        uint64_t cpu_us;
        uint64_t pids;
        uint64_t oom_kills;
        uint64_t forks_refused;
        uint64_t throttled_us;
};

struct ipc_exited {
        char id[IPC_ID_MAX + 1];
        int32_t status;
        struct ipc_usage usage;
};

struct ipc_image {
        uint32_t argc;
        char args[IPC_IMAGE_ARGS_MAX][IPC_IMAGE_ARG_MAX + 1];
};

struct ipc_listed {
        uint32_t total; /* sandboxes there are */
        uint32_t count;
        struct ipc_listed_box {
                char id[IPC_ID_MAX + 1];
                uint8_t state; /* enum ipc_box */
                uint32_t pid;
                int32_t status;      /* IPC_BOX_EXITED: wait status, -1 where it is not known */
                uint64_t started_ms; /* CLOCK_BOOTTIME */
        } boxes[IPC_LIST_MAX];
};

struct ipc_freeze {
        char id[IPC_ID_MAX + 1];
        uint8_t frozen;
};

struct ipc_limit {
        char id[IPC_ID_MAX + 1];
        uint64_t limits[IPC_LIMITS]; /* all of them, as they shall be */
        uint32_t limits_wanted;
};

struct ipc_classes {
        uint32_t count;
        struct ipc_class {
                char name[IPC_CLASS_MAX + 1];
                char driver[IPC_CLASS_MAX + 1], engine[IPC_CLASS_MAX + 1];
                char binary[IPC_CLASS_TEXT_MAX + 1];  /* where it is; "" where it is not found, or there is none */
                char version[IPC_CLASS_TEXT_MAX + 1]; /* what it says of itself: to be shown, not to be believed */
                char isolation[IPC_CLASS_TEXT_MAX + 1];
                uint8_t available;
                char reason[IPC_CLASS_TEXT_MAX + 1], hint[IPC_CLASS_TEXT_MAX + 1]; /* where it is not available */
                uint32_t limits;                                                   /* that can be enforced: bits */
                uint32_t can;                                                      /* bits of domain/classes.h */
        } of[IPC_CLASSES_MAX];
};

/* Begins a message in `w`. */
void ipc_put_header(struct wbuf *w, enum ipc_type type, uint32_t serial);
/* Reads the header of a packet and leaves the payload in *payload. Returns 0, or -1. */
int ipc_get_header(const void *data, size_t len, struct ipc_header *h, struct rbuf *payload);

/* The payloads. `get` returns 0, or -1 where the payload is not exactly one such message within its limits. */
void ipc_put_hello(struct wbuf *w, const struct ipc_hello *m);
int ipc_get_hello(struct rbuf *r, struct ipc_hello *m);
void ipc_put_hello_ok(struct wbuf *w, const struct ipc_hello_ok *m);
int ipc_get_hello_ok(struct rbuf *r, struct ipc_hello_ok *m);
void ipc_put_spawn(struct wbuf *w, const struct ipc_spawn *m);
int ipc_get_spawn(struct rbuf *r, struct ipc_spawn *m);
void ipc_put_spawned(struct wbuf *w, const struct ipc_spawned *m);
int ipc_get_spawned(struct rbuf *r, struct ipc_spawned *m);
/* USAGE, TERMINATE, ATTACH, ATTACHED */
void ipc_put_id(struct wbuf *w, const char *id);
int ipc_get_id(struct rbuf *r, char id[IPC_ID_MAX + 1]);
void ipc_put_usage(struct wbuf *w, const struct ipc_usage *m);
int ipc_get_usage(struct rbuf *r, struct ipc_usage *m);
/* TERMINATED */
void ipc_put_terminated(struct wbuf *w, const char *id, const struct ipc_usage *m);
int ipc_get_terminated(struct rbuf *r, char id[IPC_ID_MAX + 1], struct ipc_usage *m);
void ipc_put_exited(struct wbuf *w, const struct ipc_exited *m);
int ipc_get_exited(struct rbuf *r, struct ipc_exited *m);
void ipc_put_image(struct wbuf *w, const struct ipc_image *m);
int ipc_get_image(struct rbuf *r, struct ipc_image *m);
void ipc_put_status(struct wbuf *w, int32_t status); /* IMAGE_DONE */
int ipc_get_status(struct rbuf *r, int32_t *status);
void ipc_put_list(struct wbuf *w, uint32_t first);
int ipc_get_list(struct rbuf *r, uint32_t *first);
void ipc_put_listed(struct wbuf *w, const struct ipc_listed *m);
int ipc_get_listed(struct rbuf *r, struct ipc_listed *m);
/* FREEZE, FROZEN */
void ipc_put_freeze(struct wbuf *w, const struct ipc_freeze *m);
int ipc_get_freeze(struct rbuf *r, struct ipc_freeze *m);
void ipc_put_limit(struct wbuf *w, const struct ipc_limit *m);
int ipc_get_limit(struct rbuf *r, struct ipc_limit *m);
void ipc_put_limited(struct wbuf *w, uint32_t limits_missing);
int ipc_get_limited(struct rbuf *r, uint32_t *limits_missing);
void ipc_put_classes(struct wbuf *w, const struct ipc_classes *m); /* CLASSES_OK; CLASSES is empty */
int ipc_get_classes(struct rbuf *r, struct ipc_classes *m);
void ipc_put_error(struct wbuf *w, const struct err *e);
int ipc_get_error(struct rbuf *r, struct err *e);
