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
        /*                  flag           field             noun           bytes unlimited cgroup fixed  min      max      default */
        [LIMIT_MEMORY] = { "memory", "memoryBytes", "memory", true, true, true, false, 16 * MIB, 16 * TIB, 512 * MIB },
        [LIMIT_SWAP] = { "memory-swap", "swapBytes", "swap", true, true, true, false, 0, 16 * TIB, 0 },
        [LIMIT_CPU] = { "cpu", "cpuMillicores", "cpu", false, true, true, false, 10, 1024000, 1000 },
        [LIMIT_PIDS] = { "pids", "pidLimit", "pids", false, true, true, false, 1, 4194304, 256 },
        [LIMIT_DISK] = { "disk", "diskBytes", "disk", true, false, false, true, 4 * MIB, 16 * TIB, 1 * GIB },
        [LIMIT_INODES] = { "disk-inodes", "diskInodes", "inode", false, false, false, true, 64, 1 << 28, 65536 },
        [LIMIT_NOFILE] = { "nofile", "openFiles", "open files", false, false, false, true, 16, 1048576, 1024 },
        [LIMIT_CORE] = { "core", "coreBytes", "core size", true, false, false, true, 0, 1 * TIB, 0 },
        [LIMIT_OUTPUT] = { "output-rate", "outputBytesPerSecond", "output rate", true, true, false, true, 4 * KIB, 1 * TIB, 256 * MIB },
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

static bool within_bounds(const struct limits *l, size_t i)
{
        const struct limit_info *info = &limit_table[i];

        if (l->value[i] == LIMIT_UNLIMITED)
                return info->may_unlimited;
        return l->value[i] >= info->min && l->value[i] <= info->max;
}

bool limits_valid(const struct limits *l)
{
        for (size_t i = 0; i < LIMIT_COUNT; i++)
                if (!within_bounds(l, i))
                        return false;
        return (l->wanted >> LIMIT_COUNT) == 0;
}

int limits_check_change(const struct limits *from, const struct limits *to, struct err *e)
{
        char value[32], low[32], high[32];

        if ((to->wanted >> LIMIT_COUNT) != 0)
                return err_set(e, ERR_INVALID_SPEC, 0, "a limit that is none is wanted");
        for (size_t i = 0; i < LIMIT_COUNT; i++) {
                const struct limit_info *info = &limit_table[i];

                limit_format((enum limit)i, to->value[i], value, sizeof(value));
                limit_format((enum limit)i, info->min, low, sizeof(low));
                limit_format((enum limit)i, info->max, high, sizeof(high));
                if (!within_bounds(to, i))
                        return err_set(e, ERR_INVALID_SPEC, 0, "%s: %s is out of range: %s to %s%s", info->field, value, low, high,
                                       info->may_unlimited ? ", or unlimited" : "");
                if (!info->fixed || to->value[i] == from->value[i])
                        continue;
                limit_format((enum limit)i, from->value[i], low, sizeof(low));
                err_set(e, ERR_INVALID_SPEC, 0, "%s: it is %s and cannot become %s while the sandbox runs", info->field, low, value);
                return err_hint(e, "its size is fixed when a sandbox is made: make another, or a pool whose template says so");
        }
        return 0;
}

uint32_t limits_missing(const struct limits *l, uint32_t can)
{
        uint32_t missing = 0;

        for (size_t i = 0; i < LIMIT_COUNT; i++)
                if (l->value[i] != LIMIT_UNLIMITED && !(can & (1U << i)))
                        missing |= 1U << i;
        return missing;
}

void limits_name(uint32_t bits, char *out, size_t cap)
{
        size_t at = 0;

        out[0] = '\0';
        for (unsigned i = 0; i < LIMIT_COUNT; i++)
                if ((bits & (1U << i)) && i != LIMIT_SWAP && at < cap)
                        at += (size_t)snprintf(out + at, cap - at, "%s%s", at ? ", " : "", limit_table[i].noun);
}

int limits_check_enforced(const struct limits *l, uint32_t can, struct err *e)
{
        uint32_t missing = limits_missing(l, can) & l->wanted;

        for (size_t i = 0; i < LIMIT_COUNT; i++) {
                if (!(missing & (1U << i)))
                        continue;
                err_set(e, ERR_NOT_SUPPORTED, 0, "--%s cannot be enforced here: it needs a control group", limit_table[i].flag);
                return err_hint(e, "run as root, or under 'systemd-run --user --scope -p Delegate=yes'; 'creto-runtime doctor' says more");
        }
        return 0;
}
