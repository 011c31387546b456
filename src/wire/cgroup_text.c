#include "wire/cgroup_text.h"

#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/str.h"

static const struct {
        const char *name;
        unsigned bit;
} controllers[] = { { "memory", CGROUP_MEMORY }, { "cpu", CGROUP_CPU }, { "pids", CGROUP_PIDS }, { "cpuacct", CGROUP_CPUACCT } };

unsigned cgroup_bits(const char *list)
{
        unsigned bits = 0;
        size_t len;

        for (const char *p = list; *p; p += len + (p[len] != '\0')) {
                len = strcspn(p, ", \n");
                for (size_t i = 0; i < sizeof(controllers) / sizeof(controllers[0]); i++)
                        if (strlen(controllers[i].name) == len && strncmp(p, controllers[i].name, len) == 0)
                                bits |= controllers[i].bit;
        }
        return bits;
}

bool cgroup_own_path(const char *table, unsigned bits, bool v2, char *out, size_t cap)
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
                if (v2 ? n != 0 : (cgroup_bits(name) & bits) == 0)
                        continue;
                snprintf(out, cap, "%.*s", (int)strcspn(path + 1, "\n"), path + 1);
                return true;
        }
        return false;
}

uint64_t cgroup_figure(const char *text, const char *key)
{
        if (!key)
                return strtoull(text, NULL, 10);
        size_t n = strlen(key);
        for (const char *line = text; *line; line += strcspn(line, "\n"), line += (*line != '\0'))
                if (strncmp(line, key, n) == 0 && line[n] == ' ')
                        return strtoull(line + n, NULL, 10);
        return UINT64_MAX;
}

const char *cgroup_controller_name(unsigned bits)
{
        for (size_t i = 0; i < sizeof(controllers) / sizeof(controllers[0]); i++)
                if (bits & controllers[i].bit)
                        return controllers[i].name;
        return NULL;
}

int cgroup_owner(const char *name)
{
        char *end;

        if (!str_has_prefix(name, "creto-"))
                return 0;
        long pid = strtol(name + strlen("creto-"), &end, 10);
        return *end == '-' && pid > 0 && pid < INT_MAX ? (int)pid : 0;
}

