/*
 * The emulator is a child, in the same sandbox, and nothing that it says is believed: an answer is a status and a line for people. Each request has its own
 * connection and its own time; an emulator that dies, is silent, or answers something else is named with what it was asked.
 *
 * Guests connect: to "v.sock_PORT", as both emulators have it. What the machine's creto-init says goes between that and our standard input and output.
 */
#include "programs/vm/host/rest.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/fd.h"
#include "base/sys.h"
#include "programs/vm/host/machine.h"
#include "programs/vm/host/saved/pack.h"
#include "programs/vm/host/share.h"
#include "programs/vm/vm.h"

#define API "api.sock"
#define VSOCK "v.sock"
#define STATE "state"

/* SHARES_MAX: how often a guest may connect to its root: once, and once more when it was saved. */
enum { LANE_MAX = 64 * 1024, STEP_MS = 2, SAVE_TIMES = 6, SHARES_MAX = 2 };

struct vmm_run {
        struct rest *rest;
        const char *name;
        pid_t pid;
        int pidfd;
};

/* ---- the emulator ---- */

static int start(struct vmm_run *v, struct err *e)
{
        const char *argv[] = { v->rest->binary, v->rest->vmm == VMM_FIRECRACKER ? "--api-sock" : "--api-socket", API, NULL, NULL, NULL };

        if (v->rest->vmm == VMM_FIRECRACKER) {
                argv[3] = "--id";
                argv[4] = v->rest->id;
        }
        v->pid = fork();
        if (v->pid < 0)
                return err_sys(e, "cannot start %s", v->name);
        if (v->pid == 0) {
                int null = open("/dev/null", O_RDWR | O_CLOEXEC);

                prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0);
                signal(SIGPIPE, SIG_DFL);
                if (null >= 0 && dup2(null, STDIN_FILENO) >= 0 && dup2(STDERR_FILENO, STDOUT_FILENO) >= 0)
                        execv(argv[0], (char *const *)(uintptr_t)argv);
                _exit(EXIT_MISSING);
        }
        v->pidfd = sys_pidfd_open(v->pid);
        return v->pidfd < 0 ? err_sys(e, "cannot watch %s", v->name) : 0;
}

static void end(struct vmm_run *v)
{
        if (v->pid > 0) {
                kill(v->pid, SIGKILL);
                waitpid(v->pid, NULL, 0);
        }
        v->pid = 0;
        fd_close(&v->pidfd);
}

/* It has ended by itself: 0 where all went well. */
static int ended(struct vmm_run *v, const char *at, struct err *e)
{
        int status = 0;

        waitpid(v->pid, &status, 0);
        v->pid = 0;
        if (WIFSIGNALED(status))
                return err_set(e, ERR_INTERNAL_ERROR, 0, "%s was killed by signal %d%s%s", v->name, WTERMSIG(status), *at ? " at " : "",
                               at);
        if (WEXITSTATUS(status) == EXIT_MISSING)
                return err_set(e, ERR_BACKEND_UNAVAILABLE, 0, "%s cannot be executed", v->name);
        if (*at || WEXITSTATUS(status) != 0)
                return err_set(e, ERR_INTERNAL_ERROR, 0, "%s has ended (status %d)%s%s", v->name, WEXITSTATUS(status), *at ? " at " : "",
                               at);
        return 0;
}

/* ---- one request ---- */

/* Waits for `events`: 1, or what the death or the silence of the emulator is. One who never stops talking has no more time than others. */
static int wait_for(struct vmm_run *v, int fd, short events, uint64_t deadline, const char *what, struct err *e)
{
        uint64_t now;

        while ((now = clock_ms(CLOCK_MONOTONIC)) < deadline) {
                struct pollfd p[] = { { .fd = fd, .events = events }, { .fd = v->pidfd, .events = POLLIN } };
                int n = poll(p, 2, (int)(deadline - now));

                if (n > 0 && p[0].revents)
                        return 1;
                if (n > 0)
                        return ended(v, what, e);
        }
        return err_set(e, ERR_TIMEOUT, 0, "%s has not answered %s", v->name, what);
}

static int reach(struct vmm_run *v, uint64_t deadline, const char *what, int *out, struct err *e)
{
        const struct sockaddr_un to = { .sun_family = AF_UNIX, .sun_path = API };

        for (;;) {
                auto_fd fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

                if (fd >= 0 && connect(fd, (const struct sockaddr *)&to, sizeof(to)) == 0) {
                        *out = take_fd(&fd);
                        return 1;
                }
                if (fd_readable(v->pidfd, STEP_MS))
                        return ended(v, what, e);
                if (clock_ms(CLOCK_MONOTONIC) >= deadline)
                        return err_set(e, ERR_TIMEOUT, 0, "%s has not answered %s: it has no socket", v->name, what);
        }
}

static int say(struct vmm_run *v, int fd, const struct wbuf *w, uint64_t deadline, const char *what, struct err *e)
{
        size_t at = 0;

        while (at < w->len) {
                ssize_t n = send(fd, w->data + at, w->len - at, MSG_NOSIGNAL);

                if (n < 0 && errno != EAGAIN && errno != EINTR) /* its answer may say why */
                        return 1;
                at += n > 0 ? (size_t)n : 0;
                if (n < 0 && wait_for(v, fd, POLLOUT, deadline, what, e) < 0)
                        return -(int)e->code;
        }
        return 1;
}

static int hear(struct vmm_run *v, int fd, uint64_t deadline, const char *what, struct err *e)
{
        static struct vmm_answer a;
        static uint8_t in[4096];
        char reason[200];
        enum http_event event = HTTP_MORE;

        vmm_answer_init(&a);
        while (event != HTTP_DONE) {
                if (wait_for(v, fd, POLLIN, deadline, what, e) < 0)
                        return -(int)e->code;
                ssize_t n = recv(fd, in, sizeof(in), 0);
                if (n < 0 && (errno == EAGAIN || errno == EINTR))
                        continue;
                if (n <= 0 && fd_readable(v->pidfd, 100)) /* it has hung up because it dies */
                        return ended(v, what, e);
                event = vmm_answer_take(&a, in, n > 0 ? (size_t)n : 0);
                if (event == HTTP_BAD)
                        return err_set(e, ERR_INTERNAL_ERROR, 0, "%s answered %s with what is no answer: %s", v->name, what, a.http.why);
        }
        if (a.http.status / 100 == 2)
                return 1;
        vmm_reason(a.body, a.body_len, reason, sizeof(reason));
        return err_set(e, ERR_INTERNAL_ERROR, 0, "%s refused %s (%d)%s%s", v->name, what, a.http.status, *reason ? ": " : "", reason);
}

static int ask(struct vmm_run *v, const struct wbuf *w, const char *what, int patience_ms, struct err *e)
{
        uint64_t deadline = clock_ms(CLOCK_MONOTONIC) + (uint64_t)patience_ms;
        auto_fd fd = -1;

        if (reach(v, deadline, what, &fd, e) != 1 || say(v, fd, w, deadline, what, e) < 0)
                return -(int)e->code;
        return hear(v, fd, deadline, what, e);
}

static int follow(struct vmm_run *v, enum vmm_plan plan, struct err *e)
{
        uint8_t space[VMM_REQUEST_MAX + HTTP_CHUNK_LINE_MAX];
        char what[VMM_WHAT_MAX];
        int patience = v->rest->patience_ms * (plan == VMM_PLAN_BOOT ? 1 : SAVE_TIMES);

        for (unsigned i = 0;; i++) {
                struct wbuf w = wbuf_over(space, sizeof(space));
                int r = vmm_request(v->rest->vmm, plan, i, &v->rest->machine, &w, what);

                if (r == 0)
                        return 0;
                if (r < 0)
                        return err_set(e, ERR_INTERNAL_ERROR, 0, "%s is more than %d bytes", what, VMM_REQUEST_MAX);
                if (ask(v, &w, what, patience, e) < 0)
                        return -(int)e->code;
        }
}

/* ---- saved machines ---- */

static const char *const saved_files[VMMS][4] = {
        [VMM_FIRECRACKER] = { "state.vmm", "memory.vmm" },
        [VMM_CLOUD_HYPERVISOR] = { "config.json", "state.json", "memory-ranges" },
};

static unsigned saved_count(enum vmm vmm)
{
        unsigned n = 0;

        while (saved_files[vmm][n])
                n++;
        return n;
}

static int pack_all(struct rest *r, struct err *e)
{
        auto_fd state = open(STATE ".new", O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);

        for (unsigned i = 0; i <= saved_count(r->vmm); i++) {
                const char *name = i < saved_count(r->vmm) ? saved_files[r->vmm][i] : r->machine.disk;
                auto_fd file = open(name, O_RDONLY | O_CLOEXEC);

                if (state < 0 || file < 0 || pack_file(state, file) < 0)
                        return err_sys(e, "cannot keep %s of the saved machine", name);
        }
        return rename(STATE ".new", STATE) < 0 ? err_sys(e, "cannot keep the saved machine") : 0;
}

int rest_unpack(int state, off_t *end_at, enum vmm vmm, uint64_t memory)
{
        for (unsigned i = saved_count(vmm); i > 0; i--) {
                auto_fd file = open(saved_files[vmm][i - 1], O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);

                if (file < 0 || unpack_file(state, end_at, file, memory + (1 << 20)) < 0)
                        return -1;
        }
        return 0;
}

/* ---- what guests connect to ---- */

enum { GUEST, SHARE, SETUP, PORTS };

static int listen_at(unsigned port, struct err *e)
{
        struct sockaddr_un at = { .sun_family = AF_UNIX };
        auto_fd fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

        snprintf(at.sun_path, sizeof(at.sun_path), VSOCK "_%u", port);
        unlink(at.sun_path);
        if (fd < 0 || bind(fd, (const struct sockaddr *)&at, sizeof(at)) < 0 || listen(fd, 4) < 0)
                return err_sys(e, "cannot listen at %s", at.sun_path);
        return take_fd(&fd);
}

/* One way between two descriptors: what was read and not written yet. */
struct lane {
        int from, to;
        size_t at, len;
        uint8_t data[LANE_MAX];
};

/* False where that way has ended. */
static bool lane_move(struct lane *l)
{
        ssize_t n;

        if (l->len == 0) {
                n = read(l->from, l->data, sizeof(l->data));
                if (n <= 0)
                        return n < 0 && (errno == EAGAIN || errno == EINTR);
                l->at = 0;
                l->len = (size_t)n;
        }
        n = write(l->to, l->data + l->at, l->len);
        if (n < 0)
                return errno == EAGAIN || errno == EINTR;
        l->at += (size_t)n;
        l->len -= (size_t)n;
        return true;
}

struct carry {
        struct vmm_run *v;
        int listening[PORTS], guest, setup;
        unsigned shares;
        struct lane in, out;
};

static void carry_close(struct carry *c)
{
        for (unsigned i = 0; i < PORTS; i++)
                fd_close(&c->listening[i]);
        fd_close(&c->guest);
        fd_close(&c->setup);
}

static int start_share(const struct rest *r, int fd, struct err *e)
{
        pid_t pid = fork();

        if (pid < 0)
                return err_sys(e, "cannot start a process");
        if (pid > 0)
                return 0;
        int root = open(r->root, O_PATH | O_DIRECTORY | O_CLOEXEC), null = open("/dev/null", O_RDWR | O_CLOEXEC);
        const int low[] = { null, null, -1, fd, root };
        prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0);
        if (root < 0 || null < 0 || fd_arrange(low, sizeof(low) / sizeof(low[0])) < 0)
                _exit(EXIT_BAD);
        sys_close_range(5, ~0U, 0);
        fd_set_nonblock(3, false);
        share_run(3, 4, r->root[1] != '\0');
        _exit(0);
}

/* The guest is ready: 1 where it is told what it is to be, 0 where it was saved instead. */
static int on_setup(struct carry *c, struct err *e)
{
        struct rest *r = c->v->rest;
        char byte;

        if (read(c->setup, &byte, 1) != 1 || byte != VM_READY) {
                fd_close(&c->setup); /* one that was saved asks again */
                return 1;
        }
        if (!r->saves) {
                fd_set_nonblock(c->setup, false);
                r->tell(r->ctx, c->setup);
                fd_close(&c->listening[SETUP]);
                return 1;
        }
        if (follow(c->v, VMM_PLAN_SAVE, e) < 0)
                return -(int)e->code;
        return pack_all(r, e);
}

static int on_connect(struct carry *c, unsigned port, struct err *e)
{
        auto_fd fd = accept4(c->listening[port], NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);

        if (fd < 0)
                return 1;
        if (port == SHARE) {
                if (++c->shares == SHARES_MAX)
                        fd_close(&c->listening[SHARE]);
                return start_share(c->v->rest, fd, e) < 0 ? -(int)e->code : 1;
        }
        if (port == SETUP && c->setup < 0) {
                c->setup = take_fd(&fd);
        } else if (port == GUEST) {
                c->guest = take_fd(&fd);
                c->in = (struct lane){ .from = STDIN_FILENO, .to = c->guest };
                c->out = (struct lane){ .from = c->guest, .to = STDOUT_FILENO };
                fd_close(&c->listening[GUEST]);
        }
        return 1;
}

static struct pollfd wanted(const struct lane *l, bool open)
{
        return (struct pollfd){ .fd = !open ? -1 : l->len > 0 ? l->to : l->from, .events = l->len > 0 ? POLLOUT : POLLIN };
}

/* Until the emulator ends, or the machine is saved: 0. */
static int carry(struct carry *c, struct err *e)
{
        bool in = true, out = true;
        int r = 1;

        while (r == 1) {
                bool connected = c->guest >= 0, behind = out && c->out.len > 0; /* the end of it can wait */
                struct pollfd p[] = { { .fd = c->listening[GUEST], .events = POLLIN },
                                      { .fd = c->listening[SHARE], .events = POLLIN },
                                      { .fd = c->setup < 0 ? c->listening[SETUP] : -1, .events = POLLIN },
                                      { .fd = c->listening[SETUP] >= 0 ? c->setup : -1, .events = POLLIN },
                                      wanted(&c->in, connected && in),
                                      wanted(&c->out, connected && out),
                                      { .fd = behind ? -1 : c->v->pidfd, .events = POLLIN } };

                if (poll(p, sizeof(p) / sizeof(p[0]), -1) < 0)
                        continue;
                for (unsigned i = 0; i < PORTS && r == 1; i++)
                        if (p[i].revents)
                                r = on_connect(c, i, e);
                if (r == 1 && p[PORTS].revents)
                        r = on_setup(c, e);
                if (p[PORTS + 1].revents)
                        in = lane_move(&c->in);
                if (p[PORTS + 2].revents)
                        out = lane_move(&c->out);
                else if (r == 1 && p[PORTS + 3].revents) /* when all that the guest said is through */
                        return ended(c->v, "", e);
        }
        return r;
}

int rest_run(struct rest *r, struct err *e)
{
        static struct carry c;
        struct vmm_run v = { .rest = r, .name = vmm_table[r->vmm].name, .pidfd = -1 };
        int result = 0;

        c = (struct carry){ .v = &v, .listening = { -1, -1, -1 }, .guest = -1, .setup = -1 };
        r->machine.vsock = VSOCK;
        unlink(VSOCK);
        unlink(API);
        for (unsigned i = 0; i < PORTS && result >= 0; i++)
                result = c.listening[i] = listen_at(VM_VSOCK_GUEST + i, e);
        fd_set_nonblock(STDIN_FILENO, true);
        fd_set_nonblock(STDOUT_FILENO, true);
        if (result >= 0 && (result = start(&v, e)) == 0 && (result = follow(&v, r->plan, e)) == 0)
                result = carry(&c, e);
        end(&v);
        carry_close(&c);
        return result;
}

const char *rest_cmdline(enum vmm vmm, bool saves)
{
#define LINE MACHINE_CMDLINE " " VM_VSOCK
        static const char *const lines[VMMS][2] = {
                [VMM_FIRECRACKER] = { LINE " reboot=k i8042.noaux " VM_REBOOT, LINE " reboot=k i8042.noaux " VM_REBOOT " " VM_SAVED },
                [VMM_CLOUD_HYPERVISOR] = { LINE, LINE " " VM_SAVED },
        };
#undef LINE
        return lines[vmm][saves];
}
