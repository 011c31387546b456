/*
 * Images from registries. skopeo speaks to them; what a reference means is decided here, from bytes whose digests we have computed.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/str.h"
#include "services/image/source/skopeo.h"
#include "services/image/source/source.h"

enum { SLACK = 1 << 20, FILE_MIN = 8 << 20 };

struct meter {
        const struct store *store;
        const struct source *source;
        const struct store_tmp *tmp;
        const struct source_progress *progress;
        uint64_t total;
};

/* Bytes in the files that skopeo has not named yet. */
static uint64_t unfinished(const struct store_tmp *tmp)
{
        int fd = openat(tmp->fd, "img", O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
        DIR *d = fd < 0 ? NULL : fdopendir(fd);
        struct dirent *entry;
        struct stat st;
        uint64_t sum = 0;

        if (!d) {
                fd_close(&fd);
                return 0;
        }
        while ((entry = readdir(d)))
                if (str_has_prefix(entry->d_name, "oci-put-blob") && fstatat(dirfd(d), entry->d_name, &st, AT_SYMLINK_NOFOLLOW) == 0)
                        sum += (uint64_t)st.st_size;
        closedir(d);
        return sum;
}

static void meter_tick(void *user)
{
        const struct meter *m = user;
        uint64_t done = unfinished(m->tmp);

        for (size_t i = 0; i < m->source->m.layer_count; i++)
                if (store_has_blob(m->store, m->source->m.layers[i].hex))
                        done += m->source->m.layers[i].size;
        m->progress->call(m->progress->user, done < m->total ? done : m->total, m->total);
}

/* What the reference means: one manifest, its bytes and their digest. */
static int find_manifest(struct skopeo *k, const struct image_ref *ref, struct source *s, struct err *e)
{
        struct manifest_blob b;
        bool nested;

        if (skopeo_inspect(k, NULL, false, &s->manifest, &s->manifest_len, e) < 0)
                return -(int)e->code;
        digest_of(s->manifest, s->manifest_len, s->manifest_hex);
        if (ref->hex[0] && strcmp(ref->hex, s->manifest_hex) != 0)
                return err_set(e, ERR_IMAGE_NOT_FOUND, 0, "the manifest that came does not match the digest that was asked for");
        if (manifest_kind(s->manifest, s->manifest_len) != MEDIA_INDEX)
                return 0;
        if (manifest_choose(s->manifest, s->manifest_len, NULL, &b, &nested, e) < 0)
                return -(int)e->code;
        if (nested)
                return err_set(e, ERR_NOT_SUPPORTED, 0, "the image is an index of indexes");
        free(s->manifest);
        s->manifest = NULL;
        if (skopeo_inspect(k, b.hex, false, &s->manifest, &s->manifest_len, e) < 0)
                return -(int)e->code;
        digest_of(s->manifest, s->manifest_len, s->manifest_hex);
        if (strcmp(b.hex, s->manifest_hex) != 0)
                return err_set(e, ERR_IMAGE_NOT_FOUND, 0, "the manifest that came does not match its digest in the index");
        return 0;
}

static int check_sizes(const struct image_options *o, const struct manifest *m, struct skopeo *k, uint64_t *total, struct err *e)
{
        uint64_t largest = FILE_MIN;

        *total = 0;
        for (size_t i = 0; i < m->layer_count; i++) {
                uint64_t size = m->layers[i].size;

                if (size > o->max_layer_bytes)
                        return err_set(e, ERR_RESOURCE_EXHAUSTED, 0, "layer sha256:%s has %llu bytes; the limit is %llu", m->layers[i].hex,
                                       (unsigned long long)size, (unsigned long long)o->max_layer_bytes);
                *total += size;
                if (size > largest)
                        largest = size;
        }
        k->file_max = largest + SLACK;
        return 0;
}

/* skopeo keeps an OCI configuration as it is; one of Docker's it translates, so that one is asked for. */
static int get_config(struct skopeo *k, const struct store *store, struct source *s, struct err *e)
{
        char hex[DIGEST_HEX + 1];

        if (store_has_blob(store, s->m.config.hex) && store_blob_read(store, s->m.config.hex, &s->config, &s->config_len, e) == 0)
                return 0;
        if (skopeo_inspect(k, s->manifest_hex, true, &s->config, &s->config_len, e) < 0)
                return -(int)e->code;
        digest_of(s->config, s->config_len, hex);
        if (strcmp(hex, s->m.config.hex) != 0)
                return err_set(e, ERR_IMAGE_NOT_FOUND, 0, "the configuration does not match its digest");
        return 0;
}

int source_registry(struct store *store, const struct image_options *o, const struct image_ref *ref, const struct source_progress *p,
                    struct source *out, struct err *e)
{
        struct meter meter = { .store = store, .source = out, .progress = p };
        struct skopeo k;

        if (store_tmp_make(store, &out->tmp, e) < 0)
                return -(int)e->code;
        meter.tmp = &out->tmp;
        skopeo_init(&k, o, store, ref, &out->tmp);
        if (find_manifest(&k, ref, out, e) < 0 || manifest_parse(out->manifest, out->manifest_len, &out->m, e) < 0 ||
            check_sizes(o, &out->m, &k, &meter.total, e) < 0)
                return -(int)e->code;
        if (p->call) {
                k.tick = meter_tick;
                k.user = &meter;
        }
        if (skopeo_copy(&k, out->manifest_hex, e) < 0)
                return -(int)e->code;
        k.tick = NULL;
        out->dir = dup(store->blobs);
        if (out->dir < 0)
                return err_sys(e, "image store: cannot keep it open");
        return get_config(&k, store, out, e);
}
