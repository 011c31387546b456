/* Indexes, manifests and the manifest.json of docker archives: whatever comes out is within the limits of manifest.h. */
#include "fuzz.h"

#include "domain/image_ref.h"
#include "services/image/manifest.h"

static void need_error(const struct err *e)
{
        NEED(e->code != ERR_NONE && e->msg[0]);
}

static void check_blob(const struct manifest_blob *b)
{
        NEED(image_is_hex(b->hex) && b->size <= INT64_MAX && memchr(b->media, '\0', sizeof(b->media)));
}

static void try_choose(const char *json, size_t len, const char *tag)
{
        struct manifest_blob b = { 0 };
        bool nested = true;
        struct err e = { 0 };

        if (manifest_choose(json, len, tag, &b, &nested, &e) < 0) {
                need_error(&e);
                NEED(nested && !b.hex[0] && !b.media[0] && b.size == 0);
                return;
        }
        check_blob(&b);
        NEED(nested == (strstr(b.media, "index") || strstr(b.media, "list")));
}

/* A manifest that we make of one that we took has the same blobs. */
static void make_again(const struct manifest *m)
{
        static struct manifest again;
        struct err e;
        char *json = manifest_make(m);

        NEED(json && manifest_parse(json, strlen(json), &again, &e) == 0);
        NEED(again.media == MEDIA_OCI && strcmp(again.config.hex, m->config.hex) == 0 && again.config.size == m->config.size);
        NEED(again.layer_count == m->layer_count);
        for (size_t i = 0; i < m->layer_count; i++)
                NEED(strcmp(again.layers[i].hex, m->layers[i].hex) == 0 && again.layers[i].size == m->layers[i].size);
        free(json);
}

static void try_parse(const char *json, size_t len)
{
        static struct manifest m;
        struct err e = { 0 };

        m = (struct manifest){ .layer_count = SIZE_MAX };
        if (manifest_parse(json, len, &m, &e) < 0) {
                need_error(&e);
                NEED(m.layer_count == SIZE_MAX && !m.config.hex[0] && !m.layers[0].hex[0]);
                return;
        }
        NEED((m.media == MEDIA_OCI || m.media == MEDIA_DOCKER) && manifest_kind(json, len) == m.media);
        NEED(m.layer_count <= MANIFEST_LAYERS_MAX);
        check_blob(&m.config);
        for (size_t i = 0; i < m.layer_count; i++)
                check_blob(&m.layers[i]);
        make_again(&m);
}

static void need_member(const char *name)
{
        NEED(name[0] && memchr(name, '\0', MANIFEST_MEMBER_MAX + 1));
}

static void try_docker(const char *json, size_t len, const char *name)
{
        static struct manifest_docker d;
        struct err e = { 0 };

        d.layer_count = SIZE_MAX;
        d.config[0] = d.layers[0][0] = '\0';
        if (manifest_docker_parse(json, len, name, &d, &e) < 0) {
                need_error(&e);
                NEED(d.layer_count == SIZE_MAX && !d.config[0] && !d.layers[0][0]);
                return;
        }
        NEED(d.layer_count <= MANIFEST_LAYERS_MAX);
        need_member(d.config);
        for (size_t i = 0; i < d.layer_count; i++)
                need_member(d.layers[i]);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
        const char *json = (const char *)data;

        try_choose(json, len, NULL);
        try_choose(json, len, "");
        try_choose(json, len, "latest");
        try_parse(json, len);
        try_docker(json, len, "");
        try_docker(json, len, "x");
        try_docker(json, len, "x:1");
        return 0;
}
