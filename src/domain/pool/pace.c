#include "domain/pool/pace.h"

enum {
        WINDOW_MS = 500,   /* a window lasts so long, */
        WINDOW_ROUNDS = 2, /* and so many times as many as may be under way are made in it: a slow class has longer windows */
        IDLE_MS = 100,     /* a gap in which none was under way ends the window that it is in */
        HOLD = 8,          /* windows between two trials */
        BUSY_PERCENT = 70, /* less than this share of what may be under way was: there was too little to do */
        LOSS_PERCENT = 1,  /* what one fewer may cost at most, */
        GAIN_PERCENT = 2,  /* and one more must bring at least: that */
        GAIN_OF_FAIR = 8,  /* and an eighth of the gain that would be fair: twice as many, twice as much */
        BACKOFF_DOUBLINGS = 7,
        BACKOFF_TOP = 40000, /* jitter adds up to half of it */
};

static unsigned clamp(unsigned n)
{
        return n < 1 ? 1 : n > PACE_PARALLEL_MAX ? PACE_PARALLEL_MAX : n;
}

void pace_init(struct pace *p, unsigned cores)
{
        *p = (struct pace){ .parallel = clamp(cores), .next = 1, .hold = 1 };
}

unsigned pace_parallel(const struct pace *p)
{
        return clamp(p->parallel);
}

static void window_begin(struct pace *p, uint64_t at_ms)
{
        p->begin_ms = at_ms;
        p->made = 0;
        p->took_ms = 0;
}

static void change(struct pace *p, unsigned to)
{
        p->settle = p->parallel > to ? p->parallel : to;
        p->parallel = to;
}

/* The number that is tried, from the one that is held. Larger numbers are left in larger steps. */
static unsigned tried(unsigned held, int direction)
{
        unsigned step = 1 + held / 8;

        return direction > 0 ? clamp(held + step) : clamp(held > step ? held - step : 1);
}

static void hold(struct pace *p, int next)
{
        p->trial = 0;
        p->next = next;
        p->hold = HOLD;
}

static void begin_trial(struct pace *p, int direction)
{
        unsigned n = tried(p->parallel, direction);

        if (n == p->parallel) { /* at an end */
                hold(p, -direction);
                return;
        }
        p->trial = direction;
        p->before = p->parallel;
        change(p, n);
}

static bool trial_worked(const struct pace *p, double rate)
{
        double fair = (double)p->parallel / p->before - 1, gain = fair / GAIN_OF_FAIR, least = GAIN_PERCENT / 100.0;

        if (p->trial < 0)
                return rate >= p->per_second * (1 - LOSS_PERCENT / 100.0);
        return rate >= p->per_second * (1 + (gain > least ? gain : least));
}

static void judge(struct pace *p, double rate)
{
        if (p->trial == 0) {
                p->per_second = p->per_second > 0 ? (p->per_second + rate) / 2 : rate;
                if (--p->hold == 0)
                        begin_trial(p, p->next);
        } else if (trial_worked(p, rate)) {
                if (p->trial > 0) /* else each step down would be judged by the one before, and many small losses pass */
                        p->per_second = rate;
                begin_trial(p, p->trial);
        } else {
                change(p, p->before);
                hold(p, -p->trial);
        }
}

void pace_made(struct pace *p, uint64_t took_ms, uint64_t now_ms)
{
        uint64_t began = took_ms < now_ms ? now_ms - took_ms : 0;

        if (p->last_ms == 0 || began > p->last_ms + IDLE_MS)
                window_begin(p, began);
        p->last_ms = now_ms;
        if (p->settle > 0) {
                p->settle--;
                window_begin(p, now_ms);
                return;
        }
        p->made++;
        p->took_ms += (double)took_ms;

        uint64_t lasted = now_ms - p->begin_ms;

        if (lasted < WINDOW_MS || p->made < WINDOW_ROUNDS * p->parallel)
                return;
        double busy = p->took_ms / (double)lasted, rate = p->made * 1000.0 / (double)lasted;

        window_begin(p, now_ms);
        if (busy * 100 >= BUSY_PERCENT * (double)p->parallel)
                judge(p, rate);
}

void backoff_failed(struct backoff *b, uint64_t now_ms, uint8_t jitter)
{
        uint64_t ms = b->failures < BACKOFF_DOUBLINGS ? PACE_BACKOFF_MS << b->failures : BACKOFF_TOP;

        if (b->failures < UINT32_MAX)
                b->failures++;
        b->until_ms = now_ms + ms + ms / 2 * jitter / 255;
}

void backoff_worked(struct backoff *b)
{
        *b = (struct backoff){ 0 };
}

uint64_t backoff_wait(const struct backoff *b, uint64_t now_ms)
{
        return b->until_ms > now_ms ? b->until_ms - now_ms : 0;
}

/* Neighbouring seeds far apart: Knuth's multiplicative hash. */
uint64_t pool_old_at(uint64_t born_ms, uint64_t max_age_ms, uint32_t seed)
{
        double part = (seed * 2654435769U) / 4294967296.0;

        if (max_age_ms == 0 || born_ms > UINT64_MAX - max_age_ms)
                return UINT64_MAX;
        return born_ms + max_age_ms - (uint64_t)((double)(max_age_ms / 10) * part);
}
