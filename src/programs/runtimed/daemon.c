#include "programs/runtimed/daemon.h"

#include <fcntl.h>
#include <pwd.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/sysinfo.h>
#include <unistd.h>

#include "api/http/api.h"
#include "base/clock.h"
#include "base/str.h"
#include "base/time.h"
#include "programs/runtimed/confine.h"
#include "programs/runtimed/monitor.h"
#include "programs/runtimed/systemd.h"
#include "services/pool/pool.h"
#include "services/store/store.h"
#include "services/token/token.h"
#include "services/vm/vm.h"

enum { SETTLE_MS = 20, END_MS = 30000, PEM_MAX = 256 * 1024 };

struct daemon {
        const struct config *config;
        struct loop *loop;
        struct store *store;
        struct events *events;
        struct keys *keys;
        struct token_keys *tokens;
        struct metrics *metrics;
        struct vm_assets vm;
        struct sandboxes *sandboxes;
        struct pools *pools;
        struct api *api;
        struct server *server;
        struct timer *settle, *deadline;
        bool settled, stopping, ending;
        bool keep; /* on_stop, or what the signal says */
        uint64_t began_ms;
        struct {
                uid_t uid;
                enum key_role role;
        } socket_roles[CONFIG_LIST_MAX];
};

/* ---- what the services tell ---- */

static void on_log(void *ctx, bool bad, const char *sandbox, const char *text)
{
        (void)ctx;
        log_event(bad ? LOG_WARNING : LOG_INFO, text, "sandbox", sandbox);
}

static void on_count(void *ctx, enum sandbox_count what, const char *label, double value)
{
        struct daemon *d = ctx;
        const char *const labels[] = { label, NULL };

        switch (what) {
        case SANDBOX_COUNT_SPAWNED:
                metrics_observe(d->metrics, METRIC_SPAWN_LATENCY, labels, value);
                break;
        case SANDBOX_COUNT_EXEC:
                metrics_observe(d->metrics, METRIC_EXEC_LATENCY, NULL, value);
                break;
        case SANDBOX_COUNT_REFUSED:
                metrics_add(d->metrics, METRIC_REFUSED, labels, value);
                break;
        case SANDBOX_COUNT_ATTACKS:
                metrics_add(d->metrics, METRIC_VIOLATIONS, labels, value);
                break;
        case SANDBOX_COUNT_OUTPUT:
                metrics_add(d->metrics, METRIC_OUTPUT_BYTES, NULL, value);
                break;
        case SANDBOX_COUNT_RESTARTS:
                metrics_add(d->metrics, METRIC_WARDEN_RESTARTS, NULL, value);
                break;
        case SANDBOX_COUNT_GONE:
                metrics_forget(d->metrics, "sandbox_id", label);
                break;
        }
}

static void on_pool_log(void *ctx, bool bad, const char *pool, const char *text)
{
        (void)ctx;
        log_event(bad ? LOG_WARNING : LOG_INFO, text, "pool", pool);
}

static void on_pool_count(void *ctx, enum pool_count what, const char *pool, double value)
{
        struct daemon *d = ctx;
        const char *const labels[] = { pool, NULL };

        switch (what) {
        case POOL_COUNT_CLAIM:
                metrics_observe(d->metrics, METRIC_POOL_CLAIM_LATENCY, labels, value);
                break;
        case POOL_COUNT_COLD:
                metrics_add(d->metrics, METRIC_POOL_COLD_CLAIMS, labels, 1);
                break;
        case POOL_COUNT_FAILED:
                metrics_add(d->metrics, METRIC_POOL_FAILURES, labels, 1);
                break;
        case POOL_COUNT_GONE:
                metrics_forget(d->metrics, "pool_id", pool);
                break;
        }
}

static enum key_role socket_role(void *ctx, uid_t uid)
{
        const struct daemon *d = ctx;

        for (unsigned i = 0; i < d->config->socket_role_count; i++)
                if (d->socket_roles[i].uid == uid)
                        return d->socket_roles[i].role;
        return uid == 0 || uid == getuid() ? ROLE_ADMIN : ROLE_AGENT;
}

static int token(void *ctx, const char *text, struct principal *who, struct err *e)
{
        const struct daemon *d = ctx;

        return token_check(d->tokens, text, time_wall_ms() / 1000, who, e);
}

static bool store_ok(void *ctx)
{
        const struct daemon *d = ctx;

        return store_healthy(d->store);
}

/* ---- the end ---- */

static bool anything_left(const struct daemon *d)
{
        for (unsigned i = 0; i < SANDBOX_STATES; i++)
                if (i != SANDBOX_TERMINATED && i != SANDBOX_FAILED && i != SANDBOX_CHECKPOINTED &&
                    sandboxes_count(d->sandboxes, (enum sandbox_state)i) > 0)
                        return true;
        return false;
}

static bool anything_runs(const struct daemon *d)
{
        for (struct sandbox *sb = sandboxes_first(d->sandboxes); sb; sb = sandboxes_next(sb))
                if (sandbox_info(sb)->execs > 0)
                        return true;
        return false;
}

static void end_all(struct daemon *d)
{
        d->ending = true;
        for (struct sandbox *sb = sandboxes_first(d->sandboxes), *next; sb; sb = next) {
                next = sandboxes_next(sb);
                sandbox_terminate(sb, NULL, NULL);
        }
}

/* Nothing new is taken; what runs has its time to end; then on_stop. Looked at rather than told: it is over soon, and then we are gone. */
static void wait_for_end(void *ctx)
{
        struct daemon *d = ctx;
        uint64_t waited = clock_ms(CLOCK_MONOTONIC) - d->began_ms;

        if (!d->ending && (waited >= d->config->drain_seconds * 1000ULL || !anything_runs(d))) {
                end_all(d);
                d->began_ms = clock_ms(CLOCK_MONOTONIC);
                waited = 0;
        }
        if (d->ending && (!anything_left(d) || waited > END_MS)) {
                log_event(LOG_INFO, "stopped", "sandboxes", "ended");
                loop_stop(d->loop);
                return;
        }
        timer_set(d->deadline, SETTLE_MS);
}

static void on_terminate(void *ctx)
{
        struct daemon *d = ctx;

        if (d->stopping) { /* a second time: at once */
                if (!d->ending && !d->keep)
                        end_all(d);
                return;
        }
        d->stopping = true;
        d->began_ms = clock_ms(CLOCK_MONOTONIC);
        systemd_say("STOPPING=1");
        server_stop_listening(d->server);
        pools_stop(d->pools);
        sandboxes_drain(d->sandboxes, true);
        if (d->keep) {
                log_event(LOG_INFO, "stopped", "sandboxes", "kept");
                loop_stop(d->loop);
                return;
        }
        wait_for_end(d);
}

/* For a restart, whatever on_stop says. */
static void on_restart(void *ctx)
{
        struct daemon *d = ctx;

        d->keep |= !d->stopping;
        on_terminate(d);
}

/* ---- the beginning ---- */

/* Until everything is taken over; a few turns at the start, and none after. */
static void on_settle(void *ctx)
{
        struct daemon *d = ctx;
        char ms[24];

        if (!sandboxes_settled(d->sandboxes)) {
                timer_set(d->settle, SETTLE_MS / 4);
                return;
        }
        d->settled = true;
        api_settled(d->api);
        snprintf(ms, sizeof(ms), "%llu", (unsigned long long)(clock_ms(CLOCK_MONOTONIC) - d->began_ms));
        log_event(LOG_INFO, "ready", "socket", d->config->socket, "listen", d->config->listen, "ms", ms);
        printf("creto-runtimed is ready: unix:%s%s%s\n", d->config->socket,
               !d->config->listen[0]    ? ""
               : d->config->tls_cert[0] ? ", https://"
                                        : ", http://",
               d->config->listen);
        fflush(stdout);
        systemd_say("READY=1");
}

/* "NAME=ROLE=SHA256" and "USER=ROLE" of the configuration. */
static int take_auth(struct daemon *d, struct err *e)
{
        const struct config *c = d->config;

        for (unsigned i = 0; i < c->key_count; i++) {
                char text[sizeof(c->keys[0])], *save = NULL;

                snprintf(text, sizeof(text), "%s", c->keys[i]);
                const char *name = strtok_r(text, "=", &save), *role = strtok_r(NULL, "=", &save), *digest = strtok_r(NULL, "", &save);
                if (!digest || keys_add_fixed(d->keys, name, key_role_of(role), digest, e) < 0) {
                        err_set(e, ERR_INVALID_SPEC, 0, "auth.keys: '%.60s' is not NAME=ROLE=SHA256", c->keys[i]);
                        return err_hint(e, "printf %%s \"$KEY\" | sha256sum");
                }
        }
        for (unsigned i = 0; i < c->socket_role_count; i++) {
                char user[CONFIG_TEXT_MAX];
                uint64_t uid;

                snprintf(user, sizeof(user), "%s", c->socket_roles[i]);
                char *role = strchr(user, '=');
                if (role)
                        *role++ = '\0';
                const struct passwd *pw = role ? getpwnam(user) : NULL;
                bool known = pw || (role && str_parse_u64(user, &uid) && uid < UINT32_MAX);
                if (!known || key_role_of(role) == ROLE_NONE)
                        return err_set(e, ERR_INVALID_SPEC, 0, "auth.socket_roles: '%.60s' is not USER=agent, USER=operator or USER=admin",
                                       c->socket_roles[i]);
                d->socket_roles[i].uid = pw ? pw->pw_uid : (uid_t)uid;
                d->socket_roles[i].role = key_role_of(role);
        }
        return 0;
}

/* The whole of a file that was opened for us; the caller's. */
static char *read_file(int fd)
{
        char *text = fd >= 0 ? malloc(PEM_MAX + 1) : NULL;
        ssize_t n = text ? pread(fd, text, PEM_MAX, 0) : -1;

        if (n <= 0) {
                free(text);
                return NULL;
        }
        text[n] = '\0';
        return text;
}

static int open_tokens(struct daemon *d, struct err *e)
{
        const struct config *c = d->config;
        const struct token_rules rules = { c->jwt_issuer, c->jwt_audience, c->jwt_role_claim };

        if (!c->jwks[0])
                return 0;
        char *text = read_file(c->jwks_fd);
        int r = text ? token_keys_read(text, strlen(text), &rules, &d->tokens, e)
                     : err_set(e, ERR_INVALID_SPEC, 0, "auth.jwks_file cannot be read");
        free(text);
        return r;
}

static int open_services(struct daemon *d, struct err *e)
{
        const struct config *c = d->config;
        static char store[CONFIG_PATH_MAX + 32], warden[CONFIG_PATH_MAX + 16], state[CONFIG_PATH_MAX + 16];

        snprintf(state, sizeof(state), "%s/service", c->state_dir);
        snprintf(store, sizeof(store), "%s/service/runtime.db", c->state_dir);
        snprintf(warden, sizeof(warden), "%s/warden.sock", c->run_dir);
        if (loop_new(&d->loop, e) < 0 || store_open_sqlite(store, &d->store, e) < 0 || events_new(&d->events, e) < 0 ||
            keys_open(d->store, &d->keys, e) < 0 || metrics_new(&d->metrics, e) < 0)
                return -(int)e->code;
        char templates[CONFIG_PATH_MAX + 32];
        snprintf(templates, sizeof(templates), "%s/machines", state);
        struct vm_emulator vmms[VMMS];
        for (unsigned i = 0; i < VMMS; i++)
                vmms[i] = (struct vm_emulator){ c->vmms[i].binary, c->vmms[i].kvm };
        vm_assets_open(&d->vm, c->qemu_kernel, vmms, c->qemu_boot_seconds, templates);
        const struct sandboxes_config sandboxes = {
                .vm = &d->vm,
                .loop = d->loop,
                .store = d->store,
                .events = d->events,
                .warden_socket = warden,
                .state_dir = state,
                .prepared = c->prepared,
                .rules = c->rules,
                .execs_max = c->max_execs,
                .ended_keep_ms = c->ended_keep_seconds * 1000ULL,
                .log = on_log,
                .count = on_count,
                .ctx = d,
        };
        if (take_auth(d, e) < 0 || open_tokens(d, e) < 0 || sandboxes_open(&sandboxes, &d->sandboxes, e) < 0)
                return -(int)e->code;
        const struct pools_config pools = {
                .loop = d->loop,
                .store = d->store,
                .events = d->events,
                .sandboxes = d->sandboxes,
                .cores = (unsigned)get_nprocs(),
                .log = on_pool_log,
                .count = on_pool_count,
                .ctx = d,
        };
        return pools_open(&pools, &d->pools, e);
}

static int open_api(struct daemon *d, struct err *e)
{
        const struct config *c = d->config;
        static struct api_config api;

        api = (struct api_config){ .loop = d->loop,
                                   .sandboxes = d->sandboxes,
                                   .pools = d->pools,
                                   .events = d->events,
                                   .keys = d->keys,
                                   .metrics = d->metrics,
                                   .classes = &c->classes,
                                   .no_auth_on_loopback = c->no_auth_on_loopback,
                                   .requests_per_second = c->requests_per_second,
                                   .burst = c->burst,
                                   .socket_role = socket_role,
                                   .token = d->tokens ? token : NULL,
                                   .store_ok = store_ok,
                                   .ctx = d };
        api.defaults = c->defaults;
        if (api_new(&api, &d->api, e) < 0)
                return -(int)e->code;
        bool tls = c->listen[0] && c->tls_cert[0];
        char *cert = tls ? read_file(c->tls_cert_fd) : NULL, *key = tls ? read_file(c->tls_key_fd) : NULL;
        if (tls && (!cert || !key))
                return err_set(e, ERR_INVALID_SPEC, 0, "the certificate or its key cannot be read");
        const struct server_config server = {
                .loop = d->loop,
                .max_connections = c->max_connections,
                .max_body = c->max_body,
                .tls_cert = cert,
                .tls_key = key,
                .on_head = api_on_head,
                .on_answer = api_on_answer,
                .ctx = d->api,
        };
        if (server_new(&server, &d->server, e) < 0)
                return -(int)e->code;
        api_set_server(d->api, d->server);
        if (server_listen(d->server, FD_SOCKET, SERVER_UNIX, e) < 0)
                return -(int)e->code;
        return c->listen[0] && fcntl(FD_LISTEN, F_GETFD) >= 0 ? server_listen(d->server, FD_LISTEN, tls ? SERVER_TLS : SERVER_TCP, e) : 0;
}

static void raise_limits(void)
{
        struct rlimit files;

        if (getrlimit(RLIMIT_NOFILE, &files) == 0) {
                files.rlim_cur = files.rlim_max;
                setrlimit(RLIMIT_NOFILE, &files);
        }
}

int daemon_run(const struct config *config)
{
        static struct daemon d;
        struct err e;

        d = (struct daemon){ .config = config, .began_ms = clock_ms(CLOCK_MONOTONIC), .keep = config->keep_on_stop };
        prctl(PR_SET_NAME, "creto-runtimed"); /* it was executed as /proc/self/exe */
        log_setup(config->log_json, config->log_level, getenv("JOURNAL_STREAM") != NULL);
        signal(SIGPIPE, SIG_IGN);
        umask(077);
        raise_limits();
        fcntl(FD_SOCKET, F_SETFD, FD_CLOEXEC);
        fcntl(FD_LISTEN, F_SETFD, FD_CLOEXEC);
        if (open_services(&d, &e) < 0 || open_api(&d, &e) < 0) {
                log_event(LOG_ERROR, e.msg, "hint", e.hint);
                return err_code_exit(e.code);
        }
        systemd_open();
        char state[CONFIG_PATH_MAX + 16];
        const char *missing;
        snprintf(state, sizeof(state), "%s/service", config->state_dir);
        if (confine_daemon(state, &missing, &e) < 0) {
                log_event(LOG_ERROR, e.msg, "hint", e.hint);
                return 1;
        }
        if (missing[0])
                log_event(LOG_WARNING, "the daemon is confined less than it should be", "missing", missing);
        d.settle = timer_new(d.loop, on_settle, &d);
        d.deadline = timer_new(d.loop, wait_for_end, &d);
        if (!d.settle || !d.deadline || !watch_signal(d.loop, SIGUSR1, on_restart, &d) ||
            !watch_signal(d.loop, SIGTERM, on_terminate, &d) || !watch_signal(d.loop, SIGINT, on_terminate, &d))
                return 1;
        timer_set(d.settle, 0);
        loop_run(d.loop);
        store_close(d.store);
        fflush(NULL);
        _exit(0); /* the kernel tidies up what is left; nothing of it is more than memory and connections */
}
