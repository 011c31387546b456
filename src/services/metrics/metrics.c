#include "services/metrics/metrics.h"

#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/text.h"
#include "base/time.h"

enum { LABELS_MAX = 3, BUCKETS = 17 };

/* From a claim that takes 0.1 ms to a spawn that an image has to be pulled for; about three to a decade, and both 3 s, which an alert asks about, and 10 s. */
static const double bounds[BUCKETS] = { 0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2, 3, 5, 10 };

enum kind { COUNTER, GAUGE, HISTOGRAM, UNTYPED };

static const struct family {
        const char *name;
        enum kind kind;
        const char *help;
        const char *labels[LABELS_MAX + 1];
} families[METRIC_COUNT] = {
        [METRIC_SPAWN_LATENCY] = { "creto_runtime_spawn_latency_seconds",
                                   HISTOGRAM,
                                   "From a request to a sandbox that is Ready.",
                                   { "backend" } },
        [METRIC_EXEC_LATENCY] = { "creto_runtime_exec_latency_seconds", HISTOGRAM, "From a request to a command that runs.", { NULL } },
        [METRIC_SANDBOXES] = { "creto_runtime_sandboxes", GAUGE, "Sandboxes by status.", { "status" } },
        [METRIC_SANDBOXES_TOTAL] = { "creto_runtime_sandboxes_total",
                                     UNTYPED,
                                     "The same under the name that dashboards know.",
                                     { "status" } },
        [METRIC_VIOLATIONS] = { "creto_runtime_syscall_violations_total", COUNTER, "Attack calls that were refused.", { "sandbox_id" } },
        [METRIC_POOL_CLAIM_LATENCY] = { "creto_runtime_pool_claim_latency_seconds",
                                        HISTOGRAM,
                                        "From a claim to the answer of the sandbox.",
                                        { "pool_id" } },
        /* gauges, but promtool takes a gauge's name for a histogram's where it ends with _count */
        [METRIC_POOL_READY] = { "creto_runtime_pool_ready_count", UNTYPED, "Sandboxes of a pool that wait for a claim.", { "pool_id" } },
        [METRIC_POOL_CLAIMED] = { "creto_runtime_pool_claimed_count", UNTYPED, "Sandboxes of a pool that are claimed.", { "pool_id" } },
        [METRIC_POOL_WARMING] = { "creto_runtime_pool_warming_count", UNTYPED, "Sandboxes of a pool that are being made.", { "pool_id" } },
        [METRIC_POOL_MIN_READY] = { "creto_runtime_pool_min_ready", GAUGE, "How many a pool keeps ready at least.", { "pool_id" } },
        [METRIC_POOL_CLAIM_RATE] = { "creto_runtime_pool_claims_per_minute", GAUGE, "Claims of the last minute.", { "pool_id" } },
        [METRIC_POOL_COLD_CLAIMS] = { "creto_runtime_pool_cold_claims_total", COUNTER, "Claims that found none ready.", { "pool_id" } },
        [METRIC_POOL_FAILURES] = { "creto_runtime_pool_failures_total",
                                   COUNTER,
                                   "Sandboxes that could not be made for a pool.",
                                   { "pool_id" } },
        [METRIC_HTTP_REQUESTS] = { "creto_runtime_http_requests_total", COUNTER, "Requests answered.", { "method", "route", "code" } },
        [METRIC_HTTP_DURATION] = { "creto_runtime_http_request_duration_seconds",
                                   HISTOGRAM,
                                   "From the head of a request to its answer.",
                                   { "route" } },
        [METRIC_HTTP_CONNECTIONS] = { "creto_runtime_http_connections", GAUGE, "Connections that are open.", { NULL } },
        [METRIC_WARDEN_RESTARTS] = { "creto_runtime_warden_restarts_total", COUNTER, "Times that the warden went away.", { NULL } },
        [METRIC_REFUSED] = { "creto_runtime_admission_refused_total",
                             COUNTER,
                             "Sandboxes refused for want of a resource.",
                             { "resource" } },
        [METRIC_OUTPUT_BYTES] = { "creto_runtime_exec_output_bytes_total", COUNTER, "Bytes that commands have written.", { NULL } },
        [METRIC_BUILD] = { "creto_runtime_build_info", GAUGE, "The version that runs.", { "version" } },
        [METRIC_BOX_CPU] = { "container_cpu_time_seconds_total", COUNTER, "CPU time of a sandbox.", { "sandbox_id" } },
        [METRIC_BOX_MEMORY] = { "container_memory_usage_bytes", GAUGE, "Memory of a sandbox.", { "sandbox_id" } },
        [METRIC_BOX_DISK] = { "container_filesystem_usage_bytes",
                              GAUGE,
                              "What a sandbox has written, when it was last looked at.",
                              { "sandbox_id" } },
        [METRIC_BOX_NETWORK] = { "container_network_io_bytes_total",
                                 COUNTER,
                                 "Bytes over the network of a sandbox.",
                                 { "sandbox_id", "direction" } },
        [METRIC_BOX_PIDS] = { "creto_runtime_sandbox_pids", GAUGE, "Processes and threads of a sandbox.", { "sandbox_id" } },
        [METRIC_MEMORY] = { "process_resident_memory_bytes", GAUGE, "Resident memory of the daemon.", { NULL } },
        [METRIC_CPU] = { "process_cpu_seconds_total", COUNTER, "CPU time of the daemon.", { NULL } },
        [METRIC_FDS] = { "process_open_fds", GAUGE, "Open files of the daemon.", { NULL } },
        [METRIC_START] = { "process_start_time_seconds", GAUGE, "When the daemon was started, since 1970.", { NULL } },
};

struct series {
        struct series *next;
        double value; /* of a histogram: the sum */
        uint64_t counts[BUCKETS + 1];
        char labels[LABELS_MAX][METRICS_LABEL_MAX + 1];
};

struct metrics {
        struct series *first[METRIC_COUNT];
        unsigned count[METRIC_COUNT];
};

int metrics_new(struct metrics **out, struct err *e)
{
        struct metrics *m = calloc(1, sizeof(*m));
        static const char *const version[] = { CRETO_VERSION, NULL }, *const native[] = { "native", NULL };

        if (!m)
                return err_set(e, ERR_RESOURCE_EXHAUSTED, 0, "out of memory");
        metrics_set(m, METRIC_BUILD, version, 1);
        metrics_set(m, METRIC_START, NULL, (double)time_wall_ms() / 1000);
        metrics_add(m, METRIC_WARDEN_RESTARTS, NULL, 0);
        metrics_add(m, METRIC_SPAWN_LATENCY, native, 0);
        *out = m;
        return 0;
}

static bool same(const struct series *s, const struct family *f, const char *const *labels)
{
        for (unsigned i = 0; f->labels[i]; i++)
                if (strncmp(s->labels[i], labels[i], METRICS_LABEL_MAX) != 0)
                        return false;
        return true;
}

/* The one that was found is put in front: a few are counted over and over. */
static struct series *find(struct metrics *m, enum metric which, const char *const *labels)
{
        static const char *const other[] = { "other", "other", "other", NULL };
        const struct family *f = &families[which];
        struct series *s;

        for (struct series **at = &m->first[which]; (s = *at); at = &s->next)
                if (same(s, f, labels)) {
                        *at = s->next;
                        s->next = m->first[which];
                        m->first[which] = s;
                        return s;
                }
        if (m->count[which] >= METRICS_SERIES_MAX && labels != other)
                return find(m, which, other);
        if (!(s = calloc(1, sizeof(*s))))
                return NULL;
        for (unsigned i = 0; f->labels[i]; i++)
                snprintf(s->labels[i], sizeof(s->labels[i]), "%s", labels[i]);
        s->next = m->first[which];
        m->first[which] = s;
        m->count[which]++;
        return s;
}

void metrics_add(struct metrics *m, enum metric which, const char *const *labels, double value)
{
        struct series *s = find(m, which, labels);

        if (s)
                s->value += value;
}

void metrics_set(struct metrics *m, enum metric which, const char *const *labels, double value)
{
        struct series *s = find(m, which, labels);

        if (s)
                s->value = value;
}

void metrics_observe(struct metrics *m, enum metric which, const char *const *labels, double seconds)
{
        struct series *s = find(m, which, labels);
        unsigned i = 0;

        if (!s)
                return;
        while (i < BUCKETS && seconds > bounds[i])
                i++;
        s->counts[i]++;
        s->value += seconds;
}

void metrics_clear(struct metrics *m, enum metric which)
{
        while (m->first[which]) {
                struct series *s = m->first[which];

                m->first[which] = s->next;
                free(s);
        }
        m->count[which] = 0;
}

void metrics_forget(struct metrics *m, const char *name, const char *value)
{
        for (unsigned i = 0; i < METRIC_COUNT; i++)
                for (struct series **at = &m->first[i]; *at && families[i].labels[0] && strcmp(families[i].labels[0], name) == 0;) {
                        struct series *s = *at;

                        if (strcmp(s->labels[0], value) != 0) {
                                at = &s->next;
                                continue;
                        }
                        *at = s->next;
                        m->count[i]--;
                        free(s);
                }
}

void metrics_http(struct metrics *m, const char *method, const char *route, int status, double seconds)
{
        char code[16];
        const char *const all[] = { method, route, code, NULL }, *const one[] = { route, NULL };

        snprintf(code, sizeof(code), "%d", status);
        metrics_add(m, METRIC_HTTP_REQUESTS, all, 1);
        metrics_observe(m, METRIC_HTTP_DURATION, one, seconds);
}

/* ---- rendering ---- */

static void put_labels(struct wbuf *w, const struct family *f, const struct series *s, const char *extra)
{
        bool any = false;

        for (unsigned i = 0; f->labels[i]; i++) {
                text_printf(w, "%s%s=\"", any ? "," : "{", f->labels[i]);
                for (const char *c = s->labels[i]; *c; c++)
                        text_printf(w, *c == '\n' ? "\\n" : *c == '"' || *c == '\\' ? "\\%c" : "%c", *c);
                text_printf(w, "\"");
                any = true;
        }
        if (extra)
                text_printf(w, "%s%s", any ? "," : "{", extra);
        if (any || extra)
                text_printf(w, "}");
}

static void put_histogram(struct wbuf *w, const struct family *f, const struct series *s)
{
        uint64_t sum = 0;
        char bound[48];

        for (unsigned i = 0; i <= BUCKETS; i++) {
                sum += s->counts[i];
                if (i < BUCKETS)
                        snprintf(bound, sizeof(bound), "le=\"%g\"", bounds[i]);
                else
                        snprintf(bound, sizeof(bound), "le=\"+Inf\"");
                text_printf(w, "%s_bucket", f->name);
                put_labels(w, f, s, bound);
                text_printf(w, " %llu\n", (unsigned long long)sum);
        }
        text_printf(w, "%s_sum", f->name);
        put_labels(w, f, s, NULL);
        text_printf(w, " %.9g\n%s_count", s->value, f->name);
        put_labels(w, f, s, NULL);
        text_printf(w, " %llu\n", (unsigned long long)sum);
}

static void look_at_ourselves(struct metrics *m)
{
        struct rusage use;
        char text[256];
        unsigned fds = 0;
        unsigned long pages;
        DIR *d = opendir("/proc/self/fd");

        while (d && readdir(d))
                fds++;
        if (d)
                closedir(d);
        if (fds > 3)
                metrics_set(m, METRIC_FDS, NULL, fds - 3); /* . and .. and the directory itself */
        if (getrusage(RUSAGE_SELF, &use) == 0)
                metrics_set(m, METRIC_CPU, NULL,
                            (double)(use.ru_utime.tv_sec + use.ru_stime.tv_sec) +
                                    (double)(use.ru_utime.tv_usec + use.ru_stime.tv_usec) / 1e6);
        if (fd_read_file(AT_FDCWD, "/proc/self/statm", text, sizeof(text)) > 0 && sscanf(text, "%*u %lu", &pages) == 1)
                metrics_set(m, METRIC_MEMORY, NULL, (double)pages * (double)sysconf(_SC_PAGESIZE));
}

void metrics_render(struct metrics *m, struct wbuf *out)
{
        static const char *const kinds[] = { "counter", "gauge", "histogram", "untyped" };

        look_at_ourselves(m);
        for (unsigned i = 0; i < METRIC_COUNT; i++) {
                const struct family *f = &families[i];

                text_printf(out, "# HELP %s %s\n# TYPE %s %s\n", f->name, f->help, f->name, kinds[f->kind]);
                for (const struct series *s = m->first[i]; s; s = s->next) {
                        if (f->kind == HISTOGRAM) {
                                put_histogram(out, f, s);
                                continue;
                        }
                        text_printf(out, "%s", f->name);
                        put_labels(out, f, s, NULL);
                        text_printf(out, " %.15g\n", s->value);
                }
        }
}
