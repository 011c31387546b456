/*
 * Other programs, as an open file each: becoming one, and asking one a question. What it answers is data for people.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

enum { PROC_SAID_MAX = 65536 };

/* In a child: becomes the program behind `exe`, with descriptors 0 to `count` - 1 and no others, default signals and a plain environment, and `more`
 * in it ("NAME=value", or NULL). Returns where it cannot. */
void proc_exec(int exe, int count, const char *const *argv, const char *more);

/* Runs it with nothing to read, for at most that long, and takes the first line of what it said on either stream, as str_last_line() does; the next one
 * too where that is but a title ("NAME:"). Returns its wait status,
 * or -1 where it could not be run or took longer; then it is dead, and so is what it started and has not moved away. */
int proc_ask(int exe, const char *const *argv, int ms, char *said, size_t cap);

/* The first process of a pid namespace, which dies with its parent and takes along all that is in it. Returns in a child of it, which goes on as what was meant to run.
 * `told` is a pipe, read by the parent alone: it gets the siginfo_t of that child's end, with si_pid 0 where it left nobody behind. When nobody is left we end as the last did. */
void proc_hold(const int told[2]);

/* Reaps children that nobody knows, up to the first one that is known: who knows it will wait for it. Those that do not end with SIGCHLD are not looked at. */
void proc_bury(bool (*known)(void *ctx, pid_t pid), void *ctx);

/* When a process was started, as the kernel counts: with its pid, no other process. 0 where there is none. */
uint64_t proc_start_time(pid_t pid);
