/*
 * Everything that decodes bytes of the guest protocol. What a decoder takes is encoded again and must come out as it went in, so that
 * there is one way to say each thing. The input is a stream of frames; types the other direction has are decoded as well.
 */
#include "fuzz.h"

#include <stdlib.h>
#include <string.h>

#include "wire/guest.h"

static uint8_t mem[GUEST_EXEC_MAX + 64];

static void same(const struct wbuf *w, struct bytes payload)
{
        if (w->bad || w->len != payload.len || (w->len > 0 && memcmp(w->data, payload.data, w->len) != 0))
                abort();
}

/* One message type: decode into a `struct type`, and encode that again. */
#define AGAIN(type)                                                                                                                        \
        static void again_##type(struct bytes p)                                                                                           \
        {                                                                                                                                  \
                static struct guest_##type m;                                                                                              \
                struct wbuf w = wbuf_over(mem, sizeof(mem));                                                                               \
                                                                                                                                           \
                if (guest_get_##type(p, &m) < 0)                                                                                           \
                        return;                                                                                                            \
                guest_put_##type(&w, &m);                                                                                                  \
                same(&w, p);                                                                                                               \
        }
AGAIN(hello)
AGAIN(hello_ok)
AGAIN(exit)
AGAIN(failed)
AGAIN(stats)

static void again_data(struct bytes p)
{
        struct guest_data m;
        struct wbuf w = wbuf_over(mem, sizeof(mem));

        if (guest_get_stdin(p, &m) == 0) {
                guest_put_stdin(&w, m.offset, m.bytes.data, m.bytes.len);
                same(&w, p);
        }
        w.len = 0;
        if (guest_get_output(p, &m) == 0) {
                guest_put_output(&w, m.stream, m.offset, m.bytes.data, m.bytes.len);
                same(&w, p);
        }
}

static void again_small(struct bytes p)
{
        struct wbuf w = wbuf_over(mem, sizeof(mem));
        uint16_t rows, cols;
        uint64_t offset;
        uint32_t word;
        uint8_t small;
        char text[64];
        uint8_t claim[GUEST_CLAIM];

        if (guest_get_ack(p, &small, &offset) == 0)
                guest_put_ack(&w, small, offset), same(&w, p), w.len = 0;
        if (guest_get_signal(p, &word, &small) == 0)
                guest_put_signal(&w, word, small), same(&w, p), w.len = 0;
        if (guest_get_resize(p, &rows, &cols) == 0)
                guest_put_resize(&w, rows, cols), same(&w, p), w.len = 0;
        if (guest_get_u64(p, &offset) == 0)
                guest_put_u64(&w, offset), same(&w, p), w.len = 0;
        if (guest_get_u32(p, &word) == 0)
                guest_put_u32(&w, word), same(&w, p), w.len = 0;
        if (guest_get_claim(p, claim) == 0)
                guest_put_claim(&w, claim), same(&w, p), w.len = 0;
        if (guest_get_text(p, text, sizeof(text)) == 0)
                guest_put_text(&w, text), same(&w, p);
}

/* The lists must hold as many strings as they say, and nothing more; encoding wants C strings, so it is done by hand. */
static void walk(struct wbuf *w, struct rbuf strings, uint32_t count)
{
        wbuf_u32(w, count);
        for (uint32_t i = 0; i < count; i++) {
                struct bytes b = guest_exec_next(&strings);

                wbuf_blob(w, b.data, b.len);
        }
        if (!rbuf_done(&strings))
                abort();
}

static void again_exec(struct bytes p)
{
        struct guest_exec m;
        struct wbuf w = wbuf_over(mem, sizeof(mem));

        if (guest_get_exec(p, &m) < 0)
                return;
        guest_put_exec(&w, &m, NULL, NULL);
        w.len -= 16; /* two empty lists and the ids */
        walk(&w, m.args, m.argc);
        walk(&w, m.envs, m.envc);
        wbuf_u32(&w, m.uid);
        wbuf_u32(&w, m.gid);
        same(&w, p);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
        static void (*const all[])(struct bytes) = { again_hello,  again_hello_ok, again_exec, again_exit,
                                                     again_failed, again_stats,    again_data, again_small };
        struct guest_frame f;
        size_t used;

        for (size_t pos = 0; guest_frame_parse(data + pos, len - pos, GUEST_FRAME_MAX, &f, &used) == 1; pos += used) {
                if (used > len - pos || f.payload.data + f.payload.len > data + len)
                        abort();
                for (size_t i = 0; i < sizeof(all) / sizeof(all[0]); i++)
                        all[i](f.payload);
        }
        for (size_t i = 0; i < sizeof(all) / sizeof(all[0]); i++)
                all[i]((struct bytes){ data, len });
        return 0;
}
