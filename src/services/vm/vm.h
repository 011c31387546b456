/*
 * A virtual machine in a native sandbox (docs/decisions/0008-vm-in-a-sandbox.md). The native sandbox's creto-init is asked for what it always does: take files,
 * start one command. The command is creto-vm-host, which becomes QEMU; its standard input and output are the machine's serial port, and so the stream of
 * the guest protocol to a second creto-init, inside the machine.
 *
 * This end carries the bytes of that second stream, and knows of it only where frames begin. A daemon that comes after this one goes on where it stands:
 * input leaves here in whole frames only, and output is acknowledged in whole frames only.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"
#include "base/loop.h"
#include "domain/limits.h"
#include "domain/vmm.h"

enum { VM_VERSION_MAX = 64, VM_PATH_MAX = 340, VM_FRAME_MAX = 16384, VM_MEMORY_LEAST = 128 << 20 };

/* What machines are made of, opened before the daemon gives up the right to open it. */
struct vm_assets {
        int kernel, host, guest, init;
        char version[VM_VERSION_MAX]; /* of the kernel: where its modules are */
        struct vm_emulator {
                const char *binary; /* its path in the host's /usr */
                bool kvm;           /* it may use /dev/kvm */
        } vmms[VMMS];
        unsigned boot_seconds;       /* how long a machine may take to come up */
        char templates[VM_PATH_MAX]; /* where machines that have booted are kept; "": nowhere */
        struct err why;              /* where the kernel is -1 */
};

/* Never fails: what is missing is in `why`. `kernel` "": the newest of Debian's cloud kernels. What `vmms` names is borrowed, the directory `templates` is made. */
void vm_assets_open(struct vm_assets *a, const char *kernel, const struct vm_emulator vmms[VMMS], unsigned boot_seconds,
                    const char *templates);

/* Can there be machines of this kind here? BACKEND_UNAVAILABLE with what to do. */
int vm_available(const struct vm_assets *a, enum vmm vmm, struct err *e);

struct vm_config {
        struct loop *loop;
        const struct vm_assets *assets;
        enum vmm vmm;
        unsigned cpus;        /* 0: as its share of processors says */
        bool image;           /* its root is what stands beside that of the native sandbox */
        uint64_t root;        /* what that is made of, as a number; 0: not known */
        const char *hostname; /* borrowed until vm_new() returns */
        const struct limits *limits;
        bool booting; /* it has never answered: that it does is waited for so long and no longer */
};

/* What the native sandbox around a machine with these limits must have. INVALID_SPEC where there can be no such machine. */
int vm_limits(enum vmm vmm, const struct limits *inside, struct limits *outside, struct err *e);

/* Each may free the vm. */
struct vm_events {
        /* The machine runs: the stream to its creto-init (owned by who is called), to be greeted as a serial one with frames of VM_FRAME_MAX. */
        void (*stream)(void *ctx, int fd);
        /* There is no machine, or no more. */
        void (*failed)(void *ctx, const struct err *e);
        /* The connection to the native sandbox has ended; `e` where that broke the protocol, else NULL. */
        void (*lost)(void *ctx, const struct err *e);
};

struct vm;

/* Takes `stream`, the one to the native sandbox's creto-init. What is not there yet is made; a machine that runs is gone on with. */
int vm_new(const struct vm_config *config, const struct vm_events *events, void *ctx, int stream, uint64_t epoch, struct vm **out,
           struct err *e);
/* The machine goes on. */
void vm_free(struct vm *vm);

/* Its creto-init has answered. */
void vm_greeted(struct vm *vm);

/* It booted for this; others go on from where one was saved. */
bool vm_booted(const struct vm *vm);
