/*
 * Everything that decodes bytes of the warden's protocol, over every packet, whatever its type. What a decoder takes is encoded again and must
 * come out as it went in, so that there is one way to say each thing.
 */
#include "fuzz.h"

#include "wire/ipc.h"

static uint8_t mem[IPC_MESSAGE_MAX];

static void same(const struct wbuf *w, const struct rbuf *packet)
{
        size_t len = packet->len - packet->pos;

        NEED(!w->bad && w->len == len && (len == 0 || memcmp(w->data, packet->data + packet->pos, len) == 0));
}

/* One message type: decode into a `struct type`, and encode that again. */
#define AGAIN(type)                                                                                                                        \
        static void again_##type(const struct rbuf *packet)                                                                                \
        {                                                                                                                                  \
                static struct ipc_##type m;                                                                                                \
                struct rbuf r = *packet;                                                                                                   \
                struct wbuf w = wbuf_over(mem, sizeof(mem));                                                                               \
                                                                                                                                           \
                if (ipc_get_##type(&r, &m) < 0)                                                                                            \
                        return;                                                                                                            \
                ipc_put_##type(&w, &m);                                                                                                    \
                same(&w, packet);                                                                                                          \
        }
AGAIN(hello)
AGAIN(hello_ok)
AGAIN(spawn)
AGAIN(spawned)
AGAIN(usage)
AGAIN(exited)
AGAIN(image)
AGAIN(listed)
AGAIN(freeze)
AGAIN(limit)

static void again_small(const struct rbuf *packet)
{
        struct wbuf w = wbuf_over(mem, sizeof(mem));
        struct ipc_usage usage;
        struct rbuf r = *packet;
        char id[IPC_ID_MAX + 1];
        int32_t status;
        uint32_t first;

        if (ipc_get_id(&r, id) == 0) {
                ipc_put_id(&w, id);
                same(&w, packet);
        }
        r = *packet;
        w.len = 0;
        if (ipc_get_terminated(&r, id, &usage) == 0) {
                ipc_put_terminated(&w, id, &usage);
                same(&w, packet);
        }
        r = *packet;
        w.len = 0;
        if (ipc_get_status(&r, &status) == 0) {
                ipc_put_status(&w, status);
                same(&w, packet);
        }
        r = *packet;
        w.len = 0;
        if (ipc_get_list(&r, &first) == 0) {
                ipc_put_list(&w, first);
                same(&w, packet);
        }
        r = *packet;
        w.len = 0;
        if (ipc_get_limited(&r, &first) == 0) {
                ipc_put_limited(&w, first);
                same(&w, packet);
        }
}

static void again_error(const struct rbuf *packet)
{
        struct wbuf w = wbuf_over(mem, sizeof(mem));
        struct rbuf r = *packet;
        struct err e;

        if (ipc_get_error(&r, &e) < 0)
                return;
        NEED(e.code > ERR_NONE && e.code < ERR_CODE_COUNT);
        ipc_put_error(&w, &e);
        same(&w, packet);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
        static void (*const all[])(const struct rbuf *) = { again_hello,  again_hello_ok, again_spawn, again_spawned,
                                                            again_usage,  again_exited,   again_image, again_listed,
                                                            again_freeze, again_limit,    again_small, again_error };
        struct ipc_header head;
        struct rbuf body;

        if (ipc_get_header(data, len, &head, &body) < 0)
                return 0;
        NEED(len <= IPC_MESSAGE_MAX && body.pos == IPC_HEADER);
        for (size_t i = 0; i < sizeof(all) / sizeof(all[0]); i++)
                all[i](&body);
        return 0;
}
