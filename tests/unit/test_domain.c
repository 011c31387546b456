#include "test.h"

#include "domain/boot.h"
#include "domain/cgroup_text.h"
#include "domain/lifecycle.h"
#include "domain/limits.h"
#include "domain/outcome.h"
#include "domain/spec.h"

/* The table as the design draws it: Creating → Ready → Running ⇄ Paused → Checkpointing → Checkpointed → Terminating → Terminated, and Failed. */
TEST(lifecycle_permits_what_the_design_says)
{
        static const struct {
                enum sandbox_state from;
                enum sandbox_event event;
                enum sandbox_state to;
        } steps[] = {
                { SANDBOX_CREATING, SANDBOX_EV_CREATED, SANDBOX_READY },
                { SANDBOX_READY, SANDBOX_EV_START, SANDBOX_RUNNING },
                { SANDBOX_RUNNING, SANDBOX_EV_PAUSE, SANDBOX_PAUSED },
                { SANDBOX_PAUSED, SANDBOX_EV_RESUME, SANDBOX_RUNNING },
                { SANDBOX_RUNNING, SANDBOX_EV_CHECKPOINT, SANDBOX_CHECKPOINTING },
                { SANDBOX_CHECKPOINTING, SANDBOX_EV_CHECKPOINT_DONE, SANDBOX_CHECKPOINTED },
                { SANDBOX_CHECKPOINTED, SANDBOX_EV_TERMINATE, SANDBOX_TERMINATING },
                { SANDBOX_TERMINATING, SANDBOX_EV_GONE, SANDBOX_TERMINATED },
                { SANDBOX_RUNNING, SANDBOX_EV_DIED, SANDBOX_FAILED },
        };

        for (size_t i = 0; i < sizeof(steps) / sizeof(steps[0]); i++) {
                enum sandbox_state next = SANDBOX_STATES;

                CHECK(lifecycle_step(steps[i].from, steps[i].event, &next));
                CHECK_INT(next, steps[i].to);
        }
}

TEST(lifecycle_ends_for_good)
{
        enum sandbox_state next;

        for (int ev = 0; ev < SANDBOX_EVENTS; ev++)
                CHECK(!lifecycle_step(SANDBOX_TERMINATED, (enum sandbox_event)ev, &next));
        CHECK(!lifecycle_step(SANDBOX_CREATING, SANDBOX_EV_START, &next));
        CHECK(!lifecycle_step(SANDBOX_CREATING, SANDBOX_EV_PAUSE, &next));
        CHECK(!lifecycle_accepts_exec(SANDBOX_PAUSED));
        CHECK(lifecycle_accepts_exec(SANDBOX_READY));
}

TEST(limits_are_read_and_bounded)
{
        static const struct {
                enum limit which;
                const char *text;
                long long value; /* -1: refused */
        } cases[] = {
                { LIMIT_MEMORY, "64M", 64LL << 20 },
                { LIMIT_MEMORY, "1GiB", 1LL << 30 },
                { LIMIT_MEMORY, "banana", -1 },
                { LIMIT_MEMORY, "1", -1 },
                { LIMIT_MEMORY, "-1", -1 },
                { LIMIT_MEMORY, "", -1 },
                { LIMIT_PIDS, "20", 20 },
                { LIMIT_PIDS, "0", -1 },
                { LIMIT_DISK, "unlimited", -1 },
                { LIMIT_CPU, "200", 200 },
                { LIMIT_CPU, "18446744073709551616", -1 },
        };

        for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
                struct limits l;
                struct err e;

                limits_default(&l);
                CHECK(limits_valid(&l));
                int r = limits_set(&l, cases[i].which, cases[i].text, &e);
                CHECK_INT(r, cases[i].value < 0 ? -(int)ERR_INVALID_SPEC : 0);
                if (r == 0)
                        CHECK_INT((long long)l.value[cases[i].which], cases[i].value);
                CHECK_INT(limits_wanted(&l, cases[i].which), r == 0);
        }
}

TEST(limits_change_within_what_can_change)
{
        static const struct {
                enum limit which;
                uint64_t value;
                const char *said; /* NULL: it may */
        } cases[] = {
                { LIMIT_MEMORY, 64ULL << 20, NULL },
                { LIMIT_MEMORY, LIMIT_UNLIMITED, NULL },
                { LIMIT_MEMORY, 1, "memoryBytes: 1 bytes is out of range: 16 MiB to 16 TiB, or unlimited" },
                { LIMIT_CPU, 10, NULL },
                { LIMIT_CPU, 9, "cpuMillicores: 9 is out of range: 10 to 1024000, or unlimited" },
                { LIMIT_PIDS, 0, "pidLimit: 0 is out of range: 1 to 4194304, or unlimited" },
                { LIMIT_NOFILE, LIMIT_UNLIMITED, "openFiles: unlimited is out of range: 16 to 1048576" },
                { LIMIT_DISK, 1ULL << 30, NULL }, /* as it is */
                { LIMIT_DISK, 2ULL << 30, "diskBytes: it is 1 GiB and cannot become 2 GiB while the sandbox runs" },
                { LIMIT_INODES, 64, "diskInodes: it is 65536 and cannot become 64 while the sandbox runs" },
                { LIMIT_NOFILE, 64,
                  "openFiles: it is 1024 and cannot become 64 while the sandbox runs" }, /* creto-init was told at its start */
                { LIMIT_CORE, 1 << 20, "coreBytes: it is 0 bytes and cannot become 1 MiB while the sandbox runs" },
                { LIMIT_OUTPUT, 4096, "outputBytesPerSecond: it is 256 MiB and cannot become 4 KiB while the sandbox runs" },
        };

        for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
                struct limits from, to;
                struct err e;

                limits_default(&from);
                to = from;
                to.value[cases[i].which] = cases[i].value;
                CHECK_INT(limits_check_change(&from, &to, &e), cases[i].said ? -(int)ERR_INVALID_SPEC : 0);
                if (cases[i].said)
                        CHECK_STR(e.msg, cases[i].said);
                to = from;
                to.wanted = 1U << LIMIT_COUNT;
                CHECK_INT(limits_check_change(&from, &to, &e), -(int)ERR_INVALID_SPEC);
        }
}

TEST(limits_reach_creto_init)
{
        struct boot_config c;
        struct limits l;

        limits_default(&l);
        boot_fill(&c, BOOT_LISTEN, &l, ~0U);
        CHECK_INT(c.flags, BOOT_LISTEN);
        CHECK(c.as_bytes == BOOT_UNLIMITED && c.nproc == BOOT_UNLIMITED);
        CHECK_INT((long long)c.core_bytes, 1);
        CHECK_INT((long long)c.nofile, 1024);
        boot_fill(&c, 0, &l, ~(1U << LIMIT_MEMORY | 1U << LIMIT_PIDS));
        CHECK(c.as_bytes == l.value[LIMIT_MEMORY] && c.nproc == l.value[LIMIT_PIDS]);
        boot_fill(&c, BOOT_LISTEN | BOOT_SLOT | BOOT_FILTER, &l, ~0U);
        boot_on_stdio(&c, 256);
        CHECK(c.flags == (BOOT_FILTER | BOOT_STDIO) && c.nproc == 256);
        l.value[LIMIT_MEMORY] = l.value[LIMIT_OUTPUT] = LIMIT_UNLIMITED;
        boot_fill(&c, 0, &l, 0);
        CHECK(c.as_bytes == BOOT_UNLIMITED && c.output_bps == BOOT_UNLIMITED);
}

TEST(cgroup_text_is_read)
{
        static const char table[] = "12:pids:/a/b\n4:cpu,cpuacct:/c\n1:name=systemd:/d\n0::/e f\n";
        char path[16];

        CHECK_INT(cgroup_controllers("rw,nosuid,cpu,cpuacct"), CGROUP_CPU | CGROUP_CPUACCT);
        CHECK_INT(cgroup_controllers("cpuset io memory pids\n"), CGROUP_MEMORY | CGROUP_PIDS);
        CHECK_INT(cgroup_controllers(""), 0);
        CHECK_STR(cgroup_controller_name(CGROUP_PIDS | CGROUP_CPU), "cpu");
        CHECK(!cgroup_controller_name(0));
        CHECK(cgroup_path(table, CGROUP_CPUACCT, false, path, sizeof(path)));
        CHECK_STR(path, "/c");
        CHECK(cgroup_path(table, 0, true, path, sizeof(path)));
        CHECK_STR(path, "/e f");
        CHECK(!cgroup_path(table, CGROUP_MEMORY, false, path, sizeof(path)));
        CHECK(!cgroup_path("nonsense\n", CGROUP_MEMORY, false, path, sizeof(path)));
        CHECK_INT((long long)cgroup_figure("low 0\noom_kill 7\n", "oom_kill"), 7);
        CHECK(cgroup_figure("oom 1\n", "oom_kill") == UINT64_MAX && cgroup_figure("max\n", NULL) == UINT64_MAX);
        CHECK_INT((long long)cgroup_figure("12\n", NULL), 12);
        cgroup_format(UINT64_MAX, "max", path, sizeof(path));
        CHECK_STR(path, "max");
        cgroup_format(5, "max", path, sizeof(path));
        CHECK_STR(path, "5");
        CHECK_INT(cgroup_owner("creto-12-34"), 12);
        CHECK_INT(cgroup_owner("creto-12"), 0);
        CHECK_INT(cgroup_owner("creto-leaf"), 0);
        CHECK_INT(cgroup_owner("creto--1-2"), 0);
        CHECK_INT(cgroup_owner("other-12-34"), 0);
        CHECK_INT(cgroup_owner("creto-99999999999-1"), 0);
}

TEST(an_end_is_named)
{
        struct limits l;
        struct outcome o;
        struct err e;

        limits_default(&l);
        CHECK(limits_set(&l, LIMIT_MEMORY, "64M", &e) == 0);
        outcome_of(&(struct outcome_facts){ .ended = true, .code = -1, .signal = 9, .oom_kills = 1, .limits = &l }, &o);
        CHECK_INT(o.status, 137);
        CHECK_STR(o.lines[0], "killed: memory limit 64 MiB");
        outcome_of(&(struct outcome_facts){ .ended = true, .code = 3, .oom_kills = UINT64_MAX, .forks_refused = UINT64_MAX, .limits = &l },
                   &o);
        CHECK_INT(o.status, 3);
        CHECK_INT(o.count, 0);
        outcome_of(&(struct outcome_facts){ .ended = true, .code = -1, .signal = 9, .timed_out = true, .timeout_ms = 1500, .limits = &l },
                   &o);
        CHECK_INT(o.status, 124);
        CHECK_STR(o.lines[0], "killed: timeout of 1.500 s is over");
}

TEST(a_spec_refuses_what_is_not_there_yet)
{
        static struct spec s;
        struct err e;

        spec_init(&s);
        CHECK_INT(spec_set(&s, "secret", "nhi:x:Y", &e), -(int)ERR_NOT_SUPPORTED);
        CHECK_INT(spec_set(&s, "runtime", "gvisor", &e), 0);
        CHECK_INT(spec_set(&s, "runtime", "no name", &e), -(int)ERR_INVALID_SPEC);
        CHECK_INT(spec_set(&s, "no-such", "x", &e), -(int)ERR_INVALID_SPEC);
        CHECK_INT(spec_set(&s, "env", "=x", &e), -(int)ERR_INVALID_SPEC);
        CHECK_INT(spec_check(&s, &e), -(int)ERR_INVALID_SPEC);
        s.command = (const char *const[]){ "true", NULL };
        CHECK_INT(spec_check(&s, &e), 0);
}
