/*
 * A template in any of its languages (the first byte says which): what is refused has a line; what is taken is JSON within the limits, and that JSON, read
 * as a template, is the same again.
 */
#include "fuzz.h"

#include "services/template/template.h"
#include "wire/json.h"

enum { NODES = 2 * TEMPLATE_VALUES_MAX + 2, OUT = 1024 * 1024 };

static struct json_node nodes[NODES];
static char out[2][OUT];

static void measure(const struct json_node *n, unsigned depth)
{
        NEED(depth <= TEMPLATE_DEPTH_MAX && json_count(n) <= TEMPLATE_MEMBERS_MAX);
        for (const struct json_node *m = json_first(n); m; m = json_next(n, m))
                measure(json_is_object(n) ? json_value(m) : m, depth + 1);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
        struct wbuf w = wbuf_over(out[0], OUT), again = wbuf_over(out[1], OUT);
        struct err e = { 0 };

        if (len == 0)
                return 0;
        enum template_format format = (enum template_format)(data[0] % TEMPLATE_FORMATS);
        if (template_read(format, (const char *)data + 1, len - 1, &w, &e) < 0) {
                NEED(e.code == ERR_INVALID_SPEC && e.msg[0]);
                return 0;
        }
        NEED(json_parse(out[0], w.len, nodes, NODES, NULL) > 0 && json_is_object(nodes));
        measure(nodes, 0);
        if (w.len > TEMPLATE_TEXT_MAX)
                return 0;
        if (template_read(TEMPLATE_JSON, out[0], w.len, &again, &e) == 0)
                NEED(again.len == w.len && memcmp(out[0], out[1], w.len) == 0);
        else
                NEED(strstr(e.msg, "NUL")); /* YAML can write one */
        return 0;
}
