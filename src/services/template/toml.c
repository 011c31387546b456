/*
 * Tables of TOML may be written in any order and in parts; what was made how says what may still be added to it.
 */
#include <stdio.h>
#include <string.h>

#include "base/buf.h"
#include "services/template/tree.h"
#include "wire/json.h"
#include "wire/toml.h"

struct building {
        struct tree *t;
        int table;                     /* of the last header */
        int stack[TOML_DEPTH_MAX + 1]; /* arrays and inline tables that are open */
        unsigned depth;
        int value; /* made by a key, waits for what it is; or TREE_NONE */
};

static const char *said(const struct building *b)
{
        return strchr(b->t->e->msg, ':') ? strchr(b->t->e->msg, ':') + 2 : b->t->e->msg; /* the line is told by who reads */
}

/* The table `name` in `at`, made where it is not there; TREE_NONE with *why. */
static int enter(struct building *b, int at, const char *name, int made, unsigned line, const char **why)
{
        int found = tree_find(b->t, at, name);

        if (found == TREE_NONE) {
                found = tree_add(b->t, at, name, strlen(name), line);
                if (found == TREE_NONE) {
                        *why = said(b);
                        return TREE_NONE;
                }
                b->t->nodes[found].kind = NODE_MAP;
                b->t->nodes[found].toml = made;
                return found;
        }
        struct node *n = &b->t->nodes[found];
        if (n->kind == NODE_LIST && n->toml == TOML_TABLES && made != TOML_DOTTED)
                return n->last;
        if (n->kind != NODE_MAP || n->toml == TOML_CLOSED || (made == TOML_DOTTED && n->toml != TOML_DOTTED)) {
                *why = "that name is there already, and nothing can be added to what it is";
                return TREE_NONE;
        }
        return found;
}

static const char *take_header(struct building *b, const struct toml_told *told)
{
        const char *why = NULL, *name = told->path[told->count - 1];
        int at = TREE_ROOT;

        for (unsigned i = 0; i + 1 < told->count && at != TREE_NONE; i++)
                at = enter(b, at, told->path[i], TOML_OPEN, told->line, &why);
        if (at == TREE_NONE)
                return why;
        int found = tree_find(b->t, at, name);
        if (told->event == TOML_TABLE) {
                if (found != TREE_NONE && (b->t->nodes[found].kind != NODE_MAP || b->t->nodes[found].toml != TOML_OPEN))
                        return "the table is there twice";
                b->table = enter(b, at, name, TOML_HEADER, told->line, &why);
                if (b->table != TREE_NONE)
                        b->t->nodes[b->table].toml = TOML_HEADER;
                return why;
        }
        if (found == TREE_NONE && (found = tree_add(b->t, at, name, strlen(name), told->line)) != TREE_NONE) {
                b->t->nodes[found].kind = NODE_LIST;
                b->t->nodes[found].toml = TOML_TABLES;
        }
        if (found == TREE_NONE)
                return said(b);
        if (b->t->nodes[found].toml != TOML_TABLES)
                return "that name is there already, and is no array of tables";
        b->table = tree_add(b->t, found, NULL, 0, told->line);
        if (b->table == TREE_NONE)
                return said(b);
        b->t->nodes[b->table].kind = NODE_MAP;
        b->t->nodes[b->table].toml = TOML_HEADER;
        return NULL;
}

static const char *take_key(struct building *b, const struct toml_told *told)
{
        int at = b->depth > 0 ? b->stack[b->depth - 1] : b->table;
        const char *why = NULL, *name = told->path[told->count - 1];

        for (unsigned i = 0; i + 1 < told->count && at != TREE_NONE; i++)
                at = enter(b, at, told->path[i], TOML_DOTTED, told->line, &why);
        if (at == TREE_NONE)
                return why;
        b->value = tree_add(b->t, at, name, strlen(name), told->line);
        return b->value == TREE_NONE ? said(b) : NULL;
}

/* Where the next value goes: to its key, or behind the last item. */
static int place(struct building *b, unsigned line)
{
        int at = b->value;

        b->value = TREE_NONE;
        return at != TREE_NONE ? at : tree_add(b->t, b->stack[b->depth - 1], NULL, 0, line);
}

static bool set_scalar(struct tree *t, int at, const struct toml_value *v)
{
        char number[64];
        struct wbuf w = wbuf_over(number, sizeof(number));
        struct json_put j = json_put_over(&w);

        if (v->type == TOML_STRING)
                return tree_set(t, at, NODE_STRING, v->string, strlen(v->string));
        if (v->type == TOML_BOOLEAN)
                return tree_set(t, at, NODE_BOOL, v->boolean ? "true" : "false", v->boolean ? 4 : 5);
        if (v->type == TOML_INTEGER)
                json_put_i64(&j, v->integer);
        else
                json_put_double(&j, v->number);
        return tree_set(t, at, NODE_NUMBER, number, w.len);
}

static const char *take_value(struct building *b, const struct toml_told *told)
{
        int at = place(b, told->line);

        if (at == TREE_NONE)
                return said(b);
        if (told->event == TOML_SCALAR)
                return set_scalar(b->t, at, told->value) ? NULL : said(b);
        b->t->nodes[at].kind = told->event == TOML_ARRAY ? NODE_LIST : NODE_MAP;
        b->t->nodes[at].toml = told->event == TOML_ARRAY ? TOML_CLOSED : TOML_OPEN;
        b->stack[b->depth++] = at;
        return NULL;
}

static const char *take(void *ctx, const struct toml_told *told)
{
        struct building *b = ctx;

        switch (told->event) {
        case TOML_TABLE:
        case TOML_ELEMENT:
                return take_header(b, told);
        case TOML_KEY:
                return take_key(b, told);
        case TOML_SCALAR:
        case TOML_ARRAY:
        case TOML_INLINE:
                return take_value(b, told);
        case TOML_END:
                b->t->nodes[b->stack[--b->depth]].toml = TOML_CLOSED;
                break;
        }
        return NULL;
}

int template_read_toml(struct tree *t, const char *text, size_t len)
{
        struct building b = { .t = t, .table = TREE_ROOT, .value = TREE_NONE };
        struct toml_fault fault;

        if (toml_walk(text, len, take, &b, &fault) == 0)
                return 0;
        char why[256]; /* it may be in t->e */
        snprintf(why, sizeof(why), "%s", fault.why);
        tree_bad(t, fault.line, "%s", why);
        return -1;
}
