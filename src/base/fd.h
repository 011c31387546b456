/*
 * File descriptors: ownership (auto_fd, take_fd) and whole transfers. Every descriptor we open is O_CLOEXEC; who must pass one on
 * to a program says so with fd_move().
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/stat.h>
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
 * errno: ELOOP where it is a link. `dir` as in openat(2). */
ssize_t fd_read_file(int dir, const char *path, char *out, size_t cap);

/* Writes `text` to an existing file in one write(2). Returns 0, or -1 with errno. */
int fd_write_file(int dir, const char *path, const char *text);

/* Makes the file behind `fd` available as exactly `target`, without O_CLOEXEC. Returns 0, or -1 with errno. */
int fd_move(int fd, int target);

/* A copy out of the way of the low numbers. */
int fd_high(int fd);
/* In a process that becomes another program: makes fds[i] available as exactly i, without O_CLOEXEC, whatever their numbers are; -1 leaves i as it is. What is
 * to be kept besides is to be out of the way (fd_high). Returns 0, or -1 with errno. */
int fd_arrange(const int *fds, size_t count);

/* Makes a new file with this content and opens it for appending. Returns a descriptor, or -1 with errno. */
int fd_new_file(int dir, const char *path, mode_t mode, const void *data, size_t len);
/* Makes a new fifo and opens both of its ends: neither waits for the other. Returns a descriptor that does not block, or -1 with errno. */
int fd_new_fifo(int dir, const char *path);
/* The reading end of a pipe that holds this and nothing else; `len` is at most PIPE_BUF. Or -1 with errno. */
int fd_pipe_with(const void *data, size_t len);
/* Sets a timerfd to be readable in so many ms. Returns 0, or -1 with errno. */
int fd_set_timer(int timer, uint64_t ms);
/* Opens a program that only its owner may write: root, or where `any_owner` anybody. Returns a descriptor, or -1 with errno: EPERM where it is none. */
int fd_open_trusted(const char *path, bool any_owner, struct stat *st);
/* Whether it is such a program; *st is filled where it is any file. */
bool fd_is_trusted(int fd, bool any_owner, struct stat *st);

/* Copies the file behind `from`, from its beginning, to where `to` stands. Returns 0, or -1 with errno. */
int fd_copy(int from, int to);
/* The parts of it that are not holes, to the same places. */
int fd_copy_sparse(int from, int to);
/* A copy of it in memory that can be run and that nobody can change. Returns a descriptor, or -1 with errno. */
int fd_sealed_copy(int from, const char *name);

/* Calls with each name in that directory, which may be removed meanwhile. Returns 0, or -1 with errno. */
int fd_each_name(int dir, void (*call)(void *user, const char *name), void *user);

int fd_set_nonblock(int fd, bool on);

/* Waits that long (-1: until then) for something to read, the end of it, or, for a pidfd, the end of the process: a zombie has ended. */
bool fd_readable(int fd, int wait_ms);
