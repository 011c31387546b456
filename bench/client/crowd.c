/*
 * Claims from many connections: all at once, or for a while in each connection one after the other.
 */
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <unistd.h>

#include "client.h"

enum { EVENTS = 64 };

enum step { IDLE, CLAIMING, CLAIMED, EXECUTING, DONE, RELEASING };

struct member {
        struct conn conn;
        enum step step;
        struct claimed got;
};

struct crowd {
        const struct client *o;
        struct member members[CONNECTIONS_MAX];
        unsigned n, idle;
        int ep;
        unsigned claims, cold, refused, releases;
        struct samples claim, release;
        bool over; /* nothing new is claimed */
};

/* Every connection has carried a request already. */
static void crowd_open(struct crowd *c, const struct client *o, unsigned n)
{
        *c = (struct crowd){ .o = o, .n = n, .idle = n, .ep = epoll_create1(EPOLL_CLOEXEC) };
        for (unsigned i = 0; i < n; i++) {
                struct epoll_event e = { .events = EPOLLIN, .data = { .ptr = &c->members[i] } };

                conn_open(&c->members[i].conn, &o->target);
                conn_prepare(&c->members[i].conn, &o->target, "GET", "/health", false, "");
                conn_ask(&c->members[i].conn);
                if (epoll_ctl(c->ep, EPOLL_CTL_ADD, c->members[i].conn.fd, &e) < 0)
                        fail("epoll");
        }
}

static void crowd_close(struct crowd *c)
{
        for (unsigned i = 0; i < c->n; i++)
                conn_close(&c->members[i].conn);
        close(c->ep);
}

static void send_claim(struct crowd *c, struct member *m)
{
        prepare_claim(&m->conn, c->o);
        conn_send(&m->conn);
        m->step = CLAIMING;
        c->idle--;
}

static void send_release(struct crowd *c, struct member *m)
{
        prepare_release(&m->conn, c->o, m->got.id);
        conn_send(&m->conn);
        m->step = RELEASING;
}

static void send_exec(struct crowd *c, struct member *m)
{
        prepare_exec(&m->conn, c->o, m->got.id);
        conn_send(&m->conn);
        m->step = EXECUTING;
}

static void claim_answered(struct crowd *c, struct member *m, double at)
{
        if (!read_claim(&m->conn, &m->got)) {
                if (c->refused++ == 0)
                        fprintf(stderr, "bench-pool: a claim is refused: %.300s\n", m->conn.body);
                m->step = IDLE;
                c->idle++;
                return;
        }
        c->claims++;
        c->cold += m->got.cold;
        samples_add(&c->claim, at - m->conn.sent_ms);
        m->step = CLAIMED;
}

static void executed(struct crowd *c, struct member *m)
{
        want_status(&m->conn, 200);
        want_output(&m->conn, c->o);
        m->step = DONE;
}

static void released(struct crowd *c, struct member *m, double at)
{
        want_status(&m->conn, 200);
        samples_add(&c->release, at - m->conn.sent_ms);
        c->releases++;
        m->step = IDLE;
        c->idle++;
}

/* Takes what has come within `ms`. */
static void crowd_step(struct crowd *c, int ms)
{
        struct epoll_event events[EVENTS];
        int n = epoll_wait(c->ep, events, EVENTS, ms);

        for (int i = 0; i < n; i++) {
                struct member *m = events[i].data.ptr;

                if (!conn_read(&m->conn))
                        continue;
                if (m->step == CLAIMING)
                        claim_answered(c, m, now_ms());
                else if (m->step == EXECUTING)
                        executed(c, m);
                else if (m->step == RELEASING)
                        released(c, m, now_ms());
        }
}

/* ---- all at once ---- */

static void release_all(struct crowd *c)
{
        for (unsigned i = 0; i < c->n; i++)
                if (c->members[i].step == CLAIMED)
                        send_release(c, &c->members[i]);
        while (c->idle < c->n)
                crowd_step(c, -1);
}

/* From before the first is sent until the last is answered. */
static double burst_once(struct crowd *c)
{
        unsigned before = c->claims + c->refused;
        double began = now_ms();

        for (unsigned i = 0; i < c->n; i++)
                send_claim(c, &c->members[i]);
        while (c->claims + c->refused < before + c->n)
                crowd_step(c, -1);
        return now_ms() - began;
}

void mode_burst(const struct client *o)
{
        static struct crowd c;
        struct samples all = { 0 };
        struct conn conn;

        crowd_open(&c, o, o->count);
        conn_open(&conn, &o->target);
        for (unsigned i = 0; i < o->rounds; i++) {
                wait_until_full(&conn, o);
                samples_add(&all, burst_once(&c));
                release_all(&c);
        }
        wait_until_full(&conn, o);
        conn_close(&conn);
        crowd_close(&c);
        printf("{\"claims\":%u,\"cold\":%u,\"refused\":%u,", c.claims, c.cold, c.refused);
        samples_print("all", &all, o->samples);
        printf(",");
        samples_print("claim", &c.claim, o->samples);
        printf("}\n");
}

/* ---- for a while ---- */

struct pace {
        double began, step;
        unsigned sent, behind; /* the most that were due and found no idle connection */
};

static unsigned due(const struct pace *p, const struct crowd *c, double now)
{
        unsigned ticks = p->step > 0 ? (unsigned)((now - p->began) / p->step) + 1 : p->sent + c->idle;

        return ticks > p->sent ? ticks - p->sent : 0;
}

/* Everybody who has nothing to do gets the next thing to do. */
static void give_work(struct crowd *c, struct pace *p)
{
        unsigned waiting = c->over ? 0 : due(p, c, now_ms());

        for (unsigned i = 0; i < c->n; i++) {
                struct member *m = &c->members[i];

                if (m->step == CLAIMED && c->o->command) {
                        send_exec(c, m);
                } else if (m->step == CLAIMED || m->step == DONE) {
                        send_release(c, m);
                } else if (m->step == IDLE && waiting > 0) {
                        send_claim(c, m);
                        p->sent++;
                        waiting--;
                }
        }
        if (waiting > p->behind)
                p->behind = waiting;
}

static void run_until(struct crowd *c, struct pace *p, double end)
{
        while (now_ms() < end) {
                double next = p->step > 0 ? p->began + p->step * p->sent : end;

                give_work(c, p);
                next -= now_ms();
                crowd_step(c, p->step == 0 ? 100 : next > 1 ? (int)next : 0);
        }
}

void mode_sustained(const struct client *o)
{
        static struct crowd c;
        struct pace p = { .step = o->rate > 0 ? 1e3 / o->rate : 0 };
        struct conn conn;

        crowd_open(&c, o, o->connections);
        conn_open(&conn, &o->target);
        wait_until_full(&conn, o);
        p.began = now_ms();
        run_until(&c, &p, p.began + o->warmup * 1e3);
        samples_reset(&c.claim);
        samples_reset(&c.release);
        unsigned claims_before = c.claims, cold_before = c.cold;
        double began = now_ms();
        run_until(&c, &p, began + o->seconds * 1e3);
        double seconds = (now_ms() - began) / 1e3;
        unsigned claims = c.claims - claims_before, cold = c.cold - cold_before;
        c.over = true;
        while (c.idle < c.n) {
                give_work(&c, &p);
                crowd_step(&c, 100);
        }
        wait_until_full(&conn, o);
        double whole = (now_ms() - p.began) / 1e3;
        conn_close(&conn);
        crowd_close(&c);
        printf("{\"claims\":%u,\"cold\":%u,\"refused\":%u,\"behind\":%u,\"per_second\":%.1f,\"whole_claims\":%u,\"whole_per_second\":%.1f,",
               claims, cold, c.refused, p.behind, claims / seconds, c.claims, c.claims / whole);
        samples_print("claim", &c.claim, o->samples);
        printf(",");
        samples_print("release", &c.release, o->samples);
        printf("}\n");
}
