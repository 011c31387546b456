#include "base/text.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

enum { FIRST = 512 };

static bool grow(struct wbuf *w, size_t more)
{
        size_t cap = w->cap ? w->cap : FIRST;

        if (more > TEXT_MAX - w->len)
                return false;
        while (cap - w->len < more)
                cap *= 2;
        uint8_t *data = realloc(w->data, cap);
        if (!data)
                return false;
        w->data = data;
        w->cap = cap;
        return true;
}

struct wbuf text_new(void)
{
        return (struct wbuf){ .grow = grow };
}

void text_free(struct wbuf *w)
{
        free(w->data);
        *w = (struct wbuf){ .bad = true };
}

void text_printf(struct wbuf *w, const char *fmt, ...)
{
        char small[512];
        va_list ap;

        va_start(ap, fmt);
        int n = vsnprintf(small, sizeof(small), fmt, ap);
        va_end(ap);
        if (n >= 0 && (size_t)n < sizeof(small)) {
                wbuf_bytes(w, small, (size_t)n);
                return;
        }
        char *large = n < 0 ? NULL : malloc((size_t)n + 1);
        if (!large) {
                w->bad = true;
                return;
        }
        va_start(ap, fmt);
        vsnprintf(large, (size_t)n + 1, fmt, ap);
        va_end(ap);
        wbuf_bytes(w, large, (size_t)n);
        free(large);
}

const char *text_c(struct wbuf *w)
{
        wbuf_u8(w, 0);
        if (w->bad)
                return NULL;
        w->len--;
        return (const char *)w->data;
}

char *text_take(struct wbuf *w, size_t *len)
{
        char *out = text_c(w) ? (char *)w->data : NULL;

        *len = out ? w->len : 0;
        if (!out)
                free(w->data);
        *w = text_new();
        return out;
}
