/*
 * Sandboxes that are virtual machines: a native sandbox whose one command is the machine (services/vm), and whose session is with the creto-init in there.
 */
#include <stdio.h>
#include <string.h>

#include "services/sandbox/internal.h"
#include "services/vm/vm.h"

bool is_machine(const struct sandbox *sb)
{
        return vmm_is_class(sb->setup.runtime);
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

int machine_check(const struct sandboxes *all, const struct spec *spec, struct err *e)
{
        enum vmm vmm = vmm_of(spec->runtime);
        struct limits outside;

        if (vm_available(all->config.vm, vmm, e) < 0)
                return -(int)e->code;
        if (strcmp(spec->image, "host") != 0) {
                err_set(e, ERR_NOT_SUPPORTED, 0, "runtime class '%s' has no images but 'host' in this version", spec->runtime);
                return err_hint(e, "use image host, or another runtime class");
        }
        return vm_limits(vmm, &spec->limits, &outside, e);
}

struct limits limits_outside(const char *runtime, const struct limits *inside)
{
        struct limits out;
        struct err e;

        if (!vmm_is_class(runtime) || vm_limits(vmm_of(runtime), inside, &out, &e) < 0)
                return *inside; /* one that cannot be is refused, and takes nothing */
        return out;
}

/* ---- what becomes of the machine ---- */

static void on_stream(void *ctx, int fd)
{
        sandbox_stream(ctx, fd);
}

static void on_failed(void *ctx, const struct err *e)
{
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
                                          .vmm = vmm_of(sb->setup.runtime),
                                          .cpus = sb->vcpus,
                                          .hostname = sb->info.id,
                                          .limits = &sb->limits,
                                          .booting = sb->info.state == SANDBOX_CREATING };
        struct err e;

        if (vm_new(&config, &events, sb, stream, sandboxes_epoch(sb->all), &sb->vm, &e) < 0)
                sandbox_failed(sb, &e);
}
