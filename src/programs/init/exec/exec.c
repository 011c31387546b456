#include "programs/init/exec/exec.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <termios.h>
#include <unistd.h>

#include "base/err.h"
#include "base/fd.h"
#include "programs/init/bind.h"
#include "programs/init/channel.h"
#include "programs/init/init.h"
#include "programs/init/exec/spawn.h"
#include "programs/init/stream.h"
#include "programs/init/exec/users.h"
#include "programs/init/prewarm/prewarm.h"

#ifndef TIOCGPTPEER
#define TIOCGPTPEER _IO('T', 0x41)
#endif

#define DEFAULT_PATH "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

enum { EXTRAS_MAX = 8, EXTRA_SIZE = 288, KEEP_PAGES = 64 * 1024, ROWS = 24, COLS = 80 };

/*
 * The request as it came. Its strings become C strings in place: each is followed by the length of the next field, which has been
 * decoded by then, and whose first byte is overwritten with the NUL.
 */
static uint8_t request[GUEST_EXEC_MAX] __attribute__((aligned(4096)));
static size_t request_len;
static uint32_t assembling; /* the channel of a request that is not whole yet, or 0 */
static bool too_long;

/* argv begins at [1]: the child may have to put a shell before it. */
static char *argv_store[GUEST_ARG_MAX + 2] __attribute__((aligned(4096)));
static char *env_store[GUEST_ENV_MAX + EXTRAS_MAX + 1] __attribute__((aligned(4096)));
static char extras[EXTRAS_MAX][EXTRA_SIZE];
static uint32_t extra_count;

struct plumbing {
        int child[3]; /* of which 0 may be pid 1's own /dev/null */
        int in, out, err;
};

void exec_reset(void)
{
        assembling = 0;
        request_len = 0;
        too_long = false;
}

/* Strings */

static char *seal(struct bytes b)
{
        request[b.data - request + b.len] = '\0';
        return (char *)b.data;
}

static void collect(struct rbuf strings, uint32_t count, char **out)
{
        struct bytes last = { 0 };

        for (uint32_t i = 0; i < count; i++) {
                struct bytes b = guest_exec_next(&strings);

                if (i > 0)
                        seal(last);
                out[i] = (char *)b.data;
                last = b;
        }
        if (count > 0)
                seal(last);
        out[count] = NULL;
}

static const char *env_get(const char *name)
{
        size_t len = strlen(name);

        for (char **e = env_store; *e; e++)
                if (strncmp(*e, name, len) == 0 && (*e)[len] == '=')
                        return *e + len + 1;
        return NULL;
}

static void env_default(uint32_t *envc, const char *name, const char *value)
{
        if (!value[0] || env_get(name) || extra_count == EXTRAS_MAX)
                return;
        char *e = extras[extra_count];
        int n = snprintf(e, EXTRA_SIZE, "%s=%s", name, value);
        if (n < 0 || n >= EXTRA_SIZE)
                return;
        extra_count++;
        env_store[(*envc)++] = e;
        env_store[*envc] = NULL;
}

static void fill_env(const struct guest_exec *m, const struct identity *id)
{
        uint32_t envc = m->envc;

        extra_count = 0;
        collect(m->envs, m->envc, env_store);
        env_default(&envc, "PATH", DEFAULT_PATH);
        env_default(&envc, "HOME", id->home);
        env_default(&envc, "USER", id->name);
        env_default(&envc, "LOGNAME", id->name);
        env_default(&envc, "SHELL", id->shell);
        env_default(&envc, "TERM", (m->flags & GUEST_EXEC_TTY) ? "xterm" : "");
}

/* Failures */

static enum err_code code_of(int32_t stage, int sys)
{
        if (sys == ENOMEM || sys == EAGAIN || sys == EMFILE || sys == ENFILE || sys == ENOSPC)
                return ERR_RESOURCE_EXHAUSTED;
        if (sys == ETIMEDOUT)
                return ERR_TIMEOUT;
        if (stage == GUEST_STAGE_CONFINE || stage == GUEST_STAGE_SYSTEM || sys == EIO)
                return ERR_INTERNAL_ERROR;
        if (stage == GUEST_STAGE_USER && sys == EPERM)
                return ERR_NOT_SUPPORTED;
        return ERR_INVALID_SPEC;
}

static struct guest_failed failure(enum err_code code, int32_t stage, int sys, const char *what, const char *name)
{
        struct guest_failed f = { .code = code, .sys = sys, .stage = (uint8_t)stage };
        int n = snprintf(f.message, sizeof(f.message), name ? "%s '%.120s'" : "%s", what, name);

        if (sys && n > 0 && (size_t)n < sizeof(f.message))
                snprintf(f.message + n, sizeof(f.message) - (size_t)n, ": %s", strerror(sys));
        return f;
}

static struct guest_failed spawn_failed(const struct spawn_failure *why, const struct guest_exec *m)
{
        static const char *const what[] = {
                [GUEST_STAGE_USER] = "cannot become user",
                [GUEST_STAGE_CWD] = "cannot enter directory",
                [GUEST_STAGE_CONFINE] = "cannot confine the command",
                [GUEST_STAGE_EXEC] = "cannot execute",
                [GUEST_STAGE_SYSTEM] = "cannot start a process",
        };
        const char *name = why->stage == GUEST_STAGE_EXEC                  ? argv_store[1]
                           : why->stage == GUEST_STAGE_CWD                 ? (m->cwd.len ? (const char *)m->cwd.data : "/")
                           : why->stage == GUEST_STAGE_USER && m->user.len ? (const char *)m->user.data
                                                                           : NULL;

        return failure(code_of(why->stage, why->sys), why->stage, why->sys, what[why->stage], name);
}

/* Who */

static void default_identity(struct identity *id)
{
        *id = (struct identity){ .uid = boot.default_uid, .gid = boot.default_gid };
        if (boot_has(BOOT_ONE_UID)) {
                id->uid = (uint32_t)getuid();
                id->gid = (uint32_t)getgid();
        }
        snprintf(id->home, sizeof(id->home), "%.*s", BOOT_PATH_MAX - 1, boot.home);
}

/* Returns 0, or -1 with *f. */
static int identify(const struct guest_exec *m, struct identity *id, struct guest_failed *f)
{
        default_identity(id);
        if (m->uid != GUEST_ID_LOOKUP) {
                if (m->uid != id->uid)
                        id->home[0] = '\0';
                id->uid = m->uid;
        } else if (m->user.len > 0) {
                int sys = users_find((const char *)m->user.data, id);

                if (sys != 0) {
                        *f = failure(code_of(GUEST_STAGE_USER, sys), GUEST_STAGE_USER, sys, "no such user or group",
                                     (const char *)m->user.data);
                        return -1;
                }
        }
        if (m->gid != GUEST_ID_LOOKUP)
                id->gid = m->gid;
        if (confine_may_be(id))
                return 0;
        *f = failure(ERR_NOT_SUPPORTED, GUEST_STAGE_USER, 0, "this user's id is not to be had in this sandbox", NULL);
        return -1;
}

/* Pipes and terminals */

static void unplumb_child(struct plumbing *p, bool tty)
{
        if (p->child[0] > BOOT_FD_NULL_LAST && (!tty || p->child[0] != p->child[1]))
                fd_close(&p->child[0]);
        fd_close(&p->child[1]);
        if (!tty)
                fd_close(&p->child[2]);
}

static void unplumb(struct plumbing *p, bool tty)
{
        unplumb_child(p, tty);
        if (!tty)
                fd_close(&p->in);
        fd_close(&p->out);
        fd_close(&p->err);
}

static int plumb_tty(struct plumbing *p, const struct guest_exec *m)
{
        struct winsize size = { .ws_row = m->rows ? m->rows : ROWS, .ws_col = m->cols ? m->cols : COLS };
        int unlock = 0;
        unsigned number;
        char path[32];

        p->out = open("/dev/ptmx", O_RDWR | O_NOCTTY | O_CLOEXEC | O_NONBLOCK);
        if (p->out < 0 || ioctl(p->out, TIOCSPTLCK, &unlock) < 0 || ioctl(p->out, TIOCSWINSZ, &size) < 0)
                return -1;
        p->child[1] = ioctl(p->out, TIOCGPTPEER, O_RDWR | O_NOCTTY | O_CLOEXEC);
        if (p->child[1] < 0 && ioctl(p->out, TIOCGPTN, &number) == 0) {
                snprintf(path, sizeof(path), "/dev/pts/%u", number);
                p->child[1] = open(path, O_RDWR | O_NOCTTY | O_CLOEXEC);
        }
        p->child[2] = p->child[1];
        if (m->flags & GUEST_EXEC_STDIN) {
                p->child[0] = p->child[1];
                p->in = p->out;
        }
        return p->child[1] < 0 ? -1 : 0;
}

/* Only our end is non-blocking: the command's is the command's. */
static int plumb_pipe(int *ours, int *theirs, bool to_child)
{
        int ends[2];

        if (pipe2(ends, O_CLOEXEC) < 0)
                return -1;
        *ours = ends[to_child ? 1 : 0];
        *theirs = ends[to_child ? 0 : 1];
        return fcntl(*ours, F_SETFL, O_NONBLOCK);
}

static int plumb(struct plumbing *p, const struct guest_exec *m, const struct identity *id)
{
        int r;

        *p = (struct plumbing){ .child = { 0, -1, -1 }, .in = -1, .out = -1, .err = -1 };
        confine_enter(id);
        if (m->flags & GUEST_EXEC_TTY) {
                r = plumb_tty(p, m);
        } else {
                r = (m->flags & GUEST_EXEC_STDIN) ? plumb_pipe(&p->in, &p->child[0], true) : 0;
                if (r == 0)
                        r = plumb_pipe(&p->out, &p->child[1], false);
                if (r == 0)
                        r = plumb_pipe(&p->err, &p->child[2], false);
        }
        int sys = errno;
        confine_leave();
        errno = sys;
        return r;
}

/* All together */

static int check_request(struct guest_exec *m, struct guest_failed *f)
{
        const char *wrong = NULL;

        if (too_long)
                wrong = "the request is longer than 1 MiB";
        else if (guest_get_exec((struct bytes){ request, request_len }, m) < 0)
                wrong = "the request is malformed or beyond a limit";
        else if ((m->kind == GUEST_KIND_PROGRAM || m->kind == GUEST_KIND_PREWARM) && m->argc == 0)
                wrong = "there is no command";
        else if (m->kind == GUEST_KIND_PREWARM && (m->flags & GUEST_EXEC_TTY))
                wrong = "a prewarm server has no terminal";
        if (wrong)
                *f = failure(ERR_INVALID_SPEC, GUEST_STAGE_REQUEST, 0, wrong, NULL);
        else if ((m->flags & GUEST_EXEC_BOUND) && !bind_taken())
                *f = failure(ERR_SANDBOX_NOT_READY, GUEST_STAGE_REQUEST, 0, "the sandbox is not bound to the claim of this command", NULL);
        else
                return 0;
        return -1;
}

static void give_streams(struct spawn *order, const struct plumbing *p)
{
        for (int i = 0; i < 3; i++)
                order->fds[i] = p->child[i];
}

static int plumb_or_say(struct plumbing *p, const struct guest_exec *m, const struct identity *id, struct guest_failed *f)
{
        bool tty = (m->flags & GUEST_EXEC_TTY) != 0;

        if (plumb(p, m, id) == 0)
                return 0;
        *f = failure(code_of(GUEST_STAGE_SYSTEM, errno), GUEST_STAGE_SYSTEM, errno, tty ? "cannot make a terminal" : "cannot make pipes",
                     NULL);
        unplumb(p, tty);
        return -1;
}

static int start_cold(struct channel *c, const struct guest_exec *m, struct spawn *order, struct guest_failed *f)
{
        struct plumbing p;
        struct spawn_failure why;

        if (plumb_or_say(&p, m, order->id, f) < 0)
                return -1;
        give_streams(order, &p);
        pid_t pid = spawn(order, &why);
        if (pid < 0) {
                *f = spawn_failed(&why, m);
                unplumb(&p, order->tty);
                return -1;
        }
        unplumb_child(&p, order->tty);
        channel_started(c, pid, p.in, p.out, p.err, m->timeout_ms);
        return 0;
}

/* Returns 1 where it runs, 0 where it is to be started cold. */
static int start_warm(struct channel *c, const struct guest_exec *m, struct spawn *order)
{
        bool has_stdin = (m->flags & GUEST_EXEC_STDIN) != 0;
        struct guest_failed unsaid;
        struct plumbing p;

        if (!prewarm_fits(order))
                return 0;
        if (prewarm_keeps()) {
                if (prewarm_run(order, has_stdin) < 0)
                        return 0;
                prewarm_hand_over(c, has_stdin, m->timeout_ms);
                return 1;
        }
        if (plumb_or_say(&p, m, order->id, &unsaid) < 0)
                return 0; /* the cold start will say it */
        give_streams(order, &p);
        pid_t pid = prewarm_run(order, has_stdin);
        if (pid < 0) {
                unplumb(&p, false);
                return 0;
        }
        unplumb_child(&p, false);
        channel_started(c, pid, p.in, p.out, p.err, m->timeout_ms);
        return 1;
}

static int start_server(struct channel *c, const struct guest_exec *m, struct spawn *order, struct guest_failed *f)
{
        int ends[2] = { -1, -1 };

        if (prewarm_is_there()) {
                *f = failure(ERR_RESOURCE_EXHAUSTED, GUEST_STAGE_REQUEST, 0, "there is a prewarm server already", NULL);
                return -1;
        }
        int r = prewarm_pair(ends);
        auto_fd ours = ends[0];
        auto_fd theirs = ends[1];
        if (r < 0) {
                *f = failure(code_of(GUEST_STAGE_SYSTEM, errno), GUEST_STAGE_SYSTEM, errno, "cannot make a socket", NULL);
                return -1;
        }
        order->server = theirs;
        if (start_cold(c, m, order, f) < 0)
                return -1;
        prewarm_begin(c, channel_pid(c), take_fd(&ours), order->id, (m->flags & GUEST_EXEC_STDIN) != 0);
        return 0;
}

static int start(struct channel *c, struct guest_failed *f)
{
        struct guest_exec m;
        struct identity id;

        if (check_request(&m, f) < 0)
                return -1;
        confine_prepare();
        seal(m.user);
        seal(m.cwd);
        collect(m.args, m.argc, argv_store + 1);
        if (identify(&m, &id, f) < 0)
                return -1;
        fill_env(&m, &id);
        struct spawn order = {
                .kind = m.kind,
                .argv = argv_store + 1,
                .argc = m.argc,
                .env = env_store,
                .path = env_get("PATH"),
                .cwd = m.cwd.len ? (const char *)m.cwd.data : NULL,
                .id = &id,
                .tty = (m.flags & GUEST_EXEC_TTY) != 0,
        };
        if (m.kind == GUEST_KIND_PREWARM)
                return start_server(c, &m, &order, f);
        if ((m.flags & GUEST_EXEC_WARM) && start_warm(c, &m, &order))
                return 0;
        return start_cold(c, &m, &order, f);
}

/* No slot to keep the refusal in: it is said once, here and now (protocol.c saw to the room). */
static void refuse(uint32_t number)
{
        struct guest_failed f = failure(ERR_RESOURCE_EXHAUSTED, GUEST_STAGE_REQUEST, 0, "too many commands at once; 128 is the limit",
                                        NULL);
        struct wbuf w = stream_begin();

        guest_put_failed(&w, &f);
        stream_end(GUEST_FAILED, number, &w);
}

static void exec_run(uint32_t number)
{
        struct guest_failed f;
        struct channel *c = channel_new(number);

        if (!c)
                refuse(number);
        else if (start(c, &f) < 0)
                channel_failed(c, &f);
        if (request_len > KEEP_PAGES) {
                madvise(request, sizeof(request), MADV_DONTNEED);
                madvise(argv_store, sizeof(argv_store), MADV_DONTNEED);
                madvise(env_store, sizeof(env_store), MADV_DONTNEED);
        }
}

const char *exec_piece(uint32_t number, struct bytes piece, bool more)
{
        if (assembling != 0 && number != assembling)
                return "EXEC of another channel between the pieces of one";
        if (channel_used(number))
                return "the number of a channel is not greater than the last";
        assembling = number;
        if (piece.len > sizeof(request) - request_len)
                too_long = true;
        if (!too_long && piece.len > 0) {
                memcpy(request + request_len, piece.data, piece.len);
                request_len += piece.len;
        }
        if (more)
                return NULL;
        exec_run(number);
        exec_reset();
        return NULL;
}
