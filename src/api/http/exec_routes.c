/*
 * Commands: run and answered whole, streamed as server-sent events, or left to be attached to.
 */
#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "api/http/run.h"

static void start(struct call *c)
{
        static const char *const known[] = { "command", "detach", NULL };
        struct sandbox *sb = call_claimed(c);
        const struct json_node *body = sb ? call_object(c, false) : NULL;
        struct run *u = body && call_known_fields(c, body, "", known) ? run_read(c, body) : NULL;

        if (!u)
                return;
        run_begin(u, sb);
        run_answer(u, sb, NULL);
}

/* ---- what is done with those that run ---- */

static void show_exec(struct call *c, int status, struct sandbox *sb, struct exec *x)
{
        struct wbuf w = text_new();
        struct json_put j = json_put_over(&w);

        put_exec(&j, sandbox_info(sb), exec_info(x));
        call_json(c, status, &w);
}

static void list(struct call *c)
{
        struct sandbox *sb = call_sandbox(c);
        struct wbuf w = text_new();
        struct json_put j = json_put_over(&w);

        if (!sb)
                return;
        json_put_object(&j);
        json_put_key(&j, "execs");
        json_put_array(&j);
        for (struct exec *x = sandbox_first_exec(sb); x; x = exec_next(x))
                put_exec(&j, sandbox_info(sb), exec_info(x));
        json_put_end(&j);
        json_put_end(&j);
        call_json(c, 200, &w);
}

static void get(struct call *c)
{
        struct sandbox *sb = call_sandbox(c);
        struct exec *x = sb ? call_exec(c, sb) : NULL;

        if (x)
                show_exec(c, 200, sb, x);
}

static void erase(struct call *c)
{
        struct sandbox *sb = call_sandbox(c);
        struct exec *x = sb ? call_exec(c, sb) : NULL;

        if (!x)
                return;
        exec_release(x);
        call_empty(c);
}

static void send_signal(struct call *c)
{
        static const char *const known[] = { "signal", "group", NULL };
        struct sandbox *sb = call_sandbox(c);
        struct exec *x = sb ? call_exec(c, sb) : NULL;
        const struct json_node *body = x ? call_object(c, false) : NULL, *group;
        uint64_t number;
        bool whole = true;

        if (!body || !call_known_fields(c, body, "", known))
                return;
        if (!json_u64(json_get(body, "signal"), &number) || number < 1 || number > 64) {
                call_bad_field(c, "signal", "must be a number from 1 to 64");
                return;
        }
        group = json_get(body, "group");
        if (group && !json_is_null(group) && !json_bool(group, &whole)) {
                call_bad_field(c, "group", "must be true or false");
                return;
        }
        exec_signal(x, (int)number, whole);
        call_empty(c);
}

static void attach(struct call *c)
{
        struct sandbox *sb = call_sandbox(c);
        struct exec *x = sb ? call_exec(c, sb) : NULL;
        uint64_t out = 0, error = 0;
        const char *upgrade = request_header(c->request, "Upgrade");
        struct err e;

        if (!x || !call_query_u64(c, "stdoutOffset", UINT64_MAX - 1, &out) || !call_query_u64(c, "stderrOffset", UINT64_MAX - 1, &error))
                return;
        if (upgrade && strcasecmp(upgrade, "websocket") == 0) {
                websocket_attach(c, x, out, error);
                return;
        }
        if (!run_wants_events(c)) {
                err_set(&e, ERR_INVALID_SPEC, 0, "attach needs 'Upgrade: websocket' or 'Accept: text/event-stream'");
                err_hint(&e, "creto-runtime exec does it");
                call_error(c, &e);
                return;
        }
        run_follow(c, x, out, error);
}

static const char *const offsets[] = { "stdoutOffset", "stderrOffset", NULL };

const struct route exec_routes[] = {
        { "POST", "/v1/sandboxes/{id}/exec", ROLE_AGENT, ROUTE_BODY, start, NULL, NULL },
        { "GET", "/v1/sandboxes/{id}/exec", ROLE_AGENT, 0, list, NULL, NULL },
        { "GET", "/v1/sandboxes/{id}/exec/{execId}", ROLE_AGENT, 0, get, NULL, NULL },
        { "DELETE", "/v1/sandboxes/{id}/exec/{execId}", ROLE_AGENT, 0, erase, NULL, NULL },
        { "POST", "/v1/sandboxes/{id}/exec/{execId}/signal", ROLE_AGENT, ROUTE_BODY, send_signal, NULL, NULL },
        { "GET", "/v1/sandboxes/{id}/exec/{execId}/attach", ROLE_AGENT, 0, attach, NULL, offsets },
        { NULL, NULL, ROLE_NONE, 0, NULL, NULL, NULL },
};
