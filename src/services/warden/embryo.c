/*
 * From embryo to creto-init: everything is given up here, in this order, and nothing is taken up again. The last step is the exec of a
 * sealed memory file, so that no file of the host is running inside.
 */
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <linux/capability.h>
#include <linux/securebits.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <string.h>
#include <sys/prctl.h>
#include <stdbool.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/sock.h"
#include "base/sys.h"
#include "services/warden/zygote.h"

enum { INIT_NOFILE = 4096, CAP_HIGHEST = 63 };

/* What creto-init keeps, inside its own user namespace only: to become the user of each command, and to signal it. */
static const unsigned kept_caps[] = { CAP_KILL, CAP_SETGID, CAP_SETUID, CAP_SETPCAP };

_Noreturn static void give_up(int sock, const char *what)
{
        struct embryo_report r = { .stage = EMBRYO_FAILED };

        err_sys(&r.err, "sandbox: cannot %s", what);
        sock_send(sock, &r, sizeof(r), NULL, 0);
        _exit(1);
}

static bool is_kept(unsigned cap)
{
        for (size_t i = 0; i < sizeof(kept_caps) / sizeof(kept_caps[0]); i++)
                if (kept_caps[i] == cap)
                        return true;
        return false;
}

static void become_init_user(int sock, const struct embryo_go *go)
{
        if (prctl(PR_SET_KEEPCAPS, 1) < 0)
                give_up(sock, "keep capabilities");
        if (!go->one_uid && setgroups(0, NULL) < 0)
                give_up(sock, "drop groups");
        if (setresgid(go->init_id, go->init_id, go->init_id) < 0 || setresuid(go->init_id, go->init_id, go->init_id) < 0)
                give_up(sock, "become the sandbox's user");
}

/* Becoming somebody else has taken back the order to die with the warden. One that was killed in between has hung up. */
static void stay_with_parent(int sock, const struct embryo_go *go)
{
        bool alone = go->boot.flags & BOOT_DIE_ALONE;
        struct pollfd p = { .fd = sock };

        prctl(PR_SET_PDEATHSIG, alone ? SIGKILL : 0);
        if (alone && poll(&p, 1, 0) > 0)
                _exit(1);
}

static void drop_capabilities(int sock)
{
        struct __user_cap_header_struct head = { .version = _LINUX_CAPABILITY_VERSION_3 };
        struct __user_cap_data_struct data[2] = { 0 };

        for (unsigned cap = 0; cap <= CAP_HIGHEST && prctl(PR_CAPBSET_READ, cap) >= 0; cap++)
                if (!is_kept(cap) && prctl(PR_CAPBSET_DROP, cap) < 0)
                        give_up(sock, "drop a capability");
        for (size_t i = 0; i < sizeof(kept_caps) / sizeof(kept_caps[0]); i++)
                data[kept_caps[i] / 32].permitted |= 1U << (kept_caps[i] % 32);
        for (int i = 0; i < 2; i++)
                data[i].effective = data[i].inheritable = data[i].permitted;
        if (syscall(SYS_capset, &head, data) < 0)
                give_up(sock, "drop capabilities");
        for (size_t i = 0; i < sizeof(kept_caps) / sizeof(kept_caps[0]); i++)
                if (prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE, kept_caps[i], 0, 0) < 0)
                        give_up(sock, "hand on capabilities");
}

static void limit_ourselves(int sock)
{
        struct rlimit files = { INIT_NOFILE, INIT_NOFILE }, old;

        if (getrlimit(RLIMIT_NOFILE, &old) == 0 && old.rlim_max < files.rlim_max)
                files = old;
        if (setrlimit(RLIMIT_NOFILE, &files) < 0)
                give_up(sock, "set limits");
}

_Noreturn void embryo_run(int sock, int userns)
{
        struct embryo_go go;
        int got[3];
        size_t count = 3;
        char *argv[] = { "creto-init", NULL };
        char *env[] = { NULL };

        if (sock_recv(sock, &go, sizeof(go), got, &count) != (ssize_t)sizeof(go) || count != (go.boot.flags & BOOT_SLOT ? 3U : 2U))
                _exit(0); /* never needed */
        if (go.cgroup_ns && unshare(CLONE_NEWCGROUP) < 0)
                give_up(sock, "make a cgroup namespace");
        if (sethostname(go.hostname, strlen(go.hostname)) < 0)
                give_up(sock, "set the host name");
        auto_fd id = fd_new_file(AT_FDCWD, "/run/machine-id", 0444, go.machine_id, strlen(go.machine_id));
        fd_close(&id);
        if (setns(userns, CLONE_NEWUSER) < 0)
                give_up(sock, "enter the user namespace");
        become_init_user(sock, &go);
        stay_with_parent(sock, &go);
        drop_capabilities(sock);
        limit_ourselves(sock);

        /* The descriptors creto-init starts with. */
        int null = open("/dev/null", O_RDWR | O_CLOEXEC);
        int low[BOOT_FD_FIRST_FREE] = { null, null, null, got[0], fd_pipe_with(&go.boot, sizeof(go.boot)), -1, count == 3 ? got[2] : -1 };
        int exe = fd_high(got[1]), talk = fd_high(sock);
        if (null < 0 || exe < 0 || talk < 0 || low[BOOT_FD_CONFIG] < 0)
                give_up(sock, "arrange descriptors");
        umask(022);
        if (fd_arrange(low, BOOT_FD_FIRST_FREE) < 0)
                give_up(talk, "arrange descriptors");
        sys_close_range(BOOT_FD_NOTIFY, BOOT_FD_NOTIFY, 0); /* it makes that by itself, with its filter */
        sys_close_range(BOOT_FD_FIRST_FREE, ~0U, 1U << 2 /* CLOSE_RANGE_CLOEXEC */);
        syscall(SYS_execveat, exe, "", argv, env, AT_EMPTY_PATH);
        give_up(talk, "start creto-init");
}
