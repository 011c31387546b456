/*
 * Running skopeo: what it may see, where it may write, what its failures mean. It is believed for nothing else.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "domain/image_ref.h"
#include "services/image/image.h"
#include "services/image/store.h"

enum { SKOPEO_OUT_MAX = 4 * 1024 * 1024, SKOPEO_PLACE_MAX = 4096 };

struct skopeo {
        const struct image_options *options;
        const struct store *store;
        const struct image_ref *ref;
        const struct store_tmp *tmp;
        char place[SKOPEO_PLACE_MAX + 1]; /* where skopeo finds the store */
        bool mount;                       /* … when it has been mounted there */
        uint64_t file_max;                /* no file that it writes may be larger; 0: none */
        void (*tick)(void *user);         /* some times a second, or NULL */
        void *user;
};

void skopeo_init(struct skopeo *s, const struct image_options *o, const struct store *store, const struct image_ref *ref,
                 const struct store_tmp *tmp);

/* `inspect --raw` of the reference, or with `hex` of that manifest in its repository; with `config`, of its configuration. The bytes are malloc'd. */
int skopeo_inspect(struct skopeo *s, const char *hex, bool config, char **out, size_t *len, struct err *e);

/* Copies the blobs of manifest `hex` to the store. */
int skopeo_copy(struct skopeo *s, const char *hex, struct err *e);
