/*
 * The guest protocol: bytes to structs and back. docs/protocols/guest.md is its specification.
 *
 * Pure: no I/O, no allocation. Strings and bytes in decoded structs point into the frame they came from.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"

enum {
        GUEST_VERSION = 3,
        GUEST_HEADER = 12,
        GUEST_FRAME_MAX = 32768, /* payload */
        GUEST_FRAME_MIN_MAX =
                4084, /* the smallest maximum an end may ask for: with its header PIPE_BUF, so that it goes through a FIFO whole; HELLO_OK fits */
        GUEST_RING = 128 * 1024, /* bytes kept per output stream until acknowledged, and the window of stdin */
        GUEST_EXECS_MAX = 128,
        GUEST_EXEC_MAX = 1024 * 1024, /* one whole exec request */
        GUEST_ARG_MAX = 65536,        /* entries of argv */
        GUEST_ENV_MAX = 8192,         /* entries of the environment */
        GUEST_STR_MAX = 131071,       /* bytes of one string: MAX_ARG_STRLEN of Linux, less its NUL */
        GUEST_USER_MAX = 255,
        GUEST_PATH_MAX = 4095,
        GUEST_CALLS_MAX = 64, /* kinds of attack call listed in one STATS_REPLY */
        GUEST_CLAIM = 16,     /* bytes of a claim's id; all zero: none */
};

#define GUEST_ID_LOOKUP UINT32_MAX /* uid, gid: look `user` up inside */

enum guest_type {
        GUEST_HELLO = 0x01,
        GUEST_EXEC = 0x02,
        GUEST_STDIN = 0x03,
        GUEST_STDIN_EOF = 0x04,
        GUEST_ACK = 0x05,
        GUEST_SIGNAL = 0x06,
        GUEST_RESIZE = 0x07,
        GUEST_RELEASE = 0x08,
        GUEST_STATS = 0x09,
        GUEST_PING = 0x0a,
        GUEST_SHUTDOWN = 0x0b,
        GUEST_BIND = 0x0c,

        GUEST_HELLO_OK = 0x81,
        GUEST_STARTED = 0x82,
        GUEST_STDIN_WINDOW = 0x83,
        GUEST_OUTPUT = 0x84,
        GUEST_EXIT = 0x85,
        GUEST_FAILED = 0x86,
        GUEST_STATS_REPLY = 0x87,
        GUEST_PONG = 0x88,
        GUEST_BOUND = 0x89,
        GUEST_PROTOCOL_ERROR = 0x8f,
};

enum guest_frame_flag { GUEST_MORE = 1 };

enum guest_stream { GUEST_STDOUT = 1, GUEST_STDERR = 2 };

enum guest_kind {
        GUEST_KIND_PROGRAM,
        GUEST_KIND_READ,
        GUEST_KIND_WRITE,
        GUEST_KIND_LIST,
        GUEST_KIND_STAT,
        GUEST_KIND_REMOVE,
        GUEST_KIND_MKDIR,
        GUEST_KIND_PROCESSES,
        GUEST_KIND_RENAME,
        GUEST_KIND_PREWARM,
        GUEST_KIND_COUNT,
};

enum guest_exec_flag { GUEST_EXEC_TTY = 1, GUEST_EXEC_STDIN = 2, GUEST_EXEC_WARM = 4, GUEST_EXEC_BOUND = 8 };

enum guest_reason {
        GUEST_REASON_TIMEOUT = 1,
        GUEST_REASON_DISK = 2,
        GUEST_REASON_INODES = 4,
        GUEST_REASON_MEMORY = 8,
        GUEST_REASON_PIDS = 16
};

enum guest_state { GUEST_STATE_RUNNING = 1, GUEST_STATE_EXITED = 2, GUEST_STATE_PREWARM = 4 /* beside one of them */ };

/* Where FAILED happened, so that a message can be exact. */
enum guest_stage {
        GUEST_STAGE_REQUEST, /* the request itself */
        GUEST_STAGE_USER,    /* looking up or becoming the user */
        GUEST_STAGE_CWD,
        GUEST_STAGE_CONFINE, /* capabilities, Landlock, limits */
        GUEST_STAGE_EXEC,    /* execve */
        GUEST_STAGE_SYSTEM,  /* fork, pipes, pty */
};

struct guest_frame {
        uint16_t type;
        uint8_t flags;
        uint32_t channel;
        struct bytes payload;
};

/*
 * Finds the first frame in `data`. Returns 1 and sets *frame and *used (header and payload) where one is complete; 0 where more bytes
 * are needed (*used is then the length of the whole frame if already known, else 0); -1 where the bytes cannot be a frame with at
 * most `max` bytes of payload.
 */
int guest_frame_parse(const void *data, size_t len, uint32_t max, struct guest_frame *frame, size_t *used);

/* Writes a header; the caller writes `length` bytes of payload behind it. */
void guest_frame_header(uint8_t out[GUEST_HEADER], uint16_t type, uint8_t flags, uint32_t channel, uint32_t length);

/* Puts a whole frame; the payload's bytes are copied. */
void guest_frame_put(struct wbuf *w, uint16_t type, uint8_t flags, uint32_t channel, const void *payload, size_t len);

struct guest_hello {
        uint32_t version;
        uint32_t max_frame;
        uint64_t epoch;
};

struct guest_channel_state {
        uint32_t channel;
        uint8_t state; /* enum guest_state bits */
        uint64_t stdin_taken;
        uint64_t stdout_acked;
        uint64_t stderr_acked;
};

struct guest_hello_ok {
        uint32_t version;
        uint32_t max_frame;
        uint64_t epoch;
        uint32_t last; /* the greatest channel number used so far; 0: none */
        uint8_t bound[GUEST_CLAIM];
        uint32_t count;
        struct guest_channel_state channels[GUEST_EXECS_MAX];
};

struct guest_exec {
        uint8_t kind;  /* enum guest_kind */
        uint8_t flags; /* enum guest_exec_flag */
        uint16_t rows;
        uint16_t cols;
        uint32_t timeout_ms;
        struct bytes user;
        struct bytes cwd;
        uint32_t uid;
        uint32_t gid;
        uint32_t argc;
        uint32_t envc;
        /* Where the argv and env strings begin inside the request: walk them with guest_exec_next(). */
        struct rbuf args;
        struct rbuf envs;
};

struct guest_data {
        uint8_t stream; /* enum guest_stream; 0 for STDIN */
        uint64_t offset;
        struct bytes bytes;
};

struct guest_exit {
        int32_t code;
        int32_t signal;
        uint32_t reason; /* enum guest_reason bits */
        uint64_t stdout_total;
        uint64_t stderr_total;
        uint64_t dropped;
        uint64_t user_us;
        uint64_t system_us;
        uint64_t peak_kib;
        uint64_t refused; /* attack calls of the whole sandbox so far */
};

struct guest_failed {
        uint32_t code; /* enum err_code */
        int32_t sys;
        uint8_t stage; /* enum guest_stage */
        char message[256];
};

struct guest_call_count {
        uint32_t number;
        uint64_t times;
};

struct guest_stats {
        uint64_t disk_total, disk_free;
        uint64_t inodes_total, inodes_free;
        uint32_t processes;
        uint64_t violations;
        uint32_t count;
        struct guest_call_count calls[GUEST_CALLS_MAX];
};

/*
 * Payload codecs. `put` appends the payload (not the frame header) to `w`; look at w->bad at the end. `get` returns 0, or -1 where the
 * payload is not exactly one such message within its limits; the output is then undefined.
 */
void guest_put_hello(struct wbuf *w, const struct guest_hello *m);
int guest_get_hello(struct bytes payload, struct guest_hello *m);
void guest_put_hello_ok(struct wbuf *w, const struct guest_hello_ok *m);
int guest_get_hello_ok(struct bytes payload, struct guest_hello_ok *m);
/* argv and env as NULL-ended vectors, counted here; the args, envs, argc and envc fields of `m` are not looked at. */
void guest_put_exec(struct wbuf *w, const struct guest_exec *m, const char *const *argv, const char *const *env);
int guest_get_exec(struct bytes request, struct guest_exec *m);
/* The next string of m->args or m->envs; NUL-free, checked by guest_get_exec(). */
struct bytes guest_exec_next(struct rbuf *strings);
void guest_put_stdin(struct wbuf *w, uint64_t offset, const void *data, size_t len);
int guest_get_stdin(struct bytes payload, struct guest_data *m);
void guest_put_output(struct wbuf *w, uint8_t stream, uint64_t offset, const void *data, size_t len);
int guest_get_output(struct bytes payload, struct guest_data *m);
void guest_put_ack(struct wbuf *w, uint8_t stream, uint64_t offset);
int guest_get_ack(struct bytes payload, uint8_t *stream, uint64_t *offset);
void guest_put_signal(struct wbuf *w, uint32_t signo, uint8_t scope);
int guest_get_signal(struct bytes payload, uint32_t *signo, uint8_t *scope); /* 1 ≤ signo ≤ 64, scope 0 or 1 */
void guest_put_resize(struct wbuf *w, uint16_t rows, uint16_t cols);
int guest_get_resize(struct bytes payload, uint16_t *rows, uint16_t *cols);
void guest_put_exit(struct wbuf *w, const struct guest_exit *m);
int guest_get_exit(struct bytes payload, struct guest_exit *m);
void guest_put_failed(struct wbuf *w, const struct guest_failed *m);
int guest_get_failed(struct bytes payload, struct guest_failed *m);
void guest_put_stats(struct wbuf *w, const struct guest_stats *m);
int guest_get_stats(struct bytes payload, struct guest_stats *m);
/* STDIN_EOF, STDIN_WINDOW, PING, PONG */
void guest_put_u64(struct wbuf *w, uint64_t v);
int guest_get_u64(struct bytes payload, uint64_t *v);
/* STARTED */
void guest_put_u32(struct wbuf *w, uint32_t v);
int guest_get_u32(struct bytes payload, uint32_t *v);
/* BIND, BOUND: any claim but none */
void guest_put_claim(struct wbuf *w, const uint8_t claim[GUEST_CLAIM]);
int guest_get_claim(struct bytes payload, uint8_t claim[GUEST_CLAIM]);
bool guest_claim_is_none(const uint8_t claim[GUEST_CLAIM]);
/* PROTOCOL_ERROR */
void guest_put_text(struct wbuf *w, const char *text);
int guest_get_text(struct bytes payload, char *out, size_t cap);
