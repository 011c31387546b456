/*
 * Two readers of TOML 1.0. toml_read() takes the part that a configuration needs: comments, tables, keys, strings on one line, whole and decimal numbers,
 * booleans, arrays of strings; inline tables, arrays of tables and dotted names are refused by name, but for one dot in the name of a table. Strict: no key twice.
 *
 * toml_walk() takes documents: tables in tables, dotted and quoted names, inline tables, arrays of anything, arrays of tables. It tells what stands there in
 * the order of the text; whether a name is there twice is known to who builds something of it. Dates, strings of several lines, exponents and numbers that are
 * not decimal are refused by both.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
        TOML_NAME_MAX = 63,
        TOML_STRING_MAX = 1023,
        TOML_ITEMS_MAX = 64,
        TOML_KEYS_MAX = 512,
        TOML_PATH_MAX = 16,  /* names with dots between */
        TOML_DEPTH_MAX = 16, /* values in values */
};

enum toml_type { TOML_STRING, TOML_INTEGER, TOML_FLOAT, TOML_BOOLEAN, TOML_STRINGS };

struct toml_value {
        enum toml_type type;
        const char *string; /* good until the callback returns */
        int64_t integer;
        double number; /* TOML_FLOAT, and of an integer too */
        bool boolean;
        const char *const *items; /* TOML_STRINGS */
        size_t count;
};

struct toml_fault {
        unsigned line; /* from 1 */
        const char *why;
};

/* One key with its value; "" is the table of keys before the first table. Returns NULL, or why that is refused. */
typedef const char *toml_fn(void *ctx, const char *table, const char *key, const struct toml_value *v);

/* 0, or -1 and *fault. Keys before the fault have been told. */
int toml_read(const char *text, size_t len, toml_fn *fn, void *ctx, struct toml_fault *fault);

/* ---- documents ---- */

enum toml_event {
        TOML_TABLE,   /* [a.b]: the keys that follow are in it */
        TOML_ELEMENT, /* [[a.b]]: they are in a new element of that array */
        TOML_KEY,     /* a.b = …, also in an inline table; the next is its value */
        TOML_SCALAR,  /* a value that is neither of the two below */
        TOML_ARRAY,   /* begins; TOML_END ends it */
        TOML_INLINE,  /* a table {a = 1}, likewise */
        TOML_END,
};

struct toml_told {
        enum toml_event event;
        unsigned line;
        const char *const *path; /* of the first three; good until the callback returns */
        unsigned count;
        const struct toml_value *value; /* of TOML_SCALAR */
};

/* Returns NULL, or why that is refused. */
typedef const char *toml_tell_fn(void *ctx, const struct toml_told *told);

/* 0, or -1 and *fault. What is before the fault has been told. */
int toml_walk(const char *text, size_t len, toml_tell_fn *fn, void *ctx, struct toml_fault *fault);
