/*
 * Options of the command line as the API's spec. Only what was named is sent: what was not is the service's to choose, and a limit that is sent is one that may
 * not be weakened.
 */
#include <stdlib.h>
#include <string.h>

#include "api/libcreto/remote/remote.h"
#include "base/str.h"
#include "domain/spec_json.h"
#include "wire/json.h"

static void put_text(struct json_put *j, const char *key, const char *text)
{
        if (!text)
                return;
        json_put_key(j, key);
        json_put_string(j, text);
}

static void put_seconds(struct json_put *j, const char *key, uint64_t ms)
{
        if (ms == 0)
                return;
        json_put_key(j, key);
        if (ms % 1000 == 0)
                json_put_u64(j, ms / 1000);
        else
                json_put_double(j, (double)ms / 1000);
}

int remote_put_pairs(struct json_put *j, const char *key, const char *const *pairs, size_t count, struct err *e)
{
        char name[JSON_KEY_MAX + 1];

        if (count == 0)
                return 0;
        json_put_key(j, key);
        json_put_object(j);
        for (size_t i = 0; i < count; i++) {
                size_t n = strcspn(pairs[i], "=");

                if (n >= sizeof(name) || pairs[i][n] != '=')
                        return err_set(e, ERR_INVALID_SPEC, 0, "%s: '%.64s' is not NAME=VALUE with a name of at most %d bytes", key,
                                       pairs[i], JSON_KEY_MAX);
                if (i + 1 + str_find_pair(pairs + i + 1, count - i - 1, pairs[i]) < count)
                        continue; /* the last of a name counts */
                memcpy(name, pairs[i], n);
                name[n] = '\0';
                json_put_key(j, name);
                json_put_string(j, pairs[i] + n + 1);
        }
        json_put_end(j);
        return 0;
}

static void put_limits(struct json_put *j, const struct limits *l)
{
        if (l->wanted == 0)
                return;
        json_put_key(j, "resourceLimits");
        json_put_object(j);
        for (unsigned i = 0; i < LIMIT_COUNT; i++) {
                if (!limits_wanted(l, (enum limit)i))
                        continue;
                json_put_key(j, limit_table[i].field);
                if (l->value[i] == LIMIT_UNLIMITED)
                        json_put_string(j, "unlimited");
                else
                        json_put_u64(j, l->value[i]);
        }
        json_put_end(j);
}

/* What a spawn and a claim have in common. */
static int put_binding(struct json_put *j, const struct spec *s, struct err *e)
{
        put_limits(j, &s->limits);
        put_seconds(j, "ttlSeconds", s->ttl_ms);
        put_seconds(j, "idleTimeoutSeconds", s->idle_ms);
        if (remote_put_pairs(j, "env", s->env, s->env_count, e) < 0 || remote_put_pairs(j, "labels", s->labels, s->label_count, e) < 0)
                return -(int)e->code;
        return 0;
}

static int put_spec(struct json_put *j, const struct spec *s, bool has_image, struct err *e)
{
        json_put_object(j);
        put_text(j, "image", has_image ? s->image : NULL);
        put_text(j, "runtimeClass", strcmp(s->runtime, CLASS_AUTO) == 0 ? NULL : s->runtime);
        put_text(j, "engineOffer", s->engine_offer);
        put_text(j, "trustLevel", s->trust == TRUST_UNSAID ? NULL : trust_names[s->trust]);
        if (put_binding(j, s, e) < 0)
                return -(int)e->code;
        put_text(j, "workingDir", s->cwd);
        put_text(j, "user", s->user);
        if (s->allow_fallback) {
                json_put_key(j, "allowFallback");
                json_put_bool(j, true);
        }
        put_text(j, "pull", s->pull ? "Always" : NULL);
        spec_json_put_vm(j, s);
        json_put_end(j);
        return 0;
}

/* Only a service has idle sandboxes, so that option is not in the table that both modes share. */
static int set_option(struct spec *s, const struct creto_option *o, struct err *e)
{
        if (strcmp(o->name, "idle-timeout") != 0)
                return spec_set(s, o->name, o->value, e);
        if (o->value && str_parse_ms(o->value, &s->idle_ms) && s->idle_ms > 0 && s->idle_ms <= UINT32_MAX)
                return 0;
        err_set(e, ERR_INVALID_SPEC, 0, "--idle-timeout: '%.64s' is not a time from 1ms to 49d", o->value ? o->value : "");
        return err_hint(e, "write seconds, or a number with ms, s, m, h or d: --idle-timeout 10m");
}

int remote_spec(const struct remote *rm, const struct creto_option *options, size_t count, struct spec *spec, struct wbuf *out,
                struct err *e)
{
        struct json_put j = json_put_over(out);
        char token[IPC_OFFER_HEX + 1];
        bool has_image = false;

        spec_init(spec);
        for (size_t i = 0; i < count; i++) {
                if (set_option(spec, &options[i], e) < 0)
                        return -(int)e->code;
                has_image |= strcmp(options[i].name, "image") == 0;
        }
        if (spec->engine_path && remote_offer(rm, spec->engine_path, token, e) < 0)
                return -(int)e->code;
        spec->engine_offer = spec->engine_path ? token : NULL;
        json_put_object(&j);
        json_put_key(&j, "spec");
        if (put_spec(&j, spec, has_image, e) < 0)
                return -(int)e->code;
        json_put_end(&j);
        spec->engine_offer = NULL;
        return json_put_done(&j) ? 0 : err_set(e, ERR_INVALID_SPEC, 0, "the spec is too large to be sent");
}

/* ---- claims ---- */

static bool is_of_template(const char *name)
{
        static const char *const names[] = { "image",   "pull",           "cwd",   "user",      "tty", "interactive",
                                             "timeout", "allow-fallback", "trust", "runsc-path" };

        for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
                if (strcmp(names[i], name) == 0)
                        return true;
        return false;
}

/* The class goes as it was written: which one the pool has, the service knows. */
static int set_claim_option(struct spec *s, const struct creto_option *o, struct err *e)
{
        if (is_of_template(o->name)) {
                err_set(e, ERR_INVALID_SPEC, 0, "--%s: a claim cannot choose that, the pool's template does", o->name);
                return err_hint(e, "claim from another pool, or use spawn");
        }
        if (strcmp(o->name, "runtime") != 0)
                return set_option(s, o, e);
        s->runtime = o->value ? o->value : s->runtime;
        return 0;
}

int remote_put_claim(struct json_put *j, const struct creto_option *options, size_t count, struct err *e)
{
        struct spec *s = malloc(sizeof(*s));
        int r = s ? 0 : err_set(e, ERR_RESOURCE_EXHAUSTED, 0, "out of memory");

        if (s)
                spec_init(s);
        for (size_t i = 0; i < count && r == 0; i++)
                r = set_claim_option(s, &options[i], e);
        if (r == 0) {
                put_text(j, "runtimeClass", strcmp(s->runtime, CLASS_AUTO) == 0 ? NULL : s->runtime);
                r = put_binding(j, s, e);
        }
        free(s);
        return r;
}
