/*
 * An engine of root's for one sandbox of a service: the open file goes to the warden itself, under a word that nobody else knows; the service hears the word alone.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include "api/libcreto/remote/remote.h"
#include "base/fd.h"
#include "base/sock.h"
#include "base/str.h"

/* Where the warden of that service listens: in its run directory, which its socket is in unless somebody says otherwise. */
static int find_door(const struct remote *rm, char out[512], struct err *e)
{
        const char *run = getenv("CRETO_RUNTIME_RUN_DIR"), *socket = rm->host.text + strlen("unix:");

        if (!str_has_prefix(rm->host.text, "unix:")) {
                err_set(e, ERR_INVALID_SPEC, 0, "--runsc-path: an open file is handed over on this machine, and %s may be another",
                        rm->host.text);
                return err_hint(e, "--host unix:/run/creto-runtime/runtime.sock");
        }
        if (run && *run)
                snprintf(out, 512, "%.400s/engine.sock", run);
        else
                snprintf(out, 512, "%.*s/engine.sock", strrchr(socket, '/') ? (int)(strrchr(socket, '/') - socket) : 1,
                         strrchr(socket, '/') ? socket : ".");
        return 0;
}

int remote_offer(const struct remote *rm, const char *path, char token[IPC_OFFER_HEX + 1], struct err *e)
{
        uint8_t raw[IPC_OFFER_HEX / 2];
        char door[512];
        int opened = -1;

        if (find_door(rm, door, e) < 0 || place_open_engine(path, &opened, e) < 0)
                return -(int)e->code;
        auto_fd engine = opened;
        if (getrandom(raw, sizeof(raw), 0) != (ssize_t)sizeof(raw))
                abort();
        str_hex(raw, sizeof(raw), token);
        if (sock_send_datagram(door, token, IPC_OFFER_HEX, engine) == 0)
                return 0;
        err_set(e, ERR_BACKEND_UNAVAILABLE, errno, "--runsc-path: no creto-warden takes an engine at '%.200s'", door);
        return err_hint(e, "is it the run directory of that service? CRETO_RUNTIME_RUN_DIR names another");
}
