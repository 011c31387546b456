#include "fuzz.h"

#include <stdlib.h>
#include <string.h>

#include "domain/image_ref.h"
#include "services/image/manifest.h"

static void need_hex(const char *hex)
{
        if (!image_is_hex(hex))
                __builtin_trap();
}

static void need_member(const char *name)
{
        if (!memchr(name, '\0', MANIFEST_MEMBER_MAX + 1))
                __builtin_trap();
}

/* Indexes, manifests and the manifest.json of docker archives: whatever comes out is within its limits. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
        static struct manifest m;
        static struct manifest_docker d;
        struct manifest_blob b;
        struct err e;
        bool nested;

        if (len > MANIFEST_JSON_MAX)
                return 0;
        const char *json = (const char *)data;
        manifest_kind(json, len);
        if (manifest_choose(json, len, NULL, &b, &nested, &e) == 0)
                need_hex(b.hex);
        if (manifest_choose(json, len, "latest", &b, &nested, &e) == 0)
                need_hex(b.hex);
        if (manifest_parse(json, len, &m, &e) == 0) {
                if (m.layer_count > MANIFEST_LAYERS_MAX)
                        __builtin_trap();
                need_hex(m.config.hex);
                for (size_t i = 0; i < m.layer_count; i++)
                        need_hex(m.layers[i].hex);
        }
        if (manifest_docker_parse(json, len, "", &d, &e) == 0) {
                if (d.layer_count > MANIFEST_LAYERS_MAX)
                        __builtin_trap();
                need_member(d.config);
                for (size_t i = 0; i < d.layer_count; i++)
                        need_member(d.layers[i]);
        }
        return 0;
}
