/*
 * One claim after the other, at a pace: what somebody sees who wants a sandbox now and then. A claim is released on another connection, and the next begins at
 * its time, or at once where that is over; how many began late is said.
 */
#include <stdio.h>

#include "client.h"

static const double late_ms = 1; /* after its time */

struct paced {
        struct conn conn;
        struct aside aside;
        struct samples claim, first, whole;
        unsigned cold, late;
};

/* The answer has come, of a command whose clock began with the claim. */
static void take_exec(struct paced *p, const struct client *o, double began, double ended)
{
        want_status(&p->conn, 200);
        want_output(&p->conn, o);
        samples_add(&p->first, (o->events ? p->conn.first_ms : ended) - began);
        samples_add(&p->whole, ended - began);
}

static void claim_one(struct paced *p, const struct client *o, struct claimed *got)
{
        prepare_claim(&p->conn, o);
        conn_ask(&p->conn);
        double ended = now_ms();
        if (!read_claim(&p->conn, got))
                want_status(&p->conn, 200);
        samples_add(&p->claim, ended - p->conn.sent_ms);
        p->cold += got->cold;
        if (o->one)
                take_exec(p, o, p->conn.sent_ms, ended);
}

static void exec_one(struct paced *p, const struct client *o, const char *id, double began)
{
        prepare_exec(&p->conn, o, id);
        conn_ask(&p->conn);
        take_exec(p, o, began, now_ms());
}

static void run(struct paced *p, const struct client *o)
{
        double step = o->rate > 0 ? 1e3 / o->rate : 0, next = now_ms();

        for (unsigned i = 0; i < o->count && !client_stopped(); i++, next += step) {
                struct claimed got;

                if (step > 0)
                        sleep_until(next);
                p->late += step > 0 && now_ms() > next + late_ms;
                claim_one(p, o, &got);
                if (o->command)
                        exec_one(p, o, got.id, p->conn.sent_ms);
                aside_release(&p->aside, o, got.id);
        }
}

static void paced(const struct client *o)
{
        struct paced p = { 0 };

        conn_open(&p.conn, &o->target);
        aside_open(&p.aside, o);
        double began = now_ms();
        run(&p, o);
        double seconds = (now_ms() - began) / 1e3;
        aside_close(&p.aside);
        conn_close(&p.conn);
        printf("{\"cold\":%u,\"late\":%u,\"per_second\":%.1f,", p.cold, p.late, (double)p.claim.n / seconds);
        samples_print("claim", &p.claim, o->samples);
        if (o->command || o->one) {
                printf(",");
                samples_print("first", &p.first, o->samples);
                printf(",");
                samples_print("whole", &p.whole, o->samples);
        }
        printf("}\n");
}

void mode_paced(const struct client *o)
{
        struct client without = *o;

        without.command = NULL;
        paced(&without);
}

void mode_exec(const struct client *o)
{
        paced(o);
}

void mode_one(const struct client *o)
{
        struct client whole = *o;

        whole.command = NULL;
        whole.one = true;
        paced(&whole);
}
