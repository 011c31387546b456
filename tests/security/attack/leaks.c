/* What a program is born with: descriptors, environment, a terminal. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "attack.h"

static int descriptors(const char *unused)
{
        struct dirent *e;
        DIR *d = opendir("/proc/self/fd");
        char path[300], target[256] = "";

        (void)unused;
        while (d && (e = readdir(d))) {
                int fd = atoi(e->d_name);

                if (e->d_name[0] == '.' || fd <= 2 || fd == dirfd(d))
                        continue;
                snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
                if (readlink(path, target, sizeof(target) - 1) > 0)
                        say("%d is %.100s", fd, target);
                return WON;
        }
        say("0, 1, 2");
        return REFUSED;
}

/* A directory, or a file opened for both ways, would be a way out by itself. */
static int standard_ones(const char *unused)
{
        char path[64], target[256];

        (void)unused;
        for (int fd = 0; fd <= 2; fd++) {
                snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
                ssize_t n = readlink(path, target, sizeof(target) - 1);
                if (n < 0)
                        continue;
                target[n] = '\0';
                if (strncmp(target, "pipe:", 5) != 0 && strcmp(target, "/dev/null") != 0 && strncmp(target, "/dev/pts/", 9) != 0) {
                        say("%d is %.100s", fd, target);
                        return WON;
                }
        }
        say("pipes");
        return REFUSED;
}

static int environment(const char *word)
{
        extern char **environ;

        for (char **e = environ; *e; e++)
                if (strstr(*e, word)) {
                        say("%.60s", *e);
                        return WON;
                }
        say("not there");
        return REFUSED;
}

static int inject(const char *unused)
{
        int fd = open("/dev/tty", O_RDWR | O_CLOEXEC);

        (void)unused;
        return judge(ioctl(fd < 0 ? 0 : fd, TIOCSTI, "x"));
}

/* The kernel reads 32 bits of the request. */
static int inject_high_bits(const char *unused)
{
        int fd = open("/dev/tty", O_RDWR | O_CLOEXEC);

        (void)unused;
        return judge(ioctl(fd < 0 ? 0 : fd, 1UL << 32 | TIOCSTI, "x"));
}

static int paste(const char *unused)
{
        char request = 3; /* paste the selection */

        (void)unused;
        return judge_reached(ioctl(0, TIOCLINUX, &request));
}

const struct attack attacks_leaks[] = {
        { "descriptors", 'T', false, "find a descriptor beyond 0, 1 and 2", descriptors, NULL },
        { "standard-descriptors", 'T', false, "find a file or a socket at 0, 1 or 2", standard_ones, NULL },
        { "environment", 'T', false, "find a secret of the caller's environment", environment, NULL },
        { "tiocsti", 'T', false, "type into the terminal", inject, NULL },
        { "tiocsti-high-bits", 'T', false, "the same, with bits set that the kernel ignores", inject_high_bits, NULL },
        { "tioclinux", 'T', false, "paste into the terminal", paste, NULL },
        { NULL, 0, false, NULL, NULL, NULL },
};
