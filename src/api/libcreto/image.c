/*
 * Images, from the library's side: creto-image does the work, confined and started by the warden; what it answers is checked here like anything else that
 * comes from outside.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "api/libcreto/handles.h"
#include "base/str.h"

void image_defaults_release(struct image_defaults *d)
{
        (void)d;
}

int image_resolve(struct creto_runtime *rt, const char *ref, bool pull, struct image_defaults *out, struct err *e)
{
        (void)rt;
        (void)pull;
        *out = (struct image_defaults){ 0 };
        if (strcmp(ref, "host") == 0 || str_has_prefix(ref, "dir:"))
                return 0;
        if (ref[0] == '.' || ref[0] == '/') {
                err_set(e, ERR_INVALID_SPEC, 0, "image '%.200s' is a path, not a reference", ref);
                return err_hint(e, "a root filesystem in a directory is dir:PATH");
        }
        err_set(e, ERR_NOT_SUPPORTED, 0, "image '%.200s': only host and dir:ROOTFS are available in this version", ref);
        return err_hint(e, "unpack the image into a directory and use --image dir:PATH");
}

int creto_image(struct creto_runtime *rt, const char *const *argv, int *status, struct creto_error *err)
{
        struct ipc_image *req = calloc(1, sizeof(*req));
        const int fds[] = { 1, 2 };
        struct err e;
        int r = req ? 0 : err_set(&e, ERR_RESOURCE_EXHAUSTED, 0, "out of memory");

        for (; r == 0 && argv[req->argc] && req->argc < IPC_IMAGE_ARGS_MAX; req->argc++)
                if (snprintf(req->args[req->argc], sizeof(req->args[0]), "%s", argv[req->argc]) >= (int)sizeof(req->args[0]))
                        r = err_set(&e, ERR_INVALID_SPEC, 0, "an argument of more than %d bytes", IPC_IMAGE_ARG_MAX);
        if (r == 0)
                r = driver_image(&rt->driver, req, fds, 2, status, &e);
        free(req);
        if (r < 0)
                error_out(err, &e);
        return r;
}
