#include "programs/init/files/dir.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/fd.h"

/* The kernel's struct linux_dirent64, which C libraries hide. */
struct entry {
        uint64_t ino;
        int64_t off;
        uint16_t reclen;
        uint8_t type;
        char name[];
};

void dir_start(struct dir *d, int fd)
{
        d->fd = fd;
        d->pos = d->len = 0;
}

const char *dir_next(struct dir *d, unsigned char *type)
{
        for (;;) {
                if (d->pos >= d->len) {
                        errno = 0;
                        long n = syscall(SYS_getdents64, d->fd, d->buf, sizeof(d->buf));
                        if (n <= 0)
                                return NULL;
                        d->pos = 0;
                        d->len = (size_t)n;
                }
                const struct entry *e = (const void *)(d->buf + d->pos);
                d->pos += e->reclen;
                if (strcmp(e->name, ".") == 0 || strcmp(e->name, "..") == 0)
                        continue;
                *type = e->type;
                return e->name;
        }
}

static pid_t pid_of(const char *name)
{
        long pid = 0;

        for (; *name >= '0' && *name <= '9' && pid < 1 << 24; name++)
                pid = pid * 10 + (*name - '0');
        return *name == '\0' ? (pid_t)pid : 0;
}

uint32_t dir_processes(void (*each)(pid_t pid, pid_t arg), pid_t arg)
{
        auto_fd proc = open("/proc", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        struct dir d;
        unsigned char type;
        const char *name;
        uint32_t count = 0;

        if (proc < 0)
                return 0;
        dir_start(&d, proc);
        while ((name = dir_next(&d, &type))) {
                pid_t pid = pid_of(name);

                if (pid <= 0)
                        continue;
                count++;
                if (each)
                        each(pid, arg);
        }
        return count;
}
