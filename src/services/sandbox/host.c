/*
 * What the host has, as admission wants to know it. The figures are those of files that cost microseconds, read at most five times a second.
 */
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/statvfs.h>
#include <sys/sysinfo.h>

#include "base/clock.h"
#include "base/fd.h"
#include "services/sandbox/internal.h"

enum { FRESH_MS = 200 };

static uint64_t kib_of(const char *text, const char *name)
{
        const char *at = strstr(text, name);

        return at ? strtoull(at + strlen(name), NULL, 10) * 1024 : UINT64_MAX;
}

void host_look(struct sandboxes *all)
{
        struct admission_host *h = &all->host;
        uint64_t now = clock_ms(CLOCK_MONOTONIC);
        struct statvfs fs;
        struct sysinfo info;
        char text[4096];

        if (all->host_ms && now - all->host_ms < FRESH_MS)
                return;
        all->host_ms = now;
        *h = (struct admission_host){ UINT64_MAX, UINT64_MAX, UINT64_MAX, UINT64_MAX, UINT64_MAX, UINT64_MAX };
        if (fd_read_file(AT_FDCWD, "/proc/meminfo", text, sizeof(text)) > 0) {
                h->memory_total = kib_of(text, "MemTotal:");
                h->memory_free = kib_of(text, "MemAvailable:");
        }
        if (statvfs(all->config.state_dir, &fs) == 0) {
                h->disk_total = (uint64_t)fs.f_blocks * fs.f_frsize;
                h->disk_free = (uint64_t)fs.f_bavail * fs.f_frsize;
        }
        if (fd_read_file(AT_FDCWD, "/proc/sys/kernel/pid_max", text, sizeof(text)) > 0)
                h->pids_total = strtoull(text, NULL, 10);
        if (sysinfo(&info) == 0)
                h->pids_used = info.procs;
}

int host_boot_id(char out[BOOT_ID_MAX + 1])
{
        char text[64];

        if (fd_read_file(AT_FDCWD, "/proc/sys/kernel/random/boot_id", text, sizeof(text)) < BOOT_ID_MAX)
                return -1;
        memcpy(out, text, BOOT_ID_MAX);
        out[BOOT_ID_MAX] = '\0';
        return 0;
}
