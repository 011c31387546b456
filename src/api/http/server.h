/*
 * HTTP in the daemon's loop, over libmicrohttpd: connections in, requests to a handler, answers out, whole or as they come.
 *
 * The one file that knows the library is server.c. Nothing here waits: a handler that cannot answer yet returns, and calls request_answer() later; who
 * leaves meanwhile is found with request_gone(). Bodies are collected up to a limit, or handed on piece by piece, as fast as the handler takes them.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/buf.h"
#include "base/err.h"
#include "base/loop.h"

enum { REQUEST_ID_MAX = 63, REQUEST_PATH_MAX = 1024, REQUEST_HEADER_MAX = 1024, REQUEST_EXTRA_HEADERS = 4 };

struct server;
struct request;

enum server_kind { SERVER_UNIX, SERVER_TCP, SERVER_TLS };

struct server_config {
        struct loop *loop;
        unsigned max_connections;
        size_t max_body;
        const char *tls_cert, *tls_key; /* PEM, or NULL */
        /* The head of a request is there. Calls request_take() or request_stream_in(), or answers. */
        void (*on_head)(void *ctx, struct request *r);
        /* Every answer, as it leaves. */
        void (*on_answer)(void *ctx, struct request *r);
        void *ctx;
};

int server_new(const struct server_config *config, struct server **out, struct err *e);
/* Takes the listening socket. */
int server_listen(struct server *s, int fd, enum server_kind kind, struct err *e);
/* No new connections; those that are there go on. */
void server_stop_listening(struct server *s);
void server_free(struct server *s);
unsigned server_connections(const struct server *s);

/* ---- what came ---- */

struct peer {
        enum server_kind kind;
        uid_t uid; /* of a unix socket */
        pid_t pid;
        bool loopback;
};

const char *request_method(const struct request *r);
const char *request_path(const struct request *r); /* decoded */
const char *request_id(const struct request *r);
const struct peer *request_peer(const struct request *r);
/* NULL where there is none, or more of it than REQUEST_HEADER_MAX, or a NUL in it. */
const char *request_header(const struct request *r, const char *name);
const char *request_query(const struct request *r, const char *name);
/* Calls `fn` for each name of the query. */
void request_each_query(struct request *r, void (*fn)(void *ctx, const char *name), void *ctx);
uint64_t request_age_us(const struct request *r);
int request_status(const struct request *r); /* once it is answered */

/* What the handlers keep with it; freed by `release` at its end. */
void request_set_context(struct request *r, void *ctx, void (*release)(void *ctx));
void *request_context(const struct request *r);

/* For who answers later. The memory stays as long as there is a reference. */
struct request *request_ref(struct request *r);
void request_unref(struct request *r);
bool request_gone(const struct request *r);
/* The same, or the client has closed its end meanwhile: nobody looks at a connection whose answer is not there yet. A system call. */
bool request_left(const struct request *r);

/* ---- the body; from on_head ---- */

/* Collects it, then calls `fn`. */
void request_take(struct request *r, void (*fn)(struct request *r));
struct bytes request_body(const struct request *r);

/* Hands pieces to `take`, which returns how many bytes it took, or -1 for no more; with less than all it is called again after request_wake(). `fn` is
 * called at the end. */
void request_stream_in(struct request *r, ssize_t (*take)(struct request *r, const void *data, size_t len), void (*fn)(struct request *r));

/* ---- the answer; once ---- */

void request_answer_header(struct request *r, const char *name, const char *value); /* before the answer */
/* The bytes are copied. */
void request_answer(struct request *r, int status, const char *type, const void *data, size_t len);
/* Takes `data`, made by malloc(). */
void request_answer_take(struct request *r, int status, const char *type, char *data, size_t len);

/* An answer as it comes: `read` fills `out` with up to `cap` bytes and returns how many, 0 for none now (called again after request_wake()), -1 for the end,
 * -2 where it has to break off. It is called when what it gave before has left. */
void request_stream_out(struct request *r, int status, const char *type, ssize_t (*read)(struct request *r, uint8_t *out, size_t cap));

/* Something to read or room to take may be there. */
void request_wake(struct request *r);

/* 101, and the connection becomes the caller's: `fn` gets its descriptor and what was sent ahead; it ends with upgrade_close(). Not with SERVER_TLS. */
struct upgrade;
void request_upgrade(struct request *r, const char *protocol, void (*fn)(struct request *r, struct upgrade *u, int fd, struct bytes ahead));
void upgrade_close(struct upgrade *u);
