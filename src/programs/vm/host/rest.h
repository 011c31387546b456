/*
 * An emulator that is spoken to by REST: started, told what to do, request by request (domain/vmm), and its guest's connections carried to where they belong.
 */
#pragma once

#include <sys/types.h>

#include "base/err.h"
#include "domain/vmm.h"

enum {
        EXIT_VMM = 124,
        EXIT_BAD = 125,
        EXIT_MISSING = 127
}; /* of creto-vm-host: the emulator does not do as it should; something else; not installed */

struct rest {
        enum vmm vmm;
        const char *binary, *id;
        const char *root;                      /* of the guest */
        enum vmm_plan plan;                    /* to begin with */
        bool saves;                            /* when the guest is ready it is saved, in the file "state", and that is the end */
        int patience_ms;                       /* for one answer */
        void (*tell)(const void *ctx, int fd); /* the guest is ready: tell it what it is to be */
        const void *ctx;
        struct vmm_machine machine; /* vsock and place are filled in */
};

const char *rest_cmdline(enum vmm vmm, bool saves);

/* What "state" has of the machine, back into files, from *end on backwards. Returns 0 or -1. */
int rest_unpack(int state, off_t *end, enum vmm vmm, uint64_t memory);

/* Returns 0 when the emulator has ended by itself with 0, or the machine is saved. The emulator does not outlive this. */
int rest_run(struct rest *r, struct err *e);
