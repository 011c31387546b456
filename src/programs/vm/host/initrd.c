/*
 * The initramfs of a virtual machine: a cpio archive ("newc") of two programs, what they are to do, and the modules that the kernel has not got built in.
 * Made anew for each machine, from the modules that belong to its kernel.
 */
#include "programs/vm/host/initrd.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/str.h"

enum { FILE_MAX = 16 << 20, DEP_MAX = 4 << 20, PATH_CAP = 512 };

/* What the guest's kernel must be able to do; the rest of their names comes from modules.dep. */
static const char *const wanted[] = { "virtio_pci", "virtio_console", "virtio_blk", "fuse", "ext4", NULL };
static const char *const wanted_vsock[] = { "virtio_pci", "virtio_mmio", "vmw_vsock_virtio_transport", "virtio_blk", "fuse", "ext4", NULL };

struct archive {
        int fd;
        unsigned inode;
        size_t at;
        int sys; /* what went wrong first */
};

static void put(struct archive *a, const void *data, size_t len)
{
        if (a->sys == 0 && len > 0 && fd_write_all(a->fd, data, len) < 0)
                a->sys = errno;
        a->at += len;
}

static void pad(struct archive *a)
{
        put(a, "\0\0\0", (4 - a->at % 4) % 4);
}

static void entry(struct archive *a, const char *name, unsigned mode, const void *data, size_t len, dev_t device)
{
        char head[111];

        snprintf(head, sizeof(head), "070701%08X%08X%08X%08X%08X%08X%08X%08X%08X%08X%08X%08X%08X", ++a->inode, mode, 0, 0, 1, 0,
                 (unsigned)len, 0, 0, (unsigned)major(device), (unsigned)minor(device), (unsigned)strlen(name) + 1, 0);
        put(a, head, 110);
        put(a, name, strlen(name) + 1);
        pad(a);
        put(a, data, len);
        pad(a);
}

/* The whole file, to be freed; NULL with `e`. */
static char *read_whole(const char *path, size_t max, size_t *len, struct err *e)
{
        auto_fd fd = open(path, O_RDONLY | O_CLOEXEC);
        struct stat st;

        if (fd < 0 || fstat(fd, &st) < 0) {
                err_sys(e, "cannot open %s", path);
                return NULL;
        }
        if ((size_t)st.st_size > max) {
                err_set(e, ERR_NOT_SUPPORTED, 0, "%s is more than %zu bytes", path, max);
                return NULL;
        }
        char *data = malloc((size_t)st.st_size + 1);
        if (!data || fd_read_all(fd, data, (size_t)st.st_size) < 0) {
                free(data);
                err_sys(e, "cannot read %s", path);
                return NULL;
        }
        *len = (size_t)st.st_size;
        data[*len] = '\0';
        return data;
}

static int add_file(struct archive *a, const char *name, unsigned mode, const char *path, struct err *e)
{
        size_t len;
        char *data = read_whole(path, FILE_MAX, &len, e);

        if (!data)
                return -(int)e->code;
        entry(a, name, S_IFREG | mode, data, len, 0);
        free(data);
        return 0;
}

/* ---- modules ---- */

struct modules {
        char *text; /* modules.dep */
        size_t len;
        const char *order[VM_MODULES_MAX]; /* of loading; each the beginning of a path, up to a blank, ':' or the line's end */
        unsigned count;
};

static size_t path_len(const char *p)
{
        return strcspn(p, " :\n");
}

static bool same_path(const char *a, const char *b)
{
        return path_len(a) == path_len(b) && memcmp(a, b, path_len(a)) == 0;
}

static bool is_module(const char *line, const char *name)
{
        const char *base = line;

        for (size_t i = 0; i < path_len(line); i++)
                if (line[i] == '/')
                        base = line + i + 1;
        for (; *name; name++, base++)
                if (*name != (*base == '-' ? '_' : *base))
                        return false;
        return str_has_prefix(base, ".ko");
}

static int add_path(struct modules *m, const char *path, struct err *e)
{
        for (unsigned i = 0; i < m->count; i++)
                if (same_path(m->order[i], path))
                        return 0;
        if (m->count == VM_MODULES_MAX)
                return err_set(e, ERR_NOT_SUPPORTED, 0, "the kernel's modules need more than %d others", VM_MODULES_MAX);
        m->order[m->count++] = path;
        return 0;
}

/* modules.dep lists all that a module needs, what is to be loaded first last. */
static int add_module(struct modules *m, const char *line, struct err *e)
{
        const char *needs[VM_MODULES_MAX];
        unsigned n = 0;
        int r = 0;
        const char *end = line + path_len(line);

        for (const char *p = *end == ':' ? end + 1 : end; *p == ' ' && n < VM_MODULES_MAX; p += path_len(p))
                needs[n++] = ++p;
        while (n > 0 && r == 0)
                r = add_path(m, needs[--n], e);
        return r == 0 ? add_path(m, line, e) : r;
}

static int add_modules(struct archive *a, const struct initrd *what, struct err *e)
{
        const char *dir = what->modules;
        struct modules m = { 0 };
        char path[PATH_CAP], name[32];
        int r = 0;

        snprintf(path, sizeof(path), "%s/modules.dep", dir);
        if (!(m.text = read_whole(path, DEP_MAX, &m.len, e)))
                return -(int)e->code;
        for (const char *const *name_of = what->vsock ? wanted_vsock : wanted; *name_of && r == 0; name_of++)
                for (const char *at = m.text; at && *at && r == 0; at = strchr(at, '\n'), at += at != NULL)
                        if (is_module(at, *name_of))
                                r = add_module(&m, at, e);
        for (unsigned i = 0; i < m.count && r == 0; i++) {
                size_t len = path_len(m.order[i]);

                snprintf(path, sizeof(path), "%s/%.*s", dir, (int)len, m.order[i]);
                snprintf(name, sizeof(name), VM_FILE_MODULES "/%02u.ko", i);
                if (strcmp(path + strlen(path) - 3, ".ko") != 0)
                        r = err_set(e, ERR_NOT_SUPPORTED, 0, "%s is compressed", path);
                else
                        r = add_file(a, name, 0444, path, e);
        }
        free(m.text);
        return r;
}

int initrd_write(const char *path, const struct initrd *what, struct err *e)
{
        static const char *const dirs[] = { "dev", "proc", "sys", "new", "disk", "group", VM_FILE_MODULES };
        auto_fd fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
        struct archive a = { .fd = fd };

        if (fd < 0)
                return err_sys(e, "cannot make %s", path);
        for (size_t i = 0; i < sizeof(dirs) / sizeof(dirs[0]); i++)
                entry(&a, dirs[i], S_IFDIR | 0755, NULL, 0, 0);
        entry(&a, "dev/console", S_IFCHR | 0600, NULL, 0, makedev(5, 1));
        if (add_file(&a, "init", 0500, what->guest, e) < 0 || add_file(&a, VM_FILE_INIT, 0555, what->init, e) < 0 ||
            add_modules(&a, what, e) < 0)
                return -(int)e->code;
        entry(&a, "TRAILER!!!", 0, NULL, 0, 0);
        errno = a.sys;
        return a.sys ? err_sys(e, "cannot write %s", path) : 0;
}
