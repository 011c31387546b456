#include "services/template/template.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/str.h"
#include "domain/limits.h"
#include "services/template/tree.h"
#include "wire/json.h"

enum { JSON_NODES = 2 * TEMPLATE_VALUES_MAX + 2 };

static const char *const names[TEMPLATE_FORMATS] = { [TEMPLATE_YAML] = "yaml", [TEMPLATE_TOML] = "toml", [TEMPLATE_JSON] = "json" };

enum template_format template_format_of(const char *name)
{
        unsigned i = 0;

        while (i < TEMPLATE_FORMATS && strcmp(names[i], name) != 0)
                i++;
        return (enum template_format)i;
}

/* ---- JSON ---- */

static unsigned line_of(const char *text, const char *at)
{
        unsigned line = 1;

        for (; text < at; text++)
                line += *text == '\n';
        return line;
}

static bool take_json(struct tree *t, int at, const struct json_node *n, const char *text);

static bool take_members(struct tree *t, int at, const struct json_node *n, const char *text)
{
        char key[TEMPLATE_MEMBERS_MAX];
        bool map = json_is_object(n);

        for (const struct json_node *m = json_first(n); m; m = json_next(n, m)) {
                unsigned line = line_of(text, m->text);

                if (map && !json_str(m, key, sizeof(key))) {
                        tree_bad(t, line, "a key has at most %d bytes, and no NUL", TEMPLATE_MEMBERS_MAX - 1);
                        return false;
                }
                int child = tree_add(t, at, map ? key : NULL, map ? strlen(key) : 0, line);
                if (child == TREE_NONE || !take_json(t, child, map ? json_value(m) : m, text))
                        return false;
        }
        return true;
}

static bool take_string(struct tree *t, int at, const struct json_node *n, const char *text)
{
        char *copy = malloc(n->len + 1);
        bool good = copy && json_str(n, copy, n->len + 1);

        if (!copy)
                err_set(t->e, ERR_RESOURCE_EXHAUSTED, 0, "out of memory");
        else if (!good)
                tree_bad(t, line_of(text, n->text), "a string with a NUL in it");
        else
                good = tree_set(t, at, NODE_STRING, copy, strlen(copy));
        free(copy);
        return good;
}

/* As deep as the tree allows. */
static bool take_json(struct tree *t, int at, const struct json_node *n, const char *text)
{
        switch (n->kind) {
        case JSON_KIND_NULL:
                return tree_set(t, at, NODE_NULL, NULL, 0);
        case JSON_KIND_BOOL:
                return tree_set(t, at, NODE_BOOL, n->text, n->len);
        case JSON_KIND_NUMBER:
                return tree_set(t, at, NODE_NUMBER, n->text, n->len);
        case JSON_KIND_STRING:
                return take_string(t, at, n, text);
        case JSON_KIND_ARRAY:
        case JSON_KIND_OBJECT:
                break;
        }
        return tree_set(t, at, json_is_object(n) ? NODE_MAP : NODE_LIST, NULL, 0) && take_members(t, at, n, text);
}

int template_read_json(struct tree *t, const char *text, size_t len)
{
        struct json_node *nodes = calloc(JSON_NODES, sizeof(*nodes));
        struct json_fault fault;
        bool good = false;

        int n = nodes ? json_parse(text, len, nodes, JSON_NODES, &fault) : 0;
        if (!nodes)
                err_set(t->e, ERR_RESOURCE_EXHAUSTED, 0, "out of memory");
        else if (n == JSON_MORE_NODES)
                tree_bad(t, line_of(text, text + fault.at), "more than %d values", TEMPLATE_VALUES_MAX);
        else if (n < 0)
                tree_bad(t, line_of(text, text + fault.at), "%s", fault.why);
        else if (!json_is_object(nodes))
                tree_bad(t, line_of(text, nodes->text), "it is not an object");
        else
                good = take_json(t, TREE_ROOT, nodes, text);
        free(nodes);
        return good ? 0 : -1;
}

/* ---- out of the tree ---- */

static void put_node(const struct tree *t, int at, struct json_put *j)
{
        const struct node *n = &t->nodes[at];

        if (n->kind == NODE_NULL)
                json_put_null(j);
        else if (n->kind == NODE_STRING)
                json_put_string_len(j, n->text, n->len);
        else if (n->kind == NODE_BOOL || n->kind == NODE_NUMBER)
                json_put_raw(j, n->text, n->len);
        if (n->kind != NODE_LIST && n->kind != NODE_MAP)
                return;
        if (n->kind == NODE_MAP)
                json_put_object(j);
        else
                json_put_array(j);
        for (int i = n->first; i != TREE_NONE; i = t->nodes[i].next) {
                if (n->kind == NODE_MAP)
                        json_put_key(j, t->nodes[i].key);
                put_node(t, i, j);
        }
        json_put_end(j);
}

/* "512M" where a size is meant becomes the number of bytes, which is what the API takes. */
static bool take_sizes(struct tree *t)
{
        static const char *const limits[] = { "resourceLimits", "resources" };
        int inner = tree_find(t, TREE_ROOT, "spec"), spec = inner == TREE_NONE ? TREE_ROOT : inner;
        char text[24];
        uint64_t bytes;

        for (unsigned k = 0; k < 2; k++) {
                int map = tree_find(t, spec, limits[k]);

                for (unsigned i = 0; map != TREE_NONE && i < LIMIT_COUNT; i++) {
                        int at = tree_find(t, map, limit_table[i].field);
                        const struct node *n = &t->nodes[at == TREE_NONE ? 0 : at];

                        if (at == TREE_NONE || !limit_table[i].is_bytes || n->kind != NODE_STRING || !str_parse_bytes(n->text, &bytes))
                                continue;
                        int len = snprintf(text, sizeof(text), "%llu", (unsigned long long)bytes);
                        if (!tree_set(t, at, NODE_NUMBER, text, (size_t)len))
                                return false;
                }
        }
        return true;
}

int template_read(enum template_format format, const char *text, size_t len, struct wbuf *out, struct err *e)
{
        static int (*const readers[TEMPLATE_FORMATS])(struct tree * t, const char *text, size_t len) = {
                [TEMPLATE_YAML] = template_read_yaml, [TEMPLATE_TOML] = template_read_toml, [TEMPLATE_JSON] = template_read_json
        };

        if (len > TEMPLATE_TEXT_MAX)
                return err_set(e, ERR_INVALID_SPEC, 0, "the template has %zu bytes; at most %d are taken", len, TEMPLATE_TEXT_MAX);
        struct tree *t = tree_new(len, e);
        struct json_put j = json_put_over(out);
        bool good = t && readers[format](t, text, len) == 0 && take_sizes(t);
        if (good)
                put_node(t, TREE_ROOT, &j);
        tree_free(t);
        if (good && !json_put_done(&j)) {
                err_set(e, ERR_RESOURCE_EXHAUSTED, 0, "out of memory");
                good = false;
        }
        return good ? 0 : -(int)e->code;
}
