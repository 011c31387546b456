#include "services/image/unpack/tree.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/str.h"
#include "base/sys.h"
#include "services/image/store.h"

struct tree_later {
        struct tree_later *next;
        struct timespec mtime;
        char path[];
};

void tree_init(struct tree *t, int root, const struct tree_options *o)
{
        *t = (struct tree){ .options = *o, .root = root, .parent = -1 };
}

void tree_release(struct tree *t)
{
        while (t->later) {
                struct tree_later *next = t->later->next;

                free(t->later);
                t->later = next;
        }
        fd_close(&t->parent);
}

static int refuse(const struct tree *t, struct err *e, enum err_code code, const char *why)
{
        return err_set(e, code, 0, "entry '%.200s' %s", t->path.text, why);
}

static int fail(const struct tree *t, struct err *e, const char *what)
{
        int sys = errno;

        if (sys == ENOSPC || sys == EDQUOT) {
                err_set(e, ERR_RESOURCE_EXHAUSTED, sys, "entry '%.200s': cannot %s", t->path.text, what);
                return err_hint(e, "free some space, for example with `creto-runtime image prune`");
        }
        if (sys == EFBIG)
                return refuse(t, e, ERR_RESOURCE_EXHAUSTED, "is larger than the limit");
        return err_set(e, ERR_INTERNAL_ERROR, sys, "entry '%.200s': cannot %s", t->path.text, what);
}

/* ---- looking up ---- */

static int lookup(const struct tree *t, const char *path, uint64_t flags)
{
        int fd;

        for (int tries = 0; tries < 16; tries++) { /* EAGAIN: something else was renamed on this host */
                fd = sys_openat2(t->root, *path ? path : ".", flags | O_CLOEXEC, RESOLVE_BENEATH | RESOLVE_NO_MAGICLINKS);
                if (fd >= 0 || errno != EAGAIN)
                        return fd;
        }
        return fd;
}

static int count_entry(struct tree *t, struct err *e)
{
        if (++t->entries > TREE_ENTRIES_MAX)
                return err_set(e, ERR_RESOURCE_EXHAUSTED, 0, "more than %d files and directories", TREE_ENTRIES_MAX);
        return 0;
}

static bool is_whiteout(const struct stat *st)
{
        return S_ISCHR(st->st_mode) && st->st_rdev == makedev(0, 0);
}

static int set_opaque(const struct tree *t, int dir, struct err *e)
{
        if (fsetxattr(dir, "user.overlay.opaque", "y", 1, 0) == 0)
                return 0;
        if (errno != EOPNOTSUPP)
                return fail(t, e, "mark its directory as opaque");
        err_set(e, ERR_NOT_SUPPORTED, 0, "the file system of the image store has no user extended attributes, and this image needs them");
        return err_hint(e, "put the store on ext4, xfs, btrfs, or tmpfs of Linux 6.6 or later");
}

static int set_opaque_at(const struct tree *t, int dir, const char *name, struct err *e)
{
        auto_fd fd = openat(dir, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);

        return fd < 0 ? fail(t, e, "open a directory") : set_opaque(t, fd, e);
}

static void forget_parent(struct tree *t)
{
        fd_close(&t->parent);
}

static int parent_refused(const struct tree *t, int sys, struct err *e)
{
        switch (sys) {
        case EXDEV:
                return refuse(t, e, ERR_INVALID_SPEC, "has a parent that is a symbolic link out of the layer");
        case ELOOP:
                return refuse(t, e, ERR_INVALID_SPEC, "has a parent that is a loop of symbolic links");
        case ENOTDIR:
                return refuse(t, e, ERR_INVALID_SPEC, "has a parent that is not a directory");
        case ENAMETOOLONG:
                return refuse(t, e, ERR_INVALID_SPEC, "has a name that is too long");
        default:
                errno = sys;
                return fail(t, e, "look up its parent");
        }
}

/* Makes the directory `name` in `dir` where there is none, or a whiteout, which it then replaces. */
static int make_missing(struct tree *t, int dir, const char *name, struct err *e)
{
        struct stat st;
        bool there = fstatat(dir, name, &st, AT_SYMLINK_NOFOLLOW) == 0;

        if (there && !is_whiteout(&st))
                return refuse(t, e, ERR_INVALID_SPEC, "has a parent that is a symbolic link to nothing, or no directory");
        if (there && unlinkat(dir, name, 0) < 0)
                return fail(t, e, "replace a whiteout");
        if (count_entry(t, e) < 0)
                return -(int)e->code;
        if (mkdirat(dir, name, 0755) < 0)
                return fail(t, e, "make its parent");
        return there ? set_opaque_at(t, dir, name, e) : 0;
}

/* Opens the directory that is the first `len` bytes of the path, making what is missing of it. Returns a descriptor. */
static int make_parents(struct tree *t, size_t len, struct err *e)
{
        char path[LAYER_PATH_MAX + 1];
        auto_fd dir = lookup(t, "", O_PATH | O_DIRECTORY);

        for (size_t start = 0, end; start < len && dir >= 0; start = end + 1) {
                end = start + strcspn(t->path.text + start, "/");
                memcpy(path, t->path.text, end);
                path[end] = '\0';
                int next = lookup(t, path, O_PATH | O_DIRECTORY);
                if (next < 0 && (errno == ENOENT || errno == ENOTDIR)) {
                        if (make_missing(t, dir, path + start, e) < 0)
                                return -(int)e->code;
                        next = lookup(t, path, O_PATH | O_DIRECTORY);
                }
                if (next < 0)
                        return parent_refused(t, errno, e);
                fd_close(&dir);
                dir = next;
        }
        return dir < 0 ? fail(t, e, "open the root of the layer") : take_fd(&dir);
}

/* The parent's descriptor, ours until the next call. */
static int open_parent(struct tree *t, struct err *e)
{
        size_t len = t->path.parent;

        if (t->parent >= 0 && strlen(t->parent_path) == len && memcmp(t->parent_path, t->path.text, len) == 0)
                return t->parent;
        forget_parent(t);
        memcpy(t->parent_path, t->path.text, len);
        t->parent_path[len] = '\0';
        t->parent = lookup(t, t->parent_path, O_PATH | O_DIRECTORY);
        if (t->parent < 0 && (errno == ENOENT || errno == ENOTDIR))
                t->parent = make_parents(t, len, e);
        else if (t->parent < 0)
                return parent_refused(t, errno, e);
        if (t->parent < 0) {
                t->parent = -1;
                return -(int)e->code;
        }
        return t->parent;
}

/* ---- what stands there already ---- */

enum { STOOD_NOTHING, STOOD_DIR, STOOD_WHITEOUT };

/* Removes what has the entry's name, unless both are directories. Returns one of the above, or a negative code. */
static int clear_way(struct tree *t, int dir, enum tree_type type, struct err *e)
{
        struct stat st;

        if (fstatat(dir, t->path.base, &st, AT_SYMLINK_NOFOLLOW) < 0)
                return errno == ENOENT ? STOOD_NOTHING : fail(t, e, "look at it");
        if (S_ISDIR(st.st_mode) && type == TREE_DIR)
                return STOOD_DIR;
        if (store_remove_tree(dir, t->path.base) < 0)
                return fail(t, e, "replace it");
        return is_whiteout(&st) ? STOOD_WHITEOUT : STOOD_NOTHING;
}

static int make_whiteout(struct tree *t, int dir, const char *name, struct err *e)
{
        struct stat st;

        if (fstatat(dir, name, &st, AT_SYMLINK_NOFOLLOW) == 0)
                return S_ISDIR(st.st_mode) ? set_opaque_at(t, dir, name, e) : 0;
        if (mknodat(dir, name, S_IFCHR | 0600, makedev(0, 0)) < 0)
                return fail(t, e, "make a whiteout");
        return 0;
}

/* Returns 1 where the entry was a whiteout of some kind, and is done. */
static int take_whiteout(struct tree *t, int dir, struct err *e)
{
        const char *name;
        int r = 0;

        switch (t->options.layer ? layer_whiteout_of(t->path.base, &name) : LAYER_PLAIN) {
        case LAYER_PLAIN:
                return 0;
        case LAYER_WHITEOUT_BAD:
                return refuse(t, e, ERR_INVALID_SPEC, "is a whiteout of nothing");
        case LAYER_OPAQUE:
                r = set_opaque_at(t, dir, ".", e);
                break;
        case LAYER_WHITEOUT:
                r = make_whiteout(t, dir, name, e);
                break;
        case LAYER_AUFS:
                break;
        }
        return r < 0 ? r : 1;
}

/* ---- owner, mode, times ---- */

static uid_t owner_of(int64_t id)
{
        return id < 0 || id > TREE_ID_MAX ? TREE_ID_NOBODY : (uid_t)id;
}

static mode_t mode_of(const struct tree *t, const struct tree_entry *entry)
{
        mode_t mode = entry->mode & 07777;

        if (entry->type != TREE_DIR)
                return mode & 0777;
        return t->options.privileged ? mode : mode | 0700;
}

/* For what is neither file nor directory: by name, which we have just made. */
static int settle_at(struct tree *t, int dir, const struct tree_entry *entry, struct err *e)
{
        const struct timespec times[2] = { entry->mtime, entry->mtime };

        if (t->options.owners && fchownat(dir, t->path.base, owner_of(entry->uid), owner_of(entry->gid), AT_SYMLINK_NOFOLLOW) < 0)
                return fail(t, e, "set its owner");
        if (entry->type == TREE_FIFO && fchmodat(dir, t->path.base, mode_of(t, entry), 0) < 0)
                return fail(t, e, "set its mode");
        (void)utimensat(dir, t->path.base, times, AT_SYMLINK_NOFOLLOW);
        return 0;
}

static int keep_for_later(struct tree *t, const struct timespec *mtime, struct err *e)
{
        size_t len = strlen(t->path.text) + 1;
        struct tree_later *later;

        t->later_bytes += sizeof(*later) + len;
        if (t->later_bytes > TREE_LATER_BYTES_MAX || !(later = malloc(sizeof(*later) + len)))
                return err_set(e, ERR_RESOURCE_EXHAUSTED, 0, "the names of the directories take more than %d bytes", TREE_LATER_BYTES_MAX);
        later->mtime = *mtime;
        memcpy(later->path, t->path.text, len);
        later->next = t->later;
        t->later = later;
        return 0;
}

/* ---- entries ---- */

static int make_hardlink(struct tree *t, int dir, const struct tree_entry *entry, struct err *e)
{
        struct layer_path to;
        char parent[LAYER_PATH_MAX + 1];
        struct stat st;

        if (layer_path_parse(entry->link, &to, e) < 0)
                return err_wrap(e, "entry '%.100s': hard link", t->path.text);
        if (strcmp(to.text, t->path.text) == 0)
                return 0;
        memcpy(parent, to.text, to.parent);
        parent[to.parent] = '\0';
        auto_fd from = lookup(t, parent, O_PATH | O_DIRECTORY);
        if (from < 0 && errno == EXDEV)
                return refuse(t, e, ERR_INVALID_SPEC, "is a hard link to something outside the layer");
        if (from < 0 || fstatat(from, to.base, &st, AT_SYMLINK_NOFOLLOW) < 0 || !*to.base || S_ISDIR(st.st_mode))
                return refuse(t, e, ERR_INVALID_SPEC, "is a hard link to something that is not a file of the layer");
        if (clear_way(t, dir, TREE_HARDLINK, e) < 0)
                return -(int)e->code;
        if (linkat(from, to.base, dir, t->path.base, 0) == 0)
                return 0;
        if (errno == ENOENT) /* it was in the directory that stood where the link goes */
                return refuse(t, e, ERR_INVALID_SPEC, "is a hard link to something that it replaces");
        return fail(t, e, "make a hard link");
}

static int make_dir(struct tree *t, int dir, int *fd, struct err *e)
{
        int stood = clear_way(t, dir, TREE_DIR, e);

        if (stood < 0)
                return stood;
        if (stood != STOOD_DIR && mkdirat(dir, t->path.base, 0700) < 0)
                return fail(t, e, "make a directory");
        auto_fd made = openat(dir, t->path.base, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
        if (made < 0)
                return fail(t, e, "open a directory");
        if (stood == STOOD_WHITEOUT && set_opaque(t, made, e) < 0)
                return -(int)e->code;
        *fd = take_fd(&made);
        return 0;
}

static int make_other(struct tree *t, int dir, const struct tree_entry *entry, int *fd, struct err *e)
{
        if (clear_way(t, dir, entry->type, e) < 0)
                return -(int)e->code;
        if (entry->type == TREE_FILE) {
                *fd = openat(dir, t->path.base, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
                return *fd < 0 ? fail(t, e, "make a file") : 0;
        }
        if (entry->type == TREE_SYMLINK && (!entry->link || !*entry->link || strlen(entry->link) > LAYER_PATH_MAX))
                return refuse(t, e, ERR_INVALID_SPEC, "is a symbolic link without a target, or with too long a one");
        int r = entry->type == TREE_SYMLINK ? symlinkat(entry->link, dir, t->path.base) : mkfifoat(dir, t->path.base, 0600);
        return r < 0 ? fail(t, e, "make it") : settle_at(t, dir, entry, e);
}

int tree_begin(struct tree *t, const struct tree_entry *entry, int *fd, struct err *e)
{
        int dir, r;

        *fd = -1;
        t->xattrs = 0;
        t->xattr_bytes = 0;
        if (layer_path_parse(entry->name, &t->path, e) < 0 || count_entry(t, e) < 0)
                return -(int)e->code;
        if (entry->type == TREE_DEVICE) {
                refuse(t, e, ERR_INVALID_SPEC, "is a device node");
                return err_hint(e, "images need none: a sandbox has its own /dev; build the image without it");
        }
        if (entry->type == TREE_FILE && (entry->size < 0 || (uint64_t)entry->size > t->options.max_bytes - t->bytes))
                return refuse(t, e, ERR_RESOURCE_EXHAUSTED, "makes the layer larger than the limit");
        if (!*t->path.base) { /* the root itself */
                if (entry->type != TREE_DIR)
                        return refuse(t, e, ERR_INVALID_SPEC, "would replace the root of the layer");
                *fd = openat(t->root, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
                return *fd < 0 ? fail(t, e, "open the root of the layer") : 0;
        }
        if ((dir = open_parent(t, e)) < 0)
                return dir;
        if ((r = take_whiteout(t, dir, e)) != 0)
                return r < 0 ? r : 0;
        if (entry->type == TREE_HARDLINK)
                return make_hardlink(t, dir, entry, e);
        return entry->type == TREE_DIR ? make_dir(t, dir, fd, e) : make_other(t, dir, entry, fd, e);
}

int tree_write(struct tree *t, int fd, const void *data, size_t len, uint64_t offset, struct err *e)
{
        const uint8_t *p = data;

        while (len > 0) {
                ssize_t n = pwrite(fd, p, len, (off_t)offset);

                if (n < 0 && errno == EINTR)
                        continue;
                if (n <= 0)
                        return fail(t, e, "write");
                p += n;
                len -= (size_t)n;
                offset += (uint64_t)n;
        }
        return 0;
}

int tree_xattr(struct tree *t, int fd, const char *name, const void *value, size_t len, struct err *e)
{
        if (!str_has_prefix(name, "user.") || str_has_prefix(name, "user.overlay.") || strlen(name) > 255)
                return 0;
        t->xattr_bytes += len + strlen(name);
        if (++t->xattrs > TREE_XATTRS_MAX || t->xattr_bytes > TREE_XATTR_BYTES_MAX)
                return refuse(t, e, ERR_RESOURCE_EXHAUSTED, "has too many extended attributes");
        if (fsetxattr(fd, name, value, len, 0) < 0 && errno != EOPNOTSUPP)
                return fail(t, e, "set an extended attribute");
        return 0;
}

int tree_end(struct tree *t, const struct tree_entry *entry, int *fd, struct err *e)
{
        const struct timespec times[2] = { entry->mtime, entry->mtime };
        int r = 0;

        if (entry->type == TREE_FILE && ftruncate(*fd, entry->size) < 0)
                r = fail(t, e, "set its size");
        else if (t->options.owners && fchown(*fd, owner_of(entry->uid), owner_of(entry->gid)) < 0)
                r = fail(t, e, "set its owner");
        else if (fchmod(*fd, mode_of(t, entry)) < 0)
                r = fail(t, e, "set its mode");
        else if (entry->type == TREE_DIR)
                r = keep_for_later(t, &entry->mtime, e);
        else
                (void)futimens(*fd, times);
        if (entry->type == TREE_FILE)
                t->bytes += (uint64_t)entry->size;
        fd_close(fd);
        return r;
}

int tree_finish(struct tree *t, struct err *e)
{
        (void)e;
        forget_parent(t);
        for (const struct tree_later *l = t->later; l; l = l->next) {
                const struct timespec times[2] = { l->mtime, l->mtime };
                auto_fd fd = lookup(t, l->path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW); /* what is no directory any more has no time to set */

                if (fd >= 0)
                        (void)futimens(fd, times);
        }
        return 0;
}
