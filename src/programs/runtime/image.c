/*
 * `creto-runtime image`: the image store.
 */
#include <stdio.h>
#include <string.h>

#include "programs/runtime/cli.h"

int cmd_image(int argc, char **argv)
{
        struct creto_open_options options = { .flags = CRETO_DROP_ROOT, .image_fd = -1, .auth_fd = -1 };
        struct creto_runtime *rt;
        struct creto_error e;
        int status = 70;
        const struct {
                const char *name;
                int operands;
        } verbs[] = { { "list", 0 }, { "pull", 1 }, { "rm", 1 }, { "prune", 0 } };
        size_t i = 0;

        while (i < 4 && (argc < 2 || strcmp(verbs[i].name, argv[1]) != 0))
                i++;
        if (i == 4 || argc != 2 + verbs[i].operands)
                return cli_usage("image list | image pull REF | image rm REF | image prune");
        if (strcmp(argv[1], "pull") == 0 && creto_open_sources(argv[2], &options, &e) < 0)
                return cli_error(&e);
        if (creto_open(&options, &rt, &e) < 0)
                return cli_error(&e);
        if (creto_image(rt, argv[1], argv[2], &status, &e) < 0)
                status = cli_error(&e);
        creto_close(rt);
        return status;
}
