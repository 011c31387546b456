/*
 * Where images come from. A source ends as the same thing, wherever it began: a manifest and a configuration whose digests have been checked, and
 * files that are said to be the layers.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "services/image/image.h"
#include "services/image/manifest.h"
#include "services/image/store.h"

struct source {
        char *manifest, *config; /* owned */
        size_t manifest_len, config_len;
        char manifest_hex[DIGEST_HEX + 1];
        struct manifest m;
        int dir;                                /* owned: where the files of the layers are */
        const char *prefix;                     /* a layer's file is prefix and hex, … */
        char (*files)[MANIFEST_MEMBER_MAX + 1]; /* … or this; owned */
        struct store_tmp tmp;                   /* goes when the source goes */
        char identity[STORE_SOURCE_MAX + 1];    /* of an archive: as in refs/ */
};

/* Progress while blobs arrive. */
struct source_progress {
        void (*call)(void *user, uint64_t done, uint64_t total); /* or NULL */
        void *user;
};

void source_init(struct source *s);
void source_release(const struct store *store, struct source *s);

/* What an archive is told apart by. */
int source_identity(const char *path, char out[STORE_SOURCE_MAX + 1], struct err *e);

int source_layout(const char *path, const char *tag, struct source *out, struct err *e);
int source_archive(const struct store *store, const struct image_options *o, const struct image_ref *ref, struct source *out,
                   struct err *e);
int source_registry(struct store *store, const struct image_options *o, const struct image_ref *ref, const struct source_progress *p,
                    struct source *out, struct err *e);

/* Opens layer i; its size is what the manifest says. IMAGE_NOT_FOUND else. */
int source_layer(const struct source *s, size_t i, struct err *e);
