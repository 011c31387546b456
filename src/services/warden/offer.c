#include "services/warden/offer.h"

#include <errno.h>

#include "base/clock.h"
#include "base/fd.h"
#include "base/sock.h"

int offer_open(struct offer_door *d, const char *run_dir, struct err *e)
{
        d->sock = sock_bind_datagrams(run_dir, "engine.sock");
        return d->sock < 0 ? err_sys(e, "cannot listen at '%.200s/engine.sock'", run_dir) : 0;
}

bool offer_hear(struct offer_door *d)
{
        uint64_t now = clock_ms(CLOCK_BOOTTIME);

        for (int fd; (fd = offers_expire(&d->offers, now)) >= 0;)
                fd_close(&fd);
        for (unsigned i = 0; i < 4 * OFFERS_MAX; i++) {
                char token[IPC_OFFER_HEX + 1] = "";
                uid_t sender;
                auto_fd engine = -1;
                ssize_t n = sock_recv_with(d->sock, token, IPC_OFFER_HEX, &engine, &sender);

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
        return fd >= 0 ? fd : offers_refuse(e);
}
