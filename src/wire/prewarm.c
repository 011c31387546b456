#include "wire/prewarm.h"

#include <stdbool.h>
#include <string.h>

enum { ERRNO_MAX = 4095 };

void prewarm_put_answer(struct wbuf *w, const struct prewarm_answer *m)
{
        wbuf_u8(w, m->type);
        if (m->type == PREWARM_READY)
                wbuf_u8(w, m->flags);
        else if (m->type == PREWARM_REFUSED)
                wbuf_u32(w, m->sys);
}

int prewarm_get_answer(struct bytes packet, struct prewarm_answer *m)
{
        struct rbuf r = rbuf_over(packet.data, packet.len);
        bool valid = false;

        *m = (struct prewarm_answer){ .type = rbuf_u8(&r) };
        if (m->type == PREWARM_READY) {
                m->flags = rbuf_u8(&r);
                valid = (m->flags & ~PREWARM_KEEPS) == 0;
        } else if (m->type == PREWARM_REFUSED) {
                m->sys = rbuf_u32(&r);
                valid = m->sys >= 1 && m->sys <= ERRNO_MAX;
        } else {
                valid = m->type == PREWARM_TAKEN;
        }
        return rbuf_done(&r) && valid ? 0 : -1;
}

static void put_strings(struct wbuf *w, char *const *strings)
{
        uint32_t count = 0;

        while (strings[count])
                count++;
        if (count > PREWARM_ARGS_MAX)
                w->bad = true;
        wbuf_u32(w, count);
        for (uint32_t i = 0; i < count && !w->bad; i++)
                wbuf_str(w, strings[i]);
}

void prewarm_put_run(struct wbuf *w, uint8_t flags, const char *cwd, char *const *argv, char *const *env)
{
        if (strlen(cwd) > PREWARM_PATH_MAX)
                w->bad = true;
        wbuf_u8(w, PREWARM_RUN);
        wbuf_u8(w, flags);
        wbuf_str(w, cwd);
        put_strings(w, argv);
        put_strings(w, env);
        if (w->len > PREWARM_PACKET_MAX)
                w->bad = true;
}

static struct bytes get_string(struct rbuf *r, size_t max)
{
        struct bytes b = rbuf_blob(r, max);

        if (b.len > 0 && memchr(b.data, 0, b.len))
                r->bad = true;
        return b;
}

/* `env`: each must be NAME=value. */
static uint32_t get_strings(struct rbuf *r, bool env, struct rbuf *strings)
{
        uint32_t count = rbuf_u32(r);
        size_t start = r->pos;

        if (count > PREWARM_ARGS_MAX)
                r->bad = true;
        for (uint32_t i = 0; i < count && !r->bad; i++) {
                struct bytes b = get_string(r, PREWARM_PACKET_MAX);

                if (env && !r->bad && (b.len == 0 || b.data[0] == '=' || !memchr(b.data, '=', b.len)))
                        r->bad = true;
        }
        *strings = r->bad ? rbuf_over(NULL, 0) : rbuf_over(r->data + start, r->pos - start);
        return count;
}

int prewarm_get_run(struct bytes packet, struct prewarm_run *m)
{
        struct rbuf r = rbuf_over(packet.data, packet.len);

        if (packet.len > PREWARM_PACKET_MAX || rbuf_u8(&r) != PREWARM_RUN)
                return -1;
        m->flags = rbuf_u8(&r);
        m->cwd = get_string(&r, PREWARM_PATH_MAX);
        m->argc = get_strings(&r, false, &m->args);
        m->envc = get_strings(&r, true, &m->envs);
        return rbuf_done(&r) && m->argc > 0 && (m->flags & ~(PREWARM_STDIN | PREWARM_CWD_WISH)) == 0 ? 0 : -1;
}

struct bytes prewarm_run_next(struct rbuf *strings)
{
        return rbuf_blob(strings, PREWARM_PACKET_MAX);
}
