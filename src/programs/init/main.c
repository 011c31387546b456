/*
 * creto-init: the start, and the loop. Signals are blocked but for SIGCHLD while the loop sleeps, so nothing here is ever interrupted
 * anywhere else.
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdint.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/fd.h"
#include "programs/init/channel.h"
#include "programs/init/engine.h"
#include "programs/init/exec/confine.h"
#include "programs/init/exec/filter.h"
#include "programs/init/init.h"
#include "programs/init/exec/notify.h"
#include "programs/init/prewarm/prewarm.h"
#include "programs/init/stream.h"
#include "programs/init/watch.h"
#include "wire/guest.h"

enum { WATCHES_MAX = 8 + 3 * GUEST_EXECS_MAX };

struct boot_config boot;

static struct pollfd polled[WATCHES_MAX];
static struct {
        enum watch what;
        uint32_t index;
} watched[WATCHES_MAX];
static nfds_t watch_count;

static volatile sig_atomic_t child_changed;
static int notify_fd = -1;

void watch_add(int fd, short events, enum watch what, uint32_t index)
{
        if (watch_count == WATCHES_MAX)
                return;
        polled[watch_count] = (struct pollfd){ .fd = fd, .events = events };
        watched[watch_count].what = what;
        watched[watch_count].index = index;
        watch_count++;
}

static void on_sigchld(int signo)
{
        child_changed = 1;
}

/* What the starter ignored or blocked is no business of the commands. */
static void own_signals(void)
{
        struct sigaction dfl = { .sa_handler = SIG_DFL };
        struct sigaction chld = { .sa_handler = on_sigchld, .sa_flags = SA_RESTART };
        sigset_t all;

        sigfillset(&all);
        sigprocmask(SIG_SETMASK, &all, NULL);
        for (int s = 1; s < NSIG; s++)
                if (s != SIGKILL && s != SIGSTOP)
                        sigaction(s, &dfl, NULL);
        sigaction(SIGCHLD, &chld, NULL);
}

static void read_config(int fd)
{
        if (fd_read_all(fd, &boot, sizeof(boot)) < 0 || boot.size != sizeof(boot) || boot.version != BOOT_VERSION ||
            boot.writable_count > BOOT_WRITABLE_MAX)
                _exit(2);
        for (uint32_t i = 0; i < BOOT_WRITABLE_MAX; i++)
                boot.writable[i][BOOT_PATH_MAX - 1] = '\0';
        boot.disk_path[BOOT_PATH_MAX - 1] = boot.home[BOOT_PATH_MAX - 1] = '\0';
        if (!boot_has(BOOT_STDIO)) /* else the stream follows */
                close(fd);
}

static void dispatch(enum watch what, uint32_t index, short revents)
{
        if (what <= WATCH_STREAM) {
                stream_ready(what, revents);
        } else if (what == WATCH_NOTIFY) {
                if (!(revents & POLLIN) || !notify_answer(notify_fd))
                        fd_close(&notify_fd);
        } else if (what == WATCH_PREWARM) {
                prewarm_ready();
        } else {
                channel_ready(what, index, revents);
        }
}

static void loop(void)
{
        sigset_t open;

        sigfillset(&open);
        sigdelset(&open, SIGCHLD);
        for (;;) {
                if (child_changed) {
                        child_changed = 0;
                        channel_reap();
                }
                int timeout = channel_clock();
                stream_turn();
                if (stream_up())
                        confine_prepare(); /* now, rather than when the first command is waiting for it */
                watch_count = 0;
                stream_watch();
                if (notify_fd >= 0)
                        watch_add(notify_fd, POLLIN, WATCH_NOTIFY, 0);
                prewarm_watch();
                channel_watch();
                struct timespec t = { .tv_sec = timeout / 1000, .tv_nsec = timeout % 1000 * 1000000L };
                if (ppoll(polled, watch_count, timeout < 0 ? NULL : &t, &open) <= 0)
                        continue;
                for (nfds_t i = 0; i < watch_count; i++)
                        if (polled[i].revents)
                                dispatch(watched[i].what, watched[i].index, polled[i].revents);
        }
}

int main(int argc, char **argv)
{
        bool engine = argc > 1;

        (void)argv;
        read_config(engine ? BOOT_ENGINE_CONFIG : BOOT_FD_CONFIG);
        if (engine)
                engine_settle();
        confine_self();
        own_signals();
        umask(022);
        if (boot_has(BOOT_FILTER)) {
                notify_fd = filter_install();
        } else if (boot_has(BOOT_NOTIFY)) {
                notify_fd = BOOT_FD_NOTIFY;
                fcntl(notify_fd, F_SETFD, FD_CLOEXEC);
        }
        if (boot_has(BOOT_SLOT) || boot_has(BOOT_COUNT))
                fcntl(BOOT_FD_SLOT, F_SETFD, FD_CLOEXEC);
        stream_init();
        loop();
}
