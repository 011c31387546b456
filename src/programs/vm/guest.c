/*
 * creto-vm-guest: pid 1 of a virtual machine. It loads what the kernel needs to reach the host, makes the root, starts creto-init in a pid namespace of its
 * own, and turns the machine off when that ends. Nothing of the sandbox can reach it: there it has neither a number nor a file.
 *
 * The root is the one of the native sandbox around the machine, read-only, through FUSE over a serial port (relay.c; the other end is share.c). What is
 * writable lies on a disk of its own. Everything that goes wrong here is one line on the console, which the host shows.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <linux/capability.h>
#include <linux/random.h>
#include <linux/vm_sockets.h>
#include <net/if.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/random.h>
#include <sys/reboot.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysinfo.h>
#include <sys/sysmacros.h>
#include <sys/vfs.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/str.h"
#include "base/sys.h"
#include "programs/vm/relay.h"
#include "programs/vm/vm.h"

enum { PORT_MS = 20000, STEP_MS = 2, AGAIN_MS = 250, TTY_GROUP = 5, CAPS_MAX = 64 };

#define NEW "/new"
#define DISK "/disk"
#define HOME DISK "/home"
#define GROUP "/group"

#ifndef RNDRESEEDCRNG
#define RNDRESEEDCRNG _IO('R', 0x07)
#endif

static struct vm_setup setup;
static bool over_vsock, saved;

__attribute__((noreturn)) static void off(void)
{
        sync();
        reboot(getenv("creto_off") ? RB_AUTOBOOT : RB_POWER_OFF);
        for (;;)
                pause();
}

__attribute__((format(printf, 1, 2), noreturn)) static void fail(const char *format, ...)
{
        int sys = errno;
        va_list args;
        char text[200];

        va_start(args, format);
        vsnprintf(text, sizeof(text), format, args);
        va_end(args);
        dprintf(STDERR_FILENO, "creto-vm-guest: %s: %s\n", text, strerror(sys));
        off();
}

/* ---- what it needs to speak to the host ---- */

static void mount_or_fail(const char *what, const char *at, const char *type, unsigned long flags, const char *options)
{
        if (mount(what, at, type, flags, options) < 0)
                fail("cannot mount %s on %s", what, at);
}

static void load_modules(void)
{
        char path[64];

        for (unsigned i = 0; i < VM_MODULES_MAX; i++) {
                snprintf(path, sizeof(path), "/" VM_FILE_MODULES "/%02u.ko", i);
                auto_fd fd = open(path, O_RDONLY | O_CLOEXEC);
                if (fd < 0)
                        return;
                if (syscall(SYS_finit_module, fd, "", 0) < 0 && errno != EEXIST)
                        fail("cannot load module %u", i);
        }
}

/* A machine without memory that reads its programs over and over again is of no use to anybody: it had better end one of them. */
static void limit_thrashing(void)
{
        if (fd_write_file(AT_FDCWD, "/sys/kernel/mm/lru_gen/enabled", "y") == 0)
                fd_write_file(AT_FDCWD, "/sys/kernel/mm/lru_gen/min_ttl_ms", "1000");
}

static bool port_of(const char *wanted, char *device, size_t cap)
{
        DIR *d = opendir("/sys/class/virtio-ports");
        char path[300], name[64];
        bool found = false;

        for (const struct dirent *x; d && !found && (x = readdir(d));) {
                if (x->d_name[0] == '.' || strlen(x->d_name) > 32)
                        continue;
                snprintf(path, sizeof(path), "/sys/class/virtio-ports/%s/name", x->d_name);
                if (fd_read_file(AT_FDCWD, path, name, sizeof(name)) <= 0)
                        continue;
                name[strcspn(name, "\n")] = '\0';
                found = strcmp(name, wanted) == 0;
                if (found)
                        snprintf(device, cap, "/dev/%.32s", x->d_name);
        }
        if (d)
                closedir(d);
        return found;
}

static unsigned vsock_of(const char *name)
{
        return strcmp(name, VM_PORT_GUEST) == 0 ? VM_VSOCK_GUEST : strcmp(name, VM_PORT_SHARE) == 0 ? VM_VSOCK_SHARE : VM_VSOCK_SETUP;
}

static int open_vsock(const char *name)
{
        const struct sockaddr_vm to = { .svm_family = AF_VSOCK, .svm_cid = VMADDR_CID_HOST, .svm_port = vsock_of(name) };

        for (int waited = 0; waited < PORT_MS; waited += STEP_MS) {
                int fd = socket(AF_VSOCK, SOCK_STREAM | SOCK_CLOEXEC, 0);

                if (fd >= 0 && connect(fd, (const struct sockaddr *)&to, sizeof(to)) == 0 && fd_set_nonblock(fd, true) == 0)
                        return fd;
                fd_close(&fd);
                poll(NULL, 0, STEP_MS);
        }
        fail("port %s cannot be reached", name);
}

/* Ports come by and by; one is of use when the other end has opened it too. */
static int open_port(const char *name)
{
        char device[64] = "";
        int fd = -1;

        if (over_vsock)
                return open_vsock(name);
        for (int waited = 0; waited < PORT_MS; waited += STEP_MS) {
                if (fd < 0 && port_of(name, device, sizeof(device)))
                        fd = open(device, O_RDWR | O_CLOEXEC | O_NONBLOCK);
                struct pollfd p = { .fd = fd, .events = POLLOUT };
                if (fd >= 0 && poll(&p, 1, 0) >= 0 && !(p.revents & POLLHUP))
                        return fd;
                poll(NULL, 0, STEP_MS);
        }
        errno = ETIMEDOUT;
        fail("port %s (%s) is %s", name, device, fd < 0 ? "not there" : "closed on the other end");
}

/* ---- what this sandbox's machine is told ---- */

/* What the kernel used while it booted and needs no more is not worth saving: pages of zeros are not written. */
static void forget_free_memory(void)
{
        struct sysinfo info;

        if (sysinfo(&info) < 0)
                fail("how much memory is there?");
        size_t len = (size_t)info.freeram * info.mem_unit / 16 * 15;
        void *p = mmap(NULL, len, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
        if (p == MAP_FAILED || munmap(p, len) < 0)
                fail("cannot clear memory");
}

/* Returns how many bytes came before the port ended, or before it was silent for `wait_ms` and had said nothing at all. */
static size_t hear_setup(int port, int wait_ms)
{
        size_t len = 0;

        if (write(port, &(char){ VM_READY }, 1) != 1)
                return 0;
        while (len < sizeof(setup)) {
                struct pollfd p = { .fd = port, .events = POLLIN };
                int ready = poll(&p, 1, len > 0 ? -1 : wait_ms);
                ssize_t n = ready > 0 ? read(port, (char *)&setup + len, sizeof(setup) - len) : -1;

                if (ready == 0 || n == 0 || (ready > 0 && n < 0 && errno != EAGAIN && errno != EINTR))
                        break;
                len += n > 0 ? (size_t)n : 0;
        }
        return len;
}

/* Everything before this is the same for all machines, and may have happened long ago, for another one that was saved: then its connections are gone, whether
 * its kernel has been told or not. */
static void take_setup(void)
{
        bool again = saved && over_vsock;
        size_t len;

        do {
                auto_fd port = open_port(VM_PORT_SETUP);
                len = hear_setup(port, again ? AGAIN_MS : -1);
        } while (again && len == 0);
        if (len < sizeof(setup))
                fail("cannot read the setup");
        errno = EPROTO;
        if (setup.size != sizeof(setup) || setup.version != VM_SETUP_VERSION)
                fail("the setup is another program's");
        setup.hostname[VM_HOSTNAME_MAX - 1] = '\0';
}

/* Random numbers and the time of a machine that was saved are those of then. */
static void renew(void)
{
        static _Alignas(struct rand_pool_info) uint8_t space[sizeof(struct rand_pool_info) + VM_SEED];
        struct rand_pool_info *pool = (void *)space;
        const struct timespec now = { .tv_sec = (time_t)(setup.wall_ns / 1000000000), .tv_nsec = (long)(setup.wall_ns % 1000000000) };
        auto_fd fd = open("/dev/random", O_RDWR | O_CLOEXEC);

        *pool = (struct rand_pool_info){ .entropy_count = VM_SEED * 8, .buf_size = VM_SEED };
        memcpy(pool->buf, setup.seed, VM_SEED);
        if (fd < 0 || ioctl(fd, RNDADDENTROPY, pool) < 0 || ioctl(fd, RNDRESEEDCRNG) < 0)
                fail("cannot seed the random numbers");
        explicit_bzero(space, sizeof(space));
        explicit_bzero(setup.seed, VM_SEED);
        if (clock_settime(CLOCK_REALTIME, &now) < 0)
                fail("cannot set the clock");
}

/* ---- the root ---- */

static int fuse = -1; /* over vsock, whose connections do not outlive being saved; else only the relay has it */
static pid_t relay;

static void start_relay(void)
{
        int port = open_port(VM_PORT_SHARE);

        relay = fork();
        if (relay < 0)
                fail("cannot fork");
        if (relay == 0) {
                prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0);
                relay_run(fuse, port);
                _exit(1);
        }
        close(port);
        if (!over_vsock)
                fd_close(&fuse);
}

static void restart_relay(void)
{
        kill(relay, SIGKILL);
        while (waitpid(relay, NULL, 0) < 0 && errno == EINTR)
                ;
        start_relay();
}

static void mount_share(void)
{
        char options[128];
        struct statfs fs;

        fuse = open("/dev/fuse", O_RDWR | O_CLOEXEC);
        if (fuse < 0)
                fail("cannot open /dev/fuse");
        snprintf(options, sizeof(options), "fd=%d,rootmode=40755,user_id=0,group_id=0,allow_other,default_permissions,max_read=%d", fuse,
                 VM_FUSE_DATA);
        mount_or_fail("share", NEW, "fuse", MS_RDONLY | MS_NOSUID | MS_NODEV | MS_NOATIME, options);
        start_relay();
        if (statfs(NEW, &fs) < 0) /* it waits until the two have greeted */
                fail("the share does not answer");
}

static void make_node(const char *path, unsigned major_number, unsigned minor_number)
{
        if (mknod(path, S_IFCHR | 0666, makedev(major_number, minor_number)) < 0 || chmod(path, 0666) < 0)
                fail("cannot make %s", path);
}

static void make_dev(void)
{
        static const struct {
                const char *path;
                unsigned major_number, minor_number;
        } nodes[] = { { NEW "/dev/null", 1, 3 },   { NEW "/dev/zero", 1, 5 },    { NEW "/dev/full", 1, 7 },
                      { NEW "/dev/random", 1, 8 }, { NEW "/dev/urandom", 1, 9 }, { NEW "/dev/tty", 5, 0 } };
        static const char *const links[][2] = { { "/proc/self/fd", NEW "/dev/fd" },
                                                { "/proc/self/fd/0", NEW "/dev/stdin" },
                                                { "/proc/self/fd/1", NEW "/dev/stdout" },
                                                { "/proc/self/fd/2", NEW "/dev/stderr" },
                                                { "pts/ptmx", NEW "/dev/ptmx" } };

        mount_or_fail("dev", NEW "/dev", "tmpfs", MS_NOSUID | MS_NOEXEC, "mode=0755,size=64k,nr_inodes=64");
        for (size_t i = 0; i < sizeof(nodes) / sizeof(nodes[0]); i++)
                make_node(nodes[i].path, nodes[i].major_number, nodes[i].minor_number);
        for (size_t i = 0; i < sizeof(links) / sizeof(links[0]); i++)
                if (symlink(links[i][0], links[i][1]) < 0)
                        fail("cannot make %s", links[i][1]);
        if (mkdir(NEW "/dev/pts", 0755) < 0 || mkdir(NEW "/dev/shm", 01777) < 0)
                fail("cannot make directories in /dev");
        mount_or_fail("devpts", NEW "/dev/pts", "devpts", MS_NOSUID | MS_NOEXEC, "newinstance,ptmxmode=0666,mode=0620,gid=5,max=64");
        mount_or_fail("shm", NEW "/dev/shm", "tmpfs", MS_NOSUID | MS_NODEV, "mode=01777,size=50%");
}

/* The writable places are directories of one disk. */
static void mount_disk(void)
{
        static const struct {
                const char *from, *to;
                mode_t mode;
        } places[] = { { DISK "/tmp", NEW "/tmp", 01777 },
                       { DISK "/var-tmp", NEW "/var/tmp", 01777 },
                       { DISK "/run", NEW "/run", 01777 },
                       { HOME, NEW "/home/agent", 0700 } };

        mount_or_fail("/dev/vda", DISK, "ext4", MS_NOSUID | MS_NODEV | MS_NOATIME, "nobarrier,noinit_itable");
        for (size_t i = 0; i < sizeof(places) / sizeof(places[0]); i++) {
                if (mkdir(places[i].from, places[i].mode) < 0 || chmod(places[i].from, places[i].mode) < 0)
                        fail("cannot make %s", places[i].from);
                mount_or_fail(places[i].from, places[i].to, NULL, MS_BIND, NULL);
        }
}

static void make_machine_id(void)
{
        uint8_t raw[16];
        char text[34];

        if (getrandom(raw, sizeof(raw), 0) != (ssize_t)sizeof(raw))
                fail("no random numbers");
        str_hex(raw, sizeof(raw), text);
        strcat(text, "\n");
        auto_fd fd = open(DISK "/run/machine-id", O_WRONLY | O_CREAT | O_CLOEXEC | O_TRUNC, 0444);
        if (fd < 0 || fd_write_all(fd, text, strlen(text)) < 0)
                fail("cannot write the machine id");
}

static void loopback_up(void)
{
        struct ifreq r = { .ifr_name = "lo", .ifr_flags = IFF_UP };
        auto_fd s = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);

        if (s < 0 || ioctl(s, SIOCSIFFLAGS, &r) < 0)
                fail("cannot set up the loopback");
}

/* ---- creto-init ---- */

/* Nobody of the sandbox is who creto-init is, so that root there can be somebody's user. What it does not need no command can have either. */
static void become_init(void)
{
        static const int kept[] = { CAP_SETUID, CAP_SETGID, CAP_SETPCAP, CAP_KILL };
        const uint32_t bits = 1U << CAP_SETUID | 1U << CAP_SETGID | 1U << CAP_SETPCAP | 1U << CAP_KILL;
        struct __user_cap_header_struct head = { .version = _LINUX_CAPABILITY_VERSION_3 };
        const struct __user_cap_data_struct data[2] = { { bits, bits, bits }, { 0 } };

        for (int cap = 0; cap < CAPS_MAX && prctl(PR_CAPBSET_READ, cap, 0, 0, 0) >= 0; cap++) {
                bool keep = false;

                for (size_t i = 0; i < sizeof(kept) / sizeof(kept[0]); i++)
                        keep |= kept[i] == cap;
                if (!keep && prctl(PR_CAPBSET_DROP, cap, 0, 0, 0) < 0)
                        fail("cannot drop capability %d", cap);
        }
        if (prctl(PR_SET_KEEPCAPS, 1, 0, 0, 0) < 0 || setgroups(0, NULL) < 0 || setresgid(VM_INIT_ID, VM_INIT_ID, VM_INIT_ID) < 0 ||
            setresuid(VM_INIT_ID, VM_INIT_ID, VM_INIT_ID) < 0 || syscall(SYS_capset, &head, data) < 0)
                fail("cannot become creto-init's user");
        for (size_t i = 0; i < sizeof(kept) / sizeof(kept[0]); i++)
                if (prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE, kept[i], 0, 0) < 0)
                        fail("cannot keep capability %d", kept[i]);
}

struct init_fds {
        int port, exe, config, group, forks;
};

static void give_fds(const struct init_fds *f)
{
        int null = open("/dev/null", O_RDWR | O_CLOEXEC);
        int high = fcntl(f->port, F_DUPFD_CLOEXEC, 32), config = fcntl(f->config, F_DUPFD_CLOEXEC, 32);
        int forks = fcntl(f->forks, F_DUPFD_CLOEXEC, 32);

        if (null < 0 || high < 0 || config < 0 || forks < 0 || fd_move(forks, BOOT_FD_FORKS) < 0 || fd_move(high, BOOT_FD_STREAM) < 0 ||
            fd_move(config, BOOT_FD_CONFIG) < 0 || fd_move(null, 0) < 0 || fd_move(null, 1) < 0)
                fail("cannot place descriptors");
}

/* A group for creto-init and all below it; how many there may be is said later. */
static int make_group(void)
{
        mount_or_fail("group", GROUP, "cgroup2", MS_NOSUID | MS_NODEV | MS_NOEXEC, NULL);
        if (fd_write_file(AT_FDCWD, GROUP "/cgroup.subtree_control", "+pids") < 0 || mkdir(GROUP "/sandbox", 0700) < 0)
                fail("cannot make a control group");
        return open(GROUP "/sandbox/cgroup.procs", O_WRONLY | O_CLOEXEC);
}

/* creto-init is one more. */
static void limit_pids(void)
{
        char text[32];

        if (setup.pids == UINT64_MAX)
                return;
        snprintf(text, sizeof(text), "%llu", (unsigned long long)setup.pids + 1);
        if (fd_write_file(AT_FDCWD, GROUP "/sandbox/pids.max", text) < 0)
                fail("cannot limit processes");
}

/* It sees nothing but the new root, and waits for its configuration. */
static int init_main(void *arg)
{
        char *argv[] = { (char *)"creto-init", NULL }, *env[] = { NULL };
        const struct init_fds *f = arg;
        int exe = fcntl(f->exe, F_DUPFD_CLOEXEC, 64);

        if (write(f->group, "0", 1) != 1)
                fail("cannot join the group");
        if (chroot(NEW) < 0 || chdir("/") < 0)
                fail("cannot enter the root");
        mount_or_fail("proc", "/proc", "proc", MS_NOSUID | MS_NODEV | MS_NOEXEC, NULL);
        setsid();
        give_fds(f);
        become_init();
        int console = fcntl(STDERR_FILENO, F_DUPFD_CLOEXEC, 80);
        if (console < 0 || dup2(0, STDERR_FILENO) < 0)
                fail("cannot place descriptors");
        sys_close_range(BOOT_FD_CONFIG + 1, BOOT_FD_FORKS - 1, 0);
        sys_close_range(BOOT_FD_FORKS + 1, 63, 0);
        syscall(SYS_execveat, exe, "", argv, env, AT_EMPTY_PATH);
        dup2(console, STDERR_FILENO);
        fail("cannot execute creto-init");
}

/* Returns the pipe that it gets its configuration from. */
static int start_init(int port, pid_t *pid)
{
        static uint8_t stack[65536] __attribute__((aligned(16)));
        int ends[2];

        if (pipe2(ends, O_CLOEXEC) < 0)
                fail("no pipe");
        struct init_fds f = { port, open("/" VM_FILE_INIT, O_RDONLY | O_CLOEXEC), ends[0], make_group(), -1 };
        f.forks = open(GROUP "/sandbox/pids.events", O_RDONLY | O_CLOEXEC);
        if (f.exe < 0 || f.group < 0 || f.forks < 0 || (*pid = clone(init_main, stack + sizeof(stack), CLONE_NEWPID | SIGCHLD, &f)) < 0)
                fail("cannot start creto-init");
        close(f.exe);
        close(f.group);
        close(f.forks);
        close(ends[0]);
        close(port);
        return ends[1];
}

/* ---- the order ---- */

/* All that is the same for every machine of a kind. */
static int boot_machine(pid_t *init)
{
        mount_or_fail("dev", "/dev", "devtmpfs", MS_NOSUID | MS_NOEXEC, NULL);
        mount_or_fail("sys", "/sys", "sysfs", MS_NOSUID | MS_NODEV | MS_NOEXEC, NULL);
        load_modules();
        limit_thrashing();
        mount_share();
        mount_disk();
        make_dev();
        loopback_up();
        int config = over_vsock ? -1 : start_init(open_port(VM_PORT_GUEST), init);
        if (saved) {
                sync();
                forget_free_memory();
        }
        return config;
}

/* And what is one sandbox's. */
static void make_it_this_ones(int config, pid_t *init)
{
        take_setup();
        if (over_vsock && saved)
                restart_relay();
        if (over_vsock)
                config = start_init(open_port(VM_PORT_GUEST), init);
        renew();
        make_machine_id();
        limit_pids();
        if (chown(HOME, setup.boot.default_uid, setup.boot.default_gid) < 0)
                fail("cannot give the home away");
        if (sethostname(setup.hostname, strlen(setup.hostname)) < 0)
                fail("cannot set the hostname");
        if (fd_write_all(config, &setup.boot, sizeof(setup.boot)) < 0)
                fail("cannot hand over the configuration");
        close(config);
}

int main(void)
{
        pid_t init, ended;

        if (getpid() != 1)
                return 2;
        over_vsock = getenv("creto_vsock") != NULL;
        saved = getenv("creto_saved") != NULL;
        int config = boot_machine(&init);
        make_it_this_ones(config, &init);
        while ((ended = wait(NULL)) != init)
                if (ended > 0) { /* the other child of ours: without a root nothing can go on */
                        errno = EIO;
                        fail("the share has ended");
                }
        dprintf(STDERR_FILENO, "creto-vm-guest: creto-init has ended\n");
        off();
}
