/*
 * Bearer tokens that somebody else signed: JSON Web Tokens (RFC 7519) against a set of public keys (RFC 7517) that the operator named. Signatures are
 * cjose's; what a token has to say is judged here. Only asymmetric ones are taken.
 */
#pragma once

#include "services/keys/keys.h"

enum { TOKEN_SUBJECT_MAX = 100, TOKEN_SKEW_SECONDS = 60 };

struct token_rules {
        const char *issuer, *audience; /* what `iss` and `aud` have to be, borrowed; "" or NULL: anything */
        const char *role_claim;        /* the claim with the role, borrowed; without it in a token: agent */
};

struct token_keys;

/* Reads a JWK set. INVALID_SPEC where it is none, or has a key that cannot be used. */
int token_keys_read(const char *json, size_t len, const struct token_rules *rules, struct token_keys **out, struct err *e);

/* Who a token says that its bearer is, "jwt:SUBJECT"; or UNAUTHENTICATED with the reason. `now`: seconds since 1970. */
int token_check(const struct token_keys *t, const char *text, uint64_t now, struct principal *out, struct err *e);
