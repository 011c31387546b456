#include "api/libcreto/remote/call.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/fd.h"

enum { PIECE = 64 * 1024, CHUNK_ROOM = PIECE + 32 };

void call_begin(struct call *c, struct remote *rm, const char *method, const char *path)
{
        bool post = strcmp(method, "POST") == 0;

        *c = (struct call){ .rm = rm, .conn = rm->conn, .head = text_new(), .post = post, .again = !post };
        http_begin(&c->req, &c->head, method);
        http_path(&c->req, path);
}

/* ---- the request ---- */

static void put_header(struct call *c, const char *name, const char *value)
{
        if (value)
                http_header(&c->req, name, value);
}

/* Bytes from the present offset to the end of a regular file; -1 for everything else. */
static int64_t fd_size(int fd)
{
        struct stat st;
        off_t at = lseek(fd, 0, SEEK_CUR);

        if (fstat(fd, &st) < 0 || !S_ISREG(st.st_mode) || at < 0 || st.st_size < at)
                return -1;
        return st.st_size - at;
}

static int finish_head(struct call *c, int64_t fd_len, struct err *e)
{
        http_host(&c->req, c->rm->host.http_host);
        put_header(c, "User-Agent", "creto-runtime/" CRETO_VERSION);
        put_header(c, "X-API-Key", c->rm->api_key);
        put_header(c, "Accept", c->accept);
        put_header(c, "Idempotency-Key", c->idempotency_key);
        put_header(c, "Last-Event-ID", c->last_event_id);
        if (c->websocket_key) {
                put_header(c, "Upgrade", "websocket");
                put_header(c, "Connection", "Upgrade");
                put_header(c, "Sec-WebSocket-Version", "13");
                put_header(c, "Sec-WebSocket-Key", c->websocket_key);
                put_header(c, "Sec-WebSocket-Protocol", "v5.channel.k8s.io");
        }
        if (c->body || c->has_body_fd)
                put_header(c, "Content-Type", c->content_type ? c->content_type : "application/json");
        if (c->has_body_fd && fd_len < 0)
                http_chunked(&c->req);
        else if (c->body || c->has_body_fd)
                http_length(&c->req, c->body ? c->body->len : (uint64_t)fd_len);
        else if (c->post)
                http_length(&c->req, 0);
        http_end(&c->req);
        if (!c->head.bad && !(c->body && c->body->bad))
                return 0;
        return err_set(e, ERR_INVALID_SPEC, 0,
                       "the request cannot be sent: it is too long, or the API key or a name in it has control characters");
}

/* The body from a descriptor, in chunks where nobody knows its length before. Returns as conn_write(). */
static int send_fd(struct call *c, int64_t left, struct err *e)
{
        bool chunked = left < 0;
        char *data = malloc(PIECE), *framed = malloc(CHUNK_ROOM);
        int r = data && framed ? 0 : err_set(e, ERR_RESOURCE_EXHAUSTED, 0, "out of memory");

        while (r == 0 && left != 0) {
                ssize_t n = read(c->body_fd, data, chunked || left > PIECE ? PIECE : (size_t)left);
                struct wbuf w = wbuf_over(framed, CHUNK_ROOM);

                if (n < 0 && errno == EINTR)
                        continue;
                if (n < 0 || (n == 0 && !chunked)) {
                        r = n < 0 ? err_sys(e, "cannot read what is to be sent")
                                  : err_set(e, ERR_INVALID_SPEC, 0, "the file became shorter while it was sent");
                        break;
                }
                if (chunked && n > 0)
                        http_chunk(&w, data, (size_t)n);
                else if (chunked)
                        http_chunk_last(&w);
                r = chunked ? conn_write(c->conn, framed, w.len, e) : conn_write(c->conn, data, (size_t)n, e);
                left -= chunked ? 0 : n;
                if (n == 0)
                        break;
        }
        free(data);
        free(framed);
        return r;
}

static int send_all(struct call *c, int64_t fd_len, bool *early, struct err *e)
{
        int r = conn_write(c->conn, c->head.data, c->head.len, e);

        if (r == 0 && c->body)
                r = conn_write(c->conn, c->body->data, c->body->len, e);
        if (r == 0 && c->has_body_fd)
                r = send_fd(c, fd_len, e);
        *early = r == 1;
        return r < 0 ? r : 0;
}

/* ---- the answer ---- */

static int read_body(struct conn *conn, size_t max, struct wbuf *out, struct err *e)
{
        struct bytes piece;
        int r;

        while ((r = conn_piece(conn, &piece, e)) > 0) {
                if (out->len + piece.len > max)
                        return err_set(e, ERR_BACKEND_UNAVAILABLE, 0, "creto-runtime at %s answered with more than %zu bytes",
                                       conn->host->text, max);
                wbuf_bytes(out, piece.data, piece.len);
        }
        if (r == 0 && out->bad)
                return err_set(e, ERR_RESOURCE_EXHAUSTED, 0, "out of memory");
        return r;
}

/* The answer is an error; it is read to its end, so that the connection can be used again. */
static int read_error(struct call *c, struct err *e)
{
        auto_text text = text_new();
        struct err ignored;
        size_t len;
        auto_doc doc = { 0 };
        int status = c->conn->res.status;
        bool whole = read_body(c->conn, CALL_ERROR_MAX, &text, &ignored) == 0;

        if (!whole)
                conn_close(c->conn);
        char *copy = whole ? text_take(&text, &len) : NULL;
        if (copy && doc_parse(&doc, copy, len, &ignored) < 0)
                doc.root = NULL;
        return answer_error(status, doc.root, c->rm->host.text, e);
}

static int try_once(struct call *c, int64_t fd_len, struct err *e)
{
        bool early = false;
        int r = conn_open(c->conn, e);

        if (r == 0)
                r = send_all(c, fd_len, &early, e);
        if (r == 0)
                r = conn_head(c->conn, c->may_upgrade, e);
        if (r == 0 && early)
                c->conn->res.close = true;
        return r;
}

/* Sends it, a second time where that does no harm; on success the head of an answer is there, good or not. */
static int exchange(struct call *c, struct err *e)
{
        int64_t fd_len = c->has_body_fd ? fd_size(c->body_fd) : -1;

        c->conn->timeout_ms = c->rm->timeout_ms ? c->rm->timeout_ms : c->timeout_ms ? c->timeout_ms : CONN_TIMEOUT_MS;
        if (!c->finished && finish_head(c, fd_len, e) < 0)
                return -(int)e->code;
        c->finished = true;
        c->conn->lost = false;
        int r = try_once(c, fd_len, e);
        if (r < 0 && c->conn->lost && c->conn->silent && c->again && !c->has_body_fd) {
                conn_close(c->conn);
                r = try_once(c, fd_len, e);
        }
        if (r < 0)
                conn_close(c->conn);
        return r;
}

static bool is_good(const struct call *c)
{
        int status = c->conn->res.status;

        return status / 100 == 2 || (status == 101 && c->may_upgrade);
}

int call_start(struct call *c, struct err *e)
{
        int r = exchange(c, e);

        if (r == 0 && !is_good(c))
                r = read_error(c, e);
        text_free(&c->head);
        return r;
}

static int json_once(struct call *c, struct wbuf *text, struct err *e)
{
        int r = exchange(c, e);

        if (r == 0 && !is_good(c))
                return read_error(c, e);
        if (r == 0)
                r = read_body(c->conn, CALL_ANSWER_MAX, text, e);
        if (r < 0)
                conn_close(c->conn);
        return r;
}

int call_json(struct call *c, struct doc *doc, struct err *e)
{
        auto_text text = text_new();
        size_t len;

        *doc = (struct doc){ 0 };
        int r = json_once(c, &text, e);
        if (r < 0 && c->conn->lost && !c->conn->silent && c->again && !c->has_body_fd) { /* in the middle of the answer */
                text_free(&text);
                text = text_new();
                r = json_once(c, &text, e);
        }
        text_free(&c->head);
        if (r < 0 || text.len == 0)
                return r;
        char *copy = text_take(&text, &len);
        if (!copy)
                return err_set(e, ERR_RESOURCE_EXHAUSTED, 0, "out of memory");
        r = doc_parse(doc, copy, len, e);
        return r < 0 ? err_wrap(e, "creto-runtime at %s", c->rm->host.text) : 0;
}

/* Appends one page to what there is. */
static int take_page(const struct pages *p, const struct doc *doc, char **all, size_t *count, struct wbuf *json, struct err *e)
{
        const struct json_node *list = json_get(doc->root, p->name);
        char *grown = realloc(*all, (*count + json_count(list) + 1) * p->size);

        if (!grown)
                return err_set(e, ERR_RESOURCE_EXHAUSTED, 0, "out of memory");
        *all = grown;
        for (const struct json_node *m = json_first(list); m; m = json_next(list, m)) {
                wbuf_bytes(json, ",", *count > 0);
                wbuf_bytes(json, m->text, m->len);
                p->take(m, grown + (*count)++ * p->size);
        }
        return 0;
}

int call_pages(const struct pages *p, void **out, size_t *count, char **json, struct err *e)
{
        auto_text text = text_new();
        char cursor[64] = "", *all = NULL;
        size_t n = 0, len;
        int r;

        text_printf(&text, "{\"%s\":[", p->name);
        do {
                auto_doc doc = { 0 };
                struct call c;

                p->begin(&c, p, n);
                if (cursor[0])
                        http_query(&c.req, "cursor", cursor);
                r = call_json(&c, &doc, e);
                if (r == 0)
                        r = take_page(p, &doc, &all, &n, &text, e);
                doc_text(doc.root, "nextCursor", cursor, sizeof(cursor));
        } while (r == 0 && cursor[0] && (p->limit == 0 || n < p->limit));
        if (r < 0) {
                free(all);
                return r;
        }
        text_printf(&text, "],\"nextCursor\":null}\n");
        if (json)
                *json = text_take(&text, &len);
        *out = all;
        *count = n;
        return 0;
}

int call_copy_body(struct conn *conn, int fd, struct err *e)
{
        struct bytes piece;
        int r;

        while ((r = conn_piece(conn, &piece, e)) > 0)
                if (fd_write_all(fd, piece.data, piece.len) < 0) {
                        r = err_set(e, errno == ENOSPC || errno == EDQUOT ? ERR_RESOURCE_EXHAUSTED : ERR_INTERNAL_ERROR, errno,
                                    "cannot write");
                        break;
                }
        if (r < 0)
                conn_close(conn);
        return r;
}
