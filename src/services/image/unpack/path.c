#include "services/image/unpack/path.h"

#include <string.h>

#include "base/str.h"

static int refuse(struct err *e, const char *name, const char *why)
{
        return err_set(e, ERR_INVALID_SPEC, 0, "entry '%.200s' %s", name, why);
}

/* Appends one part. */
static int append(struct layer_path *p, size_t *len, const char *part, size_t n, const char *name, struct err *e)
{
        if (n > LAYER_PART_MAX)
                return refuse(e, name, "has a part of more than 255 bytes");
        if (*len + (*len > 0) + n > LAYER_PATH_MAX)
                return refuse(e, name, "is longer than 4095 bytes");
        p->parent = *len;
        if (*len > 0)
                p->text[(*len)++] = '/';
        p->base = p->text + *len;
        memcpy(p->text + *len, part, n);
        *len += n;
        return 0;
}

int layer_path_parse(const char *name, struct layer_path *out, struct err *e)
{
        size_t len = 0;
        unsigned depth = 0;

        out->parent = 0;
        out->base = out->text;
        if (!*name)
                return err_set(e, ERR_INVALID_SPEC, 0, "an entry has no name");
        for (const char *part = name; *part;) {
                size_t n = strcspn(part, "/");

                if (n == 2 && part[0] == '.' && part[1] == '.')
                        return refuse(e, name, "leads outside the layer: it has a '..' part");
                if (n > 0 && !(n == 1 && part[0] == '.')) {
                        if (++depth > LAYER_DEPTH_MAX)
                                return refuse(e, name, "has more than 256 parts");
                        if (append(out, &len, part, n, name, e) < 0)
                                return -(int)e->code;
                }
                part += n + (part[n] == '/');
        }
        out->text[len] = '\0';
        return 0;
}

enum layer_whiteout layer_whiteout_of(const char *base, const char **name)
{
        if (!str_has_prefix(base, ".wh."))
                return LAYER_PLAIN;
        if (strcmp(base, ".wh..wh..opq") == 0)
                return LAYER_OPAQUE;
        if (str_has_prefix(base, ".wh..wh."))
                return LAYER_AUFS;
        *name = base + 4;
        if (!**name || strcmp(*name, ".") == 0 || strcmp(*name, "..") == 0)
                return LAYER_WHITEOUT_BAD;
        return LAYER_WHITEOUT;
}
