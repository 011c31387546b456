#include "services/warden/shim.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <signal.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/proc.h"
#include "base/sock.h"
#include "base/sys.h"
#include "services/warden/driver.h"
#include "services/warden/oci.h"
#include "services/warden/program.h"

int shim_fill(int bundle, struct nest_box *b, const char *runtime, bool old, struct err *e)
{
        static const struct {
                const char *name;
                enum shim_fd as;
        } fifos[] = { { "log", SHIM_FD_LOG }, { "stdin", SHIM_FD_IN }, { "stdout", SHIM_FD_OUT } };
        char script[CLASS_TEXT_MAX];
        int *fds = b->job->shim;

        for (size_t i = 0; i < sizeof(fifos) / sizeof(fifos[0]); i++)
                if (mkfifoat(bundle, fifos[i].name, 0600) < 0 ||
                    (fds[fifos[i].as] = openat(bundle, fifos[i].name, O_RDWR | O_NONBLOCK | O_CLOEXEC)) < 0)
                        return err_sys(e, "bundle: cannot make %s", fifos[i].name);
        if (mkdirat(bundle, "run", 0755) < 0)
                return err_sys(e, "bundle: cannot make run");
        size_t len = runtime[0] ? class_runtime_script(b->want.class, runtime, old, script) : 0;
        auto_fd fd = fd_new_file(bundle, "engine", 0755, script, len);
        if (fd < 0)
                return err_sys(e, "bundle: cannot write a script");
        fds[SHIM_FD_SINK] = record_listen(&(const struct record_dirs){ -1, bundle }, "events", e);
        return fds[SHIM_FD_SINK] < 0 ? fds[SHIM_FD_SINK] : 0;
}

/* It has made exactly one socket, in a directory that is this bundle's. */
static int connect_shim(int bundle)
{
        int at = sys_openat2(bundle, "run/containerd/s", O_RDONLY | O_DIRECTORY | O_CLOEXEC, RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS);
        DIR *dir = at < 0 ? NULL : fdopendir(at);
        const struct dirent *entry;
        int fd = -1;

        while (dir && fd < 0 && (entry = readdir(dir))) {
                auto_fd file = entry->d_name[0] == '.' ? -1 : openat(at, entry->d_name, O_PATH | O_NOFOLLOW | O_CLOEXEC);

                if (file >= 0)
                        fd = sock_connect_file(file);
        }
        if (dir)
                closedir(dir);
        return fd;
}

_Noreturn static void become_shim(struct nest *n, struct nest_box *b, int exe)
{
        uint32_t id = space_slot_uid((unsigned)b->slot) + SPACE_INIT_ID;
        int count = b->job->shim[SHIM_FD_SLOT] < 0 ? SHIM_FD_SLOT : SHIM_FDS;
        const char *argv[CLASS_ARGS_MAX];
        struct err e;

        exe = fd_high(exe);
        class_shim_argv(b->want.class, b->id, argv);
        setsid();
        if (exe >= 0 && nest_enter_groups(n, b, &e) == 0 && setgroups(0, NULL) == 0 && setresgid(id, id, id) == 0 &&
            setresuid(id, id, id) == 0 && prctl(PR_SET_PDEATHSIG, n->config.private ? SIGKILL : 0) == 0 &&
            fd_arrange(b->job->shim, (size_t)count) == 0)
                proc_exec(exe, count, argv, NULL);
        _exit(1);
}

int shim_start(struct nest *n, struct nest_box *b, struct err *e)
{
        auto_fd exe = program_open("shim");
        int *fds = b->job->shim, ready[2];

        if (exe < 0)
                return err_set(e, ERR_BACKEND_UNAVAILABLE, errno, "cannot open creto-shim");
        fds[SHIM_FD_TASK] = connect_shim(b->job->bundle);
        if (fds[SHIM_FD_TASK] < 0)
                return oci_complain(b, "ended without a socket", e);
        if (pipe2(ready, O_CLOEXEC | O_NONBLOCK) < 0)
                return err_sys(e, "cannot make a pipe");
        b->job->ready = ready[0];
        fds[SHIM_FD_READY] = ready[1];
        pid_t pid = fork();
        if (pid == 0)
                become_shim(n, b, exe);
        for (int i = 0; i < SHIM_FDS; i++)
                fd_close(&fds[i]);
        return pid < 0 ? err_sys(e, "cannot start creto-shim") : pid;
}

int shim_hear(struct nest_box *b, struct err *e)
{
        char byte;

        if (read(b->job->ready, &byte, 1) == 1) {
                fd_close(&b->job->ready);
                return 0;
        }
        return fd_readable(b->pidfd, 0) ? oci_complain(b, "made no sandbox", e) : 1;
}
