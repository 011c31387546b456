#include "programs/init/engine.h"

#include <fcntl.h>
#include <linux/capability.h>
#include <sched.h>
#include <stdio.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/fd.h"
#include "programs/init/init.h"

enum { BACKLOG = 4, CAPS = 32 };

static void move(int from, int to)
{
        if (from == to)
                return;
        if (dup2(from, to) < 0)
                _exit(2);
        close(from);
}

static void make_socket(void)
{
        const struct sockaddr_un address = { .sun_family = AF_UNIX, .sun_path = BOOT_SOCKET };
        int fd = socket(AF_UNIX, SOCK_STREAM, 0);

        umask(0177);
        if (fd < 0 || bind(fd, (const struct sockaddr *)&address, sizeof(address)) < 0 || listen(fd, BACKLOG) < 0)
                _exit(2);
        move(fd, BOOT_FD_STREAM);
}

static bool change_id(gid_t id)
{
        return prctl(PR_SET_KEEPCAPS, 1, 0, 0, 0) == 0 && syscall(SYS_setgroups, (size_t)0, NULL) == 0 &&
               syscall(SYS_setresgid, id, id, id) == 0 && syscall(SYS_setresuid, id, id, id) == 0;
}

/* Some engines take no other number than 0 for the only id of a namespace: in one below it has the right one. gVisor has no file to deny setgroups() in. */
static bool rename_id(uint32_t id)
{
        char map[32];

        snprintf(map, sizeof(map), "%u 0 1", id);
        return syscall(SYS_unshare, CLONE_NEWUSER) == 0 &&
               (fd_write_file(AT_FDCWD, "/proc/self/setgroups", "deny") == 0 || boot_has(BOOT_OWN_KERNEL)) &&
               fd_write_file(AT_FDCWD, "/proc/self/gid_map", map) == 0 && fd_write_file(AT_FDCWD, "/proc/self/uid_map", map) == 0;
}

/* Its capabilities stay, and become no more: they are what becomes the user of each command. */
static void become_init(void)
{
        struct __user_cap_header_struct header = { .version = _LINUX_CAPABILITY_VERSION_3 };
        struct __user_cap_data_struct data[2];

        if (syscall(SYS_capget, &header, data) < 0 || !(boot_has(BOOT_ONE_UID) ? rename_id(boot.init_id) : change_id(boot.init_id)))
                _exit(2);
        data[0].permitted &= ~(1U << CAP_SETFCAP);
        data[0].effective = data[0].inheritable = data[0].permitted;
        if (syscall(SYS_capset, &header, data) < 0)
                _exit(2);
}

/* Who may look into a process is asked of the namespace in which it was executed: so that is the new one. Its capabilities are those of before. */
_Noreturn static void start_again(void)
{
        char *argv[] = { "creto-init", NULL }, *env[] = { NULL };
        int config = fd_pipe_with(&boot, sizeof(boot));

        for (unsigned cap = 0; cap < CAPS; cap++)
                prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE, cap, 0, 0); /* those that it has */
        if (config < 0 || dup2(config, BOOT_FD_CONFIG) < 0 || fcntl(BOOT_FD_CONFIG, F_SETFD, 0) < 0)
                _exit(2);
        syscall(SYS_execve, "/dev/init", argv, env);
        _exit(2);
}

void engine_settle(void)
{
        bool own_socket = boot_has(BOOT_BIND), stdio = boot_has(BOOT_STDIO);
        bool user = boot_has(BOOT_ONE_UID) && !stdio; /* who has no shims */

        if (boot_has(BOOT_SLOT))
                move(own_socket ? BOOT_ENGINE_BIND_SLOT : BOOT_ENGINE_SLOT, BOOT_FD_SLOT);
        if (stdio) {
                move(0, BOOT_FD_STREAM);
                move(1, BOOT_FD_OUT);
        }
        int null = open("/dev/null", O_RDWR);
        if (null < 0)
                _exit(2);
        for (int fd = 0; fd <= BOOT_FD_NULL_LAST; fd++)
                if (null != fd && dup2(null, fd) < 0)
                        _exit(2);
        if (null > BOOT_FD_NULL_LAST)
                close(null);
        if (boot_has(BOOT_OWN_KERNEL) || user)
                become_init();
        if (own_socket)
                make_socket();
        else if (!stdio)
                move(BOOT_ENGINE_STREAM, BOOT_FD_STREAM);
        if (user && !boot_has(BOOT_OWN_KERNEL)) /* gVisor does not ask, and would take the capabilities away */
                start_again();
}
