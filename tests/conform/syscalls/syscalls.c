/*
 * Which system calls of x86-64 a program has here: each number is called once, in a process of its own, with arguments that do nothing (-1 wherever that will do), and what it
 * answers is one line: "NUMBER there", "NUMBER ENOSYS", "NUMBER EPERM" or "NUMBER killed". A call that blocks or ends its process is there.
 *
 * It calls everything, reboot too: only where the caller may not do such things, as an ordinary user. As root it refuses.
 */
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

enum { LAST = 469, GAP = 335, GAP_END = 424 }; /* file_setattr, of Linux 6.17; the numbers between are another ABI's */
enum { STEP_US = 1000, BLOCKED_STEPS = 1000, START_STEPS = 30000 };
enum { NOTHING = -1000000, CALLED = -1000001 }; /* no call answers so */

static const long word = 0;

/* Where -1 would be refused for itself. */
static const struct {
        int nr;
        long args[6];
} other[] = {
        { SYS_futex, { (long)&word, 1 /* FUTEX_WAKE */, 0, 0, 0, 0 } },
        { SYS_socket, { AF_UNIX, SOCK_STREAM, 0, 0, 0, 0 } },
        { SYS_clone, { 0x800 /* CLONE_SIGHAND alone: EINVAL */, 0, 0, 0, 0, 0 } },
        { SYS_prlimit64, { 0, -1, 0, 0, 0, 0 } },
        { SYS_personality, { 0xffffffff, 0, 0, 0, 0, 0 } },
        { SYS_ioctl, { 0, 0, 0, 0, 0, 0 } },
        { SYS_setpriority, { 0, 0, 19, 0, 0, 0 } },
        { SYS_kill, { 0, 0, 0, 0, 0, 0 } },
        { SYS_rt_sigqueueinfo, { 0, 0, 0, 0, 0, 0 } },
};

static long call(int nr)
{
        long a[6] = { -1, -1, -1, -1, -1, -1 }, r;

        for (size_t i = 0; i < sizeof(other) / sizeof(other[0]); i++)
                for (int k = 0; k < 6 && other[i].nr == nr; k++)
                        a[k] = other[i].args[k];
        register long r10 __asm__("r10") = a[3], r8 __asm__("r8") = a[4], r9 __asm__("r9") = a[5];
        __asm__ volatile("syscall"
                         : "=a"(r)
                         : "a"((long)nr), "D"(a[0]), "S"(a[1]), "d"(a[2]), "r"(r10), "r"(r8), "r"(r9)
                         : "rcx", "r11", "memory");
        return r;
}

/* Waits a while after it has called, then kills it. */
static int end_of(pid_t pid, const volatile long *answer)
{
        int status = 0;

        for (int blocked = 0, steps = 0; blocked < BLOCKED_STEPS && steps < START_STEPS; blocked += *answer == CALLED, steps++) {
                if (waitpid(pid, &status, WNOHANG) != 0)
                        return status;
                usleep(STEP_US);
        }
        kill(pid, SIGKILL);
        waitpid(pid, &status, 0);
        return 0;
}

static const char *ask(int nr, volatile long *answer)
{
        *answer = NOTHING;
        pid_t pid = fork();
        if (pid == 0) {
                *answer = CALLED;
                *answer = call(nr);
                _exit(0);
        }
        int status = pid < 0 ? 0 : end_of(pid, answer);
        if (pid < 0 || *answer == NOTHING || (WIFSIGNALED(status) && WTERMSIG(status) == SIGSYS))
                return "killed";
        return *answer == -ENOSYS ? "ENOSYS" : *answer == -EPERM ? "EPERM" : "there";
}

int main(void)
{
        volatile long *answer = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);

        if (answer == MAP_FAILED || geteuid() == 0) {
                fputs("syscalls: not as root: it calls everything\n", stderr);
                return 1;
        }
        for (int nr = 0; nr <= LAST; nr++)
                if (nr < GAP || nr >= GAP_END)
                        printf("%d %s\n", nr, ask(nr, answer));
        return 0;
}
