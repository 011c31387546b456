/*
 * `creto-runtime run`: a sandbox for one command, in this terminal.
 */
#include <errno.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/signalfd.h>
#include <termios.h>
#include <unistd.h>

#include "domain/spec.h"
#include "programs/runtime/cli.h"

enum { OPTIONS_MAX = SPEC_ENV_MAX + SPEC_LABELS_MAX + 64, STATUS_NOT_EXECUTABLE = 126, STATUS_NOT_FOUND = 127, STATUS_PIPE = 141 };

struct invocation {
        struct creto_option options[OPTIONS_MAX];
        size_t count;
        bool tty, interactive;
        const char *image, *engine;
        const char *const *command;
};

static struct {
        struct termios saved;
        bool raw;
        int output_fault; /* errno of writing the command's output; 0: none */
} terminal;

/* ---- arguments ---- */

__attribute__((format(printf, 3, 4))) static int wrong(struct creto_error *e, const char *hint, const char *fmt, ...)
{
        va_list ap;

        *e = (struct creto_error){ .code = CRETO_E_INVALID_SPEC };
        va_start(ap, fmt);
        vsnprintf(e->message, sizeof(e->message), fmt, ap);
        va_end(ap);
        snprintf(e->hint, sizeof(e->hint), "%s", hint);
        return -e->code;
}

static int add(struct invocation *inv, const char *name, const char *value, struct creto_error *e)
{
        if (inv->count == OPTIONS_MAX)
                return wrong(e, "send large data through standard input", "--%.64s: more than %d options", name, (int)OPTIONS_MAX);
        inv->options[inv->count++] = (struct creto_option){ name, value };
        if (strcmp(name, "tty") == 0)
                inv->tty = true;
        if (strcmp(name, "interactive") == 0)
                inv->interactive = true;
        if (strcmp(name, "image") == 0)
                inv->image = value;
        if (strcmp(name, "runsc-path") == 0)
                inv->engine = value;
        return 0;
}

static int add_short(struct invocation *inv, const char *letters, struct creto_error *e)
{
        for (; *letters; letters++) {
                const char *name = *letters == 'i' ? "interactive" : *letters == 't' ? "tty" : NULL;

                if (!name)
                        return wrong(e, "'creto-runtime help run' lists them", "there is no option -%.1s", letters);
                if (add(inv, name, NULL, e) < 0)
                        return -e->code;
        }
        return 0;
}

/* --name value, --name=value, --switch, -it; ends at -- or at the first word that is no option. */
static int parse(int argc, char **argv, struct invocation *inv, struct creto_error *e)
{
        int i = 1;

        for (; i < argc && argv[i][0] == '-' && argv[i][1] != '\0'; i++) {
                if (strcmp(argv[i], "--") == 0) {
                        i++;
                        break;
                }
                if (argv[i][1] != '-') {
                        if (add_short(inv, argv[i] + 1, e) < 0)
                                return -e->code;
                        continue;
                }
                char *name = argv[i] + 2, *equals = strchr(name, '=');
                if (equals)
                        *equals = '\0';
                int takes = spec_takes_value(name);
                if (takes < 0)
                        return wrong(e, "'creto-runtime help run' lists them; the command comes behind --", "there is no option --%.64s",
                                     name);
                if (!takes && equals)
                        return wrong(e, "", "--%.64s takes no value", name);
                if (takes && !equals && i + 1 >= argc)
                        return wrong(e, "'creto-runtime help run' shows how", "--%.64s needs a value", name);
                if (add(inv, name, !takes ? NULL : equals ? equals + 1 : argv[++i], e) < 0)
                        return -e->code;
        }
        inv->command = (const char *const *)argv + i;
        return 0;
}

/* Everything that can be judged without a sandbox is judged before one is begun. */
static int judge(const struct invocation *inv, struct creto_error *out)
{
        struct spec *spec = malloc(sizeof(*spec));
        struct err e;
        int r = spec ? 0 : err_set(&e, ERR_RESOURCE_EXHAUSTED, 0, "out of memory");

        if (spec)
                spec_init(spec);
        for (size_t i = 0; i < inv->count && r == 0; i++)
                r = spec_set(spec, inv->options[i].name, inv->options[i].value, &e);
        if (r == 0) {
                spec->command = inv->command;
                r = spec_check(spec, &e);
        }
        free(spec);
        if (r < 0) {
                *out = (struct creto_error){ .code = (int)e.code, .sys = e.sys };
                memcpy(out->message, e.msg, sizeof(out->message));
                memcpy(out->hint, e.hint, sizeof(out->hint));
        }
        return r;
}

/* ---- the terminal ---- */

static void restore_terminal(void)
{
        if (terminal.raw)
                tcsetattr(STDIN_FILENO, TCSADRAIN, &terminal.saved);
        terminal.raw = false;
}

static void raw_terminal(void)
{
        struct termios raw;

        if (tcgetattr(STDIN_FILENO, &terminal.saved) < 0)
                return;
        raw = terminal.saved;
        cfmakeraw(&raw);
        terminal.raw = tcsetattr(STDIN_FILENO, TCSADRAIN, &raw) == 0;
        atexit(restore_terminal);
}

static void window_size(uint16_t *rows, uint16_t *cols)
{
        struct winsize size;

        if (ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) == 0 || ioctl(STDIN_FILENO, TIOCGWINSZ, &size) == 0) {
                *rows = size.ws_row;
                *cols = size.ws_col;
        }
}

/* ---- while it runs ---- */

/* As much as goes without waiting: a descriptor that poll() says can be written takes PIPE_BUF bytes. */
static ssize_t on_output(void *ctx, int stream, const void *data, size_t len)
{
        int fd = stream == 1 ? STDOUT_FILENO : STDERR_FILENO;
        size_t done = 0;

        (void)ctx;
        while (done < len) {
                struct pollfd p = { .fd = fd, .events = POLLOUT };
                ssize_t n = poll(&p, 1, 0);

                if (n == 0)
                        break;
                n = write(fd, (const char *)data + done, len - done < PIPE_BUF ? len - done : PIPE_BUF);
                if (n < 0 && errno != EINTR && errno != EAGAIN) {
                        terminal.output_fault = errno;
                        return -1;
                }
                done += n > 0 ? (size_t)n : 0;
        }
        return (ssize_t)done;
}

/* A reader that has gone needs no message; it is as if the command had met the end of the pipe itself. */
static int output_status(void)
{
        struct creto_error e = { .code = CRETO_E_RESOURCE_EXHAUSTED, .sys = terminal.output_fault };

        if (terminal.output_fault == EPIPE)
                return STATUS_PIPE;
        snprintf(e.message, sizeof(e.message), "cannot write the command's output: %s", strerror(terminal.output_fault));
        return cli_error(&e);
}

static void on_signal(void *ctx, struct creto_exec *exec)
{
        const int *fd = ctx;
        struct signalfd_siginfo info;
        uint16_t rows = 0, cols = 0;

        while (read(*fd, &info, sizeof(info)) == (ssize_t)sizeof(info)) {
                if (info.ssi_signo == SIGWINCH) {
                        window_size(&rows, &cols);
                        creto_exec_resize(exec, rows, cols);
                } else {
                        creto_exec_signal(exec, (int)info.ssi_signo, 1);
                }
        }
}

static int catch_signals(void)
{
        static const int passed_on[] = { SIGINT, SIGTERM, SIGHUP, SIGQUIT, SIGUSR1, SIGUSR2, SIGWINCH };
        sigset_t set;

        sigemptyset(&set);
        for (size_t i = 0; i < sizeof(passed_on) / sizeof(passed_on[0]); i++)
                sigaddset(&set, passed_on[i]);
        sigprocmask(SIG_BLOCK, &set, NULL);
        return signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
}

static void tell(struct creto_sandbox *sb, const struct creto_result *result)
{
        char refused[4096];
        struct creto_error e;

        for (unsigned i = 0; i < result->reason_count; i++)
                cli_note(result->reasons[i]);
        if (result->refused_calls > 0 && creto_sandbox_refused(sb, refused, sizeof(refused), &e) == 0 && refused[0])
                fprintf(stderr, "creto-runtime: notice: %s\n", refused);
}

static int exec_status(const struct creto_error *e)
{
        cli_error(e);
        if (e->sys == ENOENT)
                return STATUS_NOT_FOUND;
        return e->sys == EACCES || e->sys == ENOEXEC ? STATUS_NOT_EXECUTABLE : -1;
}

int cli_exec(struct creto_sandbox *sb, const struct cli_exec *x)
{
        int signals = catch_signals();
        struct creto_exec_options o = {
                .argv = x->argv,
                .cwd = x->cwd,
                .user = x->user,
                .timeout_ms = x->timeout_ms,
                .flags = x->tty ? CRETO_EXEC_TTY : 0,
                .stdin_fd = x->interactive || !isatty(STDIN_FILENO) ? STDIN_FILENO : -1,
                .on_output = on_output,
                .output_fd = { STDOUT_FILENO, STDERR_FILENO },
                .wake_fd = signals,
                .on_wake = on_signal,
                .ctx = &signals,
        };
        const char *env[SPEC_ENV_MAX + 2];
        char term[128];
        struct creto_result result;
        struct creto_error e;
        size_t n = 0;

        if (x->tty) {
                window_size(&o.rows, &o.cols);
                snprintf(term, sizeof(term), "TERM=%.100s", getenv("TERM") ? getenv("TERM") : "xterm");
                env[n++] = term;
                if (o.stdin_fd >= 0 && isatty(STDIN_FILENO))
                        raw_terminal();
        }
        for (size_t i = 0; x->env && x->env[i] && n < SPEC_ENV_MAX + 1; i++)
                env[n++] = x->env[i];
        env[n] = NULL;
        o.env = n ? env : NULL;
        int status = 0;
        if (x->get && !(sb = x->get(x->ctx, &o, &status)))
                return status;
        int r = creto_exec(sb, &o, &result, &e);
        restore_terminal();
        if (r < 0 && terminal.output_fault)
                return output_status();
        if (r < 0) {
                status = exec_status(&e);
                return status >= 0 ? status : err_code_exit((enum err_code)e.code);
        }
        tell(sb, &result);
        return result.status;
}

static int run_in(struct creto_sandbox *sb, const struct invocation *inv)
{
        const struct cli_exec x = { .argv = inv->command, .tty = inv->tty, .interactive = inv->interactive };

        cli_tell_spawned(sb);
        return cli_exec(sb, &x);
}

int cmd_run(int argc, char **argv)
{
        static struct invocation inv;
        struct creto_open_options open_options = { .flags = CRETO_DROP_ROOT, .image_fd = -1, .auth_fd = -1 };
        struct creto_runtime *rt = NULL;
        struct creto_sandbox *sb = NULL;
        struct creto_error e;
        int status;

        if (parse(argc, argv, &inv, &e) < 0)
                return cli_error(&e);
        cli_default_class(inv.options, &inv.count, OPTIONS_MAX);
        if (judge(&inv, &e) < 0)
                return cli_error(&e);
        if (inv.image && !cli_host && creto_open_sources(inv.image, &open_options, &e) < 0)
                return cli_error(&e);
        open_options.engine_path = inv.engine;
        signal(SIGPIPE, SIG_IGN);
        if ((cli_host ? creto_connect(cli_host, cli_key, &rt, &e) : creto_open(&open_options, &rt, &e)) < 0)
                return cli_error(&e);
        /* Until here a signal ends us, and with us the warden and what it has begun; from here on signals are the command's. */
        if (creto_spawn(rt, inv.options, inv.count, &sb, &e) < 0)
                status = cli_error(&e);
        else
                status = run_in(sb, &inv);
        if (sb && cli_host && creto_terminate(sb, &e) < 0)
                cli_error(&e);
        creto_close(rt); /* takes the sandbox down as well, all at once */
        return status;
}
