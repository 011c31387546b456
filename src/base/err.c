#include "base/err.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

static const struct {
        const char *name;
        int http;
        int exit;
        enum err_retry retry;
        const char *text;
} table[ERR_CODE_COUNT] = {
        [ERR_NONE] = { "NONE", 200, 0, ERR_RETRY_NEVER, "no error" },
#define X(name, http, exit, retry, text) [ERR_##name] = { #name, http, exit, ERR_RETRY_##retry, text },
#include "base/err_codes.def"
#undef X
};

__attribute__((format(printf, 4, 0))) static int err_vset(struct err *e, enum err_code code, int sys, const char *fmt, va_list ap)
{
        int n = vsnprintf(e->msg, sizeof(e->msg), fmt, ap);

        e->code = code;
        e->sys = sys;
        e->hint[0] = '\0';
        if (sys != 0 && n >= 0 && (size_t)n < sizeof(e->msg))
                snprintf(e->msg + n, sizeof(e->msg) - (size_t)n, ": %s", strerror(sys));
        return -(int)code;
}

int err_set(struct err *e, enum err_code code, int sys, const char *fmt, ...)
{
        va_list ap;

        va_start(ap, fmt);
        int r = err_vset(e, code, sys, fmt, ap);
        va_end(ap);
        return r;
}

int err_sys(struct err *e, const char *fmt, ...)
{
        int sys = errno;
        va_list ap;

        va_start(ap, fmt);
        int r = err_vset(e, ERR_INTERNAL_ERROR, sys, fmt, ap);
        va_end(ap);
        return r;
}

int err_wrap(struct err *e, const char *fmt, ...)
{
        char inner[ERR_MSG_MAX];
        va_list ap;

        memcpy(inner, e->msg, sizeof(inner));
        va_start(ap, fmt);
        int n = vsnprintf(e->msg, sizeof(e->msg), fmt, ap);
        va_end(ap);
        if (n >= 0 && (size_t)n < sizeof(e->msg))
                snprintf(e->msg + n, sizeof(e->msg) - (size_t)n, ": %s", inner);
        return -(int)e->code;
}

int err_hint(struct err *e, const char *fmt, ...)
{
        va_list ap;

        va_start(ap, fmt);
        vsnprintf(e->hint, sizeof(e->hint), fmt, ap);
        va_end(ap);
        return -(int)e->code;
}

const char *err_code_name(enum err_code code)
{
        return (unsigned)code < ERR_CODE_COUNT ? table[code].name : "INTERNAL_ERROR";
}

int err_code_http(enum err_code code)
{
        return (unsigned)code < ERR_CODE_COUNT ? table[code].http : 500;
}

int err_code_exit(enum err_code code)
{
        return (unsigned)code < ERR_CODE_COUNT ? table[code].exit : 70;
}

enum err_retry err_code_retry(enum err_code code)
{
        return (unsigned)code < ERR_CODE_COUNT ? table[code].retry : ERR_RETRY_NEVER;
}

const char *err_code_text(enum err_code code)
{
        return (unsigned)code < ERR_CODE_COUNT ? table[code].text : "unknown";
}
