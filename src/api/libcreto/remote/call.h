/*
 * One question to the service and its answer: the request is written onto `req` in the order of wire/http.h up to its last query, the rest is done here.
 *
 *      struct call c;
 *      call_begin(&c, rm, "GET", "/v1/sandboxes/");
 *      http_segment(&c.req, id);
 *      r = call_json(&c, &doc, e);
 *
 * A failure of the service's is an error of ours with its code, message and hint, and its text is made harmless for a terminal.
 */
#pragma once

#include "api/libcreto/remote/remote.h"
#include "base/text.h"
#include "wire/json.h"

enum {
        CALL_ANSWER_MAX = 32 * 1024 * 1024, /* of a JSON answer */
        CALL_ERROR_MAX = 256 * 1024,
        CALL_LONG_MS = 10 * 60 * 1000, /* where the service has to wait itself: pulling an image, taking a sandbox down */
};

/* Points into itself: not to be copied. */
struct call {
        struct remote *rm;
        struct conn *conn; /* the one of `rm`, unless somebody says another */
        struct wbuf head;
        struct http_request req;
        bool post;  /* own: a POST says its length, even where it is 0 */
        bool again; /* may be sent a second time where the connection ended before the answer */
        bool may_upgrade;
        unsigned timeout_ms; /* 0: the usual */
        /* headers, or NULL */
        const char *accept, *idempotency_key, *last_event_id, *content_type, *websocket_key;
        /* the body: JSON, or a descriptor that is read to its end, or nothing */
        const struct wbuf *body;
        int body_fd;
        bool has_body_fd;
        bool finished; /* own */
};

/* GET, PUT and DELETE may be sent again. */
void call_begin(struct call *c, struct remote *rm, const char *method, const char *path);

/* Sends it and reads the head of a good answer; the body is then the caller's to read (conn_piece). Whoever does not read all of it closes. Ends the call. */
int call_start(struct call *c, struct err *e);

/* The whole of a JSON answer, or of one without a body (then doc->root is NULL). Ends the call. */
struct doc {
        char *text;
        size_t len;
        struct json_node *nodes;
        const struct json_node *root;
};

int call_json(struct call *c, struct doc *doc, struct err *e);
void doc_free(struct doc *doc);
#define auto_doc __attribute__((cleanup(doc_free))) struct doc

/* A list that comes in pages. */
struct pages {
        struct remote *rm;
        const char *name;                                                    /* of the array: "sandboxes" */
        size_t size;                                                         /* of an item */
        void (*take)(const struct json_node *n, void *item);                 /* writes one */
        void (*begin)(struct call *c, const struct pages *p, size_t so_far); /* the question for the next page, but for its cursor */
        size_t limit;                                                        /* 0: all of them */
        const void *query;                                                   /* for begin */
};

/* Items in *out, for free(); unless `json` is NULL all that the service said of them as one page, {"sandboxes":[…],"nextCursor":null}. */
int call_pages(const struct pages *p, void **out, size_t *count, char **json, struct err *e);

/* Takes `text`, from malloc(). */
int doc_parse(struct doc *doc, char *text, size_t len, struct err *e);

/* Gives the text away, with a NUL behind it. */
char *doc_take(struct doc *doc);

/* The error object of an answer with this status, or what can be said without one. */
int answer_error(int status, const struct json_node *root, const char *host, struct err *e);

/* Copies the string at `key`, cut to fit; empty where there is none. Control characters become blanks. */
void doc_text(const struct json_node *object, const char *key, char *out, size_t cap);

/* RFC 3339 in UTC, to ms since 1970; 0 where there is none. */
int64_t doc_time(const struct json_node *object, const char *key);

/* Control characters become blanks. */
void text_tame(char *s);

/* Writes the rest of the body to `fd`. */
int call_copy_body(struct conn *conn, int fd, struct err *e);
