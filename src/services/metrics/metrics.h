/*
 * The daemon's metrics, in Prometheus' text format. One table of families (metrics.c); a series is made when it is first counted. One thread, no I/O.
 *
 * The names are those of the contract. What a tenant can make more of is bounded: a family has at most METRICS_SERIES_MAX series, and what comes then is
 * counted in one that is labelled "other".
 */
#pragma once

#include "base/buf.h"
#include "base/err.h"

enum { METRICS_SERIES_MAX = 2048, METRICS_LABEL_MAX = 96 };

#define METRICS_TYPE "text/plain; version=0.0.4; charset=utf-8"

enum metric {
        METRIC_SPAWN_LATENCY,
        METRIC_EXEC_LATENCY,
        METRIC_SANDBOXES,
        METRIC_SANDBOXES_TOTAL,
        METRIC_VIOLATIONS,
        METRIC_POOL_CLAIM_LATENCY,
        METRIC_POOL_READY, /* of each pool: set when they are asked for */
        METRIC_POOL_CLAIMED,
        METRIC_POOL_WARMING,
        METRIC_POOL_MIN_READY,
        METRIC_POOL_CLAIM_RATE,
        METRIC_POOL_COLD_CLAIMS,
        METRIC_POOL_FAILURES,
        METRIC_HTTP_REQUESTS,
        METRIC_HTTP_DURATION,
        METRIC_HTTP_CONNECTIONS,
        METRIC_WARDEN_RESTARTS,
        METRIC_REFUSED,
        METRIC_OUTPUT_BYTES,
        METRIC_BUILD,
        METRIC_BOX_CPU, /* of sandboxes: OpenTelemetry's names where there are some */
        METRIC_BOX_MEMORY,
        METRIC_BOX_DISK,
        METRIC_BOX_NETWORK,
        METRIC_BOX_PIDS,
        METRIC_MEMORY,
        METRIC_CPU,
        METRIC_FDS,
        METRIC_START,
        METRIC_COUNT,
};

struct metrics;

int metrics_new(struct metrics **out, struct err *e);

/* `labels`: the values of the family's labels, NULL-ended, or NULL where it has none. */
void metrics_add(struct metrics *m, enum metric which, const char *const *labels, double value);
void metrics_set(struct metrics *m, enum metric which, const char *const *labels, double value);
void metrics_observe(struct metrics *m, enum metric which, const char *const *labels, double seconds);
/* All series of a family. */
void metrics_clear(struct metrics *m, enum metric which);
/* Every series whose first label has this name and this value. */
void metrics_forget(struct metrics *m, const char *name, const char *value);

void metrics_http(struct metrics *m, const char *method, const char *route, int status, double seconds);

void metrics_render(struct metrics *m, struct wbuf *out);
