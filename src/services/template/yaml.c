/*
 * YAML by libyaml, which knows the syntax; what a plain scalar means is decided here, by the core schema of YAML 1.2: `no` is a string, 010 is ten. Nothing
 * points anywhere: anchors, aliases, tags and merge keys are refused, so that what a reader sees is what is meant, and its size is the text's.
 */
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <yaml.h>

#include "services/template/tree.h"

enum { NUMBER_MAX = 48 };

struct reading {
        struct tree *t;
        int stack[TEMPLATE_DEPTH_MAX + 2];
        unsigned depth;
        int value;  /* made by a key, waits for what it is; or TREE_NONE */
        bool began; /* there was a document */
};

/* ---- plain scalars ---- */

static bool is_one_of(const char *s, const char *const *words)
{
        while (*words && strcmp(s, *words) != 0)
                words++;
        return *words;
}

/* 0x1F, 0o17: as decimal. */
static bool based(const char *s, char out[NUMBER_MAX])
{
        unsigned base = s[0] == '0' && s[1] == 'x' ? 16 : s[0] == '0' && s[1] == 'o' ? 8 : 0;
        uint64_t v = 0;

        if (base == 0 || s[2] == '\0' || strlen(s) > 18)
                return false;
        for (s += 2; *s; s++) {
                int d = *s >= '0' && *s <= '9'   ? *s - '0'
                        : *s >= 'a' && *s <= 'f' ? *s - 'a' + 10
                        : *s >= 'A' && *s <= 'F' ? *s - 'A' + 10
                                                 : 16;

                if ((unsigned)d >= base)
                        return false;
                v = v * base + (unsigned)d;
        }
        snprintf(out, NUMBER_MAX, "%llu", (unsigned long long)v);
        return true;
}

/* [-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)? as JSON writes it. 1: it is one; 0: it is none; -1: it is too long. */
static int decimal(const char *s, char out[NUMBER_MAX])
{
        bool minus = *s == '-';
        const char *whole = s + (*s == '-' || *s == '+');
        size_t whole_len = strspn(whole, "0123456789");
        const char *rest = whole + whole_len, *part = rest + 1, *power = NULL;
        size_t part_len = *rest == '.' ? strspn(part, "0123456789") : 0;

        if (whole_len + part_len == 0)
                return 0;
        if (*rest == '.')
                rest = part + part_len;
        if (*rest == 'e' || *rest == 'E') {
                power = rest + 1;
                rest = power + (*power == '-' || *power == '+');
                size_t n = strspn(rest, "0123456789");
                if (n == 0)
                        return 0;
                rest += n;
        }
        if (*rest)
                return 0;
        for (; whole_len > 1 && *whole == '0'; whole_len--)
                whole++;
        int n = snprintf(out, NUMBER_MAX, "%s%.*s%s%.*s%s%s", minus ? "-" : "", whole_len ? (int)whole_len : 1, whole_len ? whole : "0",
                         part_len ? "." : "", (int)part_len, part_len ? part : "", power ? "e" : "", power ? power : "");
        return n < NUMBER_MAX ? 1 : -1;
}

/* What a plain scalar is; `out` gets a number. NODE_LIST: nothing that can be taken. */
static enum node_kind resolve(const char *s, char out[NUMBER_MAX], const char **why)
{
        static const char *const nulls[] = { "", "~", "null", "Null", "NULL", NULL }, *const bools[] = { "true",  "True",  "TRUE", "false",
                                                                                                         "False", "FALSE", NULL },
                                 *const odd[] = { ".inf",  ".Inf",  ".INF", "+.inf", "+.Inf", "+.INF", "-.inf",
                                                  "-.Inf", "-.INF", ".nan", ".NaN",  ".NAN",  NULL };

        if (is_one_of(s, nulls))
                return NODE_NULL;
        if (is_one_of(s, bools)) {
                snprintf(out, NUMBER_MAX, "%s", *s == 't' || *s == 'T' ? "true" : "false");
                return NODE_BOOL;
        }
        if (based(s, out))
                return NODE_NUMBER;
        int is = decimal(s, out);
        if (is == 0 && !is_one_of(s, odd))
                return NODE_STRING;
        *why = is < 0 ? "a number is longer than 47 bytes" : "infinity and not-a-number are no values here; a string stands in quotes";
        return is > 0 ? NODE_NUMBER : NODE_LIST;
}

/* ---- events ---- */

static unsigned line_of(const yaml_event_t *e)
{
        return (unsigned)e->start_mark.line + 1;
}

static bool refuse(struct reading *r, const yaml_event_t *e, const char *why)
{
        tree_bad(r->t, line_of(e), "%s", why);
        return false;
}

static bool plain_words(struct reading *r, const yaml_event_t *e, const yaml_char_t *anchor, const yaml_char_t *tag)
{
        if (anchor)
                return refuse(r, e, "anchors (&) are not taken");
        return !tag || refuse(r, e, "tags (!) are not taken");
}

/* Where the value of this event goes; TREE_NONE where it goes nowhere. */
static int place(struct reading *r, const yaml_event_t *e)
{
        int at = r->value, parent = r->stack[r->depth - 1];

        r->value = TREE_NONE;
        return at != TREE_NONE ? at : tree_add(r->t, parent, NULL, 0, line_of(e));
}

static bool wants_key(const struct reading *r)
{
        return r->depth > 0 && r->value == TREE_NONE && r->t->nodes[r->stack[r->depth - 1]].kind == NODE_MAP;
}

static bool take_key(struct reading *r, const yaml_event_t *e)
{
        const char *s = (const char *)e->data.scalar.value, *why;
        bool plain = e->data.scalar.style == YAML_PLAIN_SCALAR_STYLE;
        char number[NUMBER_MAX];

        if (plain && strcmp(s, "<<") == 0)
                return refuse(r, e, "merge keys (<<) are not taken");
        if (plain && resolve(s, number, &why) != NODE_STRING) {
                tree_bad(r->t, line_of(e), "a key is a string: \"%.40s\" in quotes", s);
                return false;
        }
        r->value = tree_add(r->t, r->stack[r->depth - 1], s, e->data.scalar.length, line_of(e));
        return r->value != TREE_NONE;
}

static bool take_scalar(struct reading *r, const yaml_event_t *e)
{
        const char *s = (const char *)e->data.scalar.value, *why;
        size_t len = e->data.scalar.length;
        enum node_kind kind = NODE_STRING;
        char number[NUMBER_MAX];

        if (!plain_words(r, e, e->data.scalar.anchor, e->data.scalar.tag))
                return false;
        if (r->depth == 0)
                return refuse(r, e, "it is not a mapping of names to values");
        if (wants_key(r))
                return take_key(r, e);
        if (e->data.scalar.style == YAML_PLAIN_SCALAR_STYLE)
                kind = resolve(s, number, &why);
        if (kind == NODE_LIST)
                return refuse(r, e, why);
        int at = place(r, e);
        if (at == TREE_NONE)
                return false;
        if (kind == NODE_STRING)
                return tree_set(r->t, at, kind, s, len);
        return tree_set(r->t, at, kind, kind == NODE_NULL ? NULL : number, kind == NODE_NULL ? 0 : strlen(number));
}

static bool open_node(struct reading *r, const yaml_event_t *e, enum node_kind kind)
{
        int at = TREE_ROOT;

        if (wants_key(r))
                return refuse(r, e, "a key is a string, no list and no mapping");
        if (r->depth == 0 && kind == NODE_LIST)
                return refuse(r, e, "it is not a mapping of names to values");
        if (r->depth > 0 && (at = place(r, e)) == TREE_NONE)
                return false;
        r->t->nodes[at].kind = kind;
        r->stack[r->depth++] = at; /* the tree is no deeper than its limit */
        return true;
}

static bool take_document(struct reading *r, const yaml_event_t *e)
{
        const yaml_version_directive_t *version = e->data.document_start.version_directive;

        if (r->began)
                return refuse(r, e, "more than one document");
        r->began = true;
        if (version && (version->major != 1 || version->minor != 2))
                return refuse(r, e, "it is YAML 1.2 that is read here");
        if (e->data.document_start.tag_directives.start != e->data.document_start.tag_directives.end)
                return refuse(r, e, "tags (%TAG) are not taken");
        return true;
}

static bool take_event(struct reading *r, const yaml_event_t *e)
{
        switch (e->type) {
        case YAML_DOCUMENT_START_EVENT:
                return take_document(r, e);
        case YAML_ALIAS_EVENT:
                return refuse(r, e, "aliases (*) are not taken");
        case YAML_SCALAR_EVENT:
                return take_scalar(r, e);
        case YAML_SEQUENCE_START_EVENT:
                return plain_words(r, e, e->data.sequence_start.anchor, e->data.sequence_start.tag) && open_node(r, e, NODE_LIST);
        case YAML_MAPPING_START_EVENT:
                return plain_words(r, e, e->data.mapping_start.anchor, e->data.mapping_start.tag) && open_node(r, e, NODE_MAP);
        case YAML_SEQUENCE_END_EVENT:
        case YAML_MAPPING_END_EVENT:
                r->depth--;
                return true;
        case YAML_STREAM_END_EVENT:
                return r->began || refuse(r, e, "there is nothing in it");
        default:
                return true;
        }
}

static bool next(struct reading *r, yaml_parser_t *parser, bool *end)
{
        yaml_event_t e;

        if (!yaml_parser_parse(parser, &e)) {
                tree_bad(r->t, (unsigned)parser->problem_mark.line + 1, "%s", parser->problem ? parser->problem : "out of memory");
                return false;
        }
        bool good = take_event(r, &e);
        *end = e.type == YAML_STREAM_END_EVENT;
        yaml_event_delete(&e);
        return good;
}

int template_read_yaml(struct tree *t, const char *text, size_t len)
{
        struct reading r = { .t = t, .value = TREE_NONE };
        yaml_parser_t parser;
        bool good = true;

        if (!yaml_parser_initialize(&parser)) {
                err_set(t->e, ERR_RESOURCE_EXHAUSTED, 0, "out of memory");
                return -1;
        }
        yaml_parser_set_input_string(&parser, (const unsigned char *)text, len);
        yaml_parser_set_encoding(&parser, YAML_UTF8_ENCODING);
        for (bool end = false; good && !end;)
                good = next(&r, &parser, &end);
        yaml_parser_delete(&parser);
        return good ? 0 : -1;
}
