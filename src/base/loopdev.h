/*
 * Loop devices: a file as a block device.
 */
#pragma once

#include "base/err.h"

/* Sets up a device of 4 KiB blocks over `backing`, with direct I/O where its filesystem can, that frees itself with its last user. Returns its descriptor with its name in
 * `path`, or a negative code. */
int loopdev_open(int backing, char path[32], struct err *e);
