#pragma once

#include <stdbool.h>

#include "base/err.h"
#include "programs/vm/vm.h"

struct initrd {
        const char *modules;      /* a directory, "/usr/lib/modules/6.1.0" */
        const char *guest, *init; /* the two programs */
        bool vsock;               /* its ports are vsock, and its devices may have no PCI bus */
};

/* Writes the initramfs to `path`. */
int initrd_write(const char *path, const struct initrd *what, struct err *e);
