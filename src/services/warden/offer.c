#include "services/warden/offer.h"

#include <errno.h>
#include <stdio.h>

#include "base/clock.h"
#include "base/fd.h"
#include "base/sock.h"

enum { HEARD_AT_ONCE = 32 };

int offer_open(struct offer_door *d, const char *run_dir, struct err *e)
{
        char path[512];

        snprintf(path, sizeof(path), "%s/engine.sock", run_dir);
        d->sock = sock_bind_datagrams(path);
        return d->sock < 0 ? err_sys(e, "cannot listen at '%.200s'", path) : 0;
}

bool offer_hear(struct offer_door *d)
{
        uint64_t now = clock_ms(CLOCK_BOOTTIME);

        for (int fd; (fd = offers_expire(&d->offers, now)) >= 0;)
                fd_close(&fd);
        for (unsigned i = 0; i < HEARD_AT_ONCE; i++) {
                char token[IPC_OFFER_HEX + 1] = "";
                uid_t sender;
                int passed;
                ssize_t n = sock_recv_with(d->sock, token, IPC_OFFER_HEX, &passed, &sender);
                auto_fd engine = passed;

                if (n < 0 && errno != EMSGSIZE)
                        break;
                if (n == IPC_OFFER_HEX && sender == 0 && engine >= 0 && offers_add(&d->offers, token, engine, now))
                        take_fd(&engine);
        }
        return true;
}

int offer_take(struct offer_door *d, const char *token, struct err *e)
{
        if (d->sock >= 0)
                offer_hear(d);
        int fd = offers_take(&d->offers, token, clock_ms(CLOCK_BOOTTIME));
        if (fd >= 0)
                return fd;
        err_set(e, ERR_BACKEND_UNAVAILABLE, 0,
                "no engine is offered under that word: it was taken, %d s are over, or %d were offered before", OFFER_MS / 1000,
                OFFERS_MAX);
        return err_hint(e, "offer it again: creto-runtime spawn --runsc-path PATH, as root");
}
