/*
 * File descriptors: ownership (auto_fd, take_fd) and whole transfers. Every descriptor we open is O_CLOEXEC; who must pass one on
 * to a program says so with fd_move().
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

/* Closes *fd if it is open and makes it -1; keeps errno. */
void fd_close(int *fd);

#define auto_fd __attribute__((cleanup(fd_close))) int

/* Gives the descriptor away: returns it and leaves -1. */
static inline int take_fd(int *fd)
{
        int value = *fd;

        *fd = -1;
        return value;
}

/* Writes or reads all of `len` bytes, across short transfers and EINTR (not EAGAIN). Returns 0, or -1 with errno; a read that
 * meets the end before `len` bytes fails with ENODATA. */
int fd_write_all(int fd, const void *data, size_t len);
int fd_read_all(int fd, void *data, size_t len);

/* Reads at most `cap` - 1 bytes of a small file (a /proc or cgroup file) and ends them with a NUL. Returns the length, or -1 with
 * errno. `dir` as in openat(2). */
ssize_t fd_read_file(int dir, const char *path, char *out, size_t cap);

/* Writes `text` to an existing file in one write(2). Returns 0, or -1 with errno. */
int fd_write_file(int dir, const char *path, const char *text);

/* Makes the file behind `fd` available as exactly `target`, without O_CLOEXEC. Returns 0, or -1 with errno. */
int fd_move(int fd, int target);

int fd_set_nonblock(int fd, bool on);

/* Waits that long (-1: until then) for something to read, the end of it, or, for a pidfd, the end of the process: a zombie has ended. */
bool fd_readable(int fd, int wait_ms);
