/*
 * attack NAME[=ARG]            one attack; exit status 0 (it succeeded), 1 (refused), 77 (not applicable)
 * attack --batch NAME[=ARG]…   each in a process of its own; one line each: NAME<tab>won|refused|na|died<tab>details
 * attack --control NAME[=ARG]… the same, each in private namespaces of its own (needs root)
 * attack --weak COMMAND…       runs it in such namespaces, with no other confinement: a sandbox to show that the tests find holes
 * attack --list                NAME<tab>control<tab>root may fail<tab>what it tries
 */
#include <errno.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "attack.h"

enum { SECONDS_EACH = 10 };

static const struct attack *const all[] = {
        attacks_files,     attacks_proc,   attacks_mounts,  attacks_namespaces, attacks_devices, attacks_privileges,
        attacks_processes, attacks_kernel, attacks_sockets, attacks_leaks,      attacks_bombs,
};

static char said[256];

void say(const char *fmt, ...)
{
        va_list ap;

        va_start(ap, fmt);
        vsnprintf(said, sizeof(said), fmt, ap);
        va_end(ap);
}

int judge(long r)
{
        if (r >= 0)
                return WON;
        say("%s", strerrorname_np(errno));
        return REFUSED;
}

int judge_reached(long r)
{
        if (r >= 0)
                return WON;
        say("%s", strerrorname_np(errno) ? strerrorname_np(errno) : "?");
        return errno == EPERM || errno == EACCES || errno == ENOSYS ? REFUSED : WON;
}

static const struct attack *find(const char *spec, const char **arg)
{
        size_t len = strcspn(spec, "=");

        for (size_t i = 0; i < sizeof(all) / sizeof(all[0]); i++)
                for (const struct attack *a = all[i]; a->name; a++)
                        if (strlen(a->name) == len && strncmp(a->name, spec, len) == 0) {
                                *arg = spec[len] ? spec + len + 1 : a->arg;
                                return a;
                        }
        fprintf(stderr, "attack: no attack '%s'\n", spec);
        exit(2);
}

static int run_one(const char *spec)
{
        const char *arg;
        const struct attack *a = find(spec, &arg);

        said[0] = '\0';
        return a->run(arg);
}

static void report(const char *spec, const char *outcome)
{
        printf("%s\t%s\t%s\n", spec, outcome, said);
        fflush(stdout);
}

/* The attacker reports for itself, unless it is killed. */
static void run_child(const char *spec, bool private)
{
        setpgid(0, 0);
        alarm(SECONDS_EACH);
        if (private)
                enter_private();
        int v = run_one(spec);
        report(spec, v == WON ? "won" : v == REFUSED ? "refused" : "na");
        _exit(v);
}

static void run_apart(const char *spec, bool private)
{
        int status;
        pid_t pid = fork();

        if (pid == 0)
                run_child(spec, private);
        if (pid < 0 || waitpid(pid, &status, 0) != pid) {
                say("fork: %s", strerror(errno));
                report(spec, "died");
                return;
        }
        kill(-pid, SIGKILL);
        while (waitpid(-1, NULL, WNOHANG) > 0)
                ;
        if (!WIFSIGNALED(status))
                return;
        say("SIG%s", sigabbrev_np(WTERMSIG(status)));
        report(spec, WTERMSIG(status) == SIGSYS ? "refused" : "died");
}

static void list(void)
{
        for (size_t i = 0; i < sizeof(all) / sizeof(all[0]); i++)
                for (const struct attack *a = all[i]; a->name; a++)
                        printf("%s\t%c\t%d\t%s\n", a->name, a->control, a->root_may_fail, a->what);
}

int main(int argc, char **argv)
{
        if (argc == 2 && strcmp(argv[1], "--list") == 0) {
                list();
                return 0;
        }
        if (argc >= 3 && strcmp(argv[1], "--weak") == 0) {
                enter_private();
                execvp(argv[2], argv + 2);
                return 127;
        }
        if (argc >= 2 && (strcmp(argv[1], "--batch") == 0 || strcmp(argv[1], "--control") == 0)) {
                for (int i = 2; i < argc; i++)
                        run_apart(argv[i], argv[1][2] == 'c');
                return 0;
        }
        if (argc != 2) {
                fprintf(stderr, "usage: attack [--batch|--control|--list] NAME[=ARG]...\n");
                return 2;
        }
        int v = run_one(argv[1]);
        report(argv[1], v == WON ? "won" : v == REFUSED ? "refused" : "na");
        return v;
}
