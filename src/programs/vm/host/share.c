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
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/fd.h"
#include "base/sys.h"

enum {
        NODES_MAX = 1 << 21,
        BUCKETS = 1 << 16,
        PATH_CAP = 4096,
        OPEN_MAX = 64,
        ENTRIES_MAX = 16 * 1024, /* bytes of a directory that are read at once; as FUSE has them they are less than twice as much */
        VALID_S = 1 << 28,
        NAME_CAP = 256,
        INIT_LEAST = 16, /* bytes of a fuse_init_in that every kernel sends: up to its flags */
};

struct node {
        uint32_t parent, next; /* in its bucket; 0: none */
        bool empty;            /* a directory whose content is not ours to show */
        char *name;
};

struct share {
        int root;
        bool owners;
        struct node *nodes; /* [FUSE_ROOT_ID] is the root */
        uint32_t count, cap;
        uint32_t buckets[BUCKETS];
        struct {
                uint64_t node;
                int fd;
        } opened[OPEN_MAX];
        unsigned open_turn;
};

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
static bool path_of(const struct share *s, uint64_t node, char *out, size_t cap)
{
        char *at = &out[cap - 1];

        *at = '\0';
        for (; node != FUSE_ROOT_ID; node = s->nodes[node].parent) {
                size_t len = strlen(s->nodes[node].name);

                if ((size_t)(at - out) < len + 2)
                        return false;
                if (*at)
                        *--at = '/';
                at -= len;
                memcpy(at, s->nodes[node].name, len);
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

static uint32_t node_find(const struct share *s, uint32_t parent, const char *name)
{
        uint32_t n = s->buckets[hash(parent, name)];

        while (n && (s->nodes[n].parent != parent || strcmp(s->nodes[n].name, name) != 0))
                n = s->nodes[n].next;
        return n;
}

/* Returns 0 where there is no room for one more. */
static uint32_t node_add(struct share *s, uint32_t parent, const char *name)
{
        uint32_t *bucket = &s->buckets[hash(parent, name)];
        char path[PATH_CAP];

        if (s->count == s->cap) {
                uint32_t cap = s->cap ? s->cap * 2 : 1024;
                struct node *more = cap > NODES_MAX ? NULL : realloc(s->nodes, cap * sizeof(*s->nodes));

                if (!more)
                        return 0;
                s->nodes = more;
                s->cap = cap;
        }
        char *copy = strdup(name);
        if (!copy)
                return 0;
        s->nodes[s->count] = (struct node){ .parent = parent, .next = *bucket, .name = copy };
        *bucket = s->count;
        s->nodes[s->count].empty = s->count > FUSE_ROOT_ID && path_of(s, s->count, path, sizeof(path)) && is_hidden(path);
        return s->count++;
}

static int node_open(const struct share *s, uint64_t node, int flags)
{
        char path[PATH_CAP];

        if (!path_of(s, node, path, sizeof(path))) {
                errno = ENAMETOOLONG;
                return -1;
        }
        return sys_openat2(s->root, path, (uint64_t)(flags | O_CLOEXEC | O_NOFOLLOW), RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS);
}

/* A file that is read is soon read again. */
static int node_file(struct share *s, uint64_t node)
{
        struct stat st;

        for (unsigned i = 0; i < OPEN_MAX; i++)
                if (s->opened[i].node == node)
                        return s->opened[i].fd;
        auto_fd fd = node_open(s, node, O_RDONLY | O_NONBLOCK | O_NOCTTY);
        if (fd < 0 || fstat(fd, &st) < 0)
                return -1;
        if (!S_ISREG(st.st_mode)) {
                errno = S_ISDIR(st.st_mode) ? EISDIR : EINVAL;
                return -1;
        }
        unsigned slot = s->open_turn++ % OPEN_MAX;
        if (s->opened[slot].node)
                close(s->opened[slot].fd);
        s->opened[slot].node = node;
        return s->opened[slot].fd = take_fd(&fd);
}

static void fill_attr(const struct share *s, uint64_t node, const struct stat *st, struct fuse_attr *a)
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
                .uid = s->owners ? st->st_uid : 0,
                .gid = s->owners ? st->st_gid : 0,
                .nlink = (uint32_t)st->st_nlink,
                .blksize = 4096,
        };
}

/* ---- requests: each returns 0, with what it answers in `out`, or why not ---- */

static int on_init(struct share *s, uint64_t node, struct bytes body, struct wbuf *out)
{
        struct fuse_init_in in = { 0 };
        uint32_t wanted = FUSE_ASYNC_READ | FUSE_BIG_WRITES | FUSE_PARALLEL_DIROPS | FUSE_MAX_PAGES | FUSE_CACHE_SYMLINKS |
                          FUSE_NO_OPEN_SUPPORT | FUSE_NO_OPENDIR_SUPPORT | FUSE_EXPORT_SUPPORT;

        (void)s;
        (void)node;
        if (body.len < INIT_LEAST)
                return EPROTO;
        memcpy(&in, body.data, INIT_LEAST);
        if (in.major != FUSE_KERNEL_VERSION)
                return EPROTO;
        const struct fuse_init_out o = {
                .major = FUSE_KERNEL_VERSION,
                .minor = 31,
                .max_readahead = VM_FUSE_DATA,
                .flags = in.flags & wanted,
                .max_background = 32,
                .congestion_threshold = 24,
                .max_write = 4096,
                .time_gran = 1,
                .max_pages = VM_FUSE_DATA / 4096,
        };
        wbuf_bytes(out, &o, sizeof(o));
        return 0;
}

/* One name, with its NUL and nothing behind that. */
static bool is_name(struct bytes b)
{
        const char *name = (const char *)b.data;

        return b.len >= 2 && b.len <= NAME_CAP && memchr(name, '\0', b.len) == name + b.len - 1 && !strchr(name, '/') &&
               strcmp(name, ".") != 0 && strcmp(name, "..") != 0;
}

/* What is there of that name: 0, and *node is 0 where nothing is. */
static int find(struct share *s, uint32_t parent, const char *name, uint32_t *node, struct stat *st)
{
        *node = node_find(s, parent, name);
        if (*node) {
                auto_fd fd = node_open(s, *node, O_PATH);

                return fd < 0 || fstat(fd, st) < 0 ? errno : 0;
        }
        auto_fd dir = node_open(s, parent, O_PATH | O_DIRECTORY);
        if (dir < 0)
                return errno;
        if (fstatat(dir, name, st, AT_SYMLINK_NOFOLLOW) < 0)
                return errno == ENOENT ? 0 : errno;
        *node = node_add(s, parent, name);
        return *node ? 0 : ENOMEM;
}

static int on_lookup(struct share *s, uint64_t parent, struct bytes body, struct wbuf *out)
{
        struct fuse_entry_out o = { .entry_valid = VALID_S, .attr_valid = VALID_S }; /* that it is not there is remembered, too */
        uint32_t node = 0;
        struct stat st;

        if (!is_name(body))
                return EINVAL;
        int r = s->nodes[parent].empty ? 0 : find(s, (uint32_t)parent, (const char *)body.data, &node, &st);
        if (r != 0)
                return r;
        o.nodeid = node;
        if (node)
                fill_attr(s, node, &st, &o.attr);
        wbuf_bytes(out, &o, sizeof(o));
        return 0;
}

static int on_getattr(struct share *s, uint64_t node, struct bytes body, struct wbuf *out)
{
        struct fuse_attr_out o = { .attr_valid = VALID_S };
        auto_fd fd = node_open(s, node, O_PATH);
        struct stat st;

        (void)body;
        if (fd < 0 || fstat(fd, &st) < 0)
                return errno;
        fill_attr(s, node, &st, &o.attr);
        wbuf_bytes(out, &o, sizeof(o));
        return 0;
}

static int on_readlink(struct share *s, uint64_t node, struct bytes body, struct wbuf *out)
{
        auto_fd fd = node_open(s, node, O_PATH);
        ssize_t n = fd < 0 ? -1 : readlinkat(fd, "", (char *)out->data, PATH_CAP);

        (void)body;
        if (n < 0)
                return errno;
        out->len = (size_t)n;
        return 0;
}

/* What reading files and directories begins with. */
static bool get_read(struct bytes body, struct fuse_read_in *r)
{
        if (body.len < sizeof(*r))
                return false;
        memcpy(r, body.data, sizeof(*r));
        return r->offset <= INT64_MAX;
}

static int on_read(struct share *s, uint64_t node, struct bytes body, struct wbuf *out)
{
        struct fuse_read_in r;

        if (!get_read(body, &r))
                return EINVAL;
        int fd = node_file(s, node);
        ssize_t n = fd < 0 ? -1 : pread(fd, out->data, r.size < VM_FUSE_DATA ? r.size : VM_FUSE_DATA, (off_t)r.offset);
        if (n < 0)
                return errno;
        out->len = (size_t)n;
        return 0;
}

struct kernel_dirent {
        uint64_t ino;
        int64_t next;
        unsigned short len;
        unsigned char type;
        char name[];
};

/* False where it has no room. */
static bool put_entry(const struct kernel_dirent *d, struct wbuf *out)
{
        static const char zeros[sizeof(uint64_t)];
        size_t name = strlen(d->name), size = FUSE_DIRENT_ALIGN(FUSE_NAME_OFFSET + name);
        const struct fuse_dirent head = {
                .ino = d->ino ? d->ino : 1, .off = (uint64_t)d->next, .namelen = (uint32_t)name, .type = d->type
        };

        if (size > out->cap - out->len)
                return false;
        wbuf_bytes(out, &head, FUSE_NAME_OFFSET);
        wbuf_bytes(out, d->name, name);
        wbuf_bytes(out, zeros, size - FUSE_NAME_OFFSET - name);
        return true;
}

static int on_readdir(struct share *s, uint64_t node, struct bytes body, struct wbuf *out)
{
        static uint8_t entries[ENTRIES_MAX] __attribute__((aligned(8)));
        struct fuse_read_in r;

        if (!get_read(body, &r))
                return EINVAL;
        if (s->nodes[node].empty)
                return 0;
        if (r.size < out->cap)
                out->cap = r.size;
        auto_fd fd = node_open(s, node, O_RDONLY | O_DIRECTORY);
        if (fd < 0 || lseek(fd, (off_t)r.offset, SEEK_SET) < 0)
                return errno;
        long n = syscall(SYS_getdents64, fd, entries, out->cap / 2 < sizeof(entries) ? out->cap / 2 : sizeof(entries));
        if (n < 0)
                return errno;
        for (long at = 0; at < n;) {
                const struct kernel_dirent *d = (const void *)(entries + at);

                if (!put_entry(d, out))
                        break;
                at += d->len;
        }
        return 0;
}

static int on_statfs(struct share *s, uint64_t node, struct bytes body, struct wbuf *out)
{
        const struct fuse_statfs_out o = { .st = { .bsize = 4096, .frsize = 4096, .namelen = NAME_CAP - 1 } };

        (void)s;
        (void)node;
        (void)body;
        wbuf_bytes(out, &o, sizeof(o));
        return 0;
}

/* What is not here is not done; also to open: the kernel does without from then on. */
static const struct {
        int (*act)(struct share *s, uint64_t node, struct bytes body, struct wbuf *out);
        enum { OF_A_NODE = 1, OF_NONE, SILENT } kind; /* SILENT: nothing is to be done, and nothing to be said */
} table[] = {
        [FUSE_INIT] = { on_init, OF_NONE },           [FUSE_LOOKUP] = { on_lookup, OF_A_NODE }, [FUSE_GETATTR] = { on_getattr, OF_A_NODE },
        [FUSE_READLINK] = { on_readlink, OF_A_NODE }, [FUSE_READ] = { on_read, OF_A_NODE },     [FUSE_READDIR] = { on_readdir, OF_A_NODE },
        [FUSE_STATFS] = { on_statfs, OF_NONE },       [FUSE_FORGET] = { NULL, SILENT },         [FUSE_BATCH_FORGET] = { NULL, SILENT },
        [FUSE_INTERRUPT] = { NULL, SILENT },          [FUSE_DESTROY] = { NULL, SILENT },
};

static int act(struct share *s, const struct fuse_in_header *in, struct bytes body, struct wbuf *out)
{
        if (in->opcode >= sizeof(table) / sizeof(table[0]) || !table[in->opcode].act)
                return ENOSYS;
        if (table[in->opcode].kind == OF_A_NODE && (in->nodeid < FUSE_ROOT_ID || in->nodeid >= s->count))
                return ESTALE;
        return table[in->opcode].act(s, in->nodeid, body, out);
}

ssize_t share_next(const void *data, size_t len)
{
        uint32_t size;

        if (len < sizeof(struct fuse_in_header))
                return 0;
        memcpy(&size, data, sizeof(size));
        if (size < sizeof(struct fuse_in_header) || size > SHARE_REQUEST_MAX)
                return -1;
        return size <= len ? (ssize_t)size : 0;
}

size_t share_answer(struct share *s, const void *request, size_t len, uint8_t out[SHARE_ANSWER_MAX])
{
        struct wbuf data = wbuf_over(out + sizeof(struct fuse_out_header), VM_FUSE_DATA);
        struct fuse_in_header in;

        memcpy(&in, request, sizeof(in));
        if (in.opcode < sizeof(table) / sizeof(table[0]) && table[in.opcode].kind == SILENT)
                return 0;
        int error = act(s, &in, (struct bytes){ (const uint8_t *)request + sizeof(in), len - sizeof(in) }, &data);
        const struct fuse_out_header head = { .len = (uint32_t)(sizeof(head) + (error ? 0 : data.len)),
                                              .error = -error,
                                              .unique = in.unique };
        memcpy(out, &head, sizeof(head));
        return head.len;
}

/* ---- its life ---- */

struct share *share_new(int root, bool owners)
{
        struct share *s = calloc(1, sizeof(*s));

        if (!s)
                return NULL;
        s->root = root;
        s->owners = owners;
        bool good = node_add(s, 0, "") == 0 && s->count == 1 && node_add(s, 0, "") == FUSE_ROOT_ID; /* the first is none */
        memset(s->buckets, 0, sizeof(s->buckets));
        for (size_t i = 0; i < sizeof(first) / sizeof(first[0]) && good; i++)
                good = node_add(s, first[i].parent, first[i].name) != 0;
        if (good)
                return s;
        share_free(s);
        return NULL;
}

void share_free(struct share *s)
{
        if (!s)
                return;
        for (unsigned i = 0; i < OPEN_MAX; i++)
                if (s->opened[i].node)
                        close(s->opened[i].fd);
        for (uint32_t i = 0; i < s->count; i++)
                free(s->nodes[i].name);
        free(s->nodes);
        free(s);
}

/* Requests are met in whole from one buffer, and the next is looked at when the last was answered. False at the end of the stream, or where it is no request. */
static bool take(struct share *s, int socket, uint8_t *buffer, size_t *have, size_t cap)
{
        static uint8_t out[SHARE_ANSWER_MAX];
        ssize_t len, n = read(socket, buffer + *have, cap - *have);
        size_t at = 0;

        if (n <= 0)
                return n < 0 && errno == EINTR;
        *have += (size_t)n;
        for (; (len = share_next(buffer + at, *have - at)) > 0; at += (size_t)len)
                if (fd_write_all(socket, out, share_answer(s, buffer + at, (size_t)len, out)) < 0)
                        return false;
        *have -= at;
        memmove(buffer, buffer + at, *have);
        return len == 0;
}

void share_run(int socket, int root, bool owners)
{
        static uint8_t buffer[2 * SHARE_REQUEST_MAX];
        struct share *s = share_new(root, owners);
        size_t have = 0;

        while (s && take(s, socket, buffer, &have, sizeof(buffer)))
                ;
        share_free(s);
}
