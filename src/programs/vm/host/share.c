/*
 * The root of a virtual machine: a FUSE server on a socket, which shows its guest the tree that it sees itself, read-only, and keeps nothing but the names
 * that were looked up. Whatever comes from the socket may be written by somebody who has taken over the guest's kernel; there is nothing here that the guest
 * may not read, and files are opened beneath the root only, following no links.
 *
 * Nothing changes below, so the guest may keep what it has read for as long as it likes (VALID_S), and opens nothing: a read names the file itself. Places
 * that are writable out here, and those that belong to this sandbox's kernel, are empty in there: the guest has its own.
 */
#include "programs/vm/host/share.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/fuse.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/sys.h"
#include "programs/vm/vm.h"

enum {
        NODES_MAX = 1 << 21,
        BUCKETS = 1 << 16,
        PATH_CAP = 4096,
        OPEN_MAX = 64,
        REQUEST_MAX = 16 * 1024,
        VALID_S = 1 << 28,
        NAME_CAP = 256,
};

struct node {
        uint32_t parent, next; /* in its bucket; 0: none */
        bool empty;            /* a directory whose content is not ours to show */
        char *name;
};

static struct node *nodes; /* [FUSE_ROOT_ID] is the root */
static uint32_t node_count, node_cap;
static uint32_t buckets[BUCKETS];
static struct {
        uint64_t node;
        int fd;
} opened[OPEN_MAX];
static unsigned open_turn;
static int root_fd, out_fd;
static bool show_owners;

static const char *const hidden[] = { "/proc", "/dev", "/sys", "/tmp", "/run", "/var/tmp", "/home/agent" };

/* What a guest looks up before it is saved. A server that comes after this one must know it by the same numbers. */
static const struct {
        uint32_t parent; /* FUSE_ROOT_ID is 1, and what stands here goes on from there */
        const char *name;
} first[] = { { 1, "proc" }, { 1, "dev" }, { 1, "tmp" }, { 1, "run" }, { 1, "var" }, { 1, "home" }, { 6, "tmp" }, { 7, "agent" } };

/* ---- nodes ---- */

static uint32_t hash(uint32_t parent, const char *name)
{
        uint32_t h = 2166136261U ^ parent * 16777619U;

        for (; *name; name++)
                h = (h ^ (uint8_t)*name) * 16777619U;
        return h % BUCKETS;
}

/* The path below the root, without a leading slash; "." for the root. False where it is too long. */
static bool path_of(uint64_t node, char *out, size_t cap)
{
        char *at = &out[cap - 1];

        *at = '\0';
        for (; node != FUSE_ROOT_ID; node = nodes[node].parent) {
                size_t len = strlen(nodes[node].name);

                if ((size_t)(at - out) < len + 2)
                        return false;
                if (*at)
                        *--at = '/';
                at -= len;
                memcpy(at, nodes[node].name, len);
        }
        if (!*at)
                *--at = '.';
        memmove(out, at, strlen(at) + 1);
        return true;
}

static bool is_hidden(const char *path)
{
        for (size_t i = 0; i < sizeof(hidden) / sizeof(hidden[0]); i++)
                if (strcmp(hidden[i] + 1, path) == 0)
                        return true;
        return false;
}

static uint32_t node_find(uint32_t parent, const char *name)
{
        uint32_t n = buckets[hash(parent, name)];

        while (n && (nodes[n].parent != parent || strcmp(nodes[n].name, name) != 0))
                n = nodes[n].next;
        return n;
}

/* Returns 0 where there is no room for one more. */
static uint32_t node_add(uint32_t parent, const char *name)
{
        uint32_t *bucket = &buckets[hash(parent, name)];
        char path[PATH_CAP];

        if (node_count == node_cap) {
                uint32_t cap = node_cap ? node_cap * 2 : 1024;
                struct node *more = cap > NODES_MAX ? NULL : realloc(nodes, cap * sizeof(*nodes));

                if (!more)
                        return 0;
                nodes = more;
                node_cap = cap;
        }
        char *copy = strdup(name);
        if (!copy)
                return 0;
        nodes[node_count] = (struct node){ .parent = parent, .next = *bucket, .name = copy };
        *bucket = node_count;
        nodes[node_count].empty = node_count > FUSE_ROOT_ID && path_of(node_count, path, sizeof(path)) && is_hidden(path);
        return node_count++;
}

static int node_open(uint64_t node, int flags)
{
        char path[PATH_CAP];

        if (!path_of(node, path, sizeof(path))) {
                errno = ENAMETOOLONG;
                return -1;
        }
        return sys_openat2(root_fd, path, (uint64_t)(flags | O_CLOEXEC | O_NOFOLLOW), RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS);
}

/* A file that is read is soon read again. */
static int node_file(uint64_t node)
{
        for (unsigned i = 0; i < OPEN_MAX; i++)
                if (opened[i].node == node)
                        return opened[i].fd;
        int fd = node_open(node, O_RDONLY | O_NONBLOCK);
        if (fd < 0)
                return -1;
        unsigned slot = open_turn++ % OPEN_MAX;
        if (opened[slot].node)
                close(opened[slot].fd);
        opened[slot].node = node;
        opened[slot].fd = fd;
        return fd;
}

/* ---- answers ---- */

static bool answer(const struct fuse_in_header *in, int error, const void *data, size_t len)
{
        struct fuse_out_header out = { .len = (uint32_t)(sizeof(out) + len), .error = error, .unique = in->unique };
        uint8_t head[sizeof(out) + 256];

        memcpy(head, &out, sizeof(out));
        if (len <= 256) {
                if (len > 0)
                        memcpy(head + sizeof(out), data, len);
                return fd_write_all(out_fd, head, sizeof(out) + len) == 0;
        }
        return fd_write_all(out_fd, &out, sizeof(out)) == 0 && fd_write_all(out_fd, data, len) == 0;
}

static bool refuse(const struct fuse_in_header *in, int error)
{
        return answer(in, -error, NULL, 0);
}

static void fill_attr(uint64_t node, const struct stat *st, struct fuse_attr *a)
{
        *a = (struct fuse_attr){
                .ino = node,
                .size = (uint64_t)st->st_size,
                .blocks = (uint64_t)st->st_blocks,
                .atime = (uint64_t)st->st_mtim.tv_sec,
                .mtime = (uint64_t)st->st_mtim.tv_sec,
                .ctime = (uint64_t)st->st_ctim.tv_sec,
                .mtimensec = (uint32_t)st->st_mtim.tv_nsec,
                .ctimensec = (uint32_t)st->st_ctim.tv_nsec,
                .mode = st->st_mode & ~(mode_t)(S_ISUID | S_ISGID),
                .uid = show_owners ? st->st_uid : 0,
                .gid = show_owners ? st->st_gid : 0,
                .nlink = (uint32_t)st->st_nlink,
                .blksize = 4096,
        };
}

/* ---- requests ---- */

static bool on_init(const struct fuse_in_header *in, const uint8_t *body, size_t len)
{
        const struct fuse_init_in *i = (const void *)body;
        uint32_t wanted = FUSE_ASYNC_READ | FUSE_BIG_WRITES | FUSE_PARALLEL_DIROPS | FUSE_AUTO_INVAL_DATA | FUSE_MAX_PAGES |
                          FUSE_CACHE_SYMLINKS | FUSE_NO_OPEN_SUPPORT | FUSE_NO_OPENDIR_SUPPORT | FUSE_EXPORT_SUPPORT;

        if (len < 16 || i->major != FUSE_KERNEL_VERSION)
                return refuse(in, EPROTO);
        struct fuse_init_out out = {
                .major = FUSE_KERNEL_VERSION,
                .minor = 31,
                .max_readahead = VM_FUSE_DATA,
                .flags = i->flags & wanted & ~(uint32_t)FUSE_AUTO_INVAL_DATA,
                .max_background = 32,
                .congestion_threshold = 24,
                .max_write = 4096,
                .time_gran = 1,
                .max_pages = VM_FUSE_DATA / 4096,
        };
        return answer(in, 0, &out, sizeof(out));
}

static bool on_lookup(const struct fuse_in_header *in, const uint8_t *body, size_t len)
{
        struct fuse_entry_out out = { .entry_valid = VALID_S, .attr_valid = VALID_S };
        uint32_t parent = (uint32_t)in->nodeid;
        const char *name = (const char *)body;
        struct stat st;

        if (len < 2 || len > NAME_CAP || body[len - 1] != '\0' || strchr(name, '/') || strcmp(name, ".") == 0 || strcmp(name, "..") == 0)
                return refuse(in, EINVAL);
        if (nodes[parent].empty)
                return answer(in, 0, &out, sizeof(out));
        uint32_t node = node_find(parent, name);
        if (!node) {
                auto_fd dir = node_open(parent, O_PATH | O_DIRECTORY);
                if (dir < 0)
                        return refuse(in, errno);
                if (fstatat(dir, name, &st, AT_SYMLINK_NOFOLLOW) < 0)
                        return errno == ENOENT ? answer(in, 0, &out, sizeof(out))
                                               : refuse(in, errno); /* that it is not there is remembered */
                if (!(node = node_add(parent, name)))
                        return refuse(in, ENOMEM);
        } else {
                auto_fd fd = node_open(node, O_PATH);
                if (fd < 0 || fstat(fd, &st) < 0)
                        return refuse(in, errno);
        }
        out.nodeid = node;
        fill_attr(node, &st, &out.attr);
        return answer(in, 0, &out, sizeof(out));
}

static bool on_getattr(const struct fuse_in_header *in, const uint8_t *body, size_t len)
{
        struct fuse_attr_out out = { .attr_valid = VALID_S };
        auto_fd fd = node_open(in->nodeid, O_PATH);
        struct stat st;

        (void)body;
        (void)len;
        if (fd < 0 || fstat(fd, &st) < 0)
                return refuse(in, errno);
        fill_attr(in->nodeid, &st, &out.attr);
        return answer(in, 0, &out, sizeof(out));
}

static bool on_readlink(const struct fuse_in_header *in, const uint8_t *body, size_t len)
{
        char target[PATH_CAP];
        auto_fd fd = node_open(in->nodeid, O_PATH);
        ssize_t n = fd < 0 ? -1 : readlinkat(fd, "", target, sizeof(target));

        (void)body;
        (void)len;
        return n < 0 ? refuse(in, errno) : answer(in, 0, target, (size_t)n);
}

static bool on_read(const struct fuse_in_header *in, const uint8_t *body, size_t len)
{
        static uint8_t data[VM_FUSE_DATA];
        const struct fuse_read_in *r = (const void *)body;

        if (len < sizeof(*r) || r->offset > INT64_MAX)
                return refuse(in, EINVAL);
        int fd = node_file(in->nodeid);
        ssize_t n = fd < 0 ? -1 : pread(fd, data, r->size < sizeof(data) ? r->size : sizeof(data), (off_t)r->offset);
        return n < 0 ? refuse(in, errno) : answer(in, 0, data, (size_t)n);
}

struct kernel_dirent {
        uint64_t ino;
        int64_t next;
        unsigned short len;
        unsigned char type;
        char name[];
};

/* Puts one entry into `out`; 0 where it has no room. */
static size_t put_entry(const struct kernel_dirent *d, uint8_t *out, size_t room)
{
        size_t name = strlen(d->name), size = FUSE_DIRENT_ALIGN(FUSE_NAME_OFFSET + name);
        const struct fuse_dirent head = {
                .ino = d->ino ? d->ino : 1, .off = (uint64_t)d->next, .namelen = (uint32_t)name, .type = d->type
        };

        if (size > room)
                return 0;
        memset(out, 0, size);
        memcpy(out, &head, FUSE_NAME_OFFSET);
        memcpy(out + FUSE_NAME_OFFSET, d->name, name);
        return size;
}

static bool on_readdir(const struct fuse_in_header *in, const uint8_t *body, size_t len)
{
        static uint8_t entries[16384] __attribute__((aligned(8))), out[32768];
        const struct fuse_read_in *r = (const void *)body;
        size_t used = 0, cap;

        if (len < sizeof(*r) || r->offset > INT64_MAX)
                return refuse(in, EINVAL);
        if (nodes[in->nodeid].empty)
                return answer(in, 0, NULL, 0);
        cap = r->size < sizeof(out) ? r->size : sizeof(out);
        auto_fd fd = node_open(in->nodeid, O_RDONLY | O_DIRECTORY);
        if (fd < 0 || lseek(fd, (off_t)r->offset, SEEK_SET) < 0)
                return refuse(in, errno);
        long n = syscall(SYS_getdents64, fd, entries, cap / 2 < sizeof(entries) ? cap / 2 : sizeof(entries));
        if (n < 0)
                return refuse(in, errno);
        for (long at = 0; at < n;) {
                const struct kernel_dirent *d = (const void *)(entries + at);
                size_t more = put_entry(d, out + used, cap - used);

                if (more == 0)
                        break;
                used += more;
                at += d->len;
        }
        return answer(in, 0, out, used);
}

static bool on_statfs(const struct fuse_in_header *in, const uint8_t *body, size_t len)
{
        struct fuse_statfs_out out = { .st = { .bsize = 4096, .frsize = 4096, .namelen = NAME_CAP - 1 } };

        (void)body;
        (void)len;
        return answer(in, 0, &out, sizeof(out));
}

static bool on_nothing(const struct fuse_in_header *in, const uint8_t *body, size_t len)
{
        (void)in;
        (void)body;
        (void)len;
        return true;
}

static const struct {
        bool (*act)(const struct fuse_in_header *in, const uint8_t *body, size_t len);
} table[] = {
        [FUSE_INIT] = { on_init },         [FUSE_LOOKUP] = { on_lookup },   [FUSE_GETATTR] = { on_getattr },
        [FUSE_READLINK] = { on_readlink }, [FUSE_READ] = { on_read },       [FUSE_READDIR] = { on_readdir },
        [FUSE_STATFS] = { on_statfs },     [FUSE_FORGET] = { on_nothing },  [FUSE_BATCH_FORGET] = { on_nothing },
        [FUSE_INTERRUPT] = { on_nothing }, [FUSE_DESTROY] = { on_nothing },
};

static bool handle(const uint8_t *request, size_t len)
{
        struct fuse_in_header in;

        memcpy(&in, request, sizeof(in));
        if (in.opcode >= sizeof(table) / sizeof(table[0]) || !table[in.opcode].act)
                return refuse(&in, ENOSYS); /* also to open: the kernel does without from then on */
        bool whole = in.opcode == FUSE_INIT || table[in.opcode].act == on_nothing || in.opcode == FUSE_STATFS;
        if (!whole && (in.nodeid < FUSE_ROOT_ID || in.nodeid >= node_count))
                return refuse(&in, ESTALE);
        return table[in.opcode].act(&in, request + sizeof(in), len - sizeof(in));
}

/* Requests are met in whole from one buffer. False at the end of the stream, or where it is no request. */
static bool take(uint8_t *buffer, size_t *have, size_t cap)
{
        size_t at = 0;
        ssize_t n = read(out_fd, buffer + *have, cap - *have);

        if (n <= 0)
                return n < 0 && errno == EINTR;
        *have += (size_t)n;
        while (*have - at >= sizeof(struct fuse_in_header)) {
                static uint8_t request[REQUEST_MAX] __attribute__((aligned(8)));
                uint32_t len;

                memcpy(&len, buffer + at, sizeof(len));
                if (len < sizeof(struct fuse_in_header) || len > REQUEST_MAX)
                        return false;
                if (*have - at < len)
                        break;
                memcpy(request, buffer + at, len);
                if (!handle(request, len))
                        return false;
                at += len;
        }
        *have -= at;
        memmove(buffer, buffer + at, *have);
        return true;
}

void share_run(int socket, int root, bool owners)
{
        static uint8_t buffer[2 * REQUEST_MAX];
        size_t have = 0;

        root_fd = root;
        out_fd = socket;
        show_owners = owners;
        node_add(0, ""); /* is none */
        if (node_add(0, "") != FUSE_ROOT_ID)
                return;
        memset(buckets, 0, sizeof(buckets));
        for (size_t i = 0; i < sizeof(first) / sizeof(first[0]); i++)
                if (!node_add(first[i].parent, first[i].name))
                        return;
        while (take(buffer, &have, sizeof(buffer)))
                ;
}
