#include "services/warden/monitor.h"

#include <errno.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/sock.h"
#include "base/str.h"
#include "base/sys.h"
#include "domain/spawn.h"
#include "services/warden/image.h"

enum { QUIET_MS = 4, EVENTS = 64 };

enum peer_state { PEER_NEW, PEER_OPEN };

struct monitor {
        struct monitor_config config;
        struct nest nest;
        bool nest_ready;
        enum peer_state state;
        int epoll;
        pid_t image_pid; /* 0: none runs */
        int image_pidfd;
        uint32_t image_serial;
        int zygote_watched;
        bool broken; /* nothing can be served any more */
        bool moved;  /* what else came may be about what is no more; it comes again */
        bool stopped;
};

struct message {
        struct ipc_header head;
        struct rbuf body;
        int fds[IPC_FDS_MAX];
        size_t nfds;
};

/* What epoll hands back: the peer, the zygote and creto-image by these, a sandbox by its address. */
static char tag_peer, tag_listener, tag_zygote, tag_image, tag_stop;

static void log_line(const char *what, const char *detail)
{
        char line[ERR_MSG_MAX + 128];
        int n = snprintf(line, sizeof(line), "creto-warden: %s: %s\n", what, detail);

        if (n > 0)
                fd_write_all(STDERR_FILENO, line, (size_t)n < sizeof(line) ? (size_t)n : sizeof(line) - 1);
}

static int watch(struct monitor *m, int fd, void *tag)
{
        struct epoll_event ev = { .events = EPOLLIN, .data.ptr = tag };

        return epoll_ctl(m->epoll, EPOLL_CTL_ADD, fd, &ev);
}

static bool watch_job(struct monitor *m, struct nest_box *box, int what)
{
        struct epoll_event ev = { .events = EPOLLIN, .data.ptr = box };

        return (epoll_ctl(m->epoll, what, box->pidfd, &ev) | epoll_ctl(m->epoll, what, box->job->timer, &ev)) == 0;
}

/* ---- answers ---- */

static struct wbuf begin(void *data, enum ipc_type type, uint32_t serial)
{
        struct wbuf w = wbuf_over(data, IPC_MESSAGE_MAX);

        ipc_put_header(&w, type, serial);
        return w;
}

/* A peer that does not take its answers is gone. */
static bool answer(struct monitor *m, const struct wbuf *w, const int *fds, size_t nfds)
{
        return !w->bad && sock_send(m->config.peer, w->data, w->len, fds, nfds) == 0;
}

static uint8_t out[IPC_MESSAGE_MAX];

static bool answer_error(struct monitor *m, uint32_t serial, const struct err *e)
{
        struct wbuf w = begin(out, IPC_ERROR, serial);

        ipc_put_error(&w, e);
        return answer(m, &w, NULL, 0);
}

static bool answer_terminated(struct monitor *m, struct nest_box *b)
{
        struct wbuf w = begin(out, IPC_TERMINATED, b->serial);

        ipc_put_terminated(&w, b->id, &b->usage);
        nest_forget(&m->nest, b);
        return answer(m, &w, NULL, 0);
}

/* ---- requests; each returns false where the connection has to end ---- */

static int start_nest(struct monitor *m, struct err *e)
{
        const struct nest_config config = {
                .run_dir = m->config.run_dir,
                .state_dir = m->config.state_dir,
                .user = m->config.user,
                .private = m->config.listener < 0,
                .classes = &m->config.classes,
        };

        m->nest_ready = true;
        return nest_init(&m->nest, &config, e);
}

static bool on_hello(struct monitor *m, struct message *msg)
{
        struct ipc_hello hello;
        struct ipc_hello_ok ok = { .version = IPC_VERSION };
        struct err e;

        if (ipc_get_hello(&msg->body, &hello) < 0 || (bool)(hello.flags & IPC_PRIVATE) != (m->config.listener < 0))
                return false;
        if (!m->nest_ready && start_nest(m, &e) < 0) {
                answer_error(m, msg->head.serial, &e);
                return false;
        }
        m->nest.config.prepared = hello.prepared;
        ok.mode = m->config.user ? IPC_MODE_USER : IPC_MODE_ROOT;
        ok.cgroup_version = (uint8_t)m->nest.cgroups.version;
        ok.limits = nest_limits(&m->nest);
        ok.disk = m->config.user ? IPC_DISK_TMPFS : IPC_DISK_LOOP;
        m->state = PEER_OPEN;
        struct wbuf w = begin(out, IPC_HELLO_OK, msg->head.serial);
        ipc_put_hello_ok(&w, &ok);
        return answer(m, &w, NULL, 0);
}

/* Everything a request says, against our own rules. */
static int check_spawn(struct monitor *m, const struct ipc_spawn *req, size_t nfds, struct nest_order *o, struct err *e)
{
        const struct spawn_rules rules = { m->config.peer_is_root || m->config.user, SPACE_IDS, nest_limits(&m->nest), &m->config.classes };

        *o = (struct nest_order){ .req = req, .limits.wanted = req->limits_wanted };
        memcpy(o->limits.value, req->limits, sizeof(o->limits.value));
        if (spawn_check(&rules, req, nfds, &o->class, &o->missing, e) < 0)
                return -(int)e->code;
        return nest_find(&m->nest, req->id) ? err_set(e, ERR_SANDBOX_NOT_READY, 0, "a sandbox with id '%s' exists", req->id) : 0;
}

/* What the sandbox's root is made of: *hold with the layers of an image, or the directory that came with the message. */
static int open_layers(struct monitor *m, const struct ipc_spawn *req, struct message *msg, struct image_hold **hold, int *layers,
                       struct err *e)
{
        if (req->root == IPC_ROOT_DIR) {
                layers[0] = msg->fds[0];
                return 1;
        }
        if (req->root != IPC_ROOT_LAYERS)
                return 0;
        auto_fd store = image_store_open(m->config.image_store, m->config.user, e);
        if (store < 0 || !(*hold = image_hold(store, req, e)))
                return -(int)e->code;
        for (unsigned i = 0; i < req->layer_count; i++)
                layers[i] = (*hold)->layers[i]->fd;
        return (int)req->layer_count;
}

static bool answer_spawned(struct monitor *m, struct nest_box *box, uint32_t serial, uint32_t missing, int stream)
{
        struct ipc_spawned spawned = { .pid = (uint32_t)box->pid, .limits_missing = missing };

        if (watch(m, box->pidfd, box) < 0 && errno != EEXIST) /* one made ahead is watched already */ {
                close(stream);
                return false;
        }
        memcpy(spawned.id, box->id, sizeof(spawned.id));
        struct wbuf w = begin(out, IPC_SPAWNED, serial);
        ipc_put_spawned(&w, &spawned);
        bool ok = serial == 0 || answer(m, &w, &stream, 1);
        close(stream);
        return ok;
}

static bool on_spawn(struct monitor *m, struct message *msg)
{
        static struct ipc_spawn req;
        static int layers[IPC_LAYERS_MAX];
        struct nest_order order;
        struct nest_box *box = NULL;
        struct image_hold *hold = NULL;
        int stream = -1;
        struct err e;

        if (ipc_get_spawn(&msg->body, &req) < 0)
                return false;
        int r = check_spawn(m, &req, msg->nfds, &order, &e);
        if (r == 0)
                r = open_layers(m, &req, msg, &hold, layers, &e);
        if (r >= 0) {
                order.layers = layers;
                order.layer_count = (unsigned)r;
                r = nest_spawn(&m->nest, &order, &box, &stream, &e);
        }
        if (r < 0) {
                image_let_go(hold);
                return answer_error(m, msg->head.serial, &e);
        }
        box->image = hold;
        if (r == 0)
                return answer_spawned(m, box, msg->head.serial, order.missing, stream);
        box->job->serial = msg->head.serial;
        return watch_job(m, box, EPOLL_CTL_ADD);
}

static bool on_classes(struct monitor *m, struct message *msg)
{
        static struct ipc_classes classes;

        if (rbuf_left(&msg->body) > 0)
                return false;
        nest_classes(&m->nest, &classes);
        struct wbuf w = begin(out, IPC_CLASSES_OK, msg->head.serial);
        ipc_put_classes(&w, &classes);
        return answer(m, &w, NULL, 0);
}

static struct nest_box *find_box(struct monitor *m, struct message *msg, bool *answered)
{
        char id[IPC_ID_MAX + 1];
        struct err e;

        *answered = false;
        if (ipc_get_id(&msg->body, id) < 0)
                return NULL;
        struct nest_box *box = nest_find(&m->nest, id);
        if (!box) {
                err_set(&e, ERR_SANDBOX_NOT_FOUND, 0, "no sandbox '%s'", id);
                *answered = answer_error(m, msg->head.serial, &e);
        }
        return box;
}

static bool on_usage(struct monitor *m, struct message *msg)
{
        bool answered;
        struct nest_box *box = find_box(m, msg, &answered);

        if (!box)
                return answered;
        if (box->state != NEST_DEAD)
                nest_read_usage(&m->nest, box);
        struct wbuf w = begin(out, IPC_USAGE_OK, msg->head.serial);
        ipc_put_usage(&w, &box->usage);
        return answer(m, &w, NULL, 0);
}

static bool on_terminate(struct monitor *m, struct message *msg)
{
        bool answered;
        struct nest_box *box = find_box(m, msg, &answered);

        if (!box)
                return answered;
        if (box->wanted)
                return false;
        box->wanted = true;
        box->serial = msg->head.serial;
        if (box->state == NEST_DEAD)
                return answer_terminated(m, box);
        nest_kill(box);
        return true;
}

static bool on_image(struct monitor *m, struct message *msg)
{
        static struct ipc_image req;
        struct err e;

        if (ipc_get_image(&msg->body, &req) < 0 || m->image_pid != 0)
                return false;
        auto_fd store = image_store_open(m->config.image_store, m->config.user, &e);
        pid_t pid = store < 0 ? store : image_start(store, &req, msg->fds, msg->nfds, m->config.user, &e);
        if (pid < 0)
                return answer_error(m, msg->head.serial, &e);
        m->image_pid = pid;
        m->image_serial = msg->head.serial;
        m->image_pidfd = sys_pidfd_open(pid);
        return m->image_pidfd >= 0 && watch(m, m->image_pidfd, &tag_image) == 0;
}

static uint8_t box_state(const struct nest_box *b)
{
        return b->state == NEST_DEAD    ? IPC_BOX_EXITED
               : b->state == NEST_DYING ? IPC_BOX_DYING
               : b->frozen              ? IPC_BOX_FROZEN
                                        : IPC_BOX_RUNNING;
}

static bool on_list(struct monitor *m, struct message *msg)
{
        static struct ipc_listed listed;
        uint32_t first;

        if (ipc_get_list(&msg->body, &first) < 0)
                return false;
        listed.total = listed.count = 0;
        for (const struct nest_box *b = m->nest.boxes; b; b = b->next) {
                if (b->state == NEST_PREPARED || listed.total++ < first || listed.count == IPC_LIST_MAX)
                        continue;
                struct ipc_listed_box *l = &listed.boxes[listed.count++];
                *l = (struct ipc_listed_box){
                        .state = box_state(b), .pid = (uint32_t)b->pid, .status = b->status, .started_ms = b->started_ms
                };
                memcpy(l->id, b->id, sizeof(l->id));
        }
        struct wbuf w = begin(out, IPC_LISTED, msg->head.serial);
        ipc_put_listed(&w, &listed);
        return answer(m, &w, NULL, 0);
}

static bool on_attach(struct monitor *m, struct message *msg)
{
        bool answered;
        struct err e;
        struct nest_box *box = find_box(m, msg, &answered);

        if (!box)
                return answered;
        auto_fd stream = nest_attach(&m->nest, box, &e);
        if (stream < 0)
                return answer_error(m, msg->head.serial, &e);
        struct wbuf w = begin(out, IPC_ATTACHED, msg->head.serial);
        ipc_put_id(&w, box->id);
        return answer(m, &w, &stream, 1);
}

static bool on_freeze(struct monitor *m, struct message *msg)
{
        struct ipc_freeze freeze;
        struct err e;

        if (ipc_get_freeze(&msg->body, &freeze) < 0)
                return false;
        struct nest_box *box = nest_find(&m->nest, freeze.id);
        if (!box || box->state != NEST_RUNNING) {
                err_set(&e, ERR_SANDBOX_NOT_FOUND, 0, "no running sandbox '%s'", freeze.id);
                return answer_error(m, msg->head.serial, &e);
        }
        if (nest_freeze(&m->nest, box, freeze.frozen, &e) < 0)
                return answer_error(m, msg->head.serial, &e);
        struct wbuf w = begin(out, IPC_FROZEN, msg->head.serial);
        ipc_put_freeze(&w, &freeze);
        return answer(m, &w, NULL, 0);
}

static bool on_limit(struct monitor *m, struct message *msg)
{
        struct ipc_limit req;
        struct err e;

        if (ipc_get_limit(&msg->body, &req) < 0)
                return false;
        struct nest_box *box = nest_find(&m->nest, req.id);
        struct limits l = { .wanted = req.limits_wanted };
        memcpy(l.value, req.limits, sizeof(l.value));
        int r = 0;
        if (!box || box->state != NEST_RUNNING)
                r = err_set(&e, ERR_SANDBOX_NOT_FOUND, 0, "no running sandbox '%s'", req.id);
        if (r == 0)
                r = limits_check_change(&box->limits, &l, &e);
        if (r == 0)
                r = limits_check_enforced(&l, nest_limits(&m->nest), &e);
        if (r == 0)
                r = nest_limit(&m->nest, box, &l, &e);
        if (r < 0)
                return answer_error(m, msg->head.serial, &e);
        struct wbuf w = begin(out, IPC_LIMITED, msg->head.serial);
        ipc_put_limited(&w, limits_missing(&l, nest_limits(&m->nest)));
        return answer(m, &w, NULL, 0);
}

/* Who may say what, with how many descriptors, in which state. */
static const struct {
        enum ipc_type type;
        enum peer_state state;
        size_t fds_min, fds_max;
        bool (*run)(struct monitor *m, struct message *msg);
} permitted[] = {
        { IPC_HELLO, PEER_NEW, 0, 0, on_hello },
        { IPC_SPAWN, PEER_OPEN, 0, 1, on_spawn },
        { IPC_USAGE, PEER_OPEN, 0, 0, on_usage },
        { IPC_TERMINATE, PEER_OPEN, 0, 0, on_terminate },
        { IPC_IMAGE, PEER_OPEN, 2, 2 + IPC_IMAGE_FDS_EXTRA, on_image },
        { IPC_LIST, PEER_OPEN, 0, 0, on_list },
        { IPC_ATTACH, PEER_OPEN, 0, 0, on_attach },
        { IPC_FREEZE, PEER_OPEN, 0, 0, on_freeze },
        { IPC_LIMIT, PEER_OPEN, 0, 0, on_limit },
        { IPC_CLASSES, PEER_OPEN, 0, 0, on_classes },
};

static bool dispatch(struct monitor *m, struct message *msg)
{
        for (size_t i = 0; i < sizeof(permitted) / sizeof(permitted[0]); i++) {
                if (permitted[i].type != msg->head.type)
                        continue;
                if (permitted[i].state != m->state || msg->nfds < permitted[i].fds_min || msg->nfds > permitted[i].fds_max)
                        break;
                return permitted[i].run(m, msg);
        }
        return false;
}

/* ---- events ---- */

static bool on_peer(struct monitor *m)
{
        static uint8_t in[IPC_MESSAGE_MAX];
        struct message msg = { .nfds = IPC_FDS_MAX };
        ssize_t n = sock_recv(m->config.peer, in, sizeof(in), msg.fds, &msg.nfds);
        bool ok = false;

        errno = n < 0 ? errno : 0;
        if (n == 0 || (n < 0 && errno == ECONNRESET))
                return false;
        if (n > 0 && ipc_get_header(in, (size_t)n, &msg.head, &msg.body) == 0)
                ok = dispatch(m, &msg);
        for (size_t i = 0; i < msg.nfds; i++)
                fd_close(&msg.fds[i]);                    /* keeps errno */
        if (!ok && errno != EPIPE && errno != ECONNRESET) /* else it has ended by itself */
                log_line("connection ended", n < 0 ? "unreadable message" : "message not permitted, malformed, or not taken");
        return ok;
}

/* An engine has ended, or it is time to look after it. */
static bool on_job(struct monitor *m, struct nest_box *box)
{
        uint32_t serial = box->job->serial, missing = box->job->missing;
        int stream = -1;
        struct err e;

        m->moved = true;
        watch_job(m, box, EPOLL_CTL_DEL); /* by hand: a child of ours may have what we close */
        int r = nest_step(&m->nest, box, &stream, &e);
        if (r > 0)
                return watch_job(m, box, EPOLL_CTL_ADD);
        if (r == 0)
                return answer_spawned(m, box, serial, missing, stream);
        log_line(box->id, e.msg);
        bool ok = serial == 0 || answer_error(m, serial, &e);
        if (ok && box->wanted)
                return answer_terminated(m, box);
        nest_forget(&m->nest, box);
        return ok;
}

static bool on_box(struct monitor *m, struct nest_box *box)
{
        enum nest_state before = box->state;

        if (box->job)
                return on_job(m, box);
        epoll_ctl(m->epoll, EPOLL_CTL_DEL, box->pidfd, NULL);
        nest_reap(&m->nest, box);
        if (box->complaint[0])
                log_line(box->id, box->complaint);
        if (before == NEST_PREPARED) {
                nest_forget(&m->nest, box);
                return true;
        }
        if (box->wanted)
                return answer_terminated(m, box);
        if (m->state != PEER_OPEN)
                return true; /* LIST says it to who comes */
        struct ipc_exited exited = { .status = box->status, .usage = box->usage };
        memcpy(exited.id, box->id, sizeof(exited.id));
        struct wbuf w = begin(out, IPC_EXITED, 0);
        ipc_put_exited(&w, &exited);
        return answer(m, &w, NULL, 0);
}

static bool on_image_done(struct monitor *m)
{
        int status = 0;

        epoll_ctl(m->epoll, EPOLL_CTL_DEL, m->image_pidfd, NULL);
        fd_close(&m->image_pidfd);
        waitpid(m->image_pid, &status, 0);
        m->image_pid = 0;
        struct wbuf w = begin(out, IPC_IMAGE_DONE, m->image_serial);
        ipc_put_status(&w, status);
        return answer(m, &w, NULL, 0);
}

/* The zygote says nothing unasked: it has ended. */
static bool on_zygote(struct monitor *m)
{
        struct err e;

        epoll_ctl(m->epoll, EPOLL_CTL_DEL, m->zygote_watched, NULL);
        m->zygote_watched = -1;
        if (nest_ensure_zygote(&m->nest, &e) == 0)
                return true;
        log_line("zygote", e.msg);
        m->broken = true;
        return false;
}

static void end_image(struct monitor *m)
{
        if (m->image_pid <= 0)
                return;
        if (m->image_pidfd >= 0)
                epoll_ctl(m->epoll, EPOLL_CTL_DEL, m->image_pidfd, NULL);
        fd_close(&m->image_pidfd);
        kill(-m->image_pid, SIGTERM);
        waitpid(m->image_pid, NULL, 0);
        m->image_pid = 0;
}

/* Service: who comes next has to greet again; what waits for an answer to the last one gets none. */
static void drop_peer(struct monitor *m)
{
        if (m->config.peer < 0)
                return;
        epoll_ctl(m->epoll, EPOLL_CTL_DEL, m->config.peer, NULL);
        fd_close(&m->config.peer);
        end_image(m);
        m->state = PEER_NEW;
        m->nest.config.prepared = 0;
        for (struct nest_box *b = m->nest.boxes; b; b = b->next) {
                b->wanted = false;
                if (!b->job)
                        continue;
                b->job->serial = 0;
                nest_kill(b);
        }
}

/* What engines leave are our children too, when nobody else waits for them. */
static void bury_strays(struct monitor *m)
{
        siginfo_t info;

        for (;;) {
                bool known = false;

                info.si_pid = 0;
                if (waitid(P_ALL, 0, &info, WEXITED | WNOHANG | WNOWAIT) < 0 || info.si_pid == 0)
                        return;
                for (const struct nest_box *b = m->nest.boxes; b && !known; b = b->next)
                        known = b->pid == info.si_pid && b->pidfd >= 0;
                if (known || info.si_pid == m->image_pid || info.si_pid == m->nest.zygote_pid)
                        return;
                waitpid(info.si_pid, NULL, 0);
        }
}

static bool on_listener(struct monitor *m)
{
        struct ucred who;
        socklen_t len = sizeof(who);
        auto_fd fd = accept4(m->config.listener, NULL, NULL, SOCK_CLOEXEC);

        if (fd < 0)
                return true;
        if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &who, &len) < 0 || (who.uid != 0 && who.uid != m->config.peer_uid)) {
                log_line("connection refused", "neither root nor the daemon");
                return true;
        }
        drop_peer(m);
        m->config.peer_is_root = who.uid == 0;
        m->config.peer = take_fd(&fd);
        return watch(m, m->config.peer, &tag_peer) == 0;
}

static bool handle(struct monitor *m, void *tag)
{
        if (tag == &tag_peer)
                return on_peer(m);
        if (tag == &tag_listener)
                return on_listener(m);
        if (tag == &tag_zygote)
                return on_zygote(m);
        if (tag == &tag_image)
                return on_image_done(m);
        if (tag == &tag_stop) {
                m->stopped = true;
                return false;
        }
        return on_box(m, tag);
}

static void watch_zygote(struct monitor *m)
{
        if (!m->nest_ready || m->nest.zygote < 0 || m->nest.zygote == m->zygote_watched)
                return;
        if (watch(m, m->nest.zygote, &tag_zygote) == 0 || errno == EEXIST)
                m->zygote_watched = m->nest.zygote;
}

/* With nothing else to do, prepares one more. Returns true where there may be more to prepare. */
static bool prepare_one(struct monitor *m)
{
        struct nest_box *box;
        struct err e;

        if (m->state != PEER_OPEN)
                return false;
        int r = nest_prepare(&m->nest, &box, &e);
        if (r < 0) {
                log_line("cannot prepare a sandbox", e.msg);
                m->nest.config.prepared = 0;
        }
        return r > 0 && watch(m, box->pidfd, box) == 0;
}

/* As long as half of them are left, the next is made when nobody has asked for a while: what has just been sent off starts now, and what is made competes with
 * it for processors and for the kernel's locks. Milliseconds. */
static int wait_before_preparing(const struct monitor *m)
{
        return m->nest_ready && 2 * nest_prepared(&m->nest) >= m->nest.config.prepared ? QUIET_MS : 0;
}

/* A service ends when it is asked to; a private warden with its connection. */
static int watch_stop(struct monitor *m)
{
        sigset_t set;

        sigemptyset(&set);
        sigaddset(&set, SIGTERM);
        sigprocmask(SIG_BLOCK, &set, NULL);
        int fd = signalfd(-1, &set, SFD_CLOEXEC);
        return fd < 0 ? -1 : watch(m, fd, &tag_stop);
}

static int begin_serving(struct monitor *m)
{
        struct err e;

        if (m->config.listener < 0)
                return watch(m, m->config.peer, &tag_peer);
        if (start_nest(m, &e) < 0) {
                log_line("cannot start", e.msg);
                return -1;
        }
        for (struct nest_box *b = m->nest.boxes; b; b = b->next)
                if (watch(m, b->pidfd, b) < 0)
                        return -1;
        watch_zygote(m);
        return watch_stop(m) < 0 ? -1 : watch(m, m->config.listener, &tag_listener);
}

int monitor_run(const struct monitor_config *config)
{
        struct monitor m = { .config = *config, .image_pidfd = -1, .zygote_watched = -1 };
        struct epoll_event events[EVENTS];
        bool go_on = true, idle = false;

        m.epoll = epoll_create1(EPOLL_CLOEXEC);
        if (m.epoll < 0 || begin_serving(&m) < 0)
                return 1;
        while (go_on) {
                int n = epoll_wait(m.epoll, events, EVENTS, idle ? -1 : wait_before_preparing(&m));

                if (n < 0 && errno != EINTR)
                        break;
                idle = n <= 0 && !prepare_one(&m);
                m.moved = false;
                for (int i = 0; i < n && go_on && !m.moved; i++) {
                        if (handle(&m, events[i].data.ptr))
                                continue;
                        go_on = m.config.listener >= 0 && !m.broken && !m.stopped;
                        drop_peer(&m);
                        break; /* what else came may be about what is no more; it comes again */
                }
                watch_zygote(&m);
                if (m.nest.strays)
                        bury_strays(&m);
        }
        end_image(&m);
        if (m.nest_ready && m.config.listener < 0)
                nest_release(&m.nest);
        else if (m.nest_ready && m.stopped)
                nest_leave(&m.nest);
        return m.broken ? 1 : 0;
}
