/*
 * creto-warden: the only root code. Started by its client with the connection as descriptor 3; everything else it knows from its own place, its
 * arguments (root's, or the user's own) and the kernel.
 *
 * It must never parse what came from a sandbox, an image or the network.
 */
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/ns.h"
#include "services/warden/monitor.h"
#include "services/warden/parts/space.h"
#include "services/warden/zygote.h"

enum { PEER_FD = 3 };

static void harden(void)
{
        struct rlimit files, core;

        /* 1 is the limit at which the kernel does not even start a core_pattern helper; 0 would. The hard limit is the commands' to be had. */
        if (getrlimit(RLIMIT_CORE, &core) == 0) {
                core.rlim_cur = core.rlim_max < 1 ? core.rlim_max : 1;
                setrlimit(RLIMIT_CORE, &core);
        }
        if (getrlimit(RLIMIT_NOFILE, &files) == 0) {
                files.rlim_cur = files.rlim_max;
                setrlimit(RLIMIT_NOFILE, &files);
        }
        umask(022);
        signal(SIGPIPE, SIG_IGN);
        setsid(); /* a ^C at the terminal is the command's, not ours */
}

int main(int argc, char **argv)
{
        struct monitor_config config = { .peer = PEER_FD, .listener = -1 };
        struct ucred peer = { .uid = 0 };
        socklen_t len = sizeof(peer);
        struct err e;

        if (argc > 1 && strcmp(argv[1], "--zygote") == 0)
                return zygote_main(argv);
        if (!warden_args_read(argc, argv, &config.args) ||
            (config.args.service ? geteuid() != 0 : getsockopt(PEER_FD, SOL_SOCKET, SO_PEERCRED, &peer, &len) < 0)) {
                fputs(WARDEN_USAGE, stderr);
                return 64;
        }
        if (config.args.service) {
                config.listener = PEER_FD;
                config.peer = -1;
        }
        fcntl(PEER_FD, F_SETFD, FD_CLOEXEC);
        harden();
        config.peer_is_root = peer.uid == 0;
        config.user = geteuid() != 0;
        if (config.user && ns_become_root(&e) < 0) {
                fprintf(stderr, "creto-runtime: %s\n", e.msg);
                if (e.hint[0])
                        fprintf(stderr, "hint: %s\n", e.hint);
                return err_code_exit(e.code);
        }
        /* In an ordinary user's namespace the id maps of our children are written by their owner, whom a process that is not dumpable does not have; there
         * is also nobody to hide from but ourselves. */
        if (!config.user)
                prctl(PR_SET_DUMPABLE, 0);
        return monitor_run(&config);
}
