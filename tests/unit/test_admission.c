/* Whether one more fits, at each border; and every cell of the lifecycle that the service stands on. */
#include "test.h"

#include "domain/admission.h"
#include "domain/lifecycle.h"

#define MIB (1024ULL * 1024)

static const char *resource;
static struct err e;

static int check(const struct admission_rules *r, const struct admission_host *h, const struct admission_promised *p,
                 const struct limits *l)
{
        resource = "";
        e = (struct err){ 0 };
        return admission_check(r, h, p, l, &resource, &e);
}

static struct admission_host host(void)
{
        return (struct admission_host){ 1000 * MIB, 800 * MIB, 4000 * MIB, 3000 * MIB, 32768, 100 };
}

static struct limits small(void)
{
        struct limits l;

        limits_default(&l);
        l.value[LIMIT_MEMORY] = 100 * MIB;
        l.value[LIMIT_DISK] = 100 * MIB;
        l.value[LIMIT_PIDS] = 100;
        return l;
}

TEST(slots)
{
        struct admission_rules r = { .max_sandboxes = 2, .max_per_owner = 1 };
        struct admission_host h = host();
        struct admission_promised p = { 0 };
        struct limits l = small();

        CHECK_INT(check(&r, &h, &p, &l), 0);
        p.of_owner = 1;
        CHECK(check(&r, &h, &p, &l) < 0 && e.code == ERR_RESOURCE_EXHAUSTED);
        CHECK_STR(resource, "share");
        p = (struct admission_promised){ .sandboxes = 2 };
        CHECK(check(&r, &h, &p, &l) < 0);
        CHECK_STR(resource, "slots");
}

TEST(promises)
{
        struct admission_rules r = { .memory_overcommit = 2, .pids_overcommit = 1, .disk_overcommit = 1 };
        struct admission_host h = host();
        struct admission_promised p = { .memory = 1900 * MIB };
        struct limits l = small();

        CHECK_INT(check(&r, &h, &p, &l), 0);
        p.memory += 1;
        CHECK(check(&r, &h, &p, &l) < 0);
        CHECK_STR(resource, "memory");
        p = (struct admission_promised){ .disk = 3900 * MIB };
        CHECK_INT(check(&r, &h, &p, &l), 0);
        p.disk += 1;
        CHECK(check(&r, &h, &p, &l) < 0);
        CHECK_STR(resource, "disk");
        p = (struct admission_promised){ .pids = 32668 };
        CHECK_INT(check(&r, &h, &p, &l), 0);
        p.pids += 1;
        CHECK(check(&r, &h, &p, &l) < 0);
        CHECK_STR(resource, "pids");
        CHECK(e.msg[0] && strpbrk(e.msg, "0123456789")); /* with the numbers */
}

TEST(what_has_to_stay_free)
{
        struct admission_rules r = { .min_free_memory = 800 * MIB };
        struct admission_host h = host();
        struct admission_promised p = { 0 };
        struct limits l = small();

        CHECK_INT(check(&r, &h, &p, &l), 0);
        h.memory_free -= 1;
        CHECK(check(&r, &h, &p, &l) < 0);
        CHECK_STR(resource, "memory");
        h.memory_free = UINT64_MAX; /* not known: not asked about */
        CHECK_INT(check(&r, &h, &p, &l), 0);
}

TEST(added_and_removed)
{
        struct admission_promised p = { 0 };
        struct limits l = small(), unlimited = small();

        unlimited.value[LIMIT_MEMORY] = LIMIT_UNLIMITED;
        admission_add(&p, &l);
        admission_add(&p, &unlimited);
        CHECK(p.sandboxes == 2 && p.memory == 100 * MIB && p.disk == 200 * MIB && p.pids == 200);
        admission_remove(&p, &unlimited);
        admission_remove(&p, &l);
        CHECK(p.sandboxes == 0 && p.memory == 0 && p.disk == 0 && p.pids == 0);
}

TEST(a_restart_begins_at_failed_only)
{
        enum sandbox_state next;

        for (int s = 0; s < SANDBOX_STATES; s++) {
                bool may = lifecycle_step((enum sandbox_state)s, SANDBOX_EV_RESTART, &next);

                CHECK(may == (s == SANDBOX_FAILED) && (!may || next == SANDBOX_CREATING));
        }
}

TEST(whatever_lives_can_be_ended)
{
        enum sandbox_state next;

        for (int s = 0; s < SANDBOX_STATES; s++)
                CHECK(lifecycle_step((enum sandbox_state)s, SANDBOX_EV_TERMINATE, &next) == (s != SANDBOX_TERMINATED));
}
