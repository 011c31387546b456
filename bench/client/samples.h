/*
 * Latencies, in ms, and what is said of them.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>

struct samples {
        double *ms;
        size_t n, cap;
};

void samples_add(struct samples *s, double ms);
void samples_reset(struct samples *s);

/* "NAME":{"n","min","p50","p90","p99","p999","max"}, by nearest rank, and with `each` "ms" in the order of their coming. Frees them. */
void samples_print(const char *name, struct samples *s, bool each);
