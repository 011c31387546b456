/*
 * A machine's life in its native sandbox: files written, creto-vm-host started, its stream carried, its end explained.
 */
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/sysinfo.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/str.h"
#include "domain/skeleton.h"
#include "services/vm/internal.h"

/* MACHINE: the channel of the one command, and above those of the steps before it. STATUS_: what creto-vm-host ends with. */
enum { MACHINE = 1000, ARG_MAX_LEN = 512, STATUS_VMM = 124, STATUS_MISSING = 127 };

#define MIB (1024ULL * 1024)
#define PLACE "/tmp/vm"

/* Memory: QEMU itself, its translated code, and what the kernel keeps for it. Disk: what a machine is made of, until it is there, the saved one in it. */
static const uint64_t memory_overhead = 224 * MIB, disk_overhead = 160 * MIB;
/* Who is not QEMU boots an unpacked kernel, and saves a machine's memory to a file as large as that. */
static const uint64_t rest_disk_overhead = 96 * MIB;
static const uint64_t pids_outside = 128;

/* KERNEL_HEAD: QEMU wants a kernel even where none is to be booted, and looks at its first sectors. */
enum { BOOTS = 1 << VM_BOOT | 1 << VM_SAVE, ANY_MODE = BOOTS | 1 << VM_GO_ON, KERNEL_HEAD = 64 * 1024 };
#define TEMPLATE SIZE_MAX

/* What the sandbox is made to hold. */
static const struct {
        const char *argv[4];
        size_t file; /* what is written, of the assets; of a machine that goes on, the template */
        size_t most; /* bytes of it; 0: all */
        enum guest_kind kind;
        unsigned modes; /* bits */
} steps[] = {
        { { PLACE, "0700", "p", NULL }, 0, 0, GUEST_KIND_MKDIR, ANY_MODE },
        { { PLACE "/host", "0700", NULL }, offsetof(struct vm_assets, host), 0, GUEST_KIND_WRITE, ANY_MODE },
        { { PLACE "/guest", "0600", NULL }, offsetof(struct vm_assets, guest), 0, GUEST_KIND_WRITE, BOOTS },
        { { PLACE "/init", "0600", NULL }, offsetof(struct vm_assets, init), 0, GUEST_KIND_WRITE, BOOTS },
        { { PLACE "/kernel", "0600", NULL }, offsetof(struct vm_assets, kernel), 0, GUEST_KIND_WRITE, BOOTS },
        { { PLACE "/kernel", "0600", NULL }, offsetof(struct vm_assets, kernel), KERNEL_HEAD, GUEST_KIND_WRITE, 1 << VM_GO_ON },
        { { PLACE "/state", "0600", NULL }, TEMPLATE, 0, GUEST_KIND_WRITE, 1 << VM_GO_ON },
        { { NULL }, 0, 0, GUEST_KIND_PROGRAM, 1 << VM_SAVE },
        { { PLACE "/state", NULL }, TEMPLATE, 0, GUEST_KIND_READ, 1 << VM_SAVE },
};

enum { STEPS = sizeof(steps) / sizeof(steps[0]) };

/* ---- limits ---- */

int vm_limits(enum vmm vmm, const struct limits *inside, struct limits *outside, struct err *e)
{
        const uint64_t *in = inside->value;

        if (in[LIMIT_MEMORY] == LIMIT_UNLIMITED || in[LIMIT_MEMORY] < VM_MEMORY_LEAST) {
                err_set(e, ERR_INVALID_SPEC, 0, "a virtual machine needs %d MiB of memory at least, and a limit", VM_MEMORY_LEAST >> 20);
                return err_hint(e, "--memory 512M");
        }
        if (in[LIMIT_DISK] == LIMIT_UNLIMITED || in[LIMIT_INODES] == LIMIT_UNLIMITED)
                return err_set(e, ERR_INVALID_SPEC, 0, "the disk of a virtual machine needs a limit");
        *outside = *inside;
        outside->value[LIMIT_MEMORY] += memory_overhead;
        outside->value[LIMIT_DISK] += disk_overhead + in[LIMIT_MEMORY] / 32;
        if (vmm_table[vmm].rest)
                outside->value[LIMIT_DISK] += rest_disk_overhead + in[LIMIT_MEMORY];
        outside->value[LIMIT_INODES] = 4096;
        outside->value[LIMIT_PIDS] = pids_outside;
        outside->value[LIMIT_SWAP] = 0;
        if (outside->value[LIMIT_NOFILE] < 1024)
                outside->value[LIMIT_NOFILE] = 1024;
        return 0;
}

static unsigned long long cpus(const struct vm *vm)
{
        uint64_t wanted = vm->limits.value[LIMIT_CPU], host = (uint64_t)get_nprocs();

        if (vm->cpus > 0)
                return vm->cpus;
        if (host > VMM_CPUS_MAX)
                host = VMM_CPUS_MAX;
        if (wanted == LIMIT_UNLIMITED || (wanted + 999) / 1000 > host)
                return host;
        return wanted <= 1000 ? 1 : (wanted + 999) / 1000;
}

/* ---- what it said ---- */

static void console_add(struct vm *vm, const char *data, size_t len)
{
        if (len > CONSOLE_MAX) {
                data += len - CONSOLE_MAX;
                len = CONSOLE_MAX;
        }
        if (vm->console_len + len > CONSOLE_MAX) {
                size_t drop = vm->console_len + len - CONSOLE_MAX;

                vm->console_len -= drop;
                memmove(vm->console, vm->console + drop, vm->console_len);
        }
        memcpy(vm->console + vm->console_len, data, len);
        vm->console_len += len;
        vm->console[vm->console_len] = '\0';
}

/* The line that begins the end: a kernel's panic, else the last there is; printable, of at most cap - 1 bytes. */
static void console_line(const struct vm *vm, char *out, size_t cap)
{
        const char *line = strstr(vm->console, "Kernel panic"), *last = vm->console;
        size_t n = 0;

        for (const char *at = vm->console; *at; at += strcspn(at, "\n"), at += *at == '\n')
                if (at[strspn(at, " \r\n")] && at + strspn(at, " \r") < at + strcspn(at, "\n"))
                        last = at;
        if (!line)
                line = last;
        for (; *line && *line != '\n' && n + 1 < cap; line++)
                if (*line >= ' ' && *line < 0x7f)
                        out[n++] = *line;
        out[n] = '\0';
}

static ssize_t on_output(void *ctx, int stream, const void *data, size_t len)
{
        struct vm *vm = ctx;

        if (stream == GUEST_STDOUT && vm->pump.machine)
                return pump_take(&vm->pump, data, len);
        if (stream == GUEST_STDOUT && vm->step && steps[vm->step_at].kind == GUEST_KIND_READ && vm->template >= 0 &&
            fd_write_all(vm->template, data, len) < 0)
                fd_close(&vm->template); /* it is not kept */
        if (stream == GUEST_STDERR)
                console_add(vm, data, len);
        return (ssize_t)len;
}

/* ---- its end ---- */

/* What did not come up may not be what was saved. */
static void fail(struct vm *vm, const struct err *e)
{
        const struct err copy = *e;

        if (vm->booting && vm->mode == VM_GO_ON)
                template_drop(vm->template_path);

        vm->events->failed(vm->ctx, &copy);
}

static void explain(const struct vm *vm, struct session_exec *x, struct err *e)
{
        const struct vmm_info *info = &vmm_table[vm->vmm];
        const struct guest_exit *exit = session_exec_exit(x);
        char line[200];

        console_line(vm, line, sizeof(line));
        if (session_exec_state(x) == SESSION_FAILED) {
                err_set(e, ERR_INTERNAL_ERROR, 0, "the virtual machine could not be started: %s", session_exec_failed(x)->message);
        } else if (exit->code == STATUS_MISSING) {
                err_set(e, ERR_BACKEND_UNAVAILABLE, 0, "runtime class '%s' cannot be used: %s", info->class, line);
                err_hint(e, "%s", strstr(line, "mke2fs") ? "apt-get install e2fsprogs" : info->install);
        } else if (exit->code == STATUS_VMM && exit->signal == 0) {
                err_set(e, ERR_INTERNAL_ERROR, 0, "the virtual machine could not be started: %s", line);
                err_hint(e, "is %s (runtime.%s.binary) a release of %s, and may this host use KVM?", vm->assets->vmms[vm->vmm].binary,
                         info->class, info->name);
        } else if (exit->signal != 0) {
                err_set(e, ERR_INTERNAL_ERROR, 0, "%s was killed by signal %d", info->name, exit->signal);
        } else if (str_has_prefix(line, "Kernel panic") && strstr(line, "memory")) { /* all of it was in files of memory, say */
                err_set(e, ERR_RESOURCE_EXHAUSTED, 0, "the virtual machine has used up its memory: %s", line);
                err_hint(e, "--memory, or resourceLimits.memoryBytes, gives it more");
        } else {
                err_set(e, ERR_INTERNAL_ERROR, 0, "the virtual machine has ended (status %d)%s%s", exit->code, line[0] ? ": " : "", line);
        }
}

static void on_deadline(void *ctx)
{
        struct vm *vm = ctx;
        struct err e;
        char line[200];

        console_line(vm, line, sizeof(line));
        err_set(&e, ERR_TIMEOUT, 0, "the virtual machine has not come up within %u s%s%s", vm->assets->boot_seconds,
                line[0] ? "; its console: " : "", line);
        fail(vm, &e);
}

/* ---- making it ---- */

static int start(struct vm *vm, enum guest_kind kind, bool has_stdin, const char *cwd, const char *const *argv, struct session_exec **out,
                 struct err *e)
{
        const char *const env[] = { "PATH=/usr/bin:/usr/sbin", NULL };
        const struct guest_exec req = {
                .kind = (uint8_t)kind,
                .flags = has_stdin ? GUEST_EXEC_STDIN : 0,
                .cwd = { (const uint8_t *)cwd, strlen(cwd) },
                .uid = GUEST_ID_LOOKUP,
                .gid = GUEST_ID_LOOKUP,
        };

        return session_exec_new(vm->session, &req, argv, env, on_output, vm, out, e);
}

/* As the mode says; the one that is to last, or one that is only saved. */
static int start_machine(struct vm *vm, struct session_exec **out, struct err *e)
{
        static const char *const modes[] = { [VM_BOOT] = "boot", [VM_SAVE] = "save", [VM_GO_ON] = "go-on" };
        static const struct {
                const char *name;
                enum limit limit;
        } numbers[] = { { "memory", LIMIT_MEMORY }, { "disk", LIMIT_DISK }, { "inodes", LIMIT_INODES }, { "nofile", LIMIT_NOFILE },
                        { "core", LIMIT_CORE },     { "pids", LIMIT_PIDS }, { "output", LIMIT_OUTPUT } };
        enum { NUMBERS = sizeof(numbers) / sizeof(numbers[0]) };
        enum { TEXTS = 9 };
        char text[NUMBERS + TEXTS][ARG_MAX_LEN];
        const char *argv[NUMBERS + TEXTS + 2] = { PLACE "/host" };
        const struct vm_emulator *vmm = &vm->assets->vmms[vm->vmm];

        for (unsigned i = 0; i < NUMBERS; i++)
                snprintf(text[i], ARG_MAX_LEN, "%s=%llu", numbers[i].name, (unsigned long long)vm->limits.value[numbers[i].limit]);
        snprintf(text[NUMBERS], ARG_MAX_LEN, "cpus=%llu", cpus(vm));
        snprintf(text[NUMBERS + 1], ARG_MAX_LEN, "hostname=%s", vm->hostname);
        snprintf(text[NUMBERS + 2], ARG_MAX_LEN, "modules=/usr/lib/modules/%s", vm->assets->version);
        snprintf(text[NUMBERS + 3], ARG_MAX_LEN, "vmm=%s", vmm_table[vm->vmm].class);
        snprintf(text[NUMBERS + 4], ARG_MAX_LEN, "mode=%s", modes[vm->mode]);
        snprintf(text[NUMBERS + 5], ARG_MAX_LEN, "binary=%s", vmm->binary);
        snprintf(text[NUMBERS + 6], ARG_MAX_LEN, "accel=%s", vmm->kvm ? "kvm" : "tcg");
        snprintf(text[NUMBERS + 7], ARG_MAX_LEN, "root=%s", vm->image ? NEW_ROOT : "/");
        snprintf(text[NUMBERS + 8], ARG_MAX_LEN, "home=%s", vm->image ? "/root" : "/home/agent");
        for (unsigned i = 0; i < NUMBERS + TEXTS; i++)
                argv[i + 1] = text[i];
        if (vm->mode != VM_SAVE)
                session_channels_from(vm->session, MACHINE);
        return start(vm, GUEST_KIND_PROGRAM, true, PLACE, argv, out, e);
}

/* False where the vm may be gone. */
static bool carry(struct vm *vm, struct session_exec *machine);

static int start_step(struct vm *vm, struct err *e)
{
        enum guest_kind kind = steps[vm->step_at].kind;

        if (kind == GUEST_KIND_PROGRAM)
                return start_machine(vm, &vm->step, e);
        return start(vm, kind, kind == GUEST_KIND_WRITE, "/", steps[vm->step_at].argv, &vm->step, e);
}

/* What was saved is on its way to be kept for others. */
static bool reads_template(const struct vm *vm)
{
        return vm->step_at < STEPS && steps[vm->step_at].kind == GUEST_KIND_READ;
}

static bool begin_step(struct vm *vm)
{
        struct session_exec *machine;
        struct err e;

        vm->step_sent = 0;
        vm->step_eof = false;
        while (vm->step_at < STEPS && !(steps[vm->step_at].modes & 1U << vm->mode))
                vm->step_at++;
        if (reads_template(vm) && (vm->template = template_begin(vm->assets, vm->template_path, vm->hostname)) < 0)
                vm->step_at++; /* it is not kept */
        if (vm->step_at == STEPS && vm->mode == VM_SAVE)
                vm->mode = VM_GO_ON;
        if (vm->step_at < STEPS ? start_step(vm, &e) == 0 : start_machine(vm, &machine, &e) == 0)
                return vm->step_at < STEPS ? true : carry(vm, machine);
        fail(vm, &e);
        return false;
}

static bool begin(struct vm *vm)
{
        if (vm->booting)
                timer_set(vm->deadline, vm->assets->boot_seconds * 1000ULL);
        if (template_name(vm, (unsigned)cpus(vm), vm->template_path)) {
                vm->template = template_open(vm->template_path);
                vm->mode = vm->template >= 0 ? VM_GO_ON : VM_SAVE;
        }
        vm->boots = vm->mode != VM_GO_ON;
        return begin_step(vm);
}

bool vm_booted(const struct vm *vm)
{
        return vm->boots;
}

/* Sends the file that this step writes, as far as it is taken. */
static void feed(struct vm *vm)
{
        static char data[GUEST_FRAME_MAX];
        int fd = vm->template;
        size_t room;

        if (steps[vm->step_at].file != TEMPLATE)
                memcpy(&fd, (const char *)vm->assets + steps[vm->step_at].file, sizeof(fd));
        while (!vm->step_eof && (room = session_exec_room(vm->step)) > 0) {
                size_t most = steps[vm->step_at].most ? steps[vm->step_at].most - vm->step_sent : sizeof(data);
                size_t want = room < sizeof(data) ? room : sizeof(data);
                ssize_t n = pread(fd, data, want < most ? want : most, (off_t)vm->step_sent);

                if (n > 0) {
                        session_exec_write(vm->step, data, (size_t)n);
                        vm->step_sent += (uint64_t)n;
                } else {
                        vm->step_eof = true;
                        session_exec_eof(vm->step);
                }
        }
}

/* A machine that cannot be saved, or has left nothing, is booted. One that was saved goes on, whether its state can be kept for others or not. */
static void step_over(struct vm *vm, bool good)
{
        if (reads_template(vm))
                template_end(vm->assets, vm->template_path, vm->hostname, good && vm->template >= 0);
        if (!good)
                vm->mode = VM_BOOT;
        if (steps[vm->step_at].file == TEMPLATE)
                fd_close(&vm->template);
        session_exec_free(vm->step);
        vm->step = NULL;
        vm->step_at++;
}

static bool turn_step(struct vm *vm)
{
        struct session_exec *x = vm->step;
        struct err e;
        char line[200];

        if (session_exec_state(x) == SESSION_RUNNING) {
                if (steps[vm->step_at].kind == GUEST_KIND_WRITE)
                        feed(vm);
                return true;
        }
        bool saving = steps[vm->step_at].modes == 1U << VM_SAVE;
        bool good = session_exec_state(x) == SESSION_EXITED && session_exec_exit(x)->code == 0;
        if (!good && !saving) {
                console_line(vm, line, sizeof(line));
                err_set(&e, ERR_INTERNAL_ERROR, 0, "what the virtual machine needs could not be written: %s",
                        session_exec_state(x) == SESSION_FAILED ? session_exec_failed(x)->message : line);
                fail(vm, &e);
                return false;
        }
        step_over(vm, good);
        return begin_step(vm);
}

/* ---- carrying it ---- */

static void set_watches(struct vm *vm)
{
        watch_set(vm->watch, session_events(vm->session));
        if (vm->pump.watch)
                watch_set(vm->pump.watch, pump_events(&vm->pump));
}

static void turn(struct vm *vm);

static void on_pump(void *ctx)
{
        struct vm *vm = ctx;

        if (vm->pump.full) {
                vm->pump.full = false; /* what the session held is offered again */
                turn(vm);
                return;
        }
        pump_move(&vm->pump);
        session_flush(vm->session);
        set_watches(vm);
}

static bool carry(struct vm *vm, struct session_exec *machine)
{
        struct err e;
        int fd;

        if (vm->booting)
                timer_set(vm->deadline, vm->assets->boot_seconds * 1000ULL);
        session_exec_bind(machine, on_output, vm);
        fd = pump_open(&vm->pump, machine);
        if (fd >= 0)
                vm->pump.watch = watch_new(vm->loop, vm->pump.fd, POLLIN, on_pump, vm);
        if (!vm->pump.watch) {
                if (fd >= 0)
                        close(fd);
                err_set(&e, ERR_RESOURCE_EXHAUSTED, 0, "out of memory");
                fail(vm, &e);
                return false;
        }
        session_flush(vm->session);
        set_watches(vm);
        vm->events->stream(vm->ctx, fd);
        return false;
}

/* QEMU has read all that it was given; the disk it keeps open, and it goes with it. */
void vm_greeted(struct vm *vm)
{
        struct session_exec *x;
        struct err ignored; /* what is left takes room and does no harm */

        timer_stop(vm->deadline);
        if (!vm->booting)
                return;
        vm->booting = false;
        if (start(vm, GUEST_KIND_REMOVE, false, "/", (const char *const[]){ PLACE, "r", NULL }, &x, &ignored) == 0)
                session_flush(vm->session);
        set_watches(vm);
}

/* Of what an earlier daemon began, all but the machine is of no use: it is done again. */
static void on_adopt(void *ctx, struct session_exec *x, const struct guest_channel_state *state)
{
        struct vm *vm = ctx;

        session_exec_bind(x, on_output, vm);
        if (state->channel == MACHINE) {
                vm->pump.machine = x;
                vm->pump.passed = vm->pump.whole = state->stdout_acked;
        } else {
                session_exec_signal(x, SIGKILL, false);
        }
}

/* Returns false where the vm may be gone. */
static bool advance(struct vm *vm)
{
        struct session_exec *machine = vm->pump.machine;
        struct err e;

        if (!vm->looked) {
                vm->looked = true;
                return machine ? carry(vm, machine) : begin(vm);
        }
        if (vm->step)
                return turn_step(vm);
        if (!machine)
                return true;
        if (session_exec_state(machine) != SESSION_RUNNING) {
                explain(vm, machine, &e);
                fail(vm, &e);
                return false;
        }
        pump_move(&vm->pump);
        return true;
}

static void turn(struct vm *vm)
{
        struct err e;
        int r = session_step(vm->session, &e);

        if (r != 0) {
                vm->events->lost(vm->ctx, r < 0 ? &e : NULL);
                return;
        }
        if (session_greeted(vm->session) && !advance(vm))
                return;
        session_flush(vm->session);
        set_watches(vm);
}

static void on_session(void *ctx)
{
        turn(ctx);
}

/* ---- start and end ---- */

int vm_new(const struct vm_config *config, const struct vm_events *events, void *ctx, int stream, uint64_t epoch, struct vm **out,
           struct err *e)
{
        struct vm *vm = calloc(1, sizeof(*vm));

        if (!vm) {
                close(stream);
                return err_set(e, ERR_RESOURCE_EXHAUSTED, 0, "out of memory");
        }
        *vm = (struct vm){ .loop = config->loop,
                           .assets = config->assets,
                           .vmm = config->vmm,
                           .cpus = config->cpus,
                           .image = config->image,
                           .root = config->root,
                           .limits = *config->limits,
                           .events = events,
                           .ctx = ctx,
                           .booting = config->booting };
        vm->pump.fd = vm->template = -1;
        snprintf(vm->hostname, sizeof(vm->hostname), "%s", config->hostname);
        if (session_new(stream, epoch, &vm->session, e) < 0) {
                free(vm);
                return -(int)e->code;
        }
        session_on_adopt(vm->session, on_adopt, vm);
        vm->deadline = timer_new(vm->loop, on_deadline, vm);
        vm->watch = watch_new(vm->loop, session_fd(vm->session), session_events(vm->session), on_session, vm);
        if (!vm->deadline || !vm->watch) {
                vm_free(vm);
                return err_set(e, ERR_RESOURCE_EXHAUSTED, 0, "out of memory");
        }
        session_flush(vm->session);
        *out = vm;
        return 0;
}

void vm_free(struct vm *vm)
{
        if (!vm)
                return;
        if (reads_template(vm)) /* half a machine is none */
                template_end(vm->assets, vm->template_path, vm->hostname, false);
        pump_close(&vm->pump);
        fd_close(&vm->template);
        watch_free(vm->watch);
        timer_free(vm->deadline);
        session_free(vm->session);
        free(vm);
}
