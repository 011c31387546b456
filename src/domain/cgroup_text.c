#include "domain/cgroup_text.h"

#include <stddef.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const struct {
        const char *name;
        unsigned bit;
} controllers[] = { { "memory", CGROUP_MEMORY }, { "cpu", CGROUP_CPU }, { "pids", CGROUP_PIDS }, { "cpuacct", CGROUP_CPUACCT } };

enum { CPU_PERIOD_US = 100000, CONTROLLERS = sizeof(controllers) / sizeof(controllers[0]) };

unsigned cgroup_controllers(const char *list)
{
        unsigned bits = 0;
        size_t len;

        for (const char *p = list; *p; p += len + (p[len] != '\0')) {
                len = strcspn(p, ", \n");
                for (size_t i = 0; i < CONTROLLERS; i++)
                        if (strlen(controllers[i].name) == len && strncmp(p, controllers[i].name, len) == 0)
                                bits |= controllers[i].bit;
        }
        return bits;
}

const char *cgroup_controller_name(unsigned bits)
{
        for (size_t i = 0; i < CONTROLLERS; i++)
                if (bits & controllers[i].bit)
                        return controllers[i].name;
        return NULL;
}

uint32_t cgroup_can(unsigned bits)
{
        uint32_t can = (1U << LIMIT_COUNT) - 1;

        if (!(bits & CGROUP_MEMORY))
                can &= ~(1U << LIMIT_MEMORY | 1U << LIMIT_SWAP);
        if (!(bits & CGROUP_CPU))
                can &= ~(1U << LIMIT_CPU);
        if (!(bits & CGROUP_PIDS))
                can &= ~(1U << LIMIT_PIDS);
        return can;
}

unsigned cgroup_needs(const struct limits *l)
{
        unsigned bits = 0;

        if (l->value[LIMIT_MEMORY] != LIMIT_UNLIMITED)
                bits |= CGROUP_MEMORY;
        if (l->value[LIMIT_CPU] != LIMIT_UNLIMITED)
                bits |= CGROUP_CPU;
        if (l->value[LIMIT_PIDS] != LIMIT_UNLIMITED)
                bits |= CGROUP_PIDS;
        return bits ? bits | CGROUP_CPUACCT : 0;
}

bool cgroup_path(const char *table, unsigned bits, bool v2, char *out, size_t cap)
{
        for (const char *line = table; *line; line += strcspn(line, "\n"), line += (*line != '\0')) {
                const char *list = strchr(line, ':');
                const char *path = list ? strchr(list + 1, ':') : NULL;
                char name[128];

                if (!path)
                        return false;
                size_t n = (size_t)(path - list - 1);
                if (n >= sizeof(name))
                        continue;
                memcpy(name, list + 1, n);
                name[n] = '\0';
                if (v2 ? n != 0 : (cgroup_controllers(name) & bits) == 0)
                        continue;
                snprintf(out, cap, "%.*s", (int)strcspn(path + 1, "\n"), path + 1);
                return true;
        }
        return false;
}

uint64_t cgroup_figure(const char *text, const char *key)
{
        size_t n = key ? strlen(key) : 0;

        if (!key)
                return *text >= '0' && *text <= '9' ? strtoull(text, NULL, 10) : UINT64_MAX;
        for (const char *line = text; *line; line += strcspn(line, "\n"), line += (*line != '\0'))
                if (strncmp(line, key, n) == 0 && line[n] == ' ')
                        return strtoull(line + n, NULL, 10);
        return UINT64_MAX;
}

void cgroup_format(uint64_t value, const char *unlimited, char *out, size_t cap)
{
        if (value == UINT64_MAX)
                snprintf(out, cap, "%s", unlimited);
        else
                snprintf(out, cap, "%llu", (unsigned long long)value);
}

void cgroup_format_cpu(uint64_t millis, bool v2, char *out, size_t cap)
{
        char quota[32];

        cgroup_format(millis == UINT64_MAX ? UINT64_MAX : millis * CPU_PERIOD_US / 1000, v2 ? "max" : "-1", quota, sizeof(quota));
        snprintf(out, cap, v2 ? "%s %d" : "%s", quota, CPU_PERIOD_US);
}

int cgroup_owner(const char *name)
{
        char *end;

        if (strncmp(name, "creto-", 6) != 0 || name[6] < '0' || name[6] > '9')
                return 0;
        long pid = strtol(name + 6, &end, 10);
        return *end == '-' && pid > 0 && pid < INT_MAX ? (int)pid : 0;
}

const struct cgroup_row cgroup_rows[] = {
        { offsetof(struct cgroup_usage, memory), CGROUP_MEMORY, "memory.usage_in_bytes", NULL, "memory.current", NULL, 1 },
        { offsetof(struct cgroup_usage, memory_peak), CGROUP_MEMORY, "memory.max_usage_in_bytes", NULL, "memory.peak", NULL, 1 },
        { offsetof(struct cgroup_usage, oom_kills), CGROUP_MEMORY, "memory.oom_control", "oom_kill", "memory.events", "oom_kill", 1 },
        { offsetof(struct cgroup_usage, pids), CGROUP_PIDS, "pids.current", NULL, "pids.current", NULL, 1 },
        { offsetof(struct cgroup_usage, forks_refused), CGROUP_PIDS, "pids.events", "max", "pids.events", "max", 1 },
        { offsetof(struct cgroup_usage, throttled_us), CGROUP_CPU, "cpu.stat", "throttled_time", "cpu.stat", "throttled_usec", 1000 },
        { offsetof(struct cgroup_usage, cpu_us), CGROUP_CPUACCT, "cpuacct.usage", NULL, NULL, NULL, 1000 },
        { 0, 0, NULL, NULL, NULL, NULL, 1 },
};
