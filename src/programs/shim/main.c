/*
 * creto-shim: between a containerd shim and creto-warden, for as long as a sandbox lives. It speaks the shim's protocol, which root does not, and carries the
 * guest stream where the container has nothing else than its standard streams. It is nobody: no capabilities, no files, and calls for its descriptors only.
 *
 * Its end is the sandbox's end: the warden watches it, and clears the groups that the shim, the container and this are in.
 */
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/fd.h"
#include "base/str.h"
#include "base/sys.h"
#include "programs/shim/confine.h"
#include "programs/shim/relay.h"
#include "programs/shim/task.h"
#include "wire/shim.h"

enum { POLL_LOG = TASK_POLLS + RELAY_POLLS, POLLS };

static struct relay relay;
static struct task task;
static char logged[1024]; /* the last of it */

static void read_log(void)
{
        char text[sizeof(logged) / 2];
        ssize_t n = read(SHIM_FD_LOG, text, sizeof(text));
        size_t had = strlen(logged), keep = sizeof(logged) / 2 - 1;

        if (n <= 0)
                return;
        keep = had < keep ? had : keep;
        memmove(logged, logged + had - keep, keep);
        memcpy(logged + keep, text, (size_t)n);
        logged[keep + (size_t)n] = '\0';
}

_Noreturn static void fail(const char *why)
{
        char words[200];

        str_last_line(task.refused ? "" : logged, words, sizeof(words));
        dprintf(SHIM_FD_SAID, "\n%s%s%s\n", why, words[0] ? "; its log: " : "", words);
        _exit(1);
}

static void tell_ready(bool *told)
{
        const uint64_t one = 1;

        task.answers = relay.answers;
        if (*told || task.step != TASK_WAIT || !task.answers)
                return;
        *told = true;
        if (write(SHIM_FD_READY, &one, sizeof(one)) != (ssize_t)sizeof(one))
                fail("the warden does not hear it");
}

_Noreturn static void loop(void)
{
        struct pollfd p[POLLS];
        bool told = false;

        for (;;) {
                task_watch(&task, p);
                relay_watch(&relay, p + TASK_POLLS);
                p[POLL_LOG] = (struct pollfd){ .fd = SHIM_FD_LOG, .events = POLLIN };
                if (poll(p, POLLS, task_patience(&task, clock_ms(CLOCK_MONOTONIC))) < 0 && errno != EINTR)
                        fail("poll fails");
                if (p[POLL_LOG].revents)
                        read_log();
                if (!task_turn(&task, p, clock_ms(CLOCK_MONOTONIC)))
                        fail(task.why);
                if (!relay_turn(&relay, p + TASK_POLLS))
                        _exit(0);
                tell_ready(&told);
        }
}

int main(int argc, char **argv)
{
        struct task_create create = { .bundle = SHIM_BUNDLE, .in = SHIM_STDIN, .out = SHIM_STDOUT, .err = SHIM_LOG };

        if (argc != 2 && argc != 5)
                return 64;
        create.id = argv[1];
        if (argc == 5) {
                create.options_type = argv[2];
                create.option_field = (uint32_t)atoi(argv[3]);
                create.option = argv[4];
        }
        signal(SIGPIPE, SIG_IGN);
        sys_close_range(SHIM_FDS, ~0U, 0);
        fd_set_nonblock(SHIM_FD_LOG, true);
        relay_init(&relay, SHIM_FD_IN, SHIM_FD_OUT, SHIM_FD_GUEST);
        task_init(&task, &create, SHIM_FD_TASK, SHIM_FD_SINK, clock_ms(CLOCK_MONOTONIC));
        if (confine_shim() < 0)
                fail("it cannot confine itself");
        loop();
}
