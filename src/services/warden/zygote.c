#include "services/warden/zygote.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/ns.h"
#include "base/sock.h"
#include "base/sys.h"
#include "services/warden/parts/cgroup.h"
#include "services/warden/parts/mnt.h"
#include "services/warden/parts/space.h"

/*
 * Every process of a sandbox inherits this: it goes before the rest of the host when memory is short, and where the sandbox's own is, the
 * largest goes, which creto-init is not. Set by root it is also the least that any of them may set for itself.
 */
#define OOM_FIRST "1000"

enum { JANITOR_TRIES = 500, JANITOR_PAUSE_MS = 10, TTY_GROUP = 5, NICE_BACKGROUND = 5 };

struct zygote {
        bool user;
        bool private;
        pid_t warden;
        int home_mounts;           /* the warden's mount namespace */
        int home_net;              /* where we come back to, when we were in */
        bool ahead;                /* the network namespace that the next embryo is to have */
        struct cgroup_host groups; /* the janitor's; only directories are known of it */
};

/* What came along with a zygote_make; -1 where it did not. */
struct parts {
        int sock, cgroup, disk;
        const int *doors, *layers;
        int maker[2]; /* the embryo's end and the maker's */
};

static void report(int sock, enum embryo_stage stage, const struct err *e)
{
        struct embryo_report r = { .stage = stage };

        if (e)
                r.err = *e;
        sock_send(sock, &r, sizeof(r), NULL, 0);
}

/* What takes longer to make arrives while we mount the rest. */
static int take_parts(int maker, bool image, struct mnt_own *own, int *userns, struct err *e)
{
        struct embryo_report r;
        int fds[3];
        size_t count = 3;
        ssize_t n = sock_recv(maker, &r, sizeof(r), fds, &count);

        if (n == (ssize_t)sizeof(r) && r.stage == EMBRYO_FAILED) {
                *e = r.err;
                return -(int)e->code;
        }
        if (n != (ssize_t)sizeof(r) || count != (image ? 3U : 2U))
                return err_set(e, ERR_INTERNAL_ERROR, 0, "its maker ended before it had made its disk");
        *userns = fds[0];
        own->disk = fds[1];
        own->root = count == 3 ? fds[2] : -1;
        return 0;
}

/* By its own act, and having one thread, it waits for no other process of the host to be between two forks. */
static int enter_groups(const struct zygote_make *make, const struct parts *p, struct err *e)
{
        for (uint32_t i = 0; i < make->doors; i++)
                if (write(p->doors[i], "0", 1) != 1)
                        return err_sys(e, "cgroup: the sandbox cannot enter its group");
        return 0;
}

static int build(const struct zygote *z, const struct zygote_make *make, const struct parts *p, int *userns, struct err *e)
{
        struct mnt_own own = { .user = make->flags & ZYGOTE_USER, .root = -1, .disk = -1, .tty_gid = UINT32_MAX };
        bool image = make->layers > 0, root = image && !(make->flags & ZYGOTE_BESIDE);

        if (!own.user)
                own.tty_gid = make->first + TTY_GROUP;
        if (unshare(CLONE_NEWNS | CLONE_NEWIPC | CLONE_NEWUTS | (z->ahead ? 0 : CLONE_NEWNET)) < 0)
                return err_sys(e, "cannot make a sandbox's namespaces");
        if ((!z->ahead && ns_lo_up(e) < 0) || (!root && mnt_build_own(&own, e) < 0))
                return -(int)e->code;
        if (take_parts(p->maker[0], image, &own, userns, e) < 0 || (root && mnt_build_own(&own, e) < 0))
                return -(int)e->code;
        if (image && !root && mnt_add_beside(&own, e) < 0)
                return -(int)e->code;
        if (make->flags & ZYGOTE_KVM && mnt_add_kvm(e) < 0)
                return -(int)e->code;
        return mnt_add_disk(&own, e) < 0 ? -(int)e->code : enter_groups(make, p, e);
}

_Noreturn static void embryo_main(const struct zygote *z, const struct zygote_make *make, const struct parts *p)
{
        struct err e;
        int userns = -1;

        close(ZYGOTE_FD_SOCK); /* else the warden would not hear of the zygote's end */
        close(z->home_mounts);
        close(z->home_net);
        close(p->maker[1]);
        report(p->sock, EMBRYO_BORN, NULL);
        prctl(PR_SET_NAME, "creto-embryo");
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        signal(SIGCHLD, SIG_DFL);
        if (make->flags & ZYGOTE_BACKGROUND)
                setpriority(PRIO_PROCESS, 0, NICE_BACKGROUND);
        if (build(z, make, p, &userns, &e) < 0) {
                report(p->sock, EMBRYO_FAILED, &e);
                _exit(1);
        }
        setpriority(PRIO_PROCESS, 0, getpriority(PRIO_PROCESS, 0) - (make->flags & ZYGOTE_BACKGROUND ? NICE_BACKGROUND : 0));
        report(p->sock, EMBRYO_READY, NULL);
        embryo_run(p->sock, userns);
}

static void start_maker(const struct zygote *z, const struct zygote_make *make, const struct parts *p)
{
        const struct maker_fds fds = { .out = p->maker[1], .mounts = z->home_mounts, .disk = p->disk, .layers = p->layers };

        if (fork() != 0)
                return; /* where there is none, the embryo hears its end */
        close(ZYGOTE_FD_SOCK);
        close(p->sock);
        close(p->maker[0]);
        if (make->flags & ZYGOTE_BACKGROUND)
                setpriority(PRIO_PROCESS, 0, NICE_BACKGROUND);
        maker_run(make, &fds);
}

static int make_embryo(struct zygote *z, const struct zygote_make *make, struct parts *p)
{
        struct clone_args args = {
                .flags = CLONE_NEWPID | CLONE_PARENT, .exit_signal = 0, /* CLONE_PARENT: as for us, the warden is told */
        };

        if (make->flags & ZYGOTE_CGROUP) {
                args.flags |= CLONE_INTO_CGROUP;
                args.cgroup = (uint64_t)p->cgroup;
        }
        if (sock_pair(SOCK_SEQPACKET, p->maker) < 0)
                return -1;
        start_maker(z, make, p);
        pid_t pid = sys_clone3(&args);
        if (pid == 0)
                embryo_main(z, make, p);
        close(p->maker[0]);
        close(p->maker[1]);
        if (z->ahead && setns(z->home_net, CLONE_NEWNET) < 0)
                _exit(1); /* we must never stay in a sandbox's namespace */
        z->ahead = false;
        return pid < 0 ? -1 : 0;
}

static bool sort_parts(const struct zygote_make *make, const int *fds, size_t count, struct parts *p)
{
        size_t at = 1;

        *p = (struct parts){ .sock = fds[0], .cgroup = -1, .disk = -1 };
        if (make->flags & ZYGOTE_CGROUP)
                p->cgroup = fds[at++];
        if (make->flags & ZYGOTE_DISK)
                p->disk = fds[at++];
        p->doors = &fds[at];
        p->layers = &fds[at + make->doors];
        return count == at + make->doors + make->layers;
}

/* Takes one request. False where the warden is gone, or what came is not one. */
static bool serve_one(struct zygote *z)
{
        struct zygote_make make;
        int fds[SOCK_FDS_MAX];
        size_t count = SOCK_FDS_MAX;
        struct parts p;
        struct err e;
        ssize_t n = sock_recv(ZYGOTE_FD_SOCK, &make, sizeof(make), fds, &count);

        if (n != (ssize_t)sizeof(make))
                return false;
        if (make.flags == ZYGOTE_SWEEP && z->groups.count == 0 && count <= CGROUP_TREES_MAX) {
                while (z->groups.count < count) {
                        z->groups.trees[z->groups.count].base = fds[z->groups.count];
                        z->groups.count++;
                }
                return true;
        }
        if (!sort_parts(&make, fds, count, &p))
                return false;
        if (make_embryo(z, &make, &p) < 0) {
                err_sys(&e, "cannot make a sandbox's first process");
                report(p.sock, EMBRYO_FAILED, &e);
        }
        for (size_t i = 0; i < count; i++)
                close(fds[i]);
        return true;
}

/* Runs after the end of a private warden, however it ended: its sandboxes are dying with it; their groups can be removed once they are. */
static void clean_up(const struct zygote *z)
{
        for (int i = 0; i < JANITOR_TRIES && cgroup_sweep(&z->groups, z->warden) > 0; i++)
                nanosleep(&(struct timespec){ .tv_nsec = JANITOR_PAUSE_MS * 1000000L }, NULL);
}

int zygote_main(char **argv)
{
        struct zygote z = { .home_mounts = open("/proc/self/ns/mnt", O_RDONLY | O_CLOEXEC) };
        struct err e = { 0 };

        for (int i = 0; i < 6; i++)
                if (!argv[i])
                        return 2;
        z.user = strcmp(argv[2], "user") == 0;
        z.private = strcmp(argv[3], "private") == 0;
        z.warden = (pid_t)strtol(argv[4], NULL, 10);
        int scored = fd_write_file(AT_FDCWD, "/proc/self/oom_score_adj", OOM_FIRST);
        prctl(PR_SET_DUMPABLE, 0);
        prctl(PR_SET_NAME, "creto-zygote");
        umask(0); /* what we make has the mode we say */
        setsid(); /* a ^C at the terminal is the command's, not ours */
        fcntl(ZYGOTE_FD_SOCK, F_SETFD, FD_CLOEXEC);
        fcntl(ZYGOTE_FD_SLOTS, F_SETFD, FD_CLOEXEC);
        /* To come back to a namespace one must own it; an ordinary user does not own the host's. */
        if (z.user && unshare(CLONE_NEWNET) < 0)
                return 1;
        z.home_net = open("/proc/self/ns/net", O_RDONLY | O_CLOEXEC);
        signal(SIGCHLD, SIG_IGN); /* nobody asks how a maker ended */
        if (scored < 0 || z.home_mounts < 0)
                err_sys(&e, "zygote: no /proc");
        if (scored < 0 || z.home_mounts < 0 || mnt_enter_template(z.user, strcmp(argv[5], "kvm") == 0, &e) < 0) {
                fd_write_all(STDERR_FILENO, e.msg, strlen(e.msg));
                fd_write_all(STDERR_FILENO, "\n", 1);
                return 1;
        }
        if (z.private && z.home_net >= 0 && unshare(CLONE_NEWNET) == 0) /* there is time, and the first one is waited for */
                z.ahead = ns_lo_up(&e) == 0;
        while (serve_one(&z))
                ;
        if (z.private)
                clean_up(&z);
        return 0;
}
