/*
 * What creto-image says: JSON, the bytes of wire/image_answer.h, or words.
 */
#pragma once

#include <stdio.h>

#include "base/err.h"
#include "services/image/image.h"

enum answer_form { ANSWER_JSON, ANSWER_WIRE, ANSWER_HUMAN };

/* Fails (RESOURCE_EXHAUSTED) where the image says more than an answer holds; then nothing has been written. */
int answer_found(FILE *out, enum answer_form form, const struct image_found *f, struct err *e);

void answer_removed(FILE *out, enum answer_form form, const struct image_removed *r);

/* HUMAN goes to standard error. */
void answer_error(FILE *out, enum answer_form form, const struct err *e);

struct answer_list;
struct answer_list *answer_list_new(void);
void answer_list_add(void *list, const struct image_listed *l);
/* Sorted by name; frees the list. */
void answer_list_print(FILE *out, bool json, struct answer_list *list);
