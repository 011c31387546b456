/*
 * creto-warden: the only root code. Started by its client with the connection as descriptor 3; everything else it knows from its own place, its
 * arguments (root's, or the user's own) and the kernel.
 *
 * It must never parse what came from a sandbox, an image or the network.
 */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/str.h"
#include "services/warden/monitor.h"
#include "services/warden/parts/space.h"
#include "services/warden/zygote.h"

enum { PEER_FD = 3 };

static const char usage[] =
        "usage: creto-warden --run-dir DIR --state-dir DIR --image-store DIR [--peer UID] [--class NAME,ENGINE,BINARY[,OPTION]...]..., with a connection (with --peer: a listening socket) "
        "as descriptor 3\n";

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

static bool read_arguments(int argc, char **argv, struct monitor_config *config)
{
        const struct {
                const char *name;
                const char **value;
        } options[] = { { "--run-dir", &config->run_dir },
                        { "--state-dir", &config->state_dir },
                        { "--image-store", &config->image_store } };

        for (int i = 1; i < argc; i += 2) {
                struct runtime_class class;
                size_t k = 0;
                uint64_t uid;
                struct err e;

                if (strcmp(argv[i], "--class") == 0 && i + 1 < argc && class_parse(argv[i + 1], &class) &&
                    classes_add(&config->classes, &class, &e) == 0)
                        continue;

                if (strcmp(argv[i], "--peer") == 0 && i + 1 < argc && str_parse_u64(argv[i + 1], &uid) && uid < UINT32_MAX) {
                        config->listener = PEER_FD;
                        config->peer_uid = (uid_t)uid;
                        config->peer = -1;
                        continue;
                }

                while (k < 3 && strcmp(argv[i], options[k].name) != 0)
                        k++;
                if (k == 3 || i + 1 >= argc || argv[i + 1][0] != '/' || strlen(argv[i + 1]) > 400)
                        return false;
                *options[k].value = argv[i + 1];
        }
        return config->run_dir && config->state_dir && config->image_store;
}

int main(int argc, char **argv)
{
        struct monitor_config config = { .peer = PEER_FD, .listener = -1 };
        struct ucred peer = { .uid = 0 };
        socklen_t len = sizeof(peer);
        struct err e;

        classes_init(&config.classes);
        if (argc > 1 && strcmp(argv[1], "--zygote") == 0)
                return zygote_main(argv);
        if (!read_arguments(argc, argv, &config) ||
            (config.listener < 0 && getsockopt(PEER_FD, SOL_SOCKET, SO_PEERCRED, &peer, &len) < 0) ||
            (config.listener >= 0 && geteuid() != 0)) {
                fputs(usage, stderr);
                return 64;
        }
        fcntl(PEER_FD, F_SETFD, FD_CLOEXEC);
        harden();
        config.peer_is_root = peer.uid == 0;
        config.user = geteuid() != 0;
        if (config.user && space_become_root(&e) < 0) {
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
