/*
 * What a standby says, and what it is told: what a decoder takes is encoded again and must come out as it went in.
 */
#include "fuzz.h"

#include "wire/prewarm.h"

static uint8_t mem[PREWARM_PACKET_MAX + 64];

static void same(const struct wbuf *w, struct bytes packet)
{
        NEED(!w->bad && w->len == packet.len && memcmp(w->data, packet.data, w->len) == 0);
}

static void again_answer(struct bytes packet)
{
        struct wbuf w = wbuf_over(mem, sizeof(mem));
        struct prewarm_answer m;

        if (prewarm_get_answer(packet, &m) < 0)
                return;
        NEED(packet.len < PREWARM_ANSWER_MAX);
        prewarm_put_answer(&w, &m);
        same(&w, packet);
}

/* C strings, so that they can be put again. */
static char **copy(struct rbuf strings, uint32_t count)
{
        char **out = calloc(count + 1, sizeof(*out));

        NEED(out);
        for (uint32_t i = 0; i < count; i++) {
                struct bytes b = prewarm_run_next(&strings);

                out[i] = fuzz_text(b.data, b.len);
        }
        NEED(rbuf_done(&strings));
        return out;
}

static void drop(char **strings)
{
        for (char **s = strings; *s; s++)
                free(*s);
        free(strings);
}

static void again_run(struct bytes packet)
{
        struct wbuf w = wbuf_over(mem, sizeof(mem));
        struct prewarm_run m;

        if (prewarm_get_run(packet, &m) < 0)
                return;
        char *cwd = fuzz_text(m.cwd.data, m.cwd.len), **argv = copy(m.args, m.argc), **env = copy(m.envs, m.envc);
        prewarm_put_run(&w, m.flags, cwd, argv, env);
        same(&w, packet);
        drop(argv);
        drop(env);
        free(cwd);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
        again_answer((struct bytes){ data, len });
        again_run((struct bytes){ data, len });
        return 0;
}
