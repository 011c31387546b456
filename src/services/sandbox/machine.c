/*
 * Sandboxes that are virtual machines: a native sandbox whose one command is the machine (services/vm), and whose session is with the creto-init in there.
 */
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "services/sandbox/internal.h"
#include "services/vm/vm.h"

bool class_is_machine(const char *class)
{
        return strcmp(class, "qemu") == 0;
}

bool is_machine(const struct sandbox *sb)
{
        return class_is_machine(sb->choice.name);
}

void machine_describe(struct sandboxes *all)
{
        const struct vm_assets *a = all->config.vm;
        const struct ipc_class *native = class_find(all, "native");
        bool there = a->kernel >= 0 && access(a->qemu, X_OK) == 0;

        if (!native || all->classes.count == IPC_CLASSES_MAX)
                return;
        struct ipc_class *c = &all->classes.of[all->classes.count++];
        *c = (struct ipc_class){ .name = "qemu", .driver = "microvm", .engine = "qemu", .available = there, .limits = native->limits };
        c->can = 1U << CAN_KILL_ONE;
        snprintf(c->isolation, sizeof(c->isolation), "a kernel of its own in a virtual machine (QEMU), in a native sandbox");
        snprintf(c->binary, sizeof(c->binary), "%.*s", IPC_CLASS_TEXT_MAX, there ? a->qemu : "");
        snprintf(c->version, sizeof(c->version), "%s%s", there ? "Linux " : "", there ? a->version : "");
        if (there)
                return;
        snprintf(c->reason, sizeof(c->reason), "%.*s", IPC_CLASS_TEXT_MAX, a->kernel < 0 ? a->why.msg : "QEMU is not installed");
        snprintf(c->hint, sizeof(c->hint), "%.*s", IPC_CLASS_TEXT_MAX, a->kernel < 0 ? a->why.hint : "apt-get install qemu-system-x86");
}

int machine_check(const struct sandboxes *all, const char *image, const struct limits *l, struct err *e)
{
        const struct vm_assets *a = all->config.vm;
        struct limits outside;

        if (a->kernel < 0) {
                *e = a->why;
                return -(int)e->code;
        }
        if (strcmp(image, "host") != 0) {
                err_set(e, ERR_NOT_SUPPORTED, 0, "runtime class 'qemu' has no images but 'host' in this version");
                return err_hint(e, "use image host, or another runtime class");
        }
        return vm_limits(l, &outside, e);
}

void machine_limits(const struct limits *l, struct limits *out)
{
        struct err e;

        if (vm_limits(l, out, &e) < 0)
                *out = *l; /* it was checked when it was asked for */
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
        const struct vm_config config = { sb->all->config.loop, sb->all->config.vm, sb->info.id, &sb->limits,
                                          sb->info.state == SANDBOX_CREATING };
        struct err e;

        if (vm_new(&config, &events, sb, stream, sandboxes_epoch(sb->all), &sb->vm, &e) < 0)
                sandbox_failed(sb, &e);
}
