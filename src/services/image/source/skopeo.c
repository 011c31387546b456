#include "services/image/source/skopeo.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/str.h"
#include "base/sys.h"

enum {
        ARGS_MAX = 20,
        ENV_MAX = 24,
        ENV_TEXT = 8192,
        ERRORS_MAX = 64 * 1024,
        TICK_MS = 150,
        AUTH_MAX = 1 << 20,
        STATUS_PLACE = 125,
        STATUS_EXEC = 127
};

/* What skopeo, and the Go in it, read from the environment. */
static const char *const passed_on[] = {
        "REGISTRY_AUTH_FILE",
        "HTTP_PROXY",
        "HTTPS_PROXY",
        "NO_PROXY",
        "http_proxy",
        "https_proxy",
        "no_proxy",
        "SSL_CERT_FILE",
        "SSL_CERT_DIR",
        "DOCKER_CONFIG",
        "CONTAINERS_REGISTRIES_CONF",
};

/* What skopeo says, and what it means. The first that is found counts: no connection before what a registry answered, for names and ports are in the
 * text too. */
static const struct {
        const char *text;
        enum err_code code;
        const char *message;
        const char *hint;
} meanings[] = {
        { "HTTP response to HTTPS", ERR_BACKEND_UNAVAILABLE, "the registry does not speak TLS",
          "plain HTTP is for registries on this machine only (localhost, 127.x.x.x)" },
        { "x509", ERR_BACKEND_UNAVAILABLE, "the registry's certificate is not trusted",
          "install ca-certificates, or put the registry's CA in /etc/containers/certs.d" },
        { "tls:", ERR_BACKEND_UNAVAILABLE, "no TLS connection to the registry", "check the registry's name and port" },
        { "no such host", ERR_BACKEND_UNAVAILABLE, "the registry's name is not known", "check the name, and this host's DNS" },
        { "connection refused", ERR_BACKEND_UNAVAILABLE, "the registry does not answer", "check that it runs, and its port" },
        { "toomanyrequests", ERR_RATE_LIMITED, "the registry takes no more requests from us now",
          "try later, or log in: REGISTRY_AUTH_FILE names skopeo's file of credentials" },
        { "429 (", ERR_RATE_LIMITED, "the registry takes no more requests from us now",
          "try later, or log in: REGISTRY_AUTH_FILE names skopeo's file of credentials" },
        { "manifest unknown", ERR_IMAGE_NOT_FOUND, "the registry has no such tag or digest",
          "check the tag; `skopeo list-tags docker://REPOSITORY` lists them" },
        { "name unknown", ERR_IMAGE_NOT_FOUND, "the registry has no such repository", "check the name" },
        { "repository name not known", ERR_IMAGE_NOT_FOUND, "the registry has no such repository", "check the name" },
        { "Digest did not match", ERR_IMAGE_NOT_FOUND, "a blob does not match its digest",
          "the registry, or a proxy on the way, has damaged the image" },
        { "does not match", ERR_IMAGE_NOT_FOUND, "a blob does not match its digest",
          "the registry, or a proxy on the way, has damaged the image" },
        { "unauthorized", ERR_UNAUTHENTICATED, "the registry wants credentials, or the image does not exist",
          "log in with `skopeo login --authfile FILE REGISTRY` and set REGISTRY_AUTH_FILE=FILE; check the name too" },
        { "authentication required", ERR_UNAUTHENTICATED, "the registry wants credentials, or the image does not exist",
          "log in with `skopeo login --authfile FILE REGISTRY` and set REGISTRY_AUTH_FILE=FILE; check the name too" },
        { "denied", ERR_AUTHORIZATION_DENIED, "the registry does not let us have it, or it does not exist",
          "check the name, and that the account may pull it" },
        { "403 (", ERR_AUTHORIZATION_DENIED, "the registry does not let us have it", "check that the account may pull it" },
        { "rejected", ERR_AUTHORIZATION_DENIED, "the signature policy of this host refuses it", "see /etc/containers/policy.json" },
        { "ignature", ERR_AUTHORIZATION_DENIED, "the signature policy of this host refuses it", "see /etc/containers/policy.json" },
        { "no space left", ERR_RESOURCE_EXHAUSTED, "the disk of the image store is full",
          "free some space, for example with `creto-runtime image prune`" },
        { "file too large", ERR_RESOURCE_EXHAUSTED, "a blob is larger than its manifest says", "the registry is not to be trusted" },
        { "404 (", ERR_IMAGE_NOT_FOUND, "the registry has no such image", "check the name and the tag" },
};

void skopeo_init(struct skopeo *s, const struct image_options *o, const struct store *store, const struct image_ref *ref,
                 const struct store_tmp *tmp)
{
        char link[64];
        struct stat here, there;
        ssize_t n;

        *s = (struct skopeo){ .options = o, .store = store, .ref = ref, .tmp = tmp };
        snprintf(link, sizeof(link), "/proc/self/fd/%d", store->dir);
        n = readlink(link, s->place, sizeof(s->place) - 1);
        s->place[n > 0 ? n : 0] = '\0';
        if (n > 0 && fstat(store->dir, &here) == 0 && stat(s->place, &there) == 0 && here.st_dev == there.st_dev &&
            here.st_ino == there.st_ino)
                return;
        /* The store is where no path leads for us, so skopeo sees it somewhere else. */
        s->mount = true;
        memcpy(s->place, "/mnt", 5);
}

/* ---- the child ---- */

static void env_add(char **env, size_t *n, char **text, const char *name, const char *value)
{
        size_t head = strlen(name), len = strlen(value);

        if (*n + 1 >= ENV_MAX || head + len + 2 > ENV_TEXT)
                return;
        env[(*n)++] = *text;
        env[*n] = NULL;
        memcpy(*text, name, head);
        (*text)[head] = '=';
        memcpy(*text + head + 1, value, len + 1);
        *text += head + len + 2;
}

/* `auth`: a descriptor with the credentials, or -1. */
static void make_env(const struct skopeo *s, int auth, char **env, char *text, size_t cap)
{
        char tmp[SKOPEO_PLACE_MAX + 64];
        const char *const end = text + cap;
        const char *path = getenv("PATH");
        size_t n = 0;

        snprintf(tmp, sizeof(tmp), "%s/%s", s->place, s->tmp->path);
        env_add(env, &n, &text, "PATH", path ? path : "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin");
        env_add(env, &n, &text, "TMPDIR", tmp);
        env_add(env, &n, &text, "LANG", "C.UTF-8");
        env_add(env, &n, &text, "HOME", getenv("HOME") ? getenv("HOME") : tmp);
        /* Without it skopeo looks in root's directory, which we may not read. */
        env_add(env, &n, &text, "XDG_RUNTIME_DIR", getenv("XDG_RUNTIME_DIR") ? getenv("XDG_RUNTIME_DIR") : tmp);
        snprintf(tmp, sizeof(tmp), "/proc/self/fd/%d", auth);
        if (s->options->authfile)
                env_add(env, &n, &text, "REGISTRY_AUTH_FILE", auth >= 0 ? tmp : s->options->authfile);
        for (size_t i = s->options->authfile ? 1 : 0; i < sizeof(passed_on) / sizeof(passed_on[0]); i++) {
                const char *value = getenv(passed_on[i]);

                if (value && (size_t)(end - text) > strlen(passed_on[i]) + strlen(value) + 2)
                        env_add(env, &n, &text, passed_on[i], value);
        }
}

/* In mount and (if we may) user namespaces of our own the store appears at `place`. */
static bool mount_store(const struct skopeo *s)
{
        if (fchdir(s->store->dir) < 0 || unshare(CLONE_NEWNS) < 0 || mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0)
                return false;
        return mount(".", s->place, NULL, MS_BIND, NULL) == 0;
}

/* Credentials that came as a descriptor may be in a file that we could not open. skopeo opens by name, so it gets a copy that is ours, in memory.
 * Returns -1 where there are none, or they cannot be read: then skopeo says so. */
static int copy_auth(const char *path)
{
        char data[4096];
        uint64_t fd;
        off_t at = 0;
        ssize_t n;

        if (!path || !str_has_prefix(path, "/proc/self/fd/") || !str_parse_u64(path + 14, &fd) || fd > 1 << 20)
                return -1;
        int copy = memfd_create("auth", MFD_CLOEXEC);
        while (copy >= 0 && at < AUTH_MAX && (n = pread((int)fd, data, sizeof(data), at)) > 0) {
                if (fd_write_all(copy, data, (size_t)n) < 0)
                        _exit(STATUS_PLACE);
                at += n;
        }
        explicit_bzero(data, sizeof(data));
        return copy;
}

_Noreturn static void child_main(const struct skopeo *s, char *const *argv, int out, int errors, pid_t parent)
{
        const struct rlimit most = { s->file_max, s->file_max };
        char *env[ENV_MAX], *text = malloc(4 * ENV_TEXT);

        prctl(PR_SET_PDEATHSIG, SIGKILL);
        prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
        if (getppid() != parent || !text)
                _exit(STATUS_PLACE);
        if (s->mount && !mount_store(s))
                _exit(STATUS_PLACE);
        int auth = copy_auth(s->options->authfile);
        make_env(s, auth, env, text, 4 * ENV_TEXT);
        int null = open("/dev/null", O_RDONLY | O_CLOEXEC);
        if (null < 0 || dup2(null, 0) < 0 || dup2(out, 1) < 0 || dup2(errors, 2) < 0)
                _exit(STATUS_PLACE);
        (void)sys_close_range(3, ~0U, 4 /* CLOSE_RANGE_CLOEXEC */);
        if (auth >= 0)
                (void)fcntl(auth, F_SETFD, 0);
        if (s->file_max > 0)
                (void)setrlimit(RLIMIT_FSIZE, &most);
        signal(SIGPIPE, SIG_DFL);
        execvpe(argv[0], argv, env);
        _exit(STATUS_EXEC);
}

/* ---- the parent ---- */

struct sink {
        int fd;
        char *data;
        size_t len, cap;
        bool over;
};

/* Reads what is there; of what is too much, the end is dropped. */
static void sink_read(struct sink *k)
{
        char waste[4096];
        size_t room = k->cap - 1 - k->len;
        ssize_t n = read(k->fd, room ? k->data + k->len : waste, room ? room : sizeof(waste));

        if (n < 0 && errno == EINTR)
                return;
        if (n <= 0)
                fd_close(&k->fd);
        else if (room)
                k->len += (size_t)n;
        else
                k->over = true;
        k->data[k->len] = '\0';
}

static void collect(const struct skopeo *s, struct sink *out, struct sink *errors)
{
        while (out->fd >= 0 || errors->fd >= 0) {
                struct pollfd p[2] = { { out->fd, POLLIN, 0 }, { errors->fd, POLLIN, 0 } };
                int n = poll(p, 2, s->tick ? TICK_MS : -1);

                if (n > 0 && p[0].revents)
                        sink_read(out);
                if (n > 0 && p[1].revents)
                        sink_read(errors);
                if (s->tick)
                        s->tick(s->user);
        }
}

/* The text of its last complaint: time="…" level=fatal msg="…". */
static void last_message(char *text, char *out, size_t cap)
{
        char *at = NULL;
        size_t n = 0;

        for (char *p = text; (p = strstr(p, "msg=\"")); p += 5)
                at = p + 5;
        for (const char *p = at ? at : text; *p && n + 1 < cap && !(at && *p == '"'); p++) {
                if (*p == '\\' && p[1])
                        p++;
                out[n++] = *p;
        }
        out[n] = '\0';
        for (char *p = out; *p; p++)
                if ((unsigned char)*p < ' ' || (unsigned char)*p >= 0x7f)
                        *p = ' ';
}

static int understand(const struct skopeo *s, int status, char *text, struct err *e)
{
        char said[300];

        if (WIFEXITED(status) && WEXITSTATUS(status) == STATUS_EXEC) {
                err_set(e, ERR_BACKEND_UNAVAILABLE, 0, "%s cannot be started, and registries need it",
                        s->options->skopeo ? s->options->skopeo : "skopeo");
                return err_hint(e, "apt install skopeo; or use an image on this machine: oci:DIR, oci-archive:FILE, docker-archive:FILE");
        }
        if (WIFEXITED(status) && WEXITSTATUS(status) == STATUS_PLACE) {
                err_set(e, ERR_NOT_SUPPORTED, 0, "the image store cannot be shown to skopeo");
                return err_hint(e, "make the directories above the store searchable for everybody (chmod o+x)");
        }
        if (WIFSIGNALED(status) && WTERMSIG(status) == SIGXFSZ)
                return err_set(e, ERR_RESOURCE_EXHAUSTED, 0, "a blob is larger than its manifest says");
        last_message(text, said, sizeof(said));
        for (size_t i = 0; i < sizeof(meanings) / sizeof(meanings[0]); i++) {
                if (!strstr(said, meanings[i].text))
                        continue;
                err_set(e, meanings[i].code, 0, "%s (skopeo: %s)", meanings[i].message, said);
                return err_hint(e, "%s", meanings[i].hint);
        }
        err_set(e, ERR_BACKEND_UNAVAILABLE, 0, "skopeo: %s", *said ? said : "ended without a word");
        return err_hint(e, "check the registry and this host's network");
}

static int run(const struct skopeo *s, char *const *argv, struct sink *out, struct err *e)
{
        struct sink errors = { .fd = -1, .cap = ERRORS_MAX, .data = malloc(ERRORS_MAX) };
        int o[2] = { -1, -1 }, r[2] = { -1, -1 }, status = 0;
        pid_t self = getpid(), pid = -1;

        if (errors.data && pipe2(o, O_CLOEXEC) == 0 && pipe2(r, O_CLOEXEC) == 0)
                pid = fork();
        if (pid == 0)
                child_main(s, argv, o[1], r[1], self);
        fd_close(&o[1]);
        fd_close(&r[1]);
        out->fd = o[0];
        errors.fd = r[0];
        if (pid < 0) {
                fd_close(&out->fd);
                fd_close(&errors.fd);
                free(errors.data);
                return err_sys(e, "cannot start skopeo");
        }
        errors.data[0] = '\0';
        collect(s, out, &errors);
        while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
                ;
        int result = status == 0 ? 0 : understand(s, status, errors.data, e);
        free(errors.data);
        return result;
}

/* docker://HOST/REPO:TAG or docker://HOST/REPO@sha256:HEX. (skopeo takes no reference with both.) */
static void remote_name(const struct skopeo *s, const char *hex, char *out, size_t cap)
{
        struct image_ref ref = *s->ref;
        char name[IMAGE_NAME_MAX + 1];

        if (hex) {
                memcpy(ref.hex, hex, sizeof(ref.hex));
                ref.tag[0] = '\0';
        }
        image_ref_format(&ref, name, sizeof(name));
        snprintf(out, cap, "docker://%s", name);
}

/* The beginning of every command. Returns how many there are. */
static size_t begin(const struct skopeo *s, char **argv)
{
        size_t n = 0;

        argv[n++] = (char *)(s->options->skopeo ? s->options->skopeo : "skopeo");
        if (access("/etc/containers/policy.json", F_OK) < 0 && errno == ENOENT)
                argv[n++] = "--insecure-policy";
        return n;
}

int skopeo_inspect(struct skopeo *s, const char *hex, bool config, char **out, size_t *len, struct err *e)
{
        char name[IMAGE_NAME_MAX + 16];
        char *argv[ARGS_MAX] = { 0 };
        size_t n = begin(s, argv);
        struct sink k = { .fd = -1, .cap = SKOPEO_OUT_MAX + 1, .data = malloc(SKOPEO_OUT_MAX + 1) };

        remote_name(s, hex, name, sizeof(name));
        argv[n++] = "inspect";
        argv[n++] = "--raw";
        if (config)
                argv[n++] = "--config";
        if (image_ref_is_loopback(s->ref))
                argv[n++] = "--tls-verify=false";
        argv[n++] = name;
        int r = k.data ? run(s, argv, &k, e) : err_set(e, ERR_RESOURCE_EXHAUSTED, 0, "out of memory");
        if (r == 0 && k.over)
                r = err_set(e, ERR_RESOURCE_EXHAUSTED, 0, "the manifest is larger than %d bytes", SKOPEO_OUT_MAX);
        if (r < 0) {
                free(k.data);
                return r;
        }
        *out = k.data;
        *len = k.len;
        return 0;
}

int skopeo_copy(struct skopeo *s, const char *hex, struct err *e)
{
        char name[IMAGE_NAME_MAX + 16], to[SKOPEO_PLACE_MAX + 64], blobs[SKOPEO_PLACE_MAX + 64], ignored[4096];
        char *argv[ARGS_MAX] = { 0 };
        size_t n = begin(s, argv);
        struct sink k = { .fd = -1, .cap = sizeof(ignored), .data = ignored };

        remote_name(s, hex, name, sizeof(name));
        snprintf(to, sizeof(to), "oci:%s/%s/img:img", s->place, s->tmp->path);
        snprintf(blobs, sizeof(blobs), "%s/blobs", s->place);
        argv[n++] = "copy";
        argv[n++] = "--quiet";
        argv[n++] = "--remove-signatures"; /* we keep none; the policy still reads those that it wants */
        argv[n++] = "--dest-oci-accept-uncompressed-layers";
        argv[n++] = "--dest-shared-blob-dir";
        argv[n++] = blobs;
        if (image_ref_is_loopback(s->ref))
                argv[n++] = "--src-tls-verify=false";
        argv[n++] = name;
        argv[n++] = to;
        return run(s, argv, &k, e);
}
