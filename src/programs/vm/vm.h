/*
 * What the two ends of a virtual machine agree on (docs/decisions/0008-vm-in-a-sandbox.md): creto-vm-host, the one command of the native sandbox around it,
 * and creto-vm-guest, pid 1 inside. Both are built together.
 */
#pragma once

#include "wire/boot.h"

/* Names of the serial ports, as QEMU is told and as the guest finds them. */
#define VM_PORT_GUEST "creto.guest" /* the guest protocol */
#define VM_PORT_SHARE "creto.share" /* FUSE, message by message */
#define VM_PORT_SETUP "creto.setup" /* the guest says VM_READY; then it is told one struct vm_setup, and nothing more */

/* The same as vsock, in a machine that has no serial ports of that kind: ports of the host, to which the guest connects. */
enum { VM_VSOCK_GUEST = 1024, VM_VSOCK_SHARE, VM_VSOCK_SETUP };

/* Files in the initramfs. */
#define VM_FILE_INIT "creto-init"
#define VM_FILE_MODULES "modules" /* a directory: 00.ko, 01.ko, … in the order of loading */

/* As far as it comes without anything that is one sandbox's: a machine is saved here, and another goes on. */
#define VM_READY 'r'

/* On the kernel's command line, and so in the environment of pid 1: it will be saved. */
#define VM_SAVED "creto_saved=1"
#define VM_VSOCK "creto_vsock=1"     /* its ports are vsock */
#define VM_REBOOT "creto_off=reboot" /* which is how this machine is turned off */

enum { VM_SETUP_VERSION = 1, VM_SEED = 64, VM_HOSTNAME_MAX = 64, VM_FUSE_DATA = 128 * 1024, VM_MODULES_MAX = 64, VM_INIT_ID = 65535 };

struct vm_setup {
        uint32_t size;
        uint32_t version;
        char hostname[VM_HOSTNAME_MAX];
        uint64_t wall_ns;        /* the time, since 1970 */
        uint8_t seed[VM_SEED];   /* for its random numbers: a machine that was saved has those of all that go on from there */
        uint64_t pids;           /* LIMIT_PIDS; UINT64_MAX: none */
        struct boot_config boot; /* what creto-init is to be told */
};
