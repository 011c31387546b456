/*
 * What was read of a template, whichever language it is in: values in values, within the limits of template.h.
 */
#pragma once

#include <stdbool.h>

#include "services/template/template.h"

enum node_kind { NODE_NULL, NODE_BOOL, NODE_NUMBER, NODE_STRING, NODE_LIST, NODE_MAP };

enum { TREE_NONE = -1, TREE_ROOT = 0 };

struct node {
        enum node_kind kind;
        const char *key;  /* of a member; NUL-ended */
        const char *text; /* "true", a number as JSON has it, a string */
        size_t len;
        int first, last, next;
        unsigned count, depth;
        enum { TOML_OPEN, TOML_HEADER, TOML_DOTTED, TOML_CLOSED, TOML_TABLES } toml; /* how a table was made (toml.c) */
};

struct tree {
        struct node nodes[TEMPLATE_VALUES_MAX];
        int count;
        char *room; /* of strings */
        size_t room_size, used;
        struct err *e;
};

/* With an empty mapping at TREE_ROOT. */
struct tree *tree_new(size_t text_len, struct err *e);
void tree_free(struct tree *t);

/* All of these return TREE_NONE, or false, with t->e set. */
__attribute__((format(printf, 3, 4))) int tree_bad(struct tree *t, unsigned line, const char *fmt, ...);
/* A member of a mapping by `key`, or an item where that is NULL. */
int tree_add(struct tree *t, int parent, const char *key, size_t key_len, unsigned line);
bool tree_set(struct tree *t, int node, enum node_kind kind, const char *text, size_t len);

/* TREE_NONE where there is none; no error. */
int tree_find(const struct tree *t, int map, const char *key);

/* Each reads a whole text into a tree of its own root. */
int template_read_yaml(struct tree *t, const char *text, size_t len);
int template_read_toml(struct tree *t, const char *text, size_t len);
int template_read_json(struct tree *t, const char *text, size_t len);
