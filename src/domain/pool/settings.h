/*
 * What an operator says of a warm pool, and its bounds. Pure.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"

enum {
        POOL_ID_MAX = 63,         /* a DNS label: letters, digits, '-' */
        POOL_READY_MAX = 10000,   /* sandboxes kept ready by one pool */
        POOL_HEADROOM_MAX = 1000, /* percent */
        POOL_HEADROOM = 20,
        POOL_SCALE_DOWN_S = 300,
        POOL_SECONDS_MAX = 30 * 24 * 3600,
};

enum pool_state { POOL_ACTIVE, POOL_DRAINING, POOL_DELETING };

struct pool_settings {
        uint64_t min_ready, max_ready; /* as wide as what is read: the check refuses what is too much */
        uint64_t max_age_s;            /* 0: they do not age */
        bool reusable;                 /* a released one is replaced at once, on its slot */
        bool auto_scaling;
        uint64_t headroom;     /* percent above what the claim rate asks for */
        uint64_t scale_down_s; /* how long less must have been enough before the pool shrinks */
};

void pool_settings_default(struct pool_settings *s);

/* INVALID_SPEC that names the field as the API does, its value and its bound. */
int pool_settings_check(const struct pool_settings *s, struct err *e);

int pool_id_check(const char *id, struct err *e);

const char *pool_state_name(enum pool_state state); /* "Active" */
