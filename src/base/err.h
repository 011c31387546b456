/*
 * Errors: one struct on the caller's stack, passed last, never NULL.
 *
 * A function that can fail returns 0, or a negative `enum err_code`; its outputs are written only on success. Expected outcomes
 * (nothing there, lost a race) are positive return values, named in that function's header. Context is added outward with
 * err_wrap(); the hint is apart from the message and says what to do now. A thing is logged once, where the error stops.
 */
#pragma once

#include <stdarg.h>
#include <stddef.h>

enum err_code {
        ERR_NONE,
#define X(name, http, exit, retry, text) ERR_##name,
#include "base/err_codes.def"
#undef X
        ERR_CODE_COUNT,
};

enum err_retry { ERR_RETRY_NEVER, ERR_RETRY_LATER, ERR_RETRY_ONCE };

enum { ERR_MSG_MAX = 512, ERR_HINT_MAX = 256 };

struct err {
        enum err_code code;
        int sys; /* errno of the call that failed, or 0 */
        char msg[ERR_MSG_MAX];
        char hint[ERR_HINT_MAX];
};

/* Sets code and message (and clears the hint). `sys`, where not 0, is appended to the message as text. Returns -code. */
int err_set(struct err *e, enum err_code code, int sys, const char *fmt, ...) __attribute__((format(printf, 4, 5)));

/* err_set(INTERNAL_ERROR, errno, ...): for a system call that has no reason to fail. */
int err_sys(struct err *e, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

/* Adds "context: " before the message. Returns -code. */
int err_wrap(struct err *e, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

/* Says what to do now. Returns -code. */
int err_hint(struct err *e, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

const char *err_code_name(enum err_code code); /* "INVALID_SPEC" */
int err_code_http(enum err_code code);         /* 400 */
int err_code_exit(enum err_code code);         /* 64 */
enum err_retry err_code_retry(enum err_code code);
const char *err_code_text(enum err_code code);
