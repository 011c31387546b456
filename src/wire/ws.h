/*
 * WebSocket frames (RFC 6455), both ends, and the channels inside them: the Kubernetes subprotocol v5.channel.k8s.io, whose binary messages begin with
 * the number of a channel. Pure: no I/O, no allocation.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"

enum { WS_HEADER_MAX = 14, WS_PAYLOAD_MAX = 64 * 1024, WS_CONTROL_MAX = 125, WS_KEY_LEN = 24, WS_ACCEPT_LEN = 28 };

enum ws_opcode { WS_CONTINUE = 0, WS_TEXT = 1, WS_BINARY = 2, WS_CLOSE = 8, WS_PING = 9, WS_PONG = 10 };

/* Codes of a CLOSE. */
enum { WS_NORMAL = 1000, WS_GOING = 1001, WS_PROTOCOL = 1002, WS_TOO_BIG = 1009, WS_FAULT = 1011 };

enum ws_channel {
        WS_STDIN = 0,
        WS_STDOUT = 1,
        WS_STDERR = 2,
        WS_END = 3,    /* to the client: how the command ended, JSON */
        WS_RESIZE = 4, /* to the server: {"Width":80,"Height":24} */
        WS_SIGNAL = 5, /* to the server: {"signal":2,"group":true}; ours */
        WS_PLACE = 6,  /* to the client, first of all: {"stdinOffset":0,"stdoutOffset":0,"stderrOffset":0}, where the streams stand; ours */
        WS_SHUT = 255, /* the next byte says which channel ends */
};

#define WS_PROTOCOL_NAME "v5.channel.k8s.io"

struct ws_frame {
        bool fin;
        enum ws_opcode opcode;
        uint8_t *payload; /* in the buffer, unmasked there */
        size_t len;
};

/*
 * Takes the first frame in `data`, which is changed. `masked`: frames have to be (a server reads a client's), or must not be. Returns 1 with *frame and *used,
 * 0 where more bytes are needed, -1 where it is no frame, or one larger than WS_PAYLOAD_MAX.
 */
int ws_parse(uint8_t *data, size_t len, bool masked, struct ws_frame *frame, size_t *used);

/* Puts a whole frame. `mask`: four random bytes, or NULL for a server. */
void ws_put(struct wbuf *w, enum ws_opcode opcode, const uint8_t mask[4], const void *payload, size_t len);

/* The head alone, of a frame that is not masked. */
void ws_put_head(struct wbuf *w, enum ws_opcode opcode, size_t len);

/* Puts a binary frame whose payload begins with `channel`. */
void ws_put_channel(struct wbuf *w, uint8_t channel, const uint8_t mask[4], const void *payload, size_t len);

/* What Sec-WebSocket-Accept answers to a key; false where the key is none. */
bool ws_accept(const char *key, char out[WS_ACCEPT_LEN + 1]);
