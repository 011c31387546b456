#include "client.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { FULL_STEP_MS = 2, FULL_MS = 120000 };

static volatile sig_atomic_t stopped;

static void on_term(int sig)
{
        stopped = sig;
}

bool client_stopped(void)
{
        return stopped;
}

void client_stops(void)
{
        struct sigaction sa = { .sa_handler = on_term, .sa_flags = SA_RESTART };

        sigaction(SIGTERM, &sa, NULL);
}

void want_status(const struct conn *c, int wanted)
{
        if (c->status == wanted)
                return;
        fprintf(stderr, "bench-pool: %.60s: %.400s\n", c->request, c->room);
        exit(1);
}

void want_output(const struct conn *c, const struct client *o)
{
        if (!o->wanted || strstr(c->body, o->wanted))
                return;
        fprintf(stderr, "bench-pool: a command did not say what it should: %.400s\n", c->body);
        exit(1);
}

void prepare_claim(struct conn *c, const struct client *o)
{
        conn_prepare(c, &o->target, "POST", o->claim_path, o->one && o->events, o->claim);
}

void prepare_release(struct conn *c, const struct client *o, const char *id)
{
        char path[PATH_ROOM];

        if (o->pool)
                snprintf(path, sizeof(path), "/v1/warm-pools/%s/release/%s", o->pool, id);
        else
                snprintf(path, sizeof(path), "/v1/sandboxes/%s", id);
        conn_prepare(c, &o->target, o->pool ? "POST" : "DELETE", path, false, "");
}

void prepare_exec(struct conn *c, const struct client *o, const char *id)
{
        char path[PATH_ROOM];

        snprintf(path, sizeof(path), "/v1/sandboxes/%s/exec", id);
        conn_prepare(c, &o->target, "POST", path, o->events, o->command);
}

bool read_claim(const struct conn *c, struct claimed *out)
{
        const char *at = strstr(c->body, "\"sandboxId\":\"");
        size_t n = at ? strcspn(at + 13, "\"") : 0;

        if (c->status != 200 && c->status != 201)
                return false;
        if (n == 0 || n >= ID_ROOM)
                fail("an answer without an id");
        memcpy(out->id, at + 13, n);
        out->id[n] = '\0';
        out->cold = !strstr(c->body, "\"fromPool\":true");
        return true;
}

long number_of(const char *body, const char *name)
{
        char key[64];

        snprintf(key, sizeof(key), "\"%s\":", name);
        const char *at = strstr(body, key);
        return at ? strtol(at + strlen(key), NULL, 10) : -1;
}

void wait_until_full(struct conn *c, const struct client *o)
{
        double end = now_ms() + FULL_MS;
        char path[PATH_ROOM];

        if (!o->pool)
                return;
        snprintf(path, sizeof(path), "/v1/warm-pools/%s", o->pool);
        while (now_ms() < end) {
                conn_prepare(c, &o->target, "GET", path, false, "");
                conn_ask(c);
                want_status(c, 200);
                if (number_of(c->body, "readyCount") >= number_of(c->body, "targetReady") && number_of(c->body, "warmingCount") == 0 &&
                    number_of(c->body, "claimedCount") == 0)
                        return;
                sleep_until(now_ms() + FULL_STEP_MS);
        }
        fprintf(stderr, "bench-pool: the pool is not full: %.1000s\n", c->body);
        exit(1);
}

void aside_open(struct aside *a, const struct client *o)
{
        *a = (struct aside){ 0 };
        for (unsigned i = 0; i < ASIDE; i++)
                conn_open(&a->conns[i], &o->target);
}

static void take_answer(struct aside *a, unsigned i)
{
        if (!a->busy[i])
                return;
        while (!conn_read(&a->conns[i]))
                ;
        want_status(&a->conns[i], 200);
        a->busy[i] = false;
}

void aside_release(struct aside *a, const struct client *o, const char *id)
{
        unsigned i = a->turn++ % ASIDE;

        take_answer(a, i);
        prepare_release(&a->conns[i], o, id);
        conn_send(&a->conns[i]);
        a->busy[i] = true;
}

void aside_close(struct aside *a)
{
        for (unsigned i = 0; i < ASIDE; i++) {
                take_answer(a, i);
                conn_close(&a->conns[i]);
        }
}

void sleep_until(double ms)
{
        struct timespec t = { .tv_sec = (time_t)(ms / 1e3) };

        t.tv_nsec = (long)((ms - (double)t.tv_sec * 1e3) * 1e6);
        clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &t, NULL);
}
