/*
 * Sandboxes that are virtual machines: a native sandbox whose one command is the machine (services/vm), and whose session is with the creto-init in there.
 */
#include <stdio.h>
#include <string.h>

#include "base/str.h"
#include "services/sandbox/internal.h"
#include "services/vm/vm.h"

bool is_machine(const struct sandbox *sb)
{
        return vmm_is_class(sb->choice.name);
}

static void describe(const struct vm_assets *a, enum vmm vmm, uint32_t limits, struct ipc_class *c)
{
        const struct vmm_info *info = &vmm_table[vmm];
        struct err e;

        *c = (struct ipc_class){ .driver = "microvm", .available = vm_available(a, vmm, &e) == 0, .limits = limits };
        c->can = 1U << CAN_KILL_ONE;
        snprintf(c->name, sizeof(c->name), "%s", info->class);
        snprintf(c->engine, sizeof(c->engine), "%s", info->class);
        snprintf(c->isolation, sizeof(c->isolation), "a kernel of its own in a virtual machine (%s%s), in a native sandbox", info->name,
                 a->vmms[vmm].kvm ? ", KVM" : "");
        if (c->available) {
                snprintf(c->binary, sizeof(c->binary), "%.*s", IPC_CLASS_TEXT_MAX, a->vmms[vmm].binary);
                snprintf(c->version, sizeof(c->version), "Linux %s", a->version);
                return;
        }
        snprintf(c->reason, sizeof(c->reason), "%.*s", IPC_CLASS_TEXT_MAX, e.msg);
        snprintf(c->hint, sizeof(c->hint), "%.*s", IPC_CLASS_TEXT_MAX, e.hint);
}

void machine_describe(struct sandboxes *all)
{
        const struct ipc_class *native = class_find(all, "native");

        for (unsigned i = 0; native && i < VMMS && all->classes.count < IPC_CLASSES_MAX; i++)
                describe(all->config.vm, (enum vmm)i, native->limits, &all->classes.of[all->classes.count++]);
}

int machine_check(const struct sandboxes *all, const char *class, const struct limits *l, struct err *e)
{
        enum vmm vmm = vmm_of(class);
        struct limits outside;

        if (vm_available(all->config.vm, vmm, e) < 0)
                return -(int)e->code;
        return vm_limits(vmm, l, &outside, e);
}

int machine_needed(const char *class, struct err *e)
{
        err_set(e, ERR_INVALID_SPEC, 0, "runtime class '%s' is no virtual machine, and has no vm.hwConfig (--vcpus)", class);
        return err_hint(e, "name a class that is one (--runtime qemu), or use resourceLimits alone");
}

struct limits limits_outside(const char *runtime, const struct limits *inside)
{
        struct limits out;
        struct err e;

        if (!vmm_is_class(runtime) || vm_limits(vmm_of(runtime), inside, &out, &e) < 0)
                return *inside; /* one that cannot be is refused, and takes nothing */
        return out;
}

/* It has the host's root, for the emulator; an image is beside that, for the machine. */
void machine_spawn(struct sandbox *sb, struct ipc_spawn *req)
{
        uint64_t h = STR_HASH;

        for (uint32_t i = 0; i < req->layer_count; i++)
                h = str_hash(h, req->layers[i], strlen(req->layers[i]));
        if (req->layer_count > 0) {
                req->flags |= IPC_SPAWN_BESIDE;
                sb->root_known = h;
        }
        if (sb->all->config.vm->vmms[vmm_of(sb->choice.name)].kvm)
                req->flags |= IPC_SPAWN_KVM;
}

static bool has_image(const struct sandbox *sb)
{
        return strcmp(sb->setup.image, "host") != 0;
}

/* ---- what becomes of the machine ---- */

static void on_stream(void *ctx, int fd)
{
        sandbox_stream(ctx, fd);
}

static void on_failed(void *ctx, const struct err *e)
{
        if (!class_fall_back(ctx, e))
                sandbox_failed(ctx, e);
}

static void on_lost(void *ctx, const struct err *e)
{
        sandbox_stream_lost(ctx, e);
}

void machine_begin(struct sandbox *sb, int stream)
{
        static const struct vm_events events = { on_stream, on_failed, on_lost };
        const struct vm_config config = { .loop = sb->all->config.loop,
                                          .assets = sb->all->config.vm,
                                          .vmm = vmm_of(sb->choice.name),
                                          .cpus = sb->vcpus,
                                          .image = has_image(sb),
                                          .root = sb->root_known,
                                          .hostname = sb->info.id,
                                          .limits = &sb->limits,
                                          .booting = sb->info.state == SANDBOX_CREATING };
        struct err e;

        if (vm_new(&config, &events, sb, stream, sandboxes_epoch(sb->all), &sb->vm, &e) < 0)
                sandbox_failed(sb, &e);
}
