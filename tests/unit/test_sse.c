/* Server-sent events, in one piece and cut at every byte, and each limit and one beyond. */
#include "test.h"
#include "text.h"
#include "wire/http.h"

static char events[4096];

/* All events as "name=data;", and "!" where the stream is refused. */
static const char *listen(const char *data, size_t len, size_t first, size_t step_len, size_t cap)
{
        struct sse s;
        char *room = malloc(cap ? cap : 1);
        size_t n = first;

        events[0] = '\0';
        sse_init(&s, room, cap);
        for (size_t at = 0; at < len; at += n, n = step_len) {
                size_t end = n < len - at ? at + n : len, from = at, used;
                enum sse_event ev;

                while ((ev = sse_read(&s, data + from, end - from, &used)) == SSE_EVENT) {
                        size_t so_far = strlen(events);

                        from += used;
                        snprintf(events + so_far, sizeof(events) - so_far, "%s=%s;%s", s.event, s.data, strlen(s.data) == s.len ? "" : "?");
                }
                if (ev == SSE_BAD) {
                        strcat(events, "!");
                        break;
                }
        }
        free(room);
        return events;
}

TEST(events)
{
        static const struct {
                const char *text, *want;
        } cases[] = {
                { "", "" },
                { "data: a\n\n", "message=a;" },
                { "data:a\r\rdata:  b\n\ndata: c\r\n\r\n", "message=a;message= b;message=c;" },
                { "event: x\ndata: 1\ndata:2\ndata\ndata: 3\n\n", "x=1\n2\n\n3;" },
                { "event: x\nevent: yz\ndata: 1\n\ndata: 2\n\n", "yz=1;message=2;" },
                { "event: x\n\ndata: 1\n\n", "message=1;" },
                { "event: x\nevent\ndata: 1\n\n", "message=1;" },
                { "data\n\ndata:\n\ndata\ndata\n\n", "message=;message=;message=\n;" },
                { ": comment\n:\n\ndata: a:b\n: data\nid: 7\nretry: 1\nunknown-and-very-long: x\nDATA: no\n\n", "message=a:b;" },
                { " data: no\ndatax: no\ndat: no\n\n", "" },
                { "data: not ended\n", "" },
                { "data: a\n\ndata: not ended", "message=a;" },
                { "\xef\xbb\xbf"
                  "data: a\n\n\xef\xbb\xbf"
                  "data: b\n\n",
                  "message=a;" },
                { "\n\n\n\r\n\rdata: {\"k\":\"\xc3\xa9\"}\n\n\n\n", "message={\"k\":\"\xc3\xa9\"};" },
        };

        for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
                size_t len = strlen(cases[i].text);

                for (size_t step_len = 1; step_len <= len + 1; step_len++) {
                        if (strcmp(listen(cases[i].text, len, step_len, step_len, 64), cases[i].want) != 0)
                                test_fail(__FILE__, __LINE__, "%s in %zu: %s", cases[i].text, step_len, events);
                        if (strcmp(listen(cases[i].text, len, step_len, len, 64), cases[i].want) != 0)
                                test_fail(__FILE__, __LINE__, "%s at %zu: %s", cases[i].text, step_len, events);
                }
        }
}

static const char *listen_text(size_t cap)
{
        return listen(grown, grown_len, 7, 7, cap);
}

TEST(events_are_limited)
{
        start("data: 1234\ndata: 6\n\n");
        CHECK_STR(listen_text(7), "message=1234\n6;");
        CHECK_STR(listen_text(6), "!");
        CHECK_STR(listen_text(1), "!");
        CHECK_STR(listen_text(0), "!");
        start("data:\n\n");
        CHECK_STR(listen_text(1), "message=;");
        start("data\ndata\n\n");
        CHECK_STR(listen_text(1), "!");
        start("data: 1\n\nevent:");
        fill(SSE_EVENT_MAX);
        add("\ndata:\n\n");
        CHECK_INT(strlen(listen_text(9)), strlen("message=1;=;") + SSE_EVENT_MAX);
        start("data: 1\n\nevent:");
        fill(SSE_EVENT_MAX + 1);
        CHECK_STR(listen_text(9), "message=1;!");
        start(": ");
        fill(32 * 1024);
        add("\n\ndata: 1\n\n");
        CHECK_STR(listen_text(9), "message=1;"); /* what is ignored needs no room */
        CHECK_STR(listen("data: 1\0\n\n", 10, 10, 10, 64), "!");
        CHECK_STR(listen(":\0", 2, 1, 1, 64), "!");
}
