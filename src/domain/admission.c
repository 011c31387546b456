#include "domain/admission.h"

#include <stddef.h>

static uint64_t counted(const struct limits *l, enum limit which)
{
        return l->value[which] == LIMIT_UNLIMITED ? 0 : l->value[which];
}

void admission_add(struct admission_promised *p, const struct limits *l)
{
        p->sandboxes++;
        p->memory += counted(l, LIMIT_MEMORY);
        p->disk += counted(l, LIMIT_DISK);
        p->pids += counted(l, LIMIT_PIDS);
}

void admission_remove(struct admission_promised *p, const struct limits *l)
{
        p->sandboxes--;
        p->memory -= counted(l, LIMIT_MEMORY);
        p->disk -= counted(l, LIMIT_DISK);
        p->pids -= counted(l, LIMIT_PIDS);
}

static int refuse(enum limit which, uint64_t wanted, uint64_t promised, uint64_t most, struct err *e)
{
        char a[32], b[32], c[32];

        err_set(e, ERR_RESOURCE_EXHAUSTED, 0, "no room for a sandbox with %s %s: %s are promised already, and %s may be",
                limit_table[which].noun, limit_format(which, wanted, a, sizeof(a)), limit_format(which, promised, b, sizeof(b)),
                limit_format(which, most, c, sizeof(c)));
        return err_hint(e, "ask for less, end sandboxes, or try later; the operator sets how much may be promised (limits.%s_overcommit)",
                        limit_table[which].noun);
}

static int check_sum(enum limit which, const struct limits *l, uint64_t promised, uint64_t total, double overcommit, struct err *e)
{
        uint64_t wanted = counted(l, which);

        if (overcommit <= 0 || total == UINT64_MAX)
                return 0;
        double most = (double)total * overcommit;
        if ((double)promised + (double)wanted <= most)
                return 0;
        return refuse(which, wanted, promised, (uint64_t)most, e);
}

/* A promise that no emptiness of the host could keep. */
static int check_alone(enum limit which, const struct limits *l, uint64_t total, struct err *e)
{
        uint64_t wanted = counted(l, which);
        char a[32], b[32];

        if (total == UINT64_MAX || wanted <= total)
                return 0;
        err_set(e, ERR_RESOURCE_EXHAUSTED, 0, "no room for a sandbox with %s %s: this host has %s", limit_table[which].noun,
                limit_format(which, wanted, a, sizeof(a)), limit_format(which, total, b, sizeof(b)));
        return err_hint(e, "ask for less");
}

static int check_free(enum limit which, uint64_t free_now, uint64_t keep, struct err *e)
{
        char a[32], b[32];

        if (free_now == UINT64_MAX || free_now >= keep)
                return 0;
        err_set(e, ERR_RESOURCE_EXHAUSTED, 0, "no room for a sandbox: %s of %s are free, and %s are kept",
                limit_format(which, free_now, a, sizeof(a)), limit_table[which].noun, limit_format(which, keep, b, sizeof(b)));
        return err_hint(e, "end sandboxes, or try later");
}

static int check_slots(const struct admission_rules *rules, const struct admission_promised *p, const char **resource, struct err *e)
{
        *resource = "slots";
        if (rules->max_sandboxes > 0 && p->sandboxes >= rules->max_sandboxes) {
                err_set(e, ERR_RESOURCE_EXHAUSTED, 0, "no room for a sandbox: there are %u, and at most %u may be", p->sandboxes,
                        rules->max_sandboxes);
                return err_hint(e, "end sandboxes, or try later (limits.max_sandboxes)");
        }
        *resource = "share";
        if (rules->max_per_owner > 0 && p->of_owner >= rules->max_per_owner) {
                err_set(e, ERR_RESOURCE_EXHAUSTED, 0, "no room for a sandbox: you have %u, and at most %u may be yours", p->of_owner,
                        rules->max_per_owner);
                return err_hint(e, "end some of yours (limits.per_key_sandboxes)");
        }
        return 0;
}

int admission_check(const struct admission_rules *rules, const struct admission_host *host, const struct admission_promised *promised,
                    const struct limits *l, const char **resource, struct err *e)
{
        if (check_slots(rules, promised, resource, e) < 0)
                return -(int)e->code;
        *resource = "memory";
        if (check_alone(LIMIT_MEMORY, l, host->memory_total, e) < 0 ||
            check_free(LIMIT_MEMORY, host->memory_free, rules->min_free_memory, e) < 0 ||
            check_sum(LIMIT_MEMORY, l, promised->memory, host->memory_total, rules->memory_overcommit, e) < 0)
                return -(int)e->code;
        *resource = "disk";
        if (check_alone(LIMIT_DISK, l, host->disk_total, e) < 0 || check_free(LIMIT_DISK, host->disk_free, rules->min_free_disk, e) < 0 ||
            check_sum(LIMIT_DISK, l, promised->disk, host->disk_total, rules->disk_overcommit, e) < 0)
                return -(int)e->code;
        *resource = "pids";
        if (check_alone(LIMIT_PIDS, l, host->pids_total, e) < 0 ||
            check_sum(LIMIT_PIDS, l, promised->pids, host->pids_total, rules->pids_overcommit, e) < 0)
                return -(int)e->code;
        *resource = NULL;
        return 0;
}
