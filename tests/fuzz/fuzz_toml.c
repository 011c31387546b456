/*
 * A configuration: what is told of it is within its limits, and the same each time; a fault has a line and a reason.
 */
#include "fuzz.h"

#include "wire/toml.h"

struct told {
        uint64_t hash;
        unsigned count;
};

static void mix(struct told *t, const void *data, size_t len)
{
        for (size_t i = 0; i < len; i++)
                t->hash = (t->hash ^ ((const uint8_t *)data)[i]) * 1099511628211ULL;
}

static const char *tell(void *ctx, const char *table, const char *key, const struct toml_value *v)
{
        struct told *t = ctx;

        NEED(strlen(table) <= TOML_NAME_MAX && strlen(key) <= TOML_NAME_MAX && *key && ++t->count <= TOML_KEYS_MAX);
        mix(t, table, strlen(table) + 1);
        mix(t, key, strlen(key) + 1);
        switch (v->type) {
        case TOML_STRING:
                NEED(strlen(v->string) <= TOML_STRING_MAX);
                mix(t, v->string, strlen(v->string));
                break;
        case TOML_STRINGS:
                NEED(v->count <= TOML_ITEMS_MAX);
                for (size_t i = 0; i < v->count; i++) {
                        NEED(strlen(v->items[i]) <= TOML_STRING_MAX);
                        mix(t, v->items[i], strlen(v->items[i]));
                }
                break;
        case TOML_INTEGER:
                NEED(v->number == (double)v->integer);
                mix(t, &v->integer, sizeof(v->integer));
                break;
        case TOML_FLOAT:
                NEED(v->number > -1e19 && v->number < 1e19);
                break;
        case TOML_BOOLEAN:
                mix(t, &v->boolean, sizeof(v->boolean));
                break;
        }
        return t->count == 200 ? "enough" : NULL;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
        struct told first = { 0 }, second = { 0 };
        struct toml_fault fault, again;
        int r = toml_read((const char *)data, len, tell, &first, &fault);

        NEED(r == 0 || (fault.why && fault.line >= 1 && fault.line <= len + 1));
        NEED(toml_read((const char *)data, len, tell, &second, &again) == r && first.hash == second.hash && again.line == fault.line);
        return 0;
}
