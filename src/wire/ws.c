#include "wire/ws.h"

#include <string.h>

#include "base/sha1.h"
#include "wire/base64.h"

static void mask_bytes(uint8_t *data, size_t len, const uint8_t key[4], size_t from)
{
        for (size_t i = 0; i < len; i++)
                data[i] ^= key[(from + i) & 3];
}

static bool known(uint8_t opcode)
{
        return opcode <= WS_BINARY || (opcode >= WS_CLOSE && opcode <= WS_PONG);
}

/* The length that the head says, and how long the head is so far; the shortest way of saying it is the only one. */
static int length(const uint8_t *data, size_t have, uint64_t *len, size_t *head)
{
        unsigned small = data[1] & 0x7f, more = small == 127 ? 8 : small == 126 ? 2 : 0;

        *head = 2 + more;
        if (have < *head)
                return 0;
        *len = more ? 0 : small;
        for (unsigned i = 0; i < more; i++)
                *len = *len << 8 | data[2 + i];
        return (more == 2 && *len < 126) || (more == 8 && *len < 65536) ? -1 : 1;
}

int ws_parse(uint8_t *data, size_t len, bool masked, struct ws_frame *frame, size_t *used)
{
        uint64_t size;
        size_t head;

        if (len < 2)
                return 0;
        uint8_t opcode = data[0] & 0x0f;
        bool fin = data[0] & 0x80, control = opcode >= WS_CLOSE;
        if ((data[0] & 0x70) || !known(opcode) || (bool)(data[1] & 0x80) != masked)
                return -1;
        int r = length(data, len, &size, &head);
        if (r <= 0)
                return r;
        if (size > (control ? (uint64_t)WS_CONTROL_MAX : (uint64_t)WS_PAYLOAD_MAX) || (control && !fin))
                return -1;
        size_t body = head + (masked ? 4 : 0);
        if (len < body + size)
                return 0;
        if (masked)
                mask_bytes(data + body, (size_t)size, data + head, 0);
        *frame = (struct ws_frame){ fin, (enum ws_opcode)opcode, data + body, (size_t)size };
        *used = body + (size_t)size;
        return 1;
}

static void put_head(struct wbuf *w, enum ws_opcode opcode, const uint8_t mask[4], size_t len)
{
        uint8_t bit = mask ? 0x80 : 0;

        wbuf_u8(w, (uint8_t)(0x80 | opcode));
        if (len < 126) {
                wbuf_u8(w, (uint8_t)(bit | len));
        } else if (len < 65536) {
                wbuf_u8(w, bit | 126);
                wbuf_u8(w, (uint8_t)(len >> 8));
                wbuf_u8(w, (uint8_t)len);
        } else {
                wbuf_u8(w, bit | 127);
                for (int shift = 56; shift >= 0; shift -= 8)
                        wbuf_u8(w, (uint8_t)((uint64_t)len >> shift));
        }
        if (mask)
                wbuf_bytes(w, mask, 4);
}

void ws_put_head(struct wbuf *w, enum ws_opcode opcode, size_t len)
{
        put_head(w, opcode, NULL, len);
}

static void put_body(struct wbuf *w, const uint8_t mask[4], const void *data, size_t len, size_t from)
{
        size_t at = w->len;

        wbuf_bytes(w, data, len);
        if (mask && !w->bad)
                mask_bytes(w->data + at, len, mask, from);
}

void ws_put(struct wbuf *w, enum ws_opcode opcode, const uint8_t mask[4], const void *payload, size_t len)
{
        put_head(w, opcode, mask, len);
        put_body(w, mask, payload, len, 0);
}

void ws_put_channel(struct wbuf *w, uint8_t channel, const uint8_t mask[4], const void *payload, size_t len)
{
        put_head(w, WS_BINARY, mask, len + 1);
        put_body(w, mask, &channel, 1, 0);
        put_body(w, mask, payload, len, 1);
}

bool ws_accept(const char *key, char out[WS_ACCEPT_LEN + 1])
{
        static const char guid[] = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11";
        uint8_t raw[18], digest[SHA1_LEN];
        char both[WS_KEY_LEN + sizeof(guid)];
        size_t len;

        if (strlen(key) != WS_KEY_LEN || !base64_decode(key, WS_KEY_LEN, raw, sizeof(raw), &len) || len != 16)
                return false;
        memcpy(both, key, WS_KEY_LEN);
        memcpy(both + WS_KEY_LEN, guid, sizeof(guid));
        sha1(both, sizeof(both) - 1, digest);
        struct wbuf w = wbuf_over(out, WS_ACCEPT_LEN);
        base64_put(&w, digest, sizeof(digest));
        out[WS_ACCEPT_LEN] = '\0';
        return !w.bad && w.len == WS_ACCEPT_LEN;
}
