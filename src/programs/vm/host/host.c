/*
 * creto-vm-host: the one command of the native sandbox around a virtual machine. It makes what the machine boots from, stays as the server of the machine's
 * root (share.c), and becomes QEMU, or stays and speaks to another emulator (rest.c). It has no rights that a command in that sandbox has not, and
 * everything it reads is the daemon's or read-only.
 */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/sock.h"
#include "base/str.h"
#include "domain/vmm.h"
#include "programs/vm/host/elf.h"
#include "programs/vm/host/initrd.h"
#include "programs/vm/host/kvm.h"
#include "programs/vm/host/machine.h"
#include "programs/vm/host/saved/pack.h"
#include "programs/vm/host/rest.h"
#include "programs/vm/host/share.h"
#include "programs/vm/host/saved/snapshot.h"

enum { QMP_FD = 6, STATE_FD, SETUP_FD, SHARE_FD, PATH_CAP = 256, KVM_MS = 2000 };

struct options {
        const char *vmm, *binary, *accel, *hostname, *mode, *modules, *root, *home;
        uint64_t memory, cpus, disk, inodes, nofile, core, output, pids, patience;
};

static const struct {
        const char *name;
        size_t offset;
        bool number;
} known[] = {
        { "vmm", offsetof(struct options, vmm), false },          { "binary", offsetof(struct options, binary), false },
        { "accel", offsetof(struct options, accel), false },      { "hostname", offsetof(struct options, hostname), false },
        { "mode", offsetof(struct options, mode), false },        { "modules", offsetof(struct options, modules), false },
        { "memory", offsetof(struct options, memory), true },     { "cpus", offsetof(struct options, cpus), true },
        { "disk", offsetof(struct options, disk), true },         { "inodes", offsetof(struct options, inodes), true },
        { "nofile", offsetof(struct options, nofile), true },     { "core", offsetof(struct options, core), true },
        { "output", offsetof(struct options, output), true },     { "pids", offsetof(struct options, pids), true },
        { "patience", offsetof(struct options, patience), true }, { "root", offsetof(struct options, root), false },
        { "home", offsetof(struct options, home), false },
};

static bool is_rest(const struct options *o)
{
        return vmm_table[vmm_of(o->vmm)].rest;
}

__attribute__((noreturn)) static void fail(int status, const char *text)
{
        dprintf(STDERR_FILENO, "%s\n", text);
        _exit(status);
}

static bool read_option(struct options *o, const char *arg)
{
        for (size_t i = 0; i < sizeof(known) / sizeof(known[0]); i++) {
                size_t len = strlen(known[i].name);
                void *at = (char *)o + known[i].offset;

                if (strncmp(arg, known[i].name, len) != 0 || arg[len] != '=')
                        continue;
                if (known[i].number)
                        return str_parse_u64(arg + len + 1, at);
                memcpy(at, &(const char *){ arg + len + 1 }, sizeof(char *));
                return true;
        }
        return false;
}

static void fill_setup(const struct options *o, struct vm_setup *s)
{
        static const char *const writable[] = { "/tmp", "/var/tmp", "/run", "/home/agent", "/dev/shm" };
        struct boot_config *c = &s->boot;

        *s = (struct vm_setup){ .size = sizeof(*s), .version = VM_SETUP_VERSION };
        s->pids = o->pids;
        snprintf(s->hostname, sizeof(s->hostname), "%s", o->hostname);
        *c = (struct boot_config){
                .size = sizeof(*c),
                .version = BOOT_VERSION,
                .flags = BOOT_DIE_ALONE | BOOT_COUNT,
                .default_uid = (uint32_t)getuid(),
                .default_gid = (uint32_t)getgid(),
                .disk_watch = 1,
                .nofile = o->nofile,
                .core_bytes = o->core ? o->core : 1,
                .stack_bytes = 8 << 20,
                .as_bytes = BOOT_UNLIMITED,
                .nproc = BOOT_UNLIMITED,
                .fsize_bytes = BOOT_UNLIMITED,
                .output_bps = o->output,
                .writable_count = sizeof(writable) / sizeof(writable[0]),
        };
        snprintf(c->disk_path, sizeof(c->disk_path), "/tmp");
        snprintf(c->home, sizeof(c->home), "%s", o->home);
        for (size_t i = 0; i < c->writable_count; i++)
                snprintf(c->writable[i], BOOT_PATH_MAX, "%s", writable[i]);
}

/* ---- the disk ---- */

static void run_tool(char *const argv[])
{
        int status = -1;
        pid_t pid = fork();

        if (pid == 0) {
                dup2(STDERR_FILENO, STDOUT_FILENO); /* ours is the guest protocol's */
                execve(argv[0], argv, (char *[]){ NULL });
                _exit(EXIT_MISSING);
        }
        while (pid > 0 && waitpid(pid, &status, 0) < 0 && errno == EINTR)
                ;
        if (WIFEXITED(status) && WEXITSTATUS(status) == EXIT_MISSING)
                fail(EXIT_MISSING, "mke2fs is not installed");
        if (status != 0)
                fail(EXIT_BAD, "mke2fs has failed");
}

static int new_disk(const char *path, const struct options *o)
{
        int fd = open(path, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);

        if (fd < 0 || ftruncate(fd, (off_t)o->disk) < 0)
                fail(EXIT_BAD, "cannot make the disk");
        return fd;
}

static void make_disk(const char *path, const struct options *o)
{
        char inodes[32];

        close(new_disk(path, o));
        snprintf(inodes, sizeof(inodes), "%llu", (unsigned long long)o->inodes + 16);
        run_tool((char *[]){ (char *)"/usr/sbin/mke2fs", (char *)"-q", (char *)"-F", (char *)"-t", (char *)"ext4", (char *)"-m",
                             (char *)"0", (char *)"-N", inodes, (char *)"-O", (char *)"^has_journal", (char *)"-E",
                             (char *)"root_owner=0:0,nodiscard,lazy_itable_init=1", (char *)path, NULL });
}

/* ---- those who stay ---- */

/* A child of ours, which goes when QEMU does; true in it. */
static bool fork_helper(void)
{
        pid_t pid = fork();

        if (pid < 0)
                fail(EXIT_BAD, "cannot start a process");
        if (pid > 0)
                return false;
        int null = open("/dev/null", O_RDWR | O_CLOEXEC);
        prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0);
        if (null < 0 || dup2(null, STDIN_FILENO) < 0 || dup2(null, STDOUT_FILENO) < 0)
                _exit(EXIT_BAD);
        return true;
}

/* Leaves QEMU's end at `target`, and returns ours. */
static int give_socket(int target)
{
        int ends[2];

        if (sock_pair(SOCK_STREAM, ends) < 0)
                fail(EXIT_BAD, "cannot make a socket");
        int ours = fcntl(ends[0], F_DUPFD_CLOEXEC, 32), theirs = fcntl(ends[1], F_DUPFD_CLOEXEC, 32);
        close(ends[0]);
        close(ends[1]);
        if (ours < 0 || theirs < 0 || fd_move(theirs, target) < 0)
                fail(EXIT_BAD, "cannot place a socket");
        close(theirs);
        return ours;
}

/* `setup` stays open in the server: an end that closes might overtake what was said. */
static void start_share(const struct options *o, int setup)
{
        int ours = give_socket(SHARE_FD);

        if (fork_helper()) {
                int root = open(o->root, O_PATH | O_DIRECTORY | O_CLOEXEC);

                for (int fd = QMP_FD; fd <= SHARE_FD; fd++)
                        close(fd);
                if (root >= 0)
                        share_run(ours, root, o->root[1] != '\0');
                _exit(0);
        }
        close(ours);
        close(setup);
}

/* ---- a machine that is saved, or goes on ---- */

#define STATE_NEW STATE ".new"
#define STATE "state"

static void start_snapshot(const char *disk_path, int setup)
{
        int qmp = give_socket(QMP_FD);

        if (!fork_helper()) {
                close(qmp);
                return;
        }
        int state = open(STATE_NEW, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600), disk = open(disk_path, O_RDONLY | O_CLOEXEC);
        for (int fd = QMP_FD; fd <= SHARE_FD; fd++)
                close(fd);
        /* QEMU ends as soon as it is told to: what it wrote has its name before that */
        if (state < 0 || disk < 0 || snapshot_take(setup, qmp, state) < 0 || pack_file(state, disk) < 0 || rename(STATE_NEW, STATE) < 0) {
                kill(getppid(), SIGKILL); /* a guest that is not saved, and told nothing, would wait for ever */
                _exit(EXIT_BAD);
        }
        snapshot_end(qmp);
        _exit(0);
}

static void open_state(const char *disk_path, const struct options *o)
{
        auto_fd disk = new_disk(disk_path, o);
        int state = open(STATE, O_RDONLY | O_CLOEXEC);
        off_t end = lseek(state, 0, SEEK_END);

        if (unpack_file(state, &end, disk, o->disk) < 0 || (is_rest(o) && rest_unpack(state, &end, vmm_of(o->vmm), o->memory) < 0) ||
            lseek(state, 0, SEEK_SET) < 0 || fd_move(state, STATE_FD) < 0)
                fail(EXIT_BAD, "no machine to go on with");
}

static void tell_setup(const void *ctx, int setup)
{
        const struct options *o = ctx;
        static struct vm_setup s;
        struct timespec now;

        fill_setup(o, &s);
        clock_gettime(CLOCK_REALTIME, &now);
        s.wall_ns = (uint64_t)now.tv_sec * 1000000000 + (uint64_t)now.tv_nsec;
        if (getrandom(s.seed, sizeof(s.seed), 0) != (ssize_t)sizeof(s.seed) || fd_write_all(setup, &s, sizeof(s)) < 0)
                fail(EXIT_BAD, "cannot set up the machine");
        explicit_bzero(s.seed, sizeof(s.seed));
}

/* ---- the start ---- */

enum { KERNEL, INITRD, DISK, GUEST, INIT, ELF, PARTS };

static char here[PATH_CAP];

/* Of the two that QEMU has, what the operator has allowed and this host has. */
static const char *accel(const struct options *o)
{
        if (strcmp(o->accel, "kvm") != 0 || kvm_works("/dev/kvm", KVM_MS))
                return o->accel;
        dprintf(STDERR_FILENO, "KVM does not work here: processors are emulated\n");
        return "tcg";
}

static void make_initrd(const struct options *o, char paths[PARTS][PATH_CAP + 16])
{
        const struct initrd initrd = { .modules = o->modules, .guest = paths[GUEST], .init = paths[INIT], .vsock = is_rest(o) };
        struct err e;

        if (initrd_write(paths[INITRD], &initrd, &e) < 0)
                fail(EXIT_BAD, e.msg);
}

__attribute__((noreturn)) static void become_qemu(const struct options *o, char paths[PARTS][PATH_CAP + 16], bool saves, bool goes_on)
{
        static struct machine m;
        int setup = give_socket(SETUP_FD);

        m = (struct machine){ .qemu = o->binary,
                              .name = o->hostname,
                              .accel = accel(o),
                              .kernel = paths[KERNEL],
                              .initrd = goes_on ? NULL : paths[INITRD],
                              .disk = paths[DISK],
                              .memory_mib = o->memory >> 20,
                              .cpus = o->cpus,
                              .share_fd = SHARE_FD,
                              .setup_fd = SETUP_FD,
                              .qmp_fd = saves ? QMP_FD : -1,
                              .state_fd = goes_on ? STATE_FD : -1 };
        if (saves)
                start_snapshot(paths[DISK], setup);
        else
                tell_setup(o, setup);
        start_share(o, setup);
        machine_argv(&m);
        execv(m.qemu, (char *const *)m.argv);
        fail(EXIT_MISSING, "QEMU cannot be executed");
}

__attribute__((noreturn)) static void serve_vmm(const struct options *o, char paths[PARTS][PATH_CAP + 16], bool saves, bool goes_on)
{
        struct err e;
        struct rest r = { .vmm = vmm_of(o->vmm),
                          .binary = o->binary,
                          .root = o->root,
                          .id = o->hostname,
                          .plan = goes_on ? VMM_PLAN_GO_ON : VMM_PLAN_BOOT,
                          .saves = saves,
                          .patience_ms = (int)(o->patience * 1000),
                          .tell = tell_setup,
                          .ctx = o,
                          .machine = { .place = here,
                                       .kernel = paths[KERNEL],
                                       .initrd = paths[INITRD],
                                       .cmdline = rest_cmdline(vmm_of(o->vmm), saves),
                                       .disk = paths[DISK],
                                       .memory = o->memory >> 20 << 20,
                                       .cpus = o->cpus } };

        if (!goes_on && r.vmm == VMM_FIRECRACKER && elf_make(paths[KERNEL], paths[ELF], &e) < 0)
                fail(EXIT_BAD, e.msg);
        if (r.vmm == VMM_FIRECRACKER)
                r.machine.kernel = paths[ELF];
        if (rest_run(&r, &e) < 0)
                fail(e.code == ERR_BACKEND_UNAVAILABLE ? EXIT_MISSING : EXIT_VMM, e.msg);
        _exit(0);
}

int main(int argc, char **argv)
{
        static char paths[PARTS][PATH_CAP + 16];
        static const char *const names[PARTS] = { "kernel", "initrd", "disk", "guest", "init", "vmlinux" };
        struct options o = { .vmm = "qemu",
                             .accel = "tcg",
                             .mode = "boot",
                             .hostname = "vm",
                             .cpus = 1,
                             .root = "/",
                             .home = "/home/agent",
                             .patience = 10 };

        signal(SIGPIPE, SIG_IGN);
        for (int i = 1; i < argc; i++)
                if (!read_option(&o, argv[i]))
                        fail(EXIT_BAD, argv[i]);
        if (!getcwd(here, sizeof(here)) || !o.modules || !vmm_is_class(o.vmm))
                fail(EXIT_BAD, "no directory");
        if (!o.binary)
                o.binary = vmm_table[vmm_of(o.vmm)].binary;
        if (access(o.binary, X_OK) < 0) {
                dprintf(STDERR_FILENO, "%s is not installed\n", vmm_table[vmm_of(o.vmm)].name);
                _exit(EXIT_MISSING);
        }
        for (size_t i = 0; i < PARTS; i++)
                snprintf(paths[i], sizeof(paths[i]), "%s/%s", here, names[i]);
        bool saves = strcmp(o.mode, "save") == 0, goes_on = strcmp(o.mode, "go-on") == 0;
        if (goes_on) {
                open_state(paths[DISK], &o);
        } else {
                make_initrd(&o, paths);
                make_disk(paths[DISK], &o);
        }
        if (is_rest(&o))
                serve_vmm(&o, paths, saves, goes_on);
        become_qemu(&o, paths, saves, goes_on);
}
