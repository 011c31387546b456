/*
 * References to images, from text to parts and back. Pure.
 *
 *   host                          the host's own /usr
 *   dir:ROOTFS                    a directory
 *   oci:DIR[:TAG]                 an OCI image layout
 *   oci-archive:FILE[:TAG]        the same in a tar archive
 *   docker-archive:FILE[:REF]     what `docker save` writes
 *   [HOST[:PORT]/]REPO[:TAG][@sha256:HEX]   in a registry; docker.io, library/ and latest are what is left out
 *
 * As in skopeo, the path of a local source ends at its first colon.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>

#include "base/err.h"

enum image_kind {
        IMAGE_HOST,
        IMAGE_DIR,
        IMAGE_OCI,
        IMAGE_OCI_ARCHIVE,
        IMAGE_DOCKER_ARCHIVE,
        IMAGE_REGISTRY,
};

enum {
        IMAGE_PATH_MAX = 4095,
        IMAGE_HOST_MAX = 261, /* a DNS name, a colon, a port, brackets */
        IMAGE_REPO_MAX = 255, /* as in the distribution specification */
        IMAGE_TAG_MAX = 128,  /* likewise; of a local source: IMAGE_LOCAL_TAG_MAX */
        IMAGE_LOCAL_TAG_MAX = 511,
        IMAGE_HEX = 64, /* digits of a SHA-256 */
        IMAGE_NAME_MAX = IMAGE_PATH_MAX + IMAGE_LOCAL_TAG_MAX + 32,
};

struct image_ref {
        enum image_kind kind;
        char path[IMAGE_PATH_MAX + 1];     /* DIR, OCI, *_ARCHIVE */
        char tag[IMAGE_LOCAL_TAG_MAX + 1]; /* "" where none was said; of a registry reference "latest", or "" if there is a digest */
        char host[IMAGE_HOST_MAX + 1];     /* REGISTRY: with its port */
        char repo[IMAGE_REPO_MAX + 1];     /* REGISTRY */
        char hex[IMAGE_HEX + 1];           /* REGISTRY: of its @sha256:, or "" */
};

/* INVALID_SPEC with a message that names the text, and a hint. */
int image_ref_parse(const char *text, struct image_ref *out, struct err *e);

/* The reference in full: "docker.io/library/python:3.11". Cut off where `cap` is less than IMAGE_NAME_MAX + 1. */
void image_ref_format(const struct image_ref *r, char *out, size_t cap);

/* True for a registry on this machine, by name: localhost, 127.0.0.0/8, [::1]. */
bool image_ref_is_loopback(const struct image_ref *r);

/* True for 64 lower-case hexadecimal digits and nothing else. */
bool image_is_hex(const char *s);
