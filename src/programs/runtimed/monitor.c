#include "programs/runtimed/monitor.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <netdb.h>
#include <poll.h>
#include <pwd.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/fd.h"
#include "base/sys.h"
#include "services/driver/driver.h"

enum { OWN_UID = 0x7fff0000, BACKLOG = 4096, RETRY_MS = 200, ARGS_MAX = 40, PARTS = 2 };

enum part { WARDEN, DAEMON };

struct child {
        const char *name;
        pid_t pid;
        int pidfd;
        uint64_t started_ms, again_ms; /* when it is to be started again; 0: it runs */
};

struct monitor {
        const struct config *config;
        char **argv;
        char warden_path[1024];
        uid_t uid;
        gid_t gid;
        int warden_socket, socket, listen; /* listeners; -1: none */
        struct child children[PARTS];
        bool stopping;
};

/* ---- what needs root ---- */

static int find_warden(struct monitor *m, struct err *e)
{
        if (driver_warden_path(m->warden_path))
                return 0;
        err_set(e, ERR_BACKEND_UNAVAILABLE, 0, "creto-warden is not where it was installed or built");
        return err_hint(e, "make install puts it to libexec/creto-runtime below the same prefix");
}

static int find_user(struct monitor *m, struct err *e)
{
        const struct passwd *pw;

        m->uid = m->gid = OWN_UID;
        if (!m->config->user[0])
                return 0;
        pw = getpwnam(m->config->user);
        if (!pw)
                return err_set(e, ERR_INVALID_SPEC, 0, "--user: there is no user '%s'", m->config->user);
        if (pw->pw_uid == 0)
                return err_set(e, ERR_INVALID_SPEC, 0, "--user: the daemon does not run as root");
        m->uid = pw->pw_uid;
        m->gid = pw->pw_gid;
        return 0;
}

static int make_dir(const char *path, mode_t mode, uid_t uid, gid_t gid, struct err *e)
{
        struct stat st;

        if (mkdir(path, mode) == 0)
                return chown(path, uid, gid) == 0 && chmod(path, mode) == 0 ? 0 : err_sys(e, "cannot make '%.200s' the service's", path);
        if (errno != EEXIST || lstat(path, &st) < 0)
                return err_set(e, ERR_BACKEND_UNAVAILABLE, errno, "cannot make the directory '%.200s'", path);
        if (!S_ISDIR(st.st_mode) || st.st_uid != uid || (st.st_mode & 022)) {
                err_set(e, ERR_BACKEND_UNAVAILABLE, 0, "'%.200s' is not a directory that only user %u may write to", path, uid);
                return err_hint(e, "move it away, or name another with --state-dir and --run-dir");
        }
        return 0;
}

static int make_dirs(const struct monitor *m, struct err *e)
{
        char service[CONFIG_PATH_MAX + 16];

        snprintf(service, sizeof(service), "%s/service", m->config->state_dir);
        if (make_dir(m->config->run_dir, 0755, 0, 0, e) < 0 || make_dir(m->config->state_dir, 0755, 0, 0, e) < 0)
                return -(int)e->code;
        return make_dir(service, 0700, m->uid, m->gid, e);
}

/* One service in a run directory. The lock ends with us. */
static int lock(const struct monitor *m, struct err *e)
{
        char path[CONFIG_PATH_MAX + 16];

        snprintf(path, sizeof(path), "%s/service.lock", m->config->run_dir);
        int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
        if (fd < 0)
                return err_sys(e, "cannot open '%.200s'", path);
        if (flock(fd, LOCK_EX | LOCK_NB) < 0) {
                close(fd);
                err_set(e, ERR_BACKEND_UNAVAILABLE, 0, "a service runs already with the run directory %.200s", m->config->run_dir);
                return err_hint(e, "stop it first, or start a second one with directories of its own (--run-dir, --state-dir, --listen)");
        }
        return 0;
}

static int listen_unix(const char *path, int type, uid_t uid, gid_t gid, mode_t mode, int *out, struct err *e)
{
        struct sockaddr_un a = { .sun_family = AF_UNIX };
        auto_fd fd = socket(AF_UNIX, type | SOCK_CLOEXEC, 0);

        if (strlen(path) >= sizeof(a.sun_path))
                return err_set(e, ERR_INVALID_SPEC, 0, "'%.200s' is too long for a socket: at most %zu bytes", path,
                               sizeof(a.sun_path) - 1);
        snprintf(a.sun_path, sizeof(a.sun_path), "%s", path);
        unlink(path);
        mode_t before = umask(0777);
        int r = fd < 0 ? -1 : bind(fd, (struct sockaddr *)&a, sizeof(a));
        umask(before);
        if (r < 0 || chown(path, uid, gid) < 0 || chmod(path, mode) < 0 || listen(fd, BACKLOG) < 0)
                return err_set(e, ERR_BACKEND_UNAVAILABLE, errno, "cannot listen at '%.200s'", path);
        *out = take_fd(&fd);
        return 0;
}

static int listen_tcp(const char *where, int *out, struct err *e)
{
        const struct addrinfo hints = { .ai_socktype = SOCK_STREAM, .ai_flags = AI_PASSIVE | AI_NUMERICHOST | AI_NUMERICSERV };
        char host[CONFIG_TEXT_MAX];
        struct addrinfo *a = NULL;
        const int on = 1;

        snprintf(host, sizeof(host), "%s", where);
        char *colon = strrchr(host, ':'), *name = host;
        if (colon)
                *colon = '\0';
        if (*name == '[' && strchr(name, ']')) {
                *strchr(name, ']') = '\0';
                name++;
        }
        if (!colon || getaddrinfo(name, colon + 1, &hints, &a) != 0) {
                err_set(e, ERR_INVALID_SPEC, 0, "--listen: '%.100s' is not ADDR:PORT", where);
                return err_hint(e, "like 127.0.0.1:8080 or [::1]:8080; none at all: --listen ''");
        }
        auto_fd fd = socket(a->ai_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
        if (fd >= 0)
                setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
        int r = fd < 0 ? -1 : bind(fd, a->ai_addr, a->ai_addrlen);
        int saved = errno;
        freeaddrinfo(a);
        if (r < 0 || listen(fd, BACKLOG) < 0) {
                err_set(e, ERR_BACKEND_UNAVAILABLE, r < 0 ? saved : errno, "cannot listen at %.100s", where);
                return err_hint(e, "is something else there? --listen names another");
        }
        *out = take_fd(&fd);
        return 0;
}

static int make_sockets(struct monitor *m, struct err *e)
{
        const struct config *c = m->config;
        const struct group *group = c->socket_group[0] ? getgrnam(c->socket_group) : NULL;
        char warden[CONFIG_PATH_MAX + 16];

        snprintf(warden, sizeof(warden), "%s/warden.sock", c->run_dir);
        if (c->socket_group[0] && !group)
                return err_set(e, ERR_INVALID_SPEC, 0, "server.socket_group: there is no group '%s'", c->socket_group);
        if (listen_unix(warden, SOCK_SEQPACKET, m->uid, m->gid, 0600, &m->warden_socket, e) < 0 ||
            listen_unix(c->socket, SOCK_STREAM, 0, group ? group->gr_gid : 0, group ? 0660 : 0600, &m->socket, e) < 0)
                return -(int)e->code;
        return c->listen[0] ? listen_tcp(c->listen, &m->listen, e) : 0;
}

/* ---- the children ---- */

static void become_daemon(const struct monitor *m)
{
        if (setgroups(0, NULL) < 0 || setresgid(m->gid, m->gid, m->gid) < 0 || setresuid(m->uid, m->uid, m->uid) < 0 ||
            prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0 || setresuid(0, 0, 0) == 0)
                _exit(126);
}

static void exec_daemon(const struct monitor *m)
{
        char *args[ARGS_MAX + 2] = { "creto-runtimed", "--inherited" };
        size_t n = 2;

        for (size_t i = 1; m->argv[i] && n < ARGS_MAX; i++)
                args[n++] = m->argv[i];
        args[n] = NULL;
        const struct config *c = m->config;
        int fds[] = { m->socket, m->listen, c->file_fd, c->tls_cert_fd, c->tls_key_fd, c->jwks_fd };
        for (unsigned i = 0; i < sizeof(fds) / sizeof(fds[0]); i++)
                if (fds[i] >= 0)
                        fds[i] = fcntl(fds[i], F_DUPFD, FD_INHERITED_END);
        sys_close_range(FD_SOCKET, FD_INHERITED_END - 1, 0);
        for (unsigned i = 0; i < sizeof(fds) / sizeof(fds[0]); i++)
                if (fds[i] >= 0 && fd_move(fds[i], FD_SOCKET + (int)i) < 0)
                        _exit(126);
        become_daemon(m);
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        sys_close_range(FD_INHERITED_END, ~0U, 0);
        execv("/proc/self/exe", args);
        _exit(127);
}

static void exec_warden(const struct monitor *m)
{
        char peer[16];
        const struct config *c = m->config;

        snprintf(peer, sizeof(peer), "%u", m->uid);
        char *args[12 + 2 * CLASSES_MAX] = { "creto-warden",
                                             "--run-dir",
                                             (char *)(uintptr_t)c->run_dir,
                                             "--state-dir",
                                             (char *)(uintptr_t)c->state_dir,
                                             "--image-store",
                                             (char *)(uintptr_t)c->image_store,
                                             "--peer",
                                             peer };
        size_t n = 9;
        static char classes[CLASSES_MAX][CLASS_TEXT_MAX];

        for (unsigned i = 0; i < c->classes.count; i++) {
                if (class_is_built_in(&c->classes.of[i]))
                        continue;
                class_format(&c->classes.of[i], classes[i]);
                args[n++] = "--class";
                args[n++] = classes[i];
        }
        if (config_kvm(c)) {
                args[n++] = "--kvm";
                args[n++] = "yes";
        }
        char *env[] = { NULL };
        int socket = fcntl(m->warden_socket, F_DUPFD, 10);

        if (fd_move(socket, FD_SOCKET) < 0)
                _exit(127);
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        sys_close_range(FD_SOCKET + 1, ~0U, 0);
        execve(m->warden_path, args, env);
        _exit(127);
}

static void start(struct monitor *m, enum part which)
{
        struct child *c = &m->children[which];
        pid_t us = getpid();

        c->again_ms = 0;
        c->started_ms = clock_ms(CLOCK_MONOTONIC);
        c->pid = fork();
        if (c->pid == 0) {
                sigset_t none;

                sigemptyset(&none);
                sigprocmask(SIG_SETMASK, &none, NULL);
                if (getppid() != us)
                        _exit(126);
                if (which == WARDEN)
                        exec_warden(m);
                else
                        exec_daemon(m);
        }
        c->pidfd = c->pid > 0 ? sys_pidfd_open(c->pid) : -1;
        if (c->pidfd < 0)
                c->again_ms = c->started_ms + RETRY_MS;
}

/* Returns its exit status, or -1 where a signal ended it. */
static int ended(struct monitor *m, enum part which)
{
        struct child *c = &m->children[which];
        uint64_t now = clock_ms(CLOCK_MONOTONIC);
        int status = 0;

        waitpid(c->pid, &status, 0);
        fd_close(&c->pidfd);
        c->pid = 0;
        if (!m->stopping) {
                char text[64];

                snprintf(text, sizeof(text), WIFEXITED(status) ? "exit status %d" : "signal %d",
                         WIFEXITED(status) ? WEXITSTATUS(status) : WTERMSIG(status));
                log_event(LOG_WARNING, "started again", "program", c->name, "ended", text);
                c->again_ms = now - c->started_ms > 1000 ? now : now + RETRY_MS;
        }
        return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

static int timeout(const struct monitor *m)
{
        uint64_t now = clock_ms(CLOCK_MONOTONIC), first = UINT64_MAX;

        for (unsigned i = 0; i < PARTS; i++)
                if (m->children[i].again_ms && m->children[i].again_ms < first)
                        first = m->children[i].again_ms;
        return first == UINT64_MAX ? -1 : first <= now ? 0 : (int)(first - now);
}

static void stop(struct monitor *m, int signal)
{
        m->stopping = true;
        if (m->children[DAEMON].pid > 0)
                sys_pidfd_send_signal(m->children[DAEMON].pidfd, signal == SIGUSR1 ? SIGUSR1 : SIGTERM);
}

static int watch(struct monitor *m, int signals)
{
        for (;;) {
                struct pollfd p[] = { { .fd = signals, .events = POLLIN },
                                      { .fd = m->children[WARDEN].pidfd, .events = POLLIN },
                                      { .fd = m->children[DAEMON].pidfd, .events = POLLIN } };
                struct signalfd_siginfo info;

                if (poll(p, 3, timeout(m)) < 0 && errno != EINTR)
                        return 1;
                if (p[0].revents && read(signals, &info, sizeof(info)) > 0)
                        stop(m, (int)info.ssi_signo);
                if (p[1].revents)
                        ended(m, WARDEN);
                if (p[2].revents) {
                        int status = ended(m, DAEMON);

                        if (m->stopping || status == 64 || status == 69) /* what will not go better again */
                                return m->stopping ? 0 : status;
                }
                if (m->stopping && m->children[DAEMON].pid == 0)
                        return 0;
                for (unsigned i = 0; i < PARTS && !m->stopping; i++)
                        if (m->children[i].again_ms && m->children[i].again_ms <= clock_ms(CLOCK_MONOTONIC))
                                start(m, (enum part)i);
        }
}

static int catch_signals(void)
{
        sigset_t set;

        sigemptyset(&set);
        sigaddset(&set, SIGTERM);
        sigaddset(&set, SIGINT);
        sigaddset(&set, SIGHUP);
        sigaddset(&set, SIGUSR1);
        sigprocmask(SIG_BLOCK, &set, NULL);
        return signalfd(-1, &set, SFD_CLOEXEC);
}

static void end_warden(struct monitor *m)
{
        struct child *c = &m->children[WARDEN];

        if (c->pid <= 0)
                return;
        sys_pidfd_send_signal(c->pidfd, SIGTERM);
        waitpid(c->pid, NULL, 0);
}

int monitor_main(const struct config *config, char **argv)
{
        struct monitor m = { .config = config,
                             .argv = argv,
                             .warden_socket = -1,
                             .socket = -1,
                             .listen = -1,
                             .children = { { .name = "creto-warden", .pidfd = -1 }, { .name = "creto-runtimed", .pidfd = -1 } } };
        struct err e;

        log_setup(config->log_json, config->log_level, false);
        if (find_warden(&m, &e) < 0 || find_user(&m, &e) < 0 || make_dirs(&m, &e) < 0 || lock(&m, &e) < 0 || make_sockets(&m, &e) < 0) {
                fprintf(stderr, "creto-runtimed: %s\n", e.msg);
                if (e.hint[0])
                        fprintf(stderr, "hint: %s\n", e.hint);
                return err_code_exit(e.code);
        }
        int signals = catch_signals();
        start(&m, WARDEN);
        start(&m, DAEMON);
        int status = watch(&m, signals);
        end_warden(&m);
        unlink(config->socket);
        return status;
}
