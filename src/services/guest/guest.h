/*
 * The host's end of a guest stream (docs/protocols/guest.md): several commands over one connection. What comes from the stream is
 * hostile; a frame that breaks the protocol ends the session.
 *
 * The caller owns the loop: poll `session_fd` for `session_events`, then call session_step.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/err.h"
#include "wire/guest.h"

struct session;
struct session_exec;

enum session_end { SESSION_RUNNING, SESSION_EXITED, SESSION_FAILED, SESSION_LOST };

/* Takes output and returns how much of it. With less than all the session holds, until session_step() is called again; a negative value ends it. */
typedef ssize_t session_output_fn(void *ctx, int stream, const void *data, size_t len);

/* Takes `fd`. Greets at once. Returns 0 or a negative code. */
int session_new(int fd, uint64_t epoch, struct session **out, struct err *e);
void session_free(struct session *s);

/*
 * The stream is older than this connection and younger than the sandbox: a serial port, which an earlier host program may have left with frames on their way.
 * Those before the greeting of this epoch are dropped. No frame of ours has more than `max` bytes of payload. To be said right after session_new().
 */
void session_over_serial(struct session *s, uint32_t max);

/* The next command's channel is at least this number. */
void session_channels_from(struct session *s, uint32_t first);

/* Called from session_step(), for every command that an earlier connection began and did not release: session_exec_bind() makes it the caller's. */
typedef void session_adopt_fn(void *ctx, struct session_exec *x, const struct guest_channel_state *state);
void session_on_adopt(struct session *s, session_adopt_fn *adopt, void *ctx);

/* creto-init has answered. */
bool session_greeted(const struct session *s);

int session_fd(const struct session *s);
short session_events(const struct session *s);

/* The stream whose output is held (1 or 2), or 0. */
int session_held(const struct session *s);

/* Reads and writes what is possible now. Returns 0, 1 where the stream has ended, or a negative code. */
int session_step(struct session *s, struct err *e);

/* Writes what is queued, as far as the stream takes it now, so that it need not wait for the loop's next turn. What goes wrong is said by session_step(). */
void session_flush(struct session *s);

/*
 * Binds the sandbox to a claim (not all zero), or asks once more; what belongs behind it may be queued before session_flush(). The answer is in session_bound() after one of the next
 * steps: this claim, or the one that the sandbox was bound to before.
 */
void session_bind(struct session *s, const uint8_t claim[GUEST_CLAIM]);

/* The claim that the sandbox has said it is bound to, GUEST_CLAIM bytes; NULL until it has greeted, and while it is bound to none. Does not change once it is set. */
const uint8_t *session_bound(const struct session *s);

/* Starts a command. The handle lives until session_exec_free() or the end of the session. */
int session_exec_new(struct session *s, const struct guest_exec *req, const char *const *argv, const char *const *env,
                     session_output_fn *output, void *ctx, struct session_exec **out, struct err *e);
void session_exec_free(struct session_exec *x);

/* The number of its channel: greater than that of any command before, and the same for every later connection. */
uint32_t session_exec_channel(const struct session_exec *x);

/* Gives it another owner, who says with session_exec_ack() up to where output is done with. What is not stays in the sandbox as well, at most GUEST_RING a
 * stream, and comes again with the next connection. */
void session_exec_bind(struct session_exec *x, session_output_fn *output, void *ctx);
void session_exec_ack(struct session_exec *x, int stream, uint64_t offset);

enum session_end session_exec_state(const struct session_exec *x);
bool session_exec_started(const struct session_exec *x);
const struct guest_exit *session_exec_exit(const struct session_exec *x);     /* SESSION_EXITED */
const struct guest_failed *session_exec_failed(const struct session_exec *x); /* SESSION_FAILED */

/* How many bytes of input there were so far, and would be taken now. */
uint64_t session_exec_sent(const struct session_exec *x);
size_t session_exec_room(const struct session_exec *x);
void session_exec_write(struct session_exec *x, const void *data, size_t len);
void session_exec_eof(struct session_exec *x);
void session_exec_signal(struct session_exec *x, int signo, bool group);
void session_exec_resize(struct session_exec *x, uint16_t rows, uint16_t cols);

/* Asks for the sandbox's counts; session_stats() is NULL until the answer is there. */
void session_ask_stats(struct session *s);
const struct guest_stats *session_stats(const struct session *s);
