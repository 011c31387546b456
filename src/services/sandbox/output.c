/*
 * The output of a command between the sandbox and its reader.
 *
 * It is taken from the session whenever it comes, so that commands of one sandbox do not wait for each other's readers. That is bounded: creto-init sends at
 * most GUEST_RING bytes a stream that were not acknowledged, and they are acknowledged when they have left this process, less the last KEEP of them, so that
 * a reader whose connection broke, or one that comes back to the daemon that follows this one, finds what it has not seen.
 */
#include <stdlib.h>
#include <string.h>

#include "services/sandbox/exec.h"

enum { KEEP = 32 * 1024, CHUNK_LEAST = 1024 };

struct chunk {
        struct chunk *next;
        int stream;
        uint64_t offset;
        size_t len, cap;
        uint8_t data[];
};

static struct chunk *chunk_for(struct exec *x, int stream, size_t len)
{
        struct chunk *c = x->last;

        if (c && c->stream == stream && c->cap - c->len >= len)
                return c;
        size_t cap = len < CHUNK_LEAST ? CHUNK_LEAST : len;
        if (!(c = malloc(sizeof(*c) + cap)))
                return NULL;
        *c = (struct chunk){ .stream = stream, .offset = x->info.bytes[stream - 1], .cap = cap };
        if (x->last)
                x->last->next = c;
        else
                x->first = c;
        x->last = c;
        return c;
}

static void to_log(struct sandbox *sb, const uint8_t *data, size_t len)
{
        if (!sb->log && !(sb->log = malloc(SANDBOX_LOG_MAX)))
                return;
        if (len > SANDBOX_LOG_MAX) {
                data += len - SANDBOX_LOG_MAX;
                len = SANDBOX_LOG_MAX;
        }
        size_t first = SANDBOX_LOG_MAX - sb->log_at < len ? SANDBOX_LOG_MAX - sb->log_at : len;
        memcpy(sb->log + sb->log_at, data, first);
        memcpy(sb->log, data + first, len - first);
        sb->log_full |= sb->log_at + len >= SANDBOX_LOG_MAX;
        sb->log_at = (sb->log_at + len) % SANDBOX_LOG_MAX;
}

void sandbox_read_log(const struct sandbox *sb, struct wbuf *out)
{
        if (sb->log && sb->log_full)
                wbuf_bytes(out, sb->log + sb->log_at, SANDBOX_LOG_MAX - sb->log_at);
        if (sb->log)
                wbuf_bytes(out, sb->log, sb->log_at);
}

ssize_t output_take(void *ctx, int stream, const void *data, size_t len)
{
        struct exec *x = ctx;
        const uint8_t *bytes = data;
        unsigned i = (unsigned)stream - 1;
        uint64_t known = x->info.bytes[i] > x->received[i] ? x->info.bytes[i] - x->received[i] : 0;
        size_t skip = known < len ? (size_t)known : len; /* what comes again */

        x->received[i] += len;
        if (x->abandoned) {
                x->info.bytes[i] += len - skip;
                session_exec_ack(x->guest, stream, x->info.bytes[i]);
                return (ssize_t)len;
        }
        if (skip == len)
                return (ssize_t)len;
        struct chunk *c = chunk_for(x, stream, len - skip);
        if (!c)
                return -1; /* without memory the session ends, and what was not acknowledged comes again */
        memcpy(c->data + c->len, bytes + skip, len - skip);
        c->len += len - skip;
        x->info.bytes[i] += len - skip;
        x->fresh = true;
        if (x->program)
                to_log(x->sandbox, bytes + skip, len - skip);
        x->sandbox->all->config.count(x->sandbox->all->config.ctx, SANDBOX_COUNT_OUTPUT, NULL, (double)(len - skip));
        return (ssize_t)len;
}

void output_begin_at(struct exec *x, uint64_t stdout_offset, uint64_t stderr_offset)
{
        const uint64_t at[2] = { stdout_offset, stderr_offset };

        for (unsigned i = 0; i < 2; i++)
                x->info.bytes[i] = x->next_out[i] = x->gone[i] = x->acked[i] = at[i];
}

void output_free(struct exec *x)
{
        while (x->first) {
                struct chunk *c = x->first;

                x->first = c->next;
                free(c);
        }
        x->last = NULL;
}

void output_discard(struct exec *x)
{
        output_free(x);
        for (int i = 0; i < 2; i++)
                if (x->guest)
                        session_exec_ack(x->guest, i + 1, x->info.bytes[i]);
}

/* ---- the reader ---- */

void exec_attach(struct exec *x, const struct exec_reader *reader, uint64_t stdout_offset, uint64_t stderr_offset)
{
        const uint64_t at[2] = { stdout_offset, stderr_offset };
        const struct exec_reader *before = x->reader;

        x->reader = reader;
        for (unsigned i = 0; i < 2; i++) {
                uint64_t most = x->adopted ? x->acked[i] + GUEST_RING : x->info.bytes[i];

                x->next_out[i] = at[i] < x->acked[i] ? x->acked[i] : at[i] > most ? most : at[i];
        }
        if (before && before != reader)
                before->ready(before->ctx);
}

bool exec_reads(const struct exec *x, const struct exec_reader *reader)
{
        return x->reader == reader;
}

void exec_detach(struct exec *x, const struct exec_reader *reader)
{
        if (x->reader == reader)
                x->reader = NULL;
}

static const struct chunk *next_chunk(const struct exec *x)
{
        for (const struct chunk *c = x->first; c; c = c->next)
                if (c->offset + c->len > x->next_out[c->stream - 1])
                        return c;
        return NULL;
}

bool exec_peek(const struct exec *x, struct exec_piece *piece)
{
        const struct chunk *c = next_chunk(x);

        if (!c)
                return false;
        uint64_t at = x->next_out[c->stream - 1];
        size_t skip = at > c->offset ? (size_t)(at - c->offset) : 0;
        *piece = (struct exec_piece){ c->stream, c->offset + skip, c->data + skip, c->len - skip };
        return true;
}

void exec_advance(struct exec *x, size_t len)
{
        const struct chunk *c = next_chunk(x);

        if (!c)
                return;
        uint64_t *at = &x->next_out[c->stream - 1];
        if (*at < c->offset)
                *at = c->offset;
        *at += len;
}

void exec_position(const struct exec *x, uint64_t out[2])
{
        memcpy(out, x->next_out, sizeof(x->next_out));
}

static void free_acked(struct exec *x)
{
        while (x->first && x->first->offset + x->first->len <= x->acked[x->first->stream - 1] && x->first != x->last) {
                struct chunk *c = x->first;

                x->first = c->next;
                free(c);
        }
}

void exec_confirm(struct exec *x)
{
        bool more = false;

        for (unsigned i = 0; i < 2; i++) {
                x->gone[i] = x->next_out[i];
                uint64_t to = x->gone[i] > KEEP ? x->gone[i] - KEEP : 0;

                if (to < x->acked[i] + KEEP / 2)
                        continue;
                x->acked[i] = to;
                if (x->guest)
                        session_exec_ack(x->guest, (int)i + 1, to);
                more = true;
        }
        if (!more)
                return;
        free_acked(x);
        if (x->sandbox && x->sandbox->watch)
                watch_set(x->sandbox->watch, session_events(x->sandbox->session));
}

bool exec_drained(const struct exec *x)
{
        return (x->info.state == EXEC_EXITED || x->info.state == EXEC_FAILED || x->info.state == EXEC_LOST) && !next_chunk(x);
}
