/*
 * What the commands of `creto-runtime pool` share: the line as it was written, and one function a command.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>

#include "programs/runtime/cli.h"

/* Everything NULL or 0: not written. */
struct pool_line {
        const char *id; /* the pool */
        char **words;   /* of release: sandboxes */
        size_t word_count;
        const char *template, *phase, *limit, *count;
        struct pool_numbers {
                const char *min_ready, *max_ready, *max_age, *headroom, *scale_down;
        } n;
        const char *reusable, *auto_scaling; /* "true", "false"; NULL with the switch below: true */
        int has_reusable, has_auto_scaling;
        int json, all, quiet, no_fallback;
        struct cli_list binding, files; /* of claim */
        char **command;                 /* likewise: what stands behind `--` */
};

/* Each is called with a handle of the service, and returns the exit status. */
int pool_create(struct creto_runtime *rt, const struct pool_line *line);
int pool_update(struct creto_runtime *rt, const struct pool_line *line);
int pool_get(struct creto_runtime *rt, const struct pool_line *line);
int pool_list(struct creto_runtime *rt, const struct pool_line *line);
int pool_stats(struct creto_runtime *rt, const struct pool_line *line);
int pool_logs(struct creto_runtime *rt, const struct pool_line *line);
int pool_drain(struct creto_runtime *rt, const struct pool_line *line);
int pool_activate(struct creto_runtime *rt, const struct pool_line *line);
int pool_evict(struct creto_runtime *rt, const struct pool_line *line);
int pool_spawn(struct creto_runtime *rt, const struct pool_line *line);
int pool_delete(struct creto_runtime *rt, const struct pool_line *line);
int pool_claim(struct creto_runtime *rt, const struct pool_line *line);
int pool_release(struct creto_runtime *rt, const struct pool_line *line);

/* A whole number of an option; false where it is none: then that was said, and *status is what to end with. */
bool pool_number(const char *option, const char *text, uint64_t *out, int *status);

/* A file of at most `max` bytes; NULL: that was said. The caller frees it. */
char *pool_file(const char *path, size_t max, size_t *len, unsigned *mode, int *status);
