/*
 * The way of an image into the store: what is meant, what is missing, unpacking that, remembering it; and the ways out.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/fd.h"
#include "services/image/image.h"
#include "services/image/source/source.h"
#include "services/image/store.h"
#include "services/image/unpack/unpack.h"

struct pull {
        const struct image_options *options;
        struct store store;
        struct image_ref ref;
        char name[IMAGE_NAME_MAX + 1];
        const char *label; /* in progress */
        struct source source;
        bool line; /* there is a line of progress to end */
};

/* ---- progress ---- */

/* One line, written over itself on a terminal. */
__attribute__((format(printf, 2, 3))) static void say(struct pull *p, const char *fmt, ...)
{
        bool terminal = isatty(2);
        char text[200];
        va_list ap;

        if (!p->options->progress)
                return;
        va_start(ap, fmt);
        vsnprintf(text, sizeof(text), fmt, ap);
        va_end(ap);
        dprintf(2, terminal ? "\r\033[K%s" : "%s\n", text);
        p->line = terminal;
}

static void say_end(struct pull *p)
{
        if (p->line)
                (void)!write(2, "\r\033[K", 4);
        p->line = false;
}

static void say_pulled(void *user, uint64_t done, uint64_t total)
{
        struct pull *p = user;

        if (isatty(2))
                say(p, "pulling %s: %.1f / %.1f MiB", p->label, (double)done / (1 << 20), (double)total / (1 << 20));
}

/* ---- what is here already ---- */

void image_found_release(struct image_found *f)
{
        config_release(&f->config);
}

/* A layer that an image has twice is needed once, where it is highest: there it covers what it would do further down. */
static void list_layers(struct image_found *f)
{
        f->layer_count = 0;
        for (size_t i = 0; i < f->config.layer_count; i++) {
                bool again = false;

                for (size_t k = i + 1; k < f->config.layer_count; k++)
                        again |= strcmp(f->config.diff_ids[i], f->config.diff_ids[k]) == 0;
                if (!again)
                        memcpy(f->layers[f->layer_count++], f->config.diff_ids[i], IMAGE_HEX + 1);
        }
}

/* Returns 0 where all of the image is here, else 1. */
static int find_local(const struct store *s, const struct store_ref *r, struct image_found *out)
{
        struct image_found f = { 0 };
        struct err e;
        char *json = NULL;
        size_t len;

        if (!store_has_blob(s, r->manifest) || store_blob_read(s, r->config, &json, &len, &e) < 0)
                return 1;
        int r2 = config_parse(json, len, &f.config, &e);
        free(json);
        if (r2 < 0)
                return 1;
        for (size_t i = 0; i < f.config.layer_count; i++) {
                if (!store_has_layer(s, f.config.diff_ids[i])) {
                        config_release(&f.config);
                        return 1;
                }
        }
        memcpy(f.name, r->name, strlen(r->name) + 1);
        memcpy(f.id, r->config, sizeof(f.id));
        list_layers(&f);
        *out = f;
        return 0;
}

/* ---- layers ---- */

static int check_blob(const struct pull *p, int fd, const struct manifest_blob *b, struct err *e)
{
        char hex[DIGEST_HEX + 1];
        uint64_t size;

        if (digest_fd(fd, p->options->max_layer_bytes, hex, &size, e) < 0)
                return -(int)e->code;
        if (strcmp(hex, b->hex) != 0) {
                err_set(e, ERR_IMAGE_NOT_FOUND, 0, "layer sha256:%s does not match its digest: its bytes are sha256:%.12s…", b->hex, hex);
                return err_hint(e, "it is damaged or has been tampered with; fetch the image again");
        }
        return lseek(fd, 0, SEEK_SET) < 0 ? err_sys(e, "cannot read the layer again") : 0;
}

/* The tree gets its name when it is whole, and on the disk. */
static int settle_layer(const struct pull *p, const struct store_tmp *t, int tree, const char *hex, struct err *e)
{
        if (syncfs(tree) < 0 || renameat(t->fd, "tree", p->store.layers, hex) < 0 || fsync(p->store.layers) < 0)
                return err_sys(e, "image store: cannot keep a layer");
        return 0;
}

static int unpack_into(const struct pull *p, const struct store_tmp *t, int blob, size_t i, const char *want, struct err *e)
{
        const struct manifest_blob *b = &p->source.m.layers[i];
        char hex[DIGEST_HEX + 1];

        if (mkdirat(t->fd, "tree", 0755) < 0)
                return err_sys(e, "image store: cannot make a directory");
        auto_fd tree = openat(t->fd, "tree", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        if (tree < 0 || fchmod(tree, 0755) < 0)
                return err_sys(e, "image store: cannot open a directory");
        const struct unpack_job job = {
                .blob = blob,
                .blob_size = b->size,
                .root = tree,
                .tree = { .layer = true,
                          .owners = unpack_has_ids(),
                          .privileged = geteuid() == 0,
                          .max_bytes = p->options->max_layer_bytes },
        };
        if (unpack_run(&job, hex, e) < 0)
                return err_wrap(e, "layer sha256:%.12s…", b->hex);
        if (strcmp(hex, want) != 0) {
                err_set(e, ERR_IMAGE_NOT_FOUND, 0, "layer sha256:%.12s… unpacks to sha256:%.12s…, and the configuration says sha256:%.12s…",
                        b->hex, hex, want);
                return err_hint(e, "the image is damaged or has been tampered with");
        }
        return settle_layer(p, t, tree, hex, e);
}

static int add_layer(struct pull *p, size_t i, const char *hex, struct err *e)
{
        struct store_tmp t;

        if (store_has_layer(&p->store, hex))
                return 0;
        auto_fd lock = store_lock_name(&p->store, "layer", hex, e);
        if (lock < 0)
                return lock;
        if (store_has_layer(&p->store, hex))
                return 0;
        say(p, "unpacking layer %zu/%zu", i + 1, p->source.m.layer_count);
        auto_fd blob = source_layer(&p->source, i, e);
        if (blob < 0 || check_blob(p, blob, &p->source.m.layers[i], e) < 0 || store_tmp_make(&p->store, &t, e) < 0)
                return -(int)e->code;
        int r = unpack_into(p, &t, blob, i, hex, e);
        store_tmp_drop(&p->store, &t);
        return r;
}

static int add_image(struct pull *p, struct image_found *out, struct err *e)
{
        struct store_ref *r = calloc(1, sizeof(*r));
        struct config c = { 0 };
        int result = r ? config_parse(p->source.config, p->source.config_len, &c, e)
                       : err_set(e, ERR_RESOURCE_EXHAUSTED, 0, "out of memory");

        if (result == 0 && c.layer_count != p->source.m.layer_count)
                result = err_set(e, ERR_INVALID_SPEC, 0, "the manifest has %zu layers, and the configuration %zu", p->source.m.layer_count,
                                 c.layer_count);
        for (size_t i = 0; result == 0 && i < c.layer_count; i++)
                result = add_layer(p, i, c.diff_ids[i], e);
        config_release(&c);
        if (result == 0)
                result = store_blob_put(&p->store, p->source.config, p->source.config_len, r->config, e);
        if (result == 0)
                result = store_blob_put(&p->store, p->source.manifest, p->source.manifest_len, r->manifest, e);
        if (result == 0) {
                memcpy(r->name, p->name, sizeof(r->name));
                memcpy(r->source, p->source.identity, sizeof(r->source));
                result = store_ref_write(&p->store, r, e);
        }
        if (result == 0 && find_local(&p->store, r, out) != 0)
                result = err_set(e, ERR_INTERNAL_ERROR, 0, "the image was stored, and is not there");
        free(r);
        return result;
}

/* ---- resolving ---- */

/* Returns 0 where what we remember is still what is meant, and here; else 1. */
static int known(struct pull *p, struct image_found *out)
{
        struct store_ref *r = malloc(sizeof(*r));
        char identity[STORE_SOURCE_MAX + 1];
        struct err ignored;
        int result = 1;

        if (r && !p->options->pull && p->ref.kind != IMAGE_OCI && store_ref_read(&p->store, p->name, r) == 0) {
                bool same = p->ref.kind == IMAGE_REGISTRY;

                if (!same)
                        same = source_identity(p->ref.path, identity, &ignored) == 0 && strcmp(identity, r->source) == 0;
                if (same)
                        result = find_local(&p->store, r, out);
        }
        free(r);
        return result;
}

static int fetch(struct pull *p, struct err *e)
{
        const struct source_progress progress = { p->options->progress ? say_pulled : NULL, p };

        switch (p->ref.kind) {
        case IMAGE_OCI:
                return source_layout(p->ref.path, p->ref.tag, &p->source, e);
        case IMAGE_OCI_ARCHIVE:
        case IMAGE_DOCKER_ARCHIVE:
                say(p, "reading %s", p->label);
                return source_archive(&p->store, p->options, &p->ref, &p->source, e);
        case IMAGE_REGISTRY:
                say(p, "pulling %s", p->label);
                return source_registry(&p->store, p->options, &p->ref, &progress, &p->source, e);
        default:
                err_set(e, ERR_INVALID_SPEC, 0, "it is not kept in the image store");
                return err_hint(e, "host and dir:PATH are used where they are");
        }
}

/* What an attempt has left goes at once, if nobody else is in the store; else the next prune takes it. */
static void clean_up(struct pull *p)
{
        struct store_swept swept;
        struct err ignored;

        if (store_lock_alone(&p->store, false, &ignored) == 0)
                (void)store_sweep(&p->store, &swept, &ignored);
}

static int resolve_locked(struct pull *p, struct image_found *out, struct err *e)
{
        char hash[DIGEST_HEX + 1];

        digest_of(p->name, strlen(p->name), hash);
        auto_fd lock = store_lock_name(&p->store, "ref", hash, e);
        if (lock < 0)
                return lock;
        if (known(p, out) == 0) /* somebody else has been faster */
                return 0;
        source_init(&p->source);
        int r = fetch(p, e);
        if (r == 0)
                r = add_image(p, out, e);
        source_release(&p->store, &p->source);
        if (r < 0)
                clean_up(p);
        return r;
}

static int pull_init(struct pull *p, const struct image_options *o, const char *ref, struct err *e)
{
        p->options = o;
        if (image_ref_parse(ref, &p->ref, e) < 0)
                return -(int)e->code;
        if (o->name && p->ref.kind != IMAGE_REGISTRY)
                snprintf(p->name, sizeof(p->name), "%s", o->name);
        else
                image_ref_format(&p->ref, p->name, sizeof(p->name));
        for (const char *s = p->name; *s; s++)
                if ((unsigned char)*s < ' ' || *s == 0x7f)
                        return err_set(e, ERR_INVALID_SPEC, 0, "the name of the image holds control characters");
        p->label = o->name ? o->name : ref;
        return store_open(o->store, &p->store, e);
}

int image_resolve(const struct image_options *o, const char *ref, struct image_found *out, struct err *e)
{
        struct pull *p = calloc(1, sizeof(*p));
        int r = p ? pull_init(p, o, ref, e) : err_set(e, ERR_RESOURCE_EXHAUSTED, 0, "out of memory");

        if (r == 0) {
                if (known(p, out) != 0)
                        r = resolve_locked(p, out, e);
                say_end(p);
                if (r < 0)
                        err_wrap(e, "image '%.150s'", p->label);
                store_close(&p->store);
        }
        free(p);
        return r;
}

/* ---- the other verbs ---- */

static uint64_t layers_size(const struct store *s, const struct image_found *f)
{
        uint64_t sum = 0;

        for (size_t i = 0; i < f->layer_count; i++)
                sum += store_tree_size(s->layers, f->layers[i]);
        return sum;
}

static void list_one(const struct store *s, const char *file, void (*call)(void *, const struct image_listed *), void *user)
{
        struct store_ref *r = malloc(sizeof(*r));
        struct image_found *f = calloc(1, sizeof(*f));

        if (r && f && store_ref_read_file(s, file, r) == 0) {
                bool complete = find_local(s, r, f) == 0;
                const struct image_listed l = { r->name, r->config, complete ? layers_size(s, f) : 0, complete };

                call(user, &l);
                image_found_release(f);
        }
        free(r);
        free(f);
}

int image_list(const struct image_options *o, void (*call)(void *user, const struct image_listed *l), void *user, struct err *e)
{
        struct dirent *entry;
        struct store s;

        if (store_open(o->store, &s, e) < 0)
                return -(int)e->code;
        DIR *d = fdopendir(dup(s.refs));
        while (d && (entry = readdir(d)))
                if (entry->d_name[0] != '.')
                        list_one(&s, entry->d_name, call, user);
        if (d)
                closedir(d);
        store_close(&s);
        return 0;
}

static int sweep(struct store *s, bool wait, struct image_removed *out, struct err *e)
{
        struct store_swept swept = { 0 };
        int r = store_lock_alone(s, wait, e);

        if (r == 0)
                r = store_sweep(s, &swept, e);
        else if (r > 0)
                out->busy = true;
        out->freed = swept.bytes;
        out->layers = swept.layers;
        out->in_use = swept.in_use;
        return r < 0 ? r : 0;
}

int image_remove(const struct image_options *o, const char *ref, struct image_removed *out, struct err *e)
{
        char name[IMAGE_NAME_MAX + 1];
        struct image_ref *parsed = malloc(sizeof(*parsed));
        struct err ignored;
        struct store s;
        int r = parsed ? store_open(o->store, &s, e) : err_set(e, ERR_RESOURCE_EXHAUSTED, 0, "out of memory");

        *out = (struct image_removed){ 0 };
        if (r == 0) {
                r = store_ref_remove(&s, ref, e);
                if (r == 1 && image_ref_parse(ref, parsed, &ignored) == 0) {
                        image_ref_format(parsed, name, sizeof(name));
                        r = store_ref_remove(&s, name, e);
                }
                if (r == 1) {
                        err_set(e, ERR_IMAGE_NOT_FOUND, 0, "image '%.200s' is not in the store", ref);
                        r = err_hint(e, "`creto-runtime image list` shows what is");
                }
                if (r == 0)
                        r = sweep(&s, false, out, e);
                store_close(&s);
        }
        free(parsed);
        return r;
}

int image_prune(const struct image_options *o, struct image_removed *out, struct err *e)
{
        struct store s;

        *out = (struct image_removed){ 0 };
        if (store_open(o->store, &s, e) < 0)
                return -(int)e->code;
        int r = sweep(&s, true, out, e);
        store_close(&s);
        return r;
}
