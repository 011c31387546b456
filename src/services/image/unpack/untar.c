/*
 * The last of the three processes: a tar stream to the entries of a tree. One of the two files that know libarchive.
 */
#include <archive.h>
#include <archive_entry.h>

#include "base/fd.h"
#include "services/image/unpack/unpack.h"

enum { BLOCK = 256 * 1024 };

static void archive_free_p(struct archive **a)
{
        archive_read_free(*a);
}

static int bad(struct archive *a, struct err *e)
{
        const char *why = archive_error_string(a);

        return err_set(e, ERR_INVALID_SPEC, 0, "is not a good tar archive: %.200s", why ? why : "damaged");
}

static enum tree_type type_of(struct archive_entry *entry)
{
        if (archive_entry_hardlink(entry))
                return TREE_HARDLINK;
        switch (archive_entry_filetype(entry)) {
        case AE_IFREG:
                return TREE_FILE;
        case AE_IFDIR:
                return TREE_DIR;
        case AE_IFLNK:
                return TREE_SYMLINK;
        case AE_IFIFO:
                return TREE_FIFO;
        default:
                return TREE_DEVICE;
        }
}

static struct tree_entry describe(struct archive_entry *entry)
{
        struct tree_entry out = {
                .name = archive_entry_pathname(entry),
                .type = type_of(entry),
                .mode = archive_entry_perm(entry),
                .uid = archive_entry_uid(entry),
                .gid = archive_entry_gid(entry),
                .mtime = { archive_entry_mtime(entry), archive_entry_mtime_nsec(entry) },
                .size = archive_entry_size(entry),
        };

        out.link = out.type == TREE_HARDLINK ? archive_entry_hardlink(entry) : archive_entry_symlink(entry);
        return out;
}

static int take_xattrs(struct tree *t, int fd, struct archive_entry *entry, struct err *e)
{
        const char *name;
        const void *value;
        size_t len;

        archive_entry_xattr_reset(entry);
        while (archive_entry_xattr_next(entry, &name, &value, &len) == ARCHIVE_OK)
                if (name && tree_xattr(t, fd, name, value, len, e) < 0)
                        return -(int)e->code;
        return 0;
}

static int take_data(struct archive *a, struct tree *t, int fd, int64_t size, struct err *e)
{
        const void *data;
        size_t len;
        la_int64_t offset;
        int r;

        while ((r = archive_read_data_block(a, &data, &len, &offset)) == ARCHIVE_OK) {
                if (offset < 0 || offset > size || len > (uint64_t)(size - offset))
                        return err_set(e, ERR_INVALID_SPEC, 0, "entry '%.200s' has more content than it says", t->path.text);
                if (tree_write(t, fd, data, len, (uint64_t)offset, e) < 0)
                        return -(int)e->code;
        }
        return r == ARCHIVE_EOF ? 0 : bad(a, e);
}

static int take_entry(struct archive *a, struct archive_entry *entry, struct tree *t, struct err *e)
{
        const struct tree_entry what = describe(entry);
        int fd, r;

        if (!what.name)
                return err_set(e, ERR_INVALID_SPEC, 0, "an entry has a name that cannot be read");
        if (tree_begin(t, &what, &fd, e) < 0)
                return -(int)e->code;
        if (fd < 0)
                return 0;
        r = what.type == TREE_FILE ? take_data(a, t, fd, what.size, e) : 0;
        if (r == 0)
                r = take_xattrs(t, fd, entry, e);
        if (r == 0)
                r = tree_end(t, &what, &fd, e);
        fd_close(&fd);
        return r;
}

int untar_run(int in, struct tree *t, struct err *e)
{
        __attribute__((cleanup(archive_free_p))) struct archive *a = archive_read_new();
        struct archive_entry *entry;
        int r;

        if (!a || archive_read_support_format_tar(a) != ARCHIVE_OK || archive_read_support_format_empty(a) != ARCHIVE_OK)
                return err_set(e, ERR_INTERNAL_ERROR, 0, "libarchive lacks tar");
        if (archive_read_open_fd(a, in, BLOCK) != ARCHIVE_OK)
                return bad(a, e);
        while ((r = archive_read_next_header(a, &entry)) == ARCHIVE_OK || r == ARCHIVE_WARN)
                if (take_entry(a, entry, t, e) < 0)
                        return -(int)e->code;
        return r == ARCHIVE_EOF ? tree_finish(t, e) : bad(a, e);
}
