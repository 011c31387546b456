#include "fuzz.h"

#include <string.h>

#include "domain/image_ref.h"
#include "services/image/manifest.h"

static size_t check_list(const struct config_list *l)
{
        size_t sum = 0;

        if (l->count > MANIFEST_STRINGS_MAX || l->items[l->count])
                __builtin_trap();
        for (size_t i = 0; i < l->count; i++) {
                if (strlen(l->items[i]) > MANIFEST_STRING_MAX)
                        __builtin_trap();
                sum += strlen(l->items[i]);
        }
        return sum;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
        static struct config c;
        struct err e;

        if (len > MANIFEST_JSON_MAX || config_parse((const char *)data, len, &c, &e) < 0)
                return 0;
        if (check_list(&c.env) + check_list(&c.entrypoint) + check_list(&c.cmd) > MANIFEST_TEXT_MAX ||
            c.layer_count > MANIFEST_LAYERS_MAX || !c.cwd || !c.user)
                __builtin_trap();
        for (size_t i = 0; i < c.env.count; i++)
                if (!strchr(c.env.items[i], '=') || c.env.items[i][0] == '=')
                        __builtin_trap();
        for (size_t i = 0; i < c.layer_count; i++)
                if (!image_is_hex(c.diff_ids[i]))
                        __builtin_trap();
        config_release(&c);
        return 0;
}
