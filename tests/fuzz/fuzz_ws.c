/*
 * WebSocket frames, as a server and as a client reads them: what is taken lies inside the input, and what was put is taken again.
 */
#include "fuzz.h"

#include "wire/ws.h"

static void walk(const uint8_t *data, size_t len, bool masked)
{
        uint8_t *copy = malloc(len ? len : 1);
        struct ws_frame f;
        size_t at = 0, used = 0;

        NEED(copy);
        memcpy(copy, data, len);
        while (ws_parse(copy + at, len - at, masked, &f, &used) == 1) {
                NEED(used > 0 && used <= len - at && f.len <= WS_PAYLOAD_MAX && f.payload >= copy + at &&
                     f.payload + f.len == copy + at + used);
                at += used;
        }
        free(copy);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
        static uint8_t room[WS_PAYLOAD_MAX + WS_HEADER_MAX];
        const uint8_t mask[4] = { 1, 2, 3, len & 255 };
        struct wbuf w = wbuf_over(room, sizeof(room));
        struct ws_frame f;
        char accept[WS_ACCEPT_LEN + 1];
        size_t used;

        walk(data, len, true);
        walk(data, len, false);
        char *key = fuzz_text(data, len);
        NEED(!ws_accept(key, accept) || strlen(accept) == WS_ACCEPT_LEN);
        free(key);
        if (len > WS_PAYLOAD_MAX)
                return 0;
        ws_put(&w, WS_BINARY, len & 1 ? mask : NULL, data, len);
        NEED(!w.bad && ws_parse(room, w.len, len & 1, &f, &used) == 1 && used == w.len && f.len == len &&
             memcmp(f.payload, data, len) == 0);
        return 0;
}
