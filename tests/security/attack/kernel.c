/* The parts of the kernel that a sandboxed program has no business with, and the ways around a filter. */
#include <errno.h>
#include <fcntl.h>
#include <linux/bpf.h>
#include <linux/io_uring.h>
#include <linux/perf_event.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/timex.h>
#include <time.h>
#include <unistd.h>

#include "attack.h"

static int io_uring(const char *unused)
{
        struct io_uring_params p = { 0 };

        (void)unused;
        return judge(syscall(SYS_io_uring_setup, 4, &p));
}

static int bpf_map(const char *unused)
{
        union bpf_attr a = { .map_type = BPF_MAP_TYPE_ARRAY, .key_size = 4, .value_size = 8, .max_entries = 1 };

        (void)unused;
        return judge(syscall(SYS_bpf, BPF_MAP_CREATE, &a, sizeof(a)));
}

static int perf(const char *unused)
{
        struct perf_event_attr a = { .type = PERF_TYPE_SOFTWARE, .size = sizeof(a), .config = PERF_COUNT_SW_CPU_CLOCK };

        (void)unused;
        return judge(syscall(SYS_perf_event_open, &a, 0, -1, -1, 0));
}

static int add_key(const char *unused)
{
        (void)unused;
        return judge(syscall(SYS_add_key, "user", "attack", "x", 1, -1 /* thread keyring */));
}

static int userfault(const char *unused)
{
        (void)unused;
        return judge(syscall(SYS_userfaultfd, 1 /* UFFD_USER_MODE_ONLY */));
}

static int file_handle(const char *unused)
{
        struct {
                struct file_handle head;
                char more[128];
        } h = { .head.handle_bytes = 128 };
        int mount;

        (void)unused;
        return judge(syscall(SYS_name_to_handle_at, AT_FDCWD, "/usr", &h, &mount, 0));
}

/* The trick that broke out of the first containers: a file by its inode number, whatever the path. */
static int open_handle(const char *unused)
{
        struct {
                struct file_handle head;
                uint32_t inode, generation;
        } h = { .head = { .handle_bytes = 8, .handle_type = 1 }, .inode = 2 };
        int at = open("/usr", O_RDONLY | O_CLOEXEC);

        (void)unused;
        return judge_reached(syscall(SYS_open_by_handle_at, at, &h, O_RDONLY));
}

static int kernel_version(const char *unused)
{
        (void)unused;
        return judge(syscall(SYS_personality, 0x0020000 | 0x0040000 /* UNAME26, ADDR_NO_RANDOMIZE */));
}

static int persona(const char *hex)
{
        return judge(syscall(SYS_personality, strtoul(hex, NULL, 16)));
}

static int host_name(const char *unused)
{
        (void)unused;
        return judge(syscall(SYS_sethostname, "attacked", 8));
}

static int domain_name(const char *unused)
{
        (void)unused;
        return judge(syscall(SYS_setdomainname, "attacked", 8));
}

static int clock_read_adjust(const char *unused)
{
        struct timex t = { 0 };

        (void)unused;
        return judge(syscall(SYS_clock_adjtime, CLOCK_REALTIME, &t));
}

#define CALL(id, ...)                                                                                                                      \
        static int call_##id(const char *unused)                                                                                           \
        {                                                                                                                                  \
                (void)unused;                                                                                                              \
                return judge_reached(syscall(SYS_##id, ##__VA_ARGS__));                                                                    \
        }
CALL(keyctl, 0, -3, 0)
CALL(request_key, "user", "attack", NULL, 0)
CALL(fanotify_init, 0, 0)
CALL(vhangup)
CALL(acct, NULL)
CALL(quotactl, 0x800003 << 8, "/dev/none", 0, NULL)
CALL(init_module, NULL, 0, "")
CALL(finit_module, -1, "", 0)
CALL(delete_module, "attack", 0)
CALL(kexec_load, 0, 99999, NULL, 0)
CALL(kexec_file_load, -1, -1, 0, NULL, 0x100)
CALL(reboot, 1, 2, 3, NULL)
CALL(swapon, "/nonexistent", 0)
CALL(swapoff, "/nonexistent")
CALL(settimeofday, (void *)8, NULL)
CALL(clock_settime, CLOCK_REALTIME, (void *)8)
CALL(syslog, 10, NULL, 0)
CALL(memfd_secret, 0)
CALL(io_uring_enter, -1, 0, 0, 0, NULL, 0)
CALL(io_uring_register, -1, 0, NULL, 0)
#ifdef __x86_64__
CALL(iopl, 3)
CALL(ioperm, 0x80, 1, 1)
CALL(modify_ldt, 0, NULL, 0)

/* A 32-bit call has other numbers: through a filter of numbers only, anything goes. */
static int int_80(const char *unused)
{
        long r;

        (void)unused;
        __asm__ volatile("int $0x80" : "=a"(r) : "a"(20L) : "memory", "r8", "r9", "r10", "r11");
        if (r < 0) {
                errno = (int)-r;
                return judge(-1);
        }
        return WON;
}

static int x32(const char *unused)
{
        (void)unused;
        return judge(syscall(0x40000000 | SYS_getpid));
}

/* A filter that knows x86-64 only by its number would take this for no call at all. */
static int x32_execve(const char *unused)
{
        (void)unused;
        return judge_reached(syscall(0x40000000 | 520, "/nonexistent", NULL, NULL));
}
#endif

const struct attack attacks_kernel[] = {
        { "io-uring", 'U', true, "set up an io_uring", io_uring, NULL },
        { "io-uring-enter", 'U', true, "call io_uring_enter", call_io_uring_enter, NULL },
        { "io-uring-register", 'U', true, "call io_uring_register", call_io_uring_register, NULL },
        { "bpf", 'P', false, "make a BPF map", bpf_map, NULL },
        { "perf", 'P', true, "count events", perf, NULL },
        { "add-key", 'U', true, "add a key", add_key, NULL },
        { "keyctl", 'U', true, "ask for the session keyring", call_keyctl, NULL },
        { "request-key", 'U', true, "request a key", call_request_key, NULL },
        { "userfaultfd", 'U', true, "make a userfaultfd", userfault, NULL },
        { "fanotify", 'P', true, "listen for file events", call_fanotify_init, NULL },
        { "vhangup", 'P', false, "hang up the terminal", call_vhangup, NULL },
        { "acct", 'P', true, "turn accounting off", call_acct, NULL },
        { "quotactl", 'P', true, "set quotas", call_quotactl, NULL },
        { "open-by-handle", 'P', false, "open a host file by its handle", open_handle, NULL },
        { "name-to-handle", 'U', false, "get the handle of a file", file_handle, NULL },
        { "init-module", 'P', true, "load a kernel module", call_init_module, NULL },
        { "finit-module", 'P', true, "load a kernel module from a file", call_finit_module, NULL },
        { "delete-module", 'P', true, "remove a kernel module", call_delete_module, NULL },
        { "kexec-load", 'P', true, "load another kernel", call_kexec_load, NULL },
        { "kexec-file-load", 'P', true, "load another kernel from a file", call_kexec_file_load, NULL },
        { "reboot", 'P', false, "reach reboot(2)", call_reboot, NULL },
        { "swapon", 'P', false, "add swap", call_swapon, NULL },
        { "swapoff", 'P', false, "take swap away", call_swapoff, NULL },
        { "settimeofday", 'P', false, "reach settimeofday(2)", call_settimeofday, NULL },
        { "clock-settime", 'P', false, "reach clock_settime(2)", call_clock_settime, NULL },
        { "clock-adjtime", 'U', false, "reach clock_adjtime(2)", clock_read_adjust, NULL },
        { "sethostname", 'P', false, "change the host name", host_name, NULL },
        { "setdomainname", 'P', false, "change the domain name", domain_name, NULL },
        { "syslog", 'P', true, "ask for the size of the kernel log", call_syslog, NULL },
        { "memfd-secret", 'U', true, "make secret memory", call_memfd_secret, NULL },
        { "personality-layout", 'U', false, "turn address randomisation off", persona, "0040000" },
        { "personality-exec", 'U', false, "make readable memory executable", persona, "0400000" },
        { "personality-mixed", 'U', false, "the same, beside an allowed flag", kernel_version, NULL },
#ifdef __x86_64__
        { "iopl", 'P', true, "get at the machine's ports", call_iopl, NULL },
        { "ioperm", 'P', true, "get at one port", call_ioperm, NULL },
        { "modify-ldt", 'U', true, "change the segment table", call_modify_ldt, NULL },
        { "abi-int80", 'U', true, "make a 32-bit system call", int_80, NULL },
        { "abi-x32", 'U', true, "make an x32 system call", x32, NULL },
        { "abi-x32-execve", 'U', true, "make an x32 system call of its own number", x32_execve, NULL },
#endif
        { NULL, 0, false, NULL, NULL, NULL },
};
