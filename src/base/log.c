#include "base/log.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/time.h"

static struct {
        bool json, journal;
        enum log_level least;
} setup = { .least = LOG_INFO };

static const struct {
        const char *name, *journal;
} levels[] = { { "error", "<3>" }, { "warning", "<4>" }, { "info", "<6>" }, { "debug", "<7>" } };

void log_setup(bool json, enum log_level least, bool journal)
{
        setup.json = json;
        setup.least = least;
        setup.journal = journal;
}

bool log_on(enum log_level level)
{
        return level <= setup.least;
}

static void put(struct wbuf *w, const char *s)
{
        wbuf_bytes(w, s, strlen(s));
}

/* Both formats quote alike. */
static void put_quoted(struct wbuf *w, const char *s)
{
        char code[8];

        put(w, "\"");
        for (; *s; s++) {
                unsigned char c = (unsigned char)*s;

                if (c == '"' || c == '\\') {
                        wbuf_u8(w, '\\');
                        wbuf_u8(w, c);
                } else if (c < 0x20 || c == 0x7f) {
                        snprintf(code, sizeof(code), "\\u%04x", c);
                        put(w, code);
                } else {
                        wbuf_u8(w, c);
                }
        }
        put(w, "\"");
}

static bool is_plain(const char *s)
{
        size_t n = strspn(s, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._:/@%+-");

        return n > 0 && s[n] == '\0';
}

static void put_pair(struct wbuf *w, const char *key, const char *value)
{
        if (setup.json) {
                put(w, w->data[w->len - 1] == '{' ? "" : ",");
                put_quoted(w, key);
                put(w, ":");
                put_quoted(w, value);
                return;
        }
        put(w, w->len > 0 && w->data[w->len - 1] != '>' ? " " : "");
        put(w, key);
        put(w, "=");
        if (is_plain(value))
                put(w, value);
        else
                put_quoted(w, value);
}

void log_line(enum log_level level, const char *event, ...)
{
        uint8_t line[LOG_LINE_MAX];
        struct wbuf w = wbuf_over(line, sizeof(line) - 2);
        char when[TIME_TEXT_MAX];
        const char *key;
        va_list ap;

        if (!log_on(level))
                return;
        put(&w, setup.journal ? levels[level].journal : "");
        put(&w, setup.json ? "{" : "");
        put_pair(&w, "time", time_format(time_wall_ms(), when));
        put_pair(&w, "level", levels[level].name);
        put_pair(&w, "msg", event);
        va_start(ap, event);
        while ((key = va_arg(ap, const char *))) {
                const char *value = va_arg(ap, const char *);
                size_t before = w.len;

                if (!value || !*value)
                        continue;
                put_pair(&w, key, value);
                if (w.bad) { /* a value that does not fit is left out */
                        w.bad = false;
                        w.len = before;
                }
        }
        va_end(ap);
        if (setup.json)
                line[w.len++] = '}';
        line[w.len++] = '\n';
        ssize_t n = write(STDERR_FILENO, line, w.len);
        (void)n; /* what nobody takes is dropped */
}
