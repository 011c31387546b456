#include "conn.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

void fail(const char *what)
{
        fprintf(stderr, "bench-pool: %s: %s\n", what, strerror(errno));
        exit(1);
}

double now_ms(void)
{
        struct timespec t;

        clock_gettime(CLOCK_MONOTONIC, &t);
        return (double)t.tv_sec * 1e3 + (double)t.tv_nsec / 1e6;
}

static int open_unix(const char *path)
{
        struct sockaddr_un a = { .sun_family = AF_UNIX };
        int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

        if (strlen(path) >= sizeof(a.sun_path))
                fail("a path that is too long");
        memcpy(a.sun_path, path, strlen(path) + 1);
        if (fd < 0 || connect(fd, (struct sockaddr *)&a, sizeof(a)) < 0)
                fail(path);
        return fd;
}

static int open_tcp(uint16_t port)
{
        struct sockaddr_in a = { .sin_family = AF_INET, .sin_port = htons(port), .sin_addr = { htonl(INADDR_LOOPBACK) } };
        const int on = 1;
        int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

        if (fd < 0 || connect(fd, (struct sockaddr *)&a, sizeof(a)) < 0)
                fail("connect");
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
        return fd;
}

void conn_open(struct conn *c, const struct conn_target *t)
{
        *c = (struct conn){ .fd = t->socket ? open_unix(t->socket) : open_tcp(t->port),
                            .room = malloc(CONN_ROOM),
                            .request = malloc(CONN_REQUEST) };
        if (!c->room || !c->request)
                fail("memory");
}

void conn_close(struct conn *c)
{
        close(c->fd);
        free(c->room);
        free(c->request);
}

void conn_prepare(struct conn *c, const struct conn_target *t, const char *method, const char *path, bool events, const char *body)
{
        int n = snprintf(c->request, CONN_REQUEST, "%s %s HTTP/1.1\r\nHost: localhost\r\n%s%s%s%sContent-Length: %zu\r\n\r\n%s", method,
                         path, t->key ? "Authorization: Bearer " : "", t->key ? t->key : "", t->key ? "\r\n" : "",
                         events ? "Accept: text/event-stream\r\n" : "", strlen(body), body);

        if (n < 0 || n >= CONN_REQUEST)
                fail("a request that is too long");
        c->request_len = (size_t)n;
}

void conn_send(struct conn *c)
{
        c->have = c->body_len = 0;
        c->status = 0;
        c->first_ms = 0;
        c->sent_ms = now_ms();
        if (write(c->fd, c->request, c->request_len) != (ssize_t)c->request_len)
                fail("write");
}

/* The head is there: how long the whole answer is; 0 where only its last chunk will tell. */
static size_t whole_len(const char *data, size_t head)
{
        const char *field = memmem(data, head, "Content-Length: ", 16);

        if (field)
                return head + strtoul(field + 16, NULL, 10);
        if (memmem(data, head, "Transfer-Encoding: chunked", 26))
                return 0;
        return strncmp(data + 9, "204", 3) == 0 ? head : 0;
}

/* Nothing in an answer of events has a CR but the chunks, and nothing is asked before the answer is there, so that the last chunk ends what has come. */
static bool is_whole(struct conn *c)
{
        static const char last[] = "\r\n0\r\n\r\n";
        const char *end = memmem(c->room, c->have, "\r\n\r\n", 4);

        if (!end)
                return false;
        size_t head = (size_t)(end - c->room) + 4, whole = whole_len(c->room, head);
        if (whole ? c->have < whole : c->have < head + 5 || memcmp(c->room + c->have - 7, last, 7) != 0)
                return false;
        c->status = atoi(c->room + 9);
        c->body = c->room + head;
        c->body_len = c->have - head;
        c->room[c->have] = '\0';
        return true;
}

bool conn_read(struct conn *c)
{
        static const char output[] = "event: stdout";
        size_t from = c->have > sizeof(output) ? c->have - sizeof(output) : 0;
        ssize_t r = read(c->fd, c->room + c->have, CONN_ROOM - 1 - c->have);

        if (r <= 0)
                fail("read");
        c->have += (size_t)r;
        if (c->first_ms == 0 && memmem(c->room + from, c->have - from, output, sizeof(output) - 1))
                c->first_ms = now_ms();
        return is_whole(c);
}

void conn_ask(struct conn *c)
{
        conn_send(c);
        while (!conn_read(c))
                ;
}
