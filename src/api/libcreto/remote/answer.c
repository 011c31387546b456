/*
 * What an answer says: JSON into nodes, and the error object of the API into an error of ours.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "api/libcreto/remote/call.h"

enum { NODES_FIRST = 256, NODES_MAX = 8 * 1024 * 1024 };

void doc_free(struct doc *doc)
{
        free(doc->text);
        free(doc->nodes);
        *doc = (struct doc){ 0 };
}

char *doc_take(struct doc *doc)
{
        char *text = doc->text;

        doc->text = NULL;
        doc_free(doc);
        return text;
}

int doc_parse(struct doc *doc, char *text, size_t len, struct err *e)
{
        struct json_fault fault;
        int n = JSON_MORE_NODES;

        *doc = (struct doc){ .text = text, .len = len };
        for (size_t cap = NODES_FIRST; n == JSON_MORE_NODES && cap <= NODES_MAX; cap *= 4) {
                struct json_node *nodes = realloc(doc->nodes, cap * sizeof(*nodes));

                if (!nodes) {
                        doc_free(doc);
                        return err_set(e, ERR_RESOURCE_EXHAUSTED, 0, "out of memory");
                }
                doc->nodes = nodes;
                n = json_parse(text, len, nodes, cap, &fault);
        }
        if (n > 0) {
                doc->root = doc->nodes;
                return 0;
        }
        doc_free(doc);
        return err_set(e, ERR_BACKEND_UNAVAILABLE, 0, "the answer is not JSON: byte %zu: %s", fault.at, fault.why);
}

void text_tame(char *s)
{
        for (; *s; s++) {
                unsigned char c = (unsigned char)*s;
                bool c1 = c == 0xc2 && (unsigned char)s[1] >= 0x80 && (unsigned char)s[1] < 0xa0;

                if (c < 0x20 || c == 0x7f || c1)
                        *s = ' ';
                if (c1)
                        *++s = ' ';
        }
}

void doc_text(const struct json_node *object, const char *key, char *out, size_t cap)
{
        const struct json_node *n = json_get(object, key);
        size_t len = 0;

        out[0] = '\0';
        if (json_str(n, out, cap)) {
                text_tame(out);
                return;
        }
        if (!json_str_len(n, &len) || len < cap)
                return;
        char *whole = malloc(len + 1);
        if (whole && json_str(n, whole, len + 1)) {
                snprintf(out, cap, "%s", whole);
                text_tame(out);
        }
        free(whole);
}

int64_t doc_time(const struct json_node *object, const char *key)
{
        char text[40];
        struct tm tm = { 0 };
        unsigned ms = 0;

        doc_text(object, key, text, sizeof(text));
        const char *rest = strptime(text, "%Y-%m-%dT%H:%M:%S", &tm);
        if (!rest)
                return 0;
        sscanf(rest, ".%3u", &ms);
        return (int64_t)timegm(&tm) * 1000 + ms;
}

/* ---- errors ---- */

static enum err_code code_named(const char *name)
{
        for (int i = 1; i < ERR_CODE_COUNT; i++)
                if (strcmp(err_code_name((enum err_code)i), name) == 0)
                        return (enum err_code)i;
        return ERR_NONE;
}

static enum err_code code_of_status(int status)
{
        static const enum err_code plain[] = { ERR_UNAUTHENTICATED, ERR_AUTHORIZATION_DENIED, ERR_RATE_LIMITED, ERR_TIMEOUT,
                                               ERR_NOT_SUPPORTED };

        for (size_t i = 0; i < sizeof(plain) / sizeof(plain[0]); i++)
                if (err_code_http(plain[i]) == status)
                        return plain[i];
        return status / 100 == 4 ? ERR_INVALID_SPEC : ERR_BACKEND_UNAVAILABLE;
}

/* Where several fields are wrong, all of them are named. */
static void name_fields(const struct json_node *fields, struct err *e)
{
        size_t at = 0;

        if (json_count(fields) < 2)
                return;
        at = (size_t)snprintf(e->msg, sizeof(e->msg), "%u fields are wrong:", json_count(fields));
        for (const struct json_node *f = json_first(fields); f && at < sizeof(e->msg); f = json_next(fields, f)) {
                char field[128], message[200];

                doc_text(f, "field", field, sizeof(field));
                doc_text(f, "message", message, sizeof(message));
                at += (size_t)snprintf(e->msg + at, sizeof(e->msg) - at, "%s %s %s", f == json_first(fields) ? "" : ";", field, message);
        }
}

int answer_error(int status, const struct json_node *root, const char *host, struct err *e)
{
        const struct json_node *error = json_get(root, "error"), *details = json_get(error, "details");
        char name[64], id[80];
        int64_t number;

        doc_text(error, "code", name, sizeof(name));
        enum err_code code = code_named(name);
        if (code == ERR_NONE) {
                err_set(e, code_of_status(status), 0, "what answers at %s says %d, and nothing that creto-runtime would say", host, status);
                return err_hint(e, "is it creto-runtime that listens there, of the same version?");
        }
        err_set(e, code, 0, "%s", "");
        doc_text(error, "message", e->msg, sizeof(e->msg));
        doc_text(error, "hint", e->hint, sizeof(e->hint));
        doc_text(error, "requestId", id, sizeof(id));
        if (json_i64(json_get(details, "errno"), &number) && number > 0 && number < 4096)
                e->sys = (int)number;
        name_fields(json_get(details, "fields"), e);
        if (!e->msg[0])
                snprintf(e->msg, sizeof(e->msg), "%s", err_code_text(code));
        if (!e->hint[0] && code == ERR_UNAUTHENTICATED)
                err_hint(e, "name an API key with --api-key or CRETO_RUNTIME_API_KEY");
        if (!e->hint[0] && code == ERR_INTERNAL_ERROR && id[0])
                err_hint(e, "the service's log has it under request %s", id);
        return -(int)code;
}
