/*
 * A reader of the part of TOML 1.0 that a configuration needs: comments, tables, keys, strings on one line, whole and decimal numbers, booleans, arrays of
 * strings. Dates, inline tables, arrays of tables and strings of several lines are refused by name. Strict: no key twice.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { TOML_NAME_MAX = 63, TOML_STRING_MAX = 1023, TOML_ITEMS_MAX = 64, TOML_KEYS_MAX = 512 };

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
