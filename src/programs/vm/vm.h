/*
 * What the two ends of a virtual machine agree on (docs/decisions/0007-vm-in-a-sandbox.md): creto-vm-host, the one command of the native sandbox around it,
 * and creto-vm-guest, pid 1 inside. Both are built together.
 */
#pragma once

#include "wire/boot.h"

/* Names of the serial ports, as QEMU is told and as the guest finds them. */
#define VM_PORT_GUEST "creto.guest" /* the guest protocol */
#define VM_PORT_SHARE "creto.share" /* FUSE, message by message */

/* Files in the initramfs. */
#define VM_FILE_INIT "creto-init"
#define VM_FILE_SETUP "setup"     /* one struct vm_setup */
#define VM_FILE_MODULES "modules" /* a directory: 00.ko, 01.ko, … in the order of loading */

enum { VM_SETUP_VERSION = 1, VM_HOSTNAME_MAX = 64, VM_FUSE_DATA = 128 * 1024, VM_MODULES_MAX = 64 };

struct vm_setup {
        uint32_t size;
        uint32_t version;
        char hostname[VM_HOSTNAME_MAX];
        uint64_t pids;           /* LIMIT_PIDS; UINT64_MAX: none */
        struct boot_config boot; /* what creto-init is to be told */
};
