/*
 * Commands: from a request to their end, which is kept until it was taken. Their output is in output.c.
 */
#include "services/sandbox/exec.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/str.h"
#include "base/text.h"
#include "base/time.h"
#include "wire/json.h"

enum { COMMAND_JSON_MAX = 4096 };

/* ---- the struct ---- */

static struct exec *exec_new(struct sandbox *sb)
{
        struct exec *x = calloc(1, sizeof(*x));

        if (!x)
                return NULL;
        *x = (struct exec){ .refs = 1, .sandbox = sb, .next = sb->execs, .born_ms = clock_ms(CLOCK_MONOTONIC) };
        x->info.command = "[]";
        x->info.started_ms = time_wall_ms();
        sb->execs = x;
        sb->exec_count++;
        sb->info.execs++;
        return x;
}

struct exec *exec_ref(struct exec *x)
{
        x->refs++;
        return x;
}

void exec_unref(struct exec *x)
{
        if (!x || --x->refs > 0)
                return;
        output_free(x);
        free(x->command);
        free(x);
}

/* Out of the sandbox's list; readers may still hold it. */
static void exec_remove(struct exec *x)
{
        struct sandbox *sb = x->sandbox;

        for (struct exec **at = &sb->execs; *at; at = &(*at)->next)
                if (*at == x) {
                        *at = x->next;
                        sb->exec_count--;
                        break;
                }
        session_exec_free(x->guest);
        x->guest = NULL;
        x->sandbox = NULL;
        x->next = NULL;
        exec_unref(x);
}

static bool is_over(const struct exec *x)
{
        return x->info.state == EXEC_EXITED || x->info.state == EXEC_FAILED || x->info.state == EXEC_LOST;
}

const struct exec_info *exec_info(const struct exec *x)
{
        return &x->info;
}

struct exec *sandbox_find_exec(struct sandbox *sb, uint32_t number)
{
        for (struct exec *x = sb->execs; x; x = x->next)
                if (x->info.number == number && !x->abandoned)
                        return x;
        return NULL;
}

struct exec *sandbox_first_exec(struct sandbox *sb)
{
        return sb->execs;
}

struct exec *exec_next(struct exec *x)
{
        return x->next;
}

static void tell(struct exec *x)
{
        if (x->reader)
                x->reader->ready(x->reader->ctx);
}

/* What the session has to send goes out now, as far as the stream takes it; the rest when it takes more. */
static void wake(const struct exec *x)
{
        if (!x->sandbox || !x->sandbox->watch)
                return;
        session_flush(x->sandbox->session);
        watch_set(x->sandbox->watch, session_events(x->sandbox->session));
}

/* ---- the request ---- */

const char **exec_environment(const struct sandbox *sb, const char *const *own)
{
        return spec_environment(sb->setup.image_env, sb->setup.env, own);
}

static void keep_command(struct exec *x, const char *const *argv)
{
        uint8_t space[COMMAND_JSON_MAX];
        struct wbuf w = wbuf_over(space, sizeof(space) - 1);
        struct json_put j = json_put_over(&w);

        json_put_array(&j);
        for (size_t i = 0; argv[i]; i++)
                json_put_string(&j, argv[i]);
        json_put_end(&j);
        if (w.bad)
                return; /* too long to be shown */
        space[w.len] = '\0';
        x->command = strdup((char *)space);
        if (x->command)
                x->info.command = x->command;
}

static int start(struct exec *x, const struct exec_request *req, struct err *e)
{
        struct sandbox *sb = x->sandbox;
        const struct setup *s = &sb->setup;
        const char **argv = spec_argv(req->kind == GUEST_KIND_PROGRAM ? s->command : NULL, s->entrypoint_count, req->argv);
        const char **env = exec_environment(sb, req->env);
        struct guest_exec guest = {
                .kind = (uint8_t)req->kind,
                .flags = (uint8_t)((req->tty ? GUEST_EXEC_TTY : 0) | (req->stdin_open ? GUEST_EXEC_STDIN : 0)),
                .rows = req->rows,
                .cols = req->cols,
                .timeout_ms = req->timeout_ms,
                .user = bytes_of(req->user ? req->user : s->user),
                .cwd = bytes_of(req->cwd ? req->cwd : s->cwd),
                .uid = GUEST_ID_LOOKUP,
                .gid = GUEST_ID_LOOKUP,
        };
        const struct spec all = { .image = "-", .command = argv };
        int r;

        if (sb->claiming && req->kind == GUEST_KIND_PROGRAM)
                guest.flags |= GUEST_EXEC_BOUND;
        if (argv && argv[0] && env && req->kind == GUEST_KIND_PROGRAM && !req->tty && prewarm_serves(sb, argv, env))
                guest.flags |= GUEST_EXEC_WARM;
        if (!argv || !env)
                r = err_set(e, ERR_RESOURCE_EXHAUSTED, 0, "out of memory");
        else if (!argv[0])
                r = err_set(e, ERR_INVALID_SPEC, 0, "there is no command to run, and the image has none");
        else if ((r = spec_check(&all, e)) == 0)
                r = session_exec_new(sb->session, &guest, argv, env, output_take, x, &x->guest, e);
        if (r == 0) {
                session_exec_bind(x->guest, output_take, x);
                x->info.number = session_exec_channel(x->guest);
                x->info.tty = req->tty;
                x->timeout_ms = req->timeout_ms;
                x->program = req->kind == GUEST_KIND_PROGRAM;
                if (x->program)
                        keep_command(x, argv);
        }
        free(argv);
        free(env);
        return r;
}

/* Of those that have ended and that nobody reads, the oldest makes room. */
static bool make_room(struct sandbox *sb)
{
        struct exec *victim = NULL;

        for (struct exec *x = sb->execs; x; x = x->next)
                if (is_over(x) && !x->reader)
                        victim = x;
        if (victim)
                exec_remove(victim);
        return victim != NULL;
}

static int check(struct sandbox *sb, struct err *e)
{
        if (!lifecycle_accepts_exec(sb->info.state)) {
                err_set(e, ERR_SANDBOX_NOT_READY, 0, "sandbox %s is %s", sb->info.id, lifecycle_name(sb->info.state));
                return err_hint(e, sb->info.state == SANDBOX_PAUSED ? "resume it first" : "it takes no commands in that state");
        }
        if (!sb->session || sb->adopting) {
                err_set(e, ERR_SANDBOX_NOT_READY, 0, "sandbox %s is being taken over", sb->info.id);
                return err_hint(e, "try again at once");
        }
        if (sb->exec_count < sb->all->config.execs_max || make_room(sb))
                return 0;
        err_set(e, ERR_RESOURCE_EXHAUSTED, 0, "sandbox %s runs %u commands, and takes no more", sb->info.id, sb->exec_count);
        return err_hint(e, "wait for one to end, or end one");
}

int sandbox_exec(struct sandbox *sb, const struct exec_request *req, struct exec **out, struct err *e)
{
        enum sandbox_state next;
        struct exec *x;

        if (check(sb, e) < 0)
                return -(int)e->code;
        if (!(x = exec_new(sb)))
                return err_set(e, ERR_RESOURCE_EXHAUSTED, 0, "out of memory");
        snprintf(x->request_id, sizeof(x->request_id), "%s", req->request_id ? req->request_id : "");
        if (req->kind == GUEST_KIND_PROGRAM && sb->info.state == SANDBOX_READY && lifecycle_step(sb->info.state, SANDBOX_EV_START, &next)) {
                sandbox_set_state(sb, next);
                record_put(sb, NULL, NULL); /* that it is not written is no reason to do nothing: what counts is what the warden has */
        }
        if (start(x, req, e) < 0) {
                sb->info.execs--;
                exec_remove(x);
                return -(int)e->code;
        }
        sandbox_touch(sb);
        wake(x);
        *out = exec_ref(x);
        return 0;
}

/* ---- the end ---- */

static void event(struct exec *x, const char *name)
{
        struct wbuf w = text_new();
        struct json_put j = json_put_over(&w);
        char id[16];

        if (!x->program || !x->sandbox)
                return;
        snprintf(id, sizeof(id), "ex-%u", x->info.number);
        json_put_object(&j);
        json_put_key(&j, "execId");
        json_put_string(&j, id);
        if (is_over(x)) {
                json_put_key(&j, "exitCode");
                if (x->info.state == EXEC_EXITED && x->info.exit.signal == 0)
                        json_put_i64(&j, x->info.exit.code);
                else
                        json_put_null(&j);
                json_put_key(&j, "durationMs");
                json_put_u64(&j, x->info.duration_ms);
        } else if (strlen(x->info.command) < 1024) {
                json_put_key(&j, "command");
                json_put_raw(&j, x->info.command, strlen(x->info.command));
        }
        json_put_end(&j);
        sandbox_event(x->sandbox, name, x->request_id, text_c(&w));
        text_free(&w);
}

static void over(struct exec *x, enum exec_state state)
{
        struct sandbox *sb = x->sandbox;

        x->info.state = state;
        x->info.ended_ms = time_wall_ms();
        x->info.duration_ms = clock_ms(CLOCK_MONOTONIC) - x->born_ms;
        sb->info.execs--;
        event(x, "ExecFinished");
        sandbox_touch(sb);
        if (x->abandoned)
                exec_remove(x);
        else
                tell(x);
}

static uint64_t since(uint64_t now, uint64_t before)
{
        return now == IPC_USAGE_UNKNOWN ? now : before == IPC_USAGE_UNKNOWN || before > now ? now : now - before;
}

/* What the sandbox's limits had to do with it. */
static void judge(struct exec *x, const struct ipc_usage *usage)
{
        struct sandbox *sb = x->sandbox;
        const struct guest_exit *exit = &x->info.exit;
        uint64_t kills = usage ? since(usage->oom_kills, sb->before.oom_kills) : 0;
        uint64_t forks = usage ? since(usage->forks_refused, sb->before.forks_refused) : 0;

        /* or seen inside, where the kernel is the sandbox's own */
        if ((exit->reason & GUEST_REASON_MEMORY) && (kills == 0 || kills == IPC_USAGE_UNKNOWN))
                kills = 1;
        if ((exit->reason & GUEST_REASON_PIDS) && (forks == 0 || forks == IPC_USAGE_UNKNOWN))
                forks = 1;
        const struct outcome_facts facts = {
                .ended = true,
                .code = exit->code,
                .signal = exit->signal,
                .timed_out = exit->reason & GUEST_REASON_TIMEOUT,
                .disk_full = exit->reason & GUEST_REASON_DISK,
                .inodes_full = exit->reason & GUEST_REASON_INODES,
                .timeout_ms = x->timeout_ms,
                .oom_kills = kills,
                .forks_refused = forks,
                .limits = &sb->limits,
        };

        outcome_of(&facts, &x->info.outcome);
        if (usage)
                sb->before = *usage;
        over(x, EXEC_EXITED);
}

static void on_usage(void *ctx, const struct link_answer *a)
{
        struct exec *x = ctx;

        if (x->sandbox && !is_over(x))
                judge(x, a->error ? NULL : a->usage);
        exec_unref(x);
}

static void count_attacks(struct exec *x)
{
        struct sandbox *sb = x->sandbox;
        uint64_t more = x->info.exit.refused - sb->attacks;

        if (x->info.exit.refused <= sb->attacks)
                return;
        sb->attacks = x->info.exit.refused;
        sb->all->config.count(sb->all->config.ctx, SANDBOX_COUNT_ATTACKS, sb->info.id, (double)more);
        sandbox_event(sb, "SyscallViolation", x->request_id, NULL);
        snprintf(x->info.refused, sizeof(x->info.refused), "%llu attack calls refused", (unsigned long long)x->info.exit.refused);
}

static void ended(struct exec *x)
{
        struct sandbox *sb = x->sandbox;

        x->info.exit = *session_exec_exit(x->guest);
        x->concluding = true;
        count_attacks(x);
        if (x->info.exit.code == 0 && x->info.exit.signal == 0) { /* nothing to be explained */
                judge(x, NULL);
                return;
        }
        link_usage(sb->all->link, sb->info.id, on_usage, exec_ref(x));
}

static void failed(struct exec *x)
{
        const struct guest_failed *f = session_exec_failed(x->guest);
        struct err *e = &x->info.failure;

        err_set(e, f->code == ERR_NONE ? ERR_INTERNAL_ERROR : (enum err_code)f->code, 0, "%s", f->message);
        x->info.stage = (enum guest_stage)f->stage;
        if (f->stage == GUEST_STAGE_EXEC)
                e->sys = f->sys;
        over(x, EXEC_FAILED);
}

static void started(struct exec *x)
{
        struct sandbox *sb = x->sandbox;

        x->info.state = EXEC_RUNNING;
        if (x->program)
                sb->all->config.count(sb->all->config.ctx, SANDBOX_COUNT_EXEC, NULL,
                                      (double)(clock_ms(CLOCK_MONOTONIC) - x->born_ms) / 1000);
        event(x, "ExecStarted");
}

/* The connection that it was sent over broke, and creto-init does not know of it. */
static void unheard(struct exec *x)
{
        err_set(&x->info.failure, ERR_BACKEND_UNAVAILABLE, 0, "the connection to the sandbox broke before the command was begun");
        over(x, EXEC_LOST);
}

static void check_one(struct exec *x)
{
        if (is_over(x) || !x->guest || x->concluding) {
                if (x->fresh)
                        tell(x);
                else if (!is_over(x) && !x->concluding && x->sandbox->session && session_greeted(x->sandbox->session))
                        unheard(x);
                return;
        }
        if (x->info.state == EXEC_STARTING && session_exec_started(x->guest))
                started(x);
        x->info.stdin_taken = session_exec_sent(x->guest);
        switch (session_exec_state(x->guest)) {
        case SESSION_RUNNING:
                tell(x);
                break;
        case SESSION_EXITED:
                ended(x);
                break;
        case SESSION_FAILED:
                failed(x);
                break;
        case SESSION_LOST:
                break; /* the stream has ended; whether the sandbox has, the warden says */
        }
}

/* Whatever is called may end and forget commands, the one at hand included. */
void execs_check(struct sandbox *sb)
{
        struct exec *turn[GUEST_EXECS_MAX];
        size_t n = 0;

        for (struct exec *x = sb->execs; x && n < GUEST_EXECS_MAX; x = x->next)
                turn[n++] = exec_ref(x);
        for (size_t i = 0; i < n; i++) {
                if (turn[i]->sandbox)
                        check_one(turn[i]);
                turn[i]->fresh = false;
                exec_unref(turn[i]);
        }
        sandbox_look_disk(sb);
}

void execs_lose(struct sandbox *sb, const struct err *why)
{
        struct exec *turn[GUEST_EXECS_MAX];
        size_t n = 0;

        for (struct exec *x = sb->execs; x && n < GUEST_EXECS_MAX; x = x->next)
                turn[n++] = exec_ref(x);
        for (size_t i = 0; i < n; i++) {
                struct exec *x = turn[i];

                if (x->sandbox && !is_over(x)) {
                        x->info.failure = *why;
                        over(x, EXEC_LOST);
                }
                exec_unref(x);
        }
}

void execs_unbind(struct sandbox *sb)
{
        for (struct exec *x = sb->execs; x; x = x->next)
                x->guest = NULL; /* the session frees it */
}

void execs_free(struct sandbox *sb)
{
        while (sb->execs) {
                struct exec *x = sb->execs;

                if (!is_over(x))
                        x->info.state = EXEC_LOST;
                if (x->reader)
                        tell(x);
                if (sb->execs == x)
                        exec_remove(x);
        }
}

/* One that an earlier connection began: ours, or an earlier daemon's. */
void exec_adopt(void *ctx, struct session_exec *guest, const struct guest_channel_state *state)
{
        struct sandbox *sb = ctx;
        struct exec *x = sb->execs;

        if (state->state & GUEST_STATE_PREWARM) {
                prewarm_adopt(sb, guest);
                return;
        }
        while (x && x->info.number != state->channel)
                x = x->next;
        if (!x) {
                if (!(x = exec_new(sb)))
                        return;
                x->info.number = state->channel;
                x->program = x->adopted = true;
                output_begin_at(x, state->stdout_acked, state->stderr_acked);
        }
        x->guest = guest;
        x->received[0] = state->stdout_acked;
        x->received[1] = state->stderr_acked;
        x->info.stdin_taken = state->stdin_taken;
        session_exec_bind(guest, output_take, x);
}

/* ---- what its reader does besides reading ---- */

size_t exec_room(const struct exec *x)
{
        return x->guest && !is_over(x) ? session_exec_room(x->guest) : 0;
}

void exec_write(struct exec *x, const void *data, size_t len)
{
        session_exec_write(x->guest, data, len);
        wake(x);
}

void exec_eof(struct exec *x)
{
        if (!x->guest || is_over(x))
                return;
        session_exec_eof(x->guest);
        wake(x);
}

void exec_signal(struct exec *x, int signo, bool group)
{
        if (!x->guest || is_over(x))
                return;
        session_exec_signal(x->guest, signo, group);
        wake(x);
}

void exec_resize(struct exec *x, uint16_t rows, uint16_t cols)
{
        if (!x->guest || is_over(x))
                return;
        session_exec_resize(x->guest, rows, cols);
        wake(x);
}

void exec_release(struct exec *x)
{
        if (!x->sandbox || x->abandoned)
                return;
        if (is_over(x)) {
                struct sandbox *sb = x->sandbox;

                exec_remove(x);
                if (sb->watch)
                        watch_set(sb->watch, session_events(sb->session));
                return;
        }
        x->abandoned = true;
        output_discard(x);
        exec_signal(x, x->program ? SIGKILL : SIGTERM, x->program); /* what writes a file tidies up */
}
