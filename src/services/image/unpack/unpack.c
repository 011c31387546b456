#include "services/image/unpack/unpack.h"

#include <errno.h>
#include <fcntl.h>
#include <locale.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/fd.h"

enum {
        CHUNK = 256 * 1024,
        PIPE_SIZE = 1024 * 1024,
        RATIO_MAX = 500, /* from RATIO_FREE on */
};

#define RATIO_FREE (256ULL << 20)

/* What an end says when it is done. It may have been taken over, so its text is cleaned. */
struct report {
        int32_t result;
        struct err error;
};

struct end {
        pid_t pid;
        int says; /* its report */
};

static void child_says(int fd, int result, const struct err *e)
{
        struct report report = { .result = result };

        if (result < 0)
                report.error = *e;
        (void)fd_write_all(fd, &report, sizeof(report));
}

/* Keep 3: where it reads. 4: where it writes, or the root of the tree. 5: where it reports. */
_Noreturn static void child_main(const struct unpack_job *job, int in, int out, int says, bool tree, pid_t parent)
{
        const struct confine c = { .keep = { in, tree ? job->root : out, says },
                                   .beneath = tree ? 1 : -1,
                                   .file_max = job->tree.max_bytes };
        struct tree t;
        struct err e;
        int r;

        prctl(PR_SET_PDEATHSIG, SIGKILL);
        if (getppid() != parent)
                _exit(1);
        signal(SIGXFSZ, SIG_IGN);
        (void)setlocale(LC_CTYPE, "C.UTF-8"); /* before the files go: names in pax headers are UTF-8 */
        r = confine_apply(&c, &e);
        if (r == 0 && !tree)
                r = inflate_run(3, 4, &e);
        if (r == 0 && tree) {
                tree_init(&t, 4, &job->tree);
                r = untar_run(3, &t, &e);
                tree_release(&t);
        }
        child_says(5, r, &e);
        _exit(0);
}

static int start(const struct unpack_job *job, int in, int out, bool tree, struct end *end, struct err *e)
{
        int report[2];
        pid_t self = getpid();

        if (pipe2(report, O_CLOEXEC) < 0)
                return err_sys(e, "cannot make a pipe");
        pid_t pid = fork();
        if (pid == 0)
                child_main(job, in, out, report[1], tree, self);
        close(report[1]);
        if (pid < 0) {
                close(report[0]);
                return err_sys(e, "cannot start unpacking");
        }
        *end = (struct end){ pid, report[0] };
        return 0;
}

static void clean_text(char *s, size_t cap)
{
        s[cap - 1] = '\0';
        for (; *s; s++)
                if ((unsigned char)*s < ' ' || (unsigned char)*s >= 0x7f)
                        *s = '?';
}

/* Waits for what it has to say, and then for its end. */
static int finish(struct end *end, struct err *e)
{
        struct report report;
        int status = 0;
        int r = fd_read_all(end->says, &report, sizeof(report));

        fd_close(&end->says);
        while (waitpid(end->pid, &status, 0) < 0 && errno == EINTR)
                ;
        end->pid = -1;
        if (r < 0 && WIFSIGNALED(status))
                return err_set(e, ERR_INVALID_SPEC, 0, "unpacking was ended by signal %d", WTERMSIG(status));
        if (r < 0)
                return err_set(e, ERR_INTERNAL_ERROR, 0, "unpacking ended without a word, with status %d", WEXITSTATUS(status));
        if (report.result == 0)
                return 0;
        clean_text(report.error.msg, sizeof(report.error.msg));
        clean_text(report.error.hint, sizeof(report.error.hint));
        if (report.error.code <= ERR_NONE || report.error.code >= ERR_CODE_COUNT)
                report.error.code = ERR_INTERNAL_ERROR;
        *e = report.error;
        return -(int)e->code;
}

static void stop(struct end *end)
{
        if (end->pid <= 0)
                return;
        kill(end->pid, SIGKILL);
        while (waitpid(end->pid, NULL, 0) < 0 && errno == EINTR)
                ;
        fd_close(&end->says);
        end->pid = -1;
}

static int check_size(const struct unpack_job *job, uint64_t bytes, struct err *e)
{
        if (bytes > job->tree.max_bytes)
                err_set(e, ERR_RESOURCE_EXHAUSTED, 0, "unpacks to more than the limit of %llu bytes",
                        (unsigned long long)job->tree.max_bytes);
        else if (bytes > RATIO_FREE && bytes / RATIO_MAX > job->blob_size)
                err_set(e, ERR_RESOURCE_EXHAUSTED, 0, "unpacks to more than %d times its size", RATIO_MAX);
        else
                return 0;
        return err_hint(e, "a layer like that is made to fill disks; if you trust it, build the image differently");
}

/* From the first end to the last, hashed on the way. Returns 1 where the last has closed its side. */
static int pump(const struct unpack_job *job, int from, int to, struct digest *d, uint64_t *bytes, uint8_t *chunk, struct err *e)
{
        for (;;) {
                ssize_t n = read(from, chunk, CHUNK);

                if (n < 0 && errno == EINTR)
                        continue;
                if (n < 0)
                        return err_sys(e, "cannot read what was decompressed");
                if (n == 0)
                        return 0;
                *bytes += (uint64_t)n;
                if (check_size(job, *bytes, e) < 0)
                        return -(int)e->code;
                digest_add(d, chunk, (size_t)n);
                if (to >= 0 && fd_write_all(to, chunk, (size_t)n) < 0)
                        return errno == EPIPE ? 1 : err_sys(e, "cannot pass on what was decompressed");
                if (job->progress)
                        job->progress(job->user, *bytes);
        }
}

/* The last end may close early: because it is content (what follows the archive's end is only hashed), or because it is not. */
static int stream(const struct unpack_job *job, int from, int *to, struct end *tree, struct digest *d, struct err *e)
{
        uint8_t *chunk = malloc(CHUNK);
        uint64_t bytes = 0;
        int r = chunk ? pump(job, from, *to, d, &bytes, chunk, e) : err_set(e, ERR_RESOURCE_EXHAUSTED, 0, "out of memory");

        fd_close(to);
        if (r == 1) {
                r = finish(tree, e);
                if (r == 0)
                        r = pump(job, from, -1, d, &bytes, chunk, e);
        }
        free(chunk);
        return r;
}

static int make_pipe(int out[2], struct err *e)
{
        if (pipe2(out, O_CLOEXEC) < 0)
                return err_sys(e, "cannot make a pipe");
        (void)fcntl(out[1], F_SETPIPE_SZ, PIPE_SIZE);
        return 0;
}

static int run(const struct unpack_job *job, struct end *first, struct end *last, struct digest *d, struct err *e)
{
        int a[2] = { -1, -1 }, b[2] = { -1, -1 };
        int r = make_pipe(a, e);

        if (r == 0)
                r = make_pipe(b, e);
        if (r == 0)
                r = start(job, job->blob, a[1], false, first, e);
        fd_close(&a[1]);
        if (r == 0)
                r = start(job, b[0], -1, true, last, e);
        fd_close(&b[0]);
        if (r == 0)
                r = stream(job, a[0], &b[1], last, d, e);
        fd_close(&a[0]);
        fd_close(&b[1]);
        if (r == 0)
                r = finish(first, e);
        if (r == 0 && last->pid > 0)
                r = finish(last, e);
        return r;
}

int unpack_run(const struct unpack_job *job, char hex[DIGEST_HEX + 1], struct err *e)
{
        struct end first = { -1, -1 }, last = { -1, -1 };
        auto_digest d = digest_new();

        if (!d)
                return err_set(e, ERR_RESOURCE_EXHAUSTED, 0, "out of memory");
        signal(SIGPIPE, SIG_IGN);
        int r = run(job, &first, &last, d, e);
        stop(&first);
        stop(&last);
        if (r == 0)
                digest_end(d, hex);
        return r;
}

bool unpack_has_ids(void)
{
        char text[256];
        unsigned long long inside, outside, count;

        if (geteuid() != 0 || fd_read_file(AT_FDCWD, "/proc/self/uid_map", text, sizeof(text)) <= 0)
                return false;
        return sscanf(text, "%llu %llu %llu", &inside, &outside, &count) == 3 && inside == 0 && count > TREE_ID_MAX;
}
