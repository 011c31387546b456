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
#include "base/proc.h"
#include "base/sock.h"
#include "base/str.h"
#include "base/sys.h"
#include "domain/spawn.h"
#include "services/warden/image.h"
#include "services/warden/offer.h"

enum { QUIET_MS = 4, CLEAR_MS = 2, PEER_AT_ONCE = 64 };

enum peer_state { PEER_NEW, PEER_OPEN };

struct monitor {
        struct monitor_config config;
        struct nest nest;
        struct offer_door door;
        bool nest_ready;
        enum peer_state state;
        int epoll;
        pid_t image_pid; /* 0: none runs */
        int image_pidfd;
        uint32_t image_serial;
        int zygote_watched;
        unsigned spoken; /* messages of the peer in a row */
        bool idle;       /* nothing is left to be made ahead */
        bool broken;     /* nothing can be served any more */
        bool stopped;
};

struct message {
        struct ipc_header head;
        struct rbuf body;
        int fds[IPC_FDS_MAX];
        size_t nfds;
};

/* What epoll hands back: the peer, the zygote and creto-image by these, a sandbox by its address, its errand by the next. */
enum { TAG_ERRAND = 1 };
static _Alignas(2) char tag_peer, tag_listener, tag_zygote, tag_image, tag_stop, tag_door;

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

/* Before it is closed: a child of ours that has not called exec yet has it open too, and as long as anybody has, epoll goes on about it. */
static void unwatch(struct monitor *m, int fd)
{
        epoll_ctl(m->epoll, EPOLL_CTL_DEL, fd, NULL);
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

static bool answer_terminated(struct monitor *m, const struct nest_box *b)
{
        struct wbuf w = begin(out, IPC_TERMINATED, b->serial);

        ipc_put_terminated(&w, b->id, &b->usage);
        return answer(m, &w, NULL, 0);
}

static bool answer_spawned(struct monitor *m, const struct nest_box *b, int stream)
{
        struct ipc_spawned spawned = { .pid = (uint32_t)b->pid, .limits_missing = b->want.missing };
        struct wbuf w = begin(out, IPC_SPAWNED, b->asked);

        memcpy(spawned.id, b->id, sizeof(spawned.id));
        ipc_put_spawned(&w, &spawned);
        return answer(m, &w, &stream, 1);
}

static bool answer_changed(struct monitor *m, const struct nest_box *b, const struct nest_errand *what)
{
        struct wbuf w = begin(out, what->type == IPC_LIMIT ? IPC_LIMITED : IPC_FROZEN, what->asked);
        struct ipc_freeze freeze = { .frozen = what->frozen };

        memcpy(freeze.id, b->id, sizeof(freeze.id));
        if (what->type == IPC_LIMIT)
                ipc_put_limited(&w, limits_missing(&what->limits, nest_limits(&m->nest)));
        else
                ipc_put_freeze(&w, &freeze);
        return answer(m, &w, NULL, 0);
}

static bool on_errand(struct monitor *m, struct nest_box *b)
{
        struct err e;

        unwatch(m, b->errand.sock);
        int r = nest_changed(&m->nest, b, &e);

        if (b->errand.asked == 0)
                return true;
        return r < 0 ? answer_error(m, b->errand.asked, &e) : answer_changed(m, b, &b->errand);
}

/* ---- the ends of sandboxes ---- */

/* What was reaped, or never had a process. */
static bool on_gone(struct monitor *m, struct nest_box *b)
{
        bool ok = b->errand.sock < 0 || on_errand(m, b);

        if (!nest_clear(&m->nest, b))
                return ok;
        if (b->complaint[0])
                log_line(b->id, b->complaint);
        if (b->wanted && !b->unwanted)
                ok = answer_terminated(m, b) && ok;
        if (b->wanted || b->unwanted) {
                nest_forget(&m->nest, b);
                return ok;
        }
        if (m->state != PEER_OPEN)
                return true; /* LIST says it to who comes */
        struct ipc_exited exited = { .status = b->status, .usage = b->usage };
        memcpy(exited.id, b->id, sizeof(exited.id));
        struct wbuf w = begin(out, IPC_EXITED, 0);
        ipc_put_exited(&w, &exited);
        return answer(m, &w, NULL, 0);
}

/* Of one that is not running yet. While it is not known whether it has a process, its socket will say. */
static bool discard(struct monitor *m, struct nest_box *b, bool has_none)
{
        nest_disown(&m->nest, b);
        if (b->pidfd < 0 && !has_none)
                return true;
        unwatch(m, b->sock);
        return b->pidfd < 0 ? on_gone(m, b) : watch(m, b->pidfd, b) == 0 || errno == EEXIST;
}

static bool fail_spawn(struct monitor *m, struct nest_box *b, const struct err *e)
{
        bool ok = true;

        if (b->id[0]) {
                ok = answer_error(m, b->asked, e) && (!b->wanted || answer_terminated(m, b));
        } else if (!b->unwanted) {
                log_line("cannot prepare a sandbox", e->msg);
                m->nest.config.prepared = 0;
        }
        return discard(m, b, true) && ok;
}

/* ---- requests; each returns false where the connection has to end ---- */

static int start_nest(struct monitor *m, struct err *e)
{
        const struct nest_config config = {
                .kvm = m->config.args.kvm,
                .run_dir = m->config.args.run_dir,
                .state_dir = m->config.args.state_dir,
                .user = m->config.user,
                .private = m->config.listener < 0,
                .classes = &m->config.args.classes,
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

static bool finish_spawn(struct monitor *m, struct nest_box *b)
{
        int stream = -1;
        struct err e;

        if (nest_send_off(&m->nest, b, &stream, &e) < 0)
                return fail_spawn(m, b, &e);
        bool ok = answer_spawned(m, b, stream);
        close(stream);
        if (b->wanted)
                nest_kill(&m->nest, b);
        return ok;
}

static bool begin_spawn(struct monitor *m, struct nest_box *b)
{
        struct err e;

        if (nest_begin(&m->nest, b, &e) < 0)
                return fail_spawn(m, b, &e);
        return watch(m, b->sock, b) == 0;
}

static bool on_embryo(struct monitor *m, struct nest_box *b)
{
        struct err e;
        int r = nest_hear(&m->nest, b, &e);

        if (r < 0)
                return fail_spawn(m, b, &e);
        if (b->unwanted && b->pidfd >= 0)
                return discard(m, b, false);
        if (r > 0)
                return true;
        unwatch(m, b->sock);
        if (watch(m, b->pidfd, b) < 0)
                return false;
        return b->id[0] ? finish_spawn(m, b) : true;
}

/* From here on what came along is the box's. */
static struct nest_box *take_order(struct monitor *m, const struct ipc_spawn *req, struct message *msg, struct err *e)
{
        const struct spawn_rules rules = { m->config.peer_is_root || m->config.user, SPACE_IDS, nest_limits(&m->nest),
                                           &m->config.args.classes, m->config.args.kvm };
        struct nest_want want = { .uid = req->uid, .gid = req->gid, .own_ids = req->root == IPC_ROOT_DIR, .flags = req->flags };
        struct limits l = { .wanted = req->limits_wanted };
        struct image_hold *hold = NULL;

        auto_fd engine = -1;

        if (spawn_check(&rules, req, msg->nfds, &want.class, &want.missing, e) < 0)
                return NULL;
        if (req->flags & IPC_SPAWN_ENGINE)
                engine = msg->fds[--msg->nfds];
        else if (req->offer[0] && (engine = offer_take(&m->door, req->offer, e)) < 0)
                return NULL;
        if (nest_find(&m->nest, req->id)) {
                err_set(e, ERR_SANDBOX_NOT_READY, 0, "a sandbox with id '%s' exists", req->id);
                return NULL;
        }
        memcpy(l.value, req->limits, sizeof(l.value));
        want.pids = l.value[LIMIT_PIDS];
        if (class_lacks(want.class) & (1U << LIMIT_PIDS))
                l.value[LIMIT_PIDS] = LIMIT_NO_PIDS;
        memcpy(want.hostname, req->hostname, sizeof(want.hostname));
        memcpy(want.home, req->home, sizeof(want.home));
        if (req->root == IPC_ROOT_LAYERS) {
                auto_fd store = image_store_open(m->config.args.image_store, m->config.user, e);
                if (store < 0 || !(hold = image_hold(store, req, e)))
                        return NULL;
        }
        struct nest_box *b = nest_order(&m->nest, req->id, &want, &l, want.own_ids ? msg->fds[0] : -1, hold, e);
        if (!b)
                image_let_go(hold);
        else
                b->engine = take_fd(&engine), msg->nfds = 0;
        return b;
}

static bool on_spawn(struct monitor *m, struct message *msg)
{
        static struct ipc_spawn req;
        struct err e;

        if (ipc_get_spawn(&msg->body, &req) < 0)
                return false;
        struct nest_box *b = take_order(m, &req, msg, &e);
        if (!b)
                return answer_error(m, msg->head.serial, &e);
        b->asked = msg->head.serial;
        return b->state == NEST_PREPARED ? finish_spawn(m, b) : true;
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
        struct err e;
        struct nest_box *box = find_box(m, msg, &answered);

        if (!box)
                return answered;
        if (box->wanted)
                return false;
        box->wanted = true;
        box->serial = msg->head.serial;
        if (box->state == NEST_DEAD)
                return on_gone(m, box);
        if (box->state == NEST_WAITING) {
                err_set(&e, ERR_SANDBOX_NOT_READY, 0, "'%s' was terminated before it was made", box->id);
                return fail_spawn(m, box, &e);
        }
        if (box->state == NEST_RUNNING)
                nest_kill(&m->nest, box);
        else if (box->job && box->pidfd >= 0)
                sys_pidfd_send_signal(box->pidfd, SIGKILL);
        return true; /* one that is being made ends when it has been answered */
}

static bool on_image(struct monitor *m, struct message *msg)
{
        static struct ipc_image req;
        struct err e;

        if (ipc_get_image(&msg->body, &req) < 0 || m->image_pid != 0)
                return false;
        auto_fd store = image_store_open(m->config.args.image_store, m->config.user, &e);
        pid_t pid = store < 0 ? store : image_start(store, &req, msg->fds, msg->nfds, m->config.user, &e);
        if (pid < 0)
                return answer_error(m, msg->head.serial, &e);
        m->image_pid = pid;
        m->image_serial = msg->head.serial;
        m->image_pidfd = sys_pidfd_open(pid);
        return m->image_pidfd >= 0 && watch(m, m->image_pidfd, &tag_image) == 0;
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

static uint8_t box_state(const struct nest_box *b)
{
        return b->state == NEST_DEAD      ? IPC_BOX_EXITED
               : b->state != NEST_RUNNING ? IPC_BOX_DYING
               : b->frozen                ? IPC_BOX_FROZEN
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
                if (b->state < NEST_RUNNING || b->unwanted || listed.total++ < first || listed.count == IPC_LIST_MAX)
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

static bool change(struct monitor *m, const char *id, struct nest_errand *what)
{
        struct nest_box *box = nest_find(&m->nest, id);
        struct err e;
        int r = 0;

        if (!box || box->state != NEST_RUNNING)
                r = err_set(&e, ERR_SANDBOX_NOT_FOUND, 0, "no running sandbox '%s'", id);
        if (r == 0 && what->type == IPC_LIMIT)
                r = limits_check_change(&box->limits, &what->limits, &e);
        if (r == 0 && what->type == IPC_LIMIT)
                r = limits_check_enforced(&what->limits, nest_limits(&m->nest), &e);
        if (r == 0)
                r = nest_change(&m->nest, box, what, &e);
        if (r < 0)
                return answer_error(m, what->asked, &e);
        return r == 0 ? answer_changed(m, box, what) : watch(m, box->errand.sock, (char *)box + TAG_ERRAND) == 0;
}

static bool on_freeze(struct monitor *m, struct message *msg)
{
        struct nest_errand what = { .type = IPC_FREEZE, .asked = msg->head.serial };
        struct ipc_freeze req;

        if (ipc_get_freeze(&msg->body, &req) < 0)
                return false;
        what.frozen = req.frozen;
        return change(m, req.id, &what);
}

static bool on_limit(struct monitor *m, struct message *msg)
{
        struct nest_errand what = { .type = IPC_LIMIT, .asked = msg->head.serial };
        struct ipc_limit req;

        if (ipc_get_limit(&msg->body, &req) < 0)
                return false;
        what.limits.wanted = req.limits_wanted;
        memcpy(what.limits.value, req.limits, sizeof(what.limits.value));
        return change(m, req.id, &what);
}

/* Who may say what, with how many descriptors, in which state. */
static const struct {
        enum ipc_type type;
        enum peer_state state;
        size_t fds_min, fds_max;
        bool (*run)(struct monitor *m, struct message *msg);
} permitted[] = {
        { IPC_HELLO, PEER_NEW, 0, 0, on_hello },
        { IPC_SPAWN, PEER_OPEN, 0, 2, on_spawn },
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

static bool on_box(struct monitor *m, struct nest_box *box)
{
        if (box->state == NEST_MAKING)
                return on_embryo(m, box);
        if (box->state == NEST_PREPARED)
                nest_disown(&m->nest, box);
        unwatch(m, box->pidfd);
        nest_reap(&m->nest, box);
        return on_gone(m, box);
}

static bool on_image_done(struct monitor *m)
{
        int status = 0;

        unwatch(m, m->image_pidfd);
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

        unwatch(m, m->zygote_watched);
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
                unwatch(m, m->image_pidfd);
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
        unwatch(m, m->config.peer);
        fd_close(&m->config.peer);
        end_image(m);
        m->state = PEER_NEW;
        m->nest.config.prepared = 0;
        for (struct nest_box *b = m->nest.boxes, *next; b; b = next) {
                next = b->next;
                b->wanted = false;
                b->errand.asked = 0;
                if (b->id[0] && b->state < NEST_RUNNING)
                        discard(m, b, b->state == NEST_WAITING);
        }
}

static bool on_listener(struct monitor *m)
{
        struct ucred who;
        socklen_t len = sizeof(who);
        auto_fd fd = accept4(m->config.listener, NULL, NULL, SOCK_CLOEXEC);

        if (fd < 0)
                return true;
        if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &who, &len) < 0 || (who.uid != 0 && who.uid != m->config.args.peer_uid)) {
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
        if (tag == &tag_door)
                return offer_hear(&m->door);
        if (tag == &tag_stop) {
                m->stopped = true;
                return false;
        }
        if ((uintptr_t)tag & TAG_ERRAND)
                return on_errand(m, (struct nest_box *)((char *)tag - TAG_ERRAND));
        return on_box(m, tag);
}

static void watch_zygote(struct monitor *m)
{
        if (!m->nest_ready || m->nest.zygote < 0 || m->nest.zygote == m->zygote_watched)
                return;
        if (watch(m, m->nest.zygote, &tag_zygote) == 0 || errno == EEXIST)
                m->zygote_watched = m->nest.zygote;
}

/* As long as half of them are left, the next is made when nobody has asked for a while: what has just been sent off starts now, and what is made competes with
 * it for processors and for the kernel's locks. Milliseconds. */
static int patience(struct monitor *m)
{
        int ms = m->idle || !m->nest_ready ? -1 : 2 * m->nest.count[NEST_PREPARED] >= m->nest.config.prepared ? QUIET_MS : 0;

        if (nest_next(&m->nest, true))
                return 0;
        return (m->nest.count[NEST_CLEARING] > 0 || m->nest.sweeps > 0) && (ms < 0 || ms > CLEAR_MS) ? CLEAR_MS : ms;
}

/* With nothing else to do. */
static bool on_idle(struct monitor *m)
{
        struct nest_box *b = nest_next(&m->nest, true);

        for (struct nest_box *c = m->nest.boxes, *next; c && m->nest.count[NEST_CLEARING] > 0; c = next) {
                next = c->next;
                if (c->state == NEST_CLEARING && !on_gone(m, c))
                        return false;
        }
        if (!b)
                nest_sweep(&m->nest);
        if (!b && m->state == PEER_OPEN)
                b = nest_prepare(&m->nest);
        m->idle = !b;
        return b ? begin_spawn(m, b) : true;
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
        if (start_nest(m, &e) < 0 || offer_open(&m->door, m->config.args.run_dir, &e) < 0) {
                log_line("cannot start", e.msg);
                return -1;
        }
        for (struct nest_box *b = m->nest.boxes; b; b = b->next)
                if (watch(m, b->pidfd, b) < 0)
                        return -1;
        watch_zygote(m);
        return watch_stop(m) < 0 || watch(m, m->door.sock, &tag_door) < 0 ? -1 : watch(m, m->config.listener, &tag_listener);
}

static bool is_known(void *ctx, pid_t pid)
{
        struct monitor *m = ctx;
        bool known = pid == m->image_pid || pid == m->nest.zygote_pid;

        for (const struct nest_box *b = m->nest.boxes; b && !known; b = b->next)
                known = (b->pid == pid && b->pidfd >= 0) || (b->errand.pid == pid && b->errand.sock >= 0);
        return known;
}

static bool peer_speaks(struct monitor *m)
{
        return m->spoken++ < PEER_AT_ONCE && m->config.peer >= 0 && fd_readable(m->config.peer, 0);
}

/* One thing, the most urgent: what the peer says, what it waits for, what has happened, what nobody waits for. */
static bool turn(struct monitor *m)
{
        struct epoll_event event;
        struct nest_box *b;

        if (peer_speaks(m))
                return on_peer(m);
        m->spoken = 0;
        if ((b = nest_next(&m->nest, false)))
                return begin_spawn(m, b);
        int n = epoll_wait(m->epoll, &event, 1, patience(m));
        if (n < 0 && errno != EINTR)
                m->broken = true;
        if (n <= 0)
                return n < 0 ? !m->broken : on_idle(m);
        m->idle = false;
        return handle(m, event.data.ptr);
}

int monitor_run(const struct monitor_config *config)
{
        struct monitor m = { .config = *config, .image_pidfd = -1, .zygote_watched = -1, .door.sock = -1 };

        m.epoll = epoll_create1(EPOLL_CLOEXEC);
        if (m.epoll < 0 || begin_serving(&m) < 0)
                return 1;
        for (bool go_on = true; go_on; watch_zygote(&m)) {
                if (m.nest.strays)
                        proc_bury(is_known, &m); /* what engines leave is ours when nobody else waits for it */
                if (turn(&m))
                        continue;
                go_on = m.config.listener >= 0 && !m.broken && !m.stopped;
                drop_peer(&m);
        }
        end_image(&m);
        if (m.nest_ready && m.config.listener < 0)
                nest_release(&m.nest);
        else if (m.nest_ready && m.stopped)
                nest_leave(&m.nest);
        return m.broken ? 1 : 0;
}
