#include "api/http/server.h"

#include <errno.h>
#include <microhttpd.h>
#include <netinet/in.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/text.h"

enum {
        ACCEPTS_AT_ONCE = 64,
        RUNS_AT_ONCE = 16,
        IDLE_SECONDS = 120,
        DRAIN_MAX = 64 * 1024, /* of a body that nobody wants, so that the connection can be used again */
        LISTENERS_MAX = 4,
        BLOCK = 32 * 1024,
};

struct listener {
        struct server *server;
        int fd;
        enum server_kind kind;
        struct watch *watch;
};

/* One for plain connections, one for TLS; they differ in nothing else. */
struct half {
        struct server *server;
        struct MHD_Daemon *daemon;
        struct watch *watch;
        struct timer *timer;
};

struct server {
        struct server_config config;
        struct half plain, tls;
        struct listener listeners[LISTENERS_MAX];
        unsigned listener_count, connections;
        uint64_t next_id;
        uint32_t id_base;
        struct timer *again; /* accepting goes on when descriptors may be free again */
};

struct upgrade {
        struct MHD_UpgradeResponseHandle *handle;
};

enum phase { HEAD, COLLECTING, STREAMING, DISCARDING, RUNNING, ANSWERED };

struct request {
        unsigned refs;
        struct server *server;
        struct half *half;
        struct MHD_Connection *connection; /* NULL once it is over */
        const char *method;
        char path[REQUEST_PATH_MAX + 1];
        char id[REQUEST_ID_MAX + 1];
        struct peer peer;
        struct timespec began;
        enum phase phase;
        bool suspended, queued, over_limit;
        struct wbuf body;
        void (*fn)(struct request *r);
        ssize_t (*take)(struct request *r, const void *data, size_t len);
        ssize_t (*read)(struct request *r, uint8_t *out, size_t cap);
        void (*upgraded)(struct request *r, struct upgrade *u, int fd, struct bytes ahead);
        void *context;
        void (*release)(void *ctx);
        int status;
        struct MHD_Response *response;
        unsigned header_count;
        struct {
                char name[40], value[256];
        } headers[REQUEST_EXTRA_HEADERS];
};

/* ---- small things ---- */

const char *request_method(const struct request *r)
{
        return r->method;
}

const char *request_path(const struct request *r)
{
        return r->path;
}

const char *request_id(const struct request *r)
{
        return r->id;
}

const struct peer *request_peer(const struct request *r)
{
        return &r->peer;
}

int request_status(const struct request *r)
{
        return r->status;
}

static const char *lookup(const struct request *r, enum MHD_ValueKind kind, const char *name)
{
        const char *value = NULL;
        size_t len = 0;

        if (!r->connection || MHD_lookup_connection_value_n(r->connection, kind, name, strlen(name), &value, &len) != MHD_YES)
                return NULL;
        if (!value)
                return kind == MHD_GET_ARGUMENT_KIND ? "" : NULL;
        return strlen(value) == len && (kind == MHD_GET_ARGUMENT_KIND || len <= REQUEST_HEADER_MAX) ? value : NULL;
}

const char *request_header(const struct request *r, const char *name)
{
        return lookup(r, MHD_HEADER_KIND, name);
}

const char *request_query(const struct request *r, const char *name)
{
        return lookup(r, MHD_GET_ARGUMENT_KIND, name);
}

struct each {
        void (*fn)(void *ctx, const char *name);
        void *ctx;
};

static enum MHD_Result each_query(void *cls, enum MHD_ValueKind kind, const char *key, const char *value)
{
        const struct each *each = cls;

        (void)kind;
        (void)value;
        each->fn(each->ctx, key);
        return MHD_YES;
}

void request_each_query(struct request *r, void (*fn)(void *ctx, const char *name), void *ctx)
{
        struct each each = { fn, ctx };

        if (r->connection)
                MHD_get_connection_values(r->connection, MHD_GET_ARGUMENT_KIND, each_query, &each);
}

uint64_t request_age_us(const struct request *r)
{
        struct timespec now;

        clock_gettime(CLOCK_MONOTONIC, &now);
        return (uint64_t)((now.tv_sec - r->began.tv_sec) * 1000000 + (now.tv_nsec - r->began.tv_nsec) / 1000);
}

void request_set_context(struct request *r, void *ctx, void (*release)(void *ctx))
{
        r->context = ctx;
        r->release = release;
}

void *request_context(const struct request *r)
{
        return r->context;
}

struct request *request_ref(struct request *r)
{
        r->refs++;
        return r;
}

void request_unref(struct request *r)
{
        if (!r || --r->refs > 0)
                return;
        if (r->release)
                r->release(r->context);
        if (r->response)
                MHD_destroy_response(r->response);
        text_free(&r->body);
        free(r);
}

bool request_gone(const struct request *r)
{
        return !r->connection;
}

bool request_left(const struct request *r)
{
        const union MHD_ConnectionInfo *fd = r->connection ? MHD_get_connection_info(r->connection, MHD_CONNECTION_INFO_CONNECTION_FD)
                                                           : NULL;
        struct pollfd p = { .fd = fd ? fd->connect_fd : -1, .events = POLLRDHUP };

        return !r->connection || (fd && poll(&p, 1, 0) > 0);
}

struct bytes request_body(const struct request *r)
{
        return (struct bytes){ r->body.data, r->body.len };
}

/* ---- answers ---- */

void request_answer_header(struct request *r, const char *name, const char *value)
{
        if (r->header_count == REQUEST_EXTRA_HEADERS)
                return;
        snprintf(r->headers[r->header_count].name, sizeof(r->headers[0].name), "%s", name);
        snprintf(r->headers[r->header_count].value, sizeof(r->headers[0].value), "%s", value);
        r->header_count++;
}

void request_wake(struct request *r)
{
        if (!r->connection || !r->suspended)
                return;
        r->suspended = false;
        MHD_resume_connection(r->connection);
        timer_set(r->half->timer, 0); /* without threads it tells nobody */
}

static void suspend(struct request *r)
{
        if (r->suspended)
                return;
        r->suspended = true;
        MHD_suspend_connection(r->connection);
}

static void set_response(struct request *r, int status, const char *type, struct MHD_Response *response)
{
        if (!response || r->response || !r->connection) {
                if (response)
                        MHD_destroy_response(response);
                if (!response && r->connection)
                        r->phase = ANSWERED; /* without memory the connection ends */
                request_wake(r);
                return;
        }
        if (type)
                MHD_add_response_header(response, MHD_HTTP_HEADER_CONTENT_TYPE, type);
        MHD_add_response_header(response, "X-Request-Id", r->id);
        MHD_add_response_header(response, MHD_HTTP_HEADER_CACHE_CONTROL, "no-store");
        MHD_add_response_header(response, "X-Content-Type-Options", "nosniff");
        for (unsigned i = 0; i < r->header_count; i++)
                MHD_add_response_header(response, r->headers[i].name, r->headers[i].value);
        r->status = status;
        r->response = response;
        if (r->phase == RUNNING || r->phase == HEAD)
                r->phase = r->phase == RUNNING ? ANSWERED : HEAD;
        else
                r->phase = DISCARDING; /* of what is still to come of the body, nothing is wanted */
        request_wake(r);
}

void request_answer(struct request *r, int status, const char *type, const void *data, size_t len)
{
        set_response(r, status, type, MHD_create_response_from_buffer(len, (void *)(uintptr_t)data, MHD_RESPMEM_MUST_COPY));
}

void request_answer_take(struct request *r, int status, const char *type, char *data, size_t len)
{
        set_response(r, status, type, MHD_create_response_from_buffer(len, data, MHD_RESPMEM_MUST_FREE));
}

static ssize_t on_read(void *cls, uint64_t pos, char *buf, size_t max)
{
        struct request *r = cls;

        (void)pos;
        ssize_t n = r->read(r, (uint8_t *)buf, max);
        if (n > 0)
                return n;
        if (n < 0)
                return n == -1 ? MHD_CONTENT_READER_END_OF_STREAM : MHD_CONTENT_READER_END_WITH_ERROR;
        suspend(r);
        return 0;
}

void request_stream_out(struct request *r, int status, const char *type, ssize_t (*read)(struct request *r, uint8_t *out, size_t cap))
{
        r->read = read;
        set_response(r, status, type, MHD_create_response_from_callback(MHD_SIZE_UNKNOWN, BLOCK, on_read, r, NULL));
}

static void on_upgrade(void *cls, struct MHD_Connection *connection, void *con_cls, const char *extra, size_t extra_len, MHD_socket fd,
                       struct MHD_UpgradeResponseHandle *handle)
{
        struct request *r = cls;
        struct upgrade *u = malloc(sizeof(*u));

        (void)connection;
        (void)con_cls;
        if (!u) {
                MHD_upgrade_action(handle, MHD_UPGRADE_ACTION_CLOSE);
                return;
        }
        u->handle = handle;
        fd_set_nonblock(fd, true);
        r->upgraded(r, u, fd, (struct bytes){ (const uint8_t *)extra, extra_len });
}

void request_upgrade(struct request *r, const char *protocol, void (*fn)(struct request *r, struct upgrade *u, int fd, struct bytes ahead))
{
        struct MHD_Response *response = MHD_create_response_for_upgrade(on_upgrade, r);

        if (response)
                MHD_add_response_header(response, MHD_HTTP_HEADER_UPGRADE, protocol);
        r->upgraded = fn;
        set_response(r, MHD_HTTP_SWITCHING_PROTOCOLS, NULL, response);
}

void upgrade_close(struct upgrade *u)
{
        MHD_upgrade_action(u->handle, MHD_UPGRADE_ACTION_CLOSE);
        free(u);
}

/* ---- requests ---- */

void request_take(struct request *r, void (*fn)(struct request *r))
{
        r->phase = COLLECTING;
        r->fn = fn;
}

void request_stream_in(struct request *r, ssize_t (*take)(struct request *r, const void *data, size_t len), void (*fn)(struct request *r))
{
        r->phase = STREAMING;
        r->take = take;
        r->fn = fn;
}

static void peer_look(struct MHD_Connection *connection, struct peer *peer)
{
        const union MHD_ConnectionInfo *fd = MHD_get_connection_info(connection, MHD_CONNECTION_INFO_CONNECTION_FD);
        struct sockaddr_storage address = { 0 };
        socklen_t len = sizeof(address);
        struct ucred who;

        *peer = (struct peer){ .kind = SERVER_TCP, .uid = (uid_t)-1 };
        if (!fd || getsockname(fd->connect_fd, (struct sockaddr *)&address, &len) < 0)
                return;
        len = sizeof(who);
        if (address.ss_family == AF_UNIX && getsockopt(fd->connect_fd, SOL_SOCKET, SO_PEERCRED, &who, &len) == 0) {
                peer->kind = SERVER_UNIX;
                peer->uid = who.uid;
                peer->pid = who.pid;
                return;
        }
        len = sizeof(address);
        if (getpeername(fd->connect_fd, (struct sockaddr *)&address, &len) < 0)
                return;
        const struct sockaddr_in *v4 = (const struct sockaddr_in *)(const void *)&address;
        const struct sockaddr_in6 *v6 = (const struct sockaddr_in6 *)(const void *)&address;
        peer->loopback = address.ss_family == AF_INET    ? (ntohl(v4->sin_addr.s_addr) >> 24) == 127
                         : address.ss_family == AF_INET6 ? IN6_IS_ADDR_LOOPBACK(&v6->sin6_addr)
                                                         : false;
}

/* It is the same for each request of a connection. */
static const struct peer *peer_of(struct MHD_Connection *connection)
{
        const union MHD_ConnectionInfo *info = MHD_get_connection_info(connection, MHD_CONNECTION_INFO_SOCKET_CONTEXT);

        return info ? info->socket_context : NULL;
}

static void name_request(struct request *r)
{
        const char *given = request_header(r, "X-Request-Id");
        size_t n = given ? strspn(given, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-") : 0;

        if (n > 0 && n <= REQUEST_ID_MAX && given[n] == '\0')
                snprintf(r->id, sizeof(r->id), "%s", given);
        else
                snprintf(r->id, sizeof(r->id), "req-%08x%08llx", r->server->id_base, (unsigned long long)r->server->next_id++);
}

static struct request *request_new(struct half *half, struct MHD_Connection *connection, const char *url, const char *method)
{
        const struct peer *peer = peer_of(connection);
        struct request *r = peer ? calloc(1, sizeof(*r)) : NULL;

        if (!r)
                return NULL;
        r->refs = 1;
        r->server = half->server;
        r->half = half;
        r->connection = connection;
        r->method = method;
        r->body = text_new();
        /* a path that is too long becomes one that no route has */
        snprintf(r->path, sizeof(r->path), "%s", strlen(url) <= REQUEST_PATH_MAX ? url : "");
        clock_gettime(CLOCK_MONOTONIC, &r->began);
        r->peer = *peer;
        name_request(r);
        return r;
}

static enum MHD_Result queue(struct request *r)
{
        if (r->queued)
                return MHD_YES;
        if (!r->response)
                return MHD_NO;
        r->queued = true;
        r->server->config.on_answer(r->server->config.ctx, r);
        return MHD_queue_response(r->connection, (unsigned)r->status, r->response);
}

static bool has_body(const struct request *r)
{
        const char *length = request_header(r, "Content-Length");

        return request_header(r, "Transfer-Encoding") || (length && strcmp(length, "0") != 0);
}

static bool body_is_small(const struct request *r)
{
        const char *length = request_header(r, "Content-Length");

        return length && strtoull(length, NULL, 10) <= DRAIN_MAX && !request_header(r, "Expect");
}

/* The head is there. An answer to the head alone: where a body follows that is small it is read first, so that the connection can be used again. */
static enum MHD_Result begin(struct request *r)
{
        r->server->config.on_head(r->server->config.ctx, r);
        if (!r->response)
                return MHD_YES;
        if (has_body(r) && body_is_small(r)) {
                r->phase = DISCARDING;
                return MHD_YES;
        }
        r->phase = ANSWERED;
        return queue(r);
}

static void collect(struct request *r, const char *data, size_t len)
{
        if (r->body.len + len > r->server->config.max_body)
                r->over_limit = true;
        else
                wbuf_bytes(&r->body, data, len);
}

static void stream(struct request *r, const char *data, size_t *len)
{
        ssize_t n = r->take ? r->take(r, data, *len) : (ssize_t)*len;

        if (n < 0) {
                if (!r->response)
                        r->phase = DISCARDING;
                *len = 0;
                return;
        }
        *len -= (size_t)n;
        if (*len > 0 && r->phase == STREAMING)
                suspend(r);
}

static void refuse_large(struct request *r)
{
        char text[400];
        int n = snprintf(
                text, sizeof(text),
                "{\"error\":{\"code\":\"INVALID_SPEC\",\"message\":\"the body is larger than %zu bytes\",\"hint\":\"send less; files go to /files\","
                "\"details\":{},\"requestId\":\"%s\"}}\n",
                r->server->config.max_body, r->id);

        request_answer(r, 400, "application/json", text, (size_t)n);
}

static enum MHD_Result on_request(void *cls, struct MHD_Connection *connection, const char *url, const char *method, const char *version,
                                  const char *data, size_t *len, void **state)
{
        struct half *half = cls;
        struct request *r = *state;

        (void)version;
        if (!r) {
                *state = r = request_new(half, connection, url, method);
                return r ? begin(r) : MHD_NO;
        }
        if (*len > 0) {
                if (r->phase == COLLECTING)
                        collect(r, data, *len);
                if (r->phase == STREAMING)
                        stream(r, data, len);
                else
                        *len = 0;
                return MHD_YES;
        }
        if (r->phase == COLLECTING || r->phase == STREAMING) {
                r->phase = RUNNING;
                if (r->over_limit)
                        refuse_large(r);
                else
                        r->fn(r);
        } else if (r->phase == DISCARDING) {
                r->phase = ANSWERED;
        }
        if (r->response)
                return queue(r);
        if (r->phase == ANSWERED)
                return MHD_NO;
        suspend(r);
        return MHD_YES;
}

static void on_completed(void *cls, struct MHD_Connection *connection, void **state, enum MHD_RequestTerminationCode how)
{
        struct request *r = *state;

        (void)cls;
        (void)connection;
        (void)how;
        if (!r)
                return;
        r->connection = NULL;
        *state = NULL;
        request_unref(r);
}

static void on_connection(void *cls, struct MHD_Connection *connection, void **state, enum MHD_ConnectionNotificationCode what)
{
        struct half *half = cls;

        if (what == MHD_CONNECTION_NOTIFY_STARTED) {
                half->server->connections++;
                if ((*state = malloc(sizeof(struct peer)))) /* without memory its requests end */
                        peer_look(connection, *state);
        } else {
                half->server->connections--;
                free(*state);
                *state = NULL;
        }
}

/* ---- the loop's side ---- */

static void run(void *ctx)
{
        struct half *h = ctx;
        MHD_UNSIGNED_LONG_LONG timeout = 0;
        enum MHD_Result waits = MHD_YES;

        for (int i = 0; i < RUNS_AT_ONCE && waits == MHD_YES && timeout == 0; i++) {
                MHD_run(h->daemon);
                waits = MHD_get_timeout(h->daemon, &timeout);
        }
        if (waits == MHD_YES)
                timer_set(h->timer, timeout);
        else
                timer_stop(h->timer);
}

static void on_listener(void *ctx)
{
        struct listener *l = ctx;
        struct half *h = l->kind == SERVER_TLS ? &l->server->tls : &l->server->plain;

        for (int i = 0; i < ACCEPTS_AT_ONCE; i++) {
                struct sockaddr_storage address;
                socklen_t len = sizeof(address);
                int fd = accept4(l->fd, (struct sockaddr *)&address, &len, SOCK_CLOEXEC | SOCK_NONBLOCK);

                if (fd < 0 && (errno == EMFILE || errno == ENFILE || errno == ENOBUFS || errno == ENOMEM)) {
                        watch_set(l->watch, 0);
                        timer_set(l->server->again, 100);
                }
                if (fd < 0)
                        return;
                if (l->server->connections >= l->server->config.max_connections)
                        close(fd);
                else
                        MHD_add_connection(h->daemon, fd, (struct sockaddr *)&address, len); /* closes it where it fails */
        }
}

static void accept_again(void *ctx)
{
        struct server *s = ctx;

        for (unsigned i = 0; i < s->listener_count; i++)
                if (s->listeners[i].watch)
                        watch_set(s->listeners[i].watch, POLLIN);
}

static int half_start(struct server *s, struct half *h, unsigned flags, struct err *e)
{
        const struct server_config *c = &s->config;
        struct MHD_OptionItem tls[] = { { MHD_OPTION_HTTPS_MEM_CERT, 0, (void *)(uintptr_t)c->tls_cert },
                                        { MHD_OPTION_HTTPS_MEM_KEY, 0, (void *)(uintptr_t)c->tls_key },
                                        { MHD_OPTION_END, 0, NULL } };
        struct MHD_OptionItem none[] = { { MHD_OPTION_END, 0, NULL } };

        h->server = s;
        h->daemon = MHD_start_daemon(MHD_USE_EPOLL | MHD_USE_NO_LISTEN_SOCKET | MHD_ALLOW_SUSPEND_RESUME | MHD_ALLOW_UPGRADE | flags, 0,
                                     NULL, NULL, on_request, h, MHD_OPTION_NOTIFY_COMPLETED, on_completed, NULL,
                                     MHD_OPTION_NOTIFY_CONNECTION, on_connection, h, MHD_OPTION_CONNECTION_LIMIT, c->max_connections,
                                     MHD_OPTION_CONNECTION_TIMEOUT, (unsigned)IDLE_SECONDS, MHD_OPTION_STRICT_FOR_CLIENT, 1,
                                     MHD_OPTION_ARRAY, flags ? tls : none, MHD_OPTION_END);
        if (!h->daemon)
                return err_set(e, ERR_INTERNAL_ERROR, 0,
                               flags ? "cannot serve TLS: do the certificate and its key fit?" : "cannot serve HTTP");
        const union MHD_DaemonInfo *info = MHD_get_daemon_info(h->daemon, MHD_DAEMON_INFO_EPOLL_FD);
        h->timer = timer_new(c->loop, run, h);
        if (info && info->epoll_fd >= 0)
                h->watch = watch_new(c->loop, info->epoll_fd, POLLIN, run, h);
        return h->timer && h->watch ? 0 : err_set(e, ERR_RESOURCE_EXHAUSTED, 0, "out of memory");
}

int server_new(const struct server_config *config, struct server **out, struct err *e)
{
        struct server *s = calloc(1, sizeof(*s));

        if (!s)
                return err_set(e, ERR_RESOURCE_EXHAUSTED, 0, "out of memory");
        s->config = *config;
        if (getrandom(&s->id_base, sizeof(s->id_base), 0) < 0)
                s->id_base = (uint32_t)getpid();
        s->again = timer_new(config->loop, accept_again, s);
        if (!s->again || half_start(s, &s->plain, 0, e) < 0 || (config->tls_cert && half_start(s, &s->tls, MHD_USE_TLS, e) < 0)) {
                server_free(s);
                return -(int)e->code;
        }
        *out = s;
        return 0;
}

int server_listen(struct server *s, int fd, enum server_kind kind, struct err *e)
{
        struct listener *l = &s->listeners[s->listener_count];

        if (s->listener_count == LISTENERS_MAX || fd_set_nonblock(fd, true) < 0) {
                close(fd);
                return err_set(e, ERR_INTERNAL_ERROR, 0, "cannot listen");
        }
        *l = (struct listener){ s, fd, kind, watch_new(s->config.loop, fd, POLLIN, on_listener, l) };
        if (!l->watch) {
                close(fd);
                return err_set(e, ERR_RESOURCE_EXHAUSTED, 0, "out of memory");
        }
        s->listener_count++;
        return 0;
}

void server_stop_listening(struct server *s)
{
        for (unsigned i = 0; i < s->listener_count; i++) {
                watch_free(s->listeners[i].watch);
                s->listeners[i].watch = NULL;
                fd_close(&s->listeners[i].fd);
        }
        s->listener_count = 0;
}

static void half_stop(struct half *h)
{
        watch_free(h->watch);
        timer_free(h->timer);
        if (h->daemon)
                MHD_stop_daemon(h->daemon);
}

void server_free(struct server *s)
{
        if (!s)
                return;
        server_stop_listening(s);
        half_stop(&s->plain);
        half_stop(&s->tls);
        timer_free(s->again);
        free(s);
}

unsigned server_connections(const struct server *s)
{
        return s->connections;
}
