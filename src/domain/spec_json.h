/*
 * A spec as the API writes it: JSON to struct spec and back. Pure.
 *
 * Every offending field is named, not only the first. A field of a feature that is not there yet is refused where it asks for something, and taken where it
 * says what is so anyway (an empty list, null).
 */
#pragma once

#include "domain/spec.h"
#include "wire/json.h"

enum { SPEC_FAULTS_MAX = 16, SPEC_FIELD_MAX = 96 };

struct spec_faults {
        unsigned count;
        struct spec_fault {
                char field[SPEC_FIELD_MAX]; /* "spec.resourceLimits.memoryBytes" */
                char message[160];
        } list[SPEC_FAULTS_MAX];
};

/* Applies `node` (an object, or NULL for nothing) to *s, which holds the defaults. Strings go to `arena`; as many bytes as the text had are enough. Returns 0,
 * or INVALID_SPEC or NOT_SUPPORTED with *faults filled. */
int spec_json_read(const struct json_node *node, struct spec *s, char *arena, size_t cap, struct spec_faults *faults, struct err *e);

/* Where a spec stands by another name, or some of its fields among others. */
struct spec_place {
        const char *where;         /* "template"; "": its fields are those of the whole body */
        const char *const *only;   /* NULL-ended: the fields that are taken; NULL: all */
        const char *const *others; /* NULL-ended: fields of somebody else, not looked at; NULL: none */
};

int spec_json_read_at(const struct spec_place *place, const struct json_node *node, struct spec *s, char *arena, size_t cap,
                      struct spec_faults *faults, struct err *e);

/* For who reads more than a spec. Beyond SPEC_FAULTS_MAX they are not kept. */
__attribute__((format(printf, 3, 4))) void spec_fault(struct spec_faults *faults, const char *field, const char *fmt, ...);
/* INVALID_SPEC, or NOT_SUPPORTED, that tells of the first. */
int spec_faults_err(const struct spec_faults *faults, bool unsupported, struct err *e);

/* The whole spec, as it was asked for. */
void spec_json_put(struct json_put *j, const struct spec *s);
/* Of that only "vm", where there is one. */
void spec_json_put_vm(struct json_put *j, const struct spec *s);
/* The whole as a text, for free(); NULL: no memory. */
char *spec_json_text(const struct spec *s, size_t *len);
