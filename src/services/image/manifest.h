/*
 * The JSON of images, read strictly: layout indexes, manifest lists, manifests, configurations, the manifest.json of a docker archive. Nothing
 * is believed: what comes out is within the limits below and has the right types. Pure but for its allocations; the only file with a JSON parser.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "services/image/digest.h"

enum {
        MANIFEST_JSON_MAX = 4 * 1024 * 1024,
        MANIFEST_LAYERS_MAX = 127, /* overlayfs takes 500; docker makes 127 */
        MANIFEST_STRINGS_MAX = 4096,
        MANIFEST_STRING_MAX = 131071,   /* what execve takes */
        MANIFEST_TEXT_MAX = 768 * 1024, /* of a configuration: all its strings, so that they fit in an answer */
        MANIFEST_MEDIA_MAX = 127,
        MANIFEST_MEMBER_MAX = 511,
        MANIFEST_ENTRIES_MAX = 4096, /* of an index */
};

enum manifest_media { MEDIA_OTHER, MEDIA_INDEX, MEDIA_OCI, MEDIA_DOCKER, MEDIA_DOCKER_V1 };

struct manifest_blob {
        char hex[DIGEST_HEX + 1];
        uint64_t size;
        char media[MANIFEST_MEDIA_MAX + 1];
};

struct manifest {
        enum manifest_media media;
        struct manifest_blob config;
        size_t layer_count;
        struct manifest_blob layers[MANIFEST_LAYERS_MAX];
};

struct config_list {
        size_t count;
        char **items; /* owned, NULL-ended */
};

struct config {
        size_t layer_count;
        char diff_ids[MANIFEST_LAYERS_MAX][DIGEST_HEX + 1];
        struct config_list env, entrypoint, cmd;
        char *cwd, *user; /* owned, never NULL */
};

/* One image of a docker archive. */
struct manifest_docker {
        char config[MANIFEST_MEMBER_MAX + 1];
        size_t layer_count;
        char layers[MANIFEST_LAYERS_MAX][MANIFEST_MEMBER_MAX + 1];
};

/* What kind of document this is; MEDIA_OTHER where it is none of ours. */
enum manifest_media manifest_kind(const char *json, size_t len);

/* The manifest that an index has for this machine; with `tag` other than NULL, of those with that name (any where tag is ""; then it must
 * be plain which). *nested is set where what was found is an index again. IMAGE_NOT_FOUND where there is none. */
int manifest_choose(const char *json, size_t len, const char *tag, struct manifest_blob *out, bool *nested, struct err *e);

int manifest_parse(const char *json, size_t len, struct manifest *out, struct err *e);

/* NOT_SUPPORTED where the image is for another system or architecture. */
int config_parse(const char *json, size_t len, struct config *out, struct err *e);
void config_release(struct config *c);

/* The image that is called `name`, or, with "", the only one. */
int manifest_docker_parse(const char *json, size_t len, const char *name, struct manifest_docker *out, struct err *e);

/* An OCI manifest with this configuration and these (uncompressed) layers. The text is malloc'd; NULL: out of memory. */
char *manifest_make(const struct manifest *m);

/* GOARCH of this machine, as in images. */
const char *manifest_arch(void);
