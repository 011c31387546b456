#include "programs/init/engine.h"

#include <fcntl.h>
#include <linux/capability.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <unistd.h>

#include "programs/init/init.h"

enum { BACKLOG = 4 };

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

/* Its capabilities stay: they are what becomes the user of each command. */
static void become_init(void)
{
        struct __user_cap_header_struct header = { .version = _LINUX_CAPABILITY_VERSION_3 };
        struct __user_cap_data_struct data[2];
        gid_t id = boot.init_id;

        if (prctl(PR_SET_KEEPCAPS, 1, 0, 0, 0) < 0 || syscall(SYS_capget, &header, data) < 0 ||
            syscall(SYS_setgroups, (size_t)0, NULL) < 0 || syscall(SYS_setresgid, id, id, id) < 0 ||
            syscall(SYS_setresuid, id, id, id) < 0 || syscall(SYS_capset, &header, data) < 0)
                _exit(2);
}

void engine_settle(void)
{
        bool own_socket = boot_has(BOOT_BIND), stdio = boot_has(BOOT_STDIO);

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
        if (boot_has(BOOT_OWN_KERNEL))
                become_init();
        if (own_socket)
                make_socket();
        else if (!stdio)
                move(BOOT_ENGINE_STREAM, BOOT_FD_STREAM);
}
