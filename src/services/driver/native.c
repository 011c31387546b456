#include "services/driver/driver.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/sock.h"

enum { WARDEN_FD = 3, SOCKET_BUFFER = 1 << 20 };

static bool send_message(struct driver *d, const struct wbuf *w, const int *fds, size_t nfds)
{
        return !w->bad && sock_send(d->sock, w->data, w->len, fds, nfds) == 0;
}

static int greet(struct driver *d, unsigned prepared, struct err *e)
{
        const struct ipc_hello hello = { .version = IPC_VERSION, .flags = IPC_PRIVATE, .prepared = prepared };
        uint8_t data[64];
        struct wbuf w = wbuf_over(data, sizeof(data));

        ipc_put_header(&w, IPC_HELLO, ++d->serial);
        ipc_put_hello(&w, &hello);
        return send_message(d, &w, NULL, 0) ? 0 : err_set(e, ERR_BACKEND_UNAVAILABLE, errno, "cannot talk to creto-warden");
}

int driver_start(struct driver *d, const struct driver_config *config, struct err *e)
{
        char path[1024];
        int ends[2];

        *d = (struct driver){ .sock = -1 };
        if (!driver_warden_path(path)) {
                err_set(e, ERR_BACKEND_UNAVAILABLE, 0, "creto-warden is not there");
                return err_hint(e, "it belongs beside creto-runtime: install it again, or run make");
        }
        if (sock_pair(SOCK_SEQPACKET, ends) < 0)
                return err_sys(e, "cannot make a socket");
        int size = SOCKET_BUFFER;
        setsockopt(ends[0], SOL_SOCKET, SO_SNDBUF, &size, sizeof(size));
        setsockopt(ends[1], SOL_SOCKET, SO_SNDBUF, &size, sizeof(size));
        char *argv[] = { "creto-warden",
                         "--run-dir",
                         (char *)config->run_dir,
                         "--state-dir",
                         (char *)config->state_dir,
                         "--image-store",
                         (char *)config->image_store,
                         NULL };
        char *env[] = { NULL };
        pid_t pid = vfork();
        if (pid == 0) {
                if (fd_move(ends[1], WARDEN_FD) < 0)
                        _exit(126);
                execve(path, argv, env);
                _exit(127);
        }
        close(ends[1]);
        if (pid < 0) {
                close(ends[0]);
                return err_sys(e, "cannot start creto-warden");
        }
        d->sock = ends[0];
        d->warden = pid;
        return greet(d, config->prepared, e);
}

int driver_fd(const struct driver *d)
{
        return d->sock;
}

void driver_stop(struct driver *d)
{
        fd_close(&d->sock);
        if (d->warden > 0)
                while (waitpid(d->warden, NULL, 0) < 0 && errno == EINTR)
                        ;
        d->warden = 0;
}

/* ---- one question, one answer ---- */

struct answer {
        struct ipc_header head;
        struct rbuf body;
        int fd; /* -1, or the one that came along */
};

static int warden_gone(struct err *e)
{
        err_set(e, ERR_BACKEND_UNAVAILABLE, 0, "creto-warden ended");
        return err_hint(e, "what it said stands above; the sandboxes it had are gone with it");
}

static int on_hello(struct driver *d, struct answer *a, struct err *e)
{
        if (a->head.type == IPC_ERROR && ipc_get_error(&a->body, e) == 0)
                return -(int)e->code;
        if (a->head.type != IPC_HELLO_OK || ipc_get_hello_ok(&a->body, &d->hello) < 0)
                return warden_gone(e);
        d->greeted = true;
        return 0;
}

/* Waits for the answer to `serial`. Greeting and events that come before are taken on the way: an EXITED says nothing that the end of the guest stream and
 * TERMINATED do not. */
static int wait_for(struct driver *d, uint32_t serial, enum ipc_type type, struct answer *a, struct err *e)
{
        static uint8_t data[IPC_MESSAGE_MAX];

        for (;;) {
                size_t nfds = 1;

                a->fd = -1;
                ssize_t n = sock_recv(d->sock, data, sizeof(data), &a->fd, &nfds);
                if (n <= 0 || ipc_get_header(data, (size_t)n, &a->head, &a->body) < 0)
                        return warden_gone(e);
                if (!d->greeted) {
                        if (on_hello(d, a, e) < 0)
                                return -(int)e->code;
                        continue;
                }
                if (a->head.serial != serial) {
                        fd_close(&a->fd);
                        continue;
                }
                if (a->head.type == IPC_ERROR && ipc_get_error(&a->body, e) == 0)
                        return -(int)e->code;
                return a->head.type == type ? 0 : warden_gone(e);
        }
}

static uint8_t message[IPC_MESSAGE_MAX];

static struct wbuf begin(struct driver *d, enum ipc_type type)
{
        struct wbuf w = wbuf_over(message, sizeof(message));

        ipc_put_header(&w, type, ++d->serial);
        return w;
}

static int ask(struct driver *d, const struct wbuf *w, const int *fds, size_t nfds, enum ipc_type type, struct answer *a, struct err *e)
{
        uint32_t serial = d->serial;

        if (!send_message(d, w, fds, nfds)) {
                if (w->bad)
                        return err_set(e, ERR_INVALID_SPEC, 0, "the request is larger than %d bytes", IPC_MESSAGE_MAX);
                /* it may have said why before it ended */
                return wait_for(d, serial, type, a, e) < 0 ? -(int)e->code : warden_gone(e);
        }
        return wait_for(d, serial, type, a, e);
}

int driver_spawn(struct driver *d, const struct ipc_spawn *req, int root, int engine, struct ipc_spawned *out, int *stream, struct err *e)
{
        struct wbuf w = begin(d, IPC_SPAWN);
        struct answer a;

        int fds[2];
        size_t nfds = 0;

        if (root >= 0)
                fds[nfds++] = root;
        if (engine >= 0)
                fds[nfds++] = engine;
        ipc_put_spawn(&w, req);
        if (ask(d, &w, fds, nfds, IPC_SPAWNED, &a, e) < 0)
                return -(int)e->code;
        if (ipc_get_spawned(&a.body, out) < 0 || a.fd < 0) {
                fd_close(&a.fd);
                return warden_gone(e);
        }
        *stream = a.fd;
        return 0;
}

int driver_usage(struct driver *d, const char *id, struct ipc_usage *out, struct err *e)
{
        struct wbuf w = begin(d, IPC_USAGE);
        struct answer a;

        ipc_put_id(&w, id);
        if (ask(d, &w, NULL, 0, IPC_USAGE_OK, &a, e) < 0)
                return -(int)e->code;
        return ipc_get_usage(&a.body, out) < 0 ? warden_gone(e) : 0;
}

int driver_terminate(struct driver *d, const char *id, struct ipc_usage *out, struct err *e)
{
        char same[IPC_ID_MAX + 1];
        struct wbuf w = begin(d, IPC_TERMINATE);
        struct answer a;

        ipc_put_id(&w, id);
        if (ask(d, &w, NULL, 0, IPC_TERMINATED, &a, e) < 0)
                return -(int)e->code;
        return ipc_get_terminated(&a.body, same, out) < 0 ? warden_gone(e) : 0;
}

int driver_image(struct driver *d, const struct ipc_image *req, const int *fds, size_t nfds, int *status, struct err *e)
{
        struct wbuf w = begin(d, IPC_IMAGE);
        struct answer a;
        int32_t wait_status;

        ipc_put_image(&w, req);
        if (ask(d, &w, fds, nfds, IPC_IMAGE_DONE, &a, e) < 0)
                return -(int)e->code;
        if (ipc_get_status(&a.body, &wait_status) < 0)
                return warden_gone(e);
        *status = WIFEXITED(wait_status) ? WEXITSTATUS(wait_status) : 128 + WTERMSIG(wait_status);
        return 0;
}
