/*
 * Making a tree from entries that nobody vouches for. Everything is addressed beneath the tree's root, the last part of a name is never
 * followed, and the limits are counted here.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>
#include <time.h>

#include "base/err.h"
#include "services/image/unpack/path.h"

enum {
        TREE_ENTRIES_MAX = 1000000,
        TREE_XATTRS_MAX = 64,
        TREE_XATTR_BYTES_MAX = 128 * 1024,
        TREE_LATER_BYTES_MAX = 256 * 1024 * 1024, /* memory for the times of directories */
        TREE_ID_MAX = 65535,
        TREE_ID_NOBODY = 65534,
};

enum tree_type { TREE_FILE, TREE_DIR, TREE_SYMLINK, TREE_HARDLINK, TREE_FIFO, TREE_DEVICE };

struct tree_options {
        bool layer;      /* whiteouts mean something; else they are names */
        bool owners;     /* entries have the owners that the archive says */
        bool privileged; /* we may write in directories that are not writable; else they are made so */
        uint64_t max_bytes;
};

struct tree_entry {
        const char *name; /* as in the archive */
        enum tree_type type;
        mode_t mode;
        int64_t uid, gid;
        struct timespec mtime;
        const char *link; /* SYMLINK: its text. HARDLINK: a name as in the archive */
        int64_t size;     /* FILE */
};

struct tree_later;

struct tree {
        struct tree_options options;
        int root;   /* borrowed */
        int parent; /* of parent_path; -1: none */
        char parent_path[LAYER_PATH_MAX + 1];
        uint64_t entries, bytes;
        struct tree_later *later; /* directories whose times are set when they are full */
        size_t later_bytes;
        struct layer_path path; /* of the entry in hand */
        unsigned xattrs;
        size_t xattr_bytes;
};

void tree_init(struct tree *t, int root, const struct tree_options *o);
void tree_release(struct tree *t);

/*
 * Makes one entry. Where it is a file or a directory, *fd is open on it, for its content and attributes, and tree_end() must follow; else *fd is -1 and it is
 * done.
 */
int tree_begin(struct tree *t, const struct tree_entry *entry, int *fd, struct err *e);
int tree_write(struct tree *t, int fd, const void *data, size_t len, uint64_t offset, struct err *e);
int tree_xattr(struct tree *t, int fd, const char *name, const void *value, size_t len, struct err *e);
int tree_end(struct tree *t, const struct tree_entry *entry, int *fd, struct err *e);

/* The times of directories, when nothing more is made in them. */
int tree_finish(struct tree *t, struct err *e);
