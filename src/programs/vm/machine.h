/* What QEMU is told. Pure. */
#pragma once

#include <stdint.h>

enum { MACHINE_ARGS_MAX = 64, MACHINE_TEXT_MAX = 512 };

struct machine {
        const char *qemu, *name, *accel, *kernel, *initrd, *disk;
        uint64_t memory_mib, cpus;
        int share_fd; /* a socket that QEMU is born with */
        const char *argv[MACHINE_ARGS_MAX];
        char text[6][MACHINE_TEXT_MAX];
};

/* Fills argv, NULL-ended; it points into the struct. */
void machine_argv(struct machine *m);
