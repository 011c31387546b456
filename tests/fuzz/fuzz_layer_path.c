#include "fuzz.h"

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "services/image/unpack/path.h"

static bool is_part(const char *part, size_t len)
{
        return len > 0 && len <= LAYER_PART_MAX && !(len == 1 && part[0] == '.') && !(len == 2 && memcmp(part, "..", 2) == 0);
}

/* Whatever is accepted stays below the root, part by part, and is its own name. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
        static struct layer_path path, again;
        char *name = malloc(len + 1);
        const char *hidden;
        struct err e;

        if (!name)
                return 0;
        if (len > 0)
                memcpy(name, data, len);
        name[len] = '\0';
        if (layer_path_parse(name, &path, &e) == 0) {
                size_t n;

                if (strlen(path.text) > LAYER_PATH_MAX || path.parent > strlen(path.text) || path.base < path.text ||
                    path.base > path.text + strlen(path.text))
                        __builtin_trap();
                for (const char *p = path.text; *p; p += n + (p[n] == '/')) {
                        n = strcspn(p, "/");
                        if (!is_part(p, n))
                                __builtin_trap();
                }
                if (path.text[0] && (layer_path_parse(path.text, &again, &e) < 0 || strcmp(again.text, path.text) != 0))
                        __builtin_trap();
                if (layer_whiteout_of(path.base, &hidden) == LAYER_WHITEOUT && !is_part(hidden, strlen(hidden)))
                        __builtin_trap();
        }
        free(name);
        return 0;
}
