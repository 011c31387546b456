#include "services/image/manifest.h"

#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/utsname.h>

#include "base/str.h"
#include "domain/image_ref.h"

_Static_assert((int)DIGEST_HEX == (int)IMAGE_HEX, "one length of digests");

#define OCI_CONFIG "application/vnd.oci.image.config.v1+json"
#define OCI_LAYER "application/vnd.oci.image.layer.v1.tar"

static const struct {
        const char *name;
        enum manifest_media media;
} medias[] = {
        { "application/vnd.oci.image.index.v1+json", MEDIA_INDEX },
        { "application/vnd.docker.distribution.manifest.list.v2+json", MEDIA_INDEX },
        { "application/vnd.oci.image.manifest.v1+json", MEDIA_OCI },
        { "application/vnd.docker.distribution.manifest.v2+json", MEDIA_DOCKER },
        { "application/vnd.docker.distribution.manifest.v1+json", MEDIA_DOCKER_V1 },
        { "application/vnd.docker.distribution.manifest.v1+prettyjws", MEDIA_DOCKER_V1 },
};

/* uname's name and the one in images. */
static const struct {
        const char *machine, *arch;
} archs[] = {
        { "x86_64", "amd64" },    { "aarch64", "arm64" },   { "armv7l", "arm" },  { "i686", "386" },
        { "riscv64", "riscv64" }, { "ppc64le", "ppc64le" }, { "s390x", "s390x" }, { "loongarch64", "loong64" },
};

static void json_decref_p(json_t **j)
{
        json_decref(*j);
}

#define auto_json __attribute__((cleanup(json_decref_p))) json_t *

const char *manifest_arch(void)
{
        struct utsname u;

        for (size_t i = 0; uname(&u) == 0 && i < sizeof(archs) / sizeof(archs[0]); i++)
                if (strcmp(u.machine, archs[i].machine) == 0)
                        return archs[i].arch;
        return "unknown";
}

static int bad(struct err *e, const char *what, const char *why)
{
        return err_set(e, ERR_INVALID_SPEC, 0, "%s %s", what, why);
}

/* An object, or NULL with *e. */
static json_t *load(const char *json, size_t len, const char *what, struct err *e)
{
        json_error_t said;
        json_t *j;

        if (len > MANIFEST_JSON_MAX) {
                err_set(e, ERR_RESOURCE_EXHAUSTED, 0, "%s is larger than %d bytes", what, MANIFEST_JSON_MAX);
                return NULL;
        }
        j = json_loadb(json, len, JSON_REJECT_DUPLICATES, &said);
        if (!j)
                err_set(e, ERR_INVALID_SPEC, 0, "%s is not JSON: line %d: %.200s", what, said.line, said.text);
        return j;
}

static const char *text_at(const json_t *object, const char *key)
{
        const char *s = json_string_value(json_object_get(object, key));

        return s ? s : "";
}

static enum manifest_media media_of(const char *name)
{
        for (size_t i = 0; i < sizeof(medias) / sizeof(medias[0]); i++)
                if (strcmp(name, medias[i].name) == 0)
                        return medias[i].media;
        return MEDIA_OTHER;
}

/* OCI documents need not say what they are; one that could be two things is neither (CVE-2021-41190). */
static enum manifest_media kind_of(const json_t *j)
{
        const char *media = text_at(j, "mediaType");

        if (json_object_get(j, "manifests") && (json_object_get(j, "layers") || json_object_get(j, "config")))
                return MEDIA_OTHER;
        if (*media)
                return media_of(media);
        if (json_integer_value(json_object_get(j, "schemaVersion")) == 1)
                return MEDIA_DOCKER_V1;
        if (json_is_array(json_object_get(j, "manifests")))
                return MEDIA_INDEX;
        return json_is_array(json_object_get(j, "layers")) ? MEDIA_OCI : MEDIA_OTHER;
}

enum manifest_media manifest_kind(const char *json, size_t len)
{
        struct err e;
        auto_json j = load(json, len, "manifest", &e);

        return j ? kind_of(j) : MEDIA_OTHER;
}

/* "sha256:<hex>" to hex. */
static bool take_digest(const char *s, char hex[DIGEST_HEX + 1])
{
        if (!str_has_prefix(s, "sha256:") || !image_is_hex(s + 7))
                return false;
        memcpy(hex, s + 7, DIGEST_HEX + 1);
        return true;
}

static int take_blob(const json_t *j, const char *what, struct manifest_blob *out, struct err *e)
{
        const char *media = text_at(j, "mediaType");
        json_int_t size = json_integer_value(json_object_get(j, "size"));
        struct manifest_blob b = { .size = (uint64_t)size };

        if (!json_is_object(j) || !take_digest(text_at(j, "digest"), b.hex))
                return bad(e, what, "has no sha256 digest");
        if (!json_is_integer(json_object_get(j, "size")) || size < 0)
                return bad(e, what, "has no size");
        if (strlen(media) > MANIFEST_MEDIA_MAX)
                return bad(e, what, "has a media type of more than 127 bytes");
        memcpy(b.media, media, strlen(media) + 1);
        *out = b;
        return 0;
}

/* ---- indexes ---- */

static bool fits_machine(const json_t *entry)
{
        const json_t *platform = json_object_get(entry, "platform");

        if (!json_is_object(platform))
                return true;
        return strcmp(text_at(platform, "os"), "linux") == 0 && strcmp(text_at(platform, "architecture"), manifest_arch()) == 0;
}

static bool has_tag(const json_t *entry, const char *tag)
{
        const char *name = text_at(json_object_get(entry, "annotations"), "org.opencontainers.image.ref.name");
        const char *colon = strrchr(name, ':');

        return !tag || !*tag || strcmp(name, tag) == 0 || (colon && strcmp(colon + 1, tag) == 0);
}

static int not_there(const json_t *entries, const char *tag, bool tag_there, struct err *e)
{
        char names[160] = "";
        size_t i, used = 0;
        const json_t *entry;

        if (tag_there) {
                err_set(e, ERR_IMAGE_NOT_FOUND, 0, "the image has no linux/%s variant", manifest_arch());
                return err_hint(e, "it was built for other machines only");
        }
        err_set(e, ERR_IMAGE_NOT_FOUND, 0, "there is no tag '%.100s'", tag ? tag : "");
        json_array_foreach(entries, i, entry)
        {
                const char *name = text_at(json_object_get(entry, "annotations"), "org.opencontainers.image.ref.name");

                if (*name && strlen(name) + 3 < sizeof(names) - used)
                        used += (size_t)snprintf(names + used, sizeof(names) - used, "%s%s", used ? ", " : "", name);
        }
        return err_hint(e, used ? "there is: %s" : "there is none with a tag; leave it off", names);
}

int manifest_choose(const char *json, size_t len, const char *tag, struct manifest_blob *out, bool *nested, struct err *e)
{
        auto_json j = load(json, len, "index", e);
        const json_t *entry, *entries, *found = NULL;
        bool tag_there = false;
        size_t i;

        if (!j)
                return -(int)e->code;
        entries = json_object_get(j, "manifests");
        if (!json_is_array(entries))
                return bad(e, "index", "has no list of manifests");
        if (json_array_size(entries) > MANIFEST_ENTRIES_MAX)
                return err_set(e, ERR_RESOURCE_EXHAUSTED, 0, "the index has %zu manifests; the limit is %d", json_array_size(entries),
                               MANIFEST_ENTRIES_MAX);
        json_array_foreach(entries, i, entry)
        {
                enum manifest_media media = media_of(text_at(entry, "mediaType"));

                if (media == MEDIA_OTHER || media == MEDIA_DOCKER_V1 || !has_tag(entry, tag))
                        continue;
                tag_there = true;
                if (!fits_machine(entry))
                        continue;
                if (found && tag && !*tag && strcmp(text_at(found, "digest"), text_at(entry, "digest")) != 0) {
                        not_there(entries, tag, false, e);
                        e->code = ERR_INVALID_SPEC;
                        snprintf(e->msg, sizeof(e->msg), "there is more than one image, and no tag says which");
                        return -(int)e->code;
                }
                if (!found)
                        found = entry;
        }
        if (!found)
                return not_there(entries, tag, tag_there, e);
        if (take_blob(found, "an entry of the index", out, e) < 0)
                return -(int)e->code;
        *nested = media_of(out->media) == MEDIA_INDEX;
        return 0;
}

/* ---- manifests ---- */

static bool is_layer_media(const char *media)
{
        static const char *const known[] = {
                OCI_LAYER,
                OCI_LAYER "+gzip",
                OCI_LAYER "+zstd",
                "application/vnd.oci.image.layer.nondistributable.v1.tar",
                "application/vnd.oci.image.layer.nondistributable.v1.tar+gzip",
                "application/vnd.oci.image.layer.nondistributable.v1.tar+zstd",
                "application/vnd.docker.image.rootfs.diff.tar",
                "application/vnd.docker.image.rootfs.diff.tar.gzip",
                "application/vnd.docker.image.rootfs.diff.tar.zstd",
                "application/vnd.docker.image.rootfs.foreign.diff.tar",
                "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip",
        };

        for (size_t i = 0; i < sizeof(known) / sizeof(known[0]); i++)
                if (strcmp(media, known[i]) == 0)
                        return true;
        return false;
}

static bool is_config_media(const char *media)
{
        return strcmp(media, OCI_CONFIG) == 0 || strcmp(media, "application/vnd.docker.container.image.v1+json") == 0;
}

static int take_layers(const json_t *layers, struct manifest *out, struct err *e)
{
        const json_t *layer;
        size_t i;

        if (!json_is_array(layers))
                return bad(e, "manifest", "has no layers");
        if (json_array_size(layers) > MANIFEST_LAYERS_MAX)
                return err_set(e, ERR_RESOURCE_EXHAUSTED, 0, "the image has %zu layers; the limit is %d", json_array_size(layers),
                               MANIFEST_LAYERS_MAX);
        json_array_foreach(layers, i, layer)
        {
                if (take_blob(layer, "a layer", &out->layers[i], e) < 0)
                        return -(int)e->code;
                if (!is_layer_media(out->layers[i].media))
                        return err_set(e, ERR_NOT_SUPPORTED, 0, "layer %zu is of type '%s'", i + 1, out->layers[i].media);
        }
        out->layer_count = json_array_size(layers);
        return 0;
}

int manifest_parse(const char *json, size_t len, struct manifest *out, struct err *e)
{
        auto_json j = load(json, len, "manifest", e);

        if (!j)
                return -(int)e->code;
        struct manifest m = { .media = kind_of(j) };
        if (m.media == MEDIA_DOCKER_V1) {
                err_set(e, ERR_NOT_SUPPORTED, 0, "the image has a Docker v1 manifest");
                return err_hint(e, "that format is from before 2016: push the image again with a current tool");
        }
        if (m.media != MEDIA_OCI && m.media != MEDIA_DOCKER)
                return bad(e, "manifest", "is not that of an image");
        if (take_blob(json_object_get(j, "config"), "the configuration", &m.config, e) < 0)
                return -(int)e->code;
        if (!is_config_media(m.config.media)) {
                err_set(e, ERR_INVALID_SPEC, 0, "this is no image to run: its configuration is of type '%s'", m.config.media);
                return err_hint(e, "it may be an artifact of another kind, such as a chart or a signature");
        }
        if (take_layers(json_object_get(j, "layers"), &m, e) < 0)
                return -(int)e->code;
        *out = m;
        return 0;
}

char *manifest_make(const struct manifest *m)
{
        auto_json layers = json_array();
        char digest[8 + DIGEST_HEX];

        for (size_t i = 0; i < m->layer_count; i++) {
                snprintf(digest, sizeof(digest), "sha256:%s", m->layers[i].hex);
                json_array_append_new(layers, json_pack("{s:s,s:s,s:I}", "mediaType", OCI_LAYER, "digest", digest, "size",
                                                        (json_int_t)m->layers[i].size));
        }
        snprintf(digest, sizeof(digest), "sha256:%s", m->config.hex);
        auto_json j = json_pack("{s:i,s:s,s:{s:s,s:s,s:I},s:O}", "schemaVersion", 2, "mediaType", medias[2].name, "config", "mediaType",
                                OCI_CONFIG, "digest", digest, "size", (json_int_t)m->config.size, "layers", layers);
        return j && json_array_size(layers) == m->layer_count ? json_dumps(j, JSON_COMPACT) : NULL;
}

/* ---- configurations ---- */

static void list_release(struct config_list *l)
{
        for (size_t i = 0; i < l->count; i++)
                free(l->items[i]);
        free(l->items);
}

void config_release(struct config *c)
{
        list_release(&c->env);
        list_release(&c->entrypoint);
        list_release(&c->cmd);
        free(c->cwd);
        free(c->user);
        *c = (struct config){ 0 };
}

static size_t list_size(const struct config_list *l)
{
        size_t sum = 0;

        for (size_t i = 0; i < l->count; i++)
                sum += sizeof(uint32_t) + strlen(l->items[i]);
        return sum;
}

/* Strings of an array; null and absence are an empty list. What `keep` refuses is left out. */
static int take_list(const json_t *array, const char *what, bool (*keep)(const char *), struct config_list *out, struct err *e)
{
        const json_t *item;
        size_t i;

        if (array && !json_is_null(array) && !json_is_array(array))
                return bad(e, what, "is not a list");
        if (json_array_size(array) > MANIFEST_STRINGS_MAX)
                return err_set(e, ERR_RESOURCE_EXHAUSTED, 0, "%s has more than %d strings", what, MANIFEST_STRINGS_MAX);
        out->items = calloc(json_array_size(array) + 1, sizeof(char *));
        if (!out->items)
                return err_set(e, ERR_RESOURCE_EXHAUSTED, 0, "out of memory");
        json_array_foreach(array, i, item)
        {
                const char *s = json_string_value(item);

                if (!s || json_string_length(item) > MANIFEST_STRING_MAX)
                        return bad(e, what, "has something that is not a string, or too long a one");
                if (keep && !keep(s))
                        continue;
                if (!(out->items[out->count] = strdup(s)))
                        return err_set(e, ERR_RESOURCE_EXHAUSTED, 0, "out of memory");
                out->count++;
        }
        return 0;
}

static bool is_assignment(const char *s)
{
        return *s != '=' && strchr(s, '=');
}

static int take_text(const json_t *object, const char *key, char **out, struct err *e)
{
        const json_t *j = json_object_get(object, key);

        if (j && !json_is_null(j) && !json_is_string(j))
                return bad(e, key, "is not a string");
        if (json_string_length(j) > 4095)
                return bad(e, key, "is longer than 4095 bytes");
        *out = strdup(text_at(object, key));
        return *out ? 0 : err_set(e, ERR_RESOURCE_EXHAUSTED, 0, "out of memory");
}

static int take_diff_ids(const json_t *ids, struct config *out, struct err *e)
{
        const json_t *id;
        size_t i;

        if (!json_is_array(ids))
                return bad(e, "configuration", "has no diff_ids");
        if (json_array_size(ids) > MANIFEST_LAYERS_MAX)
                return err_set(e, ERR_RESOURCE_EXHAUSTED, 0, "the image has %zu layers; the limit is %d", json_array_size(ids),
                               MANIFEST_LAYERS_MAX);
        json_array_foreach(ids, i, id) if (!json_is_string(id) ||
                                           !take_digest(json_string_value(id),
                                                        out->diff_ids[i])) return bad(e, "configuration",
                                                                                      "has a diff_id that is not a sha256 digest");
        out->layer_count = json_array_size(ids);
        return 0;
}

static int check_machine(const json_t *j, struct err *e)
{
        const char *os = text_at(j, "os");
        const char *arch = text_at(j, "architecture");

        if ((!*os || strcmp(os, "linux") == 0) && (!*arch || strcmp(arch, manifest_arch()) == 0))
                return 0;
        err_set(e, ERR_NOT_SUPPORTED, 0, "the image is for %.40s/%.40s, and this machine is linux/%s", os, arch, manifest_arch());
        return err_hint(e, "take a tag or digest that was built for linux/%s", manifest_arch());
}

static int take_config(const json_t *j, struct config *out, struct err *e)
{
        const json_t *c = json_object_get(j, "config");

        if (!json_is_object(j) || (c && !json_is_null(c) && !json_is_object(c)))
                return bad(e, "configuration", "is not that of an image");
        if (check_machine(j, e) < 0 || take_diff_ids(json_object_get(json_object_get(j, "rootfs"), "diff_ids"), out, e) < 0)
                return -(int)e->code;
        if (take_list(json_object_get(c, "Env"), "Env", is_assignment, &out->env, e) < 0 ||
            take_list(json_object_get(c, "Entrypoint"), "Entrypoint", NULL, &out->entrypoint, e) < 0 ||
            take_list(json_object_get(c, "Cmd"), "Cmd", NULL, &out->cmd, e) < 0)
                return -(int)e->code;
        if (list_size(&out->env) + list_size(&out->entrypoint) + list_size(&out->cmd) > MANIFEST_TEXT_MAX)
                return err_set(e, ERR_RESOURCE_EXHAUSTED, 0, "the environment and command have more than %d bytes", MANIFEST_TEXT_MAX);
        if (take_text(c, "WorkingDir", &out->cwd, e) < 0 || take_text(c, "User", &out->user, e) < 0)
                return -(int)e->code;
        return 0;
}

int config_parse(const char *json, size_t len, struct config *out, struct err *e)
{
        auto_json j = load(json, len, "configuration", e);
        struct config c = { 0 };

        if (!j)
                return -(int)e->code;
        if (take_config(j, &c, e) < 0) {
                config_release(&c);
                return -(int)e->code;
        }
        *out = c;
        return 0;
}

/* ---- docker archives ---- */

static bool is_called(const json_t *image, const char *name)
{
        const json_t *tag;
        size_t i, want = strlen(name);

        json_array_foreach(json_object_get(image, "RepoTags"), i, tag)
        {
                const char *s = json_string_value(tag);
                size_t len = s ? strlen(s) : 0;

                if (s && (strcmp(s, name) == 0 || (len == want + 7 && memcmp(s, name, want) == 0 && strcmp(s + want, ":latest") == 0)))
                        return true;
        }
        return false;
}

static const json_t *find_image(const json_t *images, const char *name, struct err *e)
{
        const json_t *image;
        size_t i;

        if (!json_is_array(images) || json_array_size(images) == 0) {
                err_set(e, ERR_INVALID_SPEC, 0, "manifest.json lists no image");
                return NULL;
        }
        if (!*name && json_array_size(images) == 1)
                return json_array_get(images, 0);
        json_array_foreach(images, i, image) if (*name && is_called(image, name)) return image;
        if (*name)
                err_set(e, ERR_IMAGE_NOT_FOUND, 0, "the archive has no image '%.200s'", name);
        else
                err_set(e, ERR_INVALID_SPEC, 0, "the archive has %zu images, and no name says which", json_array_size(images));
        const char *first = json_string_value(json_array_get(json_object_get(json_array_get(images, 0), "RepoTags"), 0));
        err_hint(e, "docker-archive:FILE:REPO:TAG names one%s%.150s", first ? "; there is " : "", first ? first : "");
        return NULL;
}

static bool is_member(const json_t *j)
{
        return json_is_string(j) && json_string_length(j) > 0 && json_string_length(j) <= MANIFEST_MEMBER_MAX;
}

static void take_member(const json_t *j, char out[MANIFEST_MEMBER_MAX + 1])
{
        memcpy(out, json_string_value(j), json_string_length(j) + 1);
}

static int check_docker(const json_t *config, const json_t *layers, struct err *e)
{
        const json_t *layer;
        size_t i;

        if (!is_member(config) || (layers && !json_is_null(layers) && !json_is_array(layers)))
                return bad(e, "manifest.json", "is not that of a docker archive");
        if (json_array_size(layers) > MANIFEST_LAYERS_MAX)
                return err_set(e, ERR_RESOURCE_EXHAUSTED, 0, "the image has %zu layers; the limit is %d", json_array_size(layers),
                               MANIFEST_LAYERS_MAX);
        json_array_foreach(layers, i, layer)
        {
                if (!is_member(layer))
                        return bad(e, "manifest.json", "has a layer without a name");
        }
        return 0;
}

int manifest_docker_parse(const char *json, size_t len, const char *name, struct manifest_docker *out, struct err *e)
{
        auto_json j = load(json, len, "manifest.json", e);
        const json_t *image = j ? find_image(j, name, e) : NULL;
        const json_t *config = json_object_get(image, "Config");
        const json_t *layers = json_object_get(image, "Layers");
        const json_t *layer;
        size_t i;

        if (!image || check_docker(config, layers, e) < 0)
                return -(int)e->code;
        take_member(config, out->config);
        json_array_foreach(layers, i, layer) take_member(layer, out->layers[i]);
        out->layer_count = json_array_size(layers);
        return 0;
}
