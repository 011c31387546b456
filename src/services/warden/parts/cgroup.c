#include "services/warden/parts/cgroup.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/str.h"

enum { TABLE_MAX = 65536, CREATE_TRIES = 4, FREEZE_WAIT_MS = 50 };

static uint64_t read_figure(int dir, const char *file, const char *key);

/* ---- finding the hierarchies ---- */

static int open_base(const char *mount, const char *path)
{
        char full[4096];
        int fd;

        if (path && strcmp(path, "/") != 0) {
                snprintf(full, sizeof(full), "%s%s", mount, path);
                fd = open(full, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
                if (fd >= 0)
                        return fd;
        }
        return open(mount, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
}

static void add_tree(struct cgroup_host *h, int base, unsigned bits, bool v2)
{
        if (h->count == CGROUP_TREES_MAX) {
                close(base);
                return;
        }
        h->trees[h->count++] = (struct cgroup_tree){ .base = base, .controllers = bits, .v2 = v2 };
        h->controllers |= bits;
}

/* Moves every process of the delegated group into a leaf of it, so that the group itself may have children with controllers. */
static bool enter_leaf(int base)
{
        static char pids[16384];

        if (mkdirat(base, "creto-leaf", 0755) < 0 && errno != EEXIST)
                return false;
        auto_fd leaf = openat(base, "creto-leaf", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        if (leaf < 0 || fd_read_file(base, "cgroup.procs", pids, sizeof(pids)) < 0)
                return false;
        for (char *save = NULL, *pid = strtok_r(pids, "\n", &save); pid; pid = strtok_r(NULL, "\n", &save))
                if (fd_write_file(leaf, "cgroup.procs", pid) < 0 && errno != ESRCH)
                        return false;
        return true;
}

static void leave_leaf(int base)
{
        static char pids[16384];

        fd_write_file(base, "cgroup.subtree_control", "-memory -cpu -pids");
        auto_fd leaf = openat(base, "creto-leaf", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        if (leaf >= 0 && fd_read_file(leaf, "cgroup.procs", pids, sizeof(pids)) > 0)
                for (char *save = NULL, *pid = strtok_r(pids, "\n", &save); pid; pid = strtok_r(NULL, "\n", &save))
                        fd_write_file(base, "cgroup.procs", pid);
        unlinkat(base, "creto-leaf", AT_REMOVEDIR);
}

static unsigned v2_controllers(int base, const char *file)
{
        char list[256];

        return fd_read_file(base, file, list, sizeof(list)) < 0 ? 0 : cgroup_controllers(list);
}

static unsigned enable_v2(int base)
{
        static const char *const wanted[] = { "+memory", "+cpu", "+pids" };
        unsigned all = CGROUP_MEMORY | CGROUP_CPU | CGROUP_PIDS;

        if ((v2_controllers(base, "cgroup.subtree_control") & all) == all)
                return all;
        for (size_t i = 0; i < sizeof(wanted) / sizeof(wanted[0]); i++)
                fd_write_file(base, "cgroup.subtree_control", wanted[i]);
        return v2_controllers(base, "cgroup.subtree_control") & all;
}

static void find_v2(struct cgroup_host *h, const char *mount, const char *own, bool root, unsigned by_v1)
{
        int base = root ? open_base(mount, NULL) : open_base(mount, own);

        if (base < 0)
                return;
        if (!root && (strcmp(own, "/") == 0 || faccessat(base, "cgroup.procs", W_OK, AT_EACCESS) < 0)) {
                close(base);
                return;
        }
        unsigned here = v2_controllers(base, "cgroup.controllers") & ~by_v1;
        if (here == 0 && !root) {
                close(base);
                return;
        }
        if (here != 0 && !root && !enter_leaf(base)) {
                close(base);
                return;
        }
        if (here != 0 && !root)
                h->leaf_home = fcntl(base, F_DUPFD_CLOEXEC, 3);
        add_tree(h, base, here != 0 ? enable_v2(base) : 0, true);
}

/* Version 2 counts CPU time, whatever its controllers. */
static void drop_cpuacct(struct cgroup_host *h)
{
        for (unsigned i = 0; i + 1 < h->count && h->trees[h->count - 1].v2; i++) {
                if (h->trees[i].controllers != CGROUP_CPUACCT)
                        continue;
                close(h->trees[i].base);
                h->count--;
                memmove(&h->trees[i], &h->trees[i + 1], (h->count - i) * sizeof(h->trees[0]));
        }
}

void cgroup_host_init(struct cgroup_host *h, bool root)
{
        static char mounts[TABLE_MAX], own[4096];
        char path[1024];
        unsigned by_v1 = 0;

        *h = (struct cgroup_host){ .leaf_home = -1 };
        if (fd_read_file(AT_FDCWD, "/proc/self/mounts", mounts, sizeof(mounts)) < 0 ||
            fd_read_file(AT_FDCWD, "/proc/self/cgroup", own, sizeof(own)) < 0)
                return;
        for (char *save = NULL, *line = strtok_r(mounts, "\n", &save); line; line = strtok_r(NULL, "\n", &save)) {
                char where[512], type[32], options[512];

                if (sscanf(line, "%*s %511s %31s %511s", where, type, options) != 3)
                        continue;
                if (strcmp(type, "cgroup2") == 0 && !h->v2_mount[0])
                        snprintf(h->v2_mount, sizeof(h->v2_mount), "%s", where);
                if (strcmp(type, "cgroup") != 0 || !root)
                        continue;
                unsigned bits = cgroup_controllers(options) & ~by_v1;
                if (bits == 0 || !cgroup_path(own, bits, false, path, sizeof(path)))
                        continue;
                int base = open_base(where, path);
                if (base < 0)
                        continue;
                by_v1 |= bits;
                add_tree(h, base, bits, false);
        }
        if (h->v2_mount[0] && cgroup_path(own, 0, true, path, sizeof(path)))
                find_v2(h, h->v2_mount, path, root, by_v1);
        drop_cpuacct(h);
        h->version = h->controllers == 0 ? 0 : by_v1 != 0 ? 1 : 2;
}

void cgroup_host_release(struct cgroup_host *h)
{
        if (h->leaf_home >= 0) {
                leave_leaf(h->leaf_home);
                fd_close(&h->leaf_home);
        }
        for (unsigned i = 0; i < h->count; i++)
                fd_close(&h->trees[i].base);
        h->count = 0;
}

/* ---- one sandbox's groups ---- */

/* A group is its maker's as long as he holds a lock on its directory; what nobody holds is swept. Returns the descriptor with the lock. */
static int make_dir(int base, const char *name)
{
        for (int i = 0; i < CREATE_TRIES; i++) {
                if (mkdirat(base, name, 0755) < 0)
                        return -1;
                int dir = openat(base, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
                if (dir >= 0 && flock(dir, LOCK_SH | LOCK_NB) == 0 && faccessat(base, name, F_OK, 0) == 0)
                        return dir;
                fd_close(&dir); /* somebody swept before we had the lock */
        }
        return -1;
}

int cgroup_create(const struct cgroup_host *h, struct cgroup *g, const char *name, unsigned wanted, struct err *e)
{
        snprintf(g->name, sizeof(g->name), "%s", name);
        for (unsigned i = 0; i < CGROUP_TREES_MAX; i++)
                g->dirs[i] = -1;
        g->used = true;
        for (unsigned i = 0; i < h->count; i++) {
                const struct cgroup_tree *t = &h->trees[i];

                if (wanted == 0 || (!t->v2 && (t->controllers & wanted) == 0))
                        continue;
                g->dirs[i] = make_dir(t->base, g->name);
                if (g->dirs[i] < 0)
                        return err_sys(e, "cgroup: cannot make '%s'", g->name);
        }
        return 0;
}

void cgroup_adopt(const struct cgroup_host *h, struct cgroup *g, const char *name)
{
        *g = (struct cgroup){ .used = *name != '\0' };
        snprintf(g->name, sizeof(g->name), "%s", name);
        for (unsigned i = 0; i < CGROUP_TREES_MAX; i++) {
                g->dirs[i] = g->used && i < h->count ? openat(h->trees[i].base, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC) : -1;
                if (g->dirs[i] >= 0)
                        (void)flock(g->dirs[i], LOCK_SH | LOCK_NB);
        }
}

static int v2_dir(const struct cgroup_host *h, const struct cgroup *g)
{
        for (unsigned i = 0; i < h->count && g->used; i++)
                if (h->trees[i].v2)
                        return g->dirs[i];
        return -1;
}

int cgroup_freeze(const struct cgroup_host *h, const struct cgroup *g, bool frozen, struct err *e)
{
        int dir = v2_dir(h, g);

        if (dir < 0) {
                err_set(e, ERR_NOT_SUPPORTED, 0, "cgroup: this host cannot freeze a sandbox");
                return err_hint(e, "it needs a cgroup2 mount, which may be beside version 1 controllers");
        }
        if (fd_write_file(dir, "cgroup.freeze", frozen ? "1" : "0") < 0)
                return err_sys(e, "cgroup: cannot freeze '%s'", g->name);
        for (int i = 0; i < FREEZE_WAIT_MS && cgroup_is_frozen(h, g) != frozen; i++)
                nanosleep(&(struct timespec){ .tv_nsec = 1000000 }, NULL);
        return 0;
}

bool cgroup_is_frozen(const struct cgroup_host *h, const struct cgroup *g)
{
        int dir = v2_dir(h, g);

        return dir >= 0 && read_figure(dir, "cgroup.events", "frozen") == 1;
}

static int write_limit(int dir, const char *file, const char *value, bool optional, struct err *e)
{
        if (fd_write_file(dir, file, value) == 0 || (optional && errno == ENOENT))
                return 0;
        return err_sys(e, "cgroup: cannot write '%s' to %s", value, file);
}

static int too_full(uint64_t wanted, uint64_t used, struct err *e)
{
        char a[32], b[32];

        str_format_bytes(wanted, a, sizeof(a));
        str_format_bytes(used, b, sizeof(b));
        err_set(e, ERR_SANDBOX_NOT_READY, EBUSY, "memory: %s is too little for the %s that the sandbox uses and cannot give back", a, b);
        return err_hint(e, "end some of its processes, or leave it more");
}

/* Below what is in use the kernel would kill. `high` takes back what can be taken, and kills nothing. */
static int shrink_v2(int dir, uint64_t bytes, const char *text, struct err *e)
{
        uint64_t used = read_figure(dir, "memory.current", NULL);

        if (used == UINT64_MAX || used <= bytes)
                return 0;
        if (write_limit(dir, "memory.high", text, false, e) < 0)
                return -(int)e->code;
        used = read_figure(dir, "memory.current", NULL);
        return used <= bytes ? 0 : too_full(bytes, used, e);
}

static int limit_memory_v2(int dir, const struct cgroup_limits *l, struct err *e)
{
        char memory[32], swap[32];
        struct err ignored;

        cgroup_format(l->memory, "max", memory, sizeof(memory));
        cgroup_format(l->swap, "max", swap, sizeof(swap));
        int r = shrink_v2(dir, l->memory, memory, e);
        if (r == 0)
                r = write_limit(dir, "memory.max", memory, false, e);
        write_limit(dir, "memory.high", "max", false, &ignored);
        return r < 0 ? r : write_limit(dir, "memory.swap.max", swap, true, e);
}

/* Memory may never be more than its sum with swap, which makes room first where both grow. */
static int limit_memory_v1(int dir, const struct cgroup_limits *l, struct err *e)
{
        bool no_sum = l->memory == UINT64_MAX || l->swap == UINT64_MAX;
        char memory[32], sum[32];

        cgroup_format(l->memory, "-1", memory, sizeof(memory));
        cgroup_format(no_sum ? UINT64_MAX : l->memory + l->swap, "-1", sum, sizeof(sum));
        int r = write_limit(dir, "memory.limit_in_bytes", memory, false, e);
        if (r < 0 && e->sys == EINVAL && write_limit(dir, "memory.memsw.limit_in_bytes", "-1", true, e) == 0)
                r = write_limit(dir, "memory.limit_in_bytes", memory, false, e);
        if (r == 0)
                r = write_limit(dir, "memory.memsw.limit_in_bytes", sum, true, e);
        return r < 0 && e->sys == EBUSY ? too_full(l->memory, read_figure(dir, "memory.usage_in_bytes", NULL), e) : r;
}

int cgroup_limit(const struct cgroup_host *h, const struct cgroup *g, const struct cgroup_limits *l, struct err *e)
{
        char text[64];

        for (unsigned i = 0; i < h->count; i++) {
                const struct cgroup_tree *t = &h->trees[i];
                int dir = g->dirs[i];

                if (dir < 0)
                        continue;
                if ((t->controllers & CGROUP_MEMORY) && (t->v2 ? limit_memory_v2 : limit_memory_v1)(dir, l, e) < 0)
                        return -(int)e->code;
                cgroup_format_cpu(l->cpu_millis, t->v2, text, sizeof(text));
                if ((t->controllers & CGROUP_CPU) && write_limit(dir, t->v2 ? "cpu.max" : "cpu.cfs_quota_us", text, false, e) < 0)
                        return -(int)e->code;
                cgroup_format(l->pids, "max", text, sizeof(text));
                if ((t->controllers & CGROUP_PIDS) && write_limit(dir, "pids.max", text, false, e) < 0)
                        return -(int)e->code;
        }
        return 0;
}

int cgroup_can_limit(const struct cgroup_host *h, const struct cgroup *g, unsigned wanted, struct err *e)
{
        for (unsigned i = 0; i < h->count && g->used; i++)
                if (g->dirs[i] >= 0)
                        wanted &= ~h->trees[i].controllers;
        const char *name = cgroup_controller_name(wanted & ~(unsigned)CGROUP_CPUACCT);
        if (!name)
                return 0;
        err_set(e, ERR_NOT_SUPPORTED, 0, "%s: it was unlimited when the sandbox was made, and has no group", name);
        return err_hint(e, "make the sandbox with some limit, which can then be changed");
}

int cgroup_doors(const struct cgroup_host *h, const struct cgroup *g, int doors[CGROUP_TREES_MAX], struct err *e)
{
        int count = 0;

        for (unsigned i = 0; i < h->count; i++) {
                if (!g->used || g->dirs[i] < 0 || h->trees[i].v2)
                        continue;
                doors[count] = openat(g->dirs[i], "tasks", O_WRONLY | O_CLOEXEC);
                if (doors[count] < 0) {
                        err_sys(e, "cgroup: cannot open '%s'", g->name);
                        while (count > 0)
                                close(doors[--count]);
                        return -(int)e->code;
                }
                count++;
        }
        return count;
}

int cgroup_clone_fd(const struct cgroup_host *h, const struct cgroup *g)
{
        int dir = v2_dir(h, g);

        return dir < 0 ? -1 : openat(dir, ".", O_PATH | O_DIRECTORY | O_CLOEXEC);
}

static uint64_t read_figure(int dir, const char *file, const char *key)
{
        char text[1024];

        return fd_read_file(dir, file, text, sizeof(text)) < 0 ? UINT64_MAX : cgroup_figure(text, key);
}

void cgroup_usage(const struct cgroup_host *h, const struct cgroup *g, struct cgroup_usage *u)
{
        memset(u, 0xff, sizeof(*u));
        for (unsigned i = 0; i < h->count; i++) {
                const struct cgroup_tree *t = &h->trees[i];

                if (!g->used || g->dirs[i] < 0)
                        continue;
                for (const struct cgroup_row *row = cgroup_rows; row->v1_file; row++) {
                        const char *file = t->v2 ? row->v2_file : row->v1_file;
                        if (!(t->controllers & row->controller) || !file)
                                continue;
                        uint64_t v = read_figure(g->dirs[i], file, t->v2 ? row->v2_key : row->v1_key);
                        if (v != UINT64_MAX && !t->v2)
                                v /= row->v1_divisor;
                        *(uint64_t *)((char *)u + row->field) = v;
                }
                if (t->v2) /* v2 accounts CPU time whatever controllers it has */
                        u->cpu_us = read_figure(g->dirs[i], "cpu.stat", "usage_usec");
        }
}

static void kill_members(int dir)
{
        static char pids[16384];

        if (fd_write_file(dir, "cgroup.kill", "1") == 0)
                return;
        if (fd_read_file(dir, "cgroup.procs", pids, sizeof(pids)) <= 0)
                return;
        for (char *save = NULL, *pid = strtok_r(pids, "\n", &save); pid; pid = strtok_r(NULL, "\n", &save)) {
                pid_t p = (pid_t)strtol(pid, NULL, 10);
                if (p > 1)
                        kill(p, SIGKILL);
        }
}

bool cgroup_destroy(const struct cgroup_host *h, struct cgroup *g)
{
        if (!g->used)
                return true;
        g->used = false;
        for (unsigned i = 0; i < h->count; i++) {
                if (g->dirs[i] < 0)
                        continue;
                if (unlinkat(h->trees[i].base, g->name, AT_REMOVEDIR) < 0 && errno == EBUSY) {
                        kill_members(g->dirs[i]);
                        g->used = true;
                } else {
                        fd_close(&g->dirs[i]);
                }
        }
        return !g->used;
}

struct sweep {
        int base;
        pid_t own;
        unsigned left;
};

static void sweep_one(void *user, const char *name)
{
        struct sweep *s = user;
        pid_t owner = cgroup_owner(name);
        auto_fd dir = owner > 0 ? openat(s->base, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC) : -1;

        if (dir < 0)
                return;
        if (s->own != 0 && owner == s->own) /* an engine does not always die with us */
                kill_members(dir);
        bool held = flock(dir, LOCK_EX | LOCK_NB) < 0;
        if (held || unlinkat(s->base, name, AT_REMOVEDIR) < 0)
                s->left += owner == s->own || (s->own == 0 && !held);
}

unsigned cgroup_sweep(const struct cgroup_host *h, pid_t own)
{
        struct sweep s = { .own = own };

        for (unsigned i = 0; i < h->count; i++) {
                s.base = h->trees[i].base;
                fd_each_name(s.base, sweep_one, &s);
        }
        return s.left;
}
