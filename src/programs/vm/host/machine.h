/* What QEMU is told. Pure. */
#pragma once

#include <stdint.h>

/* What any kernel of a machine is told. */
#define MACHINE_CMDLINE                                                                                                                    \
        "console=ttyS0 quiet panic=-1 random.trust_cpu=on tsc=reliable no_timer_check mitigations=off cryptomgr.notests audit=0 "          \
        "lsm=landlock rcupdate.rcu_expedited=1 sysctl.vm.overcommit_memory=1"

enum { MACHINE_ARGS_MAX = 64, MACHINE_TEXT_MAX = 512 };

struct machine {
        const char *qemu, *name, *accel, *kernel, *initrd, *disk;
        uint64_t memory_mib, cpus;
        int share_fd, setup_fd; /* sockets that QEMU is born with */
        int qmp_fd;             /* likewise, where somebody is to tell it what to do; else -1 */
        int state_fd;           /* a machine to go on with; else -1 */
        unsigned argc;
        const char *argv[MACHINE_ARGS_MAX];
        char text[MACHINE_ARGS_MAX / 2][MACHINE_TEXT_MAX];
};

/* Fills argv, NULL-ended; it points into the struct. */
void machine_argv(struct machine *m);
