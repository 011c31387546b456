/*
 * Files of a sandbox of a service, streamed through descriptors.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "api/libcreto/remote/call.h"

static int begin(struct call *c, struct creto_sandbox *sb, const char *method, const char *path, struct err *e)
{
        if (remote_needed(sb->rt, "files", e) < 0)
                return -(int)e->code;
        call_begin(c, sb->rt->remote, method, "/v1/sandboxes/");
        http_segment(&c->req, sb->id);
        http_path(&c->req, "/files");
        http_query(&c->req, "path", path);
        return 0;
}

static void get_entry(const struct json_node *n, struct creto_file *f)
{
        static const char *const types[] = { "file", "directory", "symlink", "other" };
        char text[32];
        uint64_t size;

        *f = (struct creto_file){ .type = CRETO_FILE_OTHER };
        doc_text(n, "name", f->name, sizeof(f->name));
        doc_text(n, "type", text, sizeof(text));
        for (unsigned i = 0; i < 4; i++)
                if (strcmp(types[i], text) == 0)
                        f->type = (enum creto_file_type)i;
        doc_text(n, "mode", text, sizeof(text));
        f->mode = (unsigned)strtoul(text, NULL, 8);
        f->size = json_u64(json_get(n, "size"), &size) ? size : 0;
}

static bool is_name(const char *name)
{
        return *name && !strchr(name, '/') && strcmp(name, ".") != 0 && strcmp(name, "..") != 0;
}

int creto_file_list(struct creto_sandbox *sb, const char *path, struct creto_file **out, size_t *count, struct creto_error *err)
{
        auto_doc doc = { 0 };
        struct call c;
        struct err e;
        size_t n = 0;

        if (begin(&c, sb, "GET", path, &e) < 0)
                return error_failed(err, &e);
        http_query(&c.req, "list", "true");
        if (call_json(&c, &doc, &e) < 0)
                return e.sys == 20 /* ENOTDIR */ ? 1 : error_failed(err, &e);
        const struct json_node *list = json_get(doc.root, "entries");
        struct creto_file *files = calloc(json_count(list) + 1, sizeof(*files));
        if (!files) {
                err_set(&e, ERR_RESOURCE_EXHAUSTED, 0, "out of memory");
                return error_failed(err, &e);
        }
        for (const struct json_node *m = json_first(list); m; m = json_next(list, m)) {
                get_entry(m, &files[n]);
                n += is_name(files[n].name); /* what is none comes from a sandbox that lies */
        }
        *out = files;
        *count = n;
        return 0;
}

int creto_file_get(struct creto_sandbox *sb, const char *path, int fd, unsigned *mode, struct creto_error *err)
{
        struct call c;
        struct err e;

        if (begin(&c, sb, "GET", path, &e) < 0 || call_start(&c, &e) < 0)
                return error_failed(err, &e);
        const char *type = http_find(&c.conn->res, "Content-Type");
        if (type && strncmp(type, "application/json", 16) == 0) {
                conn_close(c.conn);
                return 1;
        }
        if (mode)
                *mode = 0644;
        return call_copy_body(c.conn, fd, &e) < 0 ? error_failed(err, &e) : 0;
}

static int put(struct creto_sandbox *sb, const char *path, unsigned mode, int fd, bool directory, struct creto_error *err)
{
        auto_doc doc = { 0 };
        char text[16];
        struct call c;
        struct err e;

        if (begin(&c, sb, "PUT", path, &e) < 0)
                return error_failed(err, &e);
        snprintf(text, sizeof(text), "%04o", mode & 0777);
        http_query(&c.req, "mode", text);
        if (directory)
                http_query(&c.req, "directory", "true");
        c.has_body_fd = !directory;
        c.body_fd = fd;
        c.content_type = "application/octet-stream";
        return call_json(&c, &doc, &e) < 0 ? error_failed(err, &e) : 0;
}

int creto_file_put(struct creto_sandbox *sb, const char *path, unsigned mode, int fd, struct creto_error *err)
{
        return put(sb, path, mode, fd, false, err);
}

int creto_file_mkdir(struct creto_sandbox *sb, const char *path, unsigned mode, struct creto_error *err)
{
        return put(sb, path, mode, -1, true, err);
}

int creto_file_remove(struct creto_sandbox *sb, const char *path, int recursive, struct creto_error *err)
{
        auto_doc doc = { 0 };
        struct call c;
        struct err e;

        if (begin(&c, sb, "DELETE", path, &e) < 0)
                return error_failed(err, &e);
        if (recursive)
                http_query(&c.req, "recursive", "true");
        return call_json(&c, &doc, &e) < 0 ? error_failed(err, &e) : 0;
}
