#include "programs/vm/host/saved/pack.h"

#include <errno.h>
#include <stdbool.h>
#include <string.h>
#include <sys/sendfile.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/fd.h"

enum { BLOCK = 64 * 1024 };

struct tail {
        uint64_t at, count, size;
};

struct piece {
        uint64_t offset, length;
};

/* From where both files stand. */
static int copy(int from, int to, uint64_t length)
{
        while (length > 0) {
                ssize_t n = sendfile(to, from, NULL, length < 1 << 20 ? (size_t)length : 1 << 20);

                if (n < 0 && errno == EINTR)
                        continue;
                if (n <= 0) {
                        errno = n == 0 ? ENODATA : errno;
                        return -1;
                }
                length -= (uint64_t)n;
        }
        return 0;
}

static int put_piece(int state, int file, off_t begin, off_t end, struct tail *tail)
{
        const struct piece p = { (uint64_t)begin, (uint64_t)(end - begin) };

        if (begin == end)
                return 0;
        tail->count++;
        return lseek(file, begin, SEEK_SET) < 0 || fd_write_all(state, &p, sizeof(p)) < 0 ? -1 : copy(file, state, p.length);
}

/* The block at `at`, as far as it is before `end`; what cannot be read is not zeros. */
static bool is_zeros(int file, off_t at, off_t end)
{
        static uint8_t block[BLOCK];
        ssize_t n = pread(file, block, end - at < BLOCK ? (size_t)(end - at) : BLOCK, at);

        return n > 0 && block[0] == 0 && memcmp(block, block + 1, (size_t)n - 1) == 0;
}

/* What is between two holes. */
static int put_data(int state, int file, off_t begin, off_t end, struct tail *tail)
{
        for (off_t at = begin; at < end; at += BLOCK)
                if (is_zeros(file, at, end)) {
                        if (put_piece(state, file, begin, at, tail) < 0)
                                return -1;
                        begin = at + BLOCK < end ? at + BLOCK : end;
                }
        return put_piece(state, file, begin, end, tail);
}

int pack_file(int state, int file)
{
        off_t at = lseek(state, 0, SEEK_END), begin, end = 0;
        struct tail tail = { .at = (uint64_t)at };
        struct stat st;

        if (at < 0 || fstat(file, &st) < 0)
                return -1;
        tail.size = (uint64_t)st.st_size;
        while ((begin = lseek(file, end, SEEK_DATA)) >= 0) {
                end = lseek(file, begin, SEEK_HOLE);
                if (end < 0 || put_data(state, file, begin, end, &tail) < 0)
                        return -1;
        }
        return errno == ENXIO ? fd_write_all(state, &tail, sizeof(tail)) : -1;
}

static int take_piece(int state, int file, uint64_t size)
{
        struct piece p;

        if (fd_read_all(state, &p, sizeof(p)) < 0)
                return -1;
        if (p.offset > size || p.length > size - p.offset) {
                errno = EPROTO;
                return -1;
        }
        return lseek(file, (off_t)p.offset, SEEK_SET) < 0 ? -1 : copy(state, file, p.length);
}

int unpack_file(int state, off_t *end, int file, uint64_t max)
{
        struct tail tail;

        if (lseek(state, *end - (off_t)sizeof(tail), SEEK_SET) < 0 || fd_read_all(state, &tail, sizeof(tail)) < 0)
                return -1;
        if (tail.at >= (uint64_t)*end || tail.size > max) {
                errno = EPROTO;
                return -1;
        }
        if (ftruncate(file, (off_t)tail.size) < 0 || lseek(state, (off_t)tail.at, SEEK_SET) < 0)
                return -1;
        for (; tail.count > 0; tail.count--)
                if (take_piece(state, file, tail.size) < 0)
                        return -1;
        *end = (off_t)tail.at;
        return 0;
}
