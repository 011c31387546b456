#include "wire/http.h"

#include <stdio.h>
#include <string.h>

#include "base/str.h"

static bool is_alnum(uint8_t c)
{
        return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
}

/* What methods and names of headers are made of. */
static bool is_token(uint8_t c)
{
        return is_alnum(c) || (c && strchr("!#$%&'*+-.^_`|~", c));
}

/* What values of headers are made of. */
static bool is_text(uint8_t c)
{
        return c == '\t' || (c >= ' ' && c != 0x7f);
}

static bool is_unreserved(uint8_t c)
{
        return is_alnum(c) || (c && strchr("-._~", c));
}

static bool all(bool (*is)(uint8_t c), const char *s)
{
        for (; *s; s++)
                if (!is((uint8_t)*s))
                        return false;
        return true;
}

static uint8_t lower(uint8_t c)
{
        return c >= 'A' && c <= 'Z' ? c | 0x20 : c;
}

/* In whatever case, and whatever the locale takes that to be. The first n bytes of `a`; all of `b`. */
static bool same_n(const char *a, size_t n, const char *b)
{
        for (; n > 0 && *b; n--)
                if (lower((uint8_t)*a++) != lower((uint8_t)*b++))
                        return false;
        return n == 0 && *b == '\0';
}

static bool same(const char *a, const char *b)
{
        return same_n(a, strlen(a), b);
}

/* ---- requests ---- */

enum stage { STAGE_BEGIN, STAGE_PATH, STAGE_QUERY, STAGE_HEADERS, STAGE_END };

static void put(struct wbuf *w, const char *s)
{
        wbuf_bytes(w, s, strlen(s));
}

/* Goes on to `to`, which must be reached from one of `from` to itself. */
static bool enter(struct http_request *r, enum stage from, enum stage to, bool good)
{
        if (r->stage < (int)from || r->stage > (int)to || !good) {
                r->w->bad = true;
                return false;
        }
        r->stage = (int)to;
        return true;
}

void http_begin(struct http_request *r, struct wbuf *w, const char *method)
{
        *r = (struct http_request){ .w = w };
        if (!*method || !all(is_token, method))
                w->bad = true;
        put(w, method);
        put(w, " ");
}

static bool is_path(uint8_t c)
{
        return is_unreserved(c) || c == '/';
}

void http_path(struct http_request *r, const char *path)
{
        bool begins = r->stage != STAGE_BEGIN || *path == '/';

        if (enter(r, STAGE_BEGIN, STAGE_PATH, begins && all(is_path, path)))
                put(r->w, path);
}

void http_segment(struct http_request *r, const char *value)
{
        if (enter(r, STAGE_PATH, STAGE_PATH, *value && strcmp(value, ".") != 0 && strcmp(value, "..") != 0))
                http_escape(r->w, value);
}

void http_query(struct http_request *r, const char *name, const char *value)
{
        bool first = r->stage == STAGE_PATH;

        if (!enter(r, STAGE_PATH, STAGE_QUERY, *name))
                return;
        put(r->w, first ? "?" : "&");
        http_escape(r->w, name);
        put(r->w, "=");
        http_escape(r->w, value);
}

static void put_header(struct http_request *r, const char *name, const char *value)
{
        put(r->w, name);
        put(r->w, ": ");
        put(r->w, value);
        put(r->w, "\r\n");
}

static bool is_host(uint8_t c)
{
        return is_unreserved(c) || c == ':' || c == '[' || c == ']';
}

void http_host(struct http_request *r, const char *host)
{
        bool once = r->stage < STAGE_HEADERS;

        if (!enter(r, STAGE_PATH, STAGE_HEADERS, once && *host && all(is_host, host)))
                return;
        put(r->w, " HTTP/1.1\r\n");
        put_header(r, "Host", host);
}

void http_header(struct http_request *r, const char *name, const char *value)
{
        static const char *const own[] = { "Host", "Content-Length", "Transfer-Encoding" };
        bool good = *name && all(is_token, name) && all(is_text, value);

        for (size_t i = 0; i < sizeof(own) / sizeof(own[0]); i++)
                if (same(own[i], name))
                        good = false;
        if (enter(r, STAGE_HEADERS, STAGE_HEADERS, good))
                put_header(r, name, value);
}

static void frame(struct http_request *r, const char *name, const char *value)
{
        if (!enter(r, STAGE_HEADERS, STAGE_HEADERS, !r->framed))
                return;
        r->framed = true;
        put_header(r, name, value);
}

void http_length(struct http_request *r, uint64_t len)
{
        char text[24];

        snprintf(text, sizeof(text), "%llu", (unsigned long long)len);
        frame(r, "Content-Length", text);
}

void http_chunked(struct http_request *r)
{
        frame(r, "Transfer-Encoding", "chunked");
}

void http_end(struct http_request *r)
{
        if (enter(r, STAGE_HEADERS, STAGE_END, r->stage == STAGE_HEADERS))
                put(r->w, "\r\n");
}

void http_escape(struct wbuf *w, const char *s)
{
        for (; *s; s++) {
                uint8_t c = (uint8_t)*s;
                char text[4] = { *s };

                if (!is_unreserved(c))
                        snprintf(text, sizeof(text), "%%%02X", c);
                put(w, text);
        }
}

void http_chunk(struct wbuf *w, const void *data, size_t len)
{
        char size[24];

        if (len == 0)
                return; /* would be the last */
        snprintf(size, sizeof(size), "%zx\r\n", len);
        put(w, size);
        wbuf_bytes(w, data, len);
        put(w, "\r\n");
}

/* ---- responses: lines of the head ---- */

/* clang-format off */
enum state {
        LINE, LINE_LF,             /* in the head; after a CR */
        FIXED, ENDLESS,            /* in the body: `left` bytes of it; to the end of the connection */
        SIZE, EXTENSION, SIZE_LF,  /* of a chunk */
        CHUNK, CHUNK_CR, CHUNK_LF, /* `left` bytes of the body; after them */
        TRAILER, TRAILER_NAME, TRAILER_VALUE, TRAILER_LF, LAST_LF,
        DONE, BAD, STATES,
};
/* clang-format on */

static enum state bad(struct http_response *r, const char *why)
{
        r->why = why;
        r->close = true;
        return BAD;
}

static enum state status_line(struct http_response *r, char *line)
{
        uint64_t status;

        if (strncmp(line, "HTTP/1.1 ", 9) != 0 && strncmp(line, "HTTP/1.0 ", 9) != 0)
                return bad(r, "the status line is not one of HTTP/1.1");
        r->old = line[7] == '0';
        r->close = r->old;
        if (strlen(line) < 13 || line[12] != ' ')
                return bad(r, "the status is not three digits and a blank");
        line[12] = '\0';
        if (!str_parse_u64(line + 9, &status) || status < 100 || status > 599)
                return bad(r, "the status is not from 100 to 599");
        r->status = (int)status;
        return LINE;
}

/* Is `word` one of a list with commas? */
static bool lists(const char *list, const char *word)
{
        while (*list) {
                list += strspn(list, ", \t");
                size_t n = strcspn(list, ", \t");
                if (same_n(list, n, word))
                        return true;
                list += n;
        }
        return false;
}

/* What the framing depends on. */
static enum state heed(struct http_response *r, const char *name, const char *value)
{
        if (same(name, "Content-Length")) {
                if (r->has_length || strlen(value) > HTTP_LENGTH_DIGITS_MAX || !str_parse_u64(value, &r->length))
                        return bad(r, "the Content-Length is there twice, or not a number of at most 18 digits");
                r->has_length = true;
        } else if (same(name, "Transfer-Encoding")) {
                if (r->has_encoding || r->old || !same(value, "chunked"))
                        return bad(r, "the Transfer-Encoding is there twice, not chunked, or not of HTTP/1.1");
                r->has_encoding = true;
        } else if (same(name, "Connection") && lists(value, "close")) {
                r->close = true;
        }
        return LINE;
}

static enum state header_line(struct http_response *r, char *line)
{
        char *colon = strchr(line, ':');

        if (!colon || colon == line)
                return bad(r, "a header without a name or a colon");
        *colon = '\0';
        if (!all(is_token, line))
                return bad(r, "the name of a header is not a word (folded lines are not taken)");
        if (r->header_count == HTTP_HEADERS_MAX)
                return bad(r, "more than 64 headers");
        char *value = colon + 1 + strspn(colon + 1, " \t");
        for (char *end = value + strlen(value); end > value && (end[-1] == ' ' || end[-1] == '\t'); end--)
                end[-1] = '\0';
        r->headers[r->header_count++] = (struct http_field){ (uint16_t)(line - r->head), (uint16_t)(value - r->head) };
        return heed(r, line, value);
}

/* ---- responses: what follows the head ---- */

static void forget_head(struct http_response *r)
{
        r->status = 0;
        r->header_count = 0;
        r->head_len = r->line = 0;
        r->length = 0;
        r->has_length = r->has_encoding = false;
}

static enum state after_head(struct http_response *r)
{
        bool bodiless = r->status < 200 || r->status == 204;

        if (r->has_length && r->has_encoding)
                return bad(r, "both a Content-Length and a Transfer-Encoding");
        if (bodiless && (r->has_encoding || r->length > 0))
                return bad(r, "a body where the status allows none");
        if (r->status == 101)
                return r->may_upgrade ? DONE : bad(r, "another protocol, which nobody asked for");
        if (r->status < 200) {
                if (++r->interim > HTTP_INTERIM_MAX)
                        return bad(r, "more than 8 interim responses");
                forget_head(r);
                return LINE;
        }
        r->chunked = r->has_encoding;
        if (bodiless || r->status == 304 || r->no_body)
                return DONE;
        if (r->chunked)
                return SIZE;
        r->left = r->length;
        if (r->has_length)
                return r->left > 0 ? FIXED : DONE;
        r->until_close = r->close = true;
        return ENDLESS;
}

static enum state line_ended(struct http_response *r)
{
        char *line = r->head + r->line;

        if (r->status == 0)
                return status_line(r, line);
        return *line ? header_line(r, line) : after_head(r);
}

static enum state in_line(struct http_response *r, uint8_t c)
{
        if (r->head_len >= HTTP_HEAD_MAX - 1)
                return bad(r, "the head is more than 32 KiB");
        if (c != '\r' && !is_text(c))
                return bad(r, "a control character in the head, or a line end that is not CR LF");
        r->head[r->head_len++] = (char)(c == '\r' ? '\0' : c);
        return c == '\r' ? LINE_LF : LINE;
}

static enum state in_line_lf(struct http_response *r, uint8_t c)
{
        if (c != '\n')
                return bad(r, "a CR alone in the head");
        r->head[r->head_len++] = '\0';
        enum state next = line_ended(r);
        r->line = next == LINE ? r->head_len : 0;
        return next;
}

/* ---- responses: chunks ---- */

/* `line` counts the bytes of the line. */
static enum state in_size(struct http_response *r, uint8_t c)
{
        static const char digits[] = "0123456789abcdef";
        const char *at = c ? strchr(digits, lower(c)) : NULL;

        if (r->line > 0 && (c == '\r' || c == ';'))
                return c == ';' ? EXTENSION : SIZE_LF;
        if (!at || r->line == HTTP_CHUNK_DIGITS_MAX)
                return bad(r, "the size of a chunk is not a number of at most 15 hexadecimal digits");
        r->left = r->left << 4 | (uint64_t)(at - digits);
        r->line++;
        return SIZE;
}

static enum state in_extension(struct http_response *r, uint8_t c)
{
        if (c == '\r')
                return SIZE_LF;
        if (!is_text(c) || ++r->line > HTTP_CHUNK_LINE_MAX)
                return bad(r, "the extensions of a chunk are more than 1024 bytes, or not text");
        return EXTENSION;
}

static enum state in_size_lf(struct http_response *r, uint8_t c)
{
        r->line = 0;
        if (c != '\n')
                return bad(r, "a CR alone after the size of a chunk");
        return r->left > 0 ? CHUNK : TRAILER;
}

static enum state in_chunk_cr(struct http_response *r, uint8_t c)
{
        return c == '\r' ? CHUNK_LF : bad(r, "a chunk is longer than its size");
}

static enum state in_chunk_lf(struct http_response *r, uint8_t c)
{
        return c == '\n' ? SIZE : bad(r, "a CR alone after a chunk");
}

/* `line` counts the bytes of all trailers. */
static enum state in_trailer(struct http_response *r, uint8_t c)
{
        bool begins = r->state == TRAILER, in_value = r->state == TRAILER_VALUE;

        if (c == '\r' && (begins || in_value))
                return begins ? LAST_LF : TRAILER_LF;
        if (++r->line > HTTP_TRAILER_MAX)
                return bad(r, "the trailers are more than 8 KiB");
        if (c == ':' && !begins)
                return TRAILER_VALUE;
        if (in_value ? is_text(c) : is_token(c))
                return in_value ? TRAILER_VALUE : TRAILER_NAME;
        return bad(r, "a trailer is not a name, a colon and text");
}

static enum state in_trailer_lf(struct http_response *r, uint8_t c)
{
        if (c != '\n')
                return bad(r, "a CR alone in the trailers");
        return r->state == LAST_LF ? DONE : TRAILER;
}

typedef enum state step_fn(struct http_response *r, uint8_t c);

/* What takes one byte; bodies, and what takes none, have no entry. */
static step_fn *const steps[STATES] = {
        [LINE] = in_line,
        [LINE_LF] = in_line_lf,
        [SIZE] = in_size,
        [EXTENSION] = in_extension,
        [SIZE_LF] = in_size_lf,
        [CHUNK_CR] = in_chunk_cr,
        [CHUNK_LF] = in_chunk_lf,
        [TRAILER] = in_trailer,
        [TRAILER_NAME] = in_trailer,
        [TRAILER_VALUE] = in_trailer,
        [TRAILER_LF] = in_trailer_lf,
        [LAST_LF] = in_trailer_lf,
};

/* ---- responses ---- */

void http_response_init(struct http_response *r, bool head_only)
{
        *r = (struct http_response){ .state = LINE, .no_body = head_only };
}

static enum http_event body(struct http_response *r, const uint8_t *data, size_t len, size_t *used, struct bytes *piece)
{
        size_t n = r->state == ENDLESS || len < r->left ? len : (size_t)r->left;

        if (n == 0)
                return HTTP_MORE;
        *piece = (struct bytes){ data, n };
        *used += n;
        if (r->state == ENDLESS)
                return HTTP_BODY;
        r->left -= n;
        if (r->left == 0)
                r->state = r->state == CHUNK ? CHUNK_CR : DONE;
        return HTTP_BODY;
}

enum http_event http_read(struct http_response *r, const void *data, size_t len, size_t *used, struct bytes *piece)
{
        const uint8_t *p = data;

        *used = 0;
        *piece = (struct bytes){ NULL, 0 };
        while (*used < len && steps[r->state]) {
                int before = r->state;

                r->state = (int)steps[before](r, p[(*used)++]);
                if (before == LINE_LF && r->state != LINE && r->state != BAD)
                        return HTTP_HEAD;
        }
        if (r->state == BAD)
                return HTTP_BAD;
        if (r->state == DONE)
                return HTTP_DONE;
        return *used < len ? body(r, p + *used, len - *used, used, piece) : HTTP_MORE;
}

enum http_event http_eof(struct http_response *r)
{
        if (r->state == ENDLESS)
                r->state = DONE;
        else if (r->state != DONE && r->state != BAD)
                r->state = (int)bad(r, "the connection ended before the response");
        r->close = true;
        return r->state == DONE ? HTTP_DONE : HTTP_BAD;
}

const char *http_find(const struct http_response *r, const char *name)
{
        for (unsigned i = 0; i < r->header_count; i++)
                if (same(r->head + r->headers[i].name, name))
                        return r->head + r->headers[i].value;
        return NULL;
}
