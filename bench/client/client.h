/*
 * What the modes share: what is asked for, and the requests of a claim's life.
 */
#pragma once

#include "conn.h"
#include "samples.h"

enum { CONNECTIONS_MAX = 1024, COUNT_MAX = 1000000, ID_ROOM = 64, PATH_ROOM = 256 };

struct client {
        struct conn_target target;
        const char *pool;    /* NULL: sandboxes are made and ended, the cold side of the same comparison */
        const char *claim;   /* the body of a claim, JSON */
        const char *command; /* the body of an exec, JSON */
        const char *wanted;  /* stands in the answer of every exec, or NULL */
        bool events;         /* that answer is asked for as events */
        bool one;            /* the claim has the command in it */
        bool samples;        /* every latency is printed */
        unsigned count, connections, rounds;
        double rate, seconds, warmup; /* claims a second, 0: as many as can be */
        char claim_path[PATH_ROOM];
};

struct claimed {
        char id[ID_ROOM];
        bool cold; /* the answer says that it is not from the pool */
};

/* Requests made ready, to be sent. */
void prepare_claim(struct conn *c, const struct client *o);
void prepare_release(struct conn *c, const struct client *o, const char *id);
void prepare_exec(struct conn *c, const struct client *o, const char *id);

/* What the whole answer of a claim says; false where it was refused: then *out is not written. */
bool read_claim(const struct conn *c, struct claimed *out);
/* Ends the program where the answer is none of these. */
void want_status(const struct conn *c, int wanted);
void want_output(const struct conn *c, const struct client *o);

/* The number that stands at `"name":` in a body; -1 where it does not. */
long number_of(const char *body, const char *name);

/* Until the pool has as many ready as it wants and nothing under way. */
void wait_until_full(struct conn *c, const struct client *o);

/* Connections that take releases off the timed path: each request goes out at once, its answer is read when the connection has its next turn. */
enum { ASIDE = 8 };

struct aside {
        struct conn conns[ASIDE];
        bool busy[ASIDE];
        unsigned turn;
};

void aside_open(struct aside *a, const struct client *o);
void aside_release(struct aside *a, const struct client *o, const char *id);
void aside_close(struct aside *a); /* when all are answered */

/* SIGTERM has come: what was measured until now is told. */
bool client_stopped(void);
void client_stops(void); /* from now on */

/* Sleeps until then, on the clock of now_ms(); not on a SIGTERM. */
void sleep_until(double ms);

/* ---- the modes; each prints one JSON object ---- */
void mode_paced(const struct client *o);
void mode_exec(const struct client *o);
void mode_one(const struct client *o);
void mode_burst(const struct client *o);
void mode_sustained(const struct client *o);
