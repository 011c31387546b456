/*
 * One HTTP/1.1 connection to the service, as a caller that may wait sees it. Knows sockets and framing; what is asked, and what an answer means, is for
 * call.h.
 *
 * Every function blocks, at most `timeout_ms` without any progress. What the service sends is foreign: its sizes have limits (wire/http.h), and what is
 * not HTTP/1.1 ends the connection with a message that says so.
 */
#pragma once

#include <stdbool.h>
#include <sys/socket.h>

#include "base/err.h"
#include "wire/http.h"

enum { HOST_MAX = 256, CONN_BUFFER = 64 * 1024, CONN_TIMEOUT_MS = 60 * 1000 };

/* Where the service is. */
struct host {
        char text[HOST_MAX];      /* as messages name it */
        char http_host[HOST_MAX]; /* for the Host header */
        struct sockaddr_storage address;
        socklen_t address_len;
};

/* unix:PATH or http://ADDR:PORT, with a numeric address or "localhost". INVALID_SPEC, or NOT_SUPPORTED for https. */
int host_parse(const char *text, struct host *out, struct err *e);

struct conn {
        const struct host *host; /* borrowed */
        int fd;                  /* -1: not connected */
        unsigned timeout_ms;
        bool lost;   /* the last failure was the end of the connection */
        bool silent; /* and not a byte of an answer had come */
        size_t at, len;
        struct http_response res;
        uint8_t in[CONN_BUFFER]; /* what came and was not taken yet is in[at] to in[len] */
};

/* Returns NULL without memory. */
struct conn *conn_new(const struct host *host);
void conn_free(struct conn *c);

/* Connects, where it is not connected or the service has closed meanwhile. BACKEND_UNAVAILABLE where nobody answers there. */
int conn_open(struct conn *c, struct err *e);
void conn_close(struct conn *c);

/* Returns 0, or 1 where the service has answered (or hung up) without waiting for all of it: then read the answer, and close. */
int conn_write(struct conn *c, const void *data, size_t len, struct err *e);

/* Reads up to the end of a head, into c->res. */
int conn_head(struct conn *c, bool may_upgrade, struct err *e);

/* Returns 1 with a piece of the body, valid until the next call, or 0 where the answer has ended. */
int conn_piece(struct conn *c, struct bytes *piece, struct err *e);

/* Waits until more bytes are in c->in (all that was there must be taken). Returns 0 at the end of the connection. */
int conn_fill(struct conn *c, struct err *e);
