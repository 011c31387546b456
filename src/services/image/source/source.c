#include "services/image/source/source.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/str.h"
#include "base/sys.h"
#include "services/image/unpack/unpack.h"

enum { NESTED_MAX = 4, ARCHIVE_LAYERS = 4 /* an archive may be as large as that many layers */ };

void source_init(struct source *s)
{
        *s = (struct source){ .dir = -1, .prefix = "", .tmp = { .fd = -1 } };
}

void source_release(const struct store *store, struct source *s)
{
        free(s->manifest);
        free(s->config);
        free(s->files);
        fd_close(&s->dir);
        store_tmp_drop(store, &s->tmp);
        source_init(s);
}

/* ---- opening what the caller named ---- */

/* A descriptor that we were given may be open on what we could not open ourselves. */
static int dup_given(const char *path)
{
        uint64_t fd;

        if (!str_has_prefix(path, "/proc/self/fd/") || !str_parse_u64(path + 14, &fd) || fd > 1 << 20)
                return -1;
        return fcntl((int)fd, F_DUPFD_CLOEXEC, 3);
}

static int open_named(const char *path, int flags, struct err *e)
{
        int fd = open(path, O_RDONLY | O_NONBLOCK | O_CLOEXEC | flags);

        if (fd < 0 && errno == EACCES && (fd = dup_given(path)) < 0)
                errno = EACCES;
        if (fd >= 0)
                return fd;
        if (errno == ENOENT || errno == ENOTDIR) {
                err_set(e, ERR_IMAGE_NOT_FOUND, errno, "cannot open %.200s", path);
                return err_hint(e, "%s",
                                flags & O_DIRECTORY
                                        ? "oci: wants the directory that holds index.json; oci-archive: and docker-archive: want a file"
                                        : "check the path");
        }
        if (errno != EACCES)
                return err_set(e, ERR_INVALID_SPEC, errno, "cannot open %.200s", path);
        err_set(e, ERR_AUTHORIZATION_DENIED, errno, "cannot open %.200s", path);
        return err_hint(e, "images are read by an unprivileged helper: make it readable for everybody, or use oci-archive:");
}

/* A file beneath `dir`, whatever it is called there. */
static int open_beneath(int dir, const char *name)
{
        int fd = sys_openat2(dir, name, O_RDONLY | O_NONBLOCK | O_CLOEXEC, RESOLVE_BENEATH | RESOLVE_NO_MAGICLINKS);
        struct stat st;

        if (fd >= 0 && (fstat(fd, &st) < 0 || !S_ISREG(st.st_mode))) {
                fd_close(&fd);
                errno = EINVAL;
        }
        return fd;
}

/* A small file, whole, NUL-ended; with `want` other than NULL it must have that digest. */
static int read_beneath(int dir, const char *name, const char *want, char **out, size_t *len, struct err *e)
{
        auto_fd fd = open_beneath(dir, name);
        char got[DIGEST_HEX + 1];
        struct stat st;

        if (fd < 0 || fstat(fd, &st) < 0)
                return err_set(e, errno == EACCES ? ERR_AUTHORIZATION_DENIED : ERR_IMAGE_NOT_FOUND, errno, "cannot read %.150s", name);
        if (st.st_size > MANIFEST_JSON_MAX)
                return err_set(e, ERR_RESOURCE_EXHAUSTED, 0, "%.150s is larger than %d bytes", name, MANIFEST_JSON_MAX);
        char *data = malloc((size_t)st.st_size + 1);
        if (!data || fd_read_all(fd, data, (size_t)st.st_size) < 0) {
                free(data);
                return err_set(e, ERR_INTERNAL_ERROR, errno, "cannot read %.150s", name);
        }
        digest_of(data, (size_t)st.st_size, got);
        if (want && strcmp(want, got) != 0) {
                free(data);
                return err_set(e, ERR_IMAGE_NOT_FOUND, 0, "%.150s does not match its digest", name);
        }
        data[st.st_size] = '\0';
        free(*out);
        *out = data;
        *len = (size_t)st.st_size;
        return 0;
}

int source_layer(const struct source *s, size_t i, struct err *e)
{
        const struct manifest_blob *b = &s->m.layers[i];
        char name[MANIFEST_MEMBER_MAX + 1];
        struct stat st;

        if (s->files)
                snprintf(name, sizeof(name), "%s", s->files[i]);
        else
                snprintf(name, sizeof(name), "%s%s", s->prefix, b->hex);
        int fd = open_beneath(s->dir, name);
        if (fd < 0)
                return err_set(e, errno == EACCES ? ERR_AUTHORIZATION_DENIED : ERR_IMAGE_NOT_FOUND, errno, "layer sha256:%s cannot be read",
                               b->hex);
        if (fstat(fd, &st) < 0 || (uint64_t)st.st_size != b->size) {
                err_set(e, ERR_IMAGE_NOT_FOUND, 0, "layer sha256:%s has %lld bytes, and the manifest says %llu", b->hex,
                        (long long)st.st_size, (unsigned long long)b->size);
                fd_close(&fd);
                return -(int)e->code;
        }
        return fd;
}

/* ---- OCI layouts ---- */

static int layout_blob(int dir, const char *hex, char **out, size_t *len, struct err *e)
{
        char name[16 + DIGEST_HEX];

        snprintf(name, sizeof(name), "blobs/sha256/%s", hex);
        return read_beneath(dir, name, hex, out, len, e);
}

/* From index.json, through indexes of indexes, to a manifest. */
static int layout_manifest(struct source *s, const char *tag, struct err *e)
{
        struct manifest_blob b = { 0 };
        bool nested = true;

        if (read_beneath(s->dir, "index.json", NULL, &s->manifest, &s->manifest_len, e) < 0) {
                err_hint(e, "an OCI layout has an index.json; a directory with a root file system is dir:PATH");
                return -(int)e->code;
        }
        for (int depth = 0; nested && depth < NESTED_MAX; depth++) {
                if (manifest_choose(s->manifest, s->manifest_len, depth == 0 ? tag : NULL, &b, &nested, e) < 0 ||
                    layout_blob(s->dir, b.hex, &s->manifest, &s->manifest_len, e) < 0)
                        return -(int)e->code;
        }
        if (nested)
                return err_set(e, ERR_INVALID_SPEC, 0, "indexes are nested more than %d deep", NESTED_MAX);
        memcpy(s->manifest_hex, b.hex, sizeof(s->manifest_hex));
        return 0;
}

static int layout_read(struct source *s, const char *tag, struct err *e)
{
        s->prefix = "blobs/sha256/";
        if (layout_manifest(s, tag, e) < 0 || manifest_parse(s->manifest, s->manifest_len, &s->m, e) < 0)
                return -(int)e->code;
        return layout_blob(s->dir, s->m.config.hex, &s->config, &s->config_len, e);
}

int source_layout(const char *path, const char *tag, struct source *out, struct err *e)
{
        out->dir = open_named(path, O_DIRECTORY, e);
        return out->dir < 0 ? out->dir : layout_read(out, tag, e);
}

/* ---- docker archives ---- */

static int docker_layer(struct source *s, size_t i, struct err *e)
{
        auto_fd fd = open_beneath(s->dir, s->files[i]);

        if (fd < 0)
                return err_set(e, ERR_IMAGE_NOT_FOUND, errno, "the archive has no layer %.150s", s->files[i]);
        return digest_fd(fd, INT64_MAX, s->m.layers[i].hex, &s->m.layers[i].size, e);
}

/* The archive has no manifest, so one is made. */
static int docker_read(struct source *s, const char *name, struct err *e)
{
        struct manifest_docker *d = calloc(1, sizeof(*d));
        char *json = NULL;
        size_t len;
        int r = d ? read_beneath(s->dir, "manifest.json", NULL, &json, &len, e) : err_set(e, ERR_RESOURCE_EXHAUSTED, 0, "out of memory");

        if (r == 0)
                r = manifest_docker_parse(json, len, name, d, e);
        if (r == 0)
                r = read_beneath(s->dir, d->config, NULL, &s->config, &s->config_len, e);
        if (r == 0 && !(s->files = calloc(d->layer_count + 1, sizeof(*s->files))))
                r = err_set(e, ERR_RESOURCE_EXHAUSTED, 0, "out of memory");
        if (r == 0) {
                digest_of(s->config, s->config_len, s->m.config.hex);
                s->m.config.size = s->config_len;
                s->m.layer_count = d->layer_count;
                memcpy(s->files, d->layers, d->layer_count * sizeof(*s->files));
        }
        for (size_t i = 0; r == 0 && i < d->layer_count; i++)
                r = docker_layer(s, i, e);
        free(json);
        free(d);
        if (r < 0)
                return r;
        if (!(s->manifest = manifest_make(&s->m)))
                return err_set(e, ERR_RESOURCE_EXHAUSTED, 0, "out of memory");
        s->manifest_len = strlen(s->manifest);
        digest_of(s->manifest, s->manifest_len, s->manifest_hex);
        return 0;
}

/* ---- archives ---- */

static void identity_of(const struct stat *st, char out[STORE_SOURCE_MAX + 1])
{
        snprintf(out, STORE_SOURCE_MAX + 1, "%llu %llu %lld %lld.%09ld", (unsigned long long)st->st_dev, (unsigned long long)st->st_ino,
                 (long long)st->st_size, (long long)st->st_ctim.tv_sec, st->st_ctim.tv_nsec);
}

static int open_archive(const char *path, struct stat *st, struct err *e)
{
        int fd = open_named(path, 0, e);

        if (fd < 0)
                return fd;
        if (fstat(fd, st) == 0 && S_ISREG(st->st_mode) && lseek(fd, 0, SEEK_SET) == 0)
                return fd;
        fd_close(&fd);
        err_set(e, ERR_INVALID_SPEC, 0, "%.200s is not a file", path);
        return err_hint(e, "a directory in OCI layout is oci:DIR");
}

int source_identity(const char *path, char out[STORE_SOURCE_MAX + 1], struct err *e)
{
        struct stat st;
        auto_fd fd = open_archive(path, &st, e);

        if (fd < 0)
                return fd;
        identity_of(&st, out);
        return 0;
}

int source_archive(const struct store *store, const struct image_options *o, const struct image_ref *ref, struct source *out, struct err *e)
{
        struct stat st;
        char hex[DIGEST_HEX + 1];
        auto_fd fd = open_archive(ref->path, &st, e);

        if (fd < 0 || store_tmp_make(store, &out->tmp, e) < 0)
                return -(int)e->code;
        identity_of(&st, out->identity);
        if (mkdirat(out->tmp.fd, "tree", 0700) < 0 || (out->dir = openat(out->tmp.fd, "tree", O_RDONLY | O_DIRECTORY | O_CLOEXEC)) < 0)
                return err_sys(e, "image store: cannot make a directory");
        const struct unpack_job job = {
                .blob = fd,
                .blob_size = (uint64_t)st.st_size,
                .root = out->dir,
                .tree = { .privileged = false, .max_bytes = o->max_layer_bytes * ARCHIVE_LAYERS },
        };
        if (unpack_run(&job, hex, e) < 0)
                return err_wrap(e, "the archive");
        return ref->kind == IMAGE_DOCKER_ARCHIVE ? docker_read(out, ref->tag, e) : layout_read(out, ref->tag, e);
}
