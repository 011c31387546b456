/*
 * There are hosts whose /dev/kvm opens and whose processors never run: only one that has halted says that it works.
 */
#include "programs/vm/host/kvm.h"

#include <fcntl.h>
#include <linux/kvm.h>
#include <signal.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/sys.h"

enum { PAGE = 4096, HLT = 0xf4 };

/* One page of memory at 0, and in it one instruction. */
static int make_machine(int kvm)
{
        int vm = ioctl(kvm, KVM_CREATE_VM, 0);
        uint8_t *page = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
        const struct kvm_userspace_memory_region region = { .memory_size = PAGE, .userspace_addr = (uint64_t)(uintptr_t)page };

        if (vm < 0 || page == MAP_FAILED)
                return -1;
        page[0] = HLT;
        return ioctl(vm, KVM_SET_USER_MEMORY_REGION, &region) < 0 ? -1 : ioctl(vm, KVM_CREATE_VCPU, 0);
}

static bool halts(int kvm, int cpu)
{
        int size = ioctl(kvm, KVM_GET_VCPU_MMAP_SIZE, 0);
        struct kvm_run *run = size < (int)sizeof(*run) ? MAP_FAILED : mmap(NULL, (size_t)size, PROT_READ | PROT_WRITE, MAP_SHARED, cpu, 0);
        struct kvm_regs regs = { .rflags = 2 };
        struct kvm_sregs sregs;

        if (run == MAP_FAILED || ioctl(cpu, KVM_GET_SREGS, &sregs) < 0)
                return false;
        sregs.cs.base = sregs.cs.selector = 0;
        return ioctl(cpu, KVM_SET_SREGS, &sregs) == 0 && ioctl(cpu, KVM_SET_REGS, &regs) == 0 && ioctl(cpu, KVM_RUN, 0) == 0 &&
               run->exit_reason == KVM_EXIT_HLT;
}

static bool try_it(const char *path)
{
        int kvm = open(path, O_RDWR | O_CLOEXEC), cpu;

        return kvm >= 0 && ioctl(kvm, KVM_GET_API_VERSION, 0) == KVM_API_VERSION && (cpu = make_machine(kvm)) >= 0 && halts(kvm, cpu);
}

bool kvm_works(const char *path, int wait_ms)
{
        pid_t pid = fork();
        int status = -1;

        if (pid == 0) {
                prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0);
                _exit(try_it(path) ? 0 : 1);
        }
        auto_fd pidfd = pid < 0 ? -1 : sys_pidfd_open(pid);
        if (pidfd < 0)
                return false;
        if (fd_readable(pidfd, wait_ms))
                waitpid(pid, &status, 0);
        else
                kill(pid, SIGKILL);
        return status == 0;
}
