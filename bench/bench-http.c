/*
 * A client of the HTTP API, and of any other server that keeps connections: bench-http PORT KEY spawn|exec N, bench-http PORT KEY get SECONDS CONNECTIONS PATH.
 * One JSON object on standard output; bench/served.py says what is in it.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { ROOM = 64 * 1024, CONNECTIONS_MAX = 1024, COUNT_MAX = 100000 };

static const struct timespec pause_between = { .tv_nsec = 20 * 1000000L };

static uint16_t port;
static const char *key;

_Noreturn static void fail(const char *what)
{
        fprintf(stderr, "bench-http: %s: %s\n", what, strerror(errno));
        exit(1);
}

static double now_ms(void)
{
        struct timespec t;

        clock_gettime(CLOCK_MONOTONIC, &t);
        return (double)t.tv_sec * 1e3 + (double)t.tv_nsec / 1e6;
}

static int open_connection(void)
{
        struct sockaddr_in a = { .sin_family = AF_INET, .sin_port = htons(port), .sin_addr = { htonl(INADDR_LOOPBACK) } };
        const int on = 1;
        int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

        if (fd < 0 || connect(fd, (struct sockaddr *)&a, sizeof(a)) < 0)
                fail("connect");
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
        return fd;
}

static size_t make_request(char *out, size_t cap, const char *method, const char *path, const char *body)
{
        int n = snprintf(out, cap, "%s %s HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer %s\r\nContent-Length: %zu\r\n\r\n%s", method,
                         path, key, strlen(body), body);

        if (n < 0 || (size_t)n >= cap)
                fail("a request that is too long");
        return (size_t)n;
}

/* How long the answer at `data` is, 0 where it is not all there; *body where its body begins. Only answers with a length. */
static size_t answer_len(const char *data, size_t len, size_t *body)
{
        const char *end = memmem(data, len, "\r\n\r\n", 4), *field;

        if (!end)
                return 0;
        size_t head = (size_t)(end - data) + 4;
        field = memmem(data, head, "Content-Length: ", 16);
        if (!field)
                fail("an answer without a length");
        size_t whole = head + strtoul(field + 16, NULL, 10);
        *body = head;
        return len >= whole ? whole : 0;
}

/* One request and its answer; the body is at the place that is returned, until the next one. */
static const char *ask(int fd, const char *method, const char *path, const char *body, const char *wanted)
{
        static char room[ROOM];
        char request[2048];
        size_t have = 0, at = 0, n = make_request(request, sizeof(request), method, path, body);

        if (write(fd, request, n) != (ssize_t)n)
                fail("write");
        while (answer_len(room, have, &at) == 0) {
                ssize_t r = read(fd, room + have, sizeof(room) - 1 - have);

                if (r <= 0)
                        fail("read");
                have += (size_t)r;
        }
        room[have] = '\0';
        if (strncmp(room + 9, wanted, 3) != 0) {
                fprintf(stderr, "bench-http: %s %s: %.300s\n", method, path, room);
                exit(1);
        }
        return room + at;
}

static void id_of(const char *body, char out[64])
{
        const char *at = strstr(body, "\"sandboxId\":\"");
        size_t n = at ? strcspn(at + 13, "\"") : 0;

        if (n == 0 || n >= 64)
                fail("an answer without an id");
        memcpy(out, at + 13, n);
        out[n] = '\0';
}

static void spawn_one(int fd, char id[64])
{
        id_of(ask(fd, "POST", "/v1/sandboxes", "{}", "201"), id);
}

static void print_ms(const double *ms, unsigned count)
{
        printf("{\"ms\":[");
        for (unsigned i = 0; i < count; i++)
                printf("%s%.4f", i ? "," : "", ms[i]);
        printf("]}\n");
}

static void spawn(unsigned count)
{
        static double ms[COUNT_MAX];
        int fd = open_connection();
        char id[64], path[96];

        for (unsigned i = 0; i < count; i++) {
                nanosleep(&pause_between, NULL);
                double began = now_ms();
                spawn_one(fd, id);
                ms[i] = now_ms() - began;
                snprintf(path, sizeof(path), "/v1/sandboxes/%s", id);
                ask(fd, "DELETE", path, "", "200");
        }
        close(fd);
        print_ms(ms, count);
}

static void exec(unsigned count)
{
        static double ms[COUNT_MAX];
        int fd = open_connection();
        char id[64], path[96];

        spawn_one(fd, id);
        snprintf(path, sizeof(path), "/v1/sandboxes/%s/exec", id);
        ask(fd, "POST", path, "{\"command\":{\"program\":\"/bin/true\"}}", "200");
        for (unsigned i = 0; i < count; i++) {
                double began = now_ms();

                if (!strstr(ask(fd, "POST", path, "{\"command\":{\"program\":\"/bin/true\"}}", "200"), "\"exitCode\":0"))
                        fail("a command that failed");
                ms[i] = now_ms() - began;
        }
        snprintf(path, sizeof(path), "/v1/sandboxes/%s", id);
        ask(fd, "DELETE", path, "", "200");
        close(fd);
        print_ms(ms, count);
}

/* ---- as many as possible ---- */

struct connection {
        int fd;
        size_t have;
        char room[16 * 1024];
};

/* Returns how many answers came, and asks again for each. */
static unsigned take_answers(struct connection *c, const char *request, size_t len, size_t *body_len)
{
        ssize_t r = read(c->fd, c->room + c->have, sizeof(c->room) - c->have);
        unsigned answers = 0;
        size_t whole, at;

        if (r <= 0)
                fail("read");
        c->have += (size_t)r;
        while ((whole = answer_len(c->room, c->have, &at)) > 0) {
                if (strncmp(c->room + 9, "200", 3) != 0)
                        fail("an answer that is not 200");
                *body_len = whole - at;
                memmove(c->room, c->room + whole, c->have - whole);
                c->have -= whole;
                answers++;
                if (write(c->fd, request, len) != (ssize_t)len)
                        fail("write");
        }
        return answers;
}

static void get(double seconds, unsigned connections, const char *path)
{
        static struct connection all[CONNECTIONS_MAX];
        struct epoll_event events[64];
        char request[1024];
        size_t len = make_request(request, sizeof(request), "GET", path, ""), body = 0;
        unsigned long count = 0;
        int ep = epoll_create1(EPOLL_CLOEXEC);

        for (unsigned i = 0; i < connections; i++) {
                struct epoll_event e = { .events = EPOLLIN, .data = { .ptr = &all[i] } };

                all[i].fd = open_connection();
                if (epoll_ctl(ep, EPOLL_CTL_ADD, all[i].fd, &e) < 0 || write(all[i].fd, request, len) != (ssize_t)len)
                        fail("epoll");
        }
        double began = now_ms(), passed;
        do {
                int n = epoll_wait(ep, events, 64, 1000);

                for (int i = 0; i < n; i++)
                        count += take_answers(events[i].data.ptr, request, len, &body);
                passed = now_ms() - began;
        } while (passed < seconds * 1000);
        printf("{\"per_second\":%.1f,\"bytes\":%zu}\n", (double)count / passed * 1000, body);
}

int main(int argc, char **argv)
{
        if (argc < 5)
                return 64;
        port = (uint16_t)atoi(argv[1]);
        key = argv[2];
        unsigned count = (unsigned)atoi(argv[4]);
        if (strcmp(argv[3], "spawn") == 0 && count <= COUNT_MAX)
                spawn(count);
        else if (strcmp(argv[3], "exec") == 0 && count <= COUNT_MAX)
                exec(count);
        else if (strcmp(argv[3], "get") == 0 && argc == 7 && atoi(argv[5]) <= CONNECTIONS_MAX)
                get(atof(argv[4]), (unsigned)atoi(argv[5]), argv[6]);
        else
                return 64;
        return 0;
}
