#include "programs/runtime/cli.h"

#include <errno.h>
#include <stdio.h>

#include "base/err.h"

int cli_error(const struct creto_error *e)
{
        fprintf(stderr, "creto-runtime: %s\n", e->message);
        if (e->hint[0])
                fprintf(stderr, "hint: %s\n", e->hint);
        return err_code_exit((enum err_code)e->code);
}

int cli_usage(const char *text)
{
        fprintf(stderr, "usage: creto-runtime %s\n", text);
        return 64;
}

void cli_note(const char *text)
{
        fprintf(stderr, "creto-runtime: %s\n", text);
}
