/* Reading directories without a library's buffers: getdents64(2) into the caller's. */
#pragma once

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

enum { DIR_BUF = 2048 };

struct dir {
        int fd; /* borrowed */
        size_t pos, len;
        _Alignas(8) char buf[DIR_BUF];
};

void dir_start(struct dir *d, int fd);

/* The next name but "." and "..", or NULL at the end, or where errno is not 0 on an error. *type is a DT_ value. */
const char *dir_next(struct dir *d, unsigned char *type);

/* Calls `each`, where given, with every process of this pid namespace. Returns how many there are. */
uint32_t dir_processes(void (*each)(pid_t pid, pid_t arg), pid_t arg);
