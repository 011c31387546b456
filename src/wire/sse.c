/* Server-sent events, of http.h: the event stream format of the HTML standard, as far as a client needs it. */
#include <string.h>

#include "wire/http.h"

enum state { FIELD, EVENT, DATA, ID, IGNORED, BROKEN };

void sse_init(struct sse *s, void *data, size_t cap)
{
        *s = (struct sse){ .data = data, .cap = cap, .first = true, .state = cap > 0 ? FIELD : BROKEN };
}

static void forget_event(struct sse *s)
{
        s->len = s->event_len = 0;
        s->has_data = s->given = false;
}

static int put_data(struct sse *s, char c)
{
        if (s->len + 1 >= s->cap)
                return BROKEN;
        s->data[s->len++] = c;
        return DATA;
}

static int put_event(struct sse *s, char c)
{
        if (s->event_len == SSE_EVENT_MAX)
                return BROKEN;
        s->event[s->event_len++] = c;
        return EVENT;
}

static int put_id(struct sse *s, char c)
{
        if (s->id_len == SSE_ID_MAX)
                return BROKEN;
        s->id[s->id_len++] = c;
        s->id[s->id_len] = '\0';
        return ID;
}

static bool field_is(const struct sse *s, const char *name)
{
        /* the stream may begin with a byte order mark */
        size_t mark = s->first && s->field_len >= 3 && memcmp(s->field, "\xef\xbb\xbf", 3) == 0 ? 3 : 0;

        return s->field_len - mark == strlen(name) && memcmp(s->field + mark, name, s->field_len - mark) == 0;
}

/* Returns what takes the value. */
static int field_ended(struct sse *s)
{
        if (field_is(s, "event")) {
                s->event_len = 0;
                return EVENT;
        }
        if (field_is(s, "id")) {
                s->id_len = 0;
                s->id[0] = '\0';
                return ID;
        }
        if (!field_is(s, "data"))
                return IGNORED;
        if (s->has_data && put_data(s, '\n') == BROKEN)
                return BROKEN;
        s->has_data = true;
        return DATA;
}

static int in_field(struct sse *s, char c)
{
        if (c == ':') {
                s->blank = true;
                return field_ended(s);
        }
        if (s->field_len == sizeof(s->field))
                return IGNORED; /* longer than any we know */
        s->field[s->field_len++] = c;
        return FIELD;
}

/* Takes a byte that is no line end. */
static int in_line(struct sse *s, char c)
{
        bool blank = s->blank && c == ' '; /* one after the colon is not of the value */

        if (s->state == FIELD)
                return in_field(s, c);
        s->blank = false;
        if (blank || s->state == IGNORED)
                return s->state;
        if (s->state == ID)
                return put_id(s, c);
        return s->state == EVENT ? put_event(s, c) : put_data(s, c);
}

static enum sse_event dispatch(struct sse *s)
{
        if (!s->has_data) {
                forget_event(s);
                return SSE_MORE;
        }
        if (s->event_len == 0) {
                memcpy(s->event, "message", 7);
                s->event_len = 7;
        }
        s->event[s->event_len] = '\0';
        s->data[s->len] = '\0';
        s->given = true;
        return SSE_EVENT;
}

static enum sse_event line_ended(struct sse *s)
{
        bool empty = s->state == FIELD && s->field_len == 0;

        if (s->state == FIELD && field_ended(s) == BROKEN) {
                s->state = BROKEN;
                return SSE_BAD;
        }
        s->state = FIELD;
        s->field_len = 0;
        s->first = s->blank = false;
        return empty ? dispatch(s) : SSE_MORE;
}

static enum sse_event take(struct sse *s, char c)
{
        bool rest = s->after_cr && c == '\n'; /* of a line end */

        s->after_cr = c == '\r';
        if (rest)
                return SSE_MORE;
        if (c == '\n' || c == '\r')
                return line_ended(s);
        s->state = c == '\0' ? BROKEN : in_line(s, c);
        return s->state == BROKEN ? SSE_BAD : SSE_MORE;
}

enum sse_event sse_read(struct sse *s, const void *data, size_t len, size_t *used)
{
        enum sse_event event = s->state == BROKEN ? SSE_BAD : SSE_MORE;
        const char *p = data;

        *used = 0;
        if (s->given)
                forget_event(s);
        while (event == SSE_MORE && *used < len)
                event = take(s, p[(*used)++]);
        return event;
}
