/*
 * creto-runtime events: a JSON object a line, as they happen.
 */
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/str.h"
#include "programs/runtime/cli.h"

struct show {
        uint64_t left; /* 0: without end */
        int json;
};

static int show(void *ctx, const struct creto_event *event)
{
        struct show *s = ctx;

        if (s->json)
                printf("%s\n", event->json);
        else
                printf("%s\t%s\n", event->name, event->json);
        if (fflush(stdout) != 0)
                return 1; /* nobody reads it */
        return s->left > 0 && --s->left == 0;
}

int cmd_events(int argc, char **argv)
{
        const char *after = NULL, *limit = NULL;
        struct show s = { 0 };
        const struct cli_option options[] = { { "after", 0, &after, NULL }, { "limit", 0, &limit, NULL }, { "json", 0, NULL, &s.json } };
        struct creto_error e;
        int n = cli_options(argc, argv, options, sizeof(options) / sizeof(options[0]), NULL), status;

        if (n == 0)
                return 64;
        if (n > 2 || (limit && (!str_parse_u64(limit, &s.left) || s.left == 0)))
                return cli_usage("events [ID] [--after EVENT] [--limit N] [--json]");
        struct creto_runtime *rt = cli_connect(&status);
        if (!rt)
                return status;
        status = creto_events(rt, n == 2 ? argv[1] : NULL, after, show, &s, &e) < 0 ? cli_error(&e) : 0;
        creto_close(rt);
        return status;
}
