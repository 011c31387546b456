/*
 * Engines that root has offered for one sandbox each: an open file under a word that is hard to guess. Few, not for long, and each is taken once. Pure.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "wire/ipc.h"

enum { OFFERS_MAX = 8, OFFER_MS = 60000 };

struct offers {
        struct offer {
                char token[IPC_OFFER_HEX + 1]; /* "": none */
                int fd;
                uint64_t until_ms;
        } of[OFFERS_MAX];
};

/* 2 × 16 hex digits, small ones. */
bool offer_is_token(const char *text);

/* False where there are as many as may be, or that word is in use; else `fd` is its own. */
bool offers_add(struct offers *o, const char *token, int fd, uint64_t now_ms);
/* The descriptor that is offered under that word, which is the caller's and offered no more; or -1. */
int offers_take(struct offers *o, const char *token, uint64_t now_ms);
/* A descriptor whose time is over, to be closed; or -1: there are no more. */
int offers_expire(struct offers *o, uint64_t now_ms);

/* BACKEND_UNAVAILABLE: there is none under that word; it is not root's alone. */
int offers_refuse(struct err *e);
int offers_distrust(struct err *e);
