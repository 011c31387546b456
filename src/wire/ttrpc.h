/*
 * ttrpc, as far as a shim's task service needs it: frames, and the few messages of protobuf in them. docs/protocols/shim.md is its page.
 *
 * Pure: no I/O, no allocation. What is decoded points into the frame that it came from. Fields that are not known are passed over, as protobuf has it.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"

enum {
        TTRPC_HEADER = 10,
        TTRPC_FRAME_MAX = 65536,  /* payload; the protocol has 4 MiB, and no message of ours or to us comes near that */
        TTRPC_STRING_MAX = 4096,  /* of what we send */
        TTRPC_METHOD_MAX = 32,    /* likewise */
        TTRPC_MESSAGE_MAX = 8192, /* what ttrpc_put_request() makes is no longer */
};

enum ttrpc_type { TTRPC_REQUEST = 1, TTRPC_RESPONSE = 2 };

struct ttrpc_frame {
        uint32_t stream;
        uint8_t type, flags;
        struct bytes payload;
};

/* The frame at the front. 1; 0: more bytes are needed; -1: this is none, or it is longer than TTRPC_FRAME_MAX. */
int ttrpc_parse(const uint8_t *data, size_t len, struct ttrpc_frame *f, size_t *used);

/* What answers a request that asks for nothing. */
void ttrpc_put_empty(struct wbuf *w, uint32_t stream);

struct ttrpc_response {
        uint32_t code; /* of gRPC; 0: it is done */
        struct bytes message, payload;
};

/* 0, or -1 where it is none. */
int ttrpc_get_response(struct bytes payload, struct ttrpc_response *out);

/* ---- containerd.task.v2.Task ---- */

struct task_create {
        const char *id, *bundle, *in, *out, *err;
        /* The options, of this type: one string as its field of that number. NULL: there are none. */
        const char *options_type, *option;
        uint32_t option_field;
};

void task_put_create(struct wbuf *w, uint32_t stream, const struct task_create *c);
/* "Start" and "Wait", of the container itself. */
void task_put_call(struct wbuf *w, uint32_t stream, const char *method, const char *id);
/* What Wait answers. 0, or -1. */
int task_get_wait(struct bytes payload, uint32_t *status);
