#include "services/warden/zygote.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/sock.h"
#include "base/sys.h"
#include "services/warden/parts/cgroup.h"
#include "services/warden/parts/mnt.h"

/*
 * Every process of a sandbox inherits this: it goes before the rest of the host when memory is short, and where the sandbox's own is, the
 * largest goes, which creto-init is not. Set by root it is also the least that any of them may set for itself.
 */
#define OOM_FIRST "1000"

enum { JANITOR_TRIES = 500, JANITOR_PAUSE_MS = 10 };

struct zygote {
        bool user;
        bool private;
        pid_t warden;
        int home_netns;
        struct cgroup_host groups; /* the janitor's; only directories are known of it */
};

/* What came along with a zygote_make, in its order. */
struct parts {
        int sock, netns, cgroup;
};

static void report(int sock, int ok, const struct err *e)
{
        struct embryo_report r = { .ok = ok };

        if (e)
                r.err = *e;
        sock_send(sock, &r, sizeof(r), NULL, 0);
}

/* What takes the warden longer to make arrives while we mount the rest. */
static int take_parts(int sock, bool image, struct mnt_own *own, int *userns, struct err *e)
{
        struct embryo_parts parts;
        int fds[3];
        size_t count = 3;
        ssize_t n = sock_recv(sock, &parts, sizeof(parts), fds, &count);

        if (n == 0)
                _exit(0); /* never needed */
        if (n != (ssize_t)sizeof(parts) || parts.image != image || count != (image ? 3U : 2U))
                return err_set(e, ERR_INTERNAL_ERROR, 0, "the warden sent something else");
        *userns = fds[0];
        own->disk = fds[1];
        own->root = count == 3 ? fds[2] : -1;
        return 0;
}

static int build(int sock, const struct zygote_make *make, int *userns, struct err *e)
{
        struct mnt_own own = { .user = make->flags & ZYGOTE_USER, .root = -1, .disk = -1, .tty_gid = make->tty_gid };
        bool image = make->flags & ZYGOTE_ROOT;

        if (!image && mnt_build_own(&own, e) < 0)
                return -(int)e->code;
        if (take_parts(sock, image, &own, userns, e) < 0)
                return -(int)e->code;
        if (image && mnt_build_own(&own, e) < 0)
                return -(int)e->code;
        return mnt_add_disk(&own, e);
}

_Noreturn static void embryo_main(const struct zygote_make *make, const struct parts *p)
{
        struct err e;
        int userns = -1;

        close(ZYGOTE_FD_SOCK); /* else the warden would not hear of the zygote's end */
        prctl(PR_SET_NAME, "creto-embryo");
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        if (build(p->sock, make, &userns, &e) < 0) {
                report(p->sock, 0, &e);
                _exit(1);
        }
        report(p->sock, 1, NULL);
        embryo_run(p->sock, userns);
}

static pid_t make_embryo(const struct zygote *z, const struct zygote_make *make, const struct parts *p)
{
        struct clone_args args = {
                .flags = CLONE_NEWNS | CLONE_NEWPID | CLONE_NEWIPC | CLONE_NEWUTS | CLONE_PARENT,
                .exit_signal = 0, /* CLONE_PARENT: as for us, the warden is told */
        };

        if (make->flags & ZYGOTE_CGROUP) {
                args.flags |= CLONE_INTO_CGROUP;
                args.cgroup = (uint64_t)p->cgroup;
        }
        if (setns(p->netns, CLONE_NEWNET) < 0)
                return -errno;
        pid_t pid = sys_clone3(&args);
        if (pid == 0)
                embryo_main(make, p);
        int failed = errno;
        if (setns(z->home_netns, CLONE_NEWNET) < 0)
                _exit(1); /* we must never stay in a sandbox's namespace */
        return pid < 0 ? -failed : pid;
}

/* Takes one request. False where the warden is gone, or what came is not one. */
static bool serve_one(struct zygote *z)
{
        struct zygote_make make;
        int fds[CGROUP_TREES_MAX];
        size_t count = CGROUP_TREES_MAX;
        ssize_t n = sock_recv(ZYGOTE_FD_SOCK, &make, sizeof(make), fds, &count);

        if (n <= 0)
                return false;
        if (n == (ssize_t)sizeof(make) && make.flags == ZYGOTE_SWEEP && z->groups.count == 0) {
                while (z->groups.count < count) {
                        z->groups.trees[z->groups.count].base = fds[z->groups.count];
                        z->groups.count++;
                }
                return true;
        }
        if (n != (ssize_t)sizeof(make) || count != (make.flags & ZYGOTE_CGROUP ? 3U : 2U))
                return false;
        struct parts p = { fds[0], fds[1], count == 3 ? fds[2] : -1 };
        struct zygote_made made = { .pid = make_embryo(z, &make, &p) };
        for (size_t i = 0; i < count; i++)
                close(fds[i]);
        return sock_send(ZYGOTE_FD_SOCK, &made, sizeof(made), NULL, 0) == 0;
}

/* Runs after the end of a private warden, however it ended: its sandboxes are dying with it; their groups can be removed once they are. */
static void clean_up(const struct zygote *z)
{
        for (int i = 0; i < JANITOR_TRIES && cgroup_sweep(&z->groups, z->warden) > 0; i++)
                nanosleep(&(struct timespec){ .tv_nsec = JANITOR_PAUSE_MS * 1000000L }, NULL);
}

int zygote_main(char **argv)
{
        struct zygote z = { .home_netns = -1 };
        struct err e = { 0 };

        for (int i = 0; i < 5; i++)
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
        z.home_netns = open("/proc/self/ns/net", O_RDONLY | O_CLOEXEC);
        if (scored < 0 || z.home_netns < 0 || mnt_enter_template(z.user, &e) < 0) {
                struct zygote_made failed = { .pid = -(errno ? errno : EIO) };

                fd_write_all(STDERR_FILENO, e.msg, strlen(e.msg));
                fd_write_all(STDERR_FILENO, "\n", 1);
                sock_send(ZYGOTE_FD_SOCK, &failed, sizeof(failed), NULL, 0);
                return 1;
        }
        while (serve_one(&z))
                ;
        if (z.private)
                clean_up(&z);
        return 0;
}
