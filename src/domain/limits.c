#include "domain/limits.h"

#include <stdio.h>
#include <string.h>

#include "base/str.h"

#define KIB (1024ULL)
#define MIB (1024 * KIB)
#define GIB (1024 * MIB)
#define TIB (1024 * GIB)

enum { BYTES_PER_INODE = 16384 };

const struct limit_info limit_table[LIMIT_COUNT] = {
        /*                  flag           field             noun           bytes unlimited cgroup  min      max      default */
        [LIMIT_MEMORY] = { "memory", "memoryBytes", "memory", true, true, true, 16 * MIB, 16 * TIB, 512 * MIB },
        [LIMIT_SWAP] = { "memory-swap", "swapBytes", "swap", true, true, true, 0, 16 * TIB, 0 },
        [LIMIT_CPU] = { "cpu", "cpuMillicores", "cpu", false, true, true, 10, 1024000, 1000 },
        [LIMIT_PIDS] = { "pids", "pidLimit", "pids", false, true, true, 1, 4194304, 256 },
        [LIMIT_DISK] = { "disk", "diskBytes", "disk", true, false, false, 4 * MIB, 16 * TIB, 1 * GIB },
        [LIMIT_INODES] = { "disk-inodes", "diskInodes", "inode", false, false, false, 64, 1 << 28, 65536 },
        [LIMIT_NOFILE] = { "nofile", "openFiles", "open files", false, false, false, 16, 1048576, 1024 },
        [LIMIT_CORE] = { "core", "coreBytes", "core size", true, false, false, 0, 1 * TIB, 0 },
        [LIMIT_OUTPUT] = { "output-rate", "outputBytesPerSecond", "output rate", true, true, false, 4 * KIB, 1 * TIB, 256 * MIB },
};

void limits_default(struct limits *l)
{
        *l = (struct limits){ 0 };
        for (size_t i = 0; i < LIMIT_COUNT; i++)
                l->value[i] = limit_table[i].def;
}

const char *limit_format(enum limit which, uint64_t value, char *out, size_t cap)
{
        if (value == LIMIT_UNLIMITED)
                snprintf(out, cap, "unlimited");
        else if (limit_table[which].is_bytes)
                str_format_bytes(value, out, cap);
        else
                snprintf(out, cap, "%llu", (unsigned long long)value);
        return out;
}

int limits_set(struct limits *l, enum limit which, const char *text, struct err *e)
{
        const struct limit_info *info = &limit_table[which];
        char low[32], high[32];
        uint64_t value;

        if (info->may_unlimited && strcmp(text, "unlimited") == 0) {
                l->value[which] = LIMIT_UNLIMITED;
                l->wanted |= 1U << which;
                return 0;
        }
        if (info->is_bytes ? !str_parse_bytes(text, &value) : !str_parse_u64(text, &value)) {
                err_set(e, ERR_INVALID_SPEC, 0, "--%s: '%.64s' is not a %s", info->flag, text, info->is_bytes ? "size" : "whole number");
                return err_hint(e,
                                info->is_bytes ? "write a number of bytes, or one with K, M, G or T: --%s 512M"
                                               : "write a number: --%s 100",
                                info->flag);
        }
        if (value < info->min || value > info->max) {
                err_set(e, ERR_INVALID_SPEC, 0, "--%s: %.64s is out of range: %s to %s%s", info->flag, text,
                        limit_format(which, info->min, low, sizeof(low)), limit_format(which, info->max, high, sizeof(high)),
                        info->may_unlimited ? ", or unlimited" : "");
                return -(int)e->code;
        }
        l->value[which] = value;
        l->wanted |= 1U << which;
        if (which == LIMIT_DISK && !limits_wanted(l, LIMIT_INODES)) /* a small disk has no room for the default's inodes */
                l->value[LIMIT_INODES] = value / BYTES_PER_INODE < limit_table[LIMIT_INODES].def ? value / BYTES_PER_INODE
                                                                                                 : limit_table[LIMIT_INODES].def;
        return 0;
}

bool limits_valid(const struct limits *l)
{
        for (size_t i = 0; i < LIMIT_COUNT; i++) {
                const struct limit_info *info = &limit_table[i];

                if (l->value[i] == LIMIT_UNLIMITED && info->may_unlimited)
                        continue;
                if (l->value[i] < info->min || l->value[i] > info->max)
                        return false;
        }
        return (l->wanted >> LIMIT_COUNT) == 0;
}
