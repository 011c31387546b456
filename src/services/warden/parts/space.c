#include "services/warden/parts/space.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/fd.h"

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
