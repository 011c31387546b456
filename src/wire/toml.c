#include "wire/toml.h"

#include <stdlib.h>
#include <string.h>

#include "base/str.h"
#include "base/utf8.h"

/* Strings of one value lie here one behind the other; an array has at most this much in all. */
enum { ROOM = 16 * 1024 };

struct reader {
        const char *at, *end;
        toml_fn *fn;
        toml_tell_fn *tell;
        void *ctx;
        struct toml_fault *fault;
        unsigned line;
        char table[2 * (TOML_NAME_MAX + 1)], key[TOML_NAME_MAX + 1];
        char *room;
        size_t room_size, used, string_max;
        const char *path[TOML_PATH_MAX];
        unsigned path_count;
        const char *items[TOML_ITEMS_MAX];
        uint64_t seen[TOML_KEYS_MAX]; /* hashes of keys and tables there were */
        size_t seen_count;
};

static bool bad(struct reader *r, const char *why)
{
        if (!r->fault->why)
                *r->fault = (struct toml_fault){ r->line, why };
        return false;
}

static int peek(const struct reader *r)
{
        return r->at < r->end ? (unsigned char)*r->at : -1;
}

static bool take(struct reader *r, char c)
{
        if (peek(r) != c)
                return false;
        r->at++;
        return true;
}

static void skip_blanks(struct reader *r)
{
        while (peek(r) == ' ' || peek(r) == '\t')
                r->at++;
}

/* To behind the end of the line, over blanks and a comment. */
static bool end_line(struct reader *r)
{
        skip_blanks(r);
        if (take(r, '#'))
                for (int c; (c = peek(r)) != '\n' && c != -1; r->at++)
                        if ((c < ' ' && c != '\t' && c != '\r') || c == 0x7f)
                                return bad(r, "a control character in a comment");
        take(r, '\r');
        if (r->at < r->end && !take(r, '\n'))
                return bad(r, "there is something behind the value");
        r->line++;
        return true;
}

/* ---- strings ---- */

static bool put(struct reader *r, size_t from, char c)
{
        if (r->used - from >= r->string_max)
                return bad(r, "a string is longer than 1023 bytes");
        if (r->used + 1 >= r->room_size)
                return bad(r, "an array has more than 16 KiB");
        r->room[r->used++] = c;
        return true;
}

static bool put_code(struct reader *r, size_t from, uint32_t code)
{
        char bytes[UTF8_SIZE_MAX];

        if (code == 0 || code > 0x10ffff || (code >= 0xd800 && code < 0xe000))
                return bad(r, "an escape names no character that is taken");
        for (size_t i = 0, n = utf8_put(bytes, (int32_t)code); i < n; i++)
                if (!put(r, from, bytes[i]))
                        return false;
        return true;
}

static bool is_utf8(const char *s, size_t len)
{
        const uint8_t *at = (const uint8_t *)s, *end = at + len;

        while (at < end)
                if (utf8_get(&at, end) == UTF8_NONE)
                        return false;
        return true;
}

static bool take_escape(struct reader *r, size_t from)
{
        static const char names[] = "btnfr\"\\", means[] = "\b\t\n\f\r\"\\";
        int c = peek(r);
        const char *known = c > 0 ? strchr(names, c) : NULL;
        unsigned digits = c == 'u' ? 4 : c == 'U' ? 8 : 0;
        uint32_t code = 0;

        if (!known && !digits)
                return bad(r, "there is no such escape");
        r->at++;
        if (known)
                return put(r, from, means[known - names]);
        for (; digits > 0; digits--, r->at++) {
                int d = peek(r);
                int value = d >= '0' && d <= '9' ? d - '0' : d >= 'a' && d <= 'f' ? d - 'a' + 10 : d >= 'A' && d <= 'F' ? d - 'A' + 10 : -1;

                if (value < 0)
                        return bad(r, "an escape wants hexadecimal digits");
                code = code << 4 | (uint32_t)value;
        }
        return put_code(r, from, code);
}

/* The string whose quote comes next; NULL where it is none. */
static const char *take_string(struct reader *r)
{
        size_t from = r->used;
        char quote = *r->at++;

        if (r->end - r->at >= 2 && r->at[0] == quote && r->at[1] == quote) {
                bad(r, "strings of several lines are not taken");
                return NULL;
        }
        while (peek(r) != quote) {
                int c = peek(r);

                if (c == -1 || c == '\n') {
                        bad(r, "a string does not end on its line");
                        return NULL;
                }
                if ((c < ' ' && c != '\t') || c == 0x7f) {
                        bad(r, "a control character in a string");
                        return NULL;
                }
                r->at++;
                if (!(c == '\\' && quote == '"' ? take_escape(r, from) : put(r, from, (char)c)))
                        return NULL;
        }
        r->at++;
        if (!is_utf8(r->room + from, r->used - from)) {
                bad(r, "a string is not UTF-8");
                return NULL;
        }
        r->room[r->used++] = '\0'; /* put() left room for it */
        return r->room + from;
}

/* ---- values ---- */

/* To the next thing of an array, which may go over lines with comments. */
static bool skip_lines(struct reader *r)
{
        for (;;) {
                skip_blanks(r);
                if (peek(r) != '#' && peek(r) != '\n' && peek(r) != '\r')
                        return true;
                if (!end_line(r))
                        return false;
        }
}

static bool take_array(struct reader *r, struct toml_value *v)
{
        v->type = TOML_STRINGS;
        v->items = r->items;
        r->at++;
        for (bool more = true; skip_lines(r); more = take(r, ',')) {
                if (more && !skip_lines(r))
                        return false;
                if (take(r, ']'))
                        return true;
                if (!more)
                        return bad(r, "an array wants a comma or its end");
                if (peek(r) != '"' && peek(r) != '\'')
                        return bad(r, "an array is of strings here");
                if (v->count == TOML_ITEMS_MAX)
                        return bad(r, "an array has more than 64 strings");
                if (!(r->items[v->count++] = take_string(r)) || !skip_lines(r))
                        return false;
        }
        return false;
}

/* A number, true or false: what stands up to a blank, a comma, a comment. */
static bool take_word(struct reader *r, struct toml_value *v)
{
        char word[64];
        size_t n = 0;
        bool decimal = false;

        for (int c; (c = peek(r)) != -1 && !strchr(" \t\r\n#,]}", c); r->at++) {
                if (n + 1 == sizeof(word) || c == 0)
                        return bad(r, "that is no value");
                if (c == '_' && n > 0 && word[n - 1] >= '0' && word[n - 1] <= '9' && r->at + 1 < r->end && r->at[1] >= '0' &&
                    r->at[1] <= '9')
                        continue;
                decimal |= c == '.';
                word[n++] = (char)c;
        }
        word[n] = '\0';
        if (strcmp(word, "true") == 0 || strcmp(word, "false") == 0) {
                v->type = TOML_BOOLEAN;
                v->boolean = *word == 't';
                return true;
        }
        const char *digits = word + (*word == '-' || *word == '+');
        size_t whole = strspn(digits, "0123456789"), places = digits[whole] == '.' ? strspn(digits + whole + 1, "0123456789") : 0;
        if (whole == 0 || whole > 18 || (whole > 1 && *digits == '0') || digits[whole + (decimal ? 1 + places : 0)] != '\0' ||
            (decimal && places == 0))
                return bad(r, n == 0 ? "a value is missing"
                                     : "that is no value: a string stands in quotes, a number has digits and at most one point");
        v->type = decimal ? TOML_FLOAT : TOML_INTEGER;
        v->integer = strtoll(word, NULL, 10);
        /* strtod() takes for a point what the locale says */
        double scale = 1, part = 0;
        for (size_t i = 0; i < places; i++) {
                scale /= 10;
                part += (digits[whole + 1 + i] - '0') * scale;
        }
        v->number = (double)v->integer + (*word == '-' ? -part : part);
        return true;
}

static bool take_value(struct reader *r, struct toml_value *v)
{
        r->used = 0;
        switch (peek(r)) {
        case '"':
        case '\'':
                v->type = TOML_STRING;
                return (v->string = take_string(r)) != NULL;
        case '[':
                return take_array(r, v);
        case '{':
                return bad(r, "inline tables are not taken");
        default:
                return take_word(r, v);
        }
}

/* ---- keys ---- */

static bool once(struct reader *r, const char *key)
{
        uint64_t hash = str_hash(STR_HASH, r->table, strlen(r->table) + 1); /* with the NUL, which is in neither */

        hash = str_hash(hash, key, strlen(key));
        for (size_t i = 0; i < r->seen_count; i++)
                if (r->seen[i] == hash)
                        return bad(r, *key ? "the key is there twice" : "the table is there twice");
        if (r->seen_count == TOML_KEYS_MAX)
                return bad(r, "more than 512 keys");
        r->seen[r->seen_count++] = hash;
        return true;
}

static bool take_name(struct reader *r, char *out)
{
        size_t n = 0;

        skip_blanks(r);
        for (int c; (c = peek(r)) == '_' || c == '-' || (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
             r->at++) {
                if (n == TOML_NAME_MAX)
                        return bad(r, "a name is longer than 63 bytes");
                out[n++] = (char)c;
        }
        out[n] = '\0';
        skip_blanks(r);
        return n > 0 || bad(r, "a name of letters, digits, '_' and '-' is wanted here");
}

/* "runtime", or "runtime.youki". */
static bool take_table(struct reader *r)
{
        if (!take_name(r, r->table))
                return false;
        size_t n = strlen(r->table);
        if (!take(r, '.'))
                return true;
        r->table[n] = '.';
        return take_name(r, r->table + n + 1);
}

static bool take_line(struct reader *r)
{
        struct toml_value v = { 0 };

        skip_blanks(r);
        if (r->at == r->end || peek(r) == '#' || peek(r) == '\n' || peek(r) == '\r')
                return end_line(r);
        if (take(r, '[')) {
                if (peek(r) == '[')
                        return bad(r, "arrays of tables are not taken");
                return take_table(r) && (take(r, ']') || bad(r, "a table's name ends with ']'")) && once(r, "") && end_line(r);
        }
        if (!take_name(r, r->key) || !(take(r, '=') || bad(r, "a key wants '=' and a value")))
                return false;
        skip_blanks(r);
        unsigned line = r->line;
        if (!once(r, r->key) || !take_value(r, &v))
                return false;
        const char *why = r->fn(r->ctx, r->table, r->key, &v);
        if (why) {
                *r->fault = (struct toml_fault){ line, why };
                return false;
        }
        return end_line(r);
}

/* ---- documents ---- */

static bool tell(struct reader *r, enum toml_event event, const struct toml_value *v)
{
        const struct toml_told told = { event, r->line, r->path, r->path_count, v };
        const char *why = r->tell(r->ctx, &told);

        return !why || bad(r, why);
}

static bool is_bare(int c)
{
        return c == '_' || c == '-' || (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
}

static const char *take_part(struct reader *r)
{
        size_t from = r->used;

        if (peek(r) == '"' || peek(r) == '\'')
                return take_string(r);
        for (; is_bare(peek(r)); r->at++)
                if (!put(r, from, *r->at))
                        return NULL;
        if (r->used == from) {
                bad(r, "a name is wanted here: letters, digits, '_' and '-', or a string");
                return NULL;
        }
        r->room[r->used++] = '\0';
        return r->room + from;
}

static bool take_path(struct reader *r)
{
        r->used = 0;
        r->path_count = 0;
        do {
                skip_blanks(r);
                if (r->path_count == TOML_PATH_MAX)
                        return bad(r, "more than 16 names with dots between");
                if (!(r->path[r->path_count++] = take_part(r)))
                        return false;
                skip_blanks(r);
        } while (take(r, '.'));
        return true;
}

static bool walk_value(struct reader *r, unsigned depth);

static bool walk_pair(struct reader *r, unsigned depth)
{
        if (!take_path(r) || !(take(r, '=') || bad(r, "a key wants '=' and a value")) || !tell(r, TOML_KEY, NULL))
                return false;
        skip_blanks(r);
        return walk_value(r, depth);
}

static bool walk_array(struct reader *r, unsigned depth)
{
        if (!tell(r, TOML_ARRAY, NULL))
                return false;
        for (bool more = true; skip_lines(r); more = take(r, ',')) {
                if (more && !skip_lines(r))
                        return false;
                if (take(r, ']'))
                        return tell(r, TOML_END, NULL);
                if (!more || r->at == r->end)
                        return bad(r, "an array wants a comma or its end");
                if (!walk_value(r, depth) || !skip_lines(r))
                        return false;
        }
        return false;
}

static bool walk_inline(struct reader *r, unsigned depth)
{
        if (!tell(r, TOML_INLINE, NULL))
                return false;
        skip_blanks(r);
        if (take(r, '}'))
                return tell(r, TOML_END, NULL);
        do {
                if (!walk_pair(r, depth))
                        return false;
                skip_blanks(r);
        } while (take(r, ','));
        return (take(r, '}') || bad(r, "an inline table wants a comma or its end, on the same line")) && tell(r, TOML_END, NULL);
}

/* Nested as deep as TOML_DEPTH_MAX. */
static bool walk_value(struct reader *r, unsigned depth)
{
        struct toml_value v = { 0 };

        r->used = 0;
        if (depth == TOML_DEPTH_MAX)
                return bad(r, "values are nested more than 16 deep");
        if (take(r, '['))
                return walk_array(r, depth + 1);
        if (take(r, '{'))
                return walk_inline(r, depth + 1);
        if (peek(r) == '"' || peek(r) == '\'') {
                v.type = TOML_STRING;
                return (v.string = take_string(r)) && tell(r, TOML_SCALAR, &v);
        }
        return take_word(r, &v) && tell(r, TOML_SCALAR, &v);
}

static bool walk_line(struct reader *r)
{
        skip_blanks(r);
        if (r->at == r->end || peek(r) == '#' || peek(r) == '\n' || peek(r) == '\r')
                return end_line(r);
        if (!take(r, '['))
                return walk_pair(r, 0) && end_line(r);
        bool element = take(r, '[');
        if (!take_path(r))
                return false;
        if (!take(r, ']') || (element && !take(r, ']')))
                return bad(r, element ? "the name of an array of tables ends with ']]'" : "a table's name ends with ']'");
        return tell(r, element ? TOML_ELEMENT : TOML_TABLE, NULL) && end_line(r);
}

/* ---- both ---- */

static int read_all(struct reader *r, const char *text, size_t len, struct toml_fault *fault, bool (*line)(struct reader *r))
{
        bool good = r && (r->room = malloc(r->room_size));

        *fault = (struct toml_fault){ 0, good ? NULL : "out of memory" };
        if (good) {
                r->at = text;
                r->end = text + len;
                r->line = 1;
                r->fault = fault;
        }
        while (good && r->at < r->end)
                good = line(r);
        if (r)
                free(r->room);
        free(r);
        return good ? 0 : -1;
}

int toml_read(const char *text, size_t len, toml_fn *fn, void *ctx, struct toml_fault *fault)
{
        struct reader *r = calloc(1, sizeof(*r));

        if (r)
                *r = (struct reader){ .fn = fn, .ctx = ctx, .room_size = ROOM, .string_max = TOML_STRING_MAX };
        return read_all(r, text, len, fault, take_line);
}

/* What a value or a path has of strings is never more than the text has. */
int toml_walk(const char *text, size_t len, toml_tell_fn *fn, void *ctx, struct toml_fault *fault)
{
        struct reader *r = calloc(1, sizeof(*r));

        if (r)
                *r = (struct reader){ .tell = fn, .ctx = ctx, .room_size = len + 2 * TOML_PATH_MAX, .string_max = len };
        return read_all(r, text, len, fault, walk_line);
}
