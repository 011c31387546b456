/*
 * Files of a sandbox: what creto-init does with them as the sandbox's user, streamed both ways. Nothing of a file is kept here but what is under way.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "api/http/routes.h"

enum { LIST_MAX = 16 * 1024 * 1024 };

struct file {
        struct request *request; /* borrowed: we are its context's */
        struct exec *x;
        struct exec_reader reader;
        enum guest_kind kind;
        struct sandbox *sb;
        const char *path; /* the request's */
        bool answered, input_over;
        struct wbuf out; /* a listing */
        uint64_t bytes;
        void (*over)(struct call *c, struct file *f);
};

static void file_free(void *own)
{
        struct file *f = own;

        if (f->x) {
                exec_detach(f->x, &f->reader);
                exec_release(f->x); /* whoever left an upload half done: it is killed, and the target stays as it was */
                exec_unref(f->x);
        }
        text_free(&f->out);
        free(f);
}

/* ---- how it ended ---- */

static void answer_trouble(struct call *c, const struct file *f)
{
        const struct exec_info *x = exec_info(f->x);
        int code = x->state == EXEC_EXITED && x->exit.signal == 0 ? x->exit.code : 0;
        char details[64];
        struct err e;

        if (x->state != EXEC_EXITED) {
                e = x->failure;
        } else if (code == 0) {
                err_set(&e, ERR_INTERNAL_ERROR, 0, "'%.200s': it was killed (signal %d)", f->path, x->exit.signal);
        } else {
                enum err_code as = code == EACCES || code == EPERM || code == EROFS                       ? ERR_AUTHORIZATION_DENIED
                                   : code == ENOSPC || code == EDQUOT || code == ENOMEM || code == EMFILE ? ERR_RESOURCE_EXHAUSTED
                                                                                                          : ERR_INVALID_SPEC;

                err_set(&e, as, code, "'%.200s'", f->path);
                if (code == ENOENT || code == ENOTDIR)
                        err_hint(&e, "paths are those inside the sandbox; list its directory with GET …/files?path=DIR");
        }
        snprintf(details, sizeof(details), "{\"errno\":%d}", code);
        call_error_details(c, &e, details);
}

static bool went_well(const struct file *f)
{
        const struct exec_info *x = exec_info(f->x);

        return x->state == EXEC_EXITED && x->exit.signal == 0 && x->exit.code == 0;
}

/* ---- starting ---- */

static struct file *file_new(struct call *c)
{
        struct sandbox *sb = call_claimed(c);
        struct file *f = sb ? calloc(1, sizeof(*f)) : NULL;

        if (!f)
                return NULL;
        *f = (struct file){ .request = c->request, .sb = sb, .path = request_query(c->request, "path"), .out = text_new() };
        call_own(c, f, file_free);
        if (f->path && f->path[0] == '/' && strlen(f->path) <= GUEST_PATH_MAX)
                return f;
        call_bad_field(c, "path", "must be an absolute path of at most %d bytes", GUEST_PATH_MAX);
        return NULL;
}

static void on_ready(void *ctx);

static bool file_start(struct call *c, struct file *f, enum guest_kind kind, const char *arg, const char *arg2)
{
        const char *argv[] = { f->path, arg, arg ? arg2 : NULL, NULL };
        const struct exec_request req = {
                .kind = kind, .argv = argv, .stdin_open = kind == GUEST_KIND_WRITE, .request_id = request_id(c->request)
        };
        struct err e;

        f->kind = kind;
        f->reader = (struct exec_reader){ on_ready, f };
        if (sandbox_exec(f->sb, &req, &f->x, &e) < 0) {
                call_error(c, &e);
                return false;
        }
        exec_attach(f->x, &f->reader, 0, 0);
        return true;
}

/* What is no content: the line on standard error, and a listing. */
static void collect(struct file *f, bool content_too)
{
        struct exec_piece p;

        while (exec_peek(f->x, &p)) {
                if (p.stream == 1 && !content_too)
                        return;
                if (p.stream == 1 && f->out.len + p.len <= LIST_MAX)
                        wbuf_bytes(&f->out, p.data, p.len);
                exec_advance(f->x, p.len);
        }
        exec_confirm(f->x);
}

static void on_ready(void *ctx)
{
        struct file *f = ctx;
        struct call *c = call_of(f->request);

        if (f->kind == GUEST_KIND_READ && f->answered) {
                request_wake(f->request);
                return;
        }
        collect(f, f->kind != GUEST_KIND_READ);
        if (f->kind == GUEST_KIND_WRITE && !f->input_over)
                request_wake(f->request);
        if (!f->answered && (exec_drained(f->x) || (f->kind == GUEST_KIND_READ && exec_info(f->x)->bytes[0] > 0))) {
                f->answered = true;
                f->over(c, f);
        }
}

/* ---- reading ---- */

static ssize_t read_content(struct request *r, uint8_t *out, size_t cap)
{
        struct file *f = call_of(r)->own;
        struct exec_piece p;
        size_t n = 0;

        exec_confirm(f->x);
        while (n < cap && exec_peek(f->x, &p)) {
                size_t len = p.stream == 1 ? p.len : 0;

                if (len > cap - n)
                        len = cap - n;
                memcpy(out + n, p.data, len);
                n += len;
                exec_advance(f->x, p.stream == 1 ? len : p.len);
        }
        if (n == 0 && exec_drained(f->x))
                return went_well(f) ? -1 : -2;
        return (ssize_t)n;
}

static void list_entries(struct call *c, struct file *f);

static void read_began(struct call *c, struct file *f)
{
        const struct exec_info *x = exec_info(f->x);

        if (x->bytes[0] > 0 || went_well(f)) {
                request_stream_out(c->request, 200, "application/octet-stream", read_content);
        } else if (x->state == EXEC_EXITED && x->exit.code == EISDIR) {
                exec_detach(f->x, &f->reader);
                exec_release(f->x);
                exec_unref(f->x);
                f->x = NULL;
                f->answered = false;
                f->over = list_entries;
                file_start(c, f, GUEST_KIND_LIST, NULL, NULL);
        } else {
                answer_trouble(c, f);
        }
}

/* ---- listing ---- */

/* "\xHH" back to a byte. Returns the length. */
static size_t unescape(char *s)
{
        char *to = s;

        for (const char *at = s; *at; at++) {
                if (at[0] == '\\' && at[1] == 'x' && at[2] && at[3]) {
                        const char hex[3] = { at[2], at[3], '\0' };

                        *to++ = (char)strtoul(hex, NULL, 16);
                        at += 3;
                } else {
                        *to++ = *at;
                }
        }
        *to = '\0';
        return (size_t)(to - s);
}

static void put_entry(struct json_put *j, char *line)
{
        char *field[8] = { 0 }, *save = NULL, mode[16];
        size_t n = 0;

        for (char *at = strtok_r(line, "\t", &save); at && n < 8; at = strtok_r(NULL, "\t", &save))
                field[n++] = at;
        if (n < 7)
                return;
        size_t len = unescape(field[6]);
        json_put_object(j);
        json_put_key(j, "name");
        json_put_string_len(j, field[6], len);
        put_text(j, "type", *field[0] == 'f' ? "file" : *field[0] == 'd' ? "directory" : *field[0] == 'l' ? "symlink" : "other");
        put_u64(j, "size", strtoull(field[4], NULL, 10));
        snprintf(mode, sizeof(mode), "%04lo", strtoul(field[1], NULL, 8) & 07777);
        put_text(j, "mode", mode);
        put_time(j, "mtime", strtoull(field[5], NULL, 10) * 1000);
        if (n == 8) {
                len = unescape(field[7]);
                json_put_key(j, "target");
                json_put_string_len(j, field[7], len);
        }
        json_put_end(j);
}

static void list_entries(struct call *c, struct file *f)
{
        struct wbuf w = text_new();
        struct json_put j = json_put_over(&w);
        char *save = NULL, *text;
        size_t len;

        if (!went_well(f)) {
                answer_trouble(c, f);
                return;
        }
        text = text_take(&f->out, &len);
        json_put_object(&j);
        put_text(&j, "path", f->path);
        json_put_key(&j, "entries");
        json_put_array(&j);
        for (char *line = text ? strtok_r(text, "\n", &save) : NULL; line; line = strtok_r(NULL, "\n", &save))
                put_entry(&j, line);
        json_put_end(&j);
        json_put_end(&j);
        free(text);
        call_json(c, 200, &w);
}

static void get(struct call *c)
{
        struct file *f = file_new(c);
        bool list = false;

        if (!f || !call_query_bool(c, "list", &list))
                return;
        f->over = list ? list_entries : read_began;
        file_start(c, f, list ? GUEST_KIND_LIST : GUEST_KIND_READ, NULL, NULL);
}

/* ---- writing ---- */

static ssize_t take_content(struct request *r, const void *data, size_t len)
{
        struct file *f = call_of(r)->own;
        const uint8_t *bytes = data;
        size_t taken = 0, room;

        if (f->answered)
                return -1;
        while (taken < len && (room = exec_room(f->x)) > 0) {
                size_t n = len - taken < room ? len - taken : room;

                exec_write(f->x, bytes + taken, n);
                taken += n;
        }
        f->bytes += taken;
        return (ssize_t)taken;
}

static void content_over(struct request *r)
{
        struct file *f = call_of(r)->own;

        f->input_over = true;
        exec_eof(f->x);
        on_ready(f);
}

static void written(struct call *c, struct file *f)
{
        struct wbuf w = text_new();
        struct json_put j = json_put_over(&w);

        if (!went_well(f)) {
                answer_trouble(c, f);
                return;
        }
        json_put_object(&j);
        put_text(&j, "path", f->path);
        put_u64(&j, "bytes", f->bytes);
        json_put_end(&j);
        call_json(c, 201, &w);
}

static bool is_mode(const char *mode)
{
        size_t n = strspn(mode, "01234567");

        return n > 0 && n <= 5 && mode[n] == '\0' && strtoul(mode, NULL, 8) <= 0777;
}

static void put(struct call *c)
{
        struct file *f = file_new(c);
        const char *mode = request_query(c->request, "mode");
        bool directory = false;
        struct err e;

        if (!f || !call_query_bool(c, "directory", &directory))
                return;
        if (mode && !is_mode(mode)) {
                call_bad_field(c, "mode", "must be octal, from 0 to 0777");
                return;
        }
        if (!c->api->settled) {
                err_set(&e, ERR_SANDBOX_NOT_READY, 0, "the service is taking over what was there before");
                err_hint(&e, "try again at once");
                call_error(c, &e);
                return;
        }
        f->over = written;
        if (directory ? file_start(c, f, GUEST_KIND_MKDIR, mode ? mode : "0755", "p")
                      : file_start(c, f, GUEST_KIND_WRITE, mode ? mode : "0644", NULL))
                request_stream_in(c->request, directory ? NULL : take_content, content_over);
}

static void removed(struct call *c, struct file *f)
{
        if (went_well(f))
                call_empty(c);
        else
                answer_trouble(c, f);
}

static void erase(struct call *c)
{
        struct file *f = file_new(c);
        bool recursive = false;

        if (!f || !call_query_bool(c, "recursive", &recursive))
                return;
        f->over = removed;
        file_start(c, f, GUEST_KIND_REMOVE, recursive ? "r" : NULL, NULL);
}

static const char *const get_query[] = { "path", "list", NULL }, *const put_query[] = { "path", "mode", "directory", NULL },
                         *const erase_query[] = { "path", "recursive", NULL };

const struct route file_routes[] = {
        { "GET", "/v1/sandboxes/{id}/files", ROLE_AGENT, 0, get, NULL, get_query },
        { "PUT", "/v1/sandboxes/{id}/files", ROLE_AGENT, 0, NULL, put, put_query },
        { "DELETE", "/v1/sandboxes/{id}/files", ROLE_AGENT, 0, erase, NULL, erase_query },
        { NULL, NULL, ROLE_NONE, 0, NULL, NULL, NULL },
};
