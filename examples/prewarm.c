/*
 * A program that is its own prewarm server, in C: what is slow at its start (here: a sieve of primes) is done once, before there is anything to run, and
 * each command begins in a copy that has it already. docs/protocols/prewarm.md is the protocol.
 *
 *      cc -static prewarm.c -o primes
 *      {"spec": {"image": "registry.example/primes:1", "prewarm": {"command": ["/primes", "--serve"]}}}
 *
 * From then on a command of that sandbox whose first word is /primes is served by a copy; started in the ordinary way it does the same, later.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

enum { LIMIT = 5000000, PACKET = 65536, SOCKET = 3, READY = 1, TAKEN = 2, REFUSED = 3, CWD_WISH = 2, WORDS = 256 };

static unsigned char composite[LIMIT];

static void prepare(void)
{
        for (uint32_t i = 2; i * i < LIMIT; i++)
                for (uint32_t k = composite[i] ? LIMIT : i * i; k < LIMIT; k += i)
                        composite[k] = 1;
}

/* The program itself: how many primes are there below each argument? */
static int run(char **argv)
{
        for (argv++; *argv; argv++) {
                long below = atol(*argv), count = 0;

                if (below > LIMIT) {
                        fprintf(stderr, "%s is more than %d\n", *argv, LIMIT);
                        return 2;
                }
                for (long i = 2; i < below; i++)
                        count += !composite[i];
                printf("%ld\n", count);
        }
        return 0;
}

/* ---- the request ---- */

struct reader {
        char *at, *end;
};

static uint32_t number(struct reader *r)
{
        uint32_t n = 0;

        if (r->end - r->at < 4)
                _exit(1);
        memcpy(&n, r->at, 4);
        r->at += 4;
        return n;
}

/* Strings become C strings in place: the length behind one is read before its first byte is overwritten. */
static char *string(struct reader *r, char **terminate)
{
        uint32_t len = number(r);
        char *s = r->at;

        if (*terminate)
                **terminate = '\0';
        if ((size_t)(r->end - s) < len)
                _exit(1);
        *terminate = r->at = s + len;
        return s;
}

static void strings(struct reader *r, char **out, char **terminate)
{
        uint32_t count = number(r);

        for (uint32_t i = 0; i < count; i++) {
                char *s = string(r, terminate);

                if (i < WORDS - 1)
                        *out++ = s;
        }
        *out = NULL;
}

/* ---- the standby ---- */

static void answer(const void *data, size_t len)
{
        if (write(SOCKET, data, len) != (ssize_t)len)
                _exit(1);
}

/* Waits for a RUN. Returns its length; its three descriptors become 0, 1 and 2. */
static size_t receive(char *packet)
{
        char control[CMSG_SPACE(3 * sizeof(int))];
        struct iovec iov = { packet, PACKET };
        struct msghdr m = { .msg_iov = &iov, .msg_iovlen = 1, .msg_control = control, .msg_controllen = sizeof(control) };
        ssize_t n = recvmsg(SOCKET, &m, 0);
        const struct cmsghdr *c = n > 0 ? CMSG_FIRSTHDR(&m) : NULL;
        int fds[3];

        if (!c || c->cmsg_type != SCM_RIGHTS)
                _exit(0); /* the other end is gone */
        memcpy(fds, CMSG_DATA(c), sizeof(fds));
        for (int i = 0; i < 3; i++) {
                dup2(fds[i], i);
                close(fds[i]);
        }
        return (size_t)n;
}

static void refuse(void)
{
        uint32_t sys = (uint32_t)errno;
        char packet[5] = { REFUSED };

        memcpy(packet + 1, &sys, sizeof(sys));
        answer(packet, sizeof(packet));
        _exit(0);
}

/* In a copy. `used` tells the server that it is to make another. */
static int standby(int used)
{
        static char packet[PACKET + 1], *argv[WORDS], *env[WORDS];
        char *terminate = NULL;

        while (getppid() != 1)
                usleep(200);
        setsid();
        answer((const char[]){ READY, 0 }, 2);
        struct reader r = { packet, packet + receive(packet) };
        int flags = r.at[1];
        r.at += 2;
        char *cwd = string(&r, &terminate);
        strings(&r, argv, &terminate);
        strings(&r, env, &terminate);
        *terminate = '\0';
        if (chdir(cwd) < 0 && (!(flags & CWD_WISH) || chdir("/") < 0))
                refuse();
        answer((const char[]){ TAKEN }, 1);
        close(SOCKET);
        close(used);
        environ = env;
        return run(argv);
}

/* ---- the server ---- */

static int serve(void)
{
        for (;;) {
                int ends[2];
                char c;

                if (pipe(ends) < 0)
                        return 1;
                pid_t between = fork();
                if (between == 0) {
                        pid_t copy = fork();

                        if (copy != 0)
                                _exit(copy < 0); /* so that the copy is a child of pid 1, who reaps commands */
                        close(ends[0]);
                        return standby(ends[1]);
                }
                close(ends[1]);
                waitpid(between, NULL, 0);
                while (read(ends[0], &c, 1) > 0)
                        ; /* until the copy has become a command, or has ended */
                close(ends[0]);
                if (recv(SOCKET, &c, 1, MSG_PEEK | MSG_DONTWAIT) == 0)
                        return 0;
        }
}

int main(int argc, char **argv)
{
        prepare();
        return argc == 2 && strcmp(argv[1], "--serve") == 0 ? serve() : run(argv);
}
