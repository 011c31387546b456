#include "samples.h"

#include <stdio.h>
#include <stdlib.h>

#include "conn.h"

void samples_add(struct samples *s, double ms)
{
        if (s->n == s->cap) {
                s->cap = s->cap ? 2 * s->cap : 4096;
                s->ms = realloc(s->ms, s->cap * sizeof(*s->ms));
                if (!s->ms)
                        fail("memory");
        }
        s->ms[s->n++] = ms;
}

void samples_reset(struct samples *s)
{
        s->n = 0;
}

static int compare(const void *a, const void *b)
{
        double x = *(const double *)a, y = *(const double *)b;

        return (x > y) - (x < y);
}

static double rank(const double *ordered, size_t n, size_t per_mille)
{
        size_t at = (n * per_mille + 999) / 1000;

        return ordered[at > 0 ? at - 1 : 0];
}

void samples_print(const char *name, struct samples *s, bool each)
{
        static const struct {
                const char *name;
                size_t per_mille;
        } ranks[] = { { "min", 0 }, { "p50", 500 }, { "p90", 900 }, { "p99", 990 }, { "p999", 999 }, { "max", 1000 } };

        printf("\"%s\":{\"n\":%zu", name, s->n);
        if (each) {
                printf(",\"ms\":[");
                for (size_t i = 0; i < s->n; i++)
                        printf("%s%.4f", i ? "," : "", s->ms[i]);
                printf("]");
        }
        if (s->n > 0)
                qsort(s->ms, s->n, sizeof(*s->ms), compare);
        for (size_t i = 0; s->n > 0 && i < sizeof(ranks) / sizeof(ranks[0]); i++)
                printf(",\"%s\":%.4f", ranks[i].name, rank(s->ms, s->n, ranks[i].per_mille));
        printf("}");
        free(s->ms);
        *s = (struct samples){ 0 };
}
