/*
 * Names in layers: what an archive calls an entry, made a path that can be looked up beneath the root of a tree. Pure.
 */
#pragma once

#include <stddef.h>

#include "base/err.h"

enum { LAYER_PATH_MAX = 4095, LAYER_PART_MAX = 255, LAYER_DEPTH_MAX = 256 };

struct layer_path {
        char text[LAYER_PATH_MAX + 1]; /* relative, without "." and ".." and doubled slashes; "" is the root */
        size_t parent;                 /* length of the parent's path in it, 0 for the root */
        const char *base;              /* the last part, in text */
};

/* INVALID_SPEC where the name leads outside, or is beyond the limits; *out is then undefined. */
int layer_path_parse(const char *name, struct layer_path *out, struct err *e);

enum layer_whiteout {
        LAYER_PLAIN,    /* a name like any other */
        LAYER_WHITEOUT, /* .wh.NAME */
        LAYER_OPAQUE,   /* .wh..wh..opq */
        LAYER_AUFS,     /* other names that begin with .wh..wh. */
        LAYER_WHITEOUT_BAD,
};

/* What the last part of a path means. For LAYER_WHITEOUT, *name is what is whited out, within `base`. */
enum layer_whiteout layer_whiteout_of(const char *base, const char **name);
