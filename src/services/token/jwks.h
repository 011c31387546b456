/*
 * A set of public keys, and what was signed with one of them. Only asymmetric signatures are taken.
 */
#pragma once

#include <stddef.h>

#include "base/err.h"

enum { JWKS_KEYS_MAX = 32, JWKS_TEXT_MAX = 8192 };

struct jwks;

/* INVALID_SPEC where `json` is no JWK set, or has a key that cannot be used. */
int jwks_read(const char *json, size_t len, struct jwks **out, struct err *e);
void jwks_free(struct jwks *t);

/* What a token holds, where it is signed with one of the keys: *out is the caller's. Else NULL is not returned but the reason. */
const char *jwks_open(const struct jwks *t, const char *text, char **out, size_t *len);
