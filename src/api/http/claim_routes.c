/*
 * A sandbox out of a pool, and back: what a claim binds, read into a struct claim_request.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "api/http/run.h"
#include "base/str.h"

enum { PATH_MAX_BYTES = 4095, MODE_DEFAULT = 0644 };

/* Strings of the spec and data of the files lie in a memory each; what the body has is enough for both. */
struct reading {
        struct spec_faults faults;
        struct spec spec;
        struct claim_file files[CLAIM_FILES_MAX];
        size_t file_count, file_bytes;
        char *at; /* where data of files goes */
        size_t left;
        char runtime[64]; /* "": whichever the pool has */
        bool fallback;
};

/* ---- files ---- */

static bool read_mode(struct reading *r, const char *field, const struct json_node *v, unsigned *mode)
{
        char text[8];

        *mode = MODE_DEFAULT;
        if (!v || json_is_null(v))
                return true;
        size_t n = json_str(v, text, sizeof(text)) ? strspn(text, "01234567") : 0;
        if (n > 0 && n <= 5 && text[n] == '\0' && strtoul(text, NULL, 8) <= 0777) {
                *mode = (unsigned)strtoul(text, NULL, 8);
                return true;
        }
        spec_fault(&r->faults, field, "must be a string of octal digits, from \"0\" to \"0777\"");
        return false;
}

static void keep(struct reading *r, size_t used)
{
        r->at += used;
        r->left -= used;
}

static bool read_path(struct reading *r, const char *field, const struct json_node *v, const char **path)
{
        *path = r->at;
        if (!json_str(v, r->at, r->left) || r->at[0] != '/' || strlen(r->at) > PATH_MAX_BYTES) {
                spec_fault(&r->faults, field, "must be an absolute path of at most %d bytes", PATH_MAX_BYTES);
                return false;
        }
        keep(r, strlen(r->at) + 1);
        return true;
}

static bool read_data(struct reading *r, const char *where, const struct json_node *file, struct claim_file *f)
{
        const struct json_node *content = json_get(file, "content"), *text = json_get(file, "text");
        char field[SPEC_FIELD_MAX];
        size_t len;

        if (json_is_null(content))
                content = NULL;
        if (json_is_null(text))
                text = NULL;
        if (!content == !text) {
                spec_fault(&r->faults, where, "must have either content (base64) or text");
                return false;
        }
        f->data = r->at;
        snprintf(field, sizeof(field), "%s.%s", where, content ? "content" : "text");
        if (content && json_base64(content, r->at, r->left, &len)) {
                f->len = len;
                keep(r, len);
                return true;
        }
        if (text && json_str_len(text, &len) && json_str(text, r->at, r->left)) {
                f->len = len;
                keep(r, len + 1);
                return true;
        }
        spec_fault(&r->faults, field, content ? "must be base64" : "must be a string without NUL");
        return false;
}

static void read_file(struct reading *r, const char *where, const struct json_node *file)
{
        static const char *const known[] = { "path", "content", "text", "mode", NULL };
        char field[SPEC_FIELD_MAX];
        struct claim_file f = { 0 };

        if (!json_is_object(file)) {
                spec_fault(&r->faults, where, "must be an object");
                return;
        }
        for (const struct json_node *m = json_first(file); m; m = json_next(file, m)) {
                unsigned i = 0;

                while (known[i] && !json_str_is(m, known[i]))
                        i++;
                snprintf(field, sizeof(field), "%s.%.*s", where, m->len < 40 ? (int)m->len : 40, m->text);
                if (!known[i])
                        spec_fault(&r->faults, field, "there is no such field");
        }
        snprintf(field, sizeof(field), "%s.path", where);
        bool good = read_path(r, field, json_get(file, "path"), &f.path);
        snprintf(field, sizeof(field), "%s.mode", where);
        good = read_mode(r, field, json_get(file, "mode"), &f.mode) && good;
        if (!read_data(r, where, file, &f) || !good)
                return;
        r->files[r->file_count++] = f;
        r->file_bytes += f.len;
}

static void read_files(struct reading *r, const struct json_node *v)
{
        char where[32];
        unsigned i = 0;

        if (!v || json_is_null(v))
                return;
        if (!json_is_array(v) || json_count(v) > CLAIM_FILES_MAX) {
                spec_fault(&r->faults, "files", "must be an array of at most %d files", CLAIM_FILES_MAX);
                return;
        }
        for (const struct json_node *m = json_first(v); m; m = json_next(v, m)) {
                snprintf(where, sizeof(where), "files[%u]", i++);
                read_file(r, where, m);
        }
        if (r->file_bytes > CLAIM_FILES_BYTES_MAX)
                spec_fault(&r->faults, "files", "have %zu bytes in all; at most %d are taken", r->file_bytes, CLAIM_FILES_BYTES_MAX);
}

/* ---- the rest of a claim ---- */

static void read_runtime(struct reading *r, const struct json_node *body)
{
        static const char *const names[] = { "runtimeClass", "secureRuntime" };

        for (unsigned i = 0; i < 2; i++) {
                const struct json_node *v = json_get(body, names[i]);

                if (v && !json_is_null(v) && !json_str(v, r->runtime, sizeof(r->runtime)))
                        spec_fault(&r->faults, names[i], "must be the name of a runtime class");
        }
        if (strcmp(r->runtime, CLASS_AUTO) == 0)
                r->runtime[0] = '\0';
}

/* All of the body, whatever is wrong with it. */
static int read_claim(struct reading *r, const struct json_node *body, char *arena, size_t cap, struct err *e)
{
        static const char *const spec_fields[] = { "agentNhi",
                                                   "delegationChain",
                                                   "env",
                                                   "secrets",
                                                   "labels",
                                                   "networkPolicy",
                                                   "resourceLimits",
                                                   "resources",
                                                   "ttlSeconds",
                                                   "idleTimeoutSeconds",
                                                   NULL },
                                 *const own[] = { "runtimeClass", "secureRuntime", "files", "fallback", "command", "detach", NULL };
        static const struct spec_place place = { "", spec_fields, own };
        const struct json_node *fallback = json_get(body, "fallback");

        spec_init(&r->spec);
        r->faults.count = 0;
        r->file_count = r->file_bytes = 0;
        r->runtime[0] = '\0';
        r->at = arena + cap;
        r->left = cap;
        r->fallback = true;
        int result = spec_json_read_at(&place, body, &r->spec, arena, cap, &r->faults, e);
        read_runtime(r, body);
        read_files(r, json_get(body, "files"));
        if (fallback && !json_is_null(fallback) && !json_bool(fallback, &r->fallback))
                spec_fault(&r->faults, "fallback", "must be true or false");
        if (result == 0 && r->faults.count > 0)
                result = spec_faults_err(&r->faults, false, e);
        return result;
}

static int check_runtime(const struct reading *r, const char *pool, const char *runtime, struct err *e)
{
        if (!r->runtime[0] || strcmp(r->runtime, runtime) == 0)
                return 0;
        err_set(e, ERR_SANDBOX_NOT_READY, 0, "pool '%s' is of the runtime class '%s', not '%s'", pool, runtime, r->runtime);
        return err_hint(e, "leave runtimeClass out, or claim from a pool of that class");
}

static void put_claim(struct wbuf *w, const struct sandbox *sb, bool from_pool, uint64_t us)
{
        struct json_put j = json_put_over(w);

        json_put_object(&j);
        put_text(&j, "sandboxId", sandbox_info(sb)->id);
        put_text(&j, "attestation", NULL);
        json_put_key(&j, "claimLatencyMs");
        json_put_double(&j, (double)us / 1000);
        json_put_key(&j, "fromPool");
        json_put_bool(&j, from_pool);
        json_put_end(&j);
}

static void answer(struct call *c, struct sandbox *sb, bool from_pool, uint64_t us)
{
        struct wbuf w = text_new();
        struct err e;
        size_t len;
        char *text;

        put_claim(&w, sb, from_pool, us);
        if (!c->own) {
                call_json(c, 200, &w);
        } else if ((text = text_take(&w, &len))) {
                run_answer(c->own, sb, text);
        } else {
                err_set(&e, ERR_RESOURCE_EXHAUSTED, 0, "out of memory");
                call_error(c, &e);
        }
}

static void on_claimed(void *ctx, struct sandbox *sb, bool from_pool, uint64_t us, const struct err *e)
{
        struct request *r = ctx;
        bool left = sb && request_left(r);

        if (!request_gone(r) && e) {
                if (e->code == ERR_NO_READY_SANDBOXES)
                        request_answer_header(r, "Retry-After", "1");
                call_error(call_of(r), e);
        } else if (!request_gone(r)) {
                answer(call_of(r), sb, from_pool, us);
        }
        if (left && !sandbox_has_key(sb)) /* nobody will ever know its id */
                sandbox_terminate(sb, NULL, NULL);
        request_unref(r);
}

static void begin_command(void *ctx, struct sandbox *sb)
{
        struct request *r = ctx;

        if (!request_gone(r))
                run_begin(call_of(r)->own, sb);
}

/* It is read before anything is claimed. False where it was answered that it cannot be had: with a key it would be begun twice, or not at all. */
static bool read_run(struct call *c, const struct json_node *body, const char *key)
{
        const struct json_node *command = json_get(body, "command"), *detach = json_get(body, "detach");
        bool detached = false;
        struct err e;

        if ((!command || json_is_null(command)) && (!detach || json_is_null(detach) || (json_bool(detach, &detached) && !detached)))
                return true;
        if (json_is_object(command) && (!json_get(command, "program") || json_is_null(json_get(command, "program")))) {
                call_bad_field(c, "command.program", "is needed: a claim is not given for nothing to run");
                return false;
        }
        if (!key)
                return run_read(c, body);
        err_set(&e, ERR_NOT_SUPPORTED, 0, "an Idempotency-Key is not taken with a command, which is begun once");
        err_hint(&e, "claim with the key, and exec in what was claimed");
        call_error(c, &e);
        return false;
}

static bool has_left(void *ctx)
{
        return request_left(ctx);
}

static void claim(struct call *c)
{
        static struct reading r; /* large, and set up again for each */
        struct pool *p = call_pool(c);
        const struct json_node *body = p ? call_object(c, true) : NULL;
        const struct bytes text = request_body(c->request);
        size_t cap = text.len + 1;
        const char *key;
        struct err e;

        if (!body || !call_idempotency_key(c, &key))
                return;
        char *arena = malloc(2 * cap);
        if (!arena) {
                err_set(&e, ERR_RESOURCE_EXHAUSTED, 0, "out of memory");
                call_error(c, &e);
                return;
        }
        if (read_claim(&r, body, arena, cap, &e) < 0) {
                call_faults(c, &r.faults, &e);
        } else if (check_runtime(&r, c->params[0], pool_runtime(p), &e) < 0 || call_check_env(&r.spec, &e) < 0) {
                call_error(c, &e);
        } else if (read_run(c, body, key)) {
                const struct claim_request req = {
                        .owner = c->who.name,
                        .request_id = request_id(c->request),
                        .key = key,
                        .asked = str_hash(STR_HASH, text.data, text.len) | 1,
                        .spec = &r.spec,
                        .files = r.files,
                        .file_count = r.file_count,
                        .fallback = r.fallback,
                        .left = has_left,
                        .along = c->own ? begin_command : NULL,
                };

                pool_claim(p, &req, on_claimed, request_ref(c->request));
        }
        free(arena);
}

/* ---- back ---- */

struct release {
        struct request *request;
        bool replaced;
};

static void on_released(void *ctx, struct sandbox *sb, const struct err *e)
{
        struct release *rel = ctx;
        struct request *r = rel->request;

        if (!request_gone(r) && e) {
                call_error(call_of(r), e);
        } else if (!request_gone(r)) {
                struct wbuf w = text_new();
                struct json_put j = json_put_over(&w);

                json_put_object(&j);
                put_text(&j, "sandboxId", sandbox_info(sb)->id);
                put_text(&j, "status", lifecycle_name(sandbox_info(sb)->state));
                json_put_key(&j, "replaced");
                json_put_bool(&j, rel->replaced);
                json_put_end(&j);
                call_json(call_of(r), 200, &w);
        }
        request_unref(r);
        free(rel);
}

static void release(struct call *c)
{
        struct pool *p = call_pool(c);
        const char *id = c->params[1];
        struct sandbox *sb = p && str_is_id(id, IPC_ID_MAX) ? sandboxes_find(c->api->config.sandboxes, id) : NULL;
        struct release *rel;
        struct err e;

        if (!p)
                return;
        if (!sb || !call_may_see(c, sb) || strcmp(sandbox_info(sb)->pool, c->params[0]) != 0) {
                err_set(&e, ERR_SANDBOX_NOT_FOUND, 0, "pool '%s' has given out no sandbox '%.64s'", c->params[0], id);
                err_hint(&e, "creto-runtime list --all");
                call_error(c, &e);
        } else if (!(rel = calloc(1, sizeof(*rel)))) {
                err_set(&e, ERR_RESOURCE_EXHAUSTED, 0, "out of memory");
                call_error(c, &e);
        } else {
                rel->request = request_ref(c->request);
                pool_release(p, sb, &rel->replaced, on_released, rel);
        }
}

const struct route claim_routes[] = {
        { "POST", "/v1/warm-pools/{id}/claim", ROLE_AGENT, ROUTE_BODY, claim, NULL, NULL },
        { "POST", "/v1/warm-pools/{id}/release/{sandboxId}", ROLE_AGENT, 0, release, NULL, NULL },
        { NULL, NULL, ROLE_NONE, 0, NULL, NULL, NULL },
};
