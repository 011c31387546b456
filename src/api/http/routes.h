/*
 * What the files of this folder have in common: a request on its way through a route.
 */
#pragma once

#include "api/http/api.h"
#include "base/text.h"
#include "domain/spec_json.h"

struct api {
        struct api_config config;
        struct server *server;
        struct limiter *limiters;
        bool settled;
        uint64_t looked_ms;    /* when health() last had the classes looked at */
        struct parked *parked; /* until it is: requests that wait until everything is taken over */
};

/* What a route knows of its request; request_context() while it runs. */
struct call {
        struct api *api;
        struct request *request; /* borrowed: lives at least as long */
        const struct route *route;
        struct principal who;
        char params[API_PARAMS_MAX][REQUEST_ID_MAX + 2];
        struct json_node *nodes; /* of the body, once it was parsed */
        void *own;               /* the route's */
        void (*release)(void *own);
};

enum { ROUTE_BODY = 1, ROUTE_OPEN = 2, ROUTE_NOW = 4 /* does not wait for the sandboxes to be taken over */ };

struct route {
        const char *method, *path; /* "/v1/sandboxes/{id}/exec" */
        enum key_role least;
        unsigned flags;
        void (*run)(struct call *c);  /* after the body, where there is one */
        void (*head)(struct call *c); /* instead of that: decides for itself what becomes of the body */
        const char *const *query;     /* names that it takes, NULL-ended; NULL: none */
};

extern const struct route sandbox_routes[], exec_routes[], file_routes[], pool_routes[], claim_routes[], other_routes[];

struct call *call_of(const struct request *r);
void call_own(struct call *c, void *own, void (*release)(void *own));

/* ---- answers ---- */

void call_error(struct call *c, const struct err *e);
/* The same with an object of details, JSON. */
void call_error_details(struct call *c, const struct err *e, const char *details);
/* `w` is a text; taken. */
void call_json(struct call *c, int status, struct wbuf *w);
void call_empty(struct call *c);
/* "{\"error\":{…}}" */
void put_error(struct json_put *j, const struct err *e, const char *details, const char *request_id);

/* ---- reading ---- */

/* The body as one JSON object; NULL where it was answered that it is none. `may_miss`: an empty body is an empty object. */
const struct json_node *call_object(struct call *c, bool may_miss);
/* The sandbox of the path, if the caller may know of it; NULL where it was answered that there is none. */
struct sandbox *call_sandbox(struct call *c);
/* The same, for what leaves traces in it: one that still waits in its pool is refused. */
struct sandbox *call_claimed(struct call *c);
struct exec *call_exec(struct call *c, struct sandbox *sb);
bool call_may_see(const struct call *c, const struct sandbox *sb);
/* A field or a query that is none of those that are known, or of the wrong kind. */
__attribute__((format(printf, 3, 4))) void call_bad_field(struct call *c, const char *field, const char *fmt, ...);
/* A number of the query; false where it was answered that it is none. Not there: *out stays. */
bool call_query_u64(struct call *c, const char *name, uint64_t max, uint64_t *out);
bool call_query_bool(struct call *c, const char *name, bool *out);
/* The members of `object` are all among `names`, NULL-ended. */
bool call_known_fields(struct call *c, const struct json_node *object, const char *where, const char *const *names);

/* The pool of the path; NULL where it was answered that there is none. */
struct pool *call_pool(struct call *c);
/* The header Idempotency-Key, or NULL; false where it was answered that it is none. */
bool call_idempotency_key(struct call *c, const char **out);
/* `e` with all that is wrong, field by field. */
void call_faults(struct call *c, const struct spec_faults *faults, const struct err *e);
/* Whether the environment of what was read fits; the command that comes with it later has the rest of the room. */
int call_check_env(const struct spec *s, struct err *e);

/* Answers with 101, and makes the connection the reader and writer of the command. */
void websocket_attach(struct call *c, struct exec *x, uint64_t stdout_offset, uint64_t stderr_offset);

/* ---- showing ---- */

void put_text(struct json_put *j, const char *key, const char *value); /* null for NULL and "" */
void put_u64(struct json_put *j, const char *key, uint64_t value);
void put_time(struct json_put *j, const char *key, uint64_t wall_ms); /* null for 0 */
void put_sandbox(struct json_put *j, const struct sandbox_info *s, bool usage);
void put_usage(struct json_put *j, const char *key, const struct sandbox_info *s);
void put_exec(struct json_put *j, const struct sandbox_info *s, const struct exec_info *x);
void put_exec_end(struct json_put *j, const struct exec_info *x);
void exec_id_text(uint32_t number, char out[16]);
