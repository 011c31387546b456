/*
 * The door through which root, and nobody else, hands in an engine for one sandbox: RUN_DIR/engine.sock, one datagram each, a word and an open file. Whoever knows the word may then name it
 * in a SPAWN. Nothing is ever opened by name here.
 */
#pragma once

#include "domain/offers.h"

struct offer_door {
        int sock; /* -1: there is none */
        struct offers offers;
};

int offer_open(struct offer_door *d, const char *run_dir, struct err *e);
/* When its socket is readable. True: the warden goes on. */
bool offer_hear(struct offer_door *d);
/* What was offered under that word; the caller's. */
int offer_take(struct offer_door *d, const char *token, struct err *e);
