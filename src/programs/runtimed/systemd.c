#include "programs/runtimed/systemd.h"

#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/str.h"
#include "programs/runtimed/config.h"

enum { LISTEN_FDS_START = 3, LISTEN_FDS_MAX = 8 };

static int said = -1;

static uint64_t number_of(const char *variable)
{
        const char *text = getenv(variable);
        uint64_t n;

        return text && str_parse_u64(text, &n) ? n : 0;
}

bool systemd_has_sockets(void)
{
        return number_of("LISTEN_PID") == (uint64_t)getpid() && number_of("LISTEN_FDS") > 0;
}

int systemd_take_sockets(struct err *e)
{
        uint64_t count = number_of("LISTEN_FDS");
        int found[2] = { -1, -1 };

        if (count > LISTEN_FDS_MAX)
                return err_set(e, ERR_INVALID_SPEC, 0, "more than %d sockets were handed over", LISTEN_FDS_MAX);
        for (int fd = LISTEN_FDS_START; fd < LISTEN_FDS_START + (int)count; fd++) {
                struct sockaddr_storage a = { 0 };
                socklen_t len = sizeof(a);

                if (getsockname(fd, (struct sockaddr *)&a, &len) < 0)
                        return err_set(e, ERR_INVALID_SPEC, 0, "what was handed over as descriptor %d is no socket", fd);
                int *to = &found[a.ss_family == AF_UNIX ? 0 : 1];
                if (*to >= 0)
                        return err_set(e, ERR_INVALID_SPEC, 0, "more than one %s socket was handed over",
                                       a.ss_family == AF_UNIX ? "unix" : "TCP");
                *to = fcntl(fd, F_DUPFD_CLOEXEC, LISTEN_FDS_START + LISTEN_FDS_MAX);
                close(fd);
        }
        unsetenv("LISTEN_PID");
        unsetenv("LISTEN_FDS");
        if (found[0] < 0)
                return err_set(e, ERR_INVALID_SPEC, 0, "no unix socket was handed over");
        if (dup3(found[0], FD_SOCKET, O_CLOEXEC) < 0 || (found[1] >= 0 && dup3(found[1], FD_LISTEN, O_CLOEXEC) < 0))
                return err_sys(e, "cannot take the sockets over");
        close(found[0]);
        if (found[1] >= 0)
                close(found[1]);
        return 0;
}

void systemd_open(void)
{
        struct sockaddr_un a = { .sun_family = AF_UNIX };
        const char *path = getenv("NOTIFY_SOCKET");

        if (!path || (*path != '/' && *path != '@') || strlen(path) >= sizeof(a.sun_path))
                return;
        memcpy(a.sun_path, path, strlen(path));
        if (*path == '@')
                a.sun_path[0] = '\0';
        said = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
        if (said >= 0 && connect(said, (struct sockaddr *)&a, (socklen_t)(offsetof(struct sockaddr_un, sun_path) + strlen(path))) < 0) {
                close(said);
                said = -1;
        }
}

void systemd_say(const char *text)
{
        if (said >= 0)
                (void)!send(said, text, strlen(text), MSG_NOSIGNAL | MSG_DONTWAIT);
}
