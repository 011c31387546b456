/*
 * Linux kernels as distributions have them (bzImage, Documentation/arch/x86/boot.rst): the ELF file that is packed inside. Pure.
 *
 * Debian's cloud kernel is packed as LZ4 in its legacy framing: a magic number, then blocks of a u32 length and that many bytes, each of which becomes up to
 * 8 MiB. What is packed otherwise is not understood here.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"

enum { BZIMAGE_ELF_MAX = 256 << 20, BZIMAGE_BLOCK_MAX = 8 << 20 };

enum bzimage { BZIMAGE_NONE, BZIMAGE_LZ4, BZIMAGE_OTHER };

/* BZIMAGE_NONE: it is no bzImage. BZIMAGE_LZ4: *packed is the payload, and *size what it becomes, at most BZIMAGE_ELF_MAX. */
enum bzimage bzimage_find(const void *image, size_t len, struct bytes *packed, size_t *size);

/* Writes exactly `size` bytes; returns 0, or -1 where the payload does not become that. `out` may be written without success. */
int bzimage_unpack(struct bytes packed, void *out, size_t size);
