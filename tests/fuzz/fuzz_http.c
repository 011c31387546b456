/*
 * Responses and their events: whatever arrives says the same in one piece and cut as the first bytes of the input say, and pieces of the body lie
 * in what was fed. Of the input as text, no request has another line.
 */
#include "fuzz.h"

#include "wire/http.h"

enum { BODY_MAX = 1024 * 1024, CUTS = 8, ROOM = 256 };

/* What was understood. */
struct heard {
        struct http_response r;
        enum http_event end;
        unsigned heads;
        size_t taken, body_len, events, events_len;
        enum sse_event events_end;
        uint8_t body[BODY_MAX];
        char said[BODY_MAX];
};

static struct heard whole, pieces;

static void keep(struct heard *h, const void *data, size_t len)
{
        NEED(len <= sizeof(h->said) - h->events_len);
        memcpy(h->said + h->events_len, data, len);
        h->events_len += len;
}

static void hear_events(struct heard *h, struct sse *s, const uint8_t *data, size_t len)
{
        size_t used;

        while ((h->events_end = sse_read(s, data, len, &used)) == SSE_EVENT) {
                NEED(used > 0 && used <= len && s->len < ROOM && s->data[s->len] == '\0' && strlen(s->data) == s->len);
                NEED(s->event[0] && strlen(s->event) <= SSE_EVENT_MAX);
                keep(h, s->event, strlen(s->event));
                keep(h, s->data, s->len);
                h->events++;
                data += used;
                len -= used;
        }
        NEED(used <= len && (h->events_end == SSE_BAD || used == len));
}

static void check_head(const struct http_response *r)
{
        NEED(r->status >= 200 && r->status <= 599 && r->header_count <= HTTP_HEADERS_MAX && !(r->chunked && r->has_length));
        for (unsigned i = 0; i < r->header_count; i++) {
                const char *name = r->head + r->headers[i].name, *value = r->head + r->headers[i].value;

                NEED(*name && !strpbrk(name, "\r\n: \t") && !strpbrk(value, "\r\n") && http_find(r, name));
        }
}

/* One piece, to its end, in a block of its own. */
static void hear_piece(struct heard *h, struct sse *s, const uint8_t *data, size_t len)
{
        uint8_t *copy = malloc(len ? len : 1);
        size_t at = 0, used;
        struct bytes piece;

        NEED(copy);
        memcpy(copy, data, len);
        do {
                h->end = http_read(&h->r, copy + at, len - at, &used, &piece);
                NEED(used <= len - at);
                if (h->end == HTTP_HEAD) {
                        h->heads++;
                        check_head(&h->r);
                } else if (h->end == HTTP_BODY) {
                        NEED(h->heads == 1 && piece.len > 0 && piece.data >= copy + at && piece.data + piece.len == copy + at + used);
                        memcpy(h->body + h->body_len, piece.data, piece.len);
                        h->body_len += piece.len;
                        hear_events(h, s, piece.data, piece.len);
                }
                at += used;
        } while (h->end == HTTP_HEAD || h->end == HTTP_BODY);
        NEED(h->end != HTTP_MORE || at == len);
        h->taken += at;
        free(copy);
}

static void hear(struct heard *h, const uint8_t *data, size_t len, const uint8_t cuts[CUTS])
{
        static char room[ROOM];
        struct sse s;

        http_response_init(&h->r, cuts[0] & 1);
        h->end = HTTP_MORE;
        h->events_end = SSE_MORE;
        h->heads = 0;
        h->taken = h->body_len = h->events = h->events_len = 0;
        sse_init(&s, room, sizeof(room));
        for (size_t i = 0; len > 0 && h->end == HTTP_MORE; i++) {
                size_t n = h == &whole ? len : 1U + cuts[i % CUTS] % 32;

                n = n < len ? n : len;
                hear_piece(h, &s, data, n);
                data += n;
                len -= n;
        }
        if (h->end == HTTP_MORE)
                h->end = http_eof(&h->r);
        NEED(h->end == HTTP_DONE || (h->end == HTTP_BAD && h->r.why && h->r.close));
}

static void same(const struct heard *a, const struct heard *b)
{
        NEED(a->end == b->end && a->heads == b->heads && a->taken == b->taken && a->r.why == b->r.why && a->r.status == b->r.status);
        NEED(a->r.close == b->r.close && a->r.header_count == b->r.header_count);
        NEED(a->body_len == b->body_len && memcmp(a->body, b->body, a->body_len) == 0);
        NEED(a->events == b->events && a->events_len == b->events_len && memcmp(a->said, b->said, a->events_len) == 0);
        NEED(a->events_end == b->events_end);
}

static void ask(const char *s)
{
        static char out[4 * BODY_MAX];
        struct wbuf w = wbuf_over(out, sizeof(out) - 1);
        struct http_request q;
        size_t lines = 0;

        http_begin(&q, &w, "GET");
        http_path(&q, "/x/");
        http_segment(&q, s);
        http_query(&q, "name", s);
        http_host(&q, "creto");
        if (w.bad) /* nothing, or dots */
                return;
        http_header(&q, "X-Text", s);
        http_end(&q);
        out[w.len] = '\0';
        for (const char *c = out; (c = strchr(c, '\n')); c++)
                lines++;
        NEED(w.bad || (lines == 4 && w.len == strlen(out) && strstr(out, "\r\n\r\n") == out + w.len - 4));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
        if (len < CUTS || len > BODY_MAX / 2)
                return 0;
        hear(&whole, data + CUTS, len - CUTS, data);
        hear(&pieces, data + CUTS, len - CUTS, data);
        same(&whole, &pieces);
        char *text = fuzz_text(data + CUTS, len - CUTS);
        ask(text);
        free(text);
        return 0;
}
