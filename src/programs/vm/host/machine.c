#include "programs/vm/host/machine.h"

#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#include "programs/vm/vm.h"

enum { TB_MIB = 64 };

static void add(struct machine *m, const char *option, const char *value)
{
        m->argv[m->argc++] = option;
        m->argv[m->argc++] = value;
        m->argv[m->argc] = NULL;
}

__attribute__((format(printf, 3, 4))) static void add_text(struct machine *m, const char *option, const char *format, ...)
{
        char *text = m->text[m->argc / 2];
        va_list args;

        va_start(args, format);
        vsnprintf(text, MACHINE_TEXT_MAX, format, args);
        va_end(args);
        add(m, option, text);
}

static void add_devices(struct machine *m)
{
        /* the guest protocol is this program's standard input and output; the console its standard error */
        add(m, "-chardev", "stdio,id=guest,signal=off");
        add_text(m, "-chardev", "socket,id=share,fd=%d", m->share_fd);
        add_text(m, "-chardev", "socket,id=setup,fd=%d", m->setup_fd);
        add(m, "-chardev", "file,id=console,path=/dev/stderr");
        add(m, "-serial", "chardev:console");
        add(m, "-device", "virtio-serial-pci");
        add(m, "-device", "virtserialport,chardev=guest,name=" VM_PORT_GUEST);
        add(m, "-device", "virtserialport,chardev=share,name=" VM_PORT_SHARE);
        add(m, "-device", "virtserialport,chardev=setup,name=" VM_PORT_SETUP);
        add_text(m, "-drive", "file=%s,if=none,id=disk,format=raw,cache=unsafe,discard=unmap", m->disk);
        add(m, "-device", "virtio-blk-pci,drive=disk,werror=report,rerror=report");
}

void machine_argv(struct machine *m)
{
        bool tcg = strcmp(m->accel, "tcg") == 0;

        m->argc = 0;
        m->argv[m->argc++] = m->qemu;
        add(m, "-name", m->name);
        add(m, "-machine", "q35,usb=off,vmport=off,smbus=off,sata=off,i8042=off");
        if (tcg)
                add_text(m, "-accel", "tcg,thread=multi,tb-size=%d", TB_MIB);
        else
                add(m, "-accel", m->accel);
        add(m, "-cpu", tcg ? "max" : "host");
        add_text(m, "-smp", "%llu", (unsigned long long)m->cpus);
        add_text(m, "-m", "%llu", (unsigned long long)m->memory_mib);
        add(m, "-display", "none");
        add(m, "-sandbox", "on,obsolete=deny,elevateprivileges=deny,spawn=deny,resourcecontrol=deny");
        add_devices(m);
        add(m, "-kernel", m->kernel);
        if (m->state_fd >= 0) {
                add_text(m, "-incoming", "fd:%d", m->state_fd);
        } else {
                add(m, "-initrd", m->initrd);
                add(m, "-append", m->qmp_fd >= 0 ? MACHINE_CMDLINE " " VM_SAVED : MACHINE_CMDLINE);
        }
        if (m->qmp_fd >= 0) {
                add_text(m, "-chardev", "socket,id=qmp,fd=%d", m->qmp_fd);
                add(m, "-mon", "chardev=qmp,mode=control");
        }
        m->argv[m->argc++] = "-nodefaults";
        m->argv[m->argc++] = "-no-user-config";
        m->argv[m->argc++] = "-no-reboot";
        m->argv[m->argc] = NULL;
}
