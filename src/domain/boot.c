#include "domain/boot.h"

#include <stddef.h>
#include <stdio.h>

enum { USER_STACK = 8 << 20 };

void boot_fill(struct boot_config *c, uint32_t flags, const struct limits *limits, uint32_t can)
{
        static const char *const writable[] = { "/tmp", "/var/tmp", "/run", "/home/agent", "/dev/shm" };
        const uint32_t missing = limits_missing(limits, can);
        const uint64_t *l = limits->value;

        *c = (struct boot_config){
                .size = sizeof(*c),
                .version = BOOT_VERSION,
                .flags = flags,
                .disk_watch = 1,
                .nofile = l[LIMIT_NOFILE],
                .core_bytes = l[LIMIT_CORE] ? l[LIMIT_CORE] : 1, /* 0 would still start a core_pattern helper */
                .stack_bytes = USER_STACK,
                /* where no group can do it, the nearest that a process limit can do */
                .as_bytes = missing & (1U << LIMIT_MEMORY) ? l[LIMIT_MEMORY] : BOOT_UNLIMITED,
                .nproc = missing & (1U << LIMIT_PIDS) ? l[LIMIT_PIDS] : BOOT_UNLIMITED,
                .fsize_bytes = BOOT_UNLIMITED,
                .output_bps = l[LIMIT_OUTPUT] == LIMIT_UNLIMITED ? BOOT_UNLIMITED : l[LIMIT_OUTPUT],
                .writable_count = sizeof(writable) / sizeof(writable[0]),
        };
        snprintf(c->disk_path, sizeof(c->disk_path), "/tmp");
        for (size_t i = 0; i < sizeof(writable) / sizeof(writable[0]); i++)
                snprintf(c->writable[i], sizeof(c->writable[i]), "%s", writable[i]);
}

void boot_on_stdio(struct boot_config *c, uint64_t pids)
{
        c->flags = (c->flags & ~(uint32_t)(BOOT_LISTEN | BOOT_BIND | BOOT_SLOT)) | BOOT_STDIO;
        c->nproc = pids;
}
