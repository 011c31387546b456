/*
 * Using more than was given. Each takes an amount and wins where it got all of it; the amounts are small, so that the controls, which
 * get it, hurt nobody.
 */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/shm.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "attack.h"

#define MIB (1024UL * 1024)

static char block[MIB];

static int got(long have, long wanted, const char *unit)
{
        int e = errno;

        say("%ld of %ld %s%s%s", have, wanted, unit, have < wanted ? ": " : "", have < wanted ? strerrorname_np(e) : "");
        return have >= wanted ? WON : REFUSED;
}

static int processes(const char *amount)
{
        long wanted = atol(amount), have = 0;
        pid_t *pids = calloc((size_t)wanted, sizeof(*pids));

        while (have < wanted && (pids[have] = fork()) >= 0) {
                if (pids[have] == 0) {
                        pause();
                        _exit(0);
                }
                have++;
        }
        int e = errno;
        for (long i = 0; i < have; i++)
                kill(pids[i], SIGKILL);
        for (long i = 0; i < have; i++)
                waitpid(pids[i], NULL, 0);
        errno = e;
        return got(have, wanted, "processes");
}

static void *sleeper(void *unused)
{
        (void)unused;
        pause();
        return NULL;
}

static int threads(const char *amount)
{
        long wanted = atol(amount), have = 0;
        pthread_attr_t attr;
        pthread_t thread;

        pthread_attr_init(&attr);
        pthread_attr_setstacksize(&attr, 65536);
        while (have < wanted && (errno = pthread_create(&thread, &attr, sleeper, NULL)) == 0)
                have++;
        return got(have, wanted, "threads");
}

static int memory(const char *amount)
{
        long wanted = atol(amount), have = 0;

        for (; have < wanted; have++) {
                char *p = mmap(NULL, MIB, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
                if (p == MAP_FAILED)
                        break;
                memset(p, 1, MIB);
        }
        return got(have, wanted, "MiB");
}

static int fill(int fd, long wanted, const char *unit)
{
        long have = 0;
        size_t part = 0;

        memset(block, 'x', sizeof(block));
        while (fd >= 0 && have < wanted) {
                ssize_t n = write(fd, block + part, sizeof(block) - part);
                if (n <= 0)
                        break;
                part += (size_t)n;
                if (part == sizeof(block)) {
                        part = 0;
                        have++;
                }
        }
        return got(have, wanted, unit);
}

/* Inside, what fills the disk is left there, as a program would that meets the limit and gives up: a sandbox names the limit that it ends at. Outside
 * nothing is left. */
static bool leave_it(void)
{
        return access("/run/machine-id", F_OK) == 0 && access("/sys", F_OK) < 0;
}

static int file_in(const char *dir, const char *amount, const char *unit)
{
        char path[128];

        snprintf(path, sizeof(path), "%s/.attack-fill-%d", dir, getpid());
        int fd = open(path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
        if (!leave_it())
                unlink(path);
        return fill(fd, atol(amount), unit);
}

static int disk(const char *amount)
{
        return file_in("/tmp", amount, "MiB on disk");
}

static int home(const char *amount)
{
        return file_in(getenv("HOME"), amount, "MiB on disk");
}

static int shm(const char *amount)
{
        return file_in("/dev/shm", amount, "MiB in /dev/shm");
}

static int memfd(const char *amount)
{
        return fill(memfd_create("attack", 0), atol(amount), "MiB in a memfd");
}

static int sysv(const char *amount)
{
        long wanted = atol(amount), have = 0;

        for (; have < wanted; have++) {
                int id = shmget(IPC_PRIVATE, MIB, 0600);
                void *at = id < 0 ? (void *)-1 : shmat(id, NULL, 0);
                if (id >= 0)
                        shmctl(id, IPC_RMID, NULL);
                if (at == (void *)-1)
                        break;
                memset(at, 1, MIB);
        }
        return got(have, wanted, "MiB of shared memory");
}

/* A sparse file is bigger than the disk, but holds nothing; allocating it is another matter. */
static int allocate(const char *amount)
{
        char path[] = "/tmp/.attack-alloc";
        int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);

        if (!leave_it())
                unlink(path);
        return judge(fallocate(fd, 0, 0, (off_t)((unsigned long)atol(amount) * MIB)));
}

static int inodes(const char *amount)
{
        long wanted = atol(amount), have = 0;
        char path[64];

        mkdir("/tmp/.attack-inodes", 0700);
        for (; have < wanted; have++) {
                snprintf(path, sizeof(path), "/tmp/.attack-inodes/%ld", have);
                int fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
                if (fd < 0)
                        break;
                close(fd);
        }
        int e = errno;
        for (long i = 0; i < have && !leave_it(); i++) {
                snprintf(path, sizeof(path), "/tmp/.attack-inodes/%ld", i);
                unlink(path);
        }
        rmdir("/tmp/.attack-inodes");
        errno = e;
        return got(have, wanted, "files");
}

static int descriptors(const char *amount)
{
        long wanted = atol(amount), have = 0;

        while (have < wanted && dup(0) >= 0)
                have++;
        return got(have, wanted, "descriptors");
}

static int terminals(const char *amount)
{
        long wanted = atol(amount), have = 0;

        while (have < wanted && open("/dev/ptmx", O_RDWR | O_NOCTTY | O_CLOEXEC) >= 0)
                have++;
        return got(have, wanted, "ptys");
}

/* Kernel memory on the sandbox's account: buffers of sockets and pipes that nobody reads. */
static int socket_buffers(const char *amount)
{
        long wanted = atol(amount), bytes = 0;
        int size = 1 << 20, pair[2];

        while (bytes / (long)MIB < wanted && socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, pair) == 0) {
                ssize_t n;
                setsockopt(pair[0], SOL_SOCKET, SO_SNDBUF, &size, sizeof(size));
                while ((n = write(pair[0], block, 65536)) > 0)
                        bytes += n;
        }
        return got(bytes / (long)MIB, wanted, "MiB in sockets");
}

static int pipe_buffers(const char *amount)
{
        long wanted = atol(amount), bytes = 0;
        int ends[2];

        while (bytes / (long)MIB < wanted && pipe2(ends, O_NONBLOCK) == 0) {
                ssize_t n;
                fcntl(ends[1], F_SETPIPE_SZ, 1 << 20);
                while ((n = write(ends[1], block, 4096)) > 0)
                        bytes += n;
        }
        return got(bytes / (long)MIB, wanted, "MiB in pipes");
}

/* Wins where it gets nearly all of one processor for two seconds. */
static int cpu(const char *percent)
{
        struct timespec start, now;
        struct rusage u;

        clock_gettime(CLOCK_MONOTONIC, &start);
        do
                clock_gettime(CLOCK_MONOTONIC, &now);
        while ((now.tv_sec - start.tv_sec) * 1000 + (now.tv_nsec - start.tv_nsec) / 1000000 < 2000);
        getrusage(RUSAGE_SELF, &u);
        long ms = (u.ru_utime.tv_sec + u.ru_stime.tv_sec) * 1000 + (u.ru_utime.tv_usec + u.ru_stime.tv_usec) / 1000;
        errno = 0;
        say("%ld ms of processor time in 2000", ms);
        return ms * 100 / 2000 > atol(percent) ? WON : REFUSED;
}

/* For ever, at full speed; the reader may sleep. */
static int flood(const char *unused)
{
        (void)unused;
        memset(block, 'y', sizeof(block));
        while (write(1, block, 65536) > 0)
                ;
        return REFUSED;
}

static int dump_core(const char *unused)
{
        struct rlimit l = { RLIM_INFINITY, RLIM_INFINITY };
        int status;

        (void)unused;
        if (chdir("/tmp") < 0 || setrlimit(RLIMIT_CORE, &l) < 0) {
                getrlimit(RLIMIT_CORE, &l);
                l.rlim_cur = l.rlim_max;
                setrlimit(RLIMIT_CORE, &l);
        }
        pid_t pid = fork();
        if (pid == 0)
                abort();
        waitpid(pid, &status, 0);
        say("%s", WCOREDUMP(status) ? "dumped" : "not dumped");
        return WCOREDUMP(status) ? WON : REFUSED;
}

const struct attack attacks_bombs[] = {
        { "bomb-processes", 'T', false, "start more processes", processes, "400" },
        { "bomb-threads", 'T', false, "start more threads", threads, "400" },
        { "bomb-memory", 'T', false, "use more memory", memory, "256" },
        { "bomb-shm", 'T', false, "use more memory, as files in /dev/shm", shm, "256" },
        { "bomb-memfd", 'T', false, "use more memory, as a memfd", memfd, "256" },
        { "bomb-sysv", 'T', false, "use more memory, as System V shared memory", sysv, "256" },
        { "bomb-disk", 'T', false, "fill /tmp", disk, "64" },
        { "bomb-home", 'T', false, "fill the home directory", home, "64" },
        { "bomb-allocate", 'T', false, "allocate more disk than there is", allocate, "64" },
        { "bomb-inodes", 'T', false, "make more files", inodes, "2000" },
        { "bomb-descriptors", 'T', false, "open more descriptors", descriptors, "200" },
        { "bomb-ptys", 'T', false, "open more terminals", terminals, "100" },
        { "bomb-sockets", 'T', false, "fill socket buffers", socket_buffers, "128" },
        { "bomb-pipes", 'T', false, "fill pipes", pipe_buffers, "128" },
        { "bomb-cpu", 'T', false, "use more processor time", cpu, "60" },
        { "bomb-output", 'T', false, "write for ever", flood, NULL },
        { "core-dump", 'P', true, "leave a core dump", dump_core, NULL },
        { NULL, 0, false, NULL, NULL, NULL },
};
