#include "programs/vm/machine.h"

#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#include "programs/vm/vm.h"

enum { TB_MIB = 64 };

void machine_argv(struct machine *m)
{
        bool tcg = strcmp(m->accel, "tcg") == 0;

        snprintf(m->text[0], MACHINE_TEXT_MAX, "%llu", (unsigned long long)m->memory_mib);
        snprintf(m->text[1], MACHINE_TEXT_MAX, "%llu", (unsigned long long)m->cpus);
        if (tcg)
                snprintf(m->text[2], MACHINE_TEXT_MAX, "tcg,thread=multi,tb-size=%d", TB_MIB);
        else
                snprintf(m->text[2], MACHINE_TEXT_MAX, "%s", m->accel);
        snprintf(m->text[3], MACHINE_TEXT_MAX, "socket,id=share,fd=%d", m->share_fd);
        snprintf(m->text[4], MACHINE_TEXT_MAX, "file=%s,if=none,id=disk,format=raw,cache=unsafe,discard=unmap", m->disk);
        snprintf(m->text[5], MACHINE_TEXT_MAX, "socket,id=setup,fd=%d", m->setup_fd);
        const char *const common[] = {
                m->qemu,
                "-name",
                m->name,
                "-machine",
                "q35,usb=off,vmport=off,smbus=off,sata=off,i8042=off",
                "-accel",
                m->text[2],
                "-cpu",
                tcg ? "max" : "host",
                "-smp",
                m->text[1],
                "-m",
                m->text[0],
                "-nodefaults",
                "-no-user-config",
                "-display",
                "none",
                "-no-reboot",
                "-sandbox",
                "on,obsolete=deny,elevateprivileges=deny,spawn=deny,resourcecontrol=deny",
                /* the guest protocol is this program's standard input and output; the console its standard error */
                "-chardev",
                "stdio,id=guest,signal=off",
                "-chardev",
                m->text[3],
                "-chardev",
                m->text[5],
                "-chardev",
                "file,id=console,path=/dev/stderr",
                "-serial",
                "chardev:console",
                "-device",
                "virtio-serial-pci",
                "-device",
                "virtserialport,chardev=guest,name=" VM_PORT_GUEST,
                "-device",
                "virtserialport,chardev=share,name=" VM_PORT_SHARE,
                "-device",
                "virtserialport,chardev=setup,name=" VM_PORT_SETUP,
                "-drive",
                m->text[4],
                "-device",
                "virtio-blk-pci,drive=disk",
                "-kernel",
                m->kernel,
                "-initrd",
                m->initrd,
                "-append",
                "console=ttyS0 quiet panic=-1 random.trust_cpu=on tsc=reliable no_timer_check mitigations=off cryptomgr.notests audit=0 "
                "lsm=landlock rcupdate.rcu_expedited=1 sysctl.vm.overcommit_memory=1",
        };
        unsigned n = sizeof(common) / sizeof(common[0]);

        memcpy(m->argv, common, sizeof(common));
        if (m->qmp_fd >= 0) {
                snprintf(m->text[6], MACHINE_TEXT_MAX, "socket,id=qmp,fd=%d", m->qmp_fd);
                memcpy(m->argv + n, (const char *[]){ "-chardev", m->text[6], "-mon", "chardev=qmp,mode=control" }, 4 * sizeof(char *));
                n += 4;
        }
        if (m->state_fd >= 0) {
                snprintf(m->text[7], MACHINE_TEXT_MAX, "fd:%d", m->state_fd);
                memcpy(m->argv + n, (const char *[]){ "-incoming", m->text[7] }, 2 * sizeof(char *));
                n += 2;
        }
        m->argv[n] = NULL;
}
