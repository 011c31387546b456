#include "programs/runtimed/confine.h"

#include <errno.h>
#include <fcntl.h>
#include <stddef.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/sys.h"

/* ---- files ---- */

enum { READ = LANDLOCK_ACCESS_FS_READ_FILE | LANDLOCK_ACCESS_FS_READ_DIR };

static uint64_t known_rights(int abi)
{
        uint64_t all = (LANDLOCK_ACCESS_FS_MAKE_SYM << 1) - 1; /* ABI 1 */

        if (abi >= 2)
                all |= LANDLOCK_ACCESS_FS_REFER;
        if (abi >= 3)
                all |= LANDLOCK_ACCESS_FS_TRUNCATE;
        return all;
}

static int allow(int ruleset, const char *path, uint64_t rights)
{
        auto_fd fd = open(path, O_PATH | O_CLOEXEC);
        const struct landlock_path_beneath_attr rule = { .allowed_access = rights, .parent_fd = fd };

        return fd < 0 ? 0 : sys_landlock_add_rule(ruleset, LANDLOCK_RULE_PATH_BENEATH, &rule);
}

static int restrict_files(const char *state, const char **missing, struct err *e)
{
        int abi = sys_landlock_create_ruleset(NULL, 0, LANDLOCK_CREATE_RULESET_VERSION);

        if (abi < 1) {
                *missing = "Landlock";
                return 0;
        }
        uint64_t all = known_rights(abi),
                 own = all & ~(uint64_t)(LANDLOCK_ACCESS_FS_EXECUTE | LANDLOCK_ACCESS_FS_MAKE_CHAR | LANDLOCK_ACCESS_FS_MAKE_BLOCK |
                                         LANDLOCK_ACCESS_FS_MAKE_SOCK | LANDLOCK_ACCESS_FS_MAKE_FIFO | LANDLOCK_ACCESS_FS_MAKE_SYM);
        const struct landlock_ruleset_attr attr = { .handled_access_fs = all };
        auto_fd ruleset = sys_landlock_create_ruleset(&attr, sizeof(attr.handled_access_fs), 0);
        if (ruleset < 0 || allow(ruleset, state, own) < 0 || allow(ruleset, "/proc/meminfo", LANDLOCK_ACCESS_FS_READ_FILE) < 0 ||
            allow(ruleset, "/proc/self/", READ) < 0 || allow(ruleset, "/proc/sys/kernel/pid_max", LANDLOCK_ACCESS_FS_READ_FILE) < 0 ||
            allow(ruleset, "/dev/null", LANDLOCK_ACCESS_FS_READ_FILE | LANDLOCK_ACCESS_FS_WRITE_FILE) < 0 ||
            allow(ruleset, "/dev/urandom", LANDLOCK_ACCESS_FS_READ_FILE) < 0 ||
            allow(ruleset, "/etc/localtime", LANDLOCK_ACCESS_FS_READ_FILE) < 0)
                return err_sys(e, "cannot make a Landlock ruleset");
        return sys_landlock_restrict_self(ruleset) == 0 ? 0 : err_sys(e, "Landlock refuses");
}

/* ---- calls ---- */

/* What a daemon that is somebody else's would begin with, and this one never needs: the calls that make programs, namespaces, mounts, modules, and look into
 * other processes. The kernel ends the daemon at the first of them: it is no longer ours, and another is started. */
static const int deadly[] = {
        SYS_execve,
        SYS_execveat,
        SYS_fork,
        SYS_vfork,
        SYS_ptrace,
        SYS_process_vm_readv,
        SYS_process_vm_writev,
        SYS_mount,
        SYS_umount2,
        SYS_pivot_root,
        SYS_chroot,
        SYS_setns,
        SYS_unshare,
        SYS_open_tree,
        SYS_move_mount,
        SYS_fsopen,
        SYS_fsconfig,
        SYS_fsmount,
        SYS_fspick,
        SYS_bpf,
        SYS_init_module,
        SYS_finit_module,
        SYS_delete_module,
        SYS_kexec_load,
        SYS_reboot,
        SYS_swapon,
        SYS_swapoff,
        SYS_keyctl,
        SYS_add_key,
        SYS_request_key,
        SYS_perf_event_open,
        SYS_userfaultfd,
        SYS_io_uring_setup,
        SYS_kcmp,
        SYS_pidfd_getfd,
        SYS_setuid,
        SYS_setgid,
        SYS_setresuid,
        SYS_setresgid,
        SYS_setgroups,
        SYS_capset,
        SYS_personality,
        SYS_acct,
        SYS_quotactl,
        SYS_open_by_handle_at,
        SYS_name_to_handle_at,
};

enum { DEADLY = sizeof(deadly) / sizeof(deadly[0]), X32_BIT = 0x40000000 };

#if defined(__x86_64__)
#define OUR_ARCH AUDIT_ARCH_X86_64
#elif defined(__aarch64__)
#define OUR_ARCH AUDIT_ARCH_AARCH64
#endif

static int restrict_calls(struct err *e)
{
        struct sock_filter f[DEADLY + 8];
        unsigned n = 0, count = DEADLY;

        f[n++] = (struct sock_filter)BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, arch));
        f[n++] = (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, OUR_ARCH, 1, 0);
        f[n++] = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_KILL_PROCESS);
        f[n++] = (struct sock_filter)BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr));
        f[n++] = (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JGE | BPF_K, X32_BIT, (uint8_t)(count + 1), 0);
        for (unsigned i = 0; i < count; i++)
                f[n++] = (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, (uint32_t)deadly[i], (uint8_t)(count - i), 0);
        f[n++] = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW);
        f[n++] = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_KILL_PROCESS);
        const struct sock_fprog program = { (unsigned short)n, f };
        return prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program, 0, 0) == 0 ? 0 : err_sys(e, "cannot install a seccomp filter");
}

int confine_daemon(const char *state, const char **missing, struct err *e)
{
        *missing = "";
        if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0 || prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) < 0)
                return err_sys(e, "cannot give up privileges");
        for (int cap = 0; prctl(PR_CAPBSET_READ, cap, 0, 0, 0) >= 0; cap++)
                prctl(PR_CAPBSET_DROP, cap, 0, 0, 0); /* refused to who has none, and then there is nothing to drop */
        return restrict_files(state, missing, e) < 0 ? -(int)e->code : restrict_calls(e);
}
