#include "programs/init/exec/users.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/fd.h"

enum { LINE = 4096, FILE_MAX = 4 << 20, LOOKUP_MS = 2000, FIELDS = 7 };

struct lines {
        int fd;
        size_t pos, len, total;
        char buf[LINE];
};

struct answer {
        int32_t sys;
        struct identity id;
};

/* The child's side */

static int lines_open(struct lines *l, const char *path)
{
        struct stat st;

        l->pos = l->len = l->total = 0;
        l->fd = open(path, O_RDONLY | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
        if (l->fd >= 0 && (fstat(l->fd, &st) < 0 || !S_ISREG(st.st_mode)))
                fd_close(&l->fd);
        return l->fd < 0 ? -1 : 0;
}

static int lines_byte(struct lines *l)
{
        if (l->pos == l->len) {
                ssize_t n = l->total < FILE_MAX ? read(l->fd, l->buf, sizeof(l->buf)) : 0;

                if (n <= 0)
                        return -1;
                l->pos = 0;
                l->len = (size_t)n;
                l->total += (size_t)n;
        }
        return (unsigned char)l->buf[l->pos++];
}

/* The next line that fits; longer ones are passed over. */
static bool lines_next(struct lines *l, char out[LINE])
{
        for (;;) {
                size_t len = 0;
                int c;

                while ((c = lines_byte(l)) >= 0 && c != '\n') {
                        if (len < LINE)
                                out[len] = (char)c;
                        len++;
                }
                if (c < 0 && len == 0)
                        return false;
                if (len >= LINE)
                        continue;
                out[len] = '\0';
                return true;
        }
}

static size_t split(char *line, char *fields[FIELDS])
{
        size_t n = 0;

        while (n < FIELDS) {
                fields[n++] = line;
                line = strchr(line, ':');
                if (!line)
                        break;
                *line++ = '\0';
        }
        return n;
}

/* An id: digits alone, and not the one that means none. */
static bool parse_id(const char *s, uint32_t *out)
{
        uint64_t v = 0;

        if (!*s)
                return false;
        for (; *s; s++) {
                if (*s < '0' || *s > '9')
                        return false;
                v = v * 10 + (uint64_t)(*s - '0');
                if (v >= UINT32_MAX)
                        return false;
        }
        *out = (uint32_t)v;
        return true;
}

static void keep(char *out, size_t cap, const char *s)
{
        size_t len = strlen(s);

        out[0] = '\0';
        if (len < cap)
                memcpy(out, s, len + 1);
}

/* passwd: name:x:uid:gid:gecos:home:shell */
static int find_user(const char *user, struct identity *id)
{
        static struct lines l;
        static char line[LINE];
        char *f[FIELDS];
        uint32_t uid, gid, wanted = 0;
        bool numeric = parse_id(user, &wanted);

        if (numeric && wanted != id->uid)
                id->home[0] = '\0';
        if (numeric)
                id->uid = wanted;
        if (lines_open(&l, "/etc/passwd") < 0)
                return numeric ? 0 : ENOENT;
        while (lines_next(&l, line)) {
                if (split(line, f) < FIELDS || !parse_id(f[2], &uid) || !parse_id(f[3], &gid))
                        continue;
                if (numeric ? uid != wanted : strcmp(f[0], user) != 0)
                        continue;
                id->uid = uid;
                id->gid = gid;
                keep(id->name, sizeof(id->name), f[0]);
                keep(id->home, sizeof(id->home), f[5][0] == '/' ? f[5] : "");
                keep(id->shell, sizeof(id->shell), f[6][0] == '/' ? f[6] : "");
                return 0;
        }
        return numeric ? 0 : ENOENT;
}

static bool listed(const char *members, const char *name)
{
        size_t len = strlen(name);

        for (const char *p = members; *p;) {
                size_t n = strcspn(p, ",");

                if (n == len && memcmp(p, name, len) == 0)
                        return true;
                p += n + (p[n] == ',');
        }
        return false;
}

/* group: name:x:gid:member,member. With `group` its gid; without, the groups that list the user. */
static int find_groups(const char *group, struct identity *id)
{
        static struct lines l;
        static char line[LINE];
        char *f[FIELDS];
        uint32_t gid;

        if (group && parse_id(group, &id->gid))
                return 0;
        if (lines_open(&l, "/etc/group") < 0)
                return group ? ENOENT : 0;
        while (lines_next(&l, line)) {
                if (split(line, f) < 4 || !parse_id(f[2], &gid))
                        continue;
                if (group && strcmp(f[0], group) == 0) {
                        id->gid = gid;
                        return 0;
                }
                if (!group && id->name[0] && listed(f[3], id->name) && id->group_count < CONFINE_GROUPS_MAX)
                        id->groups[id->group_count++] = gid;
        }
        return group ? ENOENT : 0;
}

static int look_up(const char *user, struct identity *id)
{
        char name[256];
        const char *colon = strchr(user, ':');
        size_t len = colon ? (size_t)(colon - user) : strlen(user);

        if (len == 0 || len >= sizeof(name) || (colon && !colon[1]))
                return EINVAL;
        memcpy(name, user, len);
        name[len] = '\0';
        int r = find_user(name, id);
        return r != 0 ? r : find_groups(colon ? colon + 1 : NULL, id);
}

static _Noreturn void child(const char *user, const struct identity *fallback, int fd)
{
        static struct answer a;

        a.id = *fallback;
        a.sys = confine_become(fallback); /* nobody in particular, and without capabilities */
        if (a.sys == 0)
                a.sys = look_up(user, &a.id);
        _exit(write(fd, &a, sizeof(a)) == (ssize_t)sizeof(a) ? 0 : 1);
}

/* pid 1's side */

static bool sane(struct identity *id)
{
        id->name[sizeof(id->name) - 1] = id->home[sizeof(id->home) - 1] = id->shell[sizeof(id->shell) - 1] = '\0';
        return id->group_count <= CONFINE_GROUPS_MAX && id->uid != UINT32_MAX && id->gid != UINT32_MAX;
}

int users_find(const char *user, struct identity *id)
{
        int ends[2];
        struct answer a = { .sys = EIO };

        if (pipe2(ends, O_CLOEXEC) < 0)
                return errno;
        auto_fd reading = ends[0];
        auto_fd writing = ends[1];
        pid_t pid = fork();
        if (pid < 0)
                return errno;
        if (pid == 0)
                child(user, id, writing);
        fd_close(&writing);
        struct pollfd p = { .fd = reading, .events = POLLIN };
        int ready = poll(&p, 1, LOOKUP_MS);
        if (ready > 0 && read(reading, &a, sizeof(a)) != (ssize_t)sizeof(a))
                a.sys = EIO;
        else if (ready == 0)
                a.sys = ETIMEDOUT;
        kill(pid, SIGKILL);
        while (waitpid(pid, NULL, 0) < 0 && errno == EINTR)
                ;
        if (a.sys == 0 && !sane(&a.id))
                a.sys = EINVAL;
        if (a.sys == 0)
                *id = a.id;
        return a.sys;
}
