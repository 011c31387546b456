/*
 * The directory of the image store: names, locks, whole files. docs/formats/image-store.md is its layout. Everything is addressed from the
 * store's own descriptor, so that it may be where no path leads for us.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"
#include "domain/image_ref.h"
#include "services/image/digest.h"

enum { STORE_TMP_NAME = 4 + 16, STORE_SOURCE_MAX = 127 };

struct store {
        int dir, blobs, layers, refs, locks, tmp;
        int lock; /* DIR/lock, held shared */
};

/* What a reference means here. */
struct store_ref {
        char name[IMAGE_NAME_MAX + 1];
        char manifest[DIGEST_HEX + 1], config[DIGEST_HEX + 1];
        char source[STORE_SOURCE_MAX + 1]; /* or "" */
};

/* A directory in tmp/ that is ours: made, locked, and removed with what is in it. */
struct store_tmp {
        char path[STORE_TMP_NAME + 1]; /* "tmp/…", from the store's directory */
        int fd;                        /* -1: none */
};

/* Makes what is missing, takes the lock, removes what crashes left. */
int store_open(const char *path, struct store *s, struct err *e);
void store_close(struct store *s);

/* Makes our lock on the store an exclusive one. Returns 0; 1 where `wait` is false and others are there (the lock stays shared). */
int store_lock_alone(struct store *s, bool wait, struct err *e);
int store_lock_shared(struct store *s, struct err *e);

/* Waits for locks/KIND-ID. Returns a descriptor that holds it. */
int store_lock_name(const struct store *s, const char *kind, const char *id, struct err *e);

int store_tmp_make(const struct store *s, struct store_tmp *t, struct err *e);
void store_tmp_drop(const struct store *s, struct store_tmp *t);

/* Moves layers/HEX to tmp/ and removes it there. */
int store_layer_remove(const struct store *s, const char *hex, struct err *e);
bool store_has_layer(const struct store *s, const char *hex);
bool store_has_blob(const struct store *s, const char *hex);

/* Opens a blob. IMAGE_NOT_FOUND where there is none. */
int store_blob_open(const struct store *s, const char *hex, struct err *e);

/* Reads a small blob and checks its digest. The bytes are malloc'd and NUL-ended. IMAGE_NOT_FOUND where it is not there, or other bytes. */
int store_blob_read(const struct store *s, const char *hex, char **out, size_t *len, struct err *e);

/* Stores bytes as a blob. */
int store_blob_put(const struct store *s, const void *data, size_t len, char hex[DIGEST_HEX + 1], struct err *e);

/* Returns 0, or 1 where there is no such reference. */
int store_ref_read(const struct store *s, const char *name, struct store_ref *out);
int store_ref_read_file(const struct store *s, const char *file, struct store_ref *out);
int store_ref_write(const struct store *s, const struct store_ref *r, struct err *e);
/* Returns 0, or 1 where there was none. */
int store_ref_remove(const struct store *s, const char *name, struct err *e);

/* Removes `name` in `dir` and all that is below it, following nothing. Returns 0, or -1 with errno. */
int store_remove_tree(int dir, const char *name);

/* Removes what no reference needs; the store must be locked alone. *freed is bytes of disk; `layers` and `blobs` are counted. */
struct store_swept {
        uint64_t bytes;
        unsigned layers, blobs, in_use;
};
int store_sweep(const struct store *s, struct store_swept *out, struct err *e);

/* Bytes of disk that a tree takes. */
uint64_t store_tree_size(int dir, const char *name);
