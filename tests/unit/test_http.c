/* HTTP: what is written, what is taken and refused, in one piece and cut at every byte, and each limit and one beyond. */
#include "wire/http.h"

#include "test.h"
#include "text.h"

/* ---- requests ---- */

static char out[8192];
static struct wbuf w;
static struct http_request q;

static void begin(const char *method)
{
        w = wbuf_over(out, sizeof(out) - 1);
        http_begin(&q, &w, method);
}

static const char *written(void)
{
        out[w.len] = '\0';
        return w.bad ? "bad" : out;
}

TEST(a_request_is_written)
{
        begin("POST");
        http_path(&q, "/v1/sandboxes/");
        http_segment(&q, "a b/../\xc3\xa9");
        http_path(&q, "/files");
        http_query(&q, "path", "/tmp/x?&=%");
        http_query(&q, "n", "");
        http_host(&q, "creto");
        http_header(&q, "Accept", "text/event-stream, */*");
        http_header(&q, "X-Empty", "");
        http_length(&q, 18446744073709551615U);
        http_end(&q);
        CHECK_STR(written(), "POST /v1/sandboxes/a%20b%2F..%2F%C3%A9/files?path=%2Ftmp%2Fx%3F%26%3D%25&n= HTTP/1.1\r\nHost: creto\r\n"
                             "Accept: text/event-stream, */*\r\nX-Empty: \r\nContent-Length: 18446744073709551615\r\n\r\n");
}

TEST(a_request_in_chunks)
{
        begin("PUT");
        http_path(&q, "/");
        http_host(&q, "[::1]:80");
        http_chunked(&q);
        http_end(&q);
        http_chunk(&w, "0123456789abcdef0", 17);
        http_chunk(&w, "", 0);
        http_chunk(&w, "\r\n", 2);
        http_chunk_last(&w);
        CHECK_STR(
                written(),
                "PUT / HTTP/1.1\r\nHost: [::1]:80\r\nTransfer-Encoding: chunked\r\n\r\n11\r\n0123456789abcdef0\r\n2\r\n\r\n\r\n0\r\n\r\n");
}

/* One step a letter. */
static void step(char what, const char *s)
{
        switch (what) {
        case 'p':
                http_path(&q, s);
                break;
        case 's':
                http_segment(&q, s);
                break;
        case 'q':
                http_query(&q, s, "v");
                break;
        case 'h':
                http_host(&q, s);
                break;
        case 'n':
                http_header(&q, s, "v");
                break;
        case 'v':
                http_header(&q, "N", s);
                break;
        case 'l':
                http_length(&q, 1);
                break;
        case 'c':
                http_chunked(&q);
                break;
        default:
                http_end(&q);
        }
}

TEST(what_would_be_another_request_is_not_written)
{
        static const struct {
                const char *before; /* good steps, each with "/" or what is usual */
                char what;
                const char *s;
        } bad[] = {
                { "", 'p', "x" },
                { "", 'p', "" },
                { "", 'p', "/a b" },
                { "", 'p', "/a\r\n" },
                { "", 'p', "/a?b" },
                { "", 'p', "/%2e" },
                { "", 's', "x" },
                { "", 'q', "x" },
                { "", 'h', "x" },
                { "", 'n', "x" },
                { "", 'e', "" },
                { "p", 's', "" },
                { "p", 's', "." },
                { "p", 's', ".." },
                { "p", 'q', "" },
                { "pq", 'p', "/" },
                { "pq", 's', "x" },
                { "p", 'h', "" },
                { "p", 'h', "a b" },
                { "p", 'h', "a\r\nb" },
                { "p", 'n', "x" },
                { "p", 'e', "" },
                { "ph", 'p', "/" },
                { "ph", 'q', "x" },
                { "ph", 'h', "x" },
                { "ph", 'n', "" },
                { "ph", 'n', "a b" },
                { "ph", 'n', "a:" },
                { "ph", 'n', "a\r\nb" },
                { "ph", 'n', "hOST" },
                { "ph", 'n', "content-length" },
                { "ph", 'n', "TRANSFER-ENCODING" },
                { "ph", 'v', "a\r\nb: c" },
                { "ph", 'v', "a\n" },
                { "ph", 'v', "\x7f" },
                { "phl", 'l', "" },
                { "phl", 'c', "" },
                { "phc", 'l', "" },
                { "phe", 'e', "" },
                { "phe", 'n', "x" },
                { "phe", 'l', "" },
                { "phe", 'p', "/" },
        };

        for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
                begin("GET");
                for (const char *c = bad[i].before; *c; c++)
                        step(*c, *c == 'p' ? "/" : "x");
                if (w.bad)
                        test_fail(__FILE__, __LINE__, "%zu: bad before", i);
                step(bad[i].what, bad[i].s);
                if (!w.bad)
                        test_fail(__FILE__, __LINE__, "%zu: after %s, %c with '%s'", i, bad[i].before, bad[i].what, bad[i].s);
        }
        begin("GET /");
        CHECK(w.bad);
        begin("");
        CHECK(w.bad);
}

TEST(a_request_that_does_not_fit_is_bad)
{
        static const char want[] = "GET /x%20 HTTP/1.1\r\nHost: x\r\n\r\n";

        for (size_t cap = 0; cap <= sizeof(want); cap++) {
                w = wbuf_over(out, cap);
                http_begin(&q, &w, "GET");
                http_path(&q, "/x");
                http_segment(&q, " ");
                http_host(&q, "x");
                http_end(&q);
                CHECK_INT(w.bad, cap < sizeof(want) - 1);
        }
}

/* ---- responses ---- */

static struct http_response r;
static char body[64 * 1024];
static size_t body_len, taken;
static bool head_only;
static enum http_event last;

/* Feeds one piece, in a block of exactly its size, to its end. Returns false where nothing may follow. */
static bool feed(const char *data, size_t len)
{
        char *copy = malloc(len ? len : 1);
        size_t at = 0, used;
        struct bytes piece;

        memcpy(copy, data, len);
        do {
                last = http_read(&r, copy + at, len - at, &used, &piece);
                if (last == HTTP_BODY) {
                        memcpy(body + body_len, piece.data, piece.len);
                        body_len += piece.len;
                }
                at += used;
        } while (last == HTTP_HEAD || last == HTTP_BODY);
        taken += at;
        free(copy);
        return last == HTTP_MORE;
}

/* The response in pieces of `step` bytes, the first of `first`; then the end of the connection. */
static enum http_event respond(const char *data, size_t len, size_t first, size_t step_len)
{
        size_t at = 0, n = first;

        http_response_init(&r, head_only);
        body_len = taken = 0;
        last = HTTP_MORE;
        for (; at < len && last == HTTP_MORE; at += n, n = step_len)
                feed(data + at, n < len - at ? n : len - at);
        if (last == HTTP_MORE)
                last = http_eof(&r);
        body[body_len] = '\0';
        return last;
}

#define OK11 "HTTP/1.1 200 OK\r\n"
#define CHUNKED OK11 "Transfer-Encoding: chunked\r\n\r\n"

struct good {
        const char *text, *body;
        size_t rest; /* bytes that follow the response */
        int status;
        bool close;
};

static const struct good good[] = {
        { OK11 "Content-Length: 5\r\n\r\nhello", "hello", 0, 200, false },
        { OK11 "content-length:5\r\n\r\nhelloHTTP", "hello", 4, 200, false },
        { OK11 "Content-Length: 0\r\n\r\n", "", 0, 200, false },
        { OK11 "Content-Length: \t 000000000000000003 \t\r\n\r\nabc", "abc", 0, 200, false },
        { OK11 "\r\nuntil the end\r\n", "until the end\r\n", 0, 200, true },
        { OK11 "\r\n", "", 0, 200, true },
        { "HTTP/1.1 404 \r\nX:\r\nContent-Length: 1\r\n\r\nx", "x", 0, 404, false },
        { "HTTP/1.1 599 a\tb \xc3\xa9\r\nContent-Length: 0\r\n\r\n", "", 0, 599, false },
        { "HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nab", "ab", 0, 200, true },
        { OK11 "Connection: x , Close\r\nContent-Length: 0\r\n\r\n", "", 0, 200, true },
        { OK11 "Connection: closed, keep-alive\r\nContent-Length: 0\r\n\r\n", "", 0, 200, false },
        { CHUNKED "0\r\n\r\n", "", 0, 200, false },
        { CHUNKED "5\r\nhello\r\n00a\r\n, world..\n\r\n0\r\n\r\nHTTP", "hello, world..\n", 4, 200, false },
        { CHUNKED "3;a=b;c=\"d e\"\r\nabc\r\n000;x\r\n\r\n", "abc", 0, 200, false },
        { CHUNKED "3;\r\n\r\n\r\r\n0\r\nA: b\r\nC:\r\n\r\n!", "\r\n\r", 1, 200, false },
        { OK11 "TRANSFER-ENCODING: CHUNKED\r\n\r\nA\r\n0123456789\r\n0\r\n\r\n", "0123456789", 0, 200, false },
        { "HTTP/1.1 204 No Content\r\n\r\nHTTP", "", 4, 204, false },
        { "HTTP/1.1 204 No Content\r\nContent-Length: 0\r\n\r\n", "", 0, 204, false },
        { "HTTP/1.1 304 Not Modified\r\nContent-Length: 7\r\n\r\nHTTP", "", 4, 304, false },
        { "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Hints\r\nLink: x\r\n\r\n" OK11 "Content-Length: 1\r\n\r\nx", "x", 0, 200, false },
};

static void check_good(const struct good *g, size_t first, size_t step_len)
{
        size_t len = strlen(g->text);
        enum http_event end = respond(g->text, len, first, step_len);

        if (end != HTTP_DONE)
                test_fail(__FILE__, __LINE__, "%s cut at %zu, %zu: %s", g->text, first, step_len, r.why ? r.why : "no end");
        else if (strcmp(body, g->body) != 0 || taken != len - g->rest || r.status != g->status || r.close != g->close)
                test_fail(__FILE__, __LINE__, "%s cut at %zu, %zu: %d '%s', %zu of %zu", g->text, first, step_len, r.status, body, taken,
                          len);
}

TEST(responses_that_are_taken)
{
        for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++) {
                size_t len = strlen(good[i].text);

                for (size_t first = 1; first <= len; first++)
                        check_good(&good[i], first, len);
                for (size_t step_len = 1; step_len < 8; step_len++)
                        check_good(&good[i], step_len, step_len);
        }
}

static const struct {
        const char *text, *why;
} bad[] = {
        { "\r\n" OK11 "\r\n", "status line" },
        { "http/1.1 200 OK\r\n", "status line" },
        { "HTTP/2 200 OK\r\n", "status line" },
        { "HTTP/1.2 200 OK\r\n", "status line" },
        { "HTTP/1.1  200 OK\r\n", "status" },
        { "HTTP/1.1 200\r\n", "three digits" },
        { "HTTP/1.1 20 OK\r\n", "status" },
        { "HTTP/1.1 2000 OK\r\n", "three digits" },
        { "HTTP/1.1 +20 OK\r\n", "100 to 599" },
        { "HTTP/1.1 099 OK\r\n", "100 to 599" },
        { "HTTP/1.1 600 OK\r\n", "100 to 599" },
        { "HTTP/1.1 200 OK\n\n", "control" },
        { "HTTP/1.1 200 O\rK\r\n", "CR alone" },
        { OK11 "A: b\n\r\n", "control" },
        { OK11 "A: b\r\r\n", "CR alone" },
        { OK11 "A: b\x01\r\n", "control" },
        { OK11 "A: b\x7f\r\n", "control" },
        { OK11 "\r\r\n", "CR alone" },
        { OK11 " A: b\r\n", "folded" },
        { OK11 "A: b\r\n c\r\n", "colon" },
        { OK11 "A: b\r\n\tc: d\r\n", "folded" },
        { OK11 "A : b\r\n", "name" },
        { OK11 "A\r\n", "colon" },
        { OK11 ": b\r\n", "colon" },
        { OK11 "A\xc3\xa9: b\r\n", "name" },
        { OK11 "Content-Length: 5\r\nContent-Length: 5\r\n", "Content-Length" },
        { OK11 "Content-Length: 5, 5\r\n", "Content-Length" },
        { OK11 "Content-Length: +5\r\n", "Content-Length" },
        { OK11 "Content-Length: -1\r\n", "Content-Length" },
        { OK11 "Content-Length: 0x5\r\n", "Content-Length" },
        { OK11 "Content-Length: 5 5\r\n", "Content-Length" },
        { OK11 "Content-Length:\r\n", "Content-Length" },
        { OK11 "Content-Length: 1000000000000000000\r\n", "18 digits" },
        { OK11 "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n", "both" },
        { OK11 "Transfer-Encoding: chunked\r\nContent-Length: 0\r\n\r\n", "both" },
        { OK11 "Transfer-Encoding: gzip, chunked\r\n", "Transfer-Encoding" },
        { OK11 "Transfer-Encoding: identity\r\n", "Transfer-Encoding" },
        { OK11 "Transfer-Encoding: xchunked\r\n", "Transfer-Encoding" },
        { OK11 "Transfer-Encoding:\r\n", "Transfer-Encoding" },
        { OK11 "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n", "Transfer-Encoding" },
        { "HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n", "Transfer-Encoding" },
        { "HTTP/1.1 204 x\r\nContent-Length: 1\r\n\r\n", "allows none" },
        { "HTTP/1.1 204 x\r\nTransfer-Encoding: chunked\r\n\r\n", "allows none" },
        { "HTTP/1.1 100 x\r\nContent-Length: 1\r\n\r\n", "allows none" },
        { "HTTP/1.1 101 x\r\n\r\n", "protocol" },
        { CHUNKED "\r\n", "size" },
        { CHUNKED ";a\r\n", "size" },
        { CHUNKED "g\r\n", "size" },
        { CHUNKED "-1\r\n", "size" },
        { CHUNKED "0x1\r\n", "size" },
        { CHUNKED " 1\r\n", "size" },
        { CHUNKED "1 \r\n", "size" },
        { CHUNKED "1\n", "size" },
        { CHUNKED "1\rx", "CR alone" },
        { CHUNKED "1;a\nb\r\n", "extensions" },
        { CHUNKED "1;a\rb\r\n", "CR alone" },
        { CHUNKED "0000000000000001\r\n", "15 hex" },
        { CHUNKED "ffffffffffffffff1\r\n", "15 hex" },
        { CHUNKED "1\r\nab\r\n", "longer" },
        { CHUNKED "1\r\na\n", "longer" },
        { CHUNKED "1\r\na\rb", "CR alone" },
        { CHUNKED "0\r\nx\r\n", "trailer" },
        { CHUNKED "0\r\n: x\r\n", "trailer" },
        { CHUNKED "0\r\n a: x\r\n", "trailer" },
        { CHUNKED "0\r\na: x\n", "trailer" },
        { CHUNKED "0\r\na: x\ry", "CR alone" },
        { CHUNKED "0\r\n\n", "trailer" },
        { CHUNKED "0\r\n\rx", "CR alone" },
        { "", "connection ended" },
        { "HTTP/1.1 2", "connection ended" },
        { "HTTP/1.1 100 x\r\n\r\n", "connection ended" },
        { OK11 "Content-Length: 5\r\n\r\nhell", "connection ended" },
        { CHUNKED "5\r\nhello", "connection ended" },
        { CHUNKED "5\r\nhello\r\n", "connection ended" },
        { CHUNKED "0\r\n", "connection ended" },
        { CHUNKED "0\r\n\r", "connection ended" },
};

TEST(responses_that_are_refused)
{
        struct bytes piece;
        size_t used;

        for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
                size_t len = strlen(bad[i].text);

                for (size_t step_len = 1; step_len <= len + 1; step_len++)
                        if (respond(bad[i].text, len, step_len, step_len) != HTTP_BAD || !strstr(r.why, bad[i].why) || !r.close)
                                test_fail(__FILE__, __LINE__, "%s in %zu: %s", bad[i].text, step_len, last < 0 ? r.why : "taken");
                CHECK_INT(http_read(&r, "x", 1, &used, &piece), HTTP_BAD); /* and stays so */
                CHECK_INT(used, 0);
                CHECK_INT(http_eof(&r), HTTP_BAD);
        }
        CHECK_INT(respond("HTTP/1.1 200 O\0K\r\n", 18, 1, 1), HTTP_BAD);
        CHECK_INT(respond(OK11 "A: \0b\r\n", 24, 24, 24), HTTP_BAD);
}

TEST(a_head_alone)
{
        static const char text[] = OK11 "Content-Length: 5\r\n\r\n", chunked[] = CHUNKED;

        head_only = true;
        enum http_event fixed = respond(text, sizeof(text) - 1, 1, 1);
        CHECK_INT(r.length, 5);
        enum http_event in_chunks = respond(chunked, sizeof(chunked) - 1, 9, 9);
        head_only = false;
        CHECK_INT(fixed, HTTP_DONE);
        CHECK_INT(in_chunks, HTTP_DONE);
        CHECK(r.chunked && !r.close && body_len == 0);
}

TEST(headers_are_found)
{
        static const char text[] = OK11 "Content-Type: text/plain \r\nEMPTY:\r\nx-a: 1\r\nX-A: 2\r\nContent-Length: 0\r\n\r\n";

        CHECK_INT(respond(text, sizeof(text) - 1, 3, 5), HTTP_DONE);
        CHECK_INT(r.header_count, 5);
        CHECK_STR(http_find(&r, "content-TYPE"), "text/plain");
        CHECK_STR(http_find(&r, "Empty"), "");
        CHECK_STR(http_find(&r, "x-a"), "1");
        CHECK(!http_find(&r, "x") && !http_find(&r, "x-ab") && !http_find(&r, ""));
}

/* ---- limits of responses ---- */

static enum http_event respond_text(void)
{
        return respond(grown, grown_len, grown_len, grown_len);
}

static enum http_event with_head(size_t len)
{
        start(OK11 "X: ");
        fill(len - grown_len - 4);
        add("\r\n\r\n");
        return respond_text();
}

static enum http_event with_many(const char *before, const char *s, size_t n, const char *after)
{
        start(before);
        for (size_t i = 0; i < n; i++)
                add(s);
        add(after);
        return respond_text();
}

TEST(heads_are_limited)
{
        CHECK_INT(with_head(HTTP_HEAD_MAX), HTTP_DONE);
        CHECK_INT(with_head(HTTP_HEAD_MAX + 1), HTTP_BAD);
        CHECK(strstr(r.why, "32 KiB"));
        CHECK_INT(with_many(OK11, "A: b\r\n", HTTP_HEADERS_MAX, "\r\n"), HTTP_DONE);
        CHECK_INT(with_many(OK11, "A: b\r\n", HTTP_HEADERS_MAX + 1, "\r\n"), HTTP_BAD);
        CHECK(strstr(r.why, "64"));
        CHECK_INT(with_many("", "HTTP/1.1 102 x\r\n\r\n", HTTP_INTERIM_MAX, OK11 "\r\n"), HTTP_DONE);
        CHECK_INT(with_many("", "HTTP/1.1 102 x\r\n\r\n", HTTP_INTERIM_MAX + 1, OK11 "\r\n"), HTTP_BAD);
        CHECK(strstr(r.why, "8 interim"));
}

static enum http_event with_extension(size_t len)
{
        start(CHUNKED "0;");
        fill(len - 1);
        add("\r\n\r\n");
        return respond_text();
}

static enum http_event with_trailer(size_t len)
{
        start(CHUNKED "0\r\nA:");
        fill(len - 2);
        add("\r\n\r\n");
        return respond_text();
}

TEST(what_surrounds_chunks_is_limited)
{
        CHECK_INT(with_extension(HTTP_CHUNK_LINE_MAX), HTTP_DONE);
        CHECK_INT(with_extension(HTTP_CHUNK_LINE_MAX + 1), HTTP_BAD);
        CHECK(strstr(r.why, "1024"));
        CHECK_INT(with_trailer(HTTP_TRAILER_MAX), HTTP_DONE);
        CHECK_INT(with_trailer(HTTP_TRAILER_MAX + 1), HTTP_BAD);
        CHECK(strstr(r.why, "8 KiB"));
        CHECK_INT(with_many(CHUNKED "0\r\n", "A:\r\n", HTTP_TRAILER_MAX / 2 + 1, "\r\n"), HTTP_BAD);
        start(CHUNKED "fffffffffffffff\r\nx");
        CHECK_INT(respond_text(), HTTP_BAD); /* only for its end */
        CHECK(strstr(r.why, "ended") && r.left == 0xffffffffffffffeULL);
        CHECK_INT(body_len, 1);
}
