/*
 * A tree may be deeper than there are descriptors or stack. So the walk goes down by descriptors (never by ".." or by path, so that
 * nobody can lead it out of the tree), but only LEVELS deep: a directory below that is first moved up into the top one, under a
 * name of its own, where it is a shallow one.
 */
#include "programs/init/files/remove.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "programs/init/files/dir.h"

enum { LEVELS = 64, NAME_SIZE = 256 };

static struct level {
        struct dir dir;
        char name[NAME_SIZE]; /* in the level above */
        bool removed;         /* something, since the reading began: then it is read again */
} levels[LEVELS];
static int depth;
static unsigned moved;

static int enter(int at, const char *name)
{
        int fd = openat(at, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);

        if (fd < 0)
                return errno;
        struct level *l = &levels[depth++];
        dir_start(&l->dir, fd);
        snprintf(l->name, sizeof(l->name), "%s", name);
        l->removed = false;
        return 0;
}

static int move_up(int at, const char *name)
{
        char to[64];

        for (int tries = 0; tries < 1000; tries++) {
                snprintf(to, sizeof(to), ".creto-remove-%ld-%u", (long)getpid(), moved++);
                if (renameat(at, name, levels[0].dir.fd, to) == 0) {
                        levels[0].removed = true;
                        return 0;
                }
                if (errno != EEXIST && errno != ENOTEMPTY && errno != ENOTDIR)
                        return errno;
        }
        return EEXIST;
}

static int unlink_one(struct level *l, const char *name, int flags)
{
        if (unlinkat(l->dir.fd, name, flags) < 0)
                return errno;
        l->removed = true;
        return 0;
}

/* One entry of the deepest level; a directory that holds something becomes the deepest, or moves up. */
static int take_entry(const char *name, unsigned char type)
{
        struct level *l = &levels[depth - 1];
        int r = type == DT_DIR ? EISDIR : unlink_one(l, name, 0);

        if (r == EISDIR || r == EPERM) {
                r = unlink_one(l, name, AT_REMOVEDIR);
                if (r == ENOTDIR) /* it changed meanwhile */
                        r = unlink_one(l, name, 0);
        }
        if (r == ENOENT)
                return 0;
        if (r != ENOTEMPTY && r != EEXIST)
                return r;
        if (depth == LEVELS)
                return move_up(l->dir.fd, name);
        r = enter(l->dir.fd, name);
        if (r == EMFILE && depth > 1)
                return move_up(l->dir.fd, name);
        return r == ENOENT || r == ENOTDIR ? 0 : r;
}

/* The deepest level has been read to its end. */
static int leave(int top_at, const char *top_name)
{
        struct level *l = &levels[depth - 1];
        int at = depth > 1 ? levels[depth - 2].dir.fd : top_at;
        const char *name = depth > 1 ? l->name : top_name;

        if (unlinkat(at, name, AT_REMOVEDIR) < 0 && errno != ENOENT) {
                if ((errno != ENOTEMPTY && errno != EEXIST) || !l->removed)
                        return errno;
                l->removed = false; /* reading while removing may have missed some, or more has come */
                if (lseek(l->dir.fd, 0, SEEK_SET) < 0)
                        return errno;
                dir_start(&l->dir, l->dir.fd);
                return 0;
        }
        close(l->dir.fd);
        depth--;
        if (depth > 0)
                levels[depth - 1].removed = true;
        return 0;
}

static int walk(const char *path)
{
        int r = enter(AT_FDCWD, path);

        while (r == 0 && depth > 0) {
                unsigned char type;
                const char *name = dir_next(&levels[depth - 1].dir, &type);

                if (name)
                        r = take_entry(name, type);
                else
                        r = errno ? errno : leave(AT_FDCWD, path);
        }
        while (depth > 0)
                close(levels[--depth].dir.fd);
        return r;
}

int remove_tree(const char *path)
{
        if (unlinkat(AT_FDCWD, path, 0) == 0)
                return 0;
        if (errno != EISDIR && errno != EPERM)
                return errno;
        return walk(path);
}
