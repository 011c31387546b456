/* The root of a virtual machine, against a guest kernel that somebody has taken over. */
#include "programs/vm/host/share.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <linux/fuse.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/fd.h"
#include "test.h"

enum { UNIQUE = 9 };

struct tree {
        char path[64];
        int root;
        struct share *share;
};

static void put_text(int dir, const char *name, const char *text)
{
        auto_fd fd = openat(dir, name, O_WRONLY | O_CREAT | O_CLOEXEC, 0755);

        if (fd < 0 || fd_write_all(fd, text, strlen(text)) < 0 || fchmod(fd, 04755) < 0)
                abort();
}

static void need(int r)
{
        if (r < 0)
                abort();
}

/* outside/f; root/usr/{f,fifo,out -> /etc,up -> ../../outside}, root/usr/d/f, root/tmp/secret */
static void tree_make(struct tree *t)
{
        snprintf(t->path, sizeof(t->path), "/tmp/creto-unit-share-XXXXXX");
        if (!mkdtemp(t->path))
                abort();
        auto_fd top = open(t->path, O_PATH | O_DIRECTORY | O_CLOEXEC);
        need(mkdirat(top, "outside", 0755));
        put_text(top, "outside/f", "outside");
        put_text(top, "outside/only", "outside");
        need(mkdirat(top, "root", 0755));
        need(t->root = openat(top, "root", O_PATH | O_DIRECTORY | O_CLOEXEC));
        need(mkdirat(t->root, "usr", 0755));
        need(mkdirat(t->root, "usr/d", 0755));
        need(mkdirat(t->root, "tmp", 0755));
        put_text(t->root, "usr/f", "content");
        put_text(t->root, "usr/d/f", "in");
        put_text(t->root, "tmp/secret", "secret");
        need(mkfifoat(t->root, "usr/fifo", 0644));
        need(symlinkat("/etc", t->root, "usr/out"));
        need(symlinkat("../../outside", t->root, "usr/up"));
        t->share = share_new(t->root, false);
}

static void tree_release(struct tree *t)
{
        static const char *const all[] = { "root/usr/f",   "root/usr/fifo", "root/usr/out", "root/usr/up/f",   "root/usr/up",
                                           "root/usr/d/f", "root/usr/d",    "root/usr",     "root/tmp/secret", "root/tmp",
                                           "root",         "outside/f",     "outside/only", "outside",         "" };
        char path[256];

        share_free(t->share);
        fd_close(&t->root);
        for (size_t i = 0; i < sizeof(all) / sizeof(all[0]); i++) {
                snprintf(path, sizeof(path), "%s/%s", t->path, all[i]);
                remove(path);
        }
}

#define TREE struct tree __attribute__((cleanup(tree_release)))

static uint8_t answer[SHARE_ANSWER_MAX];
static const uint8_t *const data = answer + sizeof(struct fuse_out_header);
static size_t data_len;

/* A request in a block of exactly its size. */
static size_t make(uint8_t **out, uint32_t opcode, uint64_t node, const void *body, size_t len)
{
        const struct fuse_in_header in = { .len = (uint32_t)(sizeof(in) + len), .opcode = opcode, .unique = UNIQUE, .nodeid = node };

        if (!(*out = malloc(in.len)))
                abort();
        memcpy(*out, &in, sizeof(in));
        if (len > 0)
                memcpy(*out + sizeof(in), body, len);
        return in.len;
}

/* The error of the answer; 1 where there is none, 2 where it is not well formed. */
static int ask(const struct tree *t, uint32_t opcode, uint64_t node, const void *body, size_t len)
{
        struct fuse_out_header out;
        uint8_t *request;
        size_t size = make(&request, opcode, node, body, len), n;

        n = share_next(request, size) == (ssize_t)size ? share_answer(t->share, request, size, answer) : sizeof(out) - 1;
        free(request);
        if (n == 0)
                return 1;
        memcpy(&out, answer, sizeof(out));
        if (n < sizeof(out) || out.len != n || out.unique != UNIQUE || out.error > 0 || (out.error < 0 && n != sizeof(out)))
                return 2;
        data_len = n - sizeof(out);
        return out.error;
}

/* The node of that name; 0 where there is none, UINT64_MAX where it may not be asked for. */
static uint64_t look_up(const struct tree *t, uint64_t parent, const char *name, uint32_t *mode)
{
        struct fuse_entry_out e;

        if (ask(t, FUSE_LOOKUP, parent, name, strlen(name) + 1) != 0)
                return UINT64_MAX;
        memcpy(&e, data, sizeof(e));
        if (mode)
                *mode = e.attr.mode;
        return e.nodeid;
}

static int look_up_bytes(const struct tree *t, uint64_t parent, const char *name, size_t len)
{
        return ask(t, FUSE_LOOKUP, parent, name, len);
}

static int read_from(const struct tree *t, uint32_t opcode, uint64_t node, uint64_t offset, uint32_t size)
{
        const struct fuse_read_in r = { .offset = offset, .size = size };

        return ask(t, opcode, node, &r, sizeof(r));
}

static int read_at(const struct tree *t, uint64_t node, uint64_t offset, uint32_t size)
{
        return read_from(t, FUSE_READ, node, offset, size);
}

/* ---- what a kernel asks for ---- */

TEST(it_shows_its_tree)
{
        TREE t = { 0 };
        uint32_t mode;

        tree_make(&t);
        uint64_t usr = look_up(&t, FUSE_ROOT_ID, "usr", &mode);
        CHECK(usr > FUSE_ROOT_ID && usr != UINT64_MAX && S_ISDIR(mode));
        uint64_t f = look_up(&t, usr, "f", &mode);
        CHECK_INT(mode, S_IFREG | 0755); /* and not set-uid */
        CHECK_INT(look_up(&t, usr, "f", NULL), f);
        CHECK_INT(read_at(&t, f, 2, 100), 0);
        CHECK(data_len == 5 && memcmp(data, "ntent", 5) == 0);
        CHECK_INT(look_up(&t, usr, "nothing", NULL), 0);
        CHECK_INT(ask(&t, FUSE_READLINK, look_up(&t, usr, "out", &mode), NULL, 0), 0);
        CHECK(data_len == 4 && memcmp(data, "/etc", 4) == 0 && S_ISLNK(mode));
        CHECK_INT(ask(&t, FUSE_STATFS, FUSE_ROOT_ID, NULL, 0), 0);
}

/* The names of a directory's entries, with blanks, in `out`; false where they are not well formed. */
static bool names(char *out)
{
        struct fuse_dirent d;

        *out = '\0';
        for (size_t at = 0; at < data_len; at += FUSE_DIRENT_ALIGN(FUSE_NAME_OFFSET + d.namelen)) {
                if (data_len - at < FUSE_NAME_OFFSET)
                        return false;
                memcpy(&d, data + at, FUSE_NAME_OFFSET);
                if (d.namelen == 0 || d.namelen > 255 || FUSE_DIRENT_ALIGN(FUSE_NAME_OFFSET + d.namelen) > data_len - at || !d.ino)
                        return false;
                sprintf(out + strlen(out), "%.*s ", (int)d.namelen, (const char *)data + at + FUSE_NAME_OFFSET);
        }
        return true;
}

TEST(directories_from_any_offset)
{
        static char text[SHARE_ANSWER_MAX];
        static const uint64_t offsets[] = { 0, 1, 2, 3, 4711, 1ULL << 31, 1ULL << 32, 1ULL << 62, INT64_MAX };
        static const uint32_t sizes[] = { 0, 1, 24, 40, 64, 100, 4096, 65536, UINT32_MAX };
        TREE t = { 0 };

        tree_make(&t);
        uint64_t usr = look_up(&t, FUSE_ROOT_ID, "usr", NULL), tmp = look_up(&t, FUSE_ROOT_ID, "tmp", NULL);
        for (size_t i = 0; i < sizeof(offsets) / sizeof(offsets[0]); i++)
                for (size_t k = 0; k < sizeof(sizes) / sizeof(sizes[0]); k++) {
                        int r = read_from(&t, FUSE_READDIR, usr, offsets[i], sizes[k]);
                        CHECK(r <= 0 && (r < 0 || (data_len <= sizes[k] && names(text))));
                        CHECK_INT(read_from(&t, FUSE_READDIR, tmp, offsets[i], sizes[k]), 0);
                        CHECK_INT(data_len, 0);
                }
        CHECK_INT(read_from(&t, FUSE_READDIR, usr, UINT64_MAX, 4096), -EINVAL);
        CHECK_INT(read_from(&t, FUSE_READDIR, usr, 1ULL << 63, 4096), -EINVAL);
        CHECK_INT(read_from(&t, FUSE_READDIR, usr, 0, 4096), 0);
        CHECK(names(text) && strstr(text, "fifo ") && strstr(text, "out "));
        CHECK_INT(read_from(&t, FUSE_READDIR, look_up(&t, usr, "f", NULL), 0, 4096), -ENOTDIR);
        CHECK(read_from(&t, FUSE_READDIR, look_up(&t, usr, "up", NULL), 0, 4096) < 0);
}

/* ---- what a kernel would never ask for ---- */

TEST(names_that_are_none)
{
        static char long_name[300];
        TREE t = { 0 };

        tree_make(&t);
        memset(long_name, 'x', sizeof(long_name) - 1);
        uint64_t usr = look_up(&t, FUSE_ROOT_ID, "usr", NULL);
        CHECK_INT(look_up_bytes(&t, usr, "..", 3), -EINVAL);
        CHECK_INT(look_up_bytes(&t, usr, ".", 2), -EINVAL);
        CHECK_INT(look_up_bytes(&t, usr, "", 1), -EINVAL);
        CHECK_INT(look_up_bytes(&t, usr, "", 0), -EINVAL);
        CHECK_INT(look_up_bytes(&t, usr, "\0\0\0", 3), -EINVAL);
        CHECK_INT(look_up_bytes(&t, usr, "f", 1), -EINVAL);    /* no end */
        CHECK_INT(look_up_bytes(&t, usr, "f\0f", 4), -EINVAL); /* and two */
        CHECK_INT(look_up_bytes(&t, usr, "..\0f", 5), -EINVAL);
        CHECK_INT(look_up_bytes(&t, usr, "/", 2), -EINVAL);
        CHECK_INT(look_up_bytes(&t, usr, "/etc/passwd", 12), -EINVAL);
        CHECK_INT(look_up_bytes(&t, usr, "../tmp/secret", 14), -EINVAL);
        CHECK_INT(look_up_bytes(&t, usr, "d/f", 4), -EINVAL);
        CHECK_INT(look_up_bytes(&t, usr, long_name, sizeof(long_name)), -EINVAL);
        CHECK_INT(look_up_bytes(&t, usr, long_name + sizeof(long_name) - 257, 257), -EINVAL);
        CHECK_INT(look_up(&t, usr, long_name + sizeof(long_name) - 256, NULL), 0); /* 255 may be one */
}

TEST(nodes_that_are_none)
{
        static const uint32_t opcodes[] = { FUSE_GETATTR, FUSE_READLINK };
        TREE t = { 0 };

        tree_make(&t);
        uint64_t usr = look_up(&t, FUSE_ROOT_ID, "usr", NULL), f = look_up(&t, usr, "f", NULL);
        const uint64_t none[] = { 0, f + 1, 4711, 1ULL << 31, 1ULL << 32 | usr, 1ULL << 63 | usr, UINT64_MAX };
        for (size_t i = 0; i < sizeof(none) / sizeof(none[0]); i++) {
                for (size_t k = 0; k < sizeof(opcodes) / sizeof(opcodes[0]); k++)
                        CHECK_INT(ask(&t, opcodes[k], none[i], NULL, 0), -ESTALE);
                CHECK_INT(look_up_bytes(&t, none[i], "f", 2), -ESTALE);
                CHECK_INT(read_at(&t, none[i], 0, 100), -ESTALE);
                CHECK_INT(read_from(&t, FUSE_READDIR, none[i], 0, 4096), -ESTALE);
        }
        CHECK_INT(look_up_bytes(&t, f, "f", 2), -ENOTDIR);
}

TEST(what_is_hidden_and_what_is_no_file)
{
        TREE t = { 0 };

        tree_make(&t);
        uint64_t usr = look_up(&t, FUSE_ROOT_ID, "usr", NULL), tmp = look_up(&t, FUSE_ROOT_ID, "tmp", NULL);
        CHECK_INT(look_up(&t, tmp, "secret", NULL), 0);
        CHECK_INT(read_at(&t, usr, 0, 100), -EISDIR);
        CHECK_INT(read_at(&t, look_up(&t, usr, "fifo", NULL), 0, 100), -EINVAL);
        CHECK(ask(&t, FUSE_READLINK, usr, NULL, 0) < 0);
}

TEST(reads_of_any_size)
{
        TREE t = { 0 };

        tree_make(&t);
        auto_fd big = openat(t.root, "usr/f", O_WRONLY | O_CLOEXEC);
        CHECK(ftruncate(big, 4 * VM_FUSE_DATA) == 0);
        uint64_t f = look_up(&t, look_up(&t, FUSE_ROOT_ID, "usr", NULL), "f", NULL);
        CHECK_INT(read_at(&t, f, 0, UINT32_MAX), 0);
        CHECK_INT(data_len, VM_FUSE_DATA);
        CHECK_INT(read_at(&t, f, 0, 0), 0);
        CHECK_INT(data_len, 0);
        CHECK_INT(read_at(&t, f, 4 * VM_FUSE_DATA, 100), 0);
        CHECK_INT(data_len, 0);
        CHECK_INT(read_at(&t, f, UINT64_MAX, 10), -EINVAL);
        CHECK(read_at(&t, f, INT64_MAX, UINT32_MAX) <= 0);
        CHECK_INT(ask(&t, FUSE_READ, f, NULL, 0), -EINVAL);
        CHECK_INT(ask(&t, FUSE_READ, f, "x", 1), -EINVAL);
}

/* Each opcode with each small length of a body: it is answered, or is one of those that nothing is said to. */
TEST(opcodes_of_any_kind)
{
        static const uint32_t others[] = { FUSE_WRITE, FUSE_OPEN, FUSE_IOCTL, 4096, 1U << 31, UINT32_MAX };
        static const uint8_t body[64] = "f";
        TREE t = { 0 };

        tree_make(&t);
        uint64_t usr = look_up(&t, FUSE_ROOT_ID, "usr", NULL);
        for (uint32_t op = 0; op < 64; op++)
                for (size_t len = 0; len <= sizeof(body); len++) {
                        bool silent = op == FUSE_FORGET || op == FUSE_BATCH_FORGET || op == FUSE_INTERRUPT || op == FUSE_DESTROY;
                        int r = ask(&t, op, usr, body, len);
                        CHECK(silent ? r == 1 : r <= 0);
                }
        for (size_t i = 0; i < sizeof(others) / sizeof(others[0]); i++)
                CHECK_INT(ask(&t, others[i], usr, NULL, 0), -ENOSYS);
        CHECK_INT(ask(&t, FUSE_INIT, 0, "x", 1), -EPROTO);
        CHECK_INT(ask(&t, FUSE_INIT, 0, body, sizeof(body)), -EPROTO); /* another version */
}

/* A node stays what it is, however often it is said to be forgotten. */
TEST(to_forget_is_nothing)
{
        const struct fuse_forget_in all = { .nlookup = UINT64_MAX };
        const struct {
                struct fuse_batch_forget_in in;
                struct fuse_forget_one one;
        } lie = { { .count = UINT32_MAX }, { .nodeid = FUSE_ROOT_ID, .nlookup = UINT64_MAX } };
        TREE t = { 0 };

        tree_make(&t);
        uint64_t usr = look_up(&t, FUSE_ROOT_ID, "usr", NULL);
        for (int i = 0; i < 100; i++) {
                CHECK_INT(ask(&t, FUSE_FORGET, i % 2 ? usr : FUSE_ROOT_ID, &all, sizeof(all)), 1);
                CHECK_INT(ask(&t, FUSE_FORGET, UINT64_MAX, &all, sizeof(all)), 1);
                CHECK_INT(ask(&t, FUSE_BATCH_FORGET, 0, &lie, sizeof(lie)), 1);
        }
        CHECK_INT(look_up(&t, FUSE_ROOT_ID, "usr", NULL), usr);
        CHECK_INT(ask(&t, FUSE_GETATTR, usr, NULL, 0), 0);
}

/* ---- ways out ---- */

TEST(links_lead_nowhere)
{
        static const char *const links[] = { "out", "up" };
        TREE t = { 0 };

        tree_make(&t);
        uint64_t usr = look_up(&t, FUSE_ROOT_ID, "usr", NULL);
        for (size_t i = 0; i < 2; i++) {
                uint64_t link = look_up(&t, usr, links[i], NULL);
                CHECK(link > usr && link != UINT64_MAX);
                CHECK_INT(look_up(&t, link, "f", NULL), UINT64_MAX);
                CHECK_INT(look_up(&t, link, "passwd", NULL), UINT64_MAX);
                CHECK(read_at(&t, link, 0, 100) < 0);
        }
}

/* One who makes a directory a link that leads out, and back, as fast as it can. */
static pid_t swap(const struct tree *t)
{
        pid_t pid = fork();

        if (pid != 0)
                return pid;
        prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0);
        for (;;)
                syscall(SYS_renameat2, t->root, "usr/d", t->root, "usr/up", RENAME_EXCHANGE);
}

TEST(links_that_are_swapped_in_meanwhile)
{
        enum { TIMES = 20000 };
        TREE t = { 0 };
        struct fuse_attr_out a;
        unsigned in = 0, out = 0, sizes = 0;

        tree_make(&t);
        uint64_t d = look_up(&t, look_up(&t, FUSE_ROOT_ID, "usr", NULL), "d", NULL), f = look_up(&t, d, "f", NULL);
        pid_t pid = swap(&t);
        for (int i = 0; i < TIMES; i++) {
                uint64_t only = look_up(&t, d, "only", NULL);
                out += only != 0 && only != UINT64_MAX;
                if (ask(&t, FUSE_GETATTR, f, NULL, 0) == 0) {
                        memcpy(&a, data, sizeof(a));
                        in++;
                        sizes += a.attr.size != 2;
                }
        }
        kill(pid, SIGKILL);
        waitpid(pid, NULL, 0);
        struct stat st;
        if (fstatat(t.root, "usr/d", &st, AT_SYMLINK_NOFOLLOW) == 0 && S_ISLNK(st.st_mode)) /* as it was */
                syscall(SYS_renameat2, t.root, "usr/d", t.root, "usr/up", RENAME_EXCHANGE);
        CHECK_INT(out, 0);
        CHECK_INT(sizes, 0);
        CHECK(in > 0);
}

/* ---- the stream ---- */

TEST(where_a_request_ends)
{
        uint8_t *request;
        size_t len = make(&request, FUSE_LOOKUP, 1, "usr", 4);
        const uint32_t none[] = { 0, 3, sizeof(struct fuse_in_header) - 1, SHARE_REQUEST_MAX + 1, 1U << 31, UINT32_MAX };
        ssize_t whole = share_next(request, len), wrong = 0;

        for (size_t n = 0; n < len; n++)
                whole += share_next(request, n); /* 0 each */
        for (size_t i = 0; i < sizeof(none) / sizeof(none[0]); i++) {
                memcpy(request, &none[i], sizeof(none[i]));
                wrong += share_next(request, len);
        }
        free(request);
        CHECK_INT(whole, len);
        CHECK_INT(wrong, -6);
}

/* A server of its own; *sock is our end. */
static pid_t serve(const struct tree *t, int *sock)
{
        int ends[2];

        need(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends));
        pid_t pid = fork();
        if (pid == 0) {
                prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0);
                close(ends[0]);
                share_run(ends[1], t->root, false);
                _exit(0);
        }
        close(ends[1]);
        *sock = ends[0];
        return pid;
}

TEST(it_ends_at_what_is_no_request)
{
        const struct fuse_in_header in = { .len = 3 };
        TREE t = { 0 };
        char byte;
        int sock;

        tree_make(&t);
        pid_t pid = serve(&t, &sock);
        int r = fd_write_all(sock, &in, sizeof(in));
        ssize_t n = read(sock, &byte, 1);
        close(sock);
        waitpid(pid, NULL, 0);
        CHECK_INT(r, 0);
        CHECK_INT(n, 0);
}

static unsigned long resident_kib(pid_t pid)
{
        char path[64], text[256];
        unsigned long size = 0, resident = 0;

        snprintf(path, sizeof(path), "/proc/%d/statm", pid);
        if (fd_read_file(AT_FDCWD, path, text, sizeof(text)) <= 0 || sscanf(text, "%lu %lu", &size, &resident) != 2)
                return 0;
        return resident * (unsigned long)sysconf(_SC_PAGESIZE) / 1024;
}

/* Requests and no end of them, whose answers nobody reads: it waits, and grows by nothing. Then all are there. */
TEST(a_burst_without_reading)
{
        enum { ENOUGH = 1000000, SETTLE_MS = 100 };
        const struct fuse_read_in r = { .size = UINT32_MAX };
        struct fuse_out_header out;
        TREE t = { 0 };
        uint8_t *request;
        unsigned asked = 0, answered = 0;
        size_t sent = 0;
        int sock;

        tree_make(&t);
        auto_fd big = openat(t.root, "usr/f", O_WRONLY | O_CLOEXEC);
        need(ftruncate(big, VM_FUSE_DATA));
        uint64_t f = look_up(&t, look_up(&t, FUSE_ROOT_ID, "usr", NULL), "f", NULL), usr = f - 1; /* the server will number them alike */
        pid_t pid = serve(&t, &sock);
        size_t len = make(&request, FUSE_LOOKUP, FUSE_ROOT_ID, "usr", 4);
        need(fd_write_all(sock, request, len) + fd_read_all(sock, answer, sizeof(out) + sizeof(struct fuse_entry_out)));
        free(request);
        len = make(&request, FUSE_LOOKUP, usr, "f", 2);
        need(fd_write_all(sock, request, len) + fd_read_all(sock, answer, sizeof(out) + sizeof(struct fuse_entry_out)));
        free(request);
        len = make(&request, FUSE_READ, f, &r, sizeof(r));
        unsigned long before = resident_kib(pid);
        for (int idle = 0; asked < ENOUGH && idle < SETTLE_MS;) {
                ssize_t n = send(sock, request + sent, len - sent, MSG_DONTWAIT | MSG_NOSIGNAL);

                idle = n > 0 ? 0 : idle + 1;
                sent += n > 0 ? (size_t)n : 0;
                asked += sent == len;
                sent = sent == len ? 0 : sent;
                if (n < 0)
                        usleep(1000);
        }
        unsigned long after = resident_kib(pid);
        free(request);
        for (; answered < asked && fd_read_all(sock, &out, sizeof(out)) == 0 && out.error == 0 && out.len <= sizeof(answer); answered++)
                if (fd_read_all(sock, answer, out.len - sizeof(out)) < 0)
                        break;
        close(sock);
        waitpid(pid, NULL, 0);
        CHECK(asked > 10 && asked < ENOUGH);
        CHECK_INT(answered, asked);
        CHECK(before > 0 && after >= before && after - before < 1024);
}
