/*
 * `creto-runtime pool claim` and `release`.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "programs/runtime/pool/pool.h"

/* ---- files ---- */

/* FILE:/PATH is split at the last ":/", for names of files may have one. */
static const char *split(const char *word, char *from, size_t cap)
{
        const char *colon = NULL;

        for (const char *at = word; (at = strstr(at, ":/")); at++)
                colon = at;
        if (!colon || colon == word || (size_t)(colon - word) >= cap)
                return NULL;
        snprintf(from, cap, "%.*s", (int)(colon - word), word);
        return colon + 1;
}

static void free_files(struct creto_claim_file *files, size_t count)
{
        for (size_t i = 0; i < count; i++)
                free((void *)files[i].data);
}

/* Reads them all, or none: the exit status then. */
static int read_files(const struct cli_list *list, struct creto_claim_file *files)
{
        size_t left = CRETO_CLAIM_BYTES_MAX;
        char from[4096];
        int status = 0;

        for (size_t i = 0; i < list->count; i++) {
                const char *path = split(list->items[i].value, from, sizeof(from));

                if (!path)
                        status = cli_wrong("write --file input.json:/home/agent/input.json", "--file: '%.300s' is not FILE:/PATH",
                                           list->items[i].value);
                else if ((files[i].data = pool_file(from, CRETO_CLAIM_BYTES_MAX, &files[i].len, &files[i].mode, &status)) &&
                         files[i].len > left)
                        status = cli_wrong("claim first, and copy the large ones with cp", "--file: they have more than %d bytes in all",
                                           CRETO_CLAIM_BYTES_MAX);
                if (status) {
                        free_files(files, i + 1);
                        return status;
                }
                files[i].path = path;
                left -= files[i].len;
        }
        return 0;
}

/* ---- claim, release ---- */

static int show(const struct pool_line *line, const struct creto_sandbox *sb, const struct creto_claim *claim, char *json)
{
        if (line->json)
                return cli_json(json);
        creto_free(json);
        if (line->quiet) {
                printf("%s\n", creto_sandbox_id(sb));
                return 0;
        }
        printf("Claimed sandbox: %s\nClaim latency: %.2f ms\n", creto_sandbox_id(sb), claim->latency_ms);
        if (!claim->from_pool)
                printf("From pool: no, made for this claim\n");
        return 0;
}

struct claiming {
        struct creto_runtime *rt;
        const struct pool_line *line;
        struct creto_claim_request request;
        struct creto_claim claim;
        struct creto_sandbox *sb;
        char *json;
};

static int claim(struct claiming *c)
{
        struct creto_error e;

        return creto_pool_claim(c->rt, c->line->id, &c->request, &c->sb, &c->claim, &c->json, &e) < 0 ? cli_error(&e) : 0;
}

/* With the command that is about to be run in it; what is written to standard output is the command's. */
static struct creto_sandbox *claim_for(void *ctx, const struct creto_exec_options *o, int *status)
{
        struct claiming *c = ctx;

        c->request.command = o;
        *status = claim(c);
        creto_free(c->json);
        if (c->sb && !c->line->quiet)
                fprintf(stderr, "Claimed sandbox: %s\n", creto_sandbox_id(c->sb));
        return c->sb;
}

int pool_claim(struct creto_runtime *rt, const struct pool_line *line)
{
        struct creto_claim_file files[CRETO_CLAIM_FILES_MAX] = { 0 };
        struct claiming c = { .rt = rt,
                              .line = line,
                              .request = { .options = line->binding.items,
                                           .option_count = line->binding.count,
                                           .files = files,
                                           .file_count = line->files.count,
                                           .no_fallback = line->no_fallback } };
        const struct cli_exec x = { .argv = (const char *const *)line->command, .get = claim_for, .ctx = &c };
        int status = read_files(&line->files, files);

        if (status)
                return status;
        if (line->command)
                status = cli_exec(NULL, &x);
        else if ((status = claim(&c)) == 0)
                status = show(line, c.sb, &c.claim, c.json);
        creto_sandbox_free(c.sb);
        free_files(files, line->files.count);
        return status;
}

static int release_one(struct creto_runtime *rt, const char *id, int want_json)
{
        struct creto_sandbox *sb;
        struct creto_error e;
        char *json = NULL;
        int replaced = 0;

        if (creto_sandbox_open(rt, id, &sb, &e) < 0 || creto_pool_release(sb, &replaced, &json, &e) < 0)
                return cli_error(&e);
        if (want_json)
                return cli_json(json);
        creto_free(json);
        printf("Released sandbox: %s\n", id);
        if (replaced)
                printf("Replaced: yes, a fresh one is warming\n");
        return 0;
}

/* What cannot be released is said, and the others go on. */
int pool_release(struct creto_runtime *rt, const struct pool_line *line)
{
        int status = 0;

        for (size_t i = 0; i < line->word_count; i++) {
                int one = release_one(rt, line->words[i], line->json);

                status = one ? one : status;
        }
        return status;
}
