/*
 * `creto-runtime pool`: what there is, how it does, what happened. Tables for people, plain columns for scripts.
 */
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "programs/runtime/pool/pool.h"

int pool_get(struct creto_runtime *rt, const struct pool_line *line)
{
        struct creto_error e;
        char *json = NULL;

        return creto_pool_get(rt, line->id, NULL, &json, &e) < 0 ? cli_error(&e) : cli_json(json);
}

/* ---- list ---- */

static void print_table(const struct creto_pool_info *all, size_t count)
{
        char ready[48], age[32];

        printf("%-24s %-9s %-9s %8s %8s %-8s %-24s %6s\n", "ID", "STATE", "READY", "CLAIMED", "WARMING", "RUNTIME", "IMAGE", "AGE");
        for (size_t i = 0; i < count; i++) {
                const struct creto_pool_info *p = &all[i];

                snprintf(ready, sizeof(ready), "%llu/%llu", (unsigned long long)p->ready, (unsigned long long)p->settings.max_ready);
                printf("%-24s %-9s %-9s %8llu %8llu %-8s %-24.24s %6s\n", p->id, p->state, ready, (unsigned long long)p->claimed,
                       (unsigned long long)p->warming, p->runtime, p->image, cli_age(p->created_ms, age));
        }
}

int pool_list(struct creto_runtime *rt, const struct pool_line *line)
{
        struct creto_pool_info *all = NULL;
        struct creto_error e;
        char *json = NULL;
        size_t count = 0;
        bool people = isatty(STDOUT_FILENO);

        if (creto_pool_list(rt, &all, &count, &json, &e) < 0)
                return cli_error(&e);
        if (!line->json && people)
                print_table(all, count);
        for (size_t i = 0; i < count && !line->json && !people; i++)
                printf("%s\n", all[i].id);
        creto_free(all);
        if (line->json)
                return cli_json(json);
        creto_free(json);
        return 0;
}

/* ---- stats ---- */

static void print_stats(const char *id, const struct creto_pool_stats *s)
{
        printf("Pool: %s\n", id);
        printf("  Ready: %llu/%llu\n", (unsigned long long)s->ready, (unsigned long long)s->max_ready);
        printf("  Claimed: %llu\n", (unsigned long long)s->claimed);
        printf("  Warming: %llu\n", (unsigned long long)s->warming);
        printf("  Claims/min: %g\n", s->claims_per_minute);
        printf("  Avg claim latency: %.2f ms\n", s->mean_ms);
        printf("  P99 claim latency: %.2f ms\n", s->p99_ms);
        printf("  Oldest sandbox age: %llus\n", (unsigned long long)s->oldest_s);
}

static int stats_of(struct creto_runtime *rt, const char *id, int json)
{
        struct creto_pool_stats s;
        struct creto_error e;
        char *text = NULL;

        if (creto_pool_stats(rt, id, &s, &text, &e) < 0)
                return cli_error(&e);
        if (json)
                return cli_json(text);
        creto_free(text);
        print_stats(id, &s);
        return 0;
}

/* {"pools":{"ID":{…},…}} */
static int stats_member(struct creto_runtime *rt, const char *id, bool first)
{
        struct creto_pool_stats s;
        struct creto_error e;
        char *text = NULL;

        if (creto_pool_stats(rt, id, &s, &text, &e) < 0)
                return cli_error(&e);
        printf("%s\"%s\":%.*s", first ? "" : ",", id, (int)strcspn(text, "\n"), text);
        creto_free(text);
        return 0;
}

int pool_stats(struct creto_runtime *rt, const struct pool_line *line)
{
        struct creto_pool_info *all = NULL;
        struct creto_error e;
        size_t count = 0;
        int status = 0;

        if (line->id)
                return stats_of(rt, line->id, line->json);
        if (creto_pool_list(rt, &all, &count, NULL, &e) < 0)
                return cli_error(&e);
        if (line->json)
                printf("{\"pools\":{");
        for (size_t i = 0; i < count && status == 0; i++)
                status = line->json ? stats_member(rt, all[i].id, i == 0) : stats_of(rt, all[i].id, 0);
        if (line->json)
                printf("}}\n");
        creto_free(all);
        return status;
}

/* ---- logs ---- */

static const char *or_dash(const char *text)
{
        return text[0] ? text : "-";
}

static void print_log(const struct creto_pool_log *log, bool people)
{
        if (people)
                printf("%-24s  %-8s %-6s %-16s %s%s%s\n", log->at, log->phase, log->level, or_dash(log->sandbox), log->code,
                       log->code[0] ? ": " : "", log->message);
        else
                printf("%s\t%s\t%s\t%s\t%s\t%s\n", log->at, log->phase, log->level, or_dash(log->sandbox), or_dash(log->code),
                       log->message);
}

int pool_logs(struct creto_runtime *rt, const struct pool_line *line)
{
        struct creto_pool_log *logs = NULL;
        struct creto_error e;
        uint64_t limit = 0;
        char *json = NULL;
        size_t count = 0;
        int status = 0;
        bool people = isatty(STDOUT_FILENO);

        if (line->limit && !pool_number("limit", line->limit, &limit, &status))
                return status;
        if (line->limit && (limit == 0 || limit > 1000000))
                return cli_wrong("", "--limit: '%.64s' is not a number of entries from 1", line->limit);
        if (creto_pool_logs(rt, line->id, line->phase, (unsigned)limit, &logs, &count, &json, &e) < 0)
                return cli_error(&e);
        for (size_t i = 0; i < count && !line->json; i++)
                print_log(&logs[i], people);
        creto_free(logs);
        if (line->json)
                return cli_json(json);
        creto_free(json);
        return 0;
}
