/*
 * What a machine is made of: a kernel of the host's, by path, whose modules are in the host's /usr, and three programs of ours.
 */
#include <errno.h>
#include <fcntl.h>
#include <glob.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/str.h"
#include "services/driver/driver.h"
#include "services/vm/internal.h"

#define KERNELS "/boot/vmlinuz-*-cloud-amd64"
#define PREFIX "vmlinuz-"

static bool has_modules(const char *version)
{
        char path[VM_VERSION_MAX + 64];

        snprintf(path, sizeof(path), "/usr/lib/modules/%s/modules.dep", version);
        return access(path, R_OK) == 0;
}

static int open_kernel(struct vm_assets *a, const char *path)
{
        const char *slash = strrchr(path, '/'), *name = slash ? slash + 1 : path;

        if (!str_has_prefix(name, PREFIX) || strlen(name) >= sizeof(PREFIX) + VM_VERSION_MAX - 1 || !has_modules(name + strlen(PREFIX)))
                return -1;
        a->kernel = open(path, O_RDONLY | O_CLOEXEC);
        snprintf(a->version, sizeof(a->version), "%s", name + strlen(PREFIX));
        return a->kernel < 0 ? -1 : 0;
}

static void find_kernel(struct vm_assets *a, const char *path)
{
        glob_t g = { 0 };
        int r = -1;

        if (*path) {
                if (open_kernel(a, path) < 0) {
                        err_set(&a->why, ERR_BACKEND_UNAVAILABLE, 0, "kernel %s cannot be used for virtual machines", path);
                        err_hint(&a->why,
                                 "it must be readable, be called vmlinuz-VERSION, and have its modules in /usr/lib/modules/VERSION");
                }
                return;
        }
        if (glob(KERNELS, 0, NULL, &g) == 0)
                for (size_t i = g.gl_pathc; i > 0 && r < 0; i--)
                        r = open_kernel(a, g.gl_pathv[i - 1]);
        globfree(&g);
        if (r == 0)
                return;
        err_set(&a->why, ERR_BACKEND_UNAVAILABLE, 0, "there is no kernel for virtual machines: no " KERNELS);
        err_hint(&a->why, "apt-get install linux-image-cloud-amd64, and restart the service");
}

static int open_program(const char *name, const char *folder)
{
        char path[1024];

        return driver_program_path(name, folder, path) ? open(path, O_RDONLY | O_CLOEXEC) : -1;
}

void vm_assets_open(struct vm_assets *a, const char *kernel, const struct vm_emulator vmms[VMMS], unsigned boot_seconds,
                    const char *templates)
{
        *a = (struct vm_assets){ .kernel = -1, .boot_seconds = boot_seconds };
        memcpy(a->vmms, vmms, sizeof(a->vmms));
        a->host = open_program("creto-vm-host", "vm");
        a->guest = open_program("creto-vm-guest", "vm");
        a->init = open_program("creto-init", "init");
        find_kernel(a, kernel);
        if ((mkdir(templates, 0700) == 0 || errno == EEXIST) && strlen(templates) < sizeof(a->templates))
                snprintf(a->templates, sizeof(a->templates), "%s", templates);
        template_sweep(a);
        if (a->kernel < 0 || (a->host >= 0 && a->guest >= 0 && a->init >= 0))
                return;
        fd_close(&a->kernel);
        err_set(&a->why, ERR_BACKEND_UNAVAILABLE, 0, "creto-vm-host, creto-vm-guest or creto-init is missing");
        err_hint(&a->why, "they belong beside creto-warden: install creto-runtime again");
}

/* Nothing is tried: what uses it finds out, in a sandbox. */
static bool has_kvm(void)
{
        struct stat st;

        return stat("/dev/kvm", &st) == 0 && S_ISCHR(st.st_mode);
}

int vm_available(const struct vm_assets *a, enum vmm vmm, struct err *e)
{
        const struct vmm_info *info = &vmm_table[vmm];

        if (access(a->vmms[vmm].binary, X_OK) < 0) {
                err_set(e, ERR_BACKEND_UNAVAILABLE, 0, "%s is not installed: there is no %s", info->name, a->vmms[vmm].binary);
                return err_hint(e, "%s", info->install);
        }
        if (info->rest && !a->vmms[vmm].kvm) {
                err_set(e, ERR_BACKEND_UNAVAILABLE, 0, "%s needs KVM, which no sandbox has unless you say so", info->name);
                return err_hint(e, "[runtime.%s] accel = \"kvm\" in /etc/creto-runtime/config.toml", info->class);
        }
        if (info->rest && !has_kvm()) {
                err_set(e, ERR_BACKEND_UNAVAILABLE, 0, "%s needs KVM: there is no /dev/kvm", info->name);
                return err_hint(e,
                                "use a host whose processor and kernel have it (modprobe kvm_intel, or kvm_amd), or runtime class 'qemu'");
        }
        if (a->kernel >= 0)
                return 0;
        *e = a->why;
        return -(int)e->code;
}
