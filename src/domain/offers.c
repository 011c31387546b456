#include "domain/offers.h"

#include <stdio.h>
#include <string.h>

bool offer_is_token(const char *text)
{
        return strlen(text) == IPC_OFFER_HEX && text[strspn(text, "0123456789abcdef")] == '\0';
}

static struct offer *find(struct offers *o, const char *token)
{
        for (unsigned i = 0; i < OFFERS_MAX; i++)
                if (strcmp(o->of[i].token, token) == 0)
                        return &o->of[i];
        return NULL;
}

bool offers_add(struct offers *o, const char *token, int fd, uint64_t now_ms)
{
        struct offer *free_one = find(o, "");

        if (!offer_is_token(token) || !free_one || find(o, token))
                return false;
        *free_one = (struct offer){ .fd = fd, .until_ms = now_ms + OFFER_MS };
        snprintf(free_one->token, sizeof(free_one->token), "%s", token);
        return true;
}

int offers_take(struct offers *o, const char *token, uint64_t now_ms)
{
        struct offer *it = offer_is_token(token) ? find(o, token) : NULL;

        if (!it || now_ms >= it->until_ms)
                return -1;
        it->token[0] = '\0';
        return it->fd;
}

int offers_expire(struct offers *o, uint64_t now_ms)
{
        for (unsigned i = 0; i < OFFERS_MAX; i++)
                if (o->of[i].token[0] && now_ms >= o->of[i].until_ms) {
                        o->of[i].token[0] = '\0';
                        return o->of[i].fd;
                }
        return -1;
}

int offers_refuse(struct err *e)
{
        err_set(e, ERR_BACKEND_UNAVAILABLE, 0,
                "no engine is offered under that word: it was taken, %d s are over, or %d were offered before", OFFER_MS / 1000,
                OFFERS_MAX);
        return err_hint(e, "offer it again: creto-runtime spawn --runsc-path PATH, as root");
}

int offers_distrust(struct err *e)
{
        err_set(e, ERR_BACKEND_UNAVAILABLE, 0, "the engine that was offered is no program that root owns and nobody else may write");
        return err_hint(e, "chown root and chmod 755 it, if you trust who made it");
}
