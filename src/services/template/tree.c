#include "services/template/tree.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct tree *tree_new(size_t text_len, struct err *e)
{
        struct tree *t = calloc(1, sizeof(*t));

        if (t) {
                t->e = e;
                t->room_size = 2 * text_len +
                               2 * TEMPLATE_VALUES_MAX; /* an escape of YAML is up to 3 bytes out of 2; each string has a NUL */
                t->room = malloc(t->room_size);
        }
        if (!t || !t->room) {
                tree_free(t);
                err_set(e, ERR_RESOURCE_EXHAUSTED, 0, "out of memory");
                return NULL;
        }
        t->nodes[TREE_ROOT] = (struct node){ .kind = NODE_MAP, .first = TREE_NONE, .last = TREE_NONE, .next = TREE_NONE };
        t->count = 1;
        return t;
}

void tree_free(struct tree *t)
{
        if (t)
                free(t->room);
        free(t);
}

int tree_bad(struct tree *t, unsigned line, const char *fmt, ...)
{
        char message[256];
        va_list ap;

        va_start(ap, fmt);
        vsnprintf(message, sizeof(message), fmt, ap);
        va_end(ap);
        err_set(t->e, ERR_INVALID_SPEC, 0, "line %u: %s", line, message);
        return TREE_NONE;
}

/* A copy with a NUL behind it. */
static const char *keep(struct tree *t, const char *text, size_t len)
{
        char *to = t->room + t->used;

        if (len >= t->room_size - t->used)
                return NULL;
        memcpy(to, text, len);
        to[len] = '\0';
        t->used += len + 1;
        return to;
}

int tree_find(const struct tree *t, int map, const char *key)
{
        for (int i = t->nodes[map].kind == NODE_MAP ? t->nodes[map].first : TREE_NONE; i != TREE_NONE; i = t->nodes[i].next)
                if (strcmp(t->nodes[i].key, key) == 0)
                        return i;
        return TREE_NONE;
}

int tree_add(struct tree *t, int parent, const char *key, size_t key_len, unsigned line)
{
        struct node *p = &t->nodes[parent], *n = &t->nodes[t->count];
        const char *name = NULL;

        if (t->count == TEMPLATE_VALUES_MAX)
                return tree_bad(t, line, "more than %d values", TEMPLATE_VALUES_MAX);
        if (p->depth == TEMPLATE_DEPTH_MAX)
                return tree_bad(t, line, "values are nested more than %d deep", TEMPLATE_DEPTH_MAX);
        if (p->count == TEMPLATE_MEMBERS_MAX)
                return tree_bad(t, line, "more than %d values in one", TEMPLATE_MEMBERS_MAX);
        if (key && (memchr(key, 0, key_len) || key_len >= TEMPLATE_MEMBERS_MAX || !(name = keep(t, key, key_len))))
                return tree_bad(t, line, "a key has at most %d bytes, and no NUL", TEMPLATE_MEMBERS_MAX - 1);
        if (name && tree_find(t, parent, name) != TREE_NONE)
                return tree_bad(t, line, "'%.64s' is there twice", name);
        *n = (struct node){ .key = name, .first = TREE_NONE, .last = TREE_NONE, .next = TREE_NONE, .depth = p->depth + 1 };
        if (p->last == TREE_NONE)
                p->first = t->count;
        else
                t->nodes[p->last].next = t->count;
        p->last = t->count;
        p->count++;
        return t->count++;
}

bool tree_set(struct tree *t, int node, enum node_kind kind, const char *text, size_t len)
{
        struct node *n = &t->nodes[node];

        n->kind = kind;
        n->len = len;
        n->text = text ? keep(t, text, len) : NULL;
        if (!text || n->text)
                return true;
        err_set(t->e, ERR_INVALID_SPEC, 0, "the template is too large");
        return false;
}
