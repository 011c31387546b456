#pragma once

#include "base/err.h"
#include "programs/vm/vm.h"

struct initrd {
        const char *modules;      /* a directory, "/usr/lib/modules/6.1.0" */
        const char *guest, *init; /* the two programs */
};

/* Writes the initramfs to `path`. */
int initrd_write(const char *path, const struct initrd *what, struct err *e);
