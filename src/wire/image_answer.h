/*
 * What creto-image answers to `resolve --wire`, bytes to structs and back. docs/formats/image-store.md has the layout.
 *
 * Pure: no I/O, no allocation. Decoded strings are copied into memory that the caller lends, and are NUL-ended there.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/err.h"

#define IMAGE_ANSWER_MAGIC 0x43494d47U /* "GMIC" */

enum {
        IMAGE_ANSWER_LAYERS_MAX = 128,
        IMAGE_ANSWER_STRINGS_MAX = 4096, /* in each list */
        IMAGE_ANSWER_MAX = 1024 * 1024,  /* the whole answer */
        IMAGE_ANSWER_ID_MAX = 71,        /* sha256:<hex> */
        IMAGE_ANSWER_HEX = 64,
        /* What image_answer_get() may need of lent memory: every string with its NUL, every list as pointers and a NULL. */
        IMAGE_ANSWER_ARENA = IMAGE_ANSWER_MAX + (3 * (IMAGE_ANSWER_STRINGS_MAX + 1) + 2) * 8,
};

struct image_answer_list {
        uint32_t count;
        const char *const *items; /* decoded: NULL-ended */
};

struct image_answer {
        bool ok;
        /* ok: */
        char id[IMAGE_ANSWER_ID_MAX + 1];
        uint32_t layer_count;
        char layers[IMAGE_ANSWER_LAYERS_MAX][IMAGE_ANSWER_HEX + 1]; /* diff_ids, lowest first */
        struct image_answer_list env, entrypoint, cmd;
        const char *cwd, *user; /* "" where the image says nothing */
        /* not ok: */
        struct err error; /* decoded: without control characters */
};

/* Bad (w->bad) where it does not fit. */
void image_answer_put(struct wbuf *w, const struct image_answer *a);

/* Makes '?' of what a terminal would obey: images say what they like, and errors quote it. */
void image_answer_clean(char *text);

/* Reads exactly one answer. `arena` is lent for as long as *a is used. Returns 0, or -1 where the bytes are not an answer, or do not fit. */
int image_answer_get(const void *data, size_t len, void *arena, size_t cap, struct image_answer *a);
