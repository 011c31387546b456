/*
 * creto_exec(): one command, from its options to its result, with the poll loop that a blocking call needs.
 */
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "api/libcreto/remote/remote.h"
#include "base/clock.h"
#include "domain/outcome.h"
#include "domain/spec.h"

#include "seccomp_names.h"

enum { GIVE_UP_MS = 2000 };

struct run {
        struct creto_sandbox *sb;
        const struct creto_exec_options *options;
        struct creto_exec exec;
        int stdin_fd; /* -1 once it has ended */
        bool ttl_over;
        uint64_t give_up_ms; /* when we stop waiting for somebody to take the output; 0: never */
        bool gave_up;
};

/* ---- the request ---- */

static const char *first(const char *a, const char *b, const char *c)
{
        return a ? a : b ? b : c;
}

static ssize_t on_output(void *ctx, int stream, const void *data, size_t len)
{
        const struct run *r = ctx;

        return r->options->on_output ? r->options->on_output(r->options->ctx, stream, data, len) : (ssize_t)len;
}

static int begin(struct run *r, struct err *e)
{
        const struct creto_exec_options *o = r->options;
        const struct creto_sandbox *sb = r->sb;
        const char **argv = spec_argv(sb->image.command, sb->image.entrypoint_count, o->argv);
        const char **env = spec_environment(sb->image.env, sb->env, o->env);
        struct guest_exec req = {
                .kind = GUEST_KIND_PROGRAM,
                .flags = (uint8_t)((o->flags & CRETO_EXEC_TTY ? GUEST_EXEC_TTY : 0) | (o->stdin_fd >= 0 ? GUEST_EXEC_STDIN : 0)),
                .rows = o->rows,
                .cols = o->cols,
                .timeout_ms = o->timeout_ms ? o->timeout_ms : sb->timeout_ms,
                .user = bytes_of(first(o->user, sb->user, sb->image.user)),
                .cwd = bytes_of(first(o->cwd, sb->cwd, sb->image.cwd)),
                .uid = GUEST_ID_LOOKUP,
                .gid = GUEST_ID_LOOKUP,
        };
        int code = 0;

        if (!argv || !env) {
                code = err_set(e, ERR_RESOURCE_EXHAUSTED, 0, "out of memory");
        } else if (!argv[0]) {
                code = err_set(e, ERR_INVALID_SPEC, 0, "there is no command to run, and the image has none");
                err_hint(e, "write it behind --: creto-runtime run -- python3 -c 'print(6*7)'");
        } else {
                struct spec all = { .image = "-", .command = argv };
                code = spec_check(&all, e);
        }
        if (code == 0 && (code = session_exec_new(sb->session, &req, argv, env, on_output, r, &r->exec.x, e)) == 0)
                session_flush(sb->session);
        free(argv);
        free(env);
        return code;
}

/* ---- the loop ---- */

static void pass_input(struct run *r)
{
        static uint8_t data[GUEST_FRAME_MAX];
        size_t room = session_exec_room(r->exec.x);

        if (room == 0)
                return;
        ssize_t n = read(r->stdin_fd, data, room < sizeof(data) ? room : sizeof(data));
        if (n < 0 && (errno == EAGAIN || errno == EINTR))
                return;
        if (n <= 0) {
                r->stdin_fd = -1;
                session_exec_eof(r->exec.x);
                return;
        }
        session_exec_write(r->exec.x, data, (size_t)n);
}

/* A sandbox whose time is over is not asked: the command is killed by its init, and everything else with the sandbox. */
static int patience(struct run *r)
{
        uint64_t now = clock_ms(CLOCK_MONOTONIC), next = UINT64_MAX;
        bool held = session_held(r->sb->session) != 0;

        if (r->sb->ttl_end_ms && !r->ttl_over && now >= r->sb->ttl_end_ms) {
                session_exec_signal(r->exec.x, 9, true);
                r->ttl_over = true;
        }
        if (!held || (!r->exec.fatal && !r->ttl_over))
                r->give_up_ms = 0;
        else if (!r->give_up_ms)
                r->give_up_ms = now + GIVE_UP_MS;
        if (r->give_up_ms)
                next = r->give_up_ms;
        if (r->sb->ttl_end_ms && !r->ttl_over && r->sb->ttl_end_ms < next)
                next = r->sb->ttl_end_ms;
        r->gave_up = r->give_up_ms && now >= r->give_up_ms;
        if (next == UINT64_MAX)
                return r->ttl_over ? GIVE_UP_MS : -1;
        return next <= now ? 0 : next - now > 60000 ? 60000 : (int)(next - now);
}

static int loop(struct run *r, struct err *e)
{
        struct session *s = r->sb->session;

        while (session_exec_state(r->exec.x) == SESSION_RUNNING) {
                int held = session_held(s);
                struct pollfd p[5] = { { .fd = session_fd(s), .events = session_events(s) },
                                       { .fd = -1, .events = POLLIN },
                                       { .fd = -1, .events = POLLIN },
                                       { .fd = held ? r->options->output_fd[held - 1] : -1, .events = POLLOUT },
                                       { .fd = driver_fd(&r->sb->rt->driver) } };
                int timeout = patience(r);

                if (r->gave_up)
                        return 0;
                if (r->stdin_fd >= 0 && session_exec_room(r->exec.x) > 0)
                        p[1].fd = r->stdin_fd;
                if (r->options->wake_fd >= 0 && r->options->on_wake)
                        p[2].fd = r->options->wake_fd;
                if (poll(p, 5, timeout) < 0 && errno != EINTR)
                        return err_sys(e, "cannot wait");
                if (p[4].revents & (POLLHUP | POLLERR))
                        return err_set(e, ERR_BACKEND_UNAVAILABLE, 0, "creto-warden ended, and the sandbox with it");
                if (p[2].revents)
                        r->options->on_wake(r->options->ctx, &r->exec);
                if (p[1].revents)
                        pass_input(r);
                int step = session_step(s, e);
                if (step < 0)
                        return step;
        }
        return 0;
}

/* ---- the result ---- */

static uint64_t since(uint64_t now, uint64_t before)
{
        return now == IPC_USAGE_UNKNOWN ? now : before == IPC_USAGE_UNKNOWN || before > now ? now : now - before;
}

static int conclude(struct run *r, struct creto_result *result, struct err *e)
{
        const struct session_exec *x = r->exec.x;
        enum session_end end = session_exec_state(x);
        const struct guest_exit *exit = session_exec_exit(x);
        struct ipc_usage usage;
        struct outcome o;

        if (end == SESSION_FAILED) {
                const struct guest_failed *f = session_exec_failed(x);

                err_set(e, f->code == ERR_NONE ? ERR_INTERNAL_ERROR : (enum err_code)f->code, 0, "%s", f->message);
                if (f->stage == GUEST_STAGE_EXEC) /* of the command itself; the rest is in the message */
                        e->sys = f->sys;
                if (e->sys == ENOENT)
                        err_hint(e, "it has to be in the image; the default image is the host's /usr");
                return -(int)e->code;
        }
        memset(&usage, 0xff, sizeof(usage));
        if (driver_usage(&r->sb->rt->driver, r->sb->id, &usage, e) < 0 && end == SESSION_LOST)
                return -(int)e->code;
        bool interrupted = r->gave_up && r->exec.fatal; /* as if the signal had ended a writer that nobody reads */
        const struct outcome_facts facts = {
                .ended = end == SESSION_EXITED || interrupted,
                .code = interrupted ? -1 : exit->code,
                .signal = end == SESSION_EXITED ? exit->signal
                          : interrupted         ? r->exec.fatal
                                                : 9,
                .timed_out = exit->reason & GUEST_REASON_TIMEOUT,
                .ttl_over = r->ttl_over,
                .disk_full = exit->reason & GUEST_REASON_DISK,
                .inodes_full = exit->reason & GUEST_REASON_INODES,
                .timeout_ms = r->options->timeout_ms ? r->options->timeout_ms : r->sb->timeout_ms,
                .ttl_ms = r->sb->ttl_ms,
                .oom_kills = since(usage.oom_kills, r->sb->before.oom_kills),
                .forks_refused = since(usage.forks_refused, r->sb->before.forks_refused),
                .limits = &r->sb->limits,
        };
        outcome_of(&facts, &o);
        *result = (struct creto_result){
                .status = o.status,
                .code = facts.ended ? facts.code : -1,
                .signal = facts.ended ? exit->signal : facts.signal,
                .reason_count = o.count,
                .user_us = exit->user_us,
                .system_us = exit->system_us,
                .peak_kib = exit->peak_kib,
                .dropped = exit->dropped,
                .refused_calls = exit->refused,
        };
        _Static_assert(sizeof(result->reasons) == sizeof(o.lines), "as many reasons as an outcome has");
        memcpy(result->reasons, o.lines, sizeof(o.lines));
        r->sb->before = usage;
        return 0;
}

int creto_exec(struct creto_sandbox *sb, const struct creto_exec_options *options, struct creto_result *result, struct creto_error *err)
{
        struct run r = { .sb = sb, .options = options, .stdin_fd = options->stdin_fd };
        struct err e;

        if (sb->rt->remote)
                return remote_exec(sb, options, result, &e) < 0 ? error_failed(err, &e) : 0;
        int code = begin(&r, &e);

        if (code == 0)
                code = loop(&r, &e);
        if (code == 0)
                code = conclude(&r, result, &e);
        session_exec_free(r.exec.x);
        return code < 0 ? error_failed(err, &e) : 0;
}

void creto_exec_signal(struct creto_exec *exec, int signo, int group)
{
        static const int fatal[] = { SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGKILL };

        if (exec->remote) {
                remote_exec_signal(exec->remote, signo, group != 0);
                return;
        }
        session_exec_signal(exec->x, signo, group != 0);
        for (size_t i = 0; i < sizeof(fatal) / sizeof(fatal[0]); i++)
                if (signo == fatal[i])
                        exec->fatal = signo;
}

void creto_exec_resize(struct creto_exec *exec, uint16_t rows, uint16_t cols)
{
        if (exec->remote)
                remote_exec_resize(exec->remote, rows, cols);
        else
                session_exec_resize(exec->x, rows, cols);
}

static const char *call_name(uint32_t number)
{
        for (size_t i = 0; i < sizeof(seccomp_attack_names) / sizeof(seccomp_attack_names[0]); i++)
                if (seccomp_attack_names[i].number == number)
                        return seccomp_attack_names[i].name;
        return "unnamed";
}

int creto_sandbox_refused(struct creto_sandbox *sb, char *out, size_t cap, struct creto_error *err)
{
        const struct guest_stats *stats;
        struct err e;
        size_t at;

        out[0] = '\0';
        if (sb->rt->remote)
                return 0;
        session_ask_stats(sb->session);
        while (!(stats = session_stats(sb->session))) {
                struct pollfd p = { .fd = session_fd(sb->session), .events = session_events(sb->session) };
                int r = poll(&p, 1, 2000) == 0 ? err_set(&e, ERR_TIMEOUT, 0, "the sandbox does not answer") : session_step(sb->session, &e);

                if (r > 0)
                        r = err_set(&e, ERR_SANDBOX_NOT_FOUND, 0, "the sandbox has ended");
                if (r < 0)
                        return error_failed(err, &e);
        }
        if (stats->violations == 0)
                return 0;
        at = (size_t)snprintf(out, cap, "%llu attack calls refused:", (unsigned long long)stats->violations);
        for (uint32_t i = 0; i < stats->count && at < cap; i++)
                at += (size_t)snprintf(out + at, cap - at, "%s %s %llu", i ? "," : "", call_name(stats->calls[i].number),
                                       (unsigned long long)stats->calls[i].times);
        return 0;
}
