#include "services/image/store.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/str.h"
#include "services/image/manifest.h"

enum { REF_FILE_MAX = 16 * 1024, REF_NAME_MAX = 200, TREE_DEPTH_MAX = 1024 };

static int fail(struct err *e, const char *what)
{
        int sys = errno;
        bool full = sys == ENOSPC || sys == EDQUOT;

        err_set(e, full ? ERR_RESOURCE_EXHAUSTED : ERR_INTERNAL_ERROR, sys, "image store: cannot %s", what);
        if (full)
                err_hint(e, "free some space, for example with `creto-runtime image prune`");
        return -(int)e->code;
}

/* ---- trees ---- */

static int remove_below(int dir, const char *name, unsigned depth)
{
        auto_fd fd = openat(dir, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
        DIR *d = fd < 0 ? NULL : fdopendir(fd);
        struct dirent *entry;
        int r = 0;

        if (!d || depth > TREE_DEPTH_MAX) {
                if (d)
                        closedir(d), fd = -1;
                return -1;
        }
        fd = -1; /* the DIR's now */
        while (r == 0 && (entry = readdir(d))) {
                if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0)
                        continue;
                if (entry->d_type != DT_DIR && unlinkat(dirfd(d), entry->d_name, 0) == 0)
                        continue;
                if (remove_below(dirfd(d), entry->d_name, depth + 1) < 0 || unlinkat(dirfd(d), entry->d_name, AT_REMOVEDIR) < 0)
                        r = -1;
        }
        int saved = errno;
        closedir(d);
        errno = saved;
        return r;
}

int store_remove_tree(int dir, const char *name)
{
        if (unlinkat(dir, name, 0) == 0)
                return 0;
        if (errno != EISDIR && errno != EPERM)
                return -1;
        if (remove_below(dir, name, 0) < 0)
                return -1;
        return unlinkat(dir, name, AT_REMOVEDIR);
}

uint64_t store_tree_size(int dir, const char *name)
{
        auto_fd fd = openat(dir, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
        DIR *d = fd < 0 ? NULL : fdopendir(fd);
        struct dirent *entry;
        struct stat st;
        uint64_t sum = 0;

        if (!d)
                return 0;
        fd = -1;
        while ((entry = readdir(d))) {
                if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0)
                        continue;
                if (fstatat(dirfd(d), entry->d_name, &st, AT_SYMLINK_NOFOLLOW) < 0)
                        continue;
                sum += (uint64_t)st.st_blocks * 512 / (S_ISDIR(st.st_mode) || st.st_nlink == 0 ? 1 : st.st_nlink);
                if (S_ISDIR(st.st_mode))
                        sum += store_tree_size(dirfd(d), entry->d_name);
        }
        closedir(d);
        return sum;
}

/* ---- opening ---- */

static int subdir(int dir, const char *name, struct err *e)
{
        if (mkdirat(dir, name, 0700) < 0 && errno != EEXIST)
                return fail(e, "make a directory");
        int fd = openat(dir, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
        return fd < 0 ? fail(e, "open a directory of its own") : fd;
}

static int open_dirs(struct store *s, struct err *e)
{
        auto_fd blobs = subdir(s->dir, "blobs", e);

        if (blobs < 0 || (s->blobs = subdir(blobs, "sha256", e)) < 0 || (s->layers = subdir(s->dir, "layers", e)) < 0 ||
            (s->refs = subdir(s->dir, "refs", e)) < 0 || (s->locks = subdir(s->dir, "locks", e)) < 0 ||
            (s->tmp = subdir(s->dir, "tmp", e)) < 0)
                return -(int)e->code;
        return 0;
}

/* What lies in tmp/ and is nobody's. While we look, nobody makes anything there that is not locked yet. */
static void remove_abandoned(const struct store *s)
{
        auto_fd guard = openat(s->dir, "tmp", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        DIR *d;
        struct dirent *entry;

        if (guard < 0 || flock(guard, LOCK_EX | LOCK_NB) < 0 || !(d = fdopendir(dup(guard))))
                return;
        while ((entry = readdir(d))) {
                if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0)
                        continue;
                auto_fd fd = openat(guard, entry->d_name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
                if (fd < 0 || flock(fd, LOCK_EX | LOCK_NB) == 0)
                        (void)store_remove_tree(guard, entry->d_name);
        }
        closedir(d);
}

int store_open(const char *path, struct store *s, struct err *e)
{
        *s = (struct store){ -1, -1, -1, -1, -1, -1, -1 };
        if (mkdir(path, 0700) < 0 && errno != EEXIST)
                return fail(e, "make its directory");
        s->dir = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        if (s->dir < 0)
                return fail(e, "open its directory");
        if (open_dirs(s, e) < 0) {
                store_close(s);
                return -(int)e->code;
        }
        s->lock = openat(s->dir, "lock", O_RDWR | O_CREAT | O_NOFOLLOW | O_CLOEXEC, 0600);
        if (s->lock < 0 || flock(s->lock, LOCK_SH) < 0) {
                fail(e, "lock it");
                store_close(s);
                return -(int)e->code;
        }
        remove_abandoned(s);
        return 0;
}

void store_close(struct store *s)
{
        int *fds[] = { &s->lock, &s->tmp, &s->locks, &s->refs, &s->layers, &s->blobs, &s->dir };

        for (size_t i = 0; i < sizeof(fds) / sizeof(fds[0]); i++)
                fd_close(fds[i]);
}

/* ---- locks ---- */

int store_lock_alone(struct store *s, bool wait, struct err *e)
{
        if (flock(s->lock, LOCK_EX | (wait ? 0 : LOCK_NB)) == 0)
                return 0;
        if (errno != EWOULDBLOCK)
                return fail(e, "lock it");
        return store_lock_shared(s, e) < 0 ? -(int)e->code : 1;
}

int store_lock_shared(struct store *s, struct err *e)
{
        return flock(s->lock, LOCK_SH) < 0 ? fail(e, "lock it") : 0;
}

int store_lock_name(const struct store *s, const char *kind, const char *id, struct err *e)
{
        char name[96];

        snprintf(name, sizeof(name), "%s-%s", kind, id);
        auto_fd fd = openat(s->locks, name, O_RDWR | O_CREAT | O_NOFOLLOW | O_CLOEXEC, 0600);
        if (fd < 0 || flock(fd, LOCK_EX) < 0)
                return fail(e, "take a lock");
        return take_fd(&fd);
}

/* ---- tmp/ ---- */

static int random_name(char *out, size_t cap)
{
        uint64_t v;

        if (getrandom(&v, sizeof(v), 0) != sizeof(v))
                return -1;
        return snprintf(out, cap, "tmp/%016llx", (unsigned long long)v) < (int)cap ? 0 : -1;
}

int store_tmp_make(const struct store *s, struct store_tmp *t, struct err *e)
{
        auto_fd guard = openat(s->dir, "tmp", O_RDONLY | O_DIRECTORY | O_CLOEXEC);

        t->fd = -1;
        if (guard < 0 || flock(guard, LOCK_SH) < 0 || random_name(t->path, sizeof(t->path)) < 0 || mkdirat(s->dir, t->path, 0700) < 0)
                return fail(e, "make a working directory");
        t->fd = openat(s->dir, t->path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
        if (t->fd < 0 || flock(t->fd, LOCK_EX) < 0) {
                fail(e, "lock a working directory");
                store_tmp_drop(s, t);
                return -(int)e->code;
        }
        return 0;
}

void store_tmp_drop(const struct store *s, struct store_tmp *t)
{
        if (t->fd < 0)
                return;
        (void)store_remove_tree(s->dir, t->path);
        fd_close(&t->fd);
}

/* ---- layers ---- */

bool store_has_layer(const struct store *s, const char *hex)
{
        return faccessat(s->layers, hex, F_OK, AT_SYMLINK_NOFOLLOW) == 0;
}

int store_layer_remove(const struct store *s, const char *hex, struct err *e)
{
        char path[STORE_TMP_NAME + 1];

        if (random_name(path, sizeof(path)) < 0 || renameat(s->layers, hex, s->dir, path) < 0)
                return fail(e, "move a layer away");
        return store_remove_tree(s->dir, path) < 0 ? fail(e, "remove a layer") : 0;
}

/* ---- blobs ---- */

bool store_has_blob(const struct store *s, const char *hex)
{
        return faccessat(s->blobs, hex, F_OK, AT_SYMLINK_NOFOLLOW) == 0;
}

int store_blob_open(const struct store *s, const char *hex, struct err *e)
{
        int fd = openat(s->blobs, hex, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
        struct stat st;

        if (fd < 0 || fstat(fd, &st) < 0 || !S_ISREG(st.st_mode)) {
                fd_close(&fd);
                return err_set(e, ERR_IMAGE_NOT_FOUND, 0, "blob sha256:%s is not in the store", hex);
        }
        return fd;
}

int store_blob_read(const struct store *s, const char *hex, char **out, size_t *len, struct err *e)
{
        auto_fd fd = store_blob_open(s, hex, e);
        char got[DIGEST_HEX + 1];
        struct stat st;

        if (fd < 0)
                return -(int)e->code;
        if (fstat(fd, &st) < 0 || st.st_size > MANIFEST_JSON_MAX)
                return err_set(e, ERR_RESOURCE_EXHAUSTED, 0, "blob sha256:%s is larger than %d bytes", hex, MANIFEST_JSON_MAX);
        char *data = malloc((size_t)st.st_size + 1);
        if (!data)
                return err_set(e, ERR_RESOURCE_EXHAUSTED, 0, "out of memory");
        if (fd_read_all(fd, data, (size_t)st.st_size) < 0) {
                free(data);
                return fail(e, "read a blob");
        }
        digest_of(data, (size_t)st.st_size, got);
        if (strcmp(got, hex) != 0) {
                free(data);
                return err_set(e, ERR_IMAGE_NOT_FOUND, 0, "blob sha256:%s does not match its digest", hex);
        }
        data[st.st_size] = '\0';
        *out = data;
        *len = (size_t)st.st_size;
        return 0;
}

/* The file is whole and on its way to the disk before it has its name. */
static int blob_settle(const struct store *s, const struct store_tmp *t, int file, const char *hex, struct err *e)
{
        if (fdatasync(file) < 0 || renameat(t->fd, "blob", s->blobs, hex) < 0 || fsync(s->blobs) < 0)
                return fail(e, "keep a blob");
        return 0;
}

int store_blob_put(const struct store *s, const void *data, size_t len, char hex[DIGEST_HEX + 1], struct err *e)
{
        struct store_tmp t;
        int r = 0;

        digest_of(data, len, hex);
        if (store_tmp_make(s, &t, e) < 0)
                return -(int)e->code;
        auto_fd file = openat(t.fd, "blob", O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
        if (file < 0 || fd_write_all(file, data, len) < 0)
                r = fail(e, "write a blob");
        if (r == 0)
                r = blob_settle(s, &t, file, hex, e);
        store_tmp_drop(s, &t);
        return r;
}

/* ---- references ---- */

static void ref_file(const char *name, char out[REF_NAME_MAX + 1])
{
        static const char plain[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-";
        size_t n = 0;

        for (const char *s = name; *s && n <= REF_NAME_MAX; s++) {
                bool keep = strchr(plain, *s) && !(n == 0 && *s == '.');

                if (n + (keep ? 1 : 3) > REF_NAME_MAX) {
                        memcpy(out, "sha256-", 7);
                        digest_of(name, strlen(name), out + 7);
                        return;
                }
                if (keep)
                        out[n++] = *s;
                else
                        n += (size_t)snprintf(out + n, 4, "%%%02X", (unsigned char)*s);
        }
        out[n] = '\0';
}

/* Cuts the next line off; it must be "key value". */
static const char *take_line(char **at, const char *key)
{
        char *line = *at;
        char *end = strchr(line, '\n');
        size_t len = strlen(key);

        if (!end || strncmp(line, key, len) != 0 || line[len] != ' ')
                return NULL;
        *end = '\0';
        *at = end + 1;
        return line + len + 1;
}

static bool take_hex(char **at, const char *key, char out[DIGEST_HEX + 1])
{
        const char *s = take_line(at, key);

        if (!s || !str_has_prefix(s, "sha256:") || !image_is_hex(s + 7))
                return false;
        memcpy(out, s + 7, DIGEST_HEX + 1);
        return true;
}

int store_ref_read_file(const struct store *s, const char *file, struct store_ref *out)
{
        char text[REF_FILE_MAX + 1];
        char *at = text;
        ssize_t n = fd_read_file(s->refs, file, text, sizeof(text));
        const char *v;

        if (n < 0 || strlen(text) != (size_t)n || !(v = take_line(&at, "creto-ref")) || strcmp(v, "1") != 0)
                return 1;
        if (!(v = take_line(&at, "name")) || strlen(v) > IMAGE_NAME_MAX)
                return 1;
        memcpy(out->name, v, strlen(v) + 1);
        if (!take_hex(&at, "manifest", out->manifest) || !take_hex(&at, "config", out->config))
                return 1;
        out->source[0] = '\0';
        if ((v = take_line(&at, "source")) && strlen(v) <= STORE_SOURCE_MAX)
                memcpy(out->source, v, strlen(v) + 1);
        return 0;
}

int store_ref_read(const struct store *s, const char *name, struct store_ref *out)
{
        char file[REF_NAME_MAX + 8];

        ref_file(name, file);
        return store_ref_read_file(s, file, out) == 0 && strcmp(out->name, name) == 0 ? 0 : 1;
}

int store_ref_write(const struct store *s, const struct store_ref *r, struct err *e)
{
        char text[REF_FILE_MAX + 1], file[REF_NAME_MAX + 8];
        struct store_tmp t;
        int n = snprintf(text, sizeof(text), "creto-ref 1\nname %s\nmanifest sha256:%s\nconfig sha256:%s\n%s%s%s", r->name, r->manifest,
                         r->config, r->source[0] ? "source " : "", r->source, r->source[0] ? "\n" : "");
        int result = 0;

        ref_file(r->name, file);
        if (store_tmp_make(s, &t, e) < 0)
                return -(int)e->code;
        auto_fd fd = openat(t.fd, "ref", O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
        if (fd < 0 || fd_write_all(fd, text, (size_t)n) < 0 || fsync(fd) < 0 || renameat(t.fd, "ref", s->refs, file) < 0 ||
            fsync(s->refs) < 0)
                result = fail(e, "keep a reference");
        store_tmp_drop(s, &t);
        return result;
}

int store_ref_remove(const struct store *s, const char *name, struct err *e)
{
        char file[REF_NAME_MAX + 8];

        ref_file(name, file);
        if (unlinkat(s->refs, file, 0) == 0)
                return 0;
        return errno == ENOENT ? 1 : fail(e, "remove a reference");
}
