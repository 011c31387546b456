#include "services/warden/nest.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/fd.h"
#include "base/proc.h"
#include "base/sock.h"
#include "base/str.h"
#include "base/sys.h"
#include "domain/boot.h"
#include "services/warden/driver.h"
#include "services/warden/oci.h"
#include "services/warden/parts/mnt.h"
#include "services/warden/program.h"
#include "services/warden/zygote.h"

_Static_assert(LIMIT_COUNT == (int)IPC_LIMITS, "the protocol carries every limit");

/* DEFAULT_UID: user `agent`, who runs what names no user; the embryos made ahead are made for it. */
enum {
        DEFAULT_UID = 1000,

        INIT_MAX_BYTES = 4 << 20,
        MAKING_MIN = 4,
        MAKING_MAX = 32,
        WAITING_MAX = 65536,
        CLEAR_TRIES = 1000,
        SWEEPS = 500,
};

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
        int copy = fd_sealed_copy(from, "creto-init");
        return copy < 0 ? err_sys(e, "cannot copy and seal creto-init") : copy;
}

static int start_zygote(struct nest *n, struct err *e)
{
        int ends[2];
        char pid[16];

        snprintf(pid, sizeof(pid), "%d", getpid());
        char *argv[] = { "creto-warden",
                         "--zygote",
                         n->config.user ? "user" : "root",
                         n->config.private ? "private" : "service",
                         pid,
                         n->config.kvm ? "kvm" : "-",
                         NULL };
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
        if (n->zygote >= 0 && !fd_readable(n->zygote, 0))
                return 0;
        if (n->zygote >= 0) {
                fd_close(&n->zygote);
                kill(n->zygote_pid, SIGKILL);
                waitpid(n->zygote_pid, NULL, 0);
        }
        return start_zygote(n, e);
}

/* ---- boxes ---- */

static void set_state(struct nest *n, struct nest_box *b, enum nest_state state)
{
        n->count[b->state]--;
        n->count[state]++;
        b->state = state;
}

static struct nest_box *add_box(struct nest *n, const struct limits *l)
{
        struct nest_box *b = n->count[NEST_WAITING] < WAITING_MAX ? calloc(1, sizeof(*b)) : NULL;

        if (!b)
                return NULL;
        *b = (struct nest_box){
                .state = NEST_WAITING, .pidfd = -1, .sock = -1, .slot = -1, .root = -1, .limits = *l, .errand.sock = -1, .next = n->boxes
        };
        b->engine = -1;
        memset(&b->usage, 0xff, sizeof(b->usage));
        n->count[NEST_WAITING]++;
        n->boxes = b;
        return b;
}

/* A record of the warden before us. What it names may be gone, or may even be another process by now. */
static void adopt(void *user, const struct record *r)
{
        const struct limits none = { 0 };
        struct nest *n = user;
        auto_fd pidfd = sys_pidfd_open(r->pid);
        bool ours = pidfd >= 0 && proc_start_time(r->pid) == r->pid_start && !fd_readable(pidfd, 0);
        struct nest_box *b = ours && space_slot_retake(&n->slots, r->slot) == 0 ? add_box(n, &none) : NULL;

        if (!b) {
                struct cgroup left;

                cgroup_adopt(&n->cgroups, &left, r->group); /* what an engine had begun */
                cgroup_destroy(&n->cgroups, &left);
                record_remove(&n->kept, r->id);
                return;
        }
        b->adopted = true;
        b->pid = r->pid;
        b->pidfd = take_fd(&pidfd);
        b->slot = r->slot;
        b->started_ms = r->started_ms;
        memcpy(b->id, r->id, sizeof(b->id));
        memcpy(b->limits.value, r->limits, sizeof(b->limits.value));
        cgroup_adopt(&n->cgroups, &b->group, r->group);
        b->frozen = cgroup_is_frozen(&n->cgroups, &b->group);
        set_state(n, b, NEST_RUNNING);
}

static int take_over(struct nest *n, struct err *e)
{
        if (record_dirs_open(n->config.run_dir, &n->kept, e) < 0)
                return -(int)e->code;
        record_each(&n->kept, adopt, n);
        n->sweeps = cgroup_sweep(&n->cgroups, 0) > 0 ? SWEEPS : 0;
        return 0;
}

int nest_init(struct nest *n, const struct nest_config *config, struct err *e)
{
        *n = (struct nest){ .config = *config, .init_exe = -1, .zygote = -1, .slots = { .lock = -1 }, .disk = { .state = -1 } };
        long cpus = sysconf(_SC_NPROCESSORS_ONLN);
        n->making_max = cpus <= MAKING_MIN / 2 ? MAKING_MIN : cpus >= MAKING_MAX / 2 ? MAKING_MAX : 2 * (unsigned)cpus;
        if (getrandom(&n->serial, sizeof(n->serial), 0) !=
            (ssize_t)sizeof(n->serial)) /* a pid is not alone where there are pid namespaces */
                return err_sys(e, "no random numbers");
        if (!config->user && space_slots_init(&n->slots, config->run_dir, e) < 0)
                return -(int)e->code;
        if (start_zygote(n, e) < 0) /* it builds its template while we go on */
                return -(int)e->code;
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

/* Waits for the end of one, and for what is left of it. */
static void end_box(struct nest *n, struct nest_box *b)
{
        struct err e;

        while (b->state == NEST_MAKING && b->pidfd < 0 && fd_readable(b->sock, -1) && nest_hear(n, b, &e) > 0)
                ;
        nest_kill(n, b);
        nest_reap(n, b);
        if (b->errand.sock >= 0)
                nest_changed(n, b, &e);
        while (!nest_clear(n, b))
                nanosleep(&(struct timespec){ .tv_nsec = 1000000 }, NULL);
        nest_forget(n, b);
}

void nest_release(struct nest *n)
{
        for (struct nest_box *b = n->boxes; b; b = b->next)
                nest_kill(n, b);
        if (n->zygote >= 0 && !n->grouped) /* there is nothing for a janitor to clear */
                kill(n->zygote_pid, SIGKILL);
        while (n->boxes)
                end_box(n, n->boxes);
        if (n->grouped)
                cgroup_sweep(&n->cgroups, 0);
        end_zygote(n); /* whoever waits for us finds nothing */
        cgroup_host_release(&n->cgroups);
        disk_host_release(&n->disk);
        record_dirs_close(&n->kept);
        fd_close(&n->init_exe);
        fd_close(&n->slots.lock);
}

void nest_leave(struct nest *n)
{
        for (struct nest_box *b = n->boxes, *next; b; b = next) {
                next = b->next;
                if (b->state != NEST_RUNNING && b->state != NEST_DEAD)
                        end_box(n, b);
        }
        if (!n->boxes)
                nest_release(n);
}

/* ---- embryos ---- */

uint32_t nest_limits(const struct nest *n)
{
        return cgroup_can(n->cgroups.controllers);
}

int nest_write_limits(struct nest *n, struct nest_box *b, const struct limits *l, struct err *e)
{
        const struct cgroup_limits c = {
                .memory = l->value[LIMIT_MEMORY],
                .swap = l->value[LIMIT_SWAP],
                .cpu_millis = l->value[LIMIT_CPU],
                .pids = l->value[LIMIT_PIDS] >= LIMIT_NO_PIDS ? LIMIT_UNLIMITED : l->value[LIMIT_PIDS] + 1, /* creto-init */
        };

        b->limits = *l;
        return cgroup_limit(&n->cgroups, &b->group, &c, e);
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

/* What is known before there is a process. */
int nest_begin_box(struct nest *n, struct nest_box *b, bool watched, struct err *e)
{
        char name[64];

        if (!n->config.user && (b->slot = space_slot_take(&n->slots, e)) < 0)
                return -(int)e->code;
        unsigned controllers = cgroup_needs(&b->limits) & (n->cgroups.controllers | CGROUP_CPUACCT);
        if (!n->config.private || watched) /* to be frozen, and counted */
                controllers |= CGROUP_CPUACCT;
        if (controllers && tell_janitor(n, e) < 0)
                return -(int)e->code;
        snprintf(name, sizeof(name), "creto-%d-%u", getpid(), ++n->serial);
        n->grouped |= controllers != 0;
        return cgroup_create(&n->cgroups, &b->group, name, controllers, e);
}

static int send_order(struct nest *n, struct nest_box *b, int sock, const int *doors, int door_count, struct err *e)
{
        int fds[SOCK_FDS_MAX] = { sock };
        auto_fd group = cgroup_clone_fd(&n->cgroups, &b->group);
        size_t count = 1;
        struct zygote_make make = {
                .flags = (n->config.user ? ZYGOTE_USER : 0U) | (b->limits.value[LIMIT_MEMORY] == LIMIT_UNLIMITED ? ZYGOTE_MEMORY : 0U) |
                         (b->want.own_ids ? ZYGOTE_OWN_IDS : 0U) | (b->want.flags & IPC_SPAWN_BACKGROUND ? ZYGOTE_BACKGROUND : 0U) |
                         (b->want.flags & IPC_SPAWN_BESIDE ? ZYGOTE_BESIDE : 0U) | (b->want.flags & IPC_SPAWN_KVM ? ZYGOTE_KVM : 0U),
                .doors = (uint32_t)door_count,
                .layers = b->image ? b->image->count : b->root >= 0,
                .uid = b->want.uid,
                .first = n->config.user ? 0 : space_slot_uid((unsigned)b->slot),
                .disk_bytes = b->limits.value[LIMIT_DISK],
                .disk_inodes = b->limits.value[LIMIT_INODES],
        };

        if (group >= 0) {
                make.flags |= ZYGOTE_CGROUP;
                fds[count++] = group;
        }
        if (n->disk.loop) {
                make.flags |= ZYGOTE_DISK;
                fds[count++] = n->disk.state;
        }
        for (int i = 0; i < door_count; i++)
                fds[count++] = doors[i];
        for (uint32_t i = 0; i < make.layers; i++)
                fds[count++] = b->image ? b->image->layers[i]->fd : b->root;
        if (nest_ensure_zygote(n, e) < 0 || (b->group.used && tell_janitor(n, e) < 0)) /* a new one knows nothing yet */
                return -(int)e->code;
        return sock_send(n->zygote, &make, sizeof(make), fds, count) < 0 ? err_sys(e, "the zygote is gone") : 0;
}

/* The zygote and the embryo work while we go on. */
static int order_embryo(struct nest *n, struct nest_box *b, struct err *e)
{
        int ends[2], doors[CGROUP_TREES_MAX];

        if (sock_pair(SOCK_SEQPACKET, ends) < 0 || sock_name_senders(ends[0], true) < 0)
                return err_sys(e, "cannot make a socket");
        b->sock = ends[0];
        int count = cgroup_doors(&n->cgroups, &b->group, doors, e);
        int r = count < 0 ? count : send_order(n, b, ends[1], doors, count, e);
        close(ends[1]);
        while (count > 0)
                close(doors[--count]);
        fd_close(&b->root);
        return r;
}

/* ---- the order in which they are made ---- */

/* Like an order of the default kind. A background one is never in such a hurry that it takes what was made for others. */
static struct nest_box *find_prepared(struct nest *n, const struct nest_want *w, const struct limits *l)
{
        bool usual = w->uid == DEFAULT_UID && w->flags == 0 && w->class->driver == CLASS_NATIVE;

        for (struct nest_box *b = n->boxes; b && usual && n->count[NEST_PREPARED] > 0; b = b->next)
                if (b->state == NEST_PREPARED && b->limits.value[LIMIT_DISK] == l->value[LIMIT_DISK] &&
                    b->limits.value[LIMIT_INODES] == l->value[LIMIT_INODES])
                        return b;
        return NULL;
}

struct nest_box *nest_order(struct nest *n, const char *id, const struct nest_want *want, const struct limits *l, int root,
                            struct image_hold *image, struct err *e)
{
        struct nest_box *b = root < 0 && !image ? find_prepared(n, want, l) : NULL;

        if (b && memcmp(b->limits.value, l->value, sizeof(l->value)) != 0 && nest_write_limits(n, b, l, e) < 0)
                return NULL;
        if (!b && !(b = add_box(n, l))) {
                err_set(e, ERR_RESOURCE_EXHAUSTED, 0, "too many sandboxes wait to be made");
                return NULL;
        }
        b->want = *want;
        b->limits.wanted = l->wanted;
        b->root = root;
        b->image = image;
        snprintf(b->id, sizeof(b->id), "%s", id);
        return b;
}

struct nest_box *nest_prepare(struct nest *n)
{
        struct limits l;

        for (const struct nest_box *b = n->boxes; b; b = b->next)
                if (b->id[0] == '\0' && (b->state == NEST_WAITING || b->state == NEST_MAKING))
                        return NULL; /* one at a time */
        if (n->count[NEST_PREPARED] >= n->config.prepared)
                return NULL;
        limits_default(&l);
        struct nest_box *b = add_box(n, &l);
        if (b)
                b->want = (struct nest_want){ .uid = DEFAULT_UID, .flags = IPC_SPAWN_BACKGROUND };
        return b;
}

struct nest_box *nest_next(struct nest *n, bool background)
{
        unsigned most = background ? n->making_max : 2 * n->making_max;
        struct nest_box *oldest = NULL;

        if (n->count[NEST_MAKING] < most && n->count[NEST_WAITING] > 0)
                for (struct nest_box *b = n->boxes; b; b = b->next)
                        if (b->state == NEST_WAITING && (b->want.flags & IPC_SPAWN_BACKGROUND) == background)
                                oldest = b;
        return oldest;
}

static int native_begin(struct nest *n, struct nest_box *b, struct err *e)
{
        const struct limits l = b->limits;

        return nest_begin_box(n, b, false, e) < 0 || nest_write_limits(n, b, &l, e) < 0 || order_embryo(n, b, e) < 0 ? -(int)e->code : 0;
}

static int native_hear(struct nest *n, struct nest_box *b, struct err *e)
{
        (void)n;

        struct embryo_report r;
        pid_t sender;
        ssize_t got = sock_recv_from(b->sock, &r, sizeof(r), &sender);

        if (got < 0 && errno == EAGAIN)
                return 1;
        if (got != (ssize_t)sizeof(r))
                return err_set(e, ERR_INTERNAL_ERROR, 0, "the sandbox ended while it was made");
        if (r.stage == EMBRYO_BORN) {
                b->pid = sender;
                b->pidfd = sys_pidfd_open(sender);
                sock_name_senders(b->sock, false);
                return b->pidfd < 0 ? err_sys(e, "cannot watch the sandbox") : 1;
        }
        if (r.stage == EMBRYO_READY)
                return 0;
        *e = r.err;
        return -(int)e->code;
}

/* ---- sending one off ---- */

void nest_machine_id(char out[34])
{
        uint8_t raw[16] = { 0 };

        if (getrandom(raw, sizeof(raw), 0) != (ssize_t)sizeof(raw))
                abort();
        str_hex(raw, sizeof(raw), out);
        strcpy(out + 2 * sizeof(raw), "\n");
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
                            .pid_start = proc_start_time(b->pid),
                            .started_ms = b->started_ms };

        memcpy(r.id, b->id, sizeof(r.id));
        if (b->group.used)
                memcpy(r.group, b->group.name, sizeof(r.group));
        memcpy(r.limits, b->limits.value, sizeof(r.limits));
        return record_write(&n->kept, &r, e);
}

int nest_keep(struct nest *n, struct nest_box *b, int *hold, struct err *e)
{
        b->started_ms = clock_ms(CLOCK_BOOTTIME);
        *hold = space_slot_hold(&n->slots, b->slot, e);
        return *hold < 0 ? *hold : nest_write_record(n, b, e);
}

void nest_fill_boot(const struct nest *n, const struct nest_box *b, uint32_t flags, struct boot_config *c)
{
        boot_fill(c, (n->config.user ? BOOT_ONE_UID : 0) | (n->config.private ? BOOT_DIE_ALONE : BOOT_LISTEN | BOOT_SLOT) | flags,
                  &b->limits, nest_limits(n));
        c->default_uid = b->want.uid;
        c->default_gid = b->want.gid;
        snprintf(c->home, sizeof(c->home), "%s", b->want.home);
}

static int native_send_off(struct nest *n, struct nest_box *b, int *stream, struct err *e)
{
        struct embryo_go go = { .cgroup_ns = b->group.used, .one_uid = n->config.user };
        int ends[2];

        go.init_id = n->config.user ? b->want.uid : SPACE_INIT_ID;
        memcpy(go.hostname, b->want.hostname, sizeof(go.hostname));
        nest_machine_id(go.machine_id);
        nest_fill_boot(n, b, BOOT_FILTER, &go.boot);
        if (nest_make_stream(n, b->id, ends, e) < 0)
                return -(int)e->code;
        int fds[] = { ends[1], n->init_exe, -1 };
        size_t count = 2;
        int r = 0;
        if (!n->config.private && (r = nest_keep(n, b, &fds[2], e)) == 0)
                count = 3;
        if (r == 0 && sock_send(b->sock, &go, sizeof(go), fds, count) < 0)
                r = err_sys(e, "the sandbox ended before it was started");
        fd_close(&fds[2]);
        close(ends[1]);
        if (r < 0) {
                close(ends[0]);
                return r;
        }
        *stream = ends[0];
        return 0;
}

/* ---- whichever makes it ---- */

static const struct driver native_driver = { native_begin, native_hear, native_send_off, NULL };
static const struct driver *const drivers[CLASS_DRIVERS] = {
        [CLASS_NATIVE] = &native_driver, [CLASS_OCI] = &oci_driver, [CLASS_CONTAINERD] = &oci_driver
};

static const struct driver *driver_of(const struct nest_box *b)
{
        return drivers[b->want.class ? b->want.class->driver : CLASS_NATIVE];
}

int nest_begin(struct nest *n, struct nest_box *b, struct err *e)
{
        set_state(n, b, NEST_MAKING);
        return driver_of(b)->begin(n, b, e);
}

int nest_hear(struct nest *n, struct nest_box *b, struct err *e)
{
        int r = driver_of(b)->hear(n, b, e);

        if (r == 0)
                set_state(n, b, NEST_PREPARED);
        return r;
}

int nest_send_off(struct nest *n, struct nest_box *b, int *stream, struct err *e)
{
        int r = driver_of(b)->send_off(n, b, stream, e);

        if (r == 0)
                set_state(n, b, NEST_RUNNING);
        return r;
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

/* ---- afterwards ---- */

struct nest_box *nest_find(struct nest *n, const char *id)
{
        for (struct nest_box *b = n->boxes; b; b = b->next)
                if (*id && strcmp(b->id, id) == 0)
                        return b;
        return NULL;
}

void nest_kill(struct nest *n, struct nest_box *b)
{
        if (b->pidfd < 0)
                return;
        sys_pidfd_send_signal(b->pidfd, SIGKILL);
        set_state(n, b, NEST_DYING);
}

void nest_disown(struct nest *n, struct nest_box *b)
{
        record_remove(&n->kept, b->id);
        b->id[0] = '\0';
        b->unwanted = true;
        nest_kill(n, b);
}

int nest_attach(struct nest *n, const struct nest_box *box, struct err *e)
{
        if (n->config.private)
                return err_set(e, ERR_NOT_SUPPORTED, 0, "a private sandbox has one stream only");
        return record_connect(&n->kept, box->id, e);
}

static int limit_box(struct nest *n, struct nest_box *b, const struct limits *to, struct err *e)
{
        struct limits before = b->limits, l = *to;
        struct err ignored;

        if (before.value[LIMIT_PIDS] == LIMIT_NO_PIDS && limits_wanted(to, LIMIT_PIDS)) {
                err_set(e, ERR_NOT_SUPPORTED, 0, "pids: the runtime class of '%s' cannot limit them", b->id);
                return err_hint(e, "leave the limit out: what forks without end is ended by its memory limit");
        }
        if (before.value[LIMIT_PIDS] == LIMIT_NO_PIDS)
                l.value[LIMIT_PIDS] = LIMIT_NO_PIDS;
        int r = cgroup_can_limit(&n->cgroups, &b->group, cgroup_needs(&l) & n->cgroups.controllers, e);
        if (r == 0)
                r = nest_write_limits(n, b, &l, e);
        if (r == 0 && !n->config.private)
                r = nest_write_record(n, b, e);
        if (r < 0)
                nest_write_limits(n, b, &before, &ignored);
        return r;
}

static int change_box(struct nest *n, struct nest_box *b, const struct nest_errand *what, struct err *e)
{
        return what->type == IPC_LIMIT ? limit_box(n, b, &what->limits, e) : cgroup_freeze(&n->cgroups, &b->group, what->frozen, e);
}

/* Memory that is in use has to be taken back first. */
static bool is_quick(struct nest *n, struct nest_box *b, const struct nest_errand *what)
{
        uint64_t memory = what->limits.value[LIMIT_MEMORY];

        if (what->type != IPC_LIMIT || memory >= b->limits.value[LIMIT_MEMORY])
                return what->type == IPC_LIMIT;
        nest_read_usage(n, b);
        return b->usage.memory < memory;
}

int nest_change(struct nest *n, struct nest_box *b, const struct nest_errand *what, struct err *e)
{
        struct err failure = { .code = ERR_NONE };
        int ends[2];

        if (b->errand.sock >= 0)
                return err_set(e, ERR_SANDBOX_NOT_READY, 0, "'%s' is being changed already", b->id);
        if (is_quick(n, b, what))
                return change_box(n, b, what, e);
        if (sock_pair(SOCK_SEQPACKET, ends) < 0)
                return err_sys(e, "cannot make a socket");
        b->errand = *what;
        b->errand.sock = ends[0];
        b->errand.pid = fork();
        if (b->errand.pid == 0) {
                prctl(PR_SET_PDEATHSIG, SIGKILL);
                change_box(n, b, what, &failure);
                sock_send(ends[1], &failure, sizeof(failure), NULL, 0);
                _exit(0);
        }
        close(ends[1]);
        return 1;
}

int nest_changed(struct nest *n, struct nest_box *b, struct err *e)
{
        bool answered = recv(b->errand.sock, e, sizeof(*e), MSG_DONTWAIT) == (ssize_t)sizeof(*e);

        if (b->errand.pid > 0) {
                kill(b->errand.pid, SIGKILL);
                waitpid(b->errand.pid, NULL, 0);
        }
        fd_close(&b->errand.sock);
        if (!answered)
                return err_set(e, ERR_SANDBOX_NOT_FOUND, 0, "'%s' ended before it was changed", b->id);
        if (e->code != ERR_NONE)
                return -(int)e->code;
        if (b->limits.value[LIMIT_PIDS] == LIMIT_NO_PIDS)
                b->errand.limits.value[LIMIT_PIDS] = LIMIT_NO_PIDS;
        if (b->errand.type == IPC_LIMIT)
                b->limits = b->errand.limits;
        else
                b->frozen = b->errand.frozen;
        return 0;
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

        if (b->sock >= 0 && recv(b->sock, &r, sizeof(r), MSG_DONTWAIT) == (ssize_t)sizeof(r) && r.stage == EMBRYO_FAILED)
                memcpy(b->complaint, r.err.msg, sizeof(b->complaint));
        b->complaint[sizeof(b->complaint) - 1] = '\0';
}

void nest_reap(struct nest *n, struct nest_box *b)
{
        siginfo_t info = { 0 };

        if (b->pidfd < 0)
                return;
        if (b->adopted) /* not our child: waitid() would not wait */
                fd_readable(b->pidfd, -1);
        while (waitid((idtype_t)3 /* P_PIDFD */, (id_t)b->pidfd, &info, WEXITED | __WALL) < 0 && errno == EINTR)
                ;
        b->status = b->adopted ? -1 : info.si_code == CLD_EXITED ? (info.si_status & 0xff) << 8 : info.si_status & 0x7f;
        nest_read_usage(n, b);
        read_complaint(b);
        fd_close(&b->pidfd);
}

bool nest_clear(struct nest *n, struct nest_box *b)
{
        if (b->state == NEST_DEAD)
                return true;
        set_state(n, b, NEST_CLEARING);
        oci_job_free(b);
        fd_close(&b->sock);
        fd_close(&b->root);
        fd_close(&b->engine);
        if (!cgroup_destroy(&n->cgroups, &b->group) && ++b->tries < CLEAR_TRIES)
                return false;
        image_let_go(b->image);
        b->image = NULL;
        record_remove(&n->kept, b->id);
        space_slot_give(&n->slots, b->slot);
        b->slot = -1;
        set_state(n, b, NEST_DEAD);
        return true;
}

void nest_sweep(struct nest *n)
{
        if (n->sweeps > 0)
                n->sweeps = cgroup_sweep(&n->cgroups, 0) > 0 ? n->sweeps - 1 : 0;
}

void nest_forget(struct nest *n, struct nest_box *box)
{
        for (struct nest_box **at = &n->boxes; *at; at = &(*at)->next) {
                if (*at != box)
                        continue;
                *at = box->next;
                n->count[box->state]--;
                free(box);
                return;
        }
}
