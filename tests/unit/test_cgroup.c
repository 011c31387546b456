/* The warden's control groups in this kernel, whichever version it has. tests/guest/cgroup-v2.sh runs it where there is only version 2. */
#include "test.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdint.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "base/fd.h"
#include "services/warden/parts/cgroup.h"

#define MIB (1ULL << 20)

enum { PATIENCE = 10000 }; /* ms */

static struct cgroup_host host;
static struct cgroup group;

static bool begin(void)
{
        char name[64];
        struct err e;

        cgroup_host_init(&host, geteuid() == 0);
        snprintf(name, sizeof(name), "creto-%d-1", getpid());
        if (geteuid() != 0 || !(host.controllers & CGROUP_MEMORY)) {
                test_skip_reason = "no groups with a memory controller";
                return false;
        }
        if (cgroup_create(&host, &group, name, CGROUP_ALL, &e) == 0)
                return true;
        test_skip_reason = "no group can be made here";
        cgroup_destroy(&host, &group);
        return false;
}

static void nap(void)
{
        nanosleep(&(struct timespec){ .tv_nsec = 1000000 }, NULL);
}

static bool end(void)
{
        int tries = 0;

        while (!cgroup_destroy(&host, &group) && ++tries < PATIENCE)
                nap();
        cgroup_host_release(&host);
        return tries < PATIENCE;
}

/* What a file of the tree with that controller says; UINT64_MAX for "max" and the like. */
static uint64_t read_limit(unsigned controller, const char *v1, const char *v2)
{
        for (unsigned i = 0; i < host.count; i++) {
                char text[64];

                if (!(host.trees[i].controllers & controller))
                        continue;
                if (fd_read_file(group.dirs[i], host.trees[i].v2 ? v2 : v1, text, sizeof(text)) < 0)
                        return 0;
                uint64_t value = cgroup_figure(text, NULL);
                return value > 1ULL << 60 ? UINT64_MAX : value;
        }
        return 0;
}

static uint64_t read_memory(void)
{
        return read_limit(CGROUP_MEMORY, "memory.limit_in_bytes", "memory.max");
}

/* A process in the group that runs `work`, and then waits; the other end says when, and ends it when it is closed. */
static pid_t start(void (*work)(void), int *stop)
{
        int ready[2], go[2], doors[CGROUP_TREES_MAX];
        struct err e;
        char byte;

        if (pipe2(ready, O_CLOEXEC) < 0 || pipe2(go, O_CLOEXEC) < 0)
                return -1;
        int count = cgroup_doors(&host, &group, doors, &e), v2 = cgroup_clone_fd(&host, &group);
        pid_t pid = fork();
        if (pid == 0) {
                for (int i = 0; i < count; i++)
                        if (write(doors[i], "0", 1) != 1)
                                _exit(1);
                if (v2 >= 0 && fd_write_file(v2, "cgroup.procs", "0") < 0)
                        _exit(1);
                work();
                close(go[1]);
                if (write(ready[1], "", 1) == 1 && read(go[0], &byte, 1) == 0)
                        _exit(0);
                _exit(1);
        }
        while (count > 0)
                close(doors[--count]);
        fd_close(&v2);
        close(ready[1]);
        close(go[0]);
        bool begun = read(ready[0], &byte, 1) == 1;
        close(ready[0]);
        *stop = go[1];
        return begun ? pid : -1;
}

static int status_of(pid_t pid, int *stop)
{
        int status = -1;

        fd_close(stop);
        waitpid(pid, &status, 0);
        return status;
}

static void eat(void)
{
        char *p = mmap(NULL, 40 * MIB, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

        for (size_t i = 0; p != MAP_FAILED && i < 40 * MIB; i += 4096)
                p[i] = 1;
}

static void cache(void)
{
        static char chunk[1 << 16];
        int fd = open("/var/tmp", O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);

        for (unsigned i = 0; fd >= 0 && i < 40 * MIB / sizeof(chunk); i++)
                if (write(fd, chunk, sizeof(chunk)) != (ssize_t)sizeof(chunk))
                        _exit(1);
        if (fd < 0 || fsync(fd) < 0)
                _exit(1);
}

static void nothing(void)
{
}

static const struct cgroup_limits some = { .memory = 64 * MIB, .swap = 0, .cpu_millis = 500, .pids = 20 };

TEST(limits_go_up_and_down)
{
        static const uint64_t memories[] = { 64 * MIB, 128 * MIB, 16 * MIB, UINT64_MAX, 32 * MIB, 1024 * MIB };

        if (!begin())
                return;
        for (size_t i = 0; i < sizeof(memories) / sizeof(memories[0]); i++) {
                struct cgroup_limits l = { .memory = memories[i], .swap = i % 2 ? 8 * MIB : 0, .cpu_millis = 100 + i, .pids = 10 + i };
                struct err e = { 0 };

                CHECK_INT(cgroup_limit(&host, &group, &l, &e), 0);
                CHECK_INT((long long)read_memory(), (long long)l.memory);
                CHECK_INT((long long)read_limit(CGROUP_PIDS, "pids.max", "pids.max"), (long long)l.pids);
                CHECK_INT((long long)read_limit(CGROUP_CPU, "cpu.cfs_quota_us", "cpu.max"), (long long)(100 * l.cpu_millis));
        }
        CHECK(end());
}

TEST(memory_in_use_is_not_taken_by_killing)
{
        int stop = -1;
        struct err e;

        if (!begin())
                return;
        CHECK_INT(cgroup_limit(&host, &group, &some, &e), 0);
        pid_t pid = start(eat, &stop);
        CHECK(pid > 0);
        struct cgroup_limits less = some;
        less.memory = 20 * MIB;
        CHECK_INT(cgroup_limit(&host, &group, &less, &e), -(int)ERR_SANDBOX_NOT_READY);
        CHECK(strstr(e.msg, "20 MiB is too little") != NULL);
        CHECK_INT((long long)read_memory(), (long long)some.memory);
        CHECK_INT((long long)waitpid(pid, NULL, WNOHANG), 0);
        CHECK_INT(cgroup_limit(&host, &group, &some, &e), 0);
        CHECK_INT(status_of(pid, &stop), 0);
        CHECK_INT(cgroup_limit(&host, &group, &less, &e), 0);
        CHECK(end());
}

TEST(page_cache_is_taken_back)
{
        struct cgroup_usage usage;
        int stop = -1;
        struct err e;

        if (!begin())
                return;
        CHECK_INT(cgroup_limit(&host, &group, &some, &e), 0);
        pid_t pid = start(cache, &stop);
        CHECK(pid > 0);
        struct cgroup_limits less = some;
        less.memory = 16 * MIB;
        CHECK_INT(cgroup_limit(&host, &group, &less, &e), 0);
        cgroup_usage(&host, &group, &usage);
        CHECK(usage.memory <= 16 * MIB && usage.oom_kills == 0);
        CHECK_INT(status_of(pid, &stop), 0);
        CHECK(end());
}

TEST(a_group_is_entered_counted_and_emptied)
{
        struct cgroup_usage usage;
        int stop = -1;
        struct err e;

        if (!begin())
                return;
        CHECK_INT(cgroup_limit(&host, &group, &some, &e), 0);
        CHECK_INT(cgroup_can_limit(&host, &group, host.controllers, &e), 0);
        pid_t pid = start(nothing, &stop);
        CHECK(pid > 0);
        cgroup_usage(&host, &group, &usage);
        CHECK_INT((long long)usage.pids, 1);
        CHECK(usage.cpu_us != UINT64_MAX && usage.memory != UINT64_MAX);
        CHECK(!cgroup_destroy(&host, &group)); /* which kills it */
        CHECK_INT(status_of(pid, &stop), SIGKILL);
        CHECK(end());
}

TEST(a_group_freezes)
{
        int stop = -1;
        struct err e;

        if (!begin())
                return;
        pid_t pid = start(nothing, &stop);
        CHECK(pid > 0);
        if (cgroup_freeze(&host, &group, true, &e) < 0) {
                test_skip_reason = "no cgroup2 mount";
        } else {
                int tries = 0;

                while (!cgroup_is_frozen(&host, &group) && ++tries < PATIENCE)
                        nap();
                CHECK(tries < PATIENCE);
                CHECK_INT(cgroup_freeze(&host, &group, false, &e), 0);
        }
        CHECK_INT(status_of(pid, &stop), 0);
        CHECK(end());
}

TEST(limits_and_controllers_belong_together)
{
        struct limits l;
        char text[64];

        CHECK_INT(cgroup_can(CGROUP_ALL), (1U << LIMIT_COUNT) - 1);
        CHECK_INT(cgroup_can(0) & (1U << LIMIT_MEMORY | 1U << LIMIT_SWAP | 1U << LIMIT_CPU | 1U << LIMIT_PIDS), 0);
        CHECK_INT(cgroup_can(CGROUP_PIDS) & (1U << LIMIT_MEMORY | 1U << LIMIT_PIDS), 1U << LIMIT_PIDS);
        limits_default(&l);
        CHECK_INT(cgroup_needs(&l), CGROUP_ALL);
        l.value[LIMIT_PIDS] = LIMIT_NO_PIDS;
        CHECK_INT(cgroup_needs(&l), CGROUP_ALL);
        l.value[LIMIT_MEMORY] = l.value[LIMIT_CPU] = l.value[LIMIT_PIDS] = LIMIT_UNLIMITED;
        CHECK_INT(cgroup_needs(&l), 0);

        cgroup_format_cpu(1500, true, text, sizeof(text));
        CHECK_STR(text, "150000 100000");
        cgroup_format_cpu(1500, false, text, sizeof(text));
        CHECK_STR(text, "150000");
        cgroup_format_cpu(LIMIT_UNLIMITED, true, text, sizeof(text));
        CHECK_STR(text, "max 100000");
        cgroup_format_cpu(LIMIT_UNLIMITED, false, text, sizeof(text));
        CHECK_STR(text, "-1");
}
