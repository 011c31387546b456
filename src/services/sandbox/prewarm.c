/*
 * The prewarm server of a sandbox whose spec names one: the sandbox is not Ready before the server is; one that ends is started again, later each time, and
 * commands start cold meanwhile. It is no command: nobody lists it, and it keeps no sandbox from being idle.
 */
#include "services/prewarm/prewarm.h"

#include <signal.h>
#include <stdlib.h>
#include <string.h>

#include "services/sandbox/exec.h"

enum {
        READY_MS = 60000,
        SAID_MAX = 1024, /* of the end of what it wrote on standard error */
        NEXT_MS = 20,    /* after one that has become a command */
        AGAIN_MS = 1000,
        AGAIN_DOUBLES = 6,
};

struct prewarm {
        struct sandbox *sandbox;
        struct session_exec *guest; /* NULL: it does not run, or there is no connection */
        bool started;               /* it has said that it is ready */
        bool was_ready;             /* one of them has, since this daemon or the sandbox began */
        unsigned tries;             /* in vain, since one was ready */
        enum prewarm_form form;     /* of the one that runs, and of the next one: what was asked for last */
        bool replaced;              /* it was killed, because it is of the other form, or of another environment */
        const char **env;           /* that it was started with, its own copy; NULL: not known */
        struct timer *timer;
        char said[SAID_MAX + 1];
        size_t said_len;
};

static ssize_t take_output(void *ctx, int stream, const void *data, size_t len)
{
        struct prewarm *p = ctx;
        const char *text = data;
        size_t n = len < SAID_MAX ? len : SAID_MAX;

        if (stream != GUEST_STDERR || p->started)
                return (ssize_t)len;
        if (p->said_len + n > SAID_MAX) {
                size_t drop = p->said_len + n - SAID_MAX;

                p->said_len -= drop;
                memmove(p->said, p->said + drop, p->said_len);
        }
        memcpy(p->said + p->said_len, text + len - n, n);
        p->said_len += n;
        return (ssize_t)len;
}

/* ---- starting it ---- */

/* In one block. */
static const char **copy_strings(const char *const *from)
{
        size_t count = 0, bytes = 0;

        for (; from[count]; count++)
                bytes += strlen(from[count]) + 1;
        const char **out = malloc((count + 1) * sizeof(*out) + bytes);
        char *at = (char *)(out + count + 1);
        for (size_t i = 0; out && i <= count; i++) {
                size_t len = from[i] ? strlen(from[i]) + 1 : 0;

                out[i] = from[i] ? memcpy(at, from[i], len) : NULL;
                at += len;
        }
        return out;
}

static int start(struct prewarm *p, struct err *e)
{
        struct sandbox *sb = p->sandbox;
        const struct setup *s = &sb->setup;
        const char *argv[PREWARM_ARGV_MAX], **plain = exec_environment(sb, NULL), **env = NULL;
        const struct guest_exec guest = {
                .kind = GUEST_KIND_PREWARM,
                .flags = prewarm_has_stdin(&s->prewarm) ? GUEST_EXEC_STDIN : 0,
                .timeout_ms = READY_MS,
                .user = bytes_of(s->user),
                .cwd = bytes_of(s->cwd),
                .uid = GUEST_ID_LOOKUP,
                .gid = GUEST_ID_LOOKUP,
        };

        p->started = false;
        p->said_len = 0;
        p->replaced = false;
        prewarm_argv(&s->prewarm, p->form, argv);
        free(p->env);
        p->env = plain ? copy_strings(plain) : NULL;
        if (!p->env)
                err_set(e, ERR_RESOURCE_EXHAUSTED, 0, "out of memory");
        else
                env = prewarm_env(&s->prewarm, plain, e);
        int r = env ? session_exec_new(sb->session, &guest, argv, env, take_output, p, &p->guest, e) : -(int)e->code;
        free(env);
        free(plain);
        return r;
}

static void again(void *ctx)
{
        struct prewarm *p = ctx;
        struct sandbox *sb = p->sandbox;
        struct err e;

        if (p->guest || !sb->session || sb->adopting)
                return; /* there is one; or prewarm_begin() follows */
        if (sb->info.state == SANDBOX_PAUSED) {
                timer_set(p->timer, AGAIN_MS);
        } else if (lifecycle_accepts_exec(sb->info.state)) {
                if (start(p, &e) < 0)
                        sandbox_log(sb, true, e.msg);
                if (sb->watch)
                        watch_set(sb->watch, session_events(sb->session));
        }
}

static struct prewarm *prewarm_new(struct sandbox *sb)
{
        struct prewarm *p = calloc(1, sizeof(*p));

        if (!p)
                return NULL;
        p->sandbox = sb;
        p->form = PREWARM_CODE;
        p->timer = timer_new(sb->all->config.loop, again, p);
        if (!p->timer) {
                free(p);
                return NULL;
        }
        return sb->prewarm = p;
}

void prewarm_free(struct sandbox *sb)
{
        if (!sb->prewarm)
                return;
        timer_free(sb->prewarm->timer);
        free(sb->prewarm->env);
        free(sb->prewarm);
        sb->prewarm = NULL;
}

void prewarm_begin(struct sandbox *sb)
{
        struct prewarm *p = sb->prewarm;
        struct err e;

        if (sb->setup.prewarm.interpreter == SPEC_PREWARM_NONE) {
                sandbox_ready(sb);
                return;
        }
        if (p && (p->guest || p->tries > 0 || p->was_ready))
                return; /* it has begun */
        if (sb->info.state != SANDBOX_CREATING && !lifecycle_accepts_exec(sb->info.state))
                return;
        if (!p && !(p = prewarm_new(sb)))
                err_set(&e, ERR_RESOURCE_EXHAUSTED, 0, "out of memory");
        else if (start(p, &e) == 0)
                return;
        err_wrap(&e, "prewarm");
        sandbox_failed(sb, &e);
}

/* ---- its end ---- */

/* The last line that is not empty: of a traceback, what it is about. */
static const char *last_line(struct prewarm *p)
{
        size_t len = p->said_len;

        while (len > 0 && (p->said[len - 1] == '\n' || p->said[len - 1] == ' '))
                len--;
        p->said[len] = '\0';
        const char *line = strrchr(p->said, '\n');
        return line ? line + 1 : p->said;
}

static void name_failure(struct prewarm *p, struct err *e)
{
        if (session_exec_state(p->guest) == SESSION_FAILED) {
                const struct guest_failed *f = session_exec_failed(p->guest);

                err_set(e, f->code == ERR_NONE ? ERR_INTERNAL_ERROR : (enum err_code)f->code, 0, "prewarm: %s", f->message);
                return;
        }
        const struct guest_exit *x = session_exec_exit(p->guest);
        const char *line = last_line(p);
        if (x->reason & GUEST_REASON_TIMEOUT)
                err_set(e, ERR_TIMEOUT, 0, "prewarm: not ready within %d s", READY_MS / 1000);
        else if (*line)
                err_set(e, ERR_INVALID_SPEC, 0, "prewarm: %.200s", line);
        else if (x->signal)
                err_set(e, ERR_INVALID_SPEC, 0, "prewarm: ended by signal %d before it was ready", x->signal);
        else
                err_set(e, ERR_INVALID_SPEC, 0, "prewarm: ended with code %d before it was ready", x->code);
        err_hint(e, "the spec's \"prewarm\" is run in the sandbox, as its user; try it with exec");
}

static void ended(struct prewarm *p)
{
        struct sandbox *sb = p->sandbox;
        bool used_up = session_exec_state(p->guest) == SESSION_EXITED && p->started &&
                       (p->replaced || session_exec_exit(p->guest)->code == 0);
        struct err e;

        if (!used_up)
                name_failure(p, &e);
        session_exec_free(p->guest);
        p->guest = NULL;
        if (!p->was_ready && sb->info.state == SANDBOX_CREATING) {
                if (used_up)
                        err_set(&e, ERR_INVALID_SPEC, 0, "prewarm: ended before it was ready");
                sandbox_failed(sb, &e);
                return;
        }
        if (!used_up) {
                sandbox_log(sb, true, e.msg);
                p->tries++;
        }
        unsigned doubles = p->tries > AGAIN_DOUBLES ? AGAIN_DOUBLES : p->tries;
        timer_set(p->timer, used_up ? NEXT_MS : (uint64_t)AGAIN_MS << doubles);
}

void prewarm_check(struct sandbox *sb)
{
        struct prewarm *p = sb->prewarm;

        if (!p || !p->guest)
                return;
        if (!p->started && session_exec_started(p->guest)) {
                p->started = p->was_ready = true;
                p->tries = 0;
                sandbox_ready(sb);
        }
        enum session_end state = session_exec_state(p->guest);
        if (state == SESSION_EXITED || state == SESSION_FAILED)
                ended(p);
}

/* The next one will be as the last command wanted it. */
static void replace(struct prewarm *p)
{
        if (p->guest && !p->replaced)
                session_exec_signal(p->guest, SIGKILL, false);
        p->replaced = true;
}

/* ---- connections come and go ---- */

void prewarm_adopt(struct sandbox *sb, struct session_exec *guest)
{
        struct prewarm *p = sb->prewarm ? sb->prewarm : prewarm_new(sb);

        if (!p || p->guest)
                return; /* it is nobody's, and harms nobody: what it writes is taken and dropped */
        p->guest = guest;
        p->started = false;
        if (p->env)
                return;
        /* An earlier daemon started it, perhaps before a claim that has added to the environment. */
        const char **plain = exec_environment(sb, NULL), *const none[] = { NULL };
        p->env = plain ? copy_strings(plain) : NULL;
        free(plain);
        if (!p->env || (sb->has_claim && !prewarm_same_start(sb->setup.env, none)))
                replace(p);
}

void prewarm_unbind(struct sandbox *sb)
{
        struct prewarm *p = sb->prewarm;

        if (p)
                *p = (struct prewarm){ .sandbox = sb, .timer = p->timer, .form = p->form, .env = p->env };
}

/* A claim may have changed what the sandbox's own environment is; then the server is behind. */
static bool is_behind(const struct prewarm *p)
{
        const char **plain = exec_environment(p->sandbox, NULL);
        bool behind = plain && !prewarm_same_start(plain, p->env);

        free(plain);
        return behind;
}

bool prewarm_serves(const struct sandbox *sb, const char *const *argv, const char *const *env)
{
        struct prewarm *p = sb->prewarm;

        if (!p || !p->started || !p->env)
                return false;
        enum prewarm_form form = prewarm_takes(&sb->setup.prewarm, argv, env, p->env);
        if (form == p->form)
                return true;
        if (form != PREWARM_COLD)
                p->form = form;
        if (form != PREWARM_COLD || is_behind(p))
                replace(p);
        return false;
}
