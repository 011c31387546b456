/*
 * A wbuf that grows on the heap, for answers whose size nobody knows before. Everything that writes to a wbuf writes to one of these.
 */
#pragma once

#include "base/buf.h"

enum { TEXT_MAX = 64 * 1024 * 1024 };

/* Grows to at most TEXT_MAX bytes; then, and without memory, it becomes bad. */
struct wbuf text_new(void);
void text_free(struct wbuf *w);

#define auto_text __attribute__((cleanup(text_free))) struct wbuf

__attribute__((format(printf, 2, 3))) void text_printf(struct wbuf *w, const char *fmt, ...);

/* The text with a NUL behind it that `len` does not count; NULL where it is bad. Owned by the wbuf. */
const char *text_c(struct wbuf *w);

/* Gives the memory away (to be freed with free()); NULL where it is bad. *len is without the NUL behind it. */
char *text_take(struct wbuf *w, size_t *len);
