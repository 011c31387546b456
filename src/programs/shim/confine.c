#include "programs/shim/confine.h"

#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <stddef.h>
#include <sys/prctl.h>
#include <sys/resource.h>

#include "base/sys.h"

/* What the loop does, and what a C library does around it. Anything else ends it. */
static const int needed[] = {
        SYS_read,
        SYS_write,
        SYS_writev, /* of the last words */
        SYS_accept4,
        SYS_close,
        SYS_ppoll,
#ifdef SYS_poll
        SYS_poll,
#endif
        SYS_restart_syscall, /* after a freeze */
        SYS_clock_gettime,   /* where there is no vDSO */
        SYS_exit_group,
        SYS_rt_sigreturn,
        SYS_rt_sigprocmask,
        SYS_brk,
        SYS_mmap,
        SYS_munmap,
        SYS_madvise,
        SYS_futex,
};

enum { NEEDED = sizeof(needed) / sizeof(needed[0]), NOFILE = 64 };

#if defined(__x86_64__)
#define OUR_ARCH AUDIT_ARCH_X86_64
#elif defined(__aarch64__)
#define OUR_ARCH AUDIT_ARCH_AARCH64
#endif

static int restrict_calls(void)
{
        struct sock_filter f[NEEDED + 6];
        unsigned n = 0;

        f[n++] = (struct sock_filter)BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, arch));
        f[n++] = (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, OUR_ARCH, 1, 0);
        f[n++] = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_KILL_PROCESS);
        f[n++] = (struct sock_filter)BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr));
        for (unsigned i = 0; i < NEEDED; i++)
                f[n++] = (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, (uint32_t)needed[i], (uint8_t)(NEEDED - i), 0);
        f[n++] = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_KILL_PROCESS);
        f[n++] = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW);
        const struct sock_fprog program = { (unsigned short)n, f };
        return prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program, 0, 0);
}

/* Every right to files of the oldest Landlock; newer ones are those of files that are open, and none is opened. Where there is no Landlock the filter has no call that
 * opens anything. */
static void restrict_files(void)
{
        const struct landlock_ruleset_attr attr = { .handled_access_fs = (LANDLOCK_ACCESS_FS_MAKE_SYM << 1) - 1 };
        int ruleset = sys_landlock_create_ruleset(&attr, sizeof(attr.handled_access_fs), 0);

        if (ruleset < 0)
                return;
        sys_landlock_restrict_self(ruleset);
        close(ruleset);
}

int confine_shim(void)
{
        const struct rlimit files = { NOFILE, NOFILE }, none = { 0, 0 };

        if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0 || prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) < 0 || setrlimit(RLIMIT_NOFILE, &files) < 0 ||
            setrlimit(RLIMIT_NPROC, &none) < 0)
                return -1;
        restrict_files();
        return restrict_calls();
}
