/*
 * A running service, as the library's handles see it: what handles.h has a pointer to, and one function for each of the public ones that behaves
 * differently with a service.
 */
#pragma once

#include "api/libcreto/handles.h"
#include "api/libcreto/remote/conn.h"

struct remote {
        struct host host;
        char *api_key; /* owned; NULL: none */
        struct conn *conn;
        unsigned timeout_ms; /* 0: the usual */
};

void remote_free(struct remote *rm);
int remote_spawn(struct creto_runtime *rt, const struct creto_option *options, size_t count, struct creto_sandbox *sb, struct err *e);
int remote_exec(struct creto_sandbox *sb, const struct creto_exec_options *options, struct creto_result *result, struct err *e);
void remote_exec_signal(struct remote_exec *x, int signo, bool group);
void remote_exec_resize(struct remote_exec *x, uint16_t rows, uint16_t cols);
int remote_usage(struct creto_sandbox *sb, struct creto_usage *usage, struct err *e);
int remote_terminate(struct creto_sandbox *sb, bool force, struct err *e);

/* The answer of a call that changes something. */
struct call;
int call_finish(struct call *c, struct creto_error *err, char **json);

/* NOT_SUPPORTED where the handle is of embedded mode. */
int remote_needed(const struct creto_runtime *rt, const char *what, struct err *e);

/* For a request that may be sent twice and is to be done once. */
enum { IDEMPOTENCY_KEY_CAP = 40 };
void remote_new_key(char out[IDEMPOTENCY_KEY_CAP]);

/* What the options say, as the API's spec. */
struct wbuf;
struct spec;
struct json_put;
/* An object of NAME=value strings; the last of a name counts. */
int remote_put_pairs(struct json_put *j, const char *key, const char *const *pairs, size_t count, struct err *e);
int remote_spec(const struct creto_option *options, size_t count, struct spec *spec, struct wbuf *out, struct err *e);
/* What a claim binds, as members of the object that is being written. INVALID_SPEC for options that belong to a template. */
int remote_put_claim(struct json_put *j, const struct creto_option *options, size_t count, struct err *e);
/* `command`, and that it is left to be attached to. */
int remote_put_command(struct json_put *j, const struct creto_exec_options *o, uint32_t timeout_ms, struct err *e);
