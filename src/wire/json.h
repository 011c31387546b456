/*
 * JSON (RFC 8259): a strict reader into nodes that the caller lends, and a writer onto a wbuf.
 *
 * Pure: no I/O, no allocation, no locale. The text is UTF-8, without a byte order mark. Beyond the grammar, refused are: a key that an object has
 * twice (who takes the first and who takes the last would read two documents), half of a surrogate pair, and what exceeds a limit below.
 *
 * Nodes lie flat, in the order of the text, and borrow it: both are lent for as long as a node is used. Every accessor takes NULL for a node that
 * is not there and says no, so that json_get(json_get(n, "error"), "code") needs no questions in between.
 *
 * Names of the writer begin with json_put_: json_string() and its like are jansson's, which some programs link.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"

enum {
        JSON_TEXT_MAX = 64 * 1024 * 1024,
        JSON_DEPTH_MAX = 32,     /* arrays and objects around a value; the writer's too */
        JSON_MEMBERS_MAX = 1024, /* of one object: each key is compared with those before it */
        JSON_KEY_MAX = 1024,     /* bytes of a key, as they stand in the text */
        JSON_NUMBER_MAX = 64,    /* bytes of a number that json_double() takes */
};

enum json_kind { JSON_KIND_NULL, JSON_KIND_BOOL, JSON_KIND_NUMBER, JSON_KIND_STRING, JSON_KIND_ARRAY, JSON_KIND_OBJECT };

struct json_node {
        const char *text; /* as it stands there; of a string without the quotes */
        uint32_t len;
        uint32_t span;  /* nodes up to the next one beside it */
        uint32_t count; /* items, members; of a key: its hash */
        enum json_kind kind;
};

/* What is wrong, and at which byte. */
struct json_fault {
        const char *why;
        size_t at;
};

enum { JSON_BAD = -1, JSON_MORE_NODES = -2 };

/*
 * Reads exactly one value. A value takes one node, a member two. Returns how many nodes were used (the root is the first), JSON_BAD, or
 * JSON_MORE_NODES where `cap` are too few; then *fault is written (it may be NULL).
 */
int json_parse(const void *text, size_t len, struct json_node *nodes, size_t cap, struct json_fault *fault);

static inline const struct json_node *json_root(const struct json_node *nodes)
{
        return nodes;
}

static inline bool json_is(const struct json_node *n, enum json_kind kind)
{
        return n && n->kind == kind;
}

static inline bool json_is_null(const struct json_node *n)
{
        return json_is(n, JSON_KIND_NULL);
}

static inline bool json_is_bool(const struct json_node *n)
{
        return json_is(n, JSON_KIND_BOOL);
}

static inline bool json_is_number(const struct json_node *n)
{
        return json_is(n, JSON_KIND_NUMBER);
}

static inline bool json_is_string(const struct json_node *n)
{
        return json_is(n, JSON_KIND_STRING);
}

static inline bool json_is_array(const struct json_node *n)
{
        return json_is(n, JSON_KIND_ARRAY);
}

static inline bool json_is_object(const struct json_node *n)
{
        return json_is(n, JSON_KIND_OBJECT);
}

/* Items of an array or members of an object; 0 for anything else. */
static inline uint32_t json_count(const struct json_node *n)
{
        return json_is_array(n) || json_is_object(n) ? n->count : 0;
}

/* The value of a member or an item; NULL where there is none. They look from the start: walk with the two below. */
const struct json_node *json_get(const struct json_node *object, const char *key);
const struct json_node *json_at(const struct json_node *array, uint32_t i);

/*
 * for (const struct json_node *m = json_first(n); m; m = json_next(n, m)) walks the items of an array, or the keys of an object, where
 * json_value(m) is what the key names. Keys are strings.
 */
static inline const struct json_node *json_first(const struct json_node *n)
{
        return json_count(n) > 0 ? n + 1 : NULL;
}

static inline const struct json_node *json_next(const struct json_node *n, const struct json_node *m)
{
        return m + m->span < n + n->span ? m + m->span : NULL;
}

static inline const struct json_node *json_value(const struct json_node *key)
{
        return key + 1;
}

/*
 * These write only on success, and are false where the node is of another kind, does not fit, or is out of range.
 */
bool json_str_len(const struct json_node *n, size_t *len);       /* without the NUL; false where there is a NUL inside */
bool json_str(const struct json_node *n, char *out, size_t cap); /* with a NUL at the end, none inside */
bool json_str_is(const struct json_node *n, const char *s);      /* the same string? */
bool json_bool(const struct json_node *n, bool *out);
bool json_i64(const struct json_node *n, int64_t *out); /* whole numbers: 2 and 2.0, no exponent */
bool json_u64(const struct json_node *n, uint64_t *out);
bool json_double(const struct json_node *n, double *out); /* the nearest; false beyond what is finite */
/* A string of base64. Where the string has escapes (`\/`), `cap` must be enough for the text and a NUL. `out` may be written without success. */
bool json_base64(const struct json_node *n, void *out, size_t cap, size_t *len);

/*
 * The writer: commas and colons are its own. What cannot be (a value without its key in an object, a key in an array, an end too many, a second
 * root) makes the wbuf bad, as does what does not fit.
 */
struct json_put {
        struct wbuf *w;
        uint32_t objects; /* bit d: depth d + 1 is an object */
        unsigned depth;
        bool any; /* there is something before, at this depth */
        bool key; /* a key waits for its value */
};

static inline struct json_put json_put_over(struct wbuf *w)
{
        return (struct json_put){ .w = w };
}

void json_put_object(struct json_put *j);
void json_put_array(struct json_put *j);
void json_put_end(struct json_put *j); /* of the innermost */
void json_put_key(struct json_put *j, const char *key);
/* Escaped as need be. Each byte that is not of valid UTF-8 becomes U+FFFD. */
void json_put_string(struct json_put *j, const char *s);
void json_put_string_len(struct json_put *j, const void *s, size_t len);
void json_put_base64(struct json_put *j, const void *data, size_t len);
void json_put_i64(struct json_put *j, int64_t v);
void json_put_u64(struct json_put *j, uint64_t v);
void json_put_bool(struct json_put *j, bool v);
void json_put_null(struct json_put *j);
void json_put_double(struct json_put *j, double v);                  /* null where it is not finite */
void json_put_raw(struct json_put *j, const char *json, size_t len); /* one whole value that this writer has written before */

/* A key with its value; the last begins an object, which json_put_end() ends. */
void json_put_text(struct json_put *j, const char *key, const char *value);
void json_put_number(struct json_put *j, const char *key, uint64_t value);
void json_put_flag(struct json_put *j, const char *key, bool value);
void json_put_begin(struct json_put *j, const char *key);

/* True where exactly one whole value was written. */
static inline bool json_put_done(const struct json_put *j)
{
        return !j->w->bad && j->depth == 0 && j->any;
}
