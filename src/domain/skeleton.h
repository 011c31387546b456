/*
 * What a sandbox without an image has below its root, besides what the host lends it. Pure: only names.
 */
#pragma once

#define NEW_ROOT "/.root"  /* where an image's root is put together */
#define HOST_PROC "/.proc" /* the visible proc that an ordinary user's namespace needs to mount another */

/* All end with NULL. */
extern const char *const skeleton_dirs[], *const skeleton_links[][2]; /* target, path */
extern const struct skeleton_file {
        const char *path, *text;
} skeleton_files[];

/* What a program of the host's /usr needs beside it. Missing ones are left out. */
extern const char *const skeleton_host_files[];

/* Top directories that are links into /usr where the host has merged them, and directories of their own where it has not. */
extern const char *const skeleton_top_dirs[];
