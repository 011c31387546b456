/*
 * A spec in JSON: what is refused names a field; what is taken is written, and reads as the same again.
 */
#include "fuzz.h"

#include "domain/spec_json.h"

enum { NODES = 4096, OUT = 512 * 1024 };

static struct json_node nodes[NODES];
static struct spec spec;
static char arena[OUT], out[2][OUT];

static size_t write_spec(char *to)
{
        struct wbuf w = wbuf_over(to, OUT);
        struct json_put j = json_put_over(&w);

        spec_json_put(&j, &spec, spec.runtime);
        NEED(json_put_done(&j));
        return w.len;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
        struct spec_faults faults;
        struct err e;

        if (len > OUT / 16 || json_parse(data, len, nodes, NODES, NULL) < 0)
                return 0;
        spec_init(&spec);
        if (spec_json_read(json_root(nodes), &spec, arena, len + 1, &faults, &e) < 0) {
                NEED(faults.count > 0 && faults.count <= SPEC_FAULTS_MAX && faults.list[0].field[0] && faults.list[0].message[0]);
                return 0;
        }
        size_t n = write_spec(out[0]);
        NEED(json_parse(out[0], n, nodes, NODES, NULL) > 0);
        spec_init(&spec);
        NEED(spec_json_read(json_root(nodes), &spec, arena, n + 1, &faults, &e) == 0);
        NEED(write_spec(out[1]) == n && memcmp(out[0], out[1], n) == 0);
        return 0;
}
