#include "programs/init/files/files.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdbool.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/fd.h"
#include "programs/init/files/dir.h"
#include "programs/init/files/remove.h"
#include "wire/guest.h"

enum { COPY = 64 * 1024, OUT = 32 * 1024, PATH_SIZE = 4096 };

/* Standard output, gathered. */
static char out[OUT];
static size_t out_len;
static int out_sys; /* the first error of writing it */

static void out_flush(void)
{
        if (out_len > 0 && out_sys == 0 && fd_write_all(1, out, out_len) < 0)
                out_sys = errno;
        out_len = 0;
}

static void out_bytes(const char *s, size_t len)
{
        if (len > OUT - out_len)
                out_flush();
        memcpy(out + out_len, s, len);
        out_len += len;
}

static void __attribute__((format(printf, 1, 2))) out_text(const char *fmt, ...)
{
        char text[256];
        va_list ap;

        va_start(ap, fmt);
        int n = vsnprintf(text, sizeof(text), fmt, ap);
        va_end(ap);
        if (n > 0)
                out_bytes(text, (size_t)n < sizeof(text) ? (size_t)n : sizeof(text) - 1);
}

/* A name, with what could be taken for a separator written as \xHH. */
static void out_name(const char *s)
{
        for (; *s; s++) {
                unsigned char c = (unsigned char)*s;

                if (c < 0x21 || c == '\\' || c == 0x7f)
                        out_text("\\x%02x", c);
                else
                        out_bytes(s, 1);
        }
}

static bool parse_mode(const char *s, mode_t *mode)
{
        unsigned v = 0;

        if (!*s || strlen(s) > 5)
                return false;
        for (; *s; s++) {
                if (*s < '0' || *s > '7')
                        return false;
                v = v * 8 + (unsigned)(*s - '0');
        }
        *mode = (mode_t)v;
        return v <= 07777;
}

static int copy(int from, int to)
{
        static char buf[COPY];

        for (;;) {
                ssize_t n = read(from, buf, sizeof(buf));

                if (n == 0)
                        return 0;
                if (n < 0 || fd_write_all(to, buf, (size_t)n) < 0)
                        return errno;
        }
}

static int run_read(uint32_t argc, char **argv)
{
        auto_fd fd = open(argv[0], O_RDONLY | O_NOCTTY | O_CLOEXEC);

        return fd < 0 ? errno : copy(fd, 1);
}

/* Splits at the last slash: *dir is set to a copy of what is before it, and the rest is returned; NULL where there is no name. */
static const char *split_path(const char *path, char dir[PATH_SIZE])
{
        const char *slash = strrchr(path, '/');
        const char *name = slash ? slash + 1 : path;
        size_t len = slash ? (size_t)(slash - path) : 0;

        if (!*name || strcmp(name, ".") == 0 || strcmp(name, "..") == 0 || len + 2 > PATH_SIZE)
                return NULL;
        memcpy(dir, path, len);
        if (!slash)
                dir[len++] = '.';
        else if (len == 0)
                dir[len++] = '/';
        dir[len] = '\0';
        return name;
}

/* What is being written, for who ends us in the middle: half a file is nothing. */
static struct {
        int at;
        char name[64];
} unfinished;

static void drop_unfinished(int signo)
{
        (void)signo;
        unlinkat(unfinished.at, unfinished.name, 0);
        _exit(EINTR);
}

/* A directory in the way is not replaced, and a failure leaves nothing behind. */
static int run_write(uint32_t argc, char **argv)
{
        char dir[PATH_SIZE], temp[64];
        mode_t mode;
        const char *name = split_path(argv[0], dir);

        if (!name || !parse_mode(argv[1], &mode))
                return EINVAL;
        auto_fd at = open(dir, O_PATH | O_DIRECTORY | O_CLOEXEC);
        if (at < 0)
                return errno;
        snprintf(temp, sizeof(temp), ".creto-write-%ld", (long)getpid());
        unfinished.at = at;
        memcpy(unfinished.name, temp, sizeof(temp));
        auto_fd fd = openat(at, temp, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
        if (fd < 0)
                return errno;
        signal(SIGTERM, drop_unfinished);
        int r = copy(0, fd);
        if (r == 0 && fchmod(fd, mode) < 0)
                r = errno;
        if (r == 0 && renameat(at, temp, at, name) < 0)
                r = errno;
        if (r != 0)
                unlinkat(at, temp, 0);
        return r;
}

static char type_of(mode_t mode)
{
        static const struct {
                mode_t type;
                char letter;
        } types[] = { { S_IFREG, 'f' },  { S_IFDIR, 'd' }, { S_IFLNK, 'l' }, { S_IFIFO, 'p' },
                      { S_IFSOCK, 's' }, { S_IFCHR, 'c' }, { S_IFBLK, 'b' } };

        for (size_t i = 0; i < sizeof(types) / sizeof(types[0]); i++)
                if ((mode & S_IFMT) == types[i].type)
                        return types[i].letter;
        return 'f';
}

static int out_entry(int at, const char *name)
{
        struct stat st;
        char target[PATH_SIZE];

        if (fstatat(at, name, &st, AT_SYMLINK_NOFOLLOW) < 0)
                return errno;
        out_text("%c\t%o\t%u\t%u\t%llu\t%lld.%09ld\t", type_of(st.st_mode), (unsigned)(st.st_mode & 07777), (unsigned)st.st_uid,
                 (unsigned)st.st_gid, (unsigned long long)st.st_size, (long long)st.st_mtim.tv_sec, (long)st.st_mtim.tv_nsec);
        out_name(name);
        if (S_ISLNK(st.st_mode)) {
                ssize_t n = readlinkat(at, name, target, sizeof(target) - 1);

                target[n > 0 ? n : 0] = '\0';
                out_text("\t");
                out_name(target);
        }
        out_text("\n");
        return 0;
}

static int run_list(uint32_t argc, char **argv)
{
        static struct dir d;
        unsigned char type;
        const char *name;
        auto_fd fd = open(argv[0], O_RDONLY | O_DIRECTORY | O_CLOEXEC);

        if (fd < 0)
                return errno;
        dir_start(&d, fd);
        while ((name = dir_next(&d, &type))) {
                int r = out_entry(fd, name);

                if (r != 0 && r != ENOENT) /* ENOENT: gone meanwhile */
                        return r;
        }
        return errno;
}

static int run_stat(uint32_t argc, char **argv)
{
        return out_entry(AT_FDCWD, argv[0]);
}

static int run_remove(uint32_t argc, char **argv)
{
        struct stat st;

        if (argc == 2 && strcmp(argv[1], "r") != 0)
                return EINVAL;
        if (argc == 2)
                return remove_tree(argv[0]);
        if (fstatat(AT_FDCWD, argv[0], &st, AT_SYMLINK_NOFOLLOW) < 0)
                return errno;
        return unlinkat(AT_FDCWD, argv[0], S_ISDIR(st.st_mode) ? AT_REMOVEDIR : 0) < 0 ? errno : 0;
}

static int make_parents(const char *path)
{
        char part[PATH_SIZE];
        size_t len = strlen(path);

        if (len >= sizeof(part))
                return ENAMETOOLONG;
        memcpy(part, path, len + 1);
        while (len > 1 && part[len - 1] == '/')
                part[--len] = '\0';
        for (char *p = part + 1; (p = strchr(p, '/')); *p++ = '/') {
                *p = '\0';
                if (mkdir(part, 0777) < 0 && errno != EEXIST && errno != EROFS && errno != EACCES)
                        return errno;
        }
        return 0;
}

static int run_mkdir(uint32_t argc, char **argv)
{
        mode_t mode;
        bool parents = argc == 3;
        struct stat st;

        if (!parse_mode(argv[1], &mode) || (parents && strcmp(argv[2], "p") != 0))
                return EINVAL;
        int r = parents ? make_parents(argv[0]) : 0;
        if (r != 0)
                return r;
        if (mkdir(argv[0], 0700) == 0)
                return chmod(argv[0], mode) < 0 ? errno : 0;
        int sys = errno;
        return parents && sys == EEXIST && stat(argv[0], &st) == 0 && S_ISDIR(st.st_mode) ? 0 : sys;
}

static int run_rename(uint32_t argc, char **argv)
{
        return rename(argv[0], argv[1]) < 0 ? errno : 0;
}

/* The number after "Uid:" in a status file; stat's owner would be root for what is not dumpable. */
static unsigned uid_of(pid_t pid)
{
        char path[64], text[4096];
        unsigned uid = 0;

        snprintf(path, sizeof(path), "/proc/%ld/status", (long)pid);
        if (fd_read_file(AT_FDCWD, path, text, sizeof(text)) < 0)
                return 0;
        const char *line = strstr(text, "\nUid:");
        if (line)
                sscanf(line, "\nUid: %u", &uid);
        return uid;
}

static void out_process(pid_t pid, pid_t unused)
{
        char path[64], text[2048], state;
        int ppid;
        unsigned long user, system;
        long rss;

        snprintf(path, sizeof(path), "/proc/%ld/stat", (long)pid);
        if (fd_read_file(AT_FDCWD, path, text, sizeof(text)) < 0)
                return;
        char *name = strchr(text, '('), *end = strrchr(text, ')');
        if (!name || !end || end < name ||
            sscanf(end + 1, " %c %d %*d %*d %*d %*d %*u %*u %*u %*u %*u %lu %lu %*d %*d %*d %*d %*d %*d %*u %*u %ld", &state, &ppid, &user,
                   &system, &rss) != 5)
                return;
        *end = '\0';
        out_text("%ld\t%d\t%u\t%c\t%ld\t%lu\t", (long)pid, ppid, uid_of(pid), state, rss * (sysconf(_SC_PAGESIZE) / 1024),
                 (user + system) * 1000 / (unsigned long)sysconf(_SC_CLK_TCK));
        out_name(name + 1);
        out_text("\n");
}

static int run_processes(uint32_t argc, char **argv)
{
        return dir_processes(out_process, 0) > 0 ? 0 : ENOENT;
}

static const struct {
        int (*run)(uint32_t argc, char **argv);
        const char *name;
        uint32_t least, most; /* operands */
} kinds[GUEST_KIND_COUNT] = {
        [GUEST_KIND_READ] = { run_read, "read", 1, 1 },
        [GUEST_KIND_WRITE] = { run_write, "write", 2, 2 },
        [GUEST_KIND_LIST] = { run_list, "list", 1, 1 },
        [GUEST_KIND_STAT] = { run_stat, "stat", 1, 1 },
        [GUEST_KIND_REMOVE] = { run_remove, "remove", 1, 2 },
        [GUEST_KIND_MKDIR] = { run_mkdir, "make directory", 2, 3 },
        [GUEST_KIND_PROCESSES] = { run_processes, "processes", 0, 0 },
        [GUEST_KIND_RENAME] = { run_rename, "rename", 2, 2 },
};

int files_run(uint8_t kind, uint32_t argc, char **argv)
{
        int r = argc < kinds[kind].least || argc > kinds[kind].most ? EINVAL : kinds[kind].run(argc, argv);

        out_flush();
        if (r == 0)
                r = out_sys;
        if (r != 0)
                dprintf(2, argc > 0 ? "%s '%.500s': %s\n" : "%s%.0s: %s\n", kinds[kind].name, argc > 0 ? argv[0] : "", strerror(r));
        return r;
}
