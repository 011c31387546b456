/*
 * What the doctor asks the kernel: who we are, namespaces, and what confines a process in them.
 */
#include "programs/runtime/doctor_probe.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/capability.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sched.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/str.h"
#include "base/sys.h"

#ifndef AF_VSOCK
#define AF_VSOCK 40
#endif
#ifndef SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV
#define SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV (1UL << 5)
#endif
#define VERSION_OF_LANDLOCK 1U /* LANDLOCK_CREATE_RULESET_VERSION */

enum {
        PROBE_SECONDS = 10,  /* a child that takes longer is killed by its alarm */
        ID_LOW = 0x70000000, /* the host ids that sandboxes and images get as root (services/warden/parts/space.h) */
        ID_COUNT = 0x10000000,
};

bool doctor_root;
struct utsname doctor_host;
char doctor_file[DOCTOR_FILE_MAX];

/* ---- for all probes ---- */

void doctor_say(struct finding *f, enum status status, const char *fmt, ...)
{
        va_list ap;

        f->status = status;
        va_start(ap, fmt);
        vsnprintf(f->text, sizeof(f->text), fmt, ap);
        va_end(ap);
}

void doctor_fix(struct finding *f, const char *fmt, ...)
{
        va_list ap;

        va_start(ap, fmt);
        vsnprintf(f->fix, sizeof(f->fix), fmt, ap);
        va_end(ap);
}

/* Reads a file of the kernel into `file`; false where there is none. */
bool doctor_load(const char *path)
{
        doctor_file[0] = '\0';
        return fd_read_file(AT_FDCWD, path, doctor_file, sizeof(doctor_file)) >= 0;
}

/* The number in a file of the kernel, or `otherwise`. */
long doctor_number_in(const char *path, long otherwise)
{
        return doctor_load(path) && doctor_file[0] ? strtol(doctor_file, NULL, 10) : otherwise;
}

/* The value of "NAME:\tvalue" in /proc/self/status, as a number in `base`. */
uint64_t doctor_own_status(const char *name, int base)
{
        size_t len = strlen(name);

        if (!doctor_load("/proc/self/status"))
                return 0;
        for (const char *line = doctor_file; line && *line; line = doctor_next_line(line))
                if (strncmp(line, name, len) == 0 && line[len] == ':')
                        return strtoull(line + len + 1, NULL, base);
        return 0;
}

/* Runs fn in a child and returns what it returned: 0, or an errno. */
int doctor_in_child(int (*fn)(const void *), const void *arg)
{
        int status;
        pid_t pid = fork();

        if (pid < 0)
                return errno;
        if (pid == 0) {
                prctl(PR_SET_PDEATHSIG, SIGKILL);
                alarm(PROBE_SECONDS);
                _exit(fn(arg) & 0xff);
        }
        while (waitpid(pid, &status, 0) < 0)
                if (errno != EINTR)
                        return errno;
        return WIFEXITED(status) ? WEXITSTATUS(status) : EINTR;
}

/* In a child: root of a user namespace of our own, as the warden of an ordinary user is. */
int doctor_own_userns(void)
{
        char map[64];
        unsigned uid = geteuid(), gid = getegid();

        if (unshare(CLONE_NEWUSER) < 0)
                return errno;
        snprintf(map, sizeof(map), "0 %u 1", gid);
        if (fd_write_file(AT_FDCWD, "/proc/self/setgroups", "deny") < 0 || fd_write_file(AT_FDCWD, "/proc/self/gid_map", map) < 0)
                return errno;
        snprintf(map, sizeof(map), "0 %u 1", uid);
        return fd_write_file(AT_FDCWD, "/proc/self/uid_map", map) < 0 ? errno : 0;
}

/* In a child: the privilege that the warden has in the present mode. */
int doctor_as_warden(void)
{
        return doctor_root ? 0 : doctor_own_userns();
}

/* In a child: the same, and a mount namespace whose changes nobody sees. */
int doctor_own_mounts(void)
{
        int r = doctor_as_warden();

        if (r != 0)
                return r;
        if (unshare(CLONE_NEWNS) < 0 || mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0)
                return errno;
        return 0;
}

/* ---- the kernel and who we are ---- */

void probe_kernel(struct finding *f)
{
        unsigned major = 0, minor = 0;

        sscanf(doctor_host.release, "%u.%u", &major, &minor);
        unsigned version = major * 1000 + minor;
        if (version < 5012) {
                doctor_say(f, STATUS_MISSING, "Linux %.60s: run needs 5.12", doctor_host.release);
                doctor_fix(f, "boot a newer kernel");
        } else if (version < 5019) {
                doctor_say(f, STATUS_WEAK, "Linux %.60s: run works; images as root need 5.19", doctor_host.release);
                doctor_fix(f, "boot a newer kernel");
        } else {
                doctor_say(f, STATUS_OK, "Linux %.60s", doctor_host.release);
        }
}

/* True where all of the ids that sandboxes get exist in our user namespace. */
static bool ids_mapped(void)
{
        if (!doctor_load("/proc/self/uid_map"))
                return true; /* no user namespaces at all */
        for (char *save = NULL, *line = strtok_r(doctor_file, "\n", &save); line; line = strtok_r(NULL, "\n", &save)) {
                unsigned long long inside, outside, count;

                if (sscanf(line, "%llu %llu %llu", &inside, &outside, &count) == 3 && inside <= ID_LOW &&
                    inside + count >= (unsigned long long)ID_LOW + ID_COUNT)
                        return true;
        }
        return false;
}

void probe_privilege(struct finding *f)
{
        static const struct {
                unsigned bit;
                const char *name;
        } needed[] = {
                { CAP_SYS_ADMIN, "SYS_ADMIN" }, { CAP_MKNOD, "MKNOD" },
                { CAP_NET_ADMIN, "NET_ADMIN" }, { CAP_CHOWN, "CHOWN" },
                { CAP_SETUID, "SETUID" },       { CAP_SETGID, "SETGID" },
                { CAP_KILL, "KILL" },           { CAP_DAC_OVERRIDE, "DAC_OVERRIDE" },
        };
        char missing[160] = "";
        uint64_t have = doctor_own_status("CapEff", 16);

        if (!doctor_root) {
                doctor_say(
                        f, STATUS_WEAK,
                        "an ordinary user: sandboxes run under your own uid, their disk is memory, and limits on memory, cpu and pids need a "
                        "delegated cgroup");
                doctor_fix(f, "as root every sandbox gets ids, a disk and cgroups of its own");
                return;
        }
        if (!doctor_load("/proc/self/status")) {
                doctor_say(f, STATUS_MISSING, "/proc is not mounted: nothing can be known");
                doctor_fix(f, "mount -t proc proc /proc");
                return;
        }
        for (size_t i = 0; i < sizeof(needed) / sizeof(needed[0]); i++)
                if (!(have >> needed[i].bit & 1))
                        snprintf(missing + strlen(missing), sizeof(missing) - strlen(missing), " CAP_%s", needed[i].name);
        if (missing[0]) {
                doctor_say(f, STATUS_MISSING, "root without%s: a container's root, or a confined service", missing);
                doctor_fix(f, "grant these capabilities, or run as an ordinary user");
        } else if (!ids_mapped()) {
                doctor_say(f, STATUS_MISSING, "root of a user namespace that lacks the ids %d to %d, which sandboxes get", ID_LOW,
                           ID_LOW + (ID_COUNT - 1));
                doctor_fix(f, "run on the host itself, or as an ordinary user");
        } else {
                doctor_say(f, STATUS_OK,
                           "root: every sandbox gets 65,536 host ids of its own; the command line drops to an unprivileged uid");
        }
}

/* ---- namespaces ---- */

static int try_userns(const void *unused)
{
        int r = doctor_own_userns();

        /* where AppArmor restricts them, they can be made but give no rights */
        return r != 0 ? r : unshare(CLONE_NEWNS) < 0 ? errno : 0;
}

static bool chrooted(void)
{
        struct stat ours, inits;

        return stat("/", &ours) == 0 && stat("/proc/1/root/", &inits) == 0 && (ours.st_dev != inits.st_dev || ours.st_ino != inits.st_ino);
}

void probe_userns(struct finding *f)
{
        int r = doctor_in_child(try_userns, NULL);

        if (r == 0) {
                doctor_say(f, STATUS_OK, "can be made: a sandbox owns nothing of the host, even as its own root");
                return;
        }
        doctor_say(f, STATUS_MISSING, "cannot be made: %s", strerror(r));
        if (doctor_number_in("/proc/sys/user/max_user_namespaces", 1) == 0)
                doctor_fix(f, "sysctl user.max_user_namespaces=15000 (it is 0)");
        else if (r == ENOSPC)
                doctor_fix(f, "sysctl user.max_user_namespaces=15000 (the limit is reached), or leave a nested namespace");
        else if (r == EINVAL || r == ENOSYS)
                doctor_fix(f, "boot a kernel with CONFIG_USER_NS");
        else if (!doctor_root && doctor_number_in("/proc/sys/kernel/unprivileged_userns_clone", 1) == 0)
                doctor_fix(f, "sysctl kernel.unprivileged_userns_clone=1 (it is 0), or run as root");
        else if (!doctor_root && doctor_number_in("/proc/sys/kernel/apparmor_restrict_unprivileged_userns", 0) == 1)
                doctor_fix(f, "AppArmor forbids them to ordinary users: give creto-warden a profile with 'userns,', or sysctl "
                              "kernel.apparmor_restrict_unprivileged_userns=0, or run as root");
        else if (doctor_own_status("Seccomp", 10) == 2)
                doctor_fix(
                        f,
                        "a seccomp filter around this process forbids them, as a container's usually does: run on the host, or with that filter relaxed");
        else if (chrooted())
                doctor_fix(f, "they cannot be made in a chroot: run outside it, or in a container with a root of its own");
        else
                doctor_fix(f, "a security module of this host forbids them: see the kernel's log");
}

static int try_unshare(const void *flag)
{
        int r = doctor_as_warden();

        return r != 0 ? r : unshare(*(const int *)flag) < 0 ? errno : 0;
}

static void probe_namespace(struct finding *f, int flag, const char *gives)
{
        int r = doctor_in_child(try_unshare, &flag);

        if (r == 0) {
                doctor_say(f, STATUS_OK, "%s", gives);
                return;
        }
        doctor_say(f, STATUS_MISSING, "cannot be made: %s", strerror(r));
        doctor_fix(f, r == EINVAL ? "boot a kernel that has it" : "see user-namespaces and privilege");
}

void probe_mount_ns(struct finding *f)
{
        probe_namespace(f, CLONE_NEWNS, "its own mounts: a read-only root, nothing of the host that is not named");
}

void probe_pid_ns(struct finding *f)
{
        probe_namespace(f, CLONE_NEWPID, "its own processes: it sees and signals no other");
}

void probe_net_ns(struct finding *f)
{
        probe_namespace(f, CLONE_NEWNET, "its own network: nothing but lo");
}

void probe_ipc_ns(struct finding *f)
{
        probe_namespace(f, CLONE_NEWIPC, "its own System V and POSIX queues");
}

void probe_uts_ns(struct finding *f)
{
        probe_namespace(f, CLONE_NEWUTS, "its own host name");
}

void probe_cgroup_ns(struct finding *f)
{
        probe_namespace(f, CLONE_NEWCGROUP, "its own view of the cgroups");
}

static int mount_proc(const void *unused)
{
        return mount("proc", "/proc", "proc", MS_NOSUID | MS_NODEV | MS_NOEXEC, NULL) < 0 ? errno : 0;
}

static int try_proc(const void *unused)
{
        int r = doctor_own_mounts();

        if (r != 0)
                return r;
        if (unshare(CLONE_NEWPID) < 0)
                return errno;
        return doctor_in_child(mount_proc, NULL); /* the child is the first of the new pid namespace */
}

void probe_proc(struct finding *f)
{
        int r = doctor_in_child(try_proc, NULL);

        if (r == 0) {
                doctor_say(f, STATUS_OK, "a fresh /proc can be mounted");
                return;
        }
        doctor_say(f, STATUS_MISSING, "a fresh /proc cannot be mounted: %s", strerror(r));
        doctor_fix(f, doctor_root ? "see privilege"
                                  : "something covers parts of this host's /proc, as inside a container: run on the host, or as root");
}

/* ---- confinement ---- */

static int try_listener(const void *flags)
{
        struct sock_filter allow = { BPF_RET | BPF_K, 0, 0, SECCOMP_RET_ALLOW };
        struct sock_fprog program = { .len = 1, .filter = &allow };

        if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0)
                return errno;
        return sys_seccomp(SECCOMP_SET_MODE_FILTER, *(const unsigned *)flags, &program) < 0 ? errno : 0;
}

void probe_seccomp(struct finding *f)
{
        unsigned listener = SECCOMP_FILTER_FLAG_NEW_LISTENER, patient = listener | SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV;
        int r = doctor_in_child(try_listener, &patient);

        if (r == 0) {
                doctor_say(
                        f, STATUS_OK,
                        "filters, with user notification and WAIT_KILLABLE_RECV: system calls off the list are refused, attacks are counted");
                return;
        }
        r = doctor_in_child(try_listener, &listener);
        if (r == 0) {
                doctor_say(f, STATUS_WEAK,
                           "filters with user notification, without WAIT_KILLABLE_RECV: a signal may repeat a refused call");
                doctor_fix(f, "Linux 5.19 has it");
        } else if (r == EBUSY) {
                doctor_say(f, STATUS_MISSING, "something around this process, a container engine, listens to its system calls already");
                doctor_fix(f, "run on the host, or without that engine's notifications");
        } else {
                doctor_say(f, STATUS_MISSING, "no filters with user notification: %s", strerror(r));
                doctor_fix(f, "boot a kernel with CONFIG_SECCOMP_FILTER, 5.5 or later");
        }
}

void probe_landlock(struct finding *f)
{
        int abi = sys_landlock_create_ruleset(NULL, 0, VERSION_OF_LANDLOCK);

        if (abi >= 2) {
                doctor_say(f, STATUS_OK, "ABI %d: a second lock on what is read-only", abi);
        } else if (abi == 1) {
                doctor_say(f, STATUS_WEAK, "ABI 1: files cannot be renamed between directories inside");
                doctor_fix(f, "Linux 5.19 has ABI 2");
        } else {
                doctor_say(f, STATUS_WEAK, "not there (%s): read-only mounts are the only lock on files", strerror(errno));
                doctor_fix(f, errno == EOPNOTSUPP ? "add landlock to the lsm= list of the kernel's command line"
                                                  : "boot a kernel with CONFIG_SECURITY_LANDLOCK");
        }
}

void probe_processes(struct finding *f)
{
        auto_fd self = sys_pidfd_open(getpid());

        if (self < 0) {
                doctor_say(f, STATUS_MISSING, "no pidfds: %s", strerror(errno));
                doctor_fix(f, "Linux 5.3 has them; in a container, its seccomp filter must allow them");
        } else if (syscall(SYS_clone3, NULL, 0) < 0 && errno == ENOSYS) {
                doctor_say(f, STATUS_MISSING, "no clone3");
                doctor_fix(f, "Linux 5.3 has it; in a container, its seccomp filter must allow it");
        } else {
                doctor_say(f, STATUS_OK, "pidfds and clone3: no process is mistaken for another");
        }
}

void probe_memfd(struct finding *f)
{
        auto_fd fd = memfd_create("creto-doctor", MFD_CLOEXEC | MFD_ALLOW_SEALING);

        if (fd >= 0 && fchmod(fd, 0555) == 0) {
                doctor_say(f, STATUS_OK, "creto-init runs from one: no file of the host is executed by pid 1");
                return;
        }
        doctor_say(f, STATUS_MISSING, "cannot hold a program: %s", strerror(errno));
        doctor_fix(f, "sysctl vm.memfd_noexec=0 (it is %ld)", doctor_number_in("/proc/sys/vm/memfd_noexec", 0));
}

void probe_yama(struct finding *f)
{
        long scope = doctor_number_in("/proc/sys/kernel/yama/ptrace_scope", -1);

        if (scope > 0) {
                doctor_say(f, STATUS_OK, "ptrace_scope %ld: a process is traced by its ancestors only", scope);
                return;
        }
        doctor_say(f, doctor_root ? STATUS_OK : STATUS_WEAK, "%s: processes of one user may trace each other%s",
                   scope < 0 ? "not there" : "ptrace_scope 0",
                   doctor_root ? "; sandboxes have users of their own" : ", and a sandbox's user is you");
        if (!doctor_root)
                doctor_fix(f, "sysctl kernel.yama.ptrace_scope=1");
}

void probe_vsock(struct finding *f)
{
        auto_fd s = socket(AF_VSOCK, SOCK_STREAM | SOCK_CLOEXEC, 0);

        if (s < 0 && access("/dev/vsock", F_OK) < 0)
                doctor_say(f, STATUS_OK, "none: no way around the network namespace to a hypervisor");
        else
                doctor_say(f, STATUS_OK, "there, and no namespace hides it: the seccomp filter refuses and counts the attempt");
}

void probe_cpu(struct finding *f)
{
        static const char *const known[] = {
                "meltdown",        "spectre_v1",           "spectre_v2",          "l1tf", "mds", "retbleed", "srbds", "mmio_stale_data",
                "tsx_async_abort", "gather_data_sampling", "spec_rstack_overflow"
        };
        char path[128], open_list[DOCTOR_TEXT_MAX / 2] = "";

        for (size_t i = 0; i < sizeof(known) / sizeof(known[0]); i++) {
                snprintf(path, sizeof(path), "/sys/devices/system/cpu/vulnerabilities/%s", known[i]);
                if (doctor_load(path) && str_has_prefix(doctor_file, "Vulnerable"))
                        snprintf(open_list + strlen(open_list), sizeof(open_list) - strlen(open_list), " %s", known[i]);
        }
        if (!open_list[0]) {
                doctor_say(f, STATUS_OK, "the kernel reports no unmitigated fault");
                return;
        }
        doctor_say(f, STATUS_WEAK, "unmitigated:%s: a sandbox may learn what neighbours on its core do", open_list);
        doctor_fix(f, "update microcode and kernel; do not boot with mitigations=off");
}
