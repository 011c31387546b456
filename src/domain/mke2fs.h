/*
 * How the empty filesystem of a sandbox's disk is made. Pure.
 */
#pragma once

enum { MKE2FS_ARGS = 24 };

/* ext4 in the file at `path`, with what the directory `skeleton` holds and room for `inodes` files. Everything is borrowed by `argv`, which ends with NULL. */
void mke2fs_argv(const char *path, const char *skeleton, const char *inodes, const char *argv[MKE2FS_ARGS]);
