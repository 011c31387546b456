/* /proc: process 1, the settings of the machine, and what the kernel tells about itself. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/klog.h>
#include <unistd.h>

#include "attack.h"

static int open_read(const char *path)
{
        return judge(open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK));
}

static int open_write(const char *path)
{
        return judge(open(path, O_WRONLY | O_CLOEXEC | O_NONBLOCK));
}

static int read_some(const char *path)
{
        char buf[64];
        int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);

        if (fd < 0)
                return judge(fd);
        ssize_t n = read(fd, buf, sizeof(buf));
        if (n == 0)
                say("empty");
        return n > 0 ? WON : n == 0 ? REFUSED : judge(n);
}

static int read_link(const char *path)
{
        char buf[256];

        return judge(readlink(path, buf, sizeof(buf)));
}

static int list_in(const char *path)
{
        struct dirent *e;
        DIR *d = opendir(path);

        if (!d)
                return judge(-1);
        while ((e = readdir(d)))
                if (e->d_name[0] != '.')
                        return WON;
        say("empty");
        return REFUSED;
}

/* Any descriptor of process 1, by its magic link: the control stream is one. */
static int open_fd_of_1(const char *unused)
{
        char path[64];

        (void)unused;
        for (int i = 0; i < 64; i++) {
                snprintf(path, sizeof(path), "/proc/1/fd/%d", i);
                if (open(path, O_RDWR | O_CLOEXEC | O_NONBLOCK) >= 0 || open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK) >= 0) {
                        say("%s opened", path);
                        return WON;
                }
        }
        return judge(-1);
}

static int write_text(const char *path)
{
        int fd = open(path, O_WRONLY | O_CLOEXEC);

        return fd < 0 ? judge(fd) : judge(write(fd, "attack", 6));
}

static int write_number(const char *path, const char *number)
{
        int fd = open(path, O_WRONLY | O_CLOEXEC);

        return fd < 0 ? judge(fd) : judge(write(fd, number, 1));
}

static int write_zero(const char *path)
{
        return write_number(path, "0");
}

static int write_one(const char *path)
{
        return write_number(path, "1");
}

static int kernel_addresses(const char *path)
{
        char line[256];
        FILE *f = fopen(path, "re");

        if (!f)
                return judge(-1);
        for (int i = 0; i < 100 && fgets(line, sizeof(line), f); i++)
                if (strtoull(line, NULL, 16) > 0xffff)
                        return WON;
        say("zeroes");
        return REFUSED;
}

static int physical_addresses(const char *unused)
{
        uint64_t entry = 0;
        volatile char here = 1;
        int fd = open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC);

        (void)unused;
        if (fd < 0 || pread(fd, &entry, 8, (off_t)((uintptr_t)&here / 4096 * 8)) != 8)
                return judge(-1);
        say("zero");
        return entry & ((1ULL << 55) - 1) ? WON : REFUSED;
}

static int kernel_log(const char *unused)
{
        static char buf[65536];

        (void)unused;
        return judge(klogctl(3, buf, sizeof(buf)));
}

/* Host processes would be found by a word in their command line. */
static int find_process(const char *word)
{
        char path[300], line[4096];
        struct dirent *e;
        DIR *d = opendir("/proc");

        while (d && (e = readdir(d))) {
                if (strtol(e->d_name, NULL, 10) <= 0 || strtol(e->d_name, NULL, 10) == getpid() || strtol(e->d_name, NULL, 10) == getppid())
                        continue;
                snprintf(path, sizeof(path), "/proc/%s/cmdline", e->d_name);
                int fd = open(path, O_RDONLY | O_CLOEXEC);
                ssize_t n = fd < 0 ? -1 : read(fd, line, sizeof(line));
                if (fd >= 0)
                        close(fd);
                if (n > 0 && memmem(line, (size_t)n, word, strlen(word)) && !memmem(line, (size_t)n, "find-process", 12)) {
                        say("process %s", e->d_name);
                        return WON;
                }
        }
        say("not seen");
        return REFUSED;
}

const struct attack attacks_proc[] = {
        { "proc1-environ", 'P', false, "read the environment of process 1", open_read, "/proc/1/environ" },
        { "proc1-mem", 'P', false, "open the memory of process 1", open_read, "/proc/1/mem" },
        { "proc1-mem-write", 'P', false, "open the memory of process 1 for writing", open_write, "/proc/1/mem" },
        { "proc1-maps", 'P', false, "read the memory map of process 1", open_read, "/proc/1/maps" },
        { "proc1-auxv", 'P', false, "read the auxiliary vector of process 1", open_read, "/proc/1/auxv" },
        { "proc1-fd-list", 'P', false, "list the descriptors of process 1", list_in, "/proc/1/fd" },
        { "proc1-fd-open", 'P', false, "open a descriptor of process 1", open_fd_of_1, NULL },
        { "proc1-root", 'P', false, "go through /proc/1/root", list_in, "/proc/1/root/" },
        { "proc1-cwd", 'P', false, "go through /proc/1/cwd", list_in, "/proc/1/cwd/" },
        { "proc1-exe", 'P', false, "read the program of process 1", read_link, "/proc/1/exe" },
        { "proc1-ns", 'P', false, "open a namespace of process 1", open_read, "/proc/1/ns/mnt" },
        { "proc1-stack", 'P', true, "read the kernel stack of process 1", read_some, "/proc/1/stack" },
        { "proc1-syscall", 'P', true, "read the system call of process 1", read_some, "/proc/1/syscall" },
        { "proc1-pagemap", 'P', false, "read the page map of process 1", open_read, "/proc/1/pagemap" },
        { "proc1-map-files", 'P', false, "list the mapped files of process 1", list_in, "/proc/1/map_files" },
        { "proc1-oom-adjust", 'P', false, "make process 1 the first to be killed", write_zero, "/proc/1/oom_score_adj" },
        { "proc1-clear-refs", 'P', false, "clear page references of process 1", write_one, "/proc/1/clear_refs" },
        { "proc1-timers", 'P', true, "read the timers of process 1", open_read, "/proc/1/timers" },
        { "sysctl-domainname", 'P', false, "write /proc/sys/kernel/domainname", write_text, "/proc/sys/kernel/domainname" },
        { "sysctl-core-pattern", 'P', false, "open core_pattern for writing", open_write, "/proc/sys/kernel/core_pattern" },
        { "sysctl-modprobe", 'P', true, "open the modprobe path for writing", open_write, "/proc/sys/kernel/modprobe" },
        { "sysctl-drop-caches", 'P', false, "open drop_caches for writing", open_write, "/proc/sys/vm/drop_caches" },
        { "sysctl-ns-last-pid", 'P', true, "open ns_last_pid for writing", open_write, "/proc/sys/kernel/ns_last_pid" },
        { "sysctl-net", 'P', false, "open ip_forward for writing", open_write, "/proc/sys/net/ipv4/ip_forward" },
        { "sysctl-shmmax", 'P', false, "open shmmax for writing", open_write, "/proc/sys/kernel/shmmax" },
        { "sysrq", 'P', true, "open sysrq-trigger for writing", open_write, "/proc/sysrq-trigger" },
        { "kcore", 'P', true, "read the kernel's memory by /proc/kcore", read_some, "/proc/kcore" },
        { "proc-kmsg", 'P', false, "open /proc/kmsg", open_read, "/proc/kmsg" },
        { "proc-keys", 'P', true, "read /proc/keys", read_some, "/proc/keys" },
        { "proc-key-users", 'P', true, "read /proc/key-users", read_some, "/proc/key-users" },
        { "proc-kallsyms", 'P', true, "read kernel addresses", kernel_addresses, "/proc/kallsyms" },
        { "proc-modules", 'P', true, "read the list of modules", read_some, "/proc/modules" },
        { "proc-cmdline", 'P', false, "read the kernel's command line", read_some, "/proc/cmdline" },
        { "proc-interrupts", 'P', false, "read the interrupt counters", read_some, "/proc/interrupts" },
        { "proc-timer-list", 'P', true, "read the kernel's timers", read_some, "/proc/timer_list" },
        { "proc-config", 'P', true, "read the kernel's configuration", read_some, "/proc/config.gz" },
        { "proc-kpageflags", 'P', true, "read page flags", open_read, "/proc/kpageflags" },
        { "proc-kpagecount", 'P', true, "read page counts", open_read, "/proc/kpagecount" },
        { "proc-slabinfo", 'P', true, "read slab statistics", read_some, "/proc/slabinfo" },
        { "proc-vmallocinfo", 'P', true, "read vmalloc addresses", read_some, "/proc/vmallocinfo" },
        { "proc-pagetypeinfo", 'P', true, "read page types", read_some, "/proc/pagetypeinfo" },
        { "proc-irq", 'P', true, "steer interrupts", open_write, "/proc/irq/default_smp_affinity" },
        { "proc-mtrr", 'P', true, "open /proc/mtrr for writing", open_write, "/proc/mtrr" },
        { "physical-addresses", 'P', false, "learn physical addresses by pagemap", physical_addresses, NULL },
        { "kernel-log", 'P', true, "read the kernel log by syslog(2)", kernel_log, NULL },
        { "find-process", 'T', false, "see a process of the host", find_process, NULL },
        { NULL, 0, false, NULL, NULL, NULL },
};
