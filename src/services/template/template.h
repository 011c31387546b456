/*
 * A template as people write one: YAML, TOML or JSON, made into the JSON of a spec. What the spec means is judged where specs are judged
 * (domain/spec_json); here it is one document, with no key twice, nothing that points elsewhere, and not large. docs/formats/template.md says what is taken.
 */
#pragma once

#include <stddef.h>

#include "base/buf.h"
#include "base/err.h"

enum {
        TEMPLATE_TEXT_MAX = 64 * 1024,
        TEMPLATE_DEPTH_MAX = 16,    /* lists and mappings around a value */
        TEMPLATE_VALUES_MAX = 4096, /* in all */
        TEMPLATE_MEMBERS_MAX = 1024 /* of one mapping */
};

enum template_format { TEMPLATE_YAML, TEMPLATE_TOML, TEMPLATE_JSON, TEMPLATE_FORMATS };

/* "yaml", "toml", "json"; TEMPLATE_FORMATS where it is none. */
enum template_format template_format_of(const char *name);

/* Appends one JSON object to `out`. INVALID_SPEC says in which line what is wrong. */
int template_read(enum template_format format, const char *text, size_t len, struct wbuf *out, struct err *e);
