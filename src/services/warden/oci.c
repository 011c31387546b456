#include "services/warden/oci.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/timerfd.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/fd.h"
#include "base/mount.h"
#include "base/ns.h"
#include "base/proc.h"
#include "base/sock.h"
#include "base/str.h"
#include "base/sys.h"
#include "domain/boot.h"
#include "services/warden/driver.h"
#include "services/warden/engine.h"
#include "services/warden/parts/mnt.h"
#include "services/warden/program.h"
#include "wire/oci.h"

enum {
        ENGINE_MS = 20000,
        LOOK_MS = 2, /* how often creto-init's socket is looked for */
        INIT_NOFILE = 4096,
        BUNDLE_BYTES = 4 << 20,
        BUNDLE_FILES = 512, /* the root of who uses the host's /usr is in there */
        SOCKET_DIR_BYTES = 65536,
        SOCKET_DIR_FILES = 8,
        CONFIG_MAX = 16384,
        WORD_MAX = 200,
        EXIT_STAGE = 125, /* the child said why before there was an engine */
};

void oci_job_free(struct nest_box *b)
{
        if (!b->job)
                return;
        fd_close(&b->job->timer);
        fd_close(&b->job->bundle);
        fd_close(&b->job->stream);
        fd_close(&b->job->socket_dir);
        fd_close(&b->job->told);
        for (int i = 0; i < SHIM_FDS; i++)
                fd_close(&b->job->shim[i]);
        free(b->job);
        b->job = NULL;
}

/* What the child of a moment makes an engine of. */
struct call {
        struct nest *n;
        struct nest_box *b;
        int disk, root, failed; /* what make_parts() has made, or returned */
        int exe, boot, slot, sandbox_stream, out;
        int socket_dir; /* as the job's, to be mounted */
        int told[2];    /* an ordinary user's: how it ended */
        uint32_t first; /* the sandbox's id 0 */
        bool user, gvisor, old;
        bool shim;                    /* not from us: from a shim */
        char behind[ENGINE_PATH_MAX]; /* what that calls */
        struct err why;
};

static void call_release(struct call *c)
{
        fd_close(&c->disk);
        fd_close(&c->root);
        fd_close(&c->exe);
        fd_close(&c->boot);
        fd_close(&c->slot);
        fd_close(&c->sandbox_stream);
        fd_close(&c->out);
        fd_close(&c->socket_dir);
        fd_close(&c->told[1]);
}

/* ---- the bundle ---- */

static int put_config(int dir, const struct call *c, struct err *e)
{
        static char text[CONFIG_MAX];
        struct wbuf w = wbuf_over(text, sizeof(text));
        struct rlimit files;
        struct oci_config config = { .hostname = c->b->want.hostname,
                                     .first_id = c->first,
                                     .ids = c->user ? 1 : SPACE_IDS,
                                     .nofile = INIT_NOFILE,
                                     .own_network = c->gvisor,
                                     .root_as_it_is = c->gvisor,
                                     .start_as_root = c->gvisor,
                                     .socket_dir = c->gvisor && !c->shim };

        if (getrlimit(RLIMIT_NOFILE, &files) == 0 && files.rlim_max < config.nofile)
                config.nofile = files.rlim_max;
        oci_config_put(&w, &config);
        if (w.bad)
                return err_set(e, ERR_INTERNAL_ERROR, 0, "bundle: the configuration is larger than %d bytes", CONFIG_MAX);
        auto_fd fd = fd_new_file(dir, "config.json", 0444, text, w.len);
        return fd < 0 ? err_sys(e, "bundle: cannot write the configuration") : 0;
}

/* Everything by which a shim, its container and creto-shim meet. */
static int fill_for_shim(int at, const struct call *c, struct err *e)
{
        const struct record_dirs here = { -1, at };
        char script[CLASS_TEXT_MAX];
        int *fds = c->b->job->shim;

        if ((fds[SHIM_FD_LOG] = fd_new_fifo(at, "log")) < 0 || (fds[SHIM_FD_IN] = fd_new_fifo(at, "stdin")) < 0 ||
            (fds[SHIM_FD_OUT] = fd_new_fifo(at, "stdout")) < 0)
                return err_sys(e, "bundle: cannot make fifos");
        size_t len = class_runtime_script(c->b->want.class, c->behind, c->old, script);
        auto_fd fd = fd_new_file(at, "engine", 0755, script, len);
        if (fd < 0)
                return err_sys(e, "bundle: cannot write a script");
        fds[SHIM_FD_SAID] = fcntl(c->out, F_DUPFD_CLOEXEC, 3);
        fds[SHIM_FD_SINK] = record_listen(&here, "events", e);
        return fds[SHIM_FD_SINK] < 0 ? fds[SHIM_FD_SINK] : 0;
}

static int fill_bundle(int at, struct call *c, struct err *e)
{
        static const char *const dirs[] = { "rootfs", "disk", "guest", "run" };

        for (size_t i = 0; i < sizeof(dirs) / sizeof(dirs[0]); i++)
                if (mkdirat(at, dirs[i], 0755) < 0)
                        return err_sys(e, "bundle: cannot make %s", dirs[i]);
        auto_fd init = fd_new_file(at, "init", 0555, NULL, 0);
        c->out = fd_new_file(at, "out", 0600, NULL, 0);
        if (c->out < 0 || init < 0 || fd_copy(c->n->init_exe, init) < 0)
                return err_sys(e, "bundle: cannot write its files");
        if (c->shim && fill_for_shim(at, c, e) < 0)
                return -(int)e->code;
        return put_config(at, c, e);
}

/* Where creto-init of a gVisor makes its socket: a filesystem of its own, because what runs there could fill another. A service finds it again by its place. */
static int make_socket_dir(struct nest *n, struct nest_box *b, struct call *c, struct err *e)
{
        uint32_t owner = c->user ? 0 : c->first + SPACE_INIT_ID;
        auto_fd fd = mount_tmpfs(SOCKET_DIR_BYTES, SOCKET_DIR_FILES, e);

        if (fd < 0)
                return fd;
        if (fchown(fd, owner, owner) < 0 || fchmod(fd, 0700) < 0)
                return err_sys(e, "cannot give the socket's directory away");
        if (!n->config.private && record_mount(&n->kept, b->id, fd, e) < 0)
                return -(int)e->code;
        c->socket_dir = n->config.private ? fcntl(fd, F_DUPFD_CLOEXEC, 3)
                                          : sys_open_tree(fd, "", OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC | AT_EMPTY_PATH);
        b->job->socket_dir = take_fd(&fd);
        return c->socket_dir < 0 ? err_sys(e, "cannot pass on the socket's directory") : 0;
}

static int write_machine_id(int disk, struct err *e)
{
        char id[34];

        nest_machine_id(id);
        auto_fd fd = fd_new_file(disk, "run/machine-id", 0444, id, 33);
        return fd < 0 ? err_sys(e, "cannot write a machine id") : 0;
}

static int pack_boot(struct call *c, struct err *e)
{
        struct boot_config boot;

        nest_fill_boot(c->n, c->b, BOOT_NO_PARENT | (c->gvisor ? BOOT_BIND | BOOT_LISTEN | BOOT_OWN_KERNEL : BOOT_FILTER), &boot);
        boot.init_id = c->user ? c->b->want.uid : SPACE_INIT_ID;
        if (c->shim)
                boot_on_stdio(&boot, c->b->want.pids);
        if (c->shim && fd_write_all(c->b->job->shim[SHIM_FD_IN], &boot, sizeof(boot)) < 0)
                return err_sys(e, "cannot hand on the configuration");
        c->boot = fd_pipe_with(&boot, c->shim ? 0 : sizeof(boot));
        return c->boot < 0 ? err_sys(e, "cannot hand on the configuration") : 0;
}

/* ---- the child that becomes the engine ---- */

/* What takes time is made here. */
static int make_parts(struct call *c, struct err *e)
{
        const struct nest_box *b = c->b;
        const struct image_hold *image = b->image;
        const struct ns_map owners = { b->want.own_ids ? 0 : SPACE_IMAGE_UID, c->first, SPACE_IDS };
        int layers[IPC_LAYERS_MAX] = { b->root };

        c->disk = disk_make(&c->n->disk, b->limits.value[LIMIT_MEMORY] == LIMIT_UNLIMITED, b->limits.value[LIMIT_DISK],
                            b->limits.value[LIMIT_INODES], c->first, c->user ? 0 : c->first + b->want.uid, e);
        if (c->disk < 0 || write_machine_id(c->disk, e) < 0)
                return -(int)e->code;
        if (!image && b->root < 0)
                return 0;
        for (unsigned i = 0; image && i < image->count; i++)
                layers[i] = image->layers[i]->fd;
        auto_fd idmap = c->user ? -1 : ns_user(&owners, e);
        if (idmap < 0 && !c->user)
                return idmap;
        c->root = mnt_overlay(layers, image ? image->count : 1, idmap, e);
        return c->root < 0 ? c->root : 0;
}

/* Engines look for groups here, and make their own where they can. They see the hierarchy of version 2, which on some hosts is there already (EBUSY), and can make none. */
static int hide_groups(struct err *e)
{
        static const char at[] = "/sys/fs/cgroup";

        if ((mount("cgroup2", at, "cgroup2", MS_NOSUID | MS_NODEV | MS_NOEXEC, NULL) < 0 && errno != EBUSY) ||
            mount(NULL, at, NULL, MS_REMOUNT | MS_BIND | MS_RDONLY | MS_NOSUID | MS_NODEV | MS_NOEXEC, NULL) < 0)
                return err_sys(e, "cannot hide %s", at);
        return 0;
}

static int enter_bundle(const struct call *c, struct err *e)
{
        static const uint64_t sealed = MOUNT_ATTR_RDONLY | MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV | MOUNT_ATTR_NOEXEC;

        if (unshare(CLONE_NEWNS | CLONE_NEWNET | (c->user ? CLONE_NEWCGROUP : 0)) < 0 ||
            mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0)
                return err_sys(e, "cannot make namespaces");
        if (mount_at(c->b->job->bundle, "/tmp", e) < 0 || mount_at(c->disk, "/tmp/disk", e) < 0 ||
            (c->root >= 0 ? mount_at(c->root, "/tmp/rootfs", e) : mnt_host_root("/tmp/rootfs", e)) < 0 ||
            (c->socket_dir >= 0 && mount_at(c->socket_dir, "/tmp/guest", e) < 0) ||
            (c->user ? hide_groups(e) : mount_copy(c->n->cgroups.v2_mount, "/sys/fs/cgroup", sealed, e)) < 0) /* anew it waits some 10 ms */
                return -(int)e->code;
        if (c->shim && mount("/tmp/run", "/run", NULL, MS_BIND, NULL) < 0)
                return err_sys(e, "cannot hide /run");
        return ns_lo_up(e) < 0 ? -(int)e->code : chdir("/tmp") < 0 ? err_sys(e, "cannot enter the bundle") : 0;
}

static int enter_groups(const struct nest *n, const struct nest_box *b, struct err *e)
{
        int doors[CGROUP_TREES_MAX], count = cgroup_doors(&n->cgroups, &b->group, doors, e);
        auto_fd v2 = cgroup_clone_fd(&n->cgroups, &b->group);

        for (int i = 0; i < count; i++)
                if (write(doors[i], "0", 1) != 1)
                        return err_sys(e, "cannot enter a group");
        if (v2 < 0 && n->config.user)
                return count;
        if (v2 < 0) {
                err_set(e, ERR_NOT_SUPPORTED, 0, "there is no cgroup2 hierarchy");
                return err_hint(e, "mount -t cgroup2 none /sys/fs/cgroup/unified");
        }
        return count < 0 ? count : fd_write_file(v2, "cgroup.procs", "0") < 0 ? err_sys(e, "cannot enter the group") : 0;
}

static void *parts_beside(void *call)
{
        ((struct call *)call)->failed = make_parts(call, &((struct call *)call)->why);
        return NULL;
}

/* Both mostly wait for the kernel, and so are done at the same time. */
static int make_place(struct call *c, struct err *e)
{
        pthread_t beside;

        if (pthread_create(&beside, NULL, parts_beside, c) != 0)
                return err_set(e, ERR_RESOURCE_EXHAUSTED, 0, "cannot make a thread");
        int r = enter_groups(c->n, c->b, e);
        pthread_join(beside, NULL);
        return r < 0 ? r : (*e = c->why, c->failed);
}

/* Whatever an ordinary user's engine leaves behind ends with the first process there. A /proc that shows it is needed from here on. */
static int enter_pids(const struct call *c, struct err *e)
{
        proc_hold(c->told);
        if (unshare(CLONE_NEWNS) < 0 || mount("proc", "/proc", "proc", MS_NOSUID | MS_NODEV | MS_NOEXEC, NULL) < 0)
                return err_sys(e, "cannot mount a /proc for the engine");
        return 0;
}

/* Standard streams; then, for who can pass them on, the guest stream and the slot. */
_Noreturn static void become_engine(struct call *c)
{
        const int gvisor[] = { c->boot, c->out, c->slot >= 0 && !c->shim ? c->slot : c->out },
                  others[] = { c->boot, c->out, c->out, c->sandbox_stream, c->slot };
        int count = c->gvisor || c->shim ? 3 : c->slot >= 0 ? 5 : 4, exe = fd_high(c->exe);
        const char *argv[CLASS_ARGS_MAX];
        struct err e;

        prctl(PR_SET_PDEATHSIG, SIGKILL);
        setsid();
        if ((!c->user || enter_pids(c, &e) == 0) && make_place(c, &e) == 0 && enter_bundle(c, &e) == 0) {
                class_run_argv(c->b->want.class, c->b->id, (unsigned)count - 3, c->old, c->user, argv);
                if (exe >= 0 && fd_arrange(count == 3 ? gvisor : others, (size_t)count) == 0)
                        proc_exec(exe, count, argv, c->shim ? "TTRPC_ADDRESS=" SHIM_EVENTS : NULL);
                err_sys(&e, "cannot start the engine");
        }
        fd_write_all(c->out, e.msg, strlen(e.msg));
        _exit(EXIT_STAGE);
}

/* ---- starting ---- */

/* box->sock can be read when one of the two can. It is taken out by hand: a child of ours may have what we close. */
static int watch_in(const struct nest_box *b, int what, int fd, struct err *e)
{
        struct epoll_event ev = { .events = EPOLLIN };

        return epoll_ctl(b->sock, what, fd, &ev) < 0 ? err_sys(e, "cannot watch an engine") : 0;
}

static int prepare(struct nest *n, struct nest_box *b, struct call *c, struct err *e)
{
        int ends[2] = { -1, -1 };

        b->job->timer = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK);
        b->sock = epoll_create1(EPOLL_CLOEXEC);
        if (fd_set_timer(b->job->timer, ENGINE_MS) < 0 || watch_in(b, EPOLL_CTL_ADD, b->job->timer, e) < 0)
                return err_sys(e, "cannot make a timer");
        if (c->user && (pipe2(c->told, O_CLOEXEC | O_NONBLOCK) < 0 || watch_in(b, EPOLL_CTL_ADD, b->job->told = c->told[0], e) < 0))
                return err_sys(e, "cannot make a pipe");
        if (nest_begin_box(n, b, true, e) < 0)
                return -(int)e->code;
        c->first = c->user ? 0 : space_slot_uid((unsigned)b->slot);
        if ((b->job->bundle = mount_tmpfs(BUNDLE_BYTES, BUNDLE_FILES, e)) < 0 || fill_bundle(b->job->bundle, c, e) < 0 ||
            pack_boot(c, e) < 0)
                return -(int)e->code;
        if (!n->config.private && nest_keep(n, b, &c->slot, e) < 0)
                return -(int)e->code;
        if (c->gvisor && !c->shim)
                return make_socket_dir(n, b, c, e);
        if (nest_make_stream(n, b->id, ends, e) < 0)
                return -(int)e->code;
        b->job->stream = ends[0];
        c->sandbox_stream = ends[1];
        if (!c->shim)
                return 0;
        b->job->shim[SHIM_FD_GUEST] = take_fd(&c->sandbox_stream);
        b->job->shim[SHIM_FD_SLOT] = c->slot >= 0 ? take_fd(&c->slot) : fcntl(c->out, F_DUPFD_CLOEXEC, 3);
        return 0;
}

static int start(struct nest *n, struct nest_box *b, struct call *c, struct err *e)
{
        if (prepare(n, b, c, e) < 0)
                return -(int)e->code;
        auto_fd v2 = cgroup_clone_fd(&n->cgroups, &b->group);
        struct clone_args args = { .flags = (c->user ? CLONE_NEWPID : 0) | (v2 >= 0 ? CLONE_INTO_CGROUP : 0),
                                   .exit_signal = SIGCHLD,
                                   .cgroup = (uint64_t)(v2 >= 0 ? v2 : 0) };

        if (!n->strays && prctl(PR_SET_CHILD_SUBREAPER, 1) < 0)
                return err_sys(e, "cannot take over what engines leave");
        n->strays = true;
        b->pid = sys_clone3(&args);
        if (b->pid == 0)
                become_engine(c);
        if (b->pid < 0 || (b->pidfd = sys_pidfd_open(b->pid)) < 0)
                return err_sys(e, "cannot start an engine");
        fd_close(&b->root);
        fd_close(&b->engine);
        return watch_in(b, EPOLL_CTL_ADD, b->pidfd, e);
}

static int oci_begin(struct nest *n, struct nest_box *b, struct err *e)
{
        struct call c = { .n = n,
                          .b = b,
                          .disk = -1,
                          .root = -1,
                          .boot = -1,
                          .slot = -1,
                          .sandbox_stream = -1,
                          .out = -1,
                          .socket_dir = -1,
                          .told = { -1, -1 } };

        c.user = n->config.user;
        c.gvisor = class_maker(b->want.class) == ENGINE_GVISOR;
        c.shim = class_has_shim(b->want.class);
        c.exe = engine_ready(n, b->want.class, b->engine, &c.old, c.behind, e);
        if (c.exe < 0)
                return c.exe;
        b->job = calloc(1, sizeof(*b->job));
        if (b->job)
                *b->job = (struct nest_job){ .timer = -1,
                                             .bundle = -1,
                                             .stream = -1,
                                             .socket_dir = -1,
                                             .told = -1,
                                             .shim = { [0 ... SHIM_FDS - 1] = -1 },
                                             .end_ms = clock_ms(CLOCK_MONOTONIC) + ENGINE_MS };
        int r = b->job ? start(n, b, &c, e) : err_set(e, ERR_RESOURCE_EXHAUSTED, 0, "out of memory");
        call_release(&c);
        return r;
}

/* ---- going on ---- */

/* The last line of what the engine said is shown, and nothing else is made of it. */
static int complain(struct nest_box *b, const char *what, struct err *e)
{
        char text[4096] = "", words[WORD_MAX];

        fd_read_file(b->job->bundle, "out", text, sizeof(text));
        str_last_line(text, words, sizeof(words));
        err_set(e, ERR_BACKEND_UNAVAILABLE, 0, "runtime class '%s': its engine %s%s%s", b->want.class->name, what, words[0] ? ": " : "",
                words);
        return err_hint(e, "creto-runtime runtimes says which engine that is; try it by itself, or use another class");
}

static int read_pid(struct nest_box *b)
{
        char text[16];
        uint64_t pid;
        siginfo_t info;

        if (fd_read_file(b->job->bundle, "pid", text, sizeof(text)) <= 0 || !str_parse_u64(text, &pid) || pid < 2 || pid > INT32_MAX)
                return -1;
        return waitid(P_PID, (id_t)pid, &info, WEXITED | WNOHANG | WNOWAIT) < 0 ? -1 : (int)pid; /* a child of ours */
}

/* creto-shim: nobody, and the sandbox's end. */
_Noreturn static void become_shim(const struct nest *n, const struct nest_box *b, int exe)
{
        uint32_t id = space_slot_uid((unsigned)b->slot) + SPACE_INIT_ID;
        const char *argv[CLASS_ARGS_MAX];
        struct err e;

        exe = fd_high(exe);
        class_shim_argv(b->want.class, b->id, argv);
        setsid();
        if (enter_groups(n, b, &e) == 0 && setgroups(0, NULL) == 0 && setresgid(id, id, id) == 0 && setresuid(id, id, id) == 0 &&
            prctl(PR_SET_PDEATHSIG, n->config.private ? SIGKILL : 0) == 0 && fd_arrange(b->job->shim, SHIM_FDS) == 0)
                proc_exec(exe, SHIM_FDS, argv, NULL);
        _exit(EXIT_STAGE);
}

/* The shim has come up. */
static int start_shim(const struct nest *n, struct nest_box *b, struct err *e)
{
        auto_fd exe = program_open("shim");
        int *fds = b->job->shim;

        if (exe < 0)
                return err_set(e, ERR_BACKEND_UNAVAILABLE, errno, "cannot open creto-shim");
        if ((fds[SHIM_FD_TASK] = sock_connect_in(b->job->bundle, "run/containerd/s")) < 0)
                return complain(b, "ended without a socket", e);
        fds[SHIM_FD_READY] = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
        pid_t pid = fork();
        if (pid == 0)
                become_shim(n, b, exe);
        for (int i = 0; i < SHIM_FD_READY; i++)
                fd_close(&fds[i]);
        return pid < 0 ? err_sys(e, "cannot start creto-shim") : pid;
}

static int settle(struct nest *n, struct nest_box *b, struct err *e)
{
        const struct limits l = b->limits;

        b->job->done = true;
        if (nest_write_limits(n, b, &l, e) < 0) {
                e->code = e->code == ERR_SANDBOX_NOT_READY ? ERR_INVALID_SPEC : e->code;
                return err_hint(e, "the engine's own memory is the sandbox's too: give it more");
        }
        return n->config.private ? 0 : nest_write_record(n, b, e);
}

/* The engine has done its part, or has not. */
static int engine_step(struct nest *n, struct nest_box *b, struct err *e)
{
        siginfo_t info = { 0 };
        char what[64];

        if (b->job->shim[SHIM_FD_READY] >= 0 && !fd_readable(b->job->shim[SHIM_FD_READY], 0))
                return fd_readable(b->pidfd, 0) ? complain(b, "made no sandbox", e) : 1;
        if (b->job->shim[SHIM_FD_READY] >= 0)
                return settle(n, b, e);
        bool held = b->job->told >= 0 && read(b->job->told, &info, sizeof(info)) == (ssize_t)sizeof(info);
        if (!held && (waitid((idtype_t)3 /* P_PIDFD */, (id_t)b->pidfd, &info, WEXITED | WNOHANG) < 0 || info.si_pid == 0))
                return 1;
        if (info.si_code != CLD_EXITED || info.si_status != 0) {
                snprintf(what, sizeof(what), info.si_code == CLD_EXITED ? "ended with status %d" : "was killed by signal %d",
                         info.si_status);
                return complain(b, what, e);
        }
        bool shim = class_has_shim(b->want.class);
        int pid = shim ? start_shim(n, b, e) : !held ? read_pid(b) : info.si_pid ? b->pid : -1;
        int pidfd = pid < 0 ? -1 : sys_pidfd_open(pid);
        if (pidfd < 0)
                return shim && pid < 0 ? pid : complain(b, "ended without a sandbox", e);
        watch_in(b, EPOLL_CTL_DEL, b->pidfd, e);
        fd_close(&b->pidfd);
        b->pid = pid;
        b->pidfd = pidfd;
        if (watch_in(b, EPOLL_CTL_ADD, b->pidfd, e) < 0 || (shim && watch_in(b, EPOLL_CTL_ADD, b->job->shim[SHIM_FD_READY], e) < 0))
                return -(int)e->code;
        return shim ? 1 : settle(n, b, e);
}

/* gVisor: the sandbox makes its socket when it is there. */
static int stream_step(struct nest_box *b, struct err *e)
{
        struct err not_yet;

        if (b->job->stream < 0)
                b->job->stream = record_connect_at(b->job->socket_dir, &not_yet);
        if (b->job->stream >= 0)
                return 0;
        if (fd_readable(b->pidfd, 0))
                return complain(b, "made a sandbox that ended at once", e);
        return fd_set_timer(b->job->timer, LOOK_MS) < 0 ? err_sys(e, "cannot set a timer") : 1;
}

static int oci_hear(struct nest *n, struct nest_box *b, struct err *e)
{
        int r = b->job->done ? 0 : engine_step(n, b, e);

        if (r == 0)
                r = stream_step(b, e);
        if (r == 1 && clock_ms(CLOCK_MONOTONIC) >= b->job->end_ms)
                r = complain(b, "takes longer than 20 s", e);
        return r;
}

static int oci_send_off(struct nest *n, struct nest_box *b, int *stream, struct err *e)
{
        (void)n, (void)e;
        *stream = take_fd(&b->job->stream);
        oci_job_free(b);
        fd_close(&b->sock);
        return 0;
}

static int oci_check(struct nest *n, const struct runtime_class *class, struct err *e)
{
        bool old;
        char behind[ENGINE_PATH_MAX];
        auto_fd exe = engine_ready(n, class, -1, &old, behind, e);

        return exe < 0 ? exe : 0;
}

const struct driver oci_driver = { oci_begin, oci_hear, oci_send_off, oci_check };
