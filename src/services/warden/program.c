#include "services/warden/program.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

int program_open(const char *name)
{
        char self[512], path[1024];
        ssize_t n = readlink("/proc/self/exe", self, sizeof(self) - 1);

        if (n <= 0)
                return -1;
        self[n] = '\0';
        char *slash = strrchr(self, '/');
        if (!slash) {
                errno = ENOENT;
                return -1;
        }
        *slash = '\0';
        snprintf(path, sizeof(path), "%s/creto-%s", self, name);
        int fd = open(path, O_RDONLY | O_CLOEXEC);
        if (fd >= 0)
                return fd;
        snprintf(path, sizeof(path), "%s/../%s/creto-%s", self, name, name);
        return open(path, O_RDONLY | O_CLOEXEC);
}
