#include "programs/runtime/cli.h"

#include <stdarg.h>
#include <stdio.h>
#include <time.h>

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

int cli_wrong(const char *hint, const char *fmt, ...)
{
        struct creto_error e = { .code = CRETO_E_INVALID_SPEC };
        va_list ap;

        va_start(ap, fmt);
        vsnprintf(e.message, sizeof(e.message), fmt, ap);
        va_end(ap);
        snprintf(e.hint, sizeof(e.hint), "%s", hint);
        return cli_error(&e);
}

int cli_json(char *json)
{
        int status = fputs(json ? json : "", stdout) < 0 || fflush(stdout) != 0;

        creto_free(json);
        return status;
}

const char *cli_age(int64_t since_ms, char out[32])
{
        int64_t s = since_ms ? (int64_t)time(NULL) - since_ms / 1000 : 0;

        if (s < 0)
                s = 0;
        if (s < 120)
                snprintf(out, 32, "%llds", (long long)s);
        else if (s < 7200)
                snprintf(out, 32, "%lldm", (long long)s / 60);
        else if (s < 172800)
                snprintf(out, 32, "%lldh", (long long)s / 3600);
        else
                snprintf(out, 32, "%lldd", (long long)s / 86400);
        return out;
}
