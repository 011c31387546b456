#include "services/token/token.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "services/token/jwks.h"
#include "wire/json.h"

enum { CLAIMS_MAX = 256, AUDIENCES_MAX = 32 };

struct token_keys {
        struct token_rules rules;
        struct jwks *keys;
};

int token_keys_read(const char *json, size_t len, const struct token_rules *rules, struct token_keys **out, struct err *e)
{
        struct token_keys *t = calloc(1, sizeof(*t));

        if (!t)
                return err_set(e, ERR_RESOURCE_EXHAUSTED, 0, "out of memory");
        if (jwks_read(json, len, &t->keys, e) < 0) {
                free(t);
                return -(int)e->code;
        }
        t->rules = *rules;
        *out = t;
        return 0;
}

static int refuse(struct err *e, const char *why)
{
        err_set(e, ERR_UNAUTHENTICATED, 0, "the token %s", why);
        return err_hint(e, "get a new one from who issues them");
}

static bool says(const struct json_node *claim, const char *wanted)
{
        if (json_is_array(claim)) {
                unsigned n = 0;

                for (const struct json_node *m = json_first(claim); m && n < AUDIENCES_MAX; m = json_next(claim, m), n++)
                        if (json_str_is(m, wanted))
                                return true;
                return false;
        }
        return json_str_is(claim, wanted);
}

static int judge(const struct token_rules *rules, const struct json_node *claims, uint64_t now, struct principal *out, struct err *e)
{
        const struct json_node *expires = json_get(claims, "exp"), *begins = json_get(claims, "nbf"),
                               *role = json_get(claims, rules->role_claim);
        char subject[TOKEN_SUBJECT_MAX + 1], name[16];
        double from, to;

        if (!json_double(expires, &to))
                return refuse(e, "does not say when it ends (exp)");
        if (to + TOKEN_SKEW_SECONDS < (double)now)
                return refuse(e, "has expired");
        if (begins && (!json_double(begins, &from) || from > (double)now + TOKEN_SKEW_SECONDS))
                return refuse(e, "is not valid yet");
        if (rules->issuer && *rules->issuer && !says(json_get(claims, "iss"), rules->issuer))
                return refuse(e, "is of another issuer");
        if (rules->audience && *rules->audience && !says(json_get(claims, "aud"), rules->audience))
                return refuse(e, "is for another audience");
        if (!json_str(json_get(claims, "sub"), subject, sizeof(subject)) || !subject[0])
                return refuse(e, "names nobody (sub), or with more than 100 bytes");
        for (const char *s = subject; *s; s++)
                if ((unsigned char)*s < 0x21 || *s == 0x7f)
                        return refuse(e, "names somebody with a blank or a control character (sub)");
        out->role = ROLE_AGENT;
        if (role && (!json_str(role, name, sizeof(name)) || (out->role = key_role_of(name)) == ROLE_NONE))
                return refuse(e, "has a role that there is not");
        snprintf(out->name, sizeof(out->name), "jwt:%s", subject);
        return 0;
}

int token_check(const struct token_keys *t, const char *text, uint64_t now, struct principal *out, struct err *e)
{
        struct json_node nodes[CLAIMS_MAX];
        char *claims = NULL;
        size_t len = 0;
        const char *why = jwks_open(t->keys, text, &claims, &len);
        int r;

        if (why)
                return refuse(e, why);
        if (json_parse(claims, len, nodes, CLAIMS_MAX, NULL) < 0 || !json_is_object(nodes))
                r = refuse(e, "has no claims that are taken");
        else
                r = judge(&t->rules, nodes, now, out, e);
        free(claims);
        return r;
}
