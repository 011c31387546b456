/*
 * What stands in the body of a request that makes or changes a pool. Every field that is wrong is told of, not only the first.
 */
#pragma once

#include "api/http/routes.h"

enum pool_body_kind { POOL_CREATES = 1, POOL_UPDATES = 2 };

struct pool_body {
        struct spec_faults faults;
        char id[POOL_ID_MAX + 1];
        struct pool_settings settings; /* before: what is not in the body */
        enum pool_state state;
        bool has_state;
        const struct json_node *template; /* an object, or NULL */
        const char *template_field;       /* where it stands */
        size_t template_len;              /* bytes of its text at most */
        bool bad_settings, bad_template, is_unsupported;
        char *memory; /* of a template that came as text */
};

void pool_body_read(struct pool_body *b, enum pool_body_kind kind, struct bytes text, const struct json_node *body);
void pool_body_release(struct pool_body *b);

/* Applies the template to *spec, whose strings are then in *arena, to be freed whatever is returned. The one place that says whether the body is good: the
 * error is for call_faults(). */
int pool_body_spec(struct pool_body *b, struct spec *spec, char **arena, struct err *e);
/* Without a template. */
int pool_body_check(const struct pool_body *b, struct err *e);
