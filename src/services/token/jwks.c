#include "services/token/jwks.h"

#include <cjose/cjose.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>

struct jwks {
        unsigned count;
        cjose_jwk_t *keys[JWKS_KEYS_MAX];
};

/* ---- the keys ---- */

void jwks_free(struct jwks *t)
{
        for (unsigned i = 0; t && i < t->count; i++)
                cjose_jwk_release(t->keys[i]);
        free(t);
}

static int take_keys(struct jwks *t, json_t *keys, struct err *e)
{
        size_t i;
        json_t *one;

        if (!json_is_array(keys) || json_array_size(keys) == 0 || json_array_size(keys) > JWKS_KEYS_MAX)
                return err_set(e, ERR_INVALID_SPEC, 0, "auth.jwks_file is no set of 1 to %d keys", JWKS_KEYS_MAX);
        json_array_foreach(keys, i, one)
        {
                const char *type = json_string_value(json_object_get(one, "kty"));
                cjose_err why;

                if (!type || (strcmp(type, "RSA") != 0 && strcmp(type, "EC") != 0))
                        return err_set(e, ERR_INVALID_SPEC, 0, "auth.jwks_file: key %zu is of a kind that is not taken (RSA and EC are)",
                                       i);
                if (!(t->keys[t->count] = cjose_jwk_import_json((cjose_header_t *)one, &why)))
                        return err_set(e, ERR_INVALID_SPEC, 0, "auth.jwks_file: key %zu: %s", i, why.message);
                t->count++;
        }
        return 0;
}

int jwks_read(const char *json, size_t len, struct jwks **out, struct err *e)
{
        struct jwks *t = calloc(1, sizeof(*t));
        json_error_t why;
        json_t *root = json_loadb(json, len, JSON_REJECT_DUPLICATES, &why);

        if (!t)
                err_set(e, ERR_RESOURCE_EXHAUSTED, 0, "out of memory");
        else if (!root)
                err_set(e, ERR_INVALID_SPEC, 0, "auth.jwks_file, line %d: %.100s", why.line, why.text);
        else if (take_keys(t, json_object_get(root, "keys"), e) == 0) {
                *out = t;
                json_decref(root);
                return 0;
        }
        json_decref(root);
        jwks_free(t);
        return -(int)e->code;
}

/* ---- a token ---- */

/* HMAC would make a public key a secret one, and "none" is no signature. */
static bool is_asymmetric(const char *alg)
{
        static const char *const taken[] = { "RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512" };

        for (size_t i = 0; alg && i < sizeof(taken) / sizeof(taken[0]); i++)
                if (strcmp(alg, taken[i]) == 0)
                        return true;
        return false;
}

static bool is_signed(const struct jwks *t, cjose_jws_t *jws)
{
        cjose_header_t *header = cjose_jws_get_protected(jws);
        cjose_err why;
        const char *kid = header ? cjose_header_get(header, CJOSE_HDR_KID, &why) : NULL;

        for (unsigned i = 0; header && i < t->count; i++) {
                const char *name = cjose_jwk_get_kid(t->keys[i], &why);

                if (kid && name && strcmp(kid, name) != 0)
                        continue;
                if (cjose_jws_verify(jws, t->keys[i], &why))
                        return true;
        }
        return false;
}

static const char *check(const struct jwks *t, cjose_jws_t *jws, char **out, size_t *len)
{
        cjose_header_t *header = cjose_jws_get_protected(jws);
        uint8_t *text = NULL;
        cjose_err why;

        if (!header || !is_asymmetric(cjose_header_get(header, CJOSE_HDR_ALG, &why)))
                return "is signed in a way that is not taken";
        if (!is_signed(t, jws))
                return "is not signed with a key that is trusted here";
        if (!cjose_jws_get_plaintext(jws, &text, len, &why) || !(*out = malloc(*len + 1)))
                return "cannot be read";
        memcpy(*out, text, *len);
        (*out)[*len] = '\0';
        return NULL;
}

const char *jwks_open(const struct jwks *t, const char *text, char **out, size_t *len)
{
        size_t n = strlen(text);
        cjose_err why;
        cjose_jws_t *jws = n <= JWKS_TEXT_MAX ? cjose_jws_import(text, n, &why) : NULL;

        if (!jws)
                return "is neither a key of ours nor a JSON Web Token";
        const char *reason = check(t, jws, out, len);
        cjose_jws_release(jws);
        return reason;
}
