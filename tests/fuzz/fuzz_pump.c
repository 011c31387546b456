/*
 * The stream between a machine and its session, whatever the machine says and however it is cut (the first bytes of the input say how): what goes on is what came, it
 * is acknowledged up to the end of its last whole frame, and what the session says leaves in whole frames. The session of the sandbox around it is played here.
 */
#include "fuzz.h"

#include <sys/socket.h>
#include <unistd.h>

#include "base/fd.h"
#include "services/vm/internal.h"

enum { CUTS = 4, MOST = 64 * 1024 };

static uint8_t written[MOST + PUMP_MAX];
static size_t written_len, room;
static uint64_t acked;

size_t session_exec_room(const struct session_exec *x)
{
        NEED(!x);
        return room;
}

void session_exec_write(struct session_exec *x, const void *data, size_t len)
{
        NEED(!x && len > 0 && len <= room && len <= sizeof(written) - written_len);
        memcpy(written + written_len, data, len);
        written_len += len;
        room -= len;
}

void session_exec_ack(struct session_exec *x, int stream, uint64_t offset)
{
        NEED(!x && stream == GUEST_STDOUT && offset >= acked);
        acked = offset;
}

void watch_free(struct watch *w)
{
        NEED(!w);
}

/* Where the last whole frame of these bytes ends. */
static size_t whole(const uint8_t *data, size_t len)
{
        size_t at = 0, frame;

        while (len - at >= GUEST_HEADER) {
                frame = GUEST_HEADER +
                        ((size_t)data[at] | (size_t)data[at + 1] << 8 | (size_t)data[at + 2] << 16 | (size_t)data[at + 3] << 24);
                if (frame > len - at)
                        break;
                at += frame;
        }
        return at;
}

static size_t piece(const uint8_t *cuts, size_t i, size_t left)
{
        size_t n = 1U + cuts[i % CUTS];

        return n < left ? n : left;
}

static void from_machine(struct pump *p, int session, const uint8_t *data, size_t len, const uint8_t *cuts)
{
        static uint8_t out[MOST];
        size_t at = 0, got = 0;

        for (size_t i = 0; at < len; i++) {
                ssize_t n = pump_take(p, data + at, piece(cuts, i, len - at));

                NEED(n >= 0);
                at += (size_t)n;
                NEED(p->passed == at && p->whole == whole(data, at));
                while ((n = recv(session, out + got, sizeof(out) - got, MSG_DONTWAIT)) > 0)
                        got += (size_t)n;
        }
        NEED(got == len && memcmp(out, data, len) == 0);
        pump_move(p);
        NEED(acked == p->whole);
}

static void to_machine(struct pump *p, int session, const uint8_t *data, size_t len, const uint8_t *cuts)
{
        size_t n;

        for (size_t at = 0, i = 0; at < len && p->in_len < sizeof(p->in); at += n, i++) {
                n = piece(cuts, i, len - at);
                NEED(send(session, data + at, n, MSG_DONTWAIT) == (ssize_t)n);
                room += n;
                pump_move(p);
        }
        room = sizeof(written);
        pump_move(p);
        NEED(written_len <= len && memcmp(written, data, written_len) == 0 && whole(data, written_len) == written_len);
        NEED(whole(data, len) == written_len || p->in_len == sizeof(p->in));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
        static struct pump p;

        if (len < CUTS || len > MOST)
                return 0;
        p = (struct pump){ .fd = -1 };
        written_len = room = acked = 0;
        NEED(pump_take(&p, data, len) == 0 && p.full && p.passed == 0); /* before there is a session */
        auto_fd session = pump_open(&p, NULL);
        NEED(session >= 0);
        from_machine(&p, session, data + CUTS, len - CUTS, data);
        to_machine(&p, session, data + CUTS, len - CUTS, data);
        pump_close(&p);
        return 0;
}
