/*
 * The disk of a saved machine, behind its state in the same file: what the file of the disk holds between its holes.
 *
 *   the state, as QEMU wrote it | pieces: u64 offset, u64 length, bytes … | u64 offset of the first piece in this file, u64 their number
 */
#pragma once

/* Appends the disk. Returns 0, or -1 with errno. */
int pack_disk(int state, int disk);
/* Writes the pieces to a disk that holds nothing yet. Returns 0, or -1 with errno. */
int unpack_disk(int state, int disk);
