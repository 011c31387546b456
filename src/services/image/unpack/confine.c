/*
 * What a process gives up before it looks at hostile bytes. In order: descriptors, network and other namespaces, limits, privileges to be
 * gained, file systems (Landlock), capabilities, and last the system calls that neither end needs (each is listed beside its use).
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/audit.h>
#include <linux/capability.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sched.h>
#include <stddef.h>
#include <sys/prctl.h>
#include <sys/resource.h>

#include "base/fd.h"
#include "base/sys.h"
#include "services/image/unpack/unpack.h"

enum { HIGH_FD = 64, CPU_SECONDS = 3600, FDS_MAX = 512 };

#define MEMORY_MAX (1ULL << 30)

#if defined(__x86_64__)
#define ARCH AUDIT_ARCH_X86_64
#elif defined(__aarch64__)
#define ARCH AUDIT_ARCH_AARCH64
#elif defined(__riscv) && __riscv_xlen == 64
#define ARCH AUDIT_ARCH_RISCV64
#else
#error "the table of system calls below has not been checked for this architecture"
#endif

/* A sanitizer reserves terabytes of addresses. */
#if defined(__SANITIZE_ADDRESS__)
enum { LIMIT_MEMORY = 0 };
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
enum { LIMIT_MEMORY = 0 };
#else
enum { LIMIT_MEMORY = 1 };
#endif
#else
enum { LIMIT_MEMORY = 1 };
#endif

/* clang-format off */
static const uint32_t allowed[] = {
        /* bytes in and out */
        SYS_read, SYS_write, SYS_readv, SYS_writev, SYS_lseek, SYS_pread64, SYS_close, SYS_fstat, SYS_newfstatat, SYS_fcntl,
        /* memory, and what the C library does unasked */
        SYS_mmap, SYS_munmap, SYS_mremap, SYS_mprotect, SYS_brk, SYS_madvise, SYS_futex, SYS_getrandom, SYS_clock_gettime, SYS_sched_yield,
        SYS_rt_sigaction, SYS_rt_sigprocmask, SYS_rt_sigreturn, SYS_restart_syscall, SYS_getpid, SYS_gettid, SYS_tgkill,
        SYS_exit, SYS_exit_group,
        /* the tree */
        SYS_openat, SYS_openat2, SYS_mkdirat, SYS_mknodat, SYS_symlinkat, SYS_linkat, SYS_unlinkat, SYS_getdents64, SYS_pwrite64, SYS_ftruncate,
        SYS_fsetxattr, SYS_fchown, SYS_fchownat, SYS_fchmod, SYS_fchmodat, SYS_utimensat,
};
/* clang-format on */

enum { ALLOWED = sizeof(allowed) / sizeof(allowed[0]) };

_Static_assert(ALLOWED < 250, "a jump in the filter below is a byte");

static int keep_descriptors(const struct confine *c, struct err *e)
{
        int null = open("/dev/null", O_RDWR | O_CLOEXEC);
        int high[3] = { -1, -1, -1 };

        for (int i = 0; i < 3; i++)
                if (c->keep[i] >= 0 && (high[i] = fcntl(c->keep[i], F_DUPFD_CLOEXEC, HIGH_FD)) < 0)
                        return err_sys(e, "confinement: cannot keep a descriptor");
        for (int i = 0; i < 3; i++)
                if (null < 0 || dup2(null, i) < 0)
                        return err_sys(e, "confinement: cannot close the standard streams");
        (void)sys_close_range(3, HIGH_FD - 1, 0);
        for (int i = 0; i < 3; i++)
                if (high[i] >= 0 && dup2(high[i], 3 + i) < 0)
                        return err_sys(e, "confinement: cannot keep a descriptor");
        return sys_close_range(6, ~0U, 0) < 0 ? err_sys(e, "confinement: cannot close descriptors") : 0;
}

static void limit(int what, uint64_t value)
{
        const struct rlimit most = { value, value };

        (void)setrlimit(what, &most); /* one that is lower already stays */
}

static void set_limits(const struct confine *c)
{
        limit(RLIMIT_CORE, 0);
        limit(RLIMIT_CPU, CPU_SECONDS);
        limit(RLIMIT_NOFILE, FDS_MAX);
        limit(RLIMIT_FSIZE, c->file_max);
        if (LIMIT_MEMORY)
                limit(RLIMIT_AS, MEMORY_MAX);
}

#define LANDLOCK_NEVER (LANDLOCK_ACCESS_FS_EXECUTE | LANDLOCK_ACCESS_FS_MAKE_SOCK | LANDLOCK_ACCESS_FS_MAKE_BLOCK)
#define LANDLOCK_TREE                                                                                                                      \
        (LANDLOCK_ACCESS_FS_WRITE_FILE | LANDLOCK_ACCESS_FS_READ_FILE | LANDLOCK_ACCESS_FS_READ_DIR | LANDLOCK_ACCESS_FS_REMOVE_DIR |      \
         LANDLOCK_ACCESS_FS_REMOVE_FILE | LANDLOCK_ACCESS_FS_MAKE_CHAR | LANDLOCK_ACCESS_FS_MAKE_DIR | LANDLOCK_ACCESS_FS_MAKE_REG |       \
         LANDLOCK_ACCESS_FS_MAKE_FIFO | LANDLOCK_ACCESS_FS_MAKE_SYM | LANDLOCK_ACCESS_FS_REFER)

/* Below version 2 a hard link from one directory to another would be refused, so there Landlock is left to the other stages. */
static int enter_landlock(int beneath, struct err *e)
{
        struct {
                uint64_t fs, net;
        } attr = { LANDLOCK_TREE | LANDLOCK_NEVER, 3 /* TCP bind and connect */ };
        int version = sys_landlock_create_ruleset(NULL, 0, LANDLOCK_CREATE_RULESET_VERSION);

        if (version < 2)
                return 0;
        if (version >= 3)
                attr.fs |= LANDLOCK_ACCESS_FS_TRUNCATE;
        auto_fd ruleset = sys_landlock_create_ruleset(&attr, version >= 4 ? sizeof(attr) : sizeof(attr.fs), 0);
        if (ruleset < 0)
                return err_sys(e, "confinement: cannot make Landlock's rules");
        if (beneath >= 0) {
                const struct landlock_path_beneath_attr rule = { .allowed_access = attr.fs & ~(uint64_t)LANDLOCK_NEVER,
                                                                 .parent_fd = beneath };

                if (sys_landlock_add_rule(ruleset, LANDLOCK_RULE_PATH_BENEATH, &rule) < 0)
                        return err_sys(e, "confinement: cannot add a rule of Landlock's");
        }
        return sys_landlock_restrict_self(ruleset) < 0 ? err_sys(e, "confinement: cannot enter Landlock") : 0;
}

/* Without a user namespace of our own we may have none, and then there is nothing to drop. */
static int drop_capabilities(bool tree, struct err *e)
{
        struct __user_cap_header_struct header = { .version = _LINUX_CAPABILITY_VERSION_3 };
        struct __user_cap_data_struct data[2] = { 0 };
        const uint32_t wanted = tree ? 1U << CAP_CHOWN | 1U << CAP_DAC_OVERRIDE | 1U << CAP_DAC_READ_SEARCH | 1U << CAP_FOWNER |
                                                1U << CAP_FSETID
                                     : 0;

        if (syscall(SYS_capget, &header, data) < 0)
                return err_sys(e, "confinement: cannot read capabilities");
        data[0].effective &= wanted;
        data[0].permitted &= wanted;
        data[0].inheritable = 0;
        data[1] = (struct __user_cap_data_struct){ 0 };
        return syscall(SYS_capset, &header, data) < 0 ? err_sys(e, "confinement: cannot drop capabilities") : 0;
}

static int enter_seccomp(struct err *e)
{
        struct sock_filter code[ALLOWED + 8];
        unsigned n = 0;

        code[n++] = (struct sock_filter)BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, arch));
        code[n++] = (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, ARCH, 1, 0);
        code[n++] = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_KILL_PROCESS);
        code[n++] = (struct sock_filter)BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr));
        for (unsigned i = 0; i < ALLOWED; i++)
                code[n++] = (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, allowed[i], (uint8_t)(ALLOWED - i), 0);
        code[n++] = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | EPERM);
        code[n++] = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW);
        const struct sock_fprog program = { .len = (unsigned short)n, .filter = code };

        if (sys_seccomp(SECCOMP_SET_MODE_FILTER, 0, (void *)&program) < 0)
                return err_sys(e, "confinement: cannot enter seccomp");
        return 0;
}

int confine_apply(const struct confine *c, struct err *e)
{
        if (keep_descriptors(c, e) < 0)
                return -(int)e->code;
        /* Not allowed everywhere; what they take away, the stages below take away as well. */
        (void)unshare(CLONE_NEWNET);
        (void)unshare(CLONE_NEWIPC | CLONE_NEWUTS);
        set_limits(c);
        if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0 || prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) < 0)
                return err_sys(e, "confinement: cannot give up new privileges");
        if (enter_landlock(c->beneath >= 0 ? 3 + c->beneath : -1, e) < 0 || drop_capabilities(c->beneath >= 0, e) < 0)
                return -(int)e->code;
        return enter_seccomp(e);
}
