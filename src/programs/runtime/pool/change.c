/*
 * `creto-runtime pool`: what makes a pool, changes it and ends it.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/str.h"
#include "programs/runtime/pool/pool.h"

enum { TEMPLATE_MAX = 256 * 1024 };

/* ---- settings ---- */

/* Whole seconds, or with a unit: 3600, 1h. */
static bool read_seconds(const char *option, const char *text, uint64_t *out, int *status)
{
        uint64_t ms;

        if (str_parse_ms(text, &ms) && ms % 1000 == 0) {
                *out = ms / 1000;
                return true;
        }
        *status = cli_wrong("write seconds, or a number with s, m, h or d: 3600, 1h", "--%s: '%.64s' is not a time in whole seconds",
                            option, text);
        return false;
}

static bool read_flag(const char *option, const char *text, int *out, int *status)
{
        *out = !text || strcmp(text, "true") == 0;
        if (*out || strcmp(text, "false") == 0)
                return true;
        *status = cli_wrong("", "--%s: '%.64s' is neither true nor false", option, text);
        return false;
}

static bool read_settings(const struct pool_line *line, struct creto_pool_settings *s, int *status)
{
        const struct {
                const char *name, *text;
                enum creto_pool_field field;
                bool (*read)(const char *option, const char *text, uint64_t *out, int *status);
                uint64_t *out;
        } numbers[] = {
                { "min-ready", line->n.min_ready, CRETO_POOL_MIN_READY, pool_number, &s->min_ready },
                { "max-ready", line->n.max_ready, CRETO_POOL_MAX_READY, pool_number, &s->max_ready },
                { "max-age", line->n.max_age, CRETO_POOL_MAX_AGE, read_seconds, &s->max_age_s },
                { "auto-scaling-headroom", line->n.headroom, CRETO_POOL_HEADROOM, pool_number, &s->headroom },
                { "auto-scaling-scale-down", line->n.scale_down, CRETO_POOL_SCALE_DOWN, read_seconds, &s->scale_down_s },
        };

        *s = (struct creto_pool_settings){ 0 };
        for (size_t i = 0; i < sizeof(numbers) / sizeof(numbers[0]); i++) {
                if (!numbers[i].text)
                        continue;
                if (!numbers[i].read(numbers[i].name, numbers[i].text, numbers[i].out, status))
                        return false;
                s->given |= numbers[i].field;
        }
        s->given |= (line->has_reusable ? CRETO_POOL_REUSABLE : 0U) | (line->has_auto_scaling ? CRETO_POOL_AUTO_SCALING : 0U);
        return read_flag("reusable", line->reusable, &s->reusable, status) &&
               read_flag("auto-scaling-enabled", line->auto_scaling, &s->auto_scaling, status);
}

/* ---- create, update ---- */

static const char *format_of(const char *path)
{
        static const struct {
                const char *suffix, *format;
        } all[] = { { ".yaml", "yaml" }, { ".yml", "yaml" }, { ".toml", "toml" }, { ".json", "json" } };
        size_t len = strlen(path);

        for (size_t i = 0; i < sizeof(all) / sizeof(all[0]); i++) {
                size_t n = strlen(all[i].suffix);

                if (len > n && strcmp(path + len - n, all[i].suffix) == 0)
                        return all[i].format;
        }
        return NULL;
}

/* What a change of a pool is answered with: one line, or the pool. */
static int say(int r, const struct pool_line *line, const char *what, const char *id, char *json, const struct creto_error *e)
{
        if (r < 0)
                return cli_error(e);
        if (line->json)
                return cli_json(json);
        creto_free(json);
        printf("%s: %s\n", what, id);
        return 0;
}

int pool_create(struct creto_runtime *rt, const struct pool_line *line)
{
        struct creto_pool_settings s;
        struct creto_error e;
        char *json = NULL;
        size_t len;
        int status = 0;

        if (!line->template)
                return cli_wrong("--template FILE.yaml, .toml or .json: the keys of a spec", "pool create: --template is missing");
        const char *format = format_of(line->template);
        if (!format)
                return cli_wrong("name it .yaml, .toml or .json", "--template: '%.300s' does not say what it is written in",
                                 line->template);
        if (!read_settings(line, &s, &status))
                return status;
        char *text = pool_file(line->template, TEMPLATE_MAX, &len, NULL, &status);
        if (!text)
                return status;
        int r = creto_pool_create(rt, line->id, format, text, len, &s, NULL, &json, &e);
        free(text);
        return say(r, line, "Pool created", line->id, json, &e);
}

int pool_update(struct creto_runtime *rt, const struct pool_line *line)
{
        struct creto_pool_settings s;
        struct creto_error e;
        char *json = NULL;
        int status = 0;

        if (!read_settings(line, &s, &status))
                return status;
        if (!s.given)
                return cli_wrong("'creto-runtime help pool' lists what can be changed", "pool update: there is nothing to change");
        int r = creto_pool_update(rt, line->id, &s, NULL, &json, &e);
        return say(r, line, "Pool updated", line->id, json, &e);
}

/* ---- states ---- */

static int drain(struct creto_runtime *rt, const struct pool_line *line, const char *id)
{
        struct creto_error e;
        char *json = NULL;
        int r = creto_pool_drain(rt, id, NULL, &json, &e);

        return say(r, line, "Pool draining", id, json, &e);
}

/* One that cannot be drained is said, and the others go on. */
static int drain_all(struct creto_runtime *rt, const struct pool_line *line)
{
        struct creto_pool_info *all = NULL;
        struct creto_error e;
        size_t count = 0;
        int status = 0;

        if (creto_pool_list(rt, &all, &count, NULL, &e) < 0)
                return cli_error(&e);
        for (size_t i = 0; i < count; i++) {
                int one = strcmp(all[i].state, "Active") == 0 ? drain(rt, line, all[i].id) : 0;

                status = one ? one : status;
        }
        creto_free(all);
        return status;
}

int pool_drain(struct creto_runtime *rt, const struct pool_line *line)
{
        return line->all ? drain_all(rt, line) : drain(rt, line, line->id);
}

int pool_activate(struct creto_runtime *rt, const struct pool_line *line)
{
        struct creto_error e;
        char *json = NULL;
        int r = creto_pool_activate(rt, line->id, NULL, &json, &e);

        return say(r, line, "Pool active", line->id, json, &e);
}

int pool_delete(struct creto_runtime *rt, const struct pool_line *line)
{
        struct creto_error e;

        if (creto_pool_delete(rt, line->id, &e) < 0)
                return cli_error(&e);
        printf("Pool deleted: %s\n", line->id);
        return 0;
}

/* ---- more and fewer ---- */

static int count_off(struct creto_runtime *rt, const struct pool_line *line, const char *text, const char *what,
                     int (*ask)(struct creto_runtime *, const char *, uint64_t, uint64_t *, char **, struct creto_error *))
{
        struct creto_error e;
        uint64_t count, done = 0;
        char *json = NULL, number[24];
        int status = 0;

        if (!pool_number("count", text, &count, &status))
                return status;
        int r = ask(rt, line->id, count, &done, &json, &e);
        snprintf(number, sizeof(number), "%llu", (unsigned long long)done);
        return say(r, line, what, number, json, &e);
}

int pool_evict(struct creto_runtime *rt, const struct pool_line *line)
{
        if (!line->count)
                return cli_wrong("--count N; more than there are ends all", "pool evict: --count is missing");
        return count_off(rt, line, line->count, "Sandboxes evicted", creto_pool_evict);
}

int pool_spawn(struct creto_runtime *rt, const struct pool_line *line)
{
        return count_off(rt, line, line->count ? line->count : "1", "Sandboxes warming", creto_pool_spawn);
}
