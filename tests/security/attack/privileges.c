/* Becoming somebody else, or more. */
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <linux/capability.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "attack.h"

/* One line of /proc/PID/status, without its name. */
static bool status_line(pid_t pid, const char *name, char *out, size_t cap)
{
        char path[64], line[512];

        snprintf(path, sizeof(path), "/proc/%d/status", pid);
        FILE *f = fopen(path, "re");
        while (f && fgets(line, sizeof(line), f)) {
                if (strncmp(line, name, strlen(name)) != 0)
                        continue;
                snprintf(out, cap, "%s", line + strlen(name));
                fclose(f);
                return true;
        }
        if (f)
                fclose(f);
        return false;
}

/* By system calls: not every kernel shows all of them in /proc. */
static int any_capability(const char *unused)
{
        struct __user_cap_header_struct header = { .version = _LINUX_CAPABILITY_VERSION_3 };
        struct __user_cap_data_struct d[2];

        (void)unused;
        if (syscall(SYS_capget, &header, d) < 0)
                return judge(-1);
        for (int i = 0; i < 2; i++)
                if (d[i].effective || d[i].permitted || d[i].inheritable) {
                        say("%x %x %x", d[i].effective, d[i].permitted, d[i].inheritable);
                        return WON;
                }
        for (int cap = 0; cap < 64; cap++)
                if (prctl(PR_CAPBSET_READ, cap, 0, 0, 0) == 1 || prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_IS_SET, cap, 0, 0) == 1) {
                        say("%d is bounding or ambient", cap);
                        return WON;
                }
        say("all five sets are empty");
        return REFUSED;
}

static int privileges_new(const char *unused)
{
        (void)unused;
        return prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0) == 1 ? REFUSED : WON;
}

static int no_filter(const char *unused)
{
        char text[512];

        (void)unused;
        return status_line(getpid(), "Seccomp:", text, sizeof(text)) && atoi(text) == 2 ? REFUSED : WON;
}

/* Runs a setuid program, stopped in its first write by a full pipe, and looks who it is. */
static int run_setuid(const char *path)
{
        char uid[512], state[512], name[512];
        const char *base = strrchr(path, '/') + 1;
        int p[2], null = open("/dev/null", O_RDWR | O_CLOEXEC);
        struct stat st;

        if (stat(path, &st) < 0)
                return NOT_HERE;
        if (pipe2(p, O_CLOEXEC | O_NONBLOCK) < 0)
                return judge(-1);
        while (write(p[1], "x", 1) == 1)
                ;
        fcntl(p[1], F_SETFL, 0);
        pid_t pid = fork();
        if (pid == 0) {
                dup2(null, 0);
                dup2(p[1], 1);
                dup2(p[1], 2);
                execl(path, base, "--help", (char *)NULL);
                _exit(126);
        }
        for (int i = 0; i < 150; i++) {
                usleep(10000);
                if (!status_line(pid, "Name:\t", name, sizeof(name)) || !status_line(pid, "State:\t", state, sizeof(state)) ||
                    state[0] == 'Z')
                        break;
                if (strncmp(name, base, strlen(base)) == 0 && state[0] == 'S')
                        break;
        }
        bool seen = status_line(pid, "Uid:", uid, sizeof(uid)) && state[0] == 'S';
        kill(pid, SIGKILL);
        waitpid(pid, NULL, 0);
        if (!seen) {
                say("it could not be run");
                return REFUSED;
        }
        strtok(uid, "\t");
        char *effective = strtok(NULL, "\t");
        say("effective uid %s", effective);
        return effective && atoi(effective) == 0 && strcmp(effective, "0") == 0 ? WON : REFUSED;
}

/* A setuid copy of one's own for a stranger: with a wrong owner it would be theirs. */
static int own_setuid(const char *unused)
{
        (void)unused;
        int fd = open("/tmp/.attack-suid", O_WRONLY | O_CREAT | O_CLOEXEC, 0755);
        int r = fd < 0 ? -1 : fchown(fd, 0, 0);

        if (r == 0)
                r = fchmod(fd, 06755);
        unlink("/tmp/.attack-suid");
        return judge(r);
}

static int become(const char *id)
{
        unsigned n = (unsigned)atoi(id);

        return judge(syscall(SYS_setresuid, n, n, n));
}

static int become_group(const char *id)
{
        unsigned n = (unsigned)atoi(id);

        return judge(syscall(SYS_setresgid, n, n, n));
}

static int add_groups(const char *unused)
{
        gid_t groups[] = { 0, 6, 42 };

        (void)unused;
        return judge(syscall(SYS_setgroups, 3, groups));
}

static int raise_capabilities(const char *unused)
{
        struct __user_cap_header_struct head = { .version = _LINUX_CAPABILITY_VERSION_3 };
        struct __user_cap_data_struct data[2] = { { .effective = 1 << CAP_SYS_CHROOT, .permitted = 1 << CAP_SYS_CHROOT } };

        (void)unused;
        return judge(syscall(SYS_capset, &head, data));
}

static int ambient(const char *unused)
{
        struct __user_cap_header_struct head = { .version = _LINUX_CAPABILITY_VERSION_3 };
        struct __user_cap_data_struct data[2] = {
                { .effective = 1 << CAP_CHOWN, .permitted = 1 << CAP_CHOWN, .inheritable = 1 << CAP_CHOWN }
        };

        (void)unused;
        syscall(SYS_capset, &head, data);
        return judge(prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE, CAP_CHOWN, 0, 0));
}

static int secure_bits(const char *unused)
{
        (void)unused;
        return judge(prctl(PR_SET_SECUREBITS, 0));
}

static int give_away(const char *unused)
{
        int fd = open("/tmp/.attack-chown", O_WRONLY | O_CREAT | O_CLOEXEC, 0600);

        (void)unused;
        int r = fd < 0 ? -1 : fchown(fd, 65535, 65535);
        unlink("/tmp/.attack-chown");
        return judge(r);
}

static int more_files(const char *unused)
{
        struct rlimit l;

        (void)unused;
        getrlimit(RLIMIT_NOFILE, &l);
        l.rlim_max++;
        return judge(setrlimit(RLIMIT_NOFILE, &l));
}

static int higher_priority(const char *unused)
{
        (void)unused;
        return judge(setpriority(PRIO_PROCESS, 0, -10));
}

static int realtime(const char *unused)
{
        struct sched_param p = { .sched_priority = 1 };

        (void)unused;
        return judge(sched_setscheduler(0, SCHED_FIFO, &p));
}

/* A filter of one's own whose listener answers "go on" would let through what the sandbox's filter only asks about. */
static int own_listener(const char *unused)
{
        struct sock_filter code[] = { BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW) };
        struct sock_fprog program = { 1, code };

        (void)unused;
        prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
        return judge(syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, SECCOMP_FILTER_FLAG_NEW_LISTENER, &program));
}

static int file_capability(const char *unused)
{
        struct vfs_cap_data data = { .magic_etc = VFS_CAP_REVISION_2 | VFS_CAP_FLAGS_EFFECTIVE, .data = { { .permitted = ~0U } } };
        int fd = open("/tmp/.attack-fcap", O_WRONLY | O_CREAT | O_CLOEXEC, 0755);

        (void)unused;
        long r = fd < 0 ? -1 : syscall(SYS_fsetxattr, fd, "security.capability", &data, sizeof(data), 0);
        unlink("/tmp/.attack-fcap");
        return judge(r);
}

const struct attack attacks_privileges[] = {
        { "any-capability", 'P', false, "have a capability in any of the five sets", any_capability, NULL },
        { "new-privileges", 'P', false, "run without no_new_privs", privileges_new, NULL },
        { "no-filter", 'P', false, "run without a seccomp filter", no_filter, NULL },
        { "setuid-su", 'U', false, "run the host's su as root", run_setuid, "/usr/bin/su" },
        { "setuid-passwd", 'U', false, "run the host's passwd as root", run_setuid, "/usr/bin/passwd" },
        { "setuid-mount", 'U', false, "run the host's mount as root", run_setuid, "/usr/bin/mount" },
        { "setuid-own", 'P', false, "make a setuid-root program", own_setuid, NULL },
        { "setuid-0", 'P', false, "become uid 0", become, "0" },
        { "setuid-init", 'P', false, "become the uid of creto-init", become, "65535" },
        { "setgid-0", 'P', false, "become gid 0", become_group, "0" },
        { "setgroups", 'P', false, "join more groups", add_groups, NULL },
        { "capset", 'P', false, "raise a capability", raise_capabilities, NULL },
        { "ambient", 'P', false, "raise an ambient capability", ambient, NULL },
        { "securebits", 'P', false, "change the secure bits", secure_bits, NULL },
        { "chown", 'P', false, "give a file away", give_away, NULL },
        { "file-capability", 'P', false, "give a file capabilities", file_capability, NULL },
        { "raise-limit", 'P', true, "raise a hard limit", more_files, NULL },
        { "priority", 'P', true, "raise one's priority", higher_priority, NULL },
        { "realtime", 'P', true, "become a real-time process", realtime, NULL },
        { "own-listener", 'U', false, "listen for the system calls of a filter", own_listener, NULL },
        { NULL, 0, false, NULL, NULL, NULL },
};
