/* Other processes, first of all process 1, which holds the control stream and more rights than anybody else inside. */
#include <errno.h>
#include <fcntl.h>
#include <linux/kcmp.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <unistd.h>

#include "attack.h"

static int trace(const char *pid)
{
        return judge(ptrace(PTRACE_SEIZE, atoi(pid), NULL, NULL));
}

static int attach(const char *pid)
{
        long r = ptrace(PTRACE_ATTACH, atoi(pid), NULL, NULL);

        if (r == 0 && waitpid(atoi(pid), NULL, __WALL) > 0)
                ptrace(PTRACE_DETACH, atoi(pid), NULL, NULL);
        return judge(r);
}

static int read_memory(const char *pid)
{
        char here[16];
        struct iovec to = { here, sizeof(here) }, from = { (void *)0x400000, sizeof(here) };

        return judge_reached(syscall(SYS_process_vm_readv, atoi(pid), &to, 1, &from, 1, 0));
}

static int write_memory(const char *pid)
{
        char here[16] = { 0 };
        struct iovec from = { here, 1 }, to = { (void *)0x10, 1 };

        return judge_reached(syscall(SYS_process_vm_writev, atoi(pid), &from, 1, &to, 1, 0));
}

static int take_descriptor(const char *pid)
{
        int fd = (int)syscall(SYS_pidfd_open, atoi(pid), 0);
        long r = -1;

        if (fd < 0)
                return judge(fd);
        for (int i = 0; i < 16 && r < 0; i++)
                r = syscall(SYS_pidfd_getfd, fd, i, 0);
        return judge(r);
}

static bool is_dead(int pid)
{
        char path[64], line[256];

        snprintf(path, sizeof(path), "/proc/%d/stat", pid);
        FILE *f = fopen(path, "re");
        bool dead = !f || !fgets(line, sizeof(line), f) || strstr(line, ") Z ") != NULL;
        if (f)
                fclose(f);
        return dead;
}

/* Every signal there is; stop signals first, for SIGKILL leaves nothing to stop. */
static int signals(const char *text)
{
        int pid = atoi(text), sent = 0;
        char path[64], line[512] = "";

        kill(pid, SIGSTOP);
        kill(pid, SIGCONT);
        for (int s = 1; s <= SIGRTMAX; s++)
                if (s != SIGSTOP && s != SIGCONT && s != SIGTSTP && s != SIGTTIN && s != SIGTTOU)
                        sent += kill(pid, s) == 0;
        int fd = (int)syscall(SYS_pidfd_open, pid, 0);
        if (fd >= 0)
                syscall(SYS_pidfd_send_signal, fd, SIGKILL, NULL, 0);
        usleep(200000);
        if (is_dead(pid)) {
                say("killed");
                return WON;
        }
        snprintf(path, sizeof(path), "/proc/%d/stat", pid);
        FILE *f = fopen(path, "re");
        if (f && fgets(line, sizeof(line), f) && strstr(line, ") T ")) {
                say("stopped");
                return WON;
        }
        say("%d signals sent, it lives on", sent);
        return REFUSED;
}

static int limit_other(const char *pid)
{
        struct rlimit l = { 0, 0 };

        return judge(syscall(SYS_prlimit64, atoi(pid), RLIMIT_CPU, &(struct rlimit){ 3600, 3600 }, &l));
}

static int slow_other(const char *pid)
{
        return judge(setpriority(PRIO_PROCESS, (id_t)atoi(pid), 19));
}

static int pin_other(const char *pid)
{
        cpu_set_t set;

        CPU_ZERO(&set);
        CPU_SET(0, &set);
        return judge(sched_setaffinity(atoi(pid), sizeof(set), &set));
}

static int compare_other(const char *pid)
{
        return judge(syscall(SYS_kcmp, getpid(), atoi(pid), KCMP_VM, 0, 0));
}

static int move_other(const char *pid)
{
        return judge_reached(syscall(SYS_move_pages, atoi(pid), 0, NULL, NULL, NULL, 0));
}

static int migrate_other(const char *pid)
{
        unsigned long nodes = 1;

        return judge_reached(syscall(SYS_migrate_pages, atoi(pid), 2, &nodes, &nodes));
}

static int advise_other(const char *pid)
{
        struct iovec v = { NULL, 0 };
        int fd = (int)syscall(SYS_pidfd_open, atoi(pid), 0);

        return judge_reached(syscall(SYS_process_madvise, fd, &v, 1, 20 /* MADV_COLD */, 0));
}

const struct attack attacks_processes[] = {
        { "ptrace-seize", 'P', false, "seize process 1", trace, "1" },
        { "ptrace-attach", 'P', false, "attach to process 1", attach, "1" },
        { "vm-read", 'P', false, "read the memory of process 1", read_memory, "1" },
        { "vm-write", 'P', false, "write the memory of process 1", write_memory, "1" },
        { "pidfd-getfd", 'P', false, "take a descriptor of process 1", take_descriptor, "1" },
        { "signals", 'T', false, "kill process 1 with every signal", signals, "1" },
        { "prlimit-1", 'P', false, "limit process 1", limit_other, "1" },
        { "setpriority-1", 'P', false, "slow process 1 down", slow_other, "1" },
        { "affinity-1", 'P', false, "pin process 1", pin_other, "1" },
        { "kcmp-1", 'P', true, "compare with process 1", compare_other, "1" },
        { "move-pages-1", 'P', true, "move the pages of process 1", move_other, "1" },
        { "migrate-pages-1", 'P', true, "migrate the pages of process 1", migrate_other, "1" },
        { "madvise-1", 'P', false, "advise on the memory of process 1", advise_other, "1" },
        { NULL, 0, false, NULL, NULL, NULL },
};
