/*
 * One kept-alive HTTP/1.1 connection to a service, over its unix socket or loopback TCP, with as little between the clock and the socket as can be: a request
 * is made ahead, written with one write(), and its answer is read into a room of the connection's. One request at a time; nothing here is for any other server.
 *
 * What goes wrong with the connection ends the program: a benchmark that lost an answer has no figures.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { CONN_ROOM = 64 * 1024, CONN_REQUEST = 16 * 1024 };

struct conn_target {
        const char *socket; /* a path, or NULL */
        uint16_t port;      /* of 127.0.0.1, where there is no path */
        const char *key;    /* an API key, or NULL */
};

struct conn {
        int fd;
        size_t have, request_len;
        double sent_ms;  /* just before the write() of the last request */
        double first_ms; /* the first byte of output in an answer of events; 0: not yet */
        int status;      /* of the last answer, and where it begins and ends; chunked ones as they came */
        const char *body;
        size_t body_len;
        char *room, *request;
};

_Noreturn void fail(const char *what);
double now_ms(void);

void conn_open(struct conn *c, const struct conn_target *t);
void conn_close(struct conn *c);

/* `events`: the answer is wanted as a stream of them. */
void conn_prepare(struct conn *c, const struct conn_target *t, const char *method, const char *path, bool events, const char *body);
void conn_send(struct conn *c);
/* One read(), which waits where nothing has come; true when the answer is whole. */
bool conn_read(struct conn *c);
/* conn_send() and all of the answer. */
void conn_ask(struct conn *c);
