#include "programs/init/protocol.h"

#include <sys/vfs.h>
#include <unistd.h>

#include "programs/init/bind.h"
#include "programs/init/channel.h"
#include "programs/init/files/dir.h"
#include "programs/init/exec/exec.h"
#include "programs/init/init.h"
#include "programs/init/exec/notify.h"
#include "programs/init/stream.h"

enum { ANSWER_MAX = 1000 }; /* the longest answer that is made at once: STATS_REPLY; fits the smallest maximum */

const char PROTOCOL_WAIT[] = "wait";

void protocol_reset(void)
{
        bind_reset();
        exec_reset();
}

static const char *on_hello(const struct guest_frame *f)
{
        const char *wrong = stream_hello(f->payload);

        if (!wrong)
                protocol_reset();
        return wrong;
}

static const char *on_exec(const struct guest_frame *f)
{
        return exec_piece(f->channel, f->payload, (f->flags & GUEST_MORE) != 0);
}

static const char *on_stdin(const struct guest_frame *f)
{
        struct guest_data d;

        return guest_get_stdin(f->payload, &d) < 0 ? "malformed STDIN" : channel_stdin(f->channel, &d);
}

static const char *on_stdin_eof(const struct guest_frame *f)
{
        uint64_t offset;

        return guest_get_u64(f->payload, &offset) < 0 ? "malformed STDIN_EOF" : channel_stdin_eof(f->channel, offset);
}

static const char *on_ack(const struct guest_frame *f)
{
        uint64_t offset;
        uint8_t which;

        return guest_get_ack(f->payload, &which, &offset) < 0 ? "malformed ACK" : channel_ack(f->channel, which, offset);
}

static const char *on_signal(const struct guest_frame *f)
{
        uint32_t signo;
        uint8_t scope;

        return guest_get_signal(f->payload, &signo, &scope) < 0 ? "malformed SIGNAL" : channel_signal(f->channel, signo, scope);
}

static const char *on_resize(const struct guest_frame *f)
{
        uint16_t rows, cols;

        return guest_get_resize(f->payload, &rows, &cols) < 0 ? "malformed RESIZE" : channel_resize(f->channel, rows, cols);
}

static const char *on_release(const struct guest_frame *f)
{
        return f->payload.len != 0 ? "malformed RELEASE" : channel_release(f->channel);
}

static const char *on_stats(const struct guest_frame *f)
{
        struct guest_stats s = { 0 };
        struct statfs fs;

        if (f->payload.len != 0)
                return "malformed STATS";
        if (statfs(boot.disk_path[0] ? boot.disk_path : "/", &fs) == 0) {
                s.disk_total = (uint64_t)fs.f_blocks * (uint64_t)fs.f_bsize;
                s.disk_free = (uint64_t)fs.f_bavail * (uint64_t)fs.f_bsize;
                s.inodes_total = (uint64_t)fs.f_files;
                s.inodes_free = (uint64_t)fs.f_ffree;
        }
        s.processes = dir_processes(NULL, 0);
        notify_stats(&s);
        struct wbuf w = stream_begin();
        guest_put_stats(&w, &s);
        stream_end(GUEST_STATS_REPLY, 0, &w);
        return NULL;
}

static const char *on_ping(const struct guest_frame *f)
{
        uint64_t v;

        if (guest_get_u64(f->payload, &v) < 0)
                return "malformed PING";
        struct wbuf w = stream_begin();
        guest_put_u64(&w, v);
        stream_end(GUEST_PONG, 0, &w);
        return NULL;
}

static const char *on_bind(const struct guest_frame *f)
{
        uint8_t claim[GUEST_CLAIM];

        if (guest_get_claim(f->payload, claim) < 0)
                return "malformed BIND";
        bind_take(claim);
        struct wbuf w = stream_begin();
        guest_put_claim(&w, bind_claim());
        stream_end(GUEST_BOUND, 0, &w);
        return NULL;
}

static const char *on_shutdown(const struct guest_frame *f)
{
        if (f->payload.len != 0)
                return "malformed SHUTDOWN";
        _exit(0);
}

static const struct {
        const char *(*act)(const struct guest_frame *f);
        bool of_exec; /* belongs to a channel other than 0 */
        bool more;    /* may have MORE set */
        bool answers; /* needs room for an answer first */
} table[] = {
        [GUEST_HELLO] = { .act = on_hello },
        [GUEST_EXEC] = { .act = on_exec, .of_exec = true, .more = true, .answers = true },
        [GUEST_STDIN] = { .act = on_stdin, .of_exec = true },
        [GUEST_STDIN_EOF] = { .act = on_stdin_eof, .of_exec = true },
        [GUEST_ACK] = { .act = on_ack, .of_exec = true },
        [GUEST_SIGNAL] = { .act = on_signal, .of_exec = true },
        [GUEST_RESIZE] = { .act = on_resize, .of_exec = true },
        [GUEST_RELEASE] = { .act = on_release, .of_exec = true },
        [GUEST_STATS] = { .act = on_stats, .answers = true },
        [GUEST_PING] = { .act = on_ping, .answers = true },
        [GUEST_SHUTDOWN] = { .act = on_shutdown },
        [GUEST_BIND] = { .act = on_bind, .answers = true },
};

const char *protocol_frame(const struct guest_frame *f)
{
        if (f->type >= sizeof(table) / sizeof(table[0]) || !table[f->type].act)
                return "unknown type of frame";
        if (table[f->type].of_exec != (f->channel != 0))
                return "the channel does not fit the type of frame";
        if (!table[f->type].more && f->flags != 0)
                return "MORE on a frame that has no pieces";
        if (table[f->type].answers && stream_room() < ANSWER_MAX)
                return PROTOCOL_WAIT;
        return table[f->type].act(f);
}
