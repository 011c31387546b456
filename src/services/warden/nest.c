#include "services/warden/nest.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/fd.h"
#include "base/sock.h"
#include "base/sys.h"
#include "domain/spawn.h"
#include "services/warden/driver.h"
#include "services/warden/oci.h"
#include "services/warden/parts/mnt.h"
#include "services/warden/program.h"
#include "services/warden/zygote.h"

_Static_assert(LIMIT_COUNT == (int)IPC_LIMITS, "the protocol carries every limit");

/* DEFAULT_UID: user `agent`, who runs what names no user; the embryos made ahead are made for it. */
enum { DEFAULT_UID = 1000, TTY_GROUP = 5, INIT_MAX_BYTES = 4 << 20 };

/* ---- start and end ---- */

/* A sealed copy of creto-init: what runs inside can neither be changed from inside nor lead back to a file of the host. */
static int load_init(struct err *e)
{
        auto_fd from = program_open("init");
        struct stat st;

        if (from < 0 || fstat(from, &st) < 0 || st.st_size > INIT_MAX_BYTES) {
                err_set(e, ERR_BACKEND_UNAVAILABLE, errno, "cannot open creto-init");
                return err_hint(e, "it belongs beside creto-warden: install creto-runtime again");
        }
        auto_fd to = memfd_create("creto-init", MFD_CLOEXEC | MFD_ALLOW_SEALING);
        if (to < 0)
                return err_sys(e, "cannot make a memory file");
        if (fd_copy(from, to) < 0 || fchmod(to, 0555) < 0 ||
            fcntl(to, F_ADD_SEALS, F_SEAL_SEAL | F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE) < 0)
                return err_sys(e, "cannot copy and seal creto-init");
        /* execve refuses a file that is open for writing */
        char path[64];
        snprintf(path, sizeof(path), "/proc/self/fd/%d", to);
        int ro = open(path, O_RDONLY | O_CLOEXEC);
        return ro < 0 ? err_sys(e, "cannot open creto-init again") : ro;
}

static int start_zygote(struct nest *n, struct err *e)
{
        int ends[2];
        char pid[16];

        snprintf(pid, sizeof(pid), "%d", getpid());
        char *argv[] = {
                "creto-warden", "--zygote", n->config.user ? "user" : "root", n->config.private ? "private" : "service", pid, NULL
        };
        char *env[] = { NULL };
        if (sock_pair(SOCK_SEQPACKET, ends) < 0)
                return err_sys(e, "cannot make a socket");
        pid_t child = vfork();
        if (child == 0) {
                /* only system calls until exec: the memory is our parent's */
                if (dup2(ends[1], ZYGOTE_FD_SOCK) < 0 || (n->slots.lock >= 0 && dup2(n->slots.lock, ZYGOTE_FD_SLOTS) < 0))
                        _exit(1);
                execve("/proc/self/exe", argv, env);
                _exit(127);
        }
        close(ends[1]);
        if (child < 0) {
                close(ends[0]);
                return err_sys(e, "cannot start the zygote");
        }
        n->zygote = ends[0];
        n->zygote_pid = child;
        n->told = false;
        return 0;
}

int nest_ensure_zygote(struct nest *n, struct err *e)
{
        struct pollfd p = { .fd = n->zygote, .events = POLLIN };

        if (n->zygote >= 0 && poll(&p, 1, 0) == 0)
                return 0;
        if (n->zygote >= 0) {
                fd_close(&n->zygote);
                kill(n->zygote_pid, SIGKILL);
                waitpid(n->zygote_pid, NULL, 0);
        }
        return start_zygote(n, e);
}

/* Waits that long (-1: until then) for the end of a process. A zombie has ended, however long the host takes to reap it. */
static bool has_ended(int pidfd, int wait_ms)
{
        struct pollfd p = { .fd = pidfd, .events = POLLIN };
        int r;

        while ((r = poll(&p, 1, wait_ms)) < 0 && errno == EINTR)
                ;
        return r != 0;
}

/* A record of the warden before us. What it names may be gone, or may even be another process by now. */
static void adopt(void *user, const struct record *r)
{
        struct nest *n = user;
        struct nest_box *b = calloc(1, sizeof(*b));
        int pidfd = b ? sys_pidfd_open(r->pid) : -1;

        if (pidfd < 0 || record_pid_start(r->pid) != r->pid_start || has_ended(pidfd, 0) || space_slot_retake(&n->slots, r->slot) != 0) {
                struct cgroup left;
                struct err ignored;

                cgroup_adopt(&n->cgroups, &left, r->group); /* what an engine had begun */
                cgroup_destroy(&n->cgroups, &left, &ignored);
                fd_close(&pidfd);
                free(b);
                record_remove(&n->kept, r->id);
                return;
        }
        *b = (struct nest_box){ .state = NEST_RUNNING,
                                .adopted = true,
                                .pid = r->pid,
                                .pidfd = pidfd,
                                .sock = -1,
                                .slot = r->slot,
                                .started_ms = r->started_ms };
        memcpy(b->id, r->id, sizeof(b->id));
        memcpy(b->limits.value, r->limits, sizeof(b->limits.value));
        cgroup_adopt(&n->cgroups, &b->group, r->group);
        b->frozen = cgroup_is_frozen(&n->cgroups, &b->group);
        b->next = n->boxes;
        n->boxes = b;
}

static int take_over(struct nest *n, struct err *e)
{
        if (record_dirs_open(n->config.run_dir, &n->kept, e) < 0)
                return -(int)e->code;
        record_each(&n->kept, adopt, n);
        cgroup_sweep(&n->cgroups, 0);
        return 0;
}

int nest_init(struct nest *n, const struct nest_config *config, struct err *e)
{
        *n = (struct nest){
                .config = *config, .init_exe = -1, .zygote = -1, .netns = -1, .slots = { .lock = -1 }, .disk = { .state = -1 }
        };
        if (getrandom(&n->serial, sizeof(n->serial), 0) !=
            (ssize_t)sizeof(n->serial)) /* a pid is not alone where there are pid namespaces */
                return err_sys(e, "no random numbers");
        if (!config->user && space_slots_init(&n->slots, config->run_dir, e) < 0)
                return -(int)e->code;
        if (start_zygote(n, e) < 0) /* it builds its template while we go on */
                return -(int)e->code;
        if (config->private && (n->netns = space_netns(e)) < 0)
                return n->netns;
        cgroup_host_init(&n->cgroups, !config->user);
        if (disk_host_init(&n->disk, config->state_dir, !config->user, e) < 0)
                return -(int)e->code;
        n->init_exe = load_init(e);
        if (n->init_exe < 0)
                return n->init_exe;
        return config->private ? 0 : take_over(n, e);
}

static void end_zygote(struct nest *n)
{
        if (n->zygote < 0)
                return;
        kill(n->zygote_pid, SIGKILL);
        waitpid(n->zygote_pid, NULL, 0);
        fd_close(&n->zygote);
}

void nest_release(struct nest *n)
{
        for (struct nest_box *b = n->boxes; b; b = b->next)
                nest_kill(b);
        if (n->zygote >= 0 && !n->grouped) /* there is nothing for a janitor to clear */
                kill(n->zygote_pid, SIGKILL);
        while (n->boxes) {
                nest_reap(n, n->boxes);
                nest_forget(n, n->boxes);
        }
        if (n->grouped)
                cgroup_sweep(&n->cgroups, 0);
        end_zygote(n); /* whoever waits for us finds nothing */
        cgroup_host_release(&n->cgroups);
        disk_host_release(&n->disk);
        record_dirs_close(&n->kept);
        fd_close(&n->netns);
        fd_close(&n->init_exe);
        fd_close(&n->slots.lock);
}

/* ---- embryos ---- */

void nest_leave(struct nest *n)
{
        for (struct nest_box *b = n->boxes; b; b = b->next)
                if (b->state == NEST_PREPARED)
                        nest_kill(b);
        for (struct nest_box *b = n->boxes, *next; b; b = next) {
                next = b->next;
                if (b->state != NEST_PREPARED && b->state != NEST_DYING)
                        continue;
                nest_reap(n, b);
                nest_forget(n, b);
        }
        if (!n->boxes)
                nest_release(n);
}

uint32_t nest_limits(const struct nest *n)
{
        uint32_t can = (1U << LIMIT_COUNT) - 1;

        if (!(n->cgroups.controllers & CGROUP_MEMORY))
                can &= ~(1U << LIMIT_MEMORY | 1U << LIMIT_SWAP);
        if (!(n->cgroups.controllers & CGROUP_CPU))
                can &= ~(1U << LIMIT_CPU);
        if (!(n->cgroups.controllers & CGROUP_PIDS))
                can &= ~(1U << LIMIT_PIDS);
        return can;
}

static unsigned wanted_controllers(const struct limits *l)
{
        unsigned bits = 0;

        if (l->value[LIMIT_MEMORY] != LIMIT_UNLIMITED)
                bits |= CGROUP_MEMORY;
        if (l->value[LIMIT_CPU] != LIMIT_UNLIMITED)
                bits |= CGROUP_CPU;
        if (l->value[LIMIT_PIDS] != LIMIT_UNLIMITED)
                bits |= CGROUP_PIDS;
        return bits ? bits | CGROUP_CPUACCT : 0;
}

int nest_write_limits(struct nest *n, struct nest_box *b, const struct limits *l, struct err *e)
{
        const struct cgroup_limits c = {
                .memory = l->value[LIMIT_MEMORY],
                .swap = l->value[LIMIT_SWAP],
                .cpu_millis = l->value[LIMIT_CPU],
                .pids = l->value[LIMIT_PIDS] == LIMIT_UNLIMITED ? LIMIT_UNLIMITED : l->value[LIMIT_PIDS] + 1, /* creto-init */
        };

        b->limits = *l;
        return cgroup_limit(&n->cgroups, &b->group, &c, e);
}

void nest_material_release(struct material *m)
{
        fd_close(&m->userns);
        fd_close(&m->disk);
        fd_close(&m->root);
}

static struct space_map box_map(const struct nest *n, const struct nest_box *b, uint32_t inside_uid)
{
        if (n->config.user)
                return (struct space_map){ inside_uid, 0, 1 };
        return (struct space_map){ 0, space_slot_uid((unsigned)b->slot), SPACE_IDS };
}

int nest_gather(struct nest *n, struct nest_box *b, const struct nest_order *o, struct material *m, struct err *e)
{
        uint32_t uid = o->req ? o->req->uid : DEFAULT_UID;
        uint32_t base = n->config.user ? 0 : space_slot_uid((unsigned)b->slot);
        struct space_map map = box_map(n, b, uid);

        m->userns = space_userns(&map, e);
        if (m->userns < 0)
                return m->userns;
        /* Where memory is not counted, what is written may be memory: a loop device is a third of the time that it takes to make a sandbox. */
        m->disk = disk_make(&n->disk, b->limits.value[LIMIT_MEMORY] == LIMIT_UNLIMITED, b->disk_bytes, b->disk_inodes, base,
                            n->config.user ? 0 : base + uid, e);
        if (m->disk < 0)
                return m->disk;
        if (o->layer_count == 0)
                return 0;
        auto_fd idmap = -1;
        if (!n->config.user) {
                /* ids on disk (the image range, or those of a directory as they are) → the sandbox's */
                struct space_map owners = { o->req->root == IPC_ROOT_DIR ? 0 : SPACE_IMAGE_UID, base, SPACE_IDS };
                idmap = space_userns(&owners, e);
                if (idmap < 0)
                        return idmap;
        }
        m->root = mnt_overlay(o->layers, o->layer_count, idmap, e);
        return m->root < 0 ? m->root : 0;
}

/* From now on there is something to clear if we are killed. A user's groups are in one that their session manager removes with all that is in it. */
static int tell_janitor(struct nest *n, struct err *e)
{
        const struct zygote_make sweep = { .flags = ZYGOTE_SWEEP };
        int bases[CGROUP_TREES_MAX];

        if (n->told || !n->config.private || n->config.user)
                return 0;
        if (nest_ensure_zygote(n, e) < 0)
                return -(int)e->code;
        for (unsigned i = 0; i < n->cgroups.count; i++)
                bases[i] = n->cgroups.trees[i].base;
        if (sock_send(n->zygote, &sweep, sizeof(sweep), bases, n->cgroups.count) < 0)
                return err_sys(e, "the zygote is gone");
        n->told = true;
        return 0;
}

/* Asks the zygote for an embryo; it has `sock`. */
static int order_embryo(struct nest *n, struct nest_box *b, uint32_t flags, int sock, struct err *e)
{
        struct zygote_make make = { .flags = flags,
                                    .tty_gid = n->config.user ? UINT32_MAX : space_slot_uid((unsigned)b->slot) + TTY_GROUP };
        auto_fd netns = n->netns >= 0 ? take_fd(&n->netns) : space_netns(e);
        int fds[3] = { sock, netns };
        size_t count = 2;

        if (netns < 0)
                return netns;
        int group = cgroup_clone_fd(&n->cgroups, &b->group);
        if (b->group.used && group >= 0) {
                make.flags |= ZYGOTE_CGROUP;
                fds[count++] = group;
        }
        if (nest_ensure_zygote(n, e) < 0 || (b->group.used && tell_janitor(n, e) < 0)) /* a new one knows nothing yet */
                return -(int)e->code;
        return sock_send(n->zygote, &make, sizeof(make), fds, count) < 0 ? err_sys(e, "the zygote is gone") : 0;
}

static int meet_embryo(struct nest *n, struct nest_box *b, struct err *e)
{
        struct zygote_made made;

        if (sock_recv(n->zygote, &made, sizeof(made), NULL, NULL) != (ssize_t)sizeof(made))
                return err_set(e, ERR_INTERNAL_ERROR, 0, "the zygote ended while it made a sandbox");
        if (made.pid < 0)
                return err_set(e, ERR_INTERNAL_ERROR, -made.pid, "cannot make a sandbox's namespaces");
        b->pid = made.pid;
        b->pidfd = sys_pidfd_open(made.pid);
        return b->pidfd < 0 ? err_sys(e, "cannot watch the sandbox") : 0;
}

static int read_report(struct nest_box *b, struct err *e)
{
        struct embryo_report r;

        if (sock_recv(b->sock, &r, sizeof(r), NULL, NULL) != (ssize_t)sizeof(r))
                return err_set(e, ERR_INTERNAL_ERROR, 0, "the sandbox ended while it was made");
        if (r.ok)
                return 0;
        *e = r.err;
        return -(int)e->code;
}

static int send_parts(struct nest_box *b, const struct material *m, struct err *e)
{
        const struct embryo_parts parts = { m->root >= 0 };
        int fds[3] = { m->userns, m->disk, m->root };

        if (sock_send(b->sock, &parts, sizeof(parts), fds, m->root >= 0 ? 3 : 2) == 0)
                return 0;
        return read_report(b, e) < 0 ? -(int)e->code : err_set(e, ERR_INTERNAL_ERROR, 0, "the sandbox ended while it was made");
}

/* Takes back everything a box has, whatever state making it is in. */
static void clear_box(struct nest *n, struct nest_box *b)
{
        struct err e;

        fd_close(&b->sock);
        oci_job_free(b);
        cgroup_destroy(&n->cgroups, &b->group, &e);
        image_let_go(b->image);
        b->image = NULL;
        record_remove(&n->kept, b->id);
        if (b->slot >= 0)
                space_slot_give(&n->slots, b->slot);
        b->slot = -1;
}

/* What is known before there is a process. */
int nest_begin(struct nest *n, struct nest_box *b, const struct limits *l, bool watched, struct err *e)
{
        char name[64];

        b->pidfd = b->sock = -1;
        b->slot = -1;
        b->disk_bytes = l->value[LIMIT_DISK];
        b->disk_inodes = l->value[LIMIT_INODES];
        if (!n->config.user && (b->slot = space_slot_take(&n->slots, e)) < 0)
                return -(int)e->code;
        unsigned controllers = wanted_controllers(l) & (n->cgroups.controllers | CGROUP_CPUACCT);
        if (!n->config.private || watched) /* to be frozen, and counted */
                controllers |= CGROUP_CPUACCT;
        if (controllers && tell_janitor(n, e) < 0)
                return -(int)e->code;
        snprintf(name, sizeof(name), "creto-%d-%u", getpid(), ++n->serial);
        n->grouped |= controllers != 0;
        return cgroup_create(&n->cgroups, &b->group, name, controllers, e);
}

/* The zygote and the embryo work while we do. */
static int fill_box(struct nest *n, struct nest_box *b, const struct nest_order *o, struct err *e)
{
        uint32_t flags = (n->config.user ? ZYGOTE_USER : 0U) | (o->layer_count > 0 ? ZYGOTE_ROOT : 0U);
        struct material m = { -1, -1, -1 };
        struct err ignored;
        int ends[2];

        if (sock_pair(SOCK_SEQPACKET, ends) < 0)
                return err_sys(e, "cannot make a socket");
        b->sock = ends[0];
        int r = order_embryo(n, b, flags, ends[1], e);
        close(ends[1]);
        if (r < 0)
                return r;
        r = nest_gather(n, b, o, &m, e);
        if (meet_embryo(n, b, r < 0 ? &ignored : e) < 0 && r == 0)
                r = -(int)e->code;
        if (r == 0)
                r = send_parts(b, &m, e);
        nest_material_release(&m);
        if (r == 0 && b->group.used)
                r = cgroup_attach(&n->cgroups, &b->group, b->pid, cgroup_clone_fd(&n->cgroups, &b->group) >= 0, e);
        return r;
}

static int make_box(struct nest *n, const struct nest_order *o, struct nest_box **out, struct err *e)
{
        struct nest_box *b = calloc(1, sizeof(*b));

        if (!b)
                return err_set(e, ERR_RESOURCE_EXHAUSTED, 0, "out of memory");
        if (nest_begin(n, b, &o->limits, false, e) == 0 && nest_write_limits(n, b, &o->limits, e) == 0 && fill_box(n, b, o, e) == 0) {
                b->next = n->boxes;
                n->boxes = b;
                *out = b;
                return 0;
        }
        if (b->pid > 0) {
                kill(b->pid, SIGKILL);
                waitpid(b->pid, NULL, __WALL);
        }
        fd_close(&b->pidfd);
        clear_box(n, b);
        free(b);
        return -(int)e->code;
}

/* ---- sending one off ---- */

void nest_random_hex(char out[33])
{
        uint8_t raw[16] = { 0 };

        if (getrandom(raw, sizeof(raw), 0) != (ssize_t)sizeof(raw))
                abort();
        for (size_t i = 0; i < sizeof(raw); i++)
                snprintf(out + 2 * i, 3, "%02x", raw[i]);
}

/* Our end of the guest stream, and what creto-init gets: the other end, or in service mode the socket that it listens on. */
int nest_make_stream(struct nest *n, const char *id, int ends[2], struct err *e)
{
        if (n->config.private)
                return sock_pair(SOCK_STREAM, ends) < 0 ? err_sys(e, "cannot make a stream") : 0;
        ends[1] = record_listen(&n->kept, id, e);
        if (ends[1] < 0)
                return ends[1];
        ends[0] = record_connect(&n->kept, id, e);
        if (ends[0] < 0)
                fd_close(&ends[1]);
        return ends[0] < 0 ? ends[0] : 0;
}

int nest_write_record(const struct nest *n, const struct nest_box *b, struct err *e)
{
        struct record r = { .size = sizeof(r),
                            .version = RECORD_VERSION,
                            .pid = b->pid,
                            .slot = b->slot,
                            .pid_start = record_pid_start(b->pid),
                            .started_ms = b->started_ms };

        memcpy(r.id, b->id, sizeof(r.id));
        if (b->group.used)
                memcpy(r.group, b->group.name, sizeof(r.group));
        memcpy(r.limits, b->limits.value, sizeof(r.limits));
        return record_write(&n->kept, &r, e);
}

int nest_keep(struct nest *n, struct nest_box *b, const char *id, int *hold, struct err *e)
{
        memcpy(b->id, id, sizeof(b->id));
        b->started_ms = clock_ms(CLOCK_BOOTTIME);
        *hold = space_slot_hold(&n->slots, b->slot, e);
        return *hold < 0 ? *hold : nest_write_record(n, b, e);
}

static int send_off(struct nest *n, struct nest_box *b, const struct nest_order *o, int *stream, struct err *e)
{
        const struct ipc_spawn *req = o->req;
        struct embryo_go go = { .cgroup_ns = b->group.used, .one_uid = n->config.user };
        int ends[2];

        if (read_report(b, e) < 0)
                return -(int)e->code;
        go.init_id = n->config.user ? req->uid : SPACE_INIT_ID;
        snprintf(go.hostname, sizeof(go.hostname), "%s", req->hostname);
        nest_random_hex(go.machine_id);
        spawn_boot(req, o->missing, &go.boot);
        go.boot.flags = BOOT_NOTIFY | (n->config.user ? BOOT_ONE_UID : 0) | (n->config.private ? BOOT_DIE_ALONE : BOOT_LISTEN | BOOT_SLOT);
        if (nest_make_stream(n, req->id, ends, e) < 0)
                return -(int)e->code;
        int fds[] = { ends[1], n->init_exe, -1 };
        size_t count = 2;
        int r = 0;
        if (!n->config.private && (r = nest_keep(n, b, req->id, &fds[2], e)) == 0)
                count = 3;
        if (r == 0 && sock_send(b->sock, &go, sizeof(go), fds, count) < 0)
                r = err_sys(e, "the sandbox ended before it was started");
        fd_close(&fds[2]);
        close(ends[1]);
        if (r < 0)
                close(ends[0]);
        else
                *stream = ends[0];
        return r;
}

static struct nest_box *find_prepared(struct nest *n, const struct limits *l)
{
        for (struct nest_box *b = n->boxes; b; b = b->next)
                if (b->state == NEST_PREPARED && b->disk_bytes == l->value[LIMIT_DISK] && b->disk_inodes == l->value[LIMIT_INODES])
                        return b;
        return NULL;
}

static int native_spawn(struct nest *n, const struct nest_order *o, struct nest_box **box, int *stream, struct err *e)
{
        struct nest_box *b = NULL;
        int r = 0;

        if (o->layer_count == 0 && o->req->uid == DEFAULT_UID)
                b = find_prepared(n, &o->limits);
        if (b && memcmp(b->limits.value, o->limits.value, sizeof(o->limits.value)) != 0)
                r = nest_write_limits(n, b, &o->limits, e);
        else if (!b)
                r = make_box(n, o, &b, e);
        if (r == 0)
                r = send_off(n, b, o, stream, e);
        if (r < 0 && b) {
                nest_kill(b);
                nest_reap(n, b);
                nest_forget(n, b);
        }
        if (r < 0)
                return r;
        memcpy(b->id, o->req->id, sizeof(b->id));
        b->state = NEST_RUNNING;
        *box = b;
        return 0;
}

static const struct driver native_driver = { .spawn = native_spawn };

static const struct driver *const drivers[CLASS_DRIVERS] = { [CLASS_NATIVE] = &native_driver, [CLASS_OCI] = &oci_driver };

int nest_spawn(struct nest *n, const struct nest_order *o, struct nest_box **box, int *stream, struct err *e)
{
        return drivers[o->class->driver]->spawn(n, o, box, stream, e);
}

int nest_step(struct nest *n, struct nest_box *box, int *stream, struct err *e)
{
        return drivers[box->job->class->driver]->step(n, box, stream, e);
}

void nest_classes(struct nest *n, struct ipc_classes *out)
{
        struct err e;

        out->count = n->config.classes->count;
        for (uint32_t i = 0; i < out->count; i++) {
                const struct runtime_class *class = &n->config.classes->of[i];
                const struct driver *d = drivers[class->driver];

                class_describe(class, nest_limits(n), n->engines[i].version, d->check && d->check(n, class, &e) < 0 ? &e : NULL,
                               &out->of[i]);
        }
}

unsigned nest_prepared(const struct nest *n)
{
        unsigned waiting = 0;

        for (struct nest_box *b = n->boxes; b; b = b->next)
                waiting += b->state == NEST_PREPARED;
        return waiting;
}

int nest_prepare(struct nest *n, struct nest_box **made, struct err *e)
{
        struct nest_order o = { 0 };

        if (nest_prepared(n) >= n->config.prepared)
                return 0;
        limits_default(&o.limits);
        int r = make_box(n, &o, made, e);
        return r < 0 ? r : 1;
}

/* ---- afterwards ---- */

struct nest_box *nest_find(struct nest *n, const char *id)
{
        for (struct nest_box *b = n->boxes; b; b = b->next)
                if (b->state != NEST_PREPARED && strcmp(b->id, id) == 0)
                        return b;
        return NULL;
}

void nest_kill(struct nest_box *b)
{
        if (b->state == NEST_DEAD)
                return;
        sys_pidfd_send_signal(b->pidfd, SIGKILL);
        if (b->state != NEST_DYING)
                b->state = NEST_DYING;
}

int nest_attach(struct nest *n, const struct nest_box *box, struct err *e)
{
        if (n->config.private)
                return err_set(e, ERR_NOT_SUPPORTED, 0, "a private sandbox has one stream only");
        return record_connect(&n->kept, box->id, e);
}

int nest_freeze(struct nest *n, struct nest_box *box, bool frozen, struct err *e)
{
        int r = cgroup_freeze(&n->cgroups, &box->group, frozen, e);

        if (r == 0)
                box->frozen = frozen;
        return r;
}

int nest_limit(struct nest *n, struct nest_box *b, const struct limits *to, struct err *e)
{
        struct limits before = b->limits, l = *to;
        struct err ignored;

        if (before.value[LIMIT_PIDS] == LIMIT_UNLIMITED && !limits_wanted(to, LIMIT_PIDS)) /* its class cannot */
                l.value[LIMIT_PIDS] = LIMIT_UNLIMITED;
        int r = cgroup_can_limit(&n->cgroups, &b->group, wanted_controllers(&l) & n->cgroups.controllers, e);
        if (r == 0)
                r = nest_write_limits(n, b, &l, e);
        if (r == 0 && !n->config.private)
                r = nest_write_record(n, b, e);
        if (r < 0)
                nest_write_limits(n, b, &before, &ignored);
        return r;
}

void nest_read_usage(struct nest *n, struct nest_box *b)
{
        struct cgroup_usage u;

        cgroup_usage(&n->cgroups, &b->group, &u);
        b->usage = (struct ipc_usage){ u.memory, u.memory_peak, u.cpu_us, u.pids, u.oom_kills, u.forks_refused, u.throttled_us };
}

/* What the embryo said before it ended, if it did. */
static void read_complaint(struct nest_box *b)
{
        struct embryo_report r;

        if (b->sock >= 0 && recv(b->sock, &r, sizeof(r), MSG_DONTWAIT) == (ssize_t)sizeof(r) && !r.ok)
                memcpy(b->complaint, r.err.msg, sizeof(b->complaint));
        b->complaint[sizeof(b->complaint) - 1] = '\0';
}

void nest_reap(struct nest *n, struct nest_box *b)
{
        siginfo_t info = { 0 };

        if (b->state == NEST_DEAD)
                return;
        if (b->adopted) /* not our child: waitid() would not wait */
                has_ended(b->pidfd, -1);
        while (waitid((idtype_t)3 /* P_PIDFD */, (id_t)b->pidfd, &info, WEXITED | __WALL) < 0 && errno == EINTR)
                ;
        b->status = b->adopted ? -1 : info.si_code == CLD_EXITED ? (info.si_status & 0xff) << 8 : info.si_status & 0x7f;
        nest_read_usage(n, b);
        read_complaint(b);
        fd_close(&b->pidfd);
        clear_box(n, b);
        b->state = NEST_DEAD;
}

void nest_forget(struct nest *n, struct nest_box *box)
{
        for (struct nest_box **at = &n->boxes; *at; at = &(*at)->next) {
                if (*at != box)
                        continue;
                *at = box->next;
                fd_close(&box->sock);
                free(box);
                return;
        }
}
