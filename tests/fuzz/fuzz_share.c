/*
 * What a guest says to the server of its root: each request has an answer that is one, or none, and in no answer is anything that is hidden or outside of the root.
 * The first byte says whether the input is a stream as it comes, or requests in short: opcode, node and the body's length in a byte each, and the body.
 */
#include "fuzz.h"

#include <fcntl.h>
#include <linux/fuse.h>
#include <sys/stat.h>
#include <unistd.h>

#include "programs/vm/host/share.h"

#define SECRET "Nobody reads this"

/* In the order of making. Content "/": a directory; "-> X": a link to X. */
static const struct {
        const char *name, *content;
} tree[] = {
        { "", "/" },
        { "/outside", "/" },
        { "/outside/f", SECRET },
        { "/root", "/" },
        { "/root/tmp", "/" },
        { "/root/tmp/f", SECRET },
        { "/root/usr", "/" },
        { "/root/usr/f", "content" },
        { "/root/usr/d", "/" },
        { "/root/usr/d/f", "more" },
        { "/root/usr/up", "-> ../../outside" },
};

enum { ENTRIES = sizeof(tree) / sizeof(tree[0]), ERRORS = 512 };

static char top[] = "/tmp/creto-fuzz-share-XXXXXX";

static const char *path_of(size_t i)
{
        static char path[128];

        snprintf(path, sizeof(path), "%s%s", top, tree[i].name);
        return path;
}

static void remove_tree(void)
{
        for (size_t i = ENTRIES; i > 0; i--)
                remove(path_of(i - 1));
}

static int make(const char *path, const char *content)
{
        if (*content == '/')
                return mkdir(path, 0755);
        if (*content == '-')
                return symlink(content + 3, path);
        FILE *f = fopen(path, "we");
        return f && fputs(content, f) >= 0 && fclose(f) == 0 ? 0 : -1;
}

static int make_tree(void)
{
        NEED(mkdtemp(top) && atexit(remove_tree) == 0);
        for (size_t i = 1; i < ENTRIES; i++)
                NEED(make(path_of(i), tree[i].content) == 0);
        int fd = open(path_of(3), O_PATH | O_DIRECTORY | O_CLOEXEC);
        NEED(fd >= 0);
        return fd;
}

static void judge(struct share *s, const uint8_t *request, size_t len)
{
        static uint8_t answer[SHARE_ANSWER_MAX];
        struct fuse_out_header out;
        struct fuse_in_header in;
        size_t n = share_answer(s, request, len, answer);

        if (n == 0)
                return;
        NEED(n >= sizeof(out) && n <= sizeof(answer));
        memcpy(&in, request, sizeof(in));
        memcpy(&out, answer, sizeof(out));
        NEED(out.len == n && out.unique == in.unique && out.error <= 0 && out.error > -ERRORS && (out.error == 0 || n == sizeof(out)));
        NEED(!memmem(answer, n, SECRET, strlen(SECRET)));
}

static void stream(struct share *s, const uint8_t *data, size_t len)
{
        ssize_t n;

        for (; (n = share_next(data, len)) > 0; data += n, len -= (size_t)n) {
                NEED((size_t)n <= len && n <= SHARE_REQUEST_MAX);
                judge(s, data, (size_t)n);
        }
}

static void in_short(struct share *s, const uint8_t *data, size_t len)
{
        while (len >= 3) {
                size_t body = data[2] < len - 3 ? data[2] : len - 3;
                const struct fuse_in_header in = {
                        .len = (uint32_t)(sizeof(in) + body), .opcode = data[0], .unique = len, .nodeid = data[1]
                };
                uint8_t *request = malloc(in.len);

                NEED(request);
                memcpy(request, &in, sizeof(in));
                memcpy(request + sizeof(in), data + 3, body);
                NEED(share_next(request, in.len) == (ssize_t)in.len);
                judge(s, request, in.len);
                free(request);
                data += 3 + body;
                len -= 3 + body;
        }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
        static int root = -1;

        if (root < 0)
                root = make_tree();
        if (len == 0)
                return 0;
        struct share *s = share_new(root, data[0] & 2);
        NEED(s);
        (data[0] & 1 ? in_short : stream)(s, data + 1, len - 1);
        share_free(s);
        return 0;
}
