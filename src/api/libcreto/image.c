/*
 * Images, from the library's side: creto-image does the work, confined and started by the warden; what it answers is checked here like anything else that
 * comes from outside. What the caller may read and creto-image may not goes to it as a descriptor.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "api/libcreto/handles.h"
#include "base/fd.h"
#include "domain/image_ref.h"
#include "wire/image_answer.h"

enum { FD_FIRST = 5 /* where creto-image finds the first descriptor besides its streams */ };

_Static_assert((int)IMAGE_ANSWER_LAYERS_MAX <= (int)IPC_LAYERS_MAX && (int)IMAGE_ANSWER_HEX == (int)IPC_DIGEST_HEX,
               "an image fits in a request");

/* ---- what the caller opens ---- */

static int open_named(const char *text, const char *path, int flags, struct err *e)
{
        int fd = open(path, flags | O_NONBLOCK | O_CLOEXEC);

        if (fd >= 0)
                return fd;
        err_set(e, errno == EACCES || errno == EPERM ? ERR_AUTHORIZATION_DENIED : ERR_IMAGE_NOT_FOUND, errno,
                "image '%.256s': cannot open it", text);
        if (!(flags & O_DIRECTORY))
                return err_hint(e, "it is the path of a file; an OCI layout that is not packed is oci:DIR");
        return err_hint(e, flags & O_PATH ? "dir: takes the path of a directory that holds a root filesystem"
                                          : "oci: takes the path of a directory that holds index.json");
}

__attribute__((format(printf, 1, 2))) static int open_first(const char *fmt, ...)
{
        char path[1024];
        va_list ap;

        va_start(ap, fmt);
        int n = vsnprintf(path, sizeof(path), fmt, ap);
        va_end(ap);
        return n < (int)sizeof(path) ? open(path, O_RDONLY | O_NONBLOCK | O_CLOEXEC) : -1;
}

/* Where skopeo looks, in its order: containers-auth.json(5). */
static int open_auth(const char *text, struct err *e)
{
        const char *named = getenv("REGISTRY_AUTH_FILE"), *runtime = getenv("XDG_RUNTIME_DIR"), *home = getenv("HOME");
        int fd = -1;

        if (named && *named) {
                fd = open_first("%s", named);
                return fd >= 0 ? fd
                               : err_set(e, ERR_AUTHORIZATION_DENIED, errno, "image '%.200s': cannot open REGISTRY_AUTH_FILE=%.200s", text,
                                         named);
        }
        if (runtime)
                fd = open_first("%s/containers/auth.json", runtime);
        if (fd < 0)
                fd = open_first("/run/containers/%u/auth.json", getuid());
        if (fd < 0 && home)
                fd = open_first("%s/.config/containers/auth.json", home);
        if (fd < 0 && home)
                fd = open_first("%s/.docker/config.json", home);
        return fd;
}

int image_open_sources(const char *text, int *image, int *auth, struct err *e)
{
        struct image_ref ref;

        *image = *auth = -1;
        if (image_ref_parse(text, &ref, e) < 0)
                return -(int)e->code;
        switch (ref.kind) {
        case IMAGE_HOST:
                return 0;
        case IMAGE_REGISTRY:
                *auth = open_auth(text, e);
                return *auth < -1 ? *auth : 0;
        case IMAGE_DIR:
                *image = open_named(text, ref.path, O_PATH | O_DIRECTORY, e);
                break;
        case IMAGE_OCI:
                *image = open_named(text, ref.path, O_RDONLY | O_DIRECTORY, e);
                break;
        default:
                *image = open_named(text, ref.path, O_RDONLY, e);
                break;
        }
        return *image < 0 ? *image : 0;
}

int creto_open_sources(const char *image, struct creto_open_options *options, struct creto_error *err)
{
        struct err e;

        if (image_open_sources(image, &options->image_fd, &options->auth_fd, &e) == 0)
                return 0;
        options->image_fd = options->auth_fd = -1;
        error_out(err, &e);
        return -err->code;
}

/* ---- asking creto-image ---- */

struct call {
        struct ipc_image req;
        int fds[2 + IPC_IMAGE_FDS_EXTRA];
        size_t nfds;
};

__attribute__((format(printf, 2, 3))) static bool call_add(struct call *c, const char *fmt, ...)
{
        va_list ap;
        int n;

        if (c->req.argc == IPC_IMAGE_ARGS_MAX)
                return false;
        va_start(ap, fmt);
        n = vsnprintf(c->req.args[c->req.argc++], sizeof(c->req.args[0]), fmt, ap);
        va_end(ap);
        return n < (int)sizeof(c->req.args[0]);
}

/* Adds a descriptor; returns the number that it has there. */
static int call_add_fd(struct call *c, int fd)
{
        c->fds[c->nfds++] = fd;
        return FD_FIRST + (int)c->nfds - 3;
}

/* A local source, by its descriptor, under the name that its path has now. */
static bool call_add_local(struct call *c, const struct image_ref *ref, int fd)
{
        static const char *const kinds[] = {
                [IMAGE_OCI] = "oci", [IMAGE_OCI_ARCHIVE] = "oci-archive", [IMAGE_DOCKER_ARCHIVE] = "docker-archive"
        };
        const char *colon = ref->tag[0] ? ":" : "";
        char link[32], path[IMAGE_PATH_MAX + 1];

        snprintf(link, sizeof(link), "/proc/self/fd/%d", fd);
        ssize_t n = readlink(link, path, sizeof(path) - 1);
        if (n <= 0)
                return false;
        path[n] = '\0';
        return call_add(c, "--image-name") && call_add(c, "%s:%s%s%s", kinds[ref->kind], path, colon, ref->tag) &&
               call_add(c, "%s:/proc/self/fd/%d%s%s", kinds[ref->kind], call_add_fd(c, fd), colon, ref->tag);
}

/* The image itself, with what is needed to read it. `image` and `auth` are borrowed, for as long as the call takes. */
static int call_add_image(struct call *c, const char *text, const struct image_ref *ref, int image, int auth, struct err *e)
{
        bool fits;

        if (ref->kind == IMAGE_REGISTRY)
                fits = (auth < 0 || (call_add(c, "--authfile") && call_add(c, "/proc/self/fd/%d", call_add_fd(c, auth)))) &&
                       call_add(c, "%s", text);
        else
                fits = call_add_local(c, ref, image);
        return fits ? 0 : err_set(e, ERR_INVALID_SPEC, 0, "image '%.256s…': the name is too long", text);
}

/* Runs it with `out` and our standard error (or nothing, where we have none). */
static int call_run(struct creto_runtime *rt, struct call *c, int out, int *status, struct err *e)
{
        auto_fd null = open("/dev/null", O_WRONLY | O_CLOEXEC);

        c->fds[0] = fcntl(out, F_GETFD) >= 0 ? out : null;
        c->fds[1] = fcntl(STDERR_FILENO, F_GETFD) >= 0 ? STDERR_FILENO : null;
        return driver_image(&rt->driver, &c->req, c->fds, c->nfds, status, e);
}

/* Which descriptors: those that came with creto_open(), or opened now. */
struct sources {
        int image, auth;
        int image_owned, auth_owned;
};

static int sources_get(const struct creto_runtime *rt, const char *text, struct sources *s, struct err *e)
{
        *s = (struct sources){ rt->image_fd, rt->auth_fd, -1, -1 };
        if (rt->dropped || rt->image_fd >= 0 || rt->auth_fd >= 0)
                return 0;
        if (image_open_sources(text, &s->image_owned, &s->auth_owned, e) < 0)
                return -(int)e->code;
        s->image = s->image_owned;
        s->auth = s->auth_owned;
        return 0;
}

static void sources_release(struct sources *s)
{
        fd_close(&s->image_owned);
        fd_close(&s->auth_owned);
}

/* ---- resolving ---- */

static int no_answer(const char *text, int status, struct err *e)
{
        err_set(e, ERR_INTERNAL_ERROR, 0, "image '%.200s': creto-image ended with status %d and no answer", text, status);
        return err_hint(e, "try again; if it stays so, 'creto-runtime image prune' removes what nothing needs");
}

static void take_answer(const struct image_answer *a, struct image_defaults *out)
{
        out->layer_count = a->layer_count;
        for (uint32_t i = 0; i < a->layer_count; i++)
                memcpy(out->layers[i], a->layers[i], sizeof(out->layers[i]));
        out->env = a->env.items;
        out->cwd = a->cwd[0] ? a->cwd : NULL;
        out->user = a->user[0] ? a->user : NULL;
        out->entrypoint_count = a->entrypoint.count;
        for (uint32_t i = 0; i < a->entrypoint.count; i++)
                out->command[i] = a->entrypoint.items[i];
        for (uint32_t i = 0; i < a->cmd.count; i++)
                out->command[a->entrypoint.count + i] = a->cmd.items[i];
        out->command[a->entrypoint.count + a->cmd.count] = NULL;
}

struct memory {
        struct image_answer answer;
        char layers[IMAGE_ANSWER_LAYERS_MAX][IPC_DIGEST_HEX + 1];
        const char *command[2 * IMAGE_ANSWER_STRINGS_MAX + 1];
        uint8_t arena[IMAGE_ANSWER_ARENA];
};

static int read_answer(int fd, const char *text, int status, struct image_defaults *out, struct err *e)
{
        struct memory *m = malloc(sizeof(*m));
        struct stat st;

        if (!m)
                return err_set(e, ERR_RESOURCE_EXHAUSTED, 0, "out of memory");
        if (fstat(fd, &st) == 0 && st.st_size > 0 && st.st_size <= IMAGE_ANSWER_MAX) {
                void *data = mmap(NULL, (size_t)st.st_size, PROT_READ, MAP_PRIVATE, fd, 0);
                bool good = data != MAP_FAILED && image_answer_get(data, (size_t)st.st_size, m->arena, sizeof(m->arena), &m->answer) == 0;

                if (data != MAP_FAILED)
                        munmap(data, (size_t)st.st_size);
                if (good && m->answer.ok && status == 0) {
                        *out = (struct image_defaults){ .layers = m->layers, .command = m->command, .memory = m };
                        take_answer(&m->answer, out);
                        return 0;
                }
                if (good && !m->answer.ok) {
                        *e = m->answer.error;
                        free(m);
                        return -(int)e->code;
                }
        }
        free(m);
        return no_answer(text, status, e);
}

void image_defaults_release(struct image_defaults *d)
{
        free(d->memory);
}

static int resolve(struct creto_runtime *rt, const char *text, const struct image_ref *ref, bool pull, const struct sources *s,
                   struct image_defaults *out, struct err *e)
{
        auto_fd answer = memfd_create("creto-image-answer", MFD_CLOEXEC | MFD_ALLOW_SEALING);
        struct call *c = calloc(1, sizeof(*c));
        int status = 0;
        int r = answer < 0 ? err_sys(e, "cannot make a memory file") : c ? 0 : err_set(e, ERR_RESOURCE_EXHAUSTED, 0, "out of memory");

        if (r == 0) {
                c->nfds = 2;
                call_add(c, "resolve");
                call_add(c, "--wire");
                if (pull)
                        call_add(c, "--pull");
                if (isatty(STDERR_FILENO))
                        call_add(c, "--progress");
                r = call_add_image(c, text, ref, s->image, s->auth, e);
        }
        if (r == 0)
                r = call_run(rt, c, answer, &status, e);
        free(c);
        /* Nobody may change it while it is read. */
        if (r == 0 && fcntl(answer, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE) < 0)
                r = no_answer(text, status, e);
        return r < 0 ? r : read_answer(answer, text, status, out, e);
}

int image_resolve(struct creto_runtime *rt, const char *text, bool pull, struct image_defaults *out, int *root, struct err *e)
{
        struct image_ref ref;
        struct sources s;

        *out = (struct image_defaults){ 0 };
        *root = -1;
        if (image_ref_parse(text, &ref, e) < 0)
                return -(int)e->code;
        if (ref.kind == IMAGE_HOST)
                return 0;
        if (sources_get(rt, text, &s, e) < 0)
                return -(int)e->code;
        if (ref.kind != IMAGE_REGISTRY && s.image < 0) {
                err_set(e, ERR_IMAGE_NOT_FOUND, 0, "image '%.256s': it was not opened before root was dropped", text);
                return err_hint(e, "call creto_open_sources() first");
        }
        if (ref.kind == IMAGE_DIR) {
                if (s.image_owned >= 0) {
                        fd_close(&rt->image_fd);
                        rt->image_fd = take_fd(&s.image_owned);
                }
                *root = rt->image_fd;
                return 0;
        }
        int r = resolve(rt, text, &ref, pull, &s, out, e);
        sources_release(&s);
        return r;
}

/* ---- the store ---- */

static int pull(struct creto_runtime *rt, struct call *c, const char *text, struct sources *s, struct err *e)
{
        struct image_ref ref;

        if (image_ref_parse(text, &ref, e) < 0 || sources_get(rt, text, s, e) < 0)
                return -(int)e->code;
        if (ref.kind == IMAGE_HOST || ref.kind == IMAGE_DIR) {
                err_set(e, ERR_INVALID_SPEC, 0, "image '%.256s' is not kept in the image store", text);
                return err_hint(e, "host and dir: are used where they are");
        }
        call_add(c, "--progress");
        return call_add_image(c, text, &ref, s->image, s->auth, e);
}

int creto_image(struct creto_runtime *rt, const char *verb, const char *ref, int *status, struct creto_error *err)
{
        struct call *c = calloc(1, sizeof(*c));
        struct sources s = { -1, -1, -1, -1 };
        struct err e;
        int r = c ? 0 : err_set(&e, ERR_RESOURCE_EXHAUSTED, 0, "out of memory");

        if (r == 0) {
                c->nfds = 2;
                call_add(c, "--human");
                if (!call_add(c, "%s", verb))
                        r = err_set(&e, ERR_INVALID_SPEC, 0, "'%.100s…' is too long", verb);
        }
        if (r == 0 && ref && strcmp(verb, "pull") == 0)
                r = pull(rt, c, ref, &s, &e);
        else if (r == 0 && ref && !call_add(c, "%s", ref))
                r = err_set(&e, ERR_INVALID_SPEC, 0, "image '%.256s…': the name is too long", ref);
        if (r == 0)
                r = call_run(rt, c, STDOUT_FILENO, status, &e);
        sources_release(&s);
        free(c);
        if (r < 0)
                error_out(err, &e);
        return r;
}
