#include "services/warden/record.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/sock.h"
#include "base/str.h"
#include "base/sys.h"

enum { BACKLOG = 4 };

/* ---- directories ---- */

static int open_dir(const char *run_dir, const char *name, struct err *e)
{
        char path[512];

        snprintf(path, sizeof(path), "%s/%s", run_dir, name);
        if (mkdir(path, 0700) < 0 && errno != EEXIST)
                return err_sys(e, "cannot make %s", path);
        int fd = open(path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
        return fd < 0 ? err_sys(e, "cannot open %s", path) : fd;
}

int record_dirs_open(const char *run_dir, struct record_dirs *d, struct err *e)
{
        *d = (struct record_dirs){ -1, -1 };
        if ((d->records = open_dir(run_dir, "sandboxes", e)) < 0 || (d->sockets = open_dir(run_dir, "guest", e)) < 0)
                return -(int)e->code;
        return 0;
}

void record_dirs_close(struct record_dirs *d)
{
        fd_close(&d->records);
        fd_close(&d->sockets);
}

/* ---- records ---- */

int record_write(const struct record_dirs *d, const struct record *r, struct err *e)
{
        char temp[IPC_ID_MAX + 8];

        snprintf(temp, sizeof(temp), ".%s", r->id);
        auto_fd fd = openat(d->records, temp, O_WRONLY | O_CREAT | O_TRUNC | O_NOFOLLOW | O_CLOEXEC, 0600);
        if (fd < 0)
                return err_sys(e, "cannot make the record of '%s'", r->id);
        if (fd_write_all(fd, r, sizeof(*r)) == 0 && renameat(d->records, temp, d->records, r->id) == 0)
                return 0;
        err_sys(e, "cannot write the record of '%s'", r->id);
        unlinkat(d->records, temp, 0);
        return -(int)e->code;
}

/* It is a file, or a directory that something is mounted on. */
static void remove_socket(const struct record_dirs *d, const char *id)
{
        char path[128];

        if (unlinkat(d->sockets, id, 0) == 0 || errno == ENOENT)
                return;
        snprintf(path, sizeof(path), "/proc/self/fd/%d/%s", d->sockets, id);
        umount2(path, MNT_DETACH | UMOUNT_NOFOLLOW);
        unlinkat(d->sockets, id, AT_REMOVEDIR);
}

void record_remove(const struct record_dirs *d, const char *id)
{
        if (d->records < 0 || !*id)
                return;
        remove_socket(d, id);
        unlinkat(d->records, id, 0);
}

static bool read_record(int dir, const char *name, struct record *r)
{
        auto_fd fd = openat(dir, name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
        struct stat st;

        if (fd < 0 || fstat(fd, &st) < 0 || !S_ISREG(st.st_mode) || st.st_size != (off_t)sizeof(*r) ||
            read(fd, r, sizeof(*r)) != (ssize_t)sizeof(*r))
                return false;
        r->id[sizeof(r->id) - 1] = r->group[sizeof(r->group) - 1] = '\0';
        return r->size == sizeof(*r) && r->version == RECORD_VERSION && strcmp(r->id, name) == 0 && str_is_id(r->id, IPC_ID_MAX);
}

struct visit {
        const struct record_dirs *d;
        void (*call)(void *user, const struct record *r);
        void *user;
};

static void visit_record(void *user, const char *name)
{
        const struct visit *v = user;
        struct record r;

        if (read_record(v->d->records, name, &r))
                v->call(v->user, &r);
        else
                unlinkat(v->d->records, name, 0);
}

/* The socket is made before the record is written; whoever dies between the two leaves it. */
static void visit_socket(void *user, const char *name)
{
        const struct visit *v = user;

        if (faccessat(v->d->records, name, F_OK, 0) < 0)
                remove_socket(v->d, name);
}

void record_each(const struct record_dirs *d, void (*call)(void *user, const struct record *r), void *user)
{
        struct visit v = { d, call, user };

        fd_each_name(d->records, visit_record, &v);
        fd_each_name(d->sockets, visit_socket, &v);
}

/* ---- sockets ---- */

/* By descriptor, because a path in a socket's address has room for 107 bytes only. */
static int address_of(const struct record_dirs *d, const char *id, struct sockaddr_un *a)
{
        *a = (struct sockaddr_un){ .sun_family = AF_UNIX };
        return snprintf(a->sun_path, sizeof(a->sun_path), "/proc/self/fd/%d/%s", d->sockets, id) < (int)sizeof(a->sun_path);
}

int record_listen(const struct record_dirs *d, const char *id, struct err *e)
{
        struct sockaddr_un a;
        auto_fd fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

        if (!address_of(d, id, &a))
                return err_set(e, ERR_INVALID_SPEC, 0, "the id '%s' is too long", id);
        unlinkat(d->sockets, id, 0);
        mode_t old = umask(0177);
        int r = fd < 0 ? -1 : bind(fd, (struct sockaddr *)&a, sizeof(a));
        umask(old);
        if (r < 0 || listen(fd, BACKLOG) < 0)
                return err_sys(e, "cannot make the socket of '%s'", id);
        return take_fd(&fd);
}

int record_mount(const struct record_dirs *d, const char *id, int mount, struct err *e)
{
        remove_socket(d, id);
        if (mkdirat(d->sockets, id, 0700) < 0 || sys_move_mount(mount, "", d->sockets, id, MOVE_MOUNT_F_EMPTY_PATH) < 0)
                return err_sys(e, "cannot mount the place for the socket of '%s'", id);
        return 0;
}

static int connect_to(int socket_file, const char *id, struct err *e)
{
        int fd = sock_connect_file(socket_file);

        if (fd >= 0)
                return fd;
        err_sys(e, "cannot reach the sandbox%s%s", *id ? " " : "", id);
        return err_hint(e, "it may be ending; 'creto-runtime status %s' says", id);
}

int record_connect_at(int dir, struct err *e)
{
        auto_fd at = openat(dir, "s", O_PATH | O_NOFOLLOW | O_CLOEXEC);

        return connect_to(at, "", e);
}

int record_connect(const struct record_dirs *d, const char *id, struct err *e)
{
        auto_fd at = openat(d->sockets, id, O_PATH | O_NOFOLLOW | O_CLOEXEC);
        struct stat st;

        return at >= 0 && fstat(at, &st) == 0 && S_ISDIR(st.st_mode) ? record_connect_at(at, e) : connect_to(at, id, e);
}
