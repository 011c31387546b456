/*
 * The first of the three processes: gzip, zstd or nothing, to plain bytes. One of the two files that know libarchive.
 */
#include <archive.h>
#include <archive_entry.h>
#include <errno.h>

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

        return err_set(e, ERR_INVALID_SPEC, 0, "cannot be decompressed: %.200s", why ? why : "damaged");
}

/* Returns 1 when all is passed on, or when nobody wants more. */
static int pass(struct archive *a, int out, struct err *e)
{
        const void *data;
        size_t len;
        la_int64_t offset;
        int r = archive_read_data_block(a, &data, &len, &offset);

        if (r == ARCHIVE_EOF)
                return 1;
        if (r != ARCHIVE_OK)
                return bad(a, e);
        if (fd_write_all(out, data, len) == 0)
                return 0;
        return errno == EPIPE ? 1 : err_sys(e, "cannot pass on what was decompressed");
}

int inflate_run(int in, int out, struct err *e)
{
        __attribute__((cleanup(archive_free_p))) struct archive *a = archive_read_new();
        struct archive_entry *entry;
        int r;

        if (!a || archive_read_support_filter_gzip(a) != ARCHIVE_OK || archive_read_support_filter_zstd(a) != ARCHIVE_OK ||
            archive_read_support_format_raw(a) != ARCHIVE_OK || archive_read_support_format_empty(a) != ARCHIVE_OK)
                return err_set(e, ERR_INTERNAL_ERROR, 0, "libarchive lacks gzip or zstd");
        if (archive_read_open_fd(a, in, BLOCK) != ARCHIVE_OK)
                return bad(a, e);
        r = archive_read_next_header(a, &entry);
        if (r == ARCHIVE_EOF)
                return 0;
        if (r != ARCHIVE_OK)
                return bad(a, e);
        do
                r = pass(a, out, e);
        while (r == 0);
        return r < 0 ? r : 0;
}
