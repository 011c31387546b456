/*
 * Removing what no reference needs: mark from the references, sweep the blobs and the layers. The store is locked alone meanwhile.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/fd.h"
#include "services/image/manifest.h"
#include "services/image/store.h"

typedef char hex_name[DIGEST_HEX + 1];

struct marks {
        hex_name *items;
        size_t count, cap;
        bool full;
};

static void mark(struct marks *m, const char *hex)
{
        if (m->count == m->cap) {
                size_t cap = m->cap ? 2 * m->cap : 256;
                hex_name *bigger = reallocarray(m->items, cap, sizeof(*bigger));

                if (!bigger) {
                        m->full = true;
                        return;
                }
                m->items = bigger;
                m->cap = cap;
        }
        memcpy(m->items[m->count++], hex, DIGEST_HEX + 1);
}

static int compare(const void *a, const void *b)
{
        return strcmp(a, b);
}

static bool marked(const struct marks *m, const char *hex)
{
        return bsearch(hex, m->items, m->count, sizeof(*m->items), compare);
}

static void mark_config(const struct store *s, struct marks *m, const char *hex)
{
        struct config c;
        struct err e;
        char *json;
        size_t len;

        if (store_blob_read(s, hex, &json, &len, &e) < 0)
                return;
        if (config_parse(json, len, &c, &e) == 0) {
                for (size_t i = 0; i < c.layer_count; i++)
                        mark(m, c.diff_ids[i]);
                config_release(&c);
        }
        free(json);
}

/* A reference whose parts are gone or wrong keeps nothing but itself: it is fetched again when it is asked for. */
static void mark_ref(const struct store *s, struct marks *m, const struct store_ref *r)
{
        struct manifest *manifest = malloc(sizeof(*manifest));
        struct err e;
        char *json;
        size_t len;

        mark(m, r->manifest);
        mark(m, r->config);
        if (!manifest)
                m->full = true;
        else if (store_blob_read(s, r->manifest, &json, &len, &e) == 0) {
                if (manifest_parse(json, len, manifest, &e) == 0)
                        for (size_t i = 0; i < manifest->layer_count; i++)
                                mark(m, manifest->layers[i].hex);
                free(json);
        }
        mark_config(s, m, r->config);
        free(manifest);
}

/* Calls back with each name in a directory of the store. */
static int each(int dir, int (*call)(const struct store *, struct marks *, struct store_swept *, const char *, struct err *),
                const struct store *s, struct marks *m, struct store_swept *out, struct err *e)
{
        int fd = openat(dir, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        DIR *d = fd < 0 ? NULL : fdopendir(fd);
        struct dirent *entry;
        int r = 0;

        if (!d)
                return err_sys(e, "image store: cannot list a directory");
        while (r == 0 && (entry = readdir(d)))
                if (entry->d_name[0] != '.')
                        r = call(s, m, out, entry->d_name, e);
        closedir(d);
        return r;
}

static int visit_ref(const struct store *s, struct marks *m, struct store_swept *out, const char *name, struct err *e)
{
        struct store_ref r;

        (void)out;
        (void)e;
        if (store_ref_read_file(s, name, &r) == 0)
                mark_ref(s, m, &r);
        return 0;
}

static int visit_blob(const struct store *s, struct marks *m, struct store_swept *out, const char *name, struct err *e)
{
        struct stat st;

        (void)e;
        if (marked(m, name) || fstatat(s->blobs, name, &st, AT_SYMLINK_NOFOLLOW) < 0)
                return 0;
        if (store_remove_tree(s->blobs, name) < 0)
                return err_sys(e, "image store: cannot remove a blob");
        out->blobs++;
        out->bytes += (uint64_t)st.st_blocks * 512;
        return 0;
}

static int visit_layer(const struct store *s, struct marks *m, struct store_swept *out, const char *name, struct err *e)
{
        if (marked(m, name))
                return 0;
        auto_fd fd = openat(s->layers, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
        if (fd >= 0 && flock(fd, LOCK_EX | LOCK_NB) < 0) {
                out->in_use++;
                return 0;
        }
        uint64_t size = store_tree_size(s->layers, name);
        if (store_layer_remove(s, name, e) < 0)
                return -(int)e->code;
        out->layers++;
        out->bytes += size;
        return 0;
}

/* Nobody else is here, so nobody holds one. */
static int visit_lock(const struct store *s, struct marks *m, struct store_swept *out, const char *name, struct err *e)
{
        (void)m;
        (void)out;
        (void)e;
        (void)unlinkat(s->locks, name, 0);
        return 0;
}

int store_sweep(const struct store *s, struct store_swept *out, struct err *e)
{
        struct marks m = { 0 };
        int r;

        *out = (struct store_swept){ 0 };
        r = each(s->refs, visit_ref, s, &m, out, e);
        if (r == 0 && m.full)
                r = err_set(e, ERR_RESOURCE_EXHAUSTED, 0, "out of memory");
        if (m.count > 0)
                qsort(m.items, m.count, sizeof(*m.items), compare);
        if (r == 0)
                r = each(s->blobs, visit_blob, s, &m, out, e);
        if (r == 0)
                r = each(s->layers, visit_layer, s, &m, out, e);
        if (r == 0)
                r = each(s->locks, visit_lock, s, &m, out, e);
        free(m.items);
        return r;
}
