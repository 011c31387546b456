/*
 * The public library: translation between its structs and the services below. Embedded mode.
 */
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

#include "api/libcreto/handles.h"
#include "api/libcreto/remote/remote.h"
#include "base/clock.h"
#include "base/fd.h"
#include "base/str.h"

/* The fixed unprivileged user of docs/formats/ids.md, and of the warden's space.h. */
enum { OWN_UID = 0x7fff0000, AGENT_UID = 1000 };

#define X(name, http, exit, retry, text) _Static_assert((int)CRETO_E_##name == (int)ERR_##name, "one list of codes");
#include "base/err_codes.def"
#undef X

void error_out(struct creto_error *out, const struct err *e)
{
        *out = (struct creto_error){ .code = (int)e->code, .sys = e->sys };
        memcpy(out->message, e->msg, sizeof(out->message));
        memcpy(out->hint, e->hint, sizeof(out->hint));
}

int error_failed(struct creto_error *out, const struct err *e)
{
        error_out(out, e);
        return -out->code;
}

const char *creto_version(void)
{
        return CRETO_VERSION;
}

/* ---- open and close ---- */

static int choose_dirs(struct creto_runtime *rt, const struct creto_open_options *o, struct err *e)
{
        bool root = geteuid() == 0;
        const char *data = getenv("XDG_DATA_HOME"), *home = getenv("HOME");
        char fallback[PATH_CAP];
        int n;

        snprintf(rt->run_dir, sizeof(rt->run_dir), "%s", o->run_dir ? o->run_dir : "/run/creto-runtime");
        if (root)
                snprintf(fallback, sizeof(fallback), "/var/lib/creto-runtime");
        else if (data && data[0] == '/')
                snprintf(fallback, sizeof(fallback), "%.300s/creto-runtime", data);
        else
                snprintf(fallback, sizeof(fallback), "%.300s/.local/share/creto-runtime", home && home[0] == '/' ? home : "/tmp");
        n = snprintf(rt->state_dir, sizeof(rt->state_dir), "%s", o->state_dir ? o->state_dir : fallback);
        if (n >= (int)sizeof(rt->state_dir) || rt->state_dir[0] != '/' || rt->run_dir[0] != '/')
                return err_set(e, ERR_INVALID_SPEC, 0, "the state and run directories are absolute paths of less than %d bytes", PATH_CAP);
        snprintf(rt->image_store, sizeof(rt->image_store), "%s/images", rt->state_dir);
        return 0;
}

/* Nothing of root is needed any more, and nothing of it may be left when the first byte of a sandbox is read. */
static int drop_root(struct err *e)
{
        if (geteuid() != 0)
                return 0;
        if (setgroups(0, NULL) < 0 || setresgid(OWN_UID, OWN_UID, OWN_UID) < 0 || setresuid(OWN_UID, OWN_UID, OWN_UID) < 0)
                return err_sys(e, "cannot drop root");
        if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0 || setresuid(0, 0, 0) == 0)
                return err_set(e, ERR_INTERNAL_ERROR, 0, "root could be taken back");
        return 0;
}

int creto_open(const struct creto_open_options *options, struct creto_runtime **out, struct creto_error *err)
{
        struct creto_runtime *rt = calloc(1, sizeof(*rt));
        struct err e;

        if (!rt) {
                err_set(&e, ERR_RESOURCE_EXHAUSTED, 0, "out of memory");
                return error_failed(err, &e);
        }
        rt->image_fd = options->image_fd >= 0 ? fcntl(options->image_fd, F_DUPFD_CLOEXEC, 3) : -1;
        rt->auth_fd = options->auth_fd >= 0 ? fcntl(options->auth_fd, F_DUPFD_CLOEXEC, 3) : -1;
        rt->engine_fd = -1;
        rt->dropped = options->flags & CRETO_DROP_ROOT;
        rt->is_root = geteuid() == 0;
        struct driver_config config = { rt->run_dir, rt->state_dir, rt->image_store, options->prepared };
        if (options->prepared > IPC_PREPARED_MAX)
                err_set(&e, ERR_INVALID_SPEC, 0, "at most %d sandboxes are prepared ahead, not %u", IPC_PREPARED_MAX, options->prepared);
        else if ((!options->engine_path || place_open_engine(options->engine_path, &rt->engine_fd, &e) == 0) &&
                 choose_dirs(rt, options, &e) == 0 && driver_start(&rt->driver, &config, &e) == 0 &&
                 !((options->flags & CRETO_DROP_ROOT) && drop_root(&e) < 0)) {
                *out = rt;
                return 0;
        }
        error_failed(err, &e);
        creto_close(rt);
        return -err->code;
}

void creto_close(struct creto_runtime *rt)
{
        if (!rt)
                return;
        if (rt->remote) {
                remote_free(rt->remote);
                free(rt);
                return;
        }
        driver_stop(&rt->driver);
        fd_close(&rt->image_fd);
        fd_close(&rt->auth_fd);
        fd_close(&rt->engine_fd);
        free(rt);
}

/* ---- spawn ---- */

/* `out` has room for IPC_ID_MAX + 1. */
static void make_id(char *out, size_t cap)
{
        static const char hex[] = "0123456789abcdef";
        uint8_t raw[6];
        size_t n = (size_t)snprintf(out, cap, "sb-");

        if (getrandom(raw, sizeof(raw), 0) != (ssize_t)sizeof(raw))
                abort(); /* an id that can be guessed is worse than none */
        for (size_t i = 0; i < sizeof(raw); i++) {
                out[n++] = hex[raw[i] >> 4];
                out[n++] = hex[raw[i] & 15];
        }
        out[n] = '\0';
}

static const char **copy_strings(const char *const *v, size_t n)
{
        size_t bytes = (n + 1) * sizeof(char *);

        for (size_t i = 0; i < n; i++)
                bytes += strlen(v[i]) + 1;
        const char **out = malloc(bytes);
        char *at = (char *)(out + n + 1);
        for (size_t i = 0; out && i < n; i++) {
                out[i] = strcpy(at, v[i]);
                at += strlen(at) + 1;
        }
        if (out)
                out[n] = NULL;
        return out;
}

/* An ordinary user's sandbox has one id. It is the one that the image names by number; a name cannot be looked up before there is a sandbox. */
static void choose_id(struct creto_sandbox *sb, bool one_id, struct ipc_spawn *req)
{
        char number[8];
        uint64_t id;

        if (!one_id || !sb->image.user)
                return;
        snprintf(number, sizeof(number), "%.*s", (int)strcspn(sb->image.user, ":"), sb->image.user);
        if (str_parse_u64(number, &id) && id < 65535)
                req->uid = req->gid = (uint32_t)id;
        sb->image.user = NULL;
}

static void fill_request(const struct spec *spec, const struct creto_sandbox *sb, int root, struct ipc_spawn *req)
{
        bool image_user = sb->image.layer_count > 0 || root >= 0;

        memset(req, 0, sizeof(*req));
        snprintf(req->id, sizeof(req->id), "%s", sb->id);
        snprintf(req->hostname, sizeof(req->hostname), "%.*s", IPC_HOSTNAME_MAX, sb->id);
        req->uid = req->gid = image_user ? 0 : AGENT_UID;
        snprintf(req->home, sizeof(req->home), "%s", image_user ? "/root" : "/home/agent");
        req->limits_wanted = spec->limits.wanted;
        memcpy(req->limits, spec->limits.value, sizeof(req->limits));
        req->root = root >= 0 ? IPC_ROOT_DIR : sb->image.layer_count > 0 ? IPC_ROOT_LAYERS : IPC_ROOT_HOST;
        req->layer_count = sb->image.layer_count;
        for (uint32_t i = 0; i < req->layer_count; i++)
                memcpy(req->layers[i], sb->image.layers[i], sizeof(req->layers[i]));
}

static int start_sandbox(struct creto_runtime *rt, const struct spec *spec, struct creto_sandbox *sb, struct err *e)
{
        static struct ipc_spawn req;
        struct ipc_spawned spawned;
        int stream, root, r;

        if (image_resolve(rt, spec->image, spec->pull, &sb->image, &root, e) < 0)
                return -(int)e->code;
        fill_request(spec, sb, root, &req);
        choose_id(sb, rt->driver.hello.mode == IPC_MODE_USER, &req);
        do {
                int engine = spec->engine_path && !sb->choice.why[0] ? rt->engine_fd : -1; /* not of a class that stands in */

                snprintf(req.class, sizeof(req.class), "%s", sb->choice.name);
                req.flags = engine >= 0 ? IPC_SPAWN_ENGINE : 0;
                r = driver_spawn(&rt->driver, &req, root, engine, &spawned, &stream, e);
        } while (r < 0 && place_fall_back(rt, spec, &sb->choice, e));
        if (r < 0)
                return r;
        choice_notice(&sb->choice, sb->notice, sizeof(sb->notice));
        limits_name(spawned.limits_missing, sb->missing, sizeof(sb->missing));
        return session_new(stream, 1, &sb->session, e);
}

static void free_sandbox(struct creto_sandbox *sb)
{
        session_free(sb->session);
        image_defaults_release(&sb->image);
        free(sb->env);
        free(sb->cwd);
        free(sb->user);
        free(sb);
}

int creto_spawn(struct creto_runtime *rt, const struct creto_option *options, size_t count, struct creto_sandbox **out,
                struct creto_error *err)
{
        struct spec *spec = malloc(sizeof(*spec));
        struct creto_sandbox *sb = calloc(1, sizeof(*sb));
        struct err e;
        int r = 0;

        if (!spec || !sb) {
                r = err_set(&e, ERR_RESOURCE_EXHAUSTED, 0, "out of memory");
                goto done;
        }
        sb->rt = rt;
        if (rt->remote) {
                r = remote_spawn(rt, options, count, sb, &e);
                goto done;
        }
        spec_init(spec);
        for (size_t i = 0; i < count && r == 0; i++)
                r = spec_set(spec, options[i].name, options[i].value, &e);
        if (r == 0)
                r = spec_check_hw(spec, &e);
        if (r == 0 && spec->engine_path && rt->engine_fd < 0)
                r = place_open_engine(spec->engine_path, &rt->engine_fd, &e);
        if (r == 0)
                r = place_choose(rt, spec, &sb->choice, &e);
        if (r < 0)
                goto done;
        sb->limits = spec->limits;
        sb->ttl_ms = spec->ttl_ms;
        sb->ttl_end_ms = spec->ttl_ms ? clock_ms(CLOCK_MONOTONIC) + spec->ttl_ms : 0;
        sb->timeout_ms = (uint32_t)spec->timeout_ms;
        sb->env = copy_strings(spec->env, spec->env_count);
        sb->cwd = spec->cwd ? strdup(spec->cwd) : NULL;
        sb->user = spec->user ? strdup(spec->user) : NULL;
        make_id(sb->id, sizeof(sb->id));
        r = start_sandbox(rt, spec, sb, &e);
done:
        free(spec);
        if (r < 0) {
                if (sb)
                        free_sandbox(sb);
                return error_failed(err, &e);
        }
        rt->live++;
        *out = sb;
        return 0;
}

const char *creto_sandbox_id(const struct creto_sandbox *sb)
{
        return sb->id;
}

const char *creto_sandbox_missing(const struct creto_sandbox *sb)
{
        return sb->missing;
}

const char *creto_sandbox_class(const struct creto_sandbox *sb)
{
        return sb->choice.name;
}

const char *creto_sandbox_requested_class(const struct creto_sandbox *sb)
{
        return sb->choice.requested;
}

const char *creto_sandbox_notice(const struct creto_sandbox *sb)
{
        return sb->notice;
}

int creto_sandbox_usage(struct creto_sandbox *sb, struct creto_usage *usage, struct creto_error *err)
{
        struct ipc_usage u;
        struct err e;

        if (sb->rt->remote)
                return remote_usage(sb, usage, &e) < 0 ? error_failed(err, &e) : 0;
        if (driver_usage(&sb->rt->driver, sb->id, &u, &e) < 0)
                return error_failed(err, &e);
        *usage = (struct creto_usage){ u.memory, u.memory_peak, u.cpu_us, u.throttled_us, u.pids, u.oom_kills, u.forks_refused };
        return 0;
}

static int terminate(struct creto_sandbox *sb, bool force, struct creto_error *err)
{
        struct ipc_usage usage;
        struct err e;
        int r = sb->rt->remote ? remote_terminate(sb, force, &e) : driver_terminate(&sb->rt->driver, sb->id, &usage, &e);

        sb->rt->live--;
        free_sandbox(sb);
        return r < 0 ? error_failed(err, &e) : 0;
}

int creto_terminate(struct creto_sandbox *sb, struct creto_error *err)
{
        return terminate(sb, false, err);
}

int creto_terminate_force(struct creto_sandbox *sb, struct creto_error *err)
{
        return terminate(sb, true, err);
}

void creto_sandbox_free(struct creto_sandbox *sb)
{
        if (sb)
                free_sandbox(sb);
}
