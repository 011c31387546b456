/*
 * Images: fetched, checked, unpacked, remembered, removed. The one public header of this service; docs/formats/image-store.md says how the store
 * looks and what is promised.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

#include "base/err.h"
#include "domain/image_ref.h"
#include "services/image/manifest.h"

#define IMAGE_LAYER_BYTES_MAX (16ULL << 30)

struct image_options {
        const char *store;        /* its directory */
        const char *name;         /* NULL; else what to call a local source */
        const char *skopeo;       /* NULL: the one in PATH */
        const char *authfile;     /* NULL: skopeo's usual ones */
        uint64_t max_layer_bytes; /* 0: IMAGE_LAYER_BYTES_MAX */
        bool pull;                /* ask the registry even where we have the tag */
        bool progress;            /* on standard error */
};

struct image_found {
        char name[IMAGE_NAME_MAX + 1];
        char id[IMAGE_HEX + 1]; /* of its configuration */
        struct config config;
        size_t layer_count; /* each layer once, lowest first */
        char layers[MANIFEST_LAYERS_MAX][IMAGE_HEX + 1];
};

/* The image that `ref` names, in the store and unpacked when this returns. */
int image_resolve(const struct image_options *o, const char *ref, struct image_found *out, struct err *e);
void image_found_release(struct image_found *f);

struct image_listed {
        const char *name;
        const char *id;
        uint64_t bytes;
        bool complete;
};

/* Calls back for each reference in the store, in no order. */
int image_list(const struct image_options *o, void (*call)(void *user, const struct image_listed *l), void *user, struct err *e);

/* *freed is bytes of disk. `busy`: what is not needed any more could not be removed now, because others work in the store. */
struct image_removed {
        uint64_t freed;
        unsigned layers, in_use;
        bool busy;
};
int image_remove(const struct image_options *o, const char *ref, struct image_removed *out, struct err *e);
int image_prune(const struct image_options *o, struct image_removed *out, struct err *e);
