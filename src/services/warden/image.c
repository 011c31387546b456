#include "services/warden/image.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/ns.h"
#include "base/sys.h"
#include "services/warden/program.h"
#include "services/warden/parts/space.h"

static int make_parents(const char *path, struct err *e)
{
        char part[512];

        for (const char *slash = strchr(path + 1, '/'); slash; slash = strchr(slash + 1, '/')) {
                snprintf(part, sizeof(part), "%.*s", (int)(slash - path), path);
                if (mkdir(part, 0755) < 0 && errno != EEXIST)
                        return err_sys(e, "image store: cannot make %s", part);
        }
        return 0;
}

int image_store_open(const char *path, bool user, struct err *e)
{
        bool made = mkdir(path, 0700) == 0;

        if (!made && errno == ENOENT) {
                if (make_parents(path, e) < 0)
                        return -(int)e->code;
                made = mkdir(path, 0700) == 0;
        }
        if (!made && errno != EEXIST)
                return err_sys(e, "image store: cannot make %s", path);
        auto_fd fd = open(path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
        if (fd < 0)
                return err_sys(e, "image store: cannot open %s", path);
        if (made && !user && fchown(fd, SPACE_IMAGE_UID, SPACE_IMAGE_UID) < 0)
                return err_sys(e, "image store: cannot give %s to the image ids", path);
        return take_fd(&fd);
}

/* Each is open once, however many sandboxes stand on it. */
static struct image_layer *held;

static int open_layer(int store, const char *hex, struct err *e)
{
        char path[8 + IPC_DIGEST_HEX];

        if (strlen(hex) != IPC_DIGEST_HEX || strspn(hex, "0123456789abcdef") != IPC_DIGEST_HEX)
                return err_set(e, ERR_INVALID_SPEC, 0, "image: '%.80s' is not a digest", hex);
        snprintf(path, sizeof(path), "layers/%s", hex);
        auto_fd fd = sys_openat2(store, path, O_RDONLY | O_DIRECTORY | O_CLOEXEC,
                                 RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS | RESOLVE_NO_MAGICLINKS);
        if (fd >= 0 && flock(fd, LOCK_SH | LOCK_NB) == 0)
                return take_fd(&fd);
        err_set(e, ERR_IMAGE_NOT_FOUND, errno, "image: layer %.12s is not in the store", hex);
        return err_hint(e, "it may have been removed meanwhile: pull the image again");
}

static struct image_layer *hold_layer(int store, const char *hex, struct err *e)
{
        struct image_layer *l = held;

        while (l && strcmp(l->hex, hex) != 0)
                l = l->next;
        if (!l) {
                int fd = open_layer(store, hex, e);

                if (fd < 0)
                        return NULL;
                if (!(l = calloc(1, sizeof(*l)))) {
                        close(fd);
                        err_set(e, ERR_RESOURCE_EXHAUSTED, 0, "out of memory");
                        return NULL;
                }
                memcpy(l->hex, hex, sizeof(l->hex));
                l->fd = fd;
                l->next = held;
                held = l;
        }
        l->holders++;
        return l;
}

struct image_hold *image_hold(int store, const struct ipc_spawn *req, struct err *e)
{
        struct image_hold *h = calloc(1, sizeof(*h) + req->layer_count * sizeof(h->layers[0]));

        if (!h)
                err_set(e, ERR_RESOURCE_EXHAUSTED, 0, "out of memory");
        for (; h && h->count < req->layer_count; h->count++) {
                h->layers[h->count] = hold_layer(store, req->layers[h->count], e);
                if (!h->layers[h->count]) {
                        image_let_go(h);
                        return NULL;
                }
        }
        return h;
}

static void let_go_layer(struct image_layer *l)
{
        struct image_layer **at = &held;

        if (--l->holders > 0)
                return;
        while (*at != l)
                at = &(*at)->next;
        *at = l->next;
        close(l->fd);
        free(l);
}

void image_let_go(struct image_hold *h)
{
        while (h && h->count > 0)
                let_go_layer(h->layers[--h->count]);
        free(h);
}

static void confine(int userns, bool user)
{
        if (!user && (setns(userns, CLONE_NEWUSER) < 0 || setgroups(0, NULL) < 0 || setresgid(0, 0, 0) < 0 || setresuid(0, 0, 0) < 0))
                _exit(126);
        prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
        prctl(PR_SET_PDEATHSIG, SIGTERM);
        sigset_t none;
        sigemptyset(&none);
        sigprocmask(SIG_SETMASK, &none, NULL);
        signal(SIGPIPE, SIG_DFL);
        setpgid(0, 0);
}

_Noreturn static void child_main(int store, int exe, int userns, const struct ipc_image *req, const int *fds, size_t nfds, bool user)
{
        char *argv[IPC_IMAGE_ARGS_MAX + 4] = { "creto-image", "--store", "." };
        char *env[] = { "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "HOME=/nonexistent", "LANG=C.UTF-8", NULL };
        if (fchdir(store) < 0)
                _exit(126);
        confine(userns, user);
        for (uint32_t i = 0; i < req->argc; i++)
                argv[3 + i] = (char *)req->args[i];
        int low[IMAGE_FD_FIRST + IPC_FDS_MAX] = { open("/dev/null", O_RDONLY | O_CLOEXEC), fds[0], fds[1], -1, -1 };
        memcpy(low + IMAGE_FD_FIRST, fds + 2, (nfds - 2) * sizeof(*fds));
        int program = fd_high(exe);
        if (program < 0 || fd_arrange(low, IMAGE_FD_FIRST + nfds - 2) < 0)
                _exit(126);
        syscall(SYS_execveat, program, "", argv, env, AT_EMPTY_PATH);
        _exit(127);
}

pid_t image_start(int store, const struct ipc_image *req, const int *fds, size_t nfds, bool user, struct err *e)
{
        const struct ns_map map = { 0, SPACE_IMAGE_UID, SPACE_IDS };
        auto_fd userns = -1;
        auto_fd exe = program_open("image");

        if (exe < 0) {
                err_set(e, ERR_BACKEND_UNAVAILABLE, errno, "cannot open creto-image");
                return err_hint(e, "it belongs beside creto-warden; images need it, the default --image host does not");
        }
        if (!user && (userns = ns_user(&map, e)) < 0)
                return -(int)e->code;
        pid_t pid = fork();
        if (pid < 0)
                return err_sys(e, "cannot start creto-image");
        if (pid == 0)
                child_main(store, exe, userns, req, fds, nfds, user);
        return pid;
}
