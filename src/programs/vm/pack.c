#include "programs/vm/pack.h"

#include <errno.h>
#include <stdint.h>
#include <sys/sendfile.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/fd.h"

struct tail {
        uint64_t at, count;
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

int pack_disk(int state, int disk)
{
        off_t at = lseek(state, 0, SEEK_END), begin, end = 0;
        struct tail tail = { .at = (uint64_t)at };

        if (at < 0)
                return -1;
        while ((begin = lseek(disk, end, SEEK_DATA)) >= 0) {
                end = lseek(disk, begin, SEEK_HOLE);
                const struct piece p = { (uint64_t)begin, (uint64_t)(end - begin) };
                if (end < 0 || lseek(disk, begin, SEEK_SET) < 0 || fd_write_all(state, &p, sizeof(p)) < 0 ||
                    copy(disk, state, p.length) < 0)
                        return -1;
                tail.count++;
        }
        return errno == ENXIO ? fd_write_all(state, &tail, sizeof(tail)) : -1;
}

int unpack_disk(int state, int disk)
{
        struct tail tail;
        struct piece p;
        struct stat st;

        if (fstat(disk, &st) < 0 || lseek(state, -(off_t)sizeof(tail), SEEK_END) < 0 || fd_read_all(state, &tail, sizeof(tail)) < 0 ||
            tail.at > INT64_MAX || lseek(state, (off_t)tail.at, SEEK_SET) < 0)
                return -1;
        for (; tail.count > 0; tail.count--) {
                if (fd_read_all(state, &p, sizeof(p)) < 0)
                        return -1;
                if (p.offset > (uint64_t)st.st_size || p.length > (uint64_t)st.st_size - p.offset) {
                        errno = EPROTO;
                        return -1;
                }
                if (lseek(disk, (off_t)p.offset, SEEK_SET) < 0 || copy(state, disk, p.length) < 0)
                        return -1;
        }
        return 0;
}
