/*
 * Files in one: of each what it holds between its holes, and between blocks of zeros. A saved machine is one such file; in QEMU's case the machine's
 * state stands before them.
 *
 *   … | pieces of a file: u64 offset, u64 length, bytes … | u64 where the first of them is, u64 their number, u64 the file's size | the next file …
 */
#pragma once

#include <stdint.h>
#include <sys/types.h>

/* Appends one. Returns 0, or -1 with errno. */
int pack_file(int state, int file);
/* The one that ends at *end, and then *end is where it begins. `file` is empty, and gets at most `max` bytes. Returns 0, or -1 with errno. */
int unpack_file(int state, off_t *end, int file, uint64_t max);
