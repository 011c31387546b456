/*
 * The client's side of HTTP/1.1 (RFC 9112): heads of requests, responses, and server-sent events in their bodies.
 *
 * Pure: bytes to structs and back, no I/O, no allocation. Readers are fed whatever arrived, in pieces of any size, and say the same however it
 * was cut. A response that two readers could read as two things is refused: both framings or one of them twice, lengths that are not plain digits,
 * folded headers, blanks before a colon, a CR or an LF alone. What is refused stays refused: close the connection.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"

enum {
        HTTP_HEAD_MAX = 32 * 1024, /* bytes of status line and headers, line ends included */
        HTTP_HEADERS_MAX = 64,
        HTTP_INTERIM_MAX = 8,        /* 1xx responses before the one that counts */
        HTTP_CHUNK_DIGITS_MAX = 15,  /* of a chunk's size, so that no sum overflows */
        HTTP_CHUNK_LINE_MAX = 1024,  /* a chunk's size with its extensions, which are ignored */
        HTTP_TRAILER_MAX = 8 * 1024, /* trailers, which are ignored */
        HTTP_LENGTH_DIGITS_MAX = 18, /* of a Content-Length */
        SSE_EVENT_MAX = 64,          /* bytes of an event's name */
        SSE_ID_MAX = 64,             /* and of its id */
};

/* ---- requests ---- */

/*
 * In this order: begin; path and segment; query; host; header, and one of length and chunked where there is a body; end. Out of order, or with
 * bytes that would end a line or change what the request means, the wbuf becomes bad; so ask it once, at the end.
 */
struct http_request {
        struct wbuf *w;
        int stage;
        bool framed;
};

void http_begin(struct http_request *r, struct wbuf *w, const char *method);
void http_path(struct http_request *r, const char *path);     /* as it stands: `/`, letters, digits, `-._~` */
void http_segment(struct http_request *r, const char *value); /* one segment, percent-encoded; not empty, not `.`, not `..` */
void http_query(struct http_request *r, const char *name, const char *value); /* both percent-encoded */
void http_host(struct http_request *r, const char *host);
/* Any but Host, Content-Length and Transfer-Encoding. */
void http_header(struct http_request *r, const char *name, const char *value);
void http_length(struct http_request *r, uint64_t len);
void http_chunked(struct http_request *r);
void http_end(struct http_request *r);

/* Percent-encodes all but letters, digits and `-._~`. */
void http_escape(struct wbuf *w, const char *s);

/* A chunk (of 0 bytes: nothing at all), and what ends a chunked body. */
void http_chunk(struct wbuf *w, const void *data, size_t len);
static inline void http_chunk_last(struct wbuf *w)
{
        wbuf_bytes(w, "0\r\n\r\n", 5);
}

/* ---- responses ---- */

enum http_event {
        HTTP_BAD = -1, /* refused; see `why` */
        HTTP_MORE,     /* all was taken, and more is needed */
        HTTP_HEAD,     /* status and headers are there */
        HTTP_BODY,     /* a piece of the body */
        HTTP_DONE,     /* the response has ended; what was not taken follows it */
};

struct http_field {
        uint16_t name, value; /* where in `head`; both end with a NUL */
};

struct http_response {
        int status;
        bool may_upgrade; /* the request asked for another protocol: set it after http_response_init(), and 101 is a response like others, without a body */
        bool close;       /* the connection cannot be used again */
        bool until_close; /* the body ends with the connection */
        bool chunked;
        uint64_t length; /* Content-Length, or 0 */
        const char *why; /* HTTP_BAD: what is wrong */
        unsigned header_count;
        struct http_field headers[HTTP_HEADERS_MAX];
        /* the reader's own: */
        int state;
        bool no_body, old, has_length, has_encoding;
        unsigned interim;
        uint32_t line; /* where in `head` the line begins; later, how many bytes of a size line or of trailers there were */
        uint32_t head_len;
        uint64_t left;
        char head[HTTP_HEAD_MAX];
};

/* `head_only`: the request was a HEAD, so no body follows whatever the head says. */
void http_response_init(struct http_response *r, bool head_only);

/*
 * Reads from `data` up to one event, and says in *used how much it took. Call it again with the rest until HTTP_MORE, HTTP_DONE or HTTP_BAD, also
 * where no rest is left: an end may need no more bytes. For HTTP_BODY *piece points into `data`.
 */
enum http_event http_read(struct http_response *r, const void *data, size_t len, size_t *used, struct bytes *piece);

/* The connection has ended: HTTP_DONE where the response may end so, else HTTP_BAD. */
enum http_event http_eof(struct http_response *r);

/* The value of the first header of that name, in whatever case; NULL where there is none. */
const char *http_find(const struct http_response *r, const char *name);

/* ---- server-sent events ---- */

enum sse_event {
        SSE_BAD = -1, /* a NUL, or more than there is room for */
        SSE_MORE,     /* all was taken */
        SSE_EVENT,    /* `event`, `data` and `len` are there until the next call */
};

/* Lines end with LF, CR or both. Fields but event, data and id are ignored, comments too. An event without data is none. */
struct sse {
        char *data; /* the data lines, LF between them; ends with a NUL */
        size_t len;
        char event[SSE_EVENT_MAX + 1]; /* "message" where the stream names none */
        char id[SSE_ID_MAX + 1];       /* the last one that the stream named; may be empty */
        /* the reader's own: */
        size_t cap;
        int state;
        char field[12];
        size_t field_len, event_len, id_len;
        bool first, blank, after_cr, has_data, given;
};

/* `data` is lent for as long as *s is used; events of cap - 1 bytes fit. */
void sse_init(struct sse *s, void *data, size_t cap);

/* As http_read(): again with the rest, until SSE_MORE or SSE_BAD. What is unfinished when the stream ends is no event. */
enum sse_event sse_read(struct sse *s, const void *data, size_t len, size_t *used);
