#include "services/warden/parts/space.h"

#include <errno.h>
#include <fcntl.h>
#include <net/if.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/fd.h"

enum { STACK = 16384 };

static _Alignas(16) char stack[STACK];

int space_lo_up(struct err *e)
{
        struct ifreq lo = { .ifr_name = "lo", .ifr_flags = IFF_UP };
        auto_fd s = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);

        return s < 0 || ioctl(s, SIOCSIFFLAGS, &lo) < 0 ? err_sys(e, "cannot set up a network namespace") : 0;
}

/* Holds a namespace open until it is mapped. It must not outlive us, since it has a copy of every descriptor we have: a parent that died before the
 * order to die with it was given is noticed by the other name of our parent. */
static int userns_child(void *parent)
{
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        if (syscall(SYS_getppid) != *(pid_t *)parent)
                return 0;
        while (pause() < 0)
                ;
        return 0;
}

static int write_map(pid_t pid, const char *file, const struct space_map *map, struct err *e)
{
        char path[64], text[64];

        snprintf(path, sizeof(path), "/proc/%d/%s", pid, file);
        snprintf(text, sizeof(text), "%u %u %u", map->inside, map->outside, map->count);
        return fd_write_file(AT_FDCWD, path, text) < 0 ? err_sys(e, "cannot write the id map '%s'", text) : 0;
}

int space_userns(const struct space_map *map, struct err *e)
{
        char path[64];
        int r;
        static pid_t self; /* static: the child may look after we are gone */

        self = getpid();
        pid_t pid = clone(userns_child, stack + STACK, CLONE_VM | CLONE_NEWUSER | SIGCHLD, &self);

        if (pid < 0)
                return err_sys(e, "cannot make a user namespace");
        r = write_map(pid, "uid_map", map, e);
        if (r == 0)
                r = write_map(pid, "gid_map", map, e);
        if (r == 0) {
                snprintf(path, sizeof(path), "/proc/%d/ns/user", pid);
                r = open(path, O_RDONLY | O_CLOEXEC);
                if (r < 0)
                        r = err_sys(e, "cannot open a user namespace");
        }
        kill(pid, SIGKILL);
        waitpid(pid, NULL, 0);
        return r;
}

int space_become_root(struct err *e)
{
        char map[64];
        uid_t uid = geteuid();
        gid_t gid = getegid();

        if (unshare(CLONE_NEWUSER | CLONE_NEWNS) < 0) {
                err_set(e, ERR_NOT_SUPPORTED, errno, "cannot make a user namespace");
                return err_hint(e, "'creto-runtime doctor' says what forbids it; as root it is not needed");
        }
        snprintf(map, sizeof(map), "0 %u 1", gid);
        if (fd_write_file(AT_FDCWD, "/proc/self/setgroups", "deny") < 0 || fd_write_file(AT_FDCWD, "/proc/self/gid_map", map) < 0)
                return err_sys(e, "cannot map our group");
        snprintf(map, sizeof(map), "0 %u 1", uid);
        if (fd_write_file(AT_FDCWD, "/proc/self/uid_map", map) < 0)
                return err_sys(e, "cannot map our user");
        if (setresgid(0, 0, 0) < 0 || setresuid(0, 0, 0) < 0)
                return err_sys(e, "cannot become root of our own user namespace");
        return 0;
}

/* ---- id ranges ---- */

int space_slots_init(struct space_slots *s, const char *run_dir, struct err *e)
{
        char path[512];

        *s = (struct space_slots){ .lock = -1 };
        if (mkdir(run_dir, 0755) < 0 && errno != EEXIST)
                return err_sys(e, "cannot make %s", run_dir);
        snprintf(path, sizeof(path), "%s/ids", run_dir);
        s->lock = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
        return s->lock < 0 ? err_sys(e, "cannot open %s", path) : 0;
}

static int lock_byte(int fd, int slot, short type)
{
        struct flock l = { .l_type = type, .l_whence = SEEK_SET, .l_start = slot, .l_len = 1 };

        return fcntl(fd, F_OFD_SETLK, &l);
}

int space_slot_take(struct space_slots *s, struct err *e)
{
        /* Start elsewhere in each warden, so that neighbours do not try the same ranges in turn. */
        unsigned first = (unsigned)getpid() * 61U;

        for (unsigned i = 0; i < SPACE_SLOTS; i++) {
                unsigned slot = (first + i) % SPACE_SLOTS;
                uint64_t bit = 1ULL << (slot % 64);

                if (s->taken[slot / 64] & bit)
                        continue;
                if (lock_byte(s->lock, (int)slot, F_WRLCK) < 0)
                        continue;
                s->taken[slot / 64] |= bit;
                return (int)slot;
        }
        err_set(e, ERR_RESOURCE_EXHAUSTED, 0, "all %d id ranges of this host are in use", SPACE_SLOTS);
        return err_hint(e, "terminate sandboxes that are no longer needed");
}

int space_slot_hold(const struct space_slots *s, int slot, struct err *e)
{
        char path[32];

        snprintf(path, sizeof(path), "/proc/self/fd/%d", s->lock);
        auto_fd fd = open(path, O_RDONLY | O_CLOEXEC);
        /* shared, since one that is alone needs a descriptor that can write; who takes a slot wants it alone, so either keeps it */
        if (fd < 0 || lock_byte(s->lock, slot, F_RDLCK) < 0 || lock_byte(fd, slot, F_RDLCK) < 0)
                return err_sys(e, "cannot hold an id range");
        return take_fd(&fd);
}

int space_slot_retake(struct space_slots *s, int slot)
{
        if (slot < 0 || slot >= SPACE_SLOTS || lock_byte(s->lock, slot, F_RDLCK) < 0)
                return 1;
        s->taken[slot / 64] |= 1ULL << (slot % 64);
        return 0;
}

void space_slot_give(struct space_slots *s, int slot)
{
        if (slot < 0)
                return;
        lock_byte(s->lock, slot, F_UNLCK);
        s->taken[slot / 64] &= ~(1ULL << (slot % 64));
}
