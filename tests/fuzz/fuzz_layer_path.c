/* Names in layers: whatever is taken stays below the root, part by part, and is its own name. */
#include "fuzz.h"

#include <stdbool.h>

#include "services/image/unpack/path.h"

static bool is_part(const char *part, size_t len)
{
        return len > 0 && len <= LAYER_PART_MAX && !(len == 1 && part[0] == '.') && !(len == 2 && memcmp(part, "..", 2) == 0);
}

/* Parts, with one slash between them and none at either end. */
static void check_parts(const char *text)
{
        unsigned depth = 0;

        for (const char *p = text; *p; depth++) {
                size_t n = strcspn(p, "/");

                NEED(is_part(p, n));
                p += n;
                if (*p == '/')
                        NEED(*++p != '\0');
        }
        NEED(depth <= LAYER_DEPTH_MAX);
}

static void check(const struct layer_path *path)
{
        NEED(memchr(path->text, '\0', sizeof(path->text)));
        NEED(path->text[0] != '/');
        check_parts(path->text);
        /* the parent, a slash where there is one, the base */
        NEED(path->base == path->text + path->parent + (path->parent > 0) && !strchr(path->base, '/'));
        NEED(path->parent == 0 || path->text[path->parent] == '/');
        NEED((path->text[0] == '\0') == (*path->base == '\0'));
}

static void check_whiteout(const char *base)
{
        const char *name = NULL;

        switch (layer_whiteout_of(base, &name)) {
        case LAYER_WHITEOUT:
                NEED(name > base && is_part(name, strlen(name)));
                break;
        case LAYER_PLAIN:
                NEED(strncmp(base, ".wh.", 4) != 0);
                break;
        default:
                NEED(strncmp(base, ".wh.", 4) == 0);
                break;
        }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
        static struct layer_path path, again;
        char *name = fuzz_text(data, len);
        struct err e = { 0 };

        if (layer_path_parse(name, &path, &e) < 0) {
                NEED(e.code == ERR_INVALID_SPEC && e.msg[0]);
        } else {
                check(&path);
                check_whiteout(path.base);
                if (path.text[0])
                        NEED(layer_path_parse(path.text, &again, &e) == 0 && strcmp(again.text, path.text) == 0);
        }
        if (!strchr(name, '/') && is_part(name, len))
                check_whiteout(name);
        free(name);
        return 0;
}
