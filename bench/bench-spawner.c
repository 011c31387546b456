/*
 * Times commands as whole processes, from vfork and exec to wait4, with standard input, output and error on a file in memory, and prints all
 * samples as JSON. (Not on /dev/null: engines give their standard streams to the user of the container, and would give away the host's.) Two ways:
 *
 *   bench-spawner --rounds N [--warmup N] [--settle MS] [--first-byte] PLAN
 *                                                                every command once a round, each round in another order; or until the first byte of output
 *   bench-spawner --churn SECONDS [--parallel N] PLAN            each command in turn: N loops of it, back to back, for that long
 *
 * All commands are started by the same code from the same small process image; those that need crun's view of the host (view.h) by a
 * worker that entered it once. Nothing is decided here: a sample is printed as it is, a command that failed is null and counted.
 */
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <inttypes.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "plan.h"
#include "view.h"

#define MAX_ROUNDS 100000
#define MAX_PARALLEL 64
#define COMMAND_SECONDS 60 /* a command that takes longer is killed and counted as failed */

extern char **environ;

struct sample {
        uint64_t wall_ns;
        uint64_t cpu_ns; /* of the process and of what it waited for */
        int32_t status;  /* as wait4 gives it; -1 where it could not be started */
};

struct churn_count {
        uint64_t done, failed, wall_ns;
};

enum view { VIEW_HOST, VIEW_CRUN, VIEW_COUNT };

static struct plan plan;
static volatile pid_t running; /* for the alarm */
static bool first_byte;
static int output = -1; /* first_byte: the pipe that standard output is */

static uint64_t now_ns(void)
{
        struct timespec t;

        clock_gettime(CLOCK_MONOTONIC, &t);
        return (uint64_t)t.tv_sec * 1000000000U + (uint64_t)t.tv_nsec;
}

static uint64_t timeval_ns(const struct timeval *t)
{
        return (uint64_t)t->tv_sec * 1000000000U + (uint64_t)t->tv_usec * 1000U;
}

static void on_alarm(int sig)
{
        if (running > 0)
                kill(running, SIGKILL);
}

static void limit_time(unsigned seconds)
{
        struct sigaction sa = { .sa_handler = on_alarm, .sa_flags = SA_RESTART };

        sigaction(SIGALRM, &sa, NULL);
        alarm(seconds);
}

/* When the first byte of output came; 0 where the command ended without. */
static uint64_t first_output(pid_t pid)
{
        char data[4096];
        struct pollfd p[2] = { { .fd = output, .events = POLLIN }, { .fd = (int)syscall(SYS_pidfd_open, pid, 0), .events = POLLIN } };

        while (poll(p, 2, -1) < 0 && errno == EINTR)
                ;
        uint64_t when = p[0].revents ? now_ns() : 0;
        close(p[1].fd);
        if (when && read(output, data, sizeof(data)) <= 0)
                when = 0;
        return when;
}

/* posix_spawnp is clone(CLONE_VM | CLONE_VFORK) and exec. */
static void time_command(char *const argv[], struct sample *s)
{
        struct rusage ru;
        uint64_t start, first = 0;
        pid_t pid;
        int status;

        limit_time(COMMAND_SECONDS);
        start = now_ns();
        if (posix_spawnp(&pid, argv[0], NULL, NULL, argv, environ) != 0) {
                *s = (struct sample){ .status = -1 };
                return;
        }
        running = pid;
        if (first_byte)
                first = first_output(pid);
        while (wait4(pid, &status, 0, &ru) < 0 && errno == EINTR)
                ;
        s->wall_ns = (first_byte ? first : now_ns()) - start;
        running = 0;
        alarm(0);
        s->cpu_ns = timeval_ns(&ru.ru_utime) + timeval_ns(&ru.ru_stime);
        s->status = first_byte && first == 0 ? -1 : status;
}

/* The standard streams are set once, so that a started command needs no file actions. */
static int silence(void)
{
        int fd = memfd_create("standard streams", MFD_CLOEXEC), ends[2];

        if (fd < 0)
                return -1;
        for (int i = 0; i <= 2; i++)
                if (dup2(fd, i) < 0)
                        return -1;
        if (first_byte) {
                if (pipe2(ends, O_CLOEXEC) < 0 || dup2(ends[1], 1) < 0)
                        return -1;
                output = ends[0];
                close(ends[1]);
        }
        return close(fd);
}

/* A worker answers each command number with a sample, until the other end closes. */
static _Noreturn void worker(int fd, enum view view)
{
        uint32_t which;

        prctl(PR_SET_PDEATHSIG, SIGKILL);
        if (view == VIEW_CRUN && view_enter() < 0) {
                fprintf(stderr, "bench-spawner: private mount namespace: %s\n", strerror(errno));
                _exit(1);
        }
        if (silence() < 0)
                _exit(1);
        while (recv(fd, &which, sizeof(which), 0) == (ssize_t)sizeof(which) && which < plan.n) {
                struct sample s;

                time_command(plan.command[which].argv, &s);
                if (send(fd, &s, sizeof(s), MSG_NOSIGNAL) < 0)
                        break;
        }
        _exit(0);
}

static int worker_start(enum view view, int *fd)
{
        int pair[2];
        pid_t pid;

        if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) < 0)
                return -1;
        pid = fork();
        if (pid < 0)
                return -1;
        if (pid == 0) {
                close(pair[0]);
                worker(pair[1], view);
        }
        close(pair[1]);
        *fd = pair[0];
        return 0;
}

static void settle(unsigned ms)
{
        struct timespec t = { .tv_sec = ms / 1000, .tv_nsec = (long)(ms % 1000) * 1000000 };

        nanosleep(&t, NULL);
}

static void print_ms(const char *key, const struct sample *samples, size_t rounds, bool wall)
{
        printf("\"%s\": [", key);
        for (size_t r = 0; r < rounds; r++) {
                const struct sample *s = &samples[r * plan.n];

                if (r > 0)
                        fputs(", ", stdout);
                if (s->status == 0)
                        printf("%.4f", (double)(wall ? s->wall_ns : s->cpu_ns) / 1e6);
                else
                        fputs("null", stdout);
        }
        putchar(']');
}

static void print_rounds(const struct sample *samples, size_t rounds)
{
        printf("{\"rounds\": %zu, \"commands\": {", rounds);
        for (size_t c = 0; c < plan.n; c++) {
                size_t failed = 0;
                int32_t status = 0;

                for (size_t r = 0; r < rounds; r++)
                        if (samples[r * plan.n + c].status != 0) {
                                failed++;
                                status = samples[r * plan.n + c].status;
                        }
                printf("%s\n\"%s\": {\"failed\": %zu, \"wait_status\": %d, ", c > 0 ? "," : "", plan.command[c].name, failed, status);
                print_ms("ms", samples + c, rounds, true);
                fputs(", ", stdout);
                print_ms("cpu_ms", samples + c, rounds, false);
                putchar('}');
        }
        puts("}}");
}

/*
 * What a command leaves for the kernel to finish (a network namespace, a cgroup) is paid by the one after it, so nobody keeps the same
 * neighbour: each round has another order, the same orders in every run.
 */
static void shuffle(uint32_t *order, size_t n)
{
        static uint64_t x = 88172645463325252U; /* xorshift64 */

        for (size_t i = n; i > 1; i--) {
                size_t j;
                uint32_t kept = order[i - 1];

                x ^= x << 13;
                x ^= x >> 7;
                x ^= x << 17;
                j = x % i;
                order[i - 1] = order[j];
                order[j] = kept;
        }
}

static int run_rounds(size_t rounds, size_t warmup, unsigned settle_ms)
{
        struct sample *samples = calloc(rounds * plan.n, sizeof(*samples));
        int fd[VIEW_COUNT] = { -1, -1 };
        uint32_t order[PLAN_MAX_COMMANDS];

        if (!samples)
                return -1;
        for (uint32_t i = 0; i < plan.n; i++)
                order[i] = i;
        for (size_t r = 0; r < warmup + rounds; r++) {
                shuffle(order, plan.n);
                for (size_t i = 0; i < plan.n; i++) {
                        uint32_t c = order[i];
                        enum view v = plan.command[c].crun_view ? VIEW_CRUN : VIEW_HOST;
                        struct sample s;

                        if (fd[v] < 0 && worker_start(v, &fd[v]) < 0)
                                return -1;
                        settle(settle_ms);
                        if (send(fd[v], &c, sizeof(c), MSG_NOSIGNAL) < 0 || recv(fd[v], &s, sizeof(s), 0) != (ssize_t)sizeof(s))
                                return -1;
                        if (r >= warmup)
                                samples[(r - warmup) * plan.n + c] = s;
                }
        }
        print_rounds(samples, rounds);
        free(samples);
        return 0;
}

static _Noreturn void churn_loop(struct plan_command *c, unsigned number, uint64_t length_ns, struct churn_count *count)
{
        uint64_t start;

        prctl(PR_SET_PDEATHSIG, SIGKILL);
        if ((c->crun_view && view_enter() < 0) || plan_number(c, number) < 0 || silence() < 0)
                _exit(1);
        start = now_ns();
        do {
                struct sample s;

                time_command(c->argv, &s);
                if (s.status == 0)
                        count->done++;
                else
                        count->failed++;
                count->wall_ns = now_ns() - start;
        } while (count->wall_ns < length_ns);
        _exit(0);
}

static int churn(struct plan_command *c, unsigned parallel, uint64_t length_ns, struct churn_count *counts)
{
        double per_second = 0;
        uint64_t done = 0, failed = 0;

        memset(counts, 0, parallel * sizeof(*counts));
        for (unsigned i = 0; i < parallel; i++) {
                pid_t pid = fork();

                if (pid < 0)
                        return -1;
                if (pid == 0)
                        churn_loop(c, i, length_ns, &counts[i]);
        }
        while (wait(NULL) > 0 || errno == EINTR)
                ;
        for (unsigned i = 0; i < parallel; i++) {
                done += counts[i].done;
                failed += counts[i].failed;
                if (counts[i].wall_ns > 0)
                        per_second += (double)counts[i].done * 1e9 / (double)counts[i].wall_ns;
        }
        printf("\"%s\": {\"done\": %" PRIu64 ", \"failed\": %" PRIu64 ", \"per_second\": %.2f}", c->name, done, failed, per_second);
        return 0;
}

static int run_churn(unsigned parallel, double seconds, unsigned settle_ms)
{
        struct churn_count *counts = mmap(NULL, MAX_PARALLEL * sizeof(*counts), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);

        if (counts == MAP_FAILED)
                return -1;
        printf("{\"parallel\": %u, \"seconds\": %.2f, \"commands\": {", parallel, seconds);
        for (size_t i = 0; i < plan.n; i++) {
                fputs(i > 0 ? ",\n" : "\n", stdout);
                settle(settle_ms);
                fflush(stdout);
                if (churn(&plan.command[i], parallel, (uint64_t)(seconds * 1e9), counts) < 0)
                        return -1;
        }
        puts("}}");
        return 0;
}

static int usage(void)
{
        fprintf(stderr, "usage: bench-spawner --rounds N [--warmup N] [--settle MS] [--first-byte] PLAN\n"
                        "       bench-spawner --churn SECONDS [--parallel N] [--settle MS] PLAN\n");
        return 2;
}

int main(int argc, char **argv)
{
        static const struct option options[] = {
                { "rounds", required_argument, NULL, 'r' },
                { "warmup", required_argument, NULL, 'w' },
                { "settle", required_argument, NULL, 's' },
                { "churn", required_argument, NULL, 'c' },
                { "parallel", required_argument, NULL, 'p' },
                { "first-byte", no_argument, NULL, 'f' },
                { NULL, 0, NULL, 0 },
        };
        unsigned long rounds = 0, warmup = 2, settle_ms = 15, parallel = 1;
        double churn_seconds = 0;
        int opt, rc;

        while ((opt = getopt_long(argc, argv, "", options, NULL)) != -1)
                switch (opt) {
                case 'r':
                        rounds = strtoul(optarg, NULL, 10);
                        break;
                case 'w':
                        warmup = strtoul(optarg, NULL, 10);
                        break;
                case 's':
                        settle_ms = strtoul(optarg, NULL, 10);
                        break;
                case 'p':
                        parallel = strtoul(optarg, NULL, 10);
                        break;
                case 'c':
                        churn_seconds = strtod(optarg, NULL);
                        break;
                case 'f':
                        first_byte = true;
                        break;
                default:
                        return usage();
                }
        if (optind + 1 != argc || (rounds > 0) == (churn_seconds > 0) || !(churn_seconds >= 0 && churn_seconds <= 600) ||
            rounds > MAX_ROUNDS || warmup > MAX_ROUNDS || settle_ms > 10000 || parallel < 1 || parallel > MAX_PARALLEL)
                return usage();
        if (plan_read(&plan, argv[optind]) < 0)
                return 2;
        rc = rounds > 0 ? run_rounds(rounds, warmup, (unsigned)settle_ms)
                        : run_churn((unsigned)parallel, churn_seconds, (unsigned)settle_ms);
        if (rc < 0)
                fprintf(stderr, "bench-spawner: a worker failed: %s\n", strerror(errno));
        return rc < 0 ? 1 : 0;
}
