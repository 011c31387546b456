/*
 * The handle of a running service: connecting, and what every other file here begins with.
 */
#include <stdlib.h>
#include <string.h>

#include "api/libcreto/remote/call.h"

#define DEFAULT_HOST "unix:/run/creto-runtime/runtime.sock"

/* Keys are wiped, not only freed. */
static void forget_key(char *key)
{
        if (key)
                explicit_bzero(key, strlen(key));
        free(key);
}

void remote_free(struct remote *rm)
{
        if (!rm)
                return;
        conn_free(rm->conn);
        forget_key(rm->api_key);
        free(rm);
}

static const char *first_of(const char *named, const char *variable, const char *otherwise)
{
        const char *value = named ? named : getenv(variable);

        return value && *value ? value : otherwise;
}

static int remote_new(const char *host, const char *api_key, struct remote **out, struct err *e)
{
        struct remote *rm = calloc(1, sizeof(*rm));
        const char *key = first_of(api_key, "CRETO_RUNTIME_API_KEY", NULL);

        if (!rm)
                return err_set(e, ERR_RESOURCE_EXHAUSTED, 0, "out of memory");
        if (host_parse(first_of(host, "CRETO_RUNTIME_HOST", DEFAULT_HOST), &rm->host, e) < 0) {
                free(rm);
                return -(int)e->code;
        }
        rm->api_key = key ? strdup(key) : NULL;
        rm->conn = conn_new(&rm->host);
        if (!rm->conn || (key && !rm->api_key)) {
                remote_free(rm);
                return err_set(e, ERR_RESOURCE_EXHAUSTED, 0, "out of memory");
        }
        *out = rm;
        return 0;
}

int creto_connect(const char *host, const char *api_key, struct creto_runtime **out, struct creto_error *err)
{
        struct creto_runtime *rt = calloc(1, sizeof(*rt));
        struct err e;
        int r = rt ? remote_new(host, api_key, &rt->remote, &e) : err_set(&e, ERR_RESOURCE_EXHAUSTED, 0, "out of memory");

        if (r < 0) {
                free(rt);
                return error_failed(err, &e);
        }
        rt->image_fd = rt->auth_fd = -1;
        *out = rt;
        return 0;
}

void creto_set_timeout(struct creto_runtime *rt, unsigned ms)
{
        if (rt->remote)
                rt->remote->timeout_ms = ms;
}

void creto_free(void *p)
{
        free(p);
}

int remote_needed(const struct creto_runtime *rt, const char *what, struct err *e)
{
        if (rt->remote)
                return 0;
        err_set(e, ERR_NOT_SUPPORTED, 0, "%s: not in embedded mode", what);
        return err_hint(e, "it needs a running service: creto_connect()");
}

int call_finish(struct call *c, struct creto_error *err, char **json)
{
        auto_doc doc = { 0 };
        struct err e;

        if (call_json(c, &doc, &e) < 0)
                return error_failed(err, &e);
        if (json)
                *json = doc_take(&doc);
        return 0;
}
