#include "domain/spec_json.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base/str.h"
#include "base/text.h"
#include "domain/offers.h"

struct reader {
        struct spec *s;
        char *arena;
        size_t left;
        struct spec_faults *faults;
        bool unsupported;   /* something asks for what is not there yet */
        uint64_t memory[2]; /* as a limit, and as hardware; 0: not named */
};

typedef void read_fn(struct reader *r, const char *field, const struct json_node *value);

void spec_fault(struct spec_faults *faults, const char *field, const char *fmt, ...)
{
        va_list ap;

        if (faults->count == SPEC_FAULTS_MAX)
                return;
        struct spec_fault *f = &faults->list[faults->count++];
        snprintf(f->field, sizeof(f->field), "%s", field);
        va_start(ap, fmt);
        vsnprintf(f->message, sizeof(f->message), fmt, ap);
        va_end(ap);
}

#define fault(r, ...) spec_fault((r)->faults, __VA_ARGS__)

static const char *string(struct reader *r, const char *field, const struct json_node *value)
{
        char *out = r->arena;

        if (!json_str(value, out, r->left)) {
                fault(r, field, "must be a string without NUL");
                return NULL;
        }
        size_t len = strlen(out) + 1;
        r->arena += len;
        r->left -= len;
        return out;
}

/* Through the table of the command line, so that both have one set of rules. */
static void set(struct reader *r, const char *field, const char *option, const char *value)
{
        struct err e;

        if (!value || spec_set(r->s, option, value, &e) == 0)
                return;
        const char *message = e.msg;
        if (strncmp(message, "--", 2) == 0 && strchr(message, ' '))
                message = strchr(message, ' ') + 1;
        fault(r, field, "%.150s", message);
        if (e.code == ERR_NOT_SUPPORTED)
                r->unsupported = true;
}

/* One memory has two names: of a limit, and of a virtual machine's hardware. */
static void set_memory(struct reader *r, const char *field, uint64_t bytes, bool hardware)
{
        uint64_t other = r->memory[!hardware];
        char text[32];

        if (other && other != bytes)
                fault(r, field, "is %llu, and %llu by its other name: vm.hwConfig.memory and resourceLimits.memoryBytes have to agree",
                      (unsigned long long)bytes, (unsigned long long)other);
        r->memory[hardware] = bytes;
        snprintf(text, sizeof(text), "%llu", (unsigned long long)bytes);
        set(r, field, "memory", text);
}

/* ---- one function a field ---- */

static void read_image(struct reader *r, const char *field, const struct json_node *v)
{
        set(r, field, "image", string(r, field, v));
}

static void read_runtime(struct reader *r, const char *field, const struct json_node *v)
{
        set(r, field, "runtime", string(r, field, v));
}

static void read_trust(struct reader *r, const char *field, const struct json_node *v)
{
        set(r, field, "trust", string(r, field, v));
}

static void read_offer(struct reader *r, const char *field, const struct json_node *v)
{
        const char *token = string(r, field, v);

        if (token && !offer_is_token(token))
                fault(r, field, "is no word that an engine was offered under");
        else if (token)
                r->s->engine_offer = token;
}

static void read_cwd(struct reader *r, const char *field, const struct json_node *v)
{
        set(r, field, "cwd", string(r, field, v));
}

static void read_user(struct reader *r, const char *field, const struct json_node *v)
{
        set(r, field, "user", string(r, field, v));
}

static void read_limits(struct reader *r, const char *field, const struct json_node *v)
{
        char name[SPEC_FIELD_MAX], text[32];

        if (!json_is_object(v)) {
                fault(r, field, "must be an object");
                return;
        }
        for (const struct json_node *m = json_first(v); m; m = json_next(v, m)) {
                unsigned i = 0;
                uint64_t n;

                while (i < LIMIT_COUNT && !json_str_is(m, limit_table[i].field))
                        i++;
                snprintf(name, sizeof(name), "%s.%.*s", field, m->len < 40 ? (int)m->len : 40, m->text);
                if (json_str_is(m, "networkBandwidthBps") && json_is_null(json_value(m)))
                        continue;
                if (json_str_is(m, "networkBandwidthBps")) {
                        fault(r, name, "is not available in this version");
                        r->unsupported = true;
                } else if (i == LIMIT_COUNT) {
                        fault(r, name, "there is no such limit");
                } else if (json_is_null(json_value(m))) {
                        continue; /* the default */
                } else if (json_str_is(json_value(m), "unlimited")) {
                        set(r, name, limit_table[i].flag, "unlimited");
                } else if (i == LIMIT_MEMORY && json_u64(json_value(m), &n)) {
                        set_memory(r, name, n, false);
                } else if (json_u64(json_value(m), &n)) {
                        snprintf(text, sizeof(text), "%llu", (unsigned long long)n);
                        set(r, name, limit_table[i].flag, text);
                } else {
                        fault(r, name, "must be a whole number%s", limit_table[i].may_unlimited ? " or \"unlimited\"" : "");
                }
        }
}

/* An object of strings, each as NAME=value. */
static void read_pairs(struct reader *r, const char *field, const struct json_node *v, const char *option)
{
        char name[SPEC_FIELD_MAX];

        if (!json_is_object(v)) {
                fault(r, field, "must be an object of strings");
                return;
        }
        for (const struct json_node *m = json_first(v); m; m = json_next(v, m)) {
                const char *pair = string(r, field, m);

                snprintf(name, sizeof(name), "%s.%.*s", field, m->len < 40 ? (int)m->len : 40, m->text);
                if (!pair)
                        return;
                if (strchr(pair, '=')) {
                        fault(r, name, "a name has no '='");
                        continue;
                }
                r->arena[-1] = '=';
                if (!string(r, name, json_value(m)))
                        continue;
                set(r, name, option, pair);
        }
}

static void read_env(struct reader *r, const char *field, const struct json_node *v)
{
        read_pairs(r, field, v, "env");
}

static void read_labels(struct reader *r, const char *field, const struct json_node *v)
{
        read_pairs(r, field, v, "label");
}

static bool seconds(struct reader *r, const char *field, const struct json_node *v, uint64_t *ms)
{
        double s;

        if (json_double(v, &s) && s > 0 && s * 1000 <= UINT32_MAX && s * 1000 >= 1) {
                *ms = (uint64_t)(s * 1000);
                return true;
        }
        fault(r, field, "must be a number of seconds from 0.001 to 4294967");
        return false;
}

static void read_ttl(struct reader *r, const char *field, const struct json_node *v)
{
        seconds(r, field, v, &r->s->ttl_ms);
}

static void read_idle(struct reader *r, const char *field, const struct json_node *v)
{
        seconds(r, field, v, &r->s->idle_ms);
}

static void read_fallback(struct reader *r, const char *field, const struct json_node *v)
{
        if (!json_bool(v, &r->s->allow_fallback))
                fault(r, field, "must be true or false");
}

static void read_pull(struct reader *r, const char *field, const struct json_node *v)
{
        if (json_str_is(v, "Always"))
                r->s->pull = true;
        else if (!json_str_is(v, "IfNotPresent"))
                fault(r, field, "must be \"IfNotPresent\" or \"Always\"");
}

static const char *const restarts[] = {
        [SPEC_RESTART_NEVER] = "Never", [SPEC_RESTART_ON_FAILURE] = "OnFailure", [SPEC_RESTART_ALWAYS] = "Always"
};

static void read_restart(struct reader *r, const char *field, const struct json_node *v)
{
        for (unsigned i = 0; i < sizeof(restarts) / sizeof(restarts[0]); i++)
                if (json_str_is(v, restarts[i])) {
                        r->s->restart = (enum spec_restart)i;
                        return;
                }
        fault(r, field, "must be \"Never\", \"OnFailure\" or \"Always\"");
}

static bool is_deny(const struct json_node *v)
{
        return json_str_is(v, "Deny") || json_str_is(v, "deny");
}

static void read_policy(struct reader *r, const char *field, const struct json_node *v)
{
        if (json_str_is(v, "deny-all"))
                return;
        if (!json_is_object(v)) {
                fault(r, field, "must be an object or \"deny-all\"");
                return;
        }
        for (const struct json_node *m = json_first(v); m; m = json_next(v, m)) {
                const struct json_node *value = json_value(m);
                bool same = json_is_null(value) || (json_str_is(m, "defaultAction") && is_deny(value)) ||
                            (json_str_is(m, "egressRules") && json_is_array(value) && json_count(value) == 0);
                char name[SPEC_FIELD_MAX];

                if (same)
                        continue;
                snprintf(name, sizeof(name), "%s.%.*s", field, m->len < 40 ? (int)m->len : 40, m->text);
                if (json_str_is(m, "defaultAction") || json_str_is(m, "egressRules") || json_str_is(m, "dnsPolicy")) {
                        fault(r, name, "only deny-all is available in this version");
                        r->unsupported = true;
                } else {
                        fault(r, name, "there is no such field");
                }
        }
}

/* ---- prewarm ---- */

static const char *const interpreters[] = { [SPEC_PREWARM_PYTHON] = "python", [SPEC_PREWARM_NODE] = "node" };

static void read_interpreter(struct reader *r, const char *field, const struct json_node *v)
{
        for (unsigned i = SPEC_PREWARM_PYTHON; i <= SPEC_PREWARM_NODE; i++)
                if (json_str_is(v, interpreters[i])) {
                        r->s->prewarm.interpreter = (enum spec_interpreter)i;
                        return;
                }
        fault(r, field, "must be \"python\" or \"node\"");
}

/* An array of strings of at most `max` bytes each. */
static void read_items(struct reader *r, const char *field, const struct json_node *v, size_t max)
{
        struct spec_prewarm *p = &r->s->prewarm;
        char name[SPEC_FIELD_MAX];

        if (!json_is_array(v)) {
                fault(r, field, "must be an array of strings");
                return;
        }
        for (const struct json_node *m = json_first(v); m; m = json_next(v, m)) {
                if (p->count == SPEC_PREWARM_MAX) {
                        fault(r, field, "has more than %d entries", SPEC_PREWARM_MAX);
                        return;
                }
                snprintf(name, sizeof(name), "%.80s[%zu]", field, p->count);
                const char *item = string(r, name, m);
                if (!item)
                        return;
                if (strlen(item) > max) {
                        fault(r, name, "has more than %zu bytes", max);
                        return;
                }
                p->items[p->count++] = item;
        }
        p->items[p->count] = NULL;
}

static bool is_name_byte(char c)
{
        return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_' || (c & 0x80);
}

/* a.b.c, none of them empty or beginning with a digit. */
static bool is_module(const char *s)
{
        bool first = true;

        for (; *s; s++) {
                if (*s == '.' ? first : !is_name_byte(*s) || (first && *s >= '0' && *s <= '9'))
                        return false;
                first = *s == '.';
        }
        return !first;
}

/* What require() takes: a name, node:name, @scope/name/part, or a path. */
static bool is_specifier(const char *s)
{
        if (!*s || *s == '-')
                return false;
        for (; *s; s++)
                if (!is_name_byte(*s) && !strchr("-.@/:~+", *s))
                        return false;
        return true;
}

static void check_imports(struct reader *r, const char *field)
{
        const struct spec_prewarm *p = &r->s->prewarm;
        char name[SPEC_FIELD_MAX];

        for (size_t i = 0; i < p->count; i++) {
                snprintf(name, sizeof(name), "%s.imports[%zu]", field, i);
                if (p->interpreter == SPEC_PREWARM_PYTHON ? !is_module(p->items[i]) : !is_specifier(p->items[i]))
                        fault(r, name, "is not the name of a module");
        }
}

static void read_prewarm(struct reader *r, const char *field, const struct json_node *v)
{
        const struct json_node *imports = NULL, *command = NULL, *interpreter = NULL;
        struct spec_prewarm *p = &r->s->prewarm;
        unsigned before = r->faults->count;
        char name[SPEC_FIELD_MAX];

        *p = (struct spec_prewarm){ 0 };
        for (const struct json_node *m = json_is_object(v) ? json_first(v) : NULL; m; m = json_next(v, m)) {
                const struct json_node **to = json_str_is(m, "interpreter") ? &interpreter
                                              : json_str_is(m, "imports")   ? &imports
                                              : json_str_is(m, "command")   ? &command
                                                                            : NULL;

                snprintf(name, sizeof(name), "%s.%.*s", field, m->len < 40 ? (int)m->len : 40, m->text);
                if (!to)
                        fault(r, name, "there is no such field");
                else if (!json_is_null(json_value(m)))
                        *to = json_value(m);
        }
        if (!interpreter == !command || (command && imports)) {
                fault(r, field, "must be an object with either \"interpreter\" (and \"imports\"), or \"command\"");
                return;
        }
        snprintf(name, sizeof(name), "%s.%s", field, command ? "command" : "imports");
        if (command) {
                p->interpreter = SPEC_PREWARM_COMMAND;
                read_items(r, name, command, SPEC_PREWARM_ARG_MAX);
                if (r->faults->count == before && (p->count == 0 || !*p->items[0]))
                        fault(r, name, "names no program");
                return;
        }
        if (imports)
                read_items(r, name, imports, SPEC_IMPORT_MAX);
        snprintf(name, sizeof(name), "%s.interpreter", field);
        read_interpreter(r, name, interpreter);
        if (r->faults->count == before)
                check_imports(r, field);
}

/* Of runtime-spec 1.3 (config-vm.md) what a tenant may choose; kernel, image and hypervisor are the operator's. */
static void read_hw_config(struct reader *r, const char *field, const struct json_node *v)
{
        char name[SPEC_FIELD_MAX], text[32];
        uint64_t n;

        if (!json_is_object(v)) {
                fault(r, field, "must be an object");
                return;
        }
        for (const struct json_node *m = json_first(v); m; m = json_next(v, m)) {
                bool vcpus = json_str_is(m, "vcpus"), memory = json_str_is(m, "memory");

                snprintf(name, sizeof(name), "%.60s.%.*s", field, m->len < 40 ? (int)m->len : 40, m->text);
                if (json_is_null(json_value(m)))
                        continue;
                if (!vcpus && !memory) {
                        fault(r, name, "cannot be chosen here: vcpus and memory can");
                } else if (!json_u64(json_value(m), &n) || n == 0) {
                        fault(r, name, "must be a whole number%s", memory ? " of bytes" : "");
                } else if (memory) {
                        set_memory(r, name, n, true);
                        r->s->hw_config = true;
                } else {
                        snprintf(text, sizeof(text), "%llu", (unsigned long long)n);
                        set(r, name, "vcpus", text);
                }
        }
}

static void read_vm(struct reader *r, const char *field, const struct json_node *v)
{
        char name[SPEC_FIELD_MAX];

        if (!json_is_object(v)) {
                fault(r, field, "must be an object");
                return;
        }
        for (const struct json_node *m = json_first(v); m; m = json_next(v, m)) {
                snprintf(name, sizeof(name), "%.60s.%.*s", field, m->len < 40 ? (int)m->len : 40, m->text);
                if (json_is_null(json_value(m)))
                        continue;
                if (json_str_is(m, "hwConfig"))
                        read_hw_config(r, name, json_value(m));
                else
                        fault(r, name, "cannot be chosen here: only hwConfig can");
        }
}

static void read_later(struct reader *r, const char *field, const struct json_node *v)
{
        if ((json_is_array(v) || json_is_object(v)) && json_count(v) == 0)
                return;
        fault(r, field, "is not available in this version");
        r->unsupported = true;
}

static const struct {
        const char *name;
        read_fn *read;
} fields[] = {
        { "image", read_image },
        { "runtimeClass", read_runtime },
        { "trustLevel", read_trust },
        { "engineOffer", read_offer },
        { "resourceLimits", read_limits },
        { "resources", read_limits },
        { "env", read_env },
        { "labels", read_labels },
        { "workingDir", read_cwd },
        { "user", read_user },
        { "ttlSeconds", read_ttl },
        { "idleTimeoutSeconds", read_idle },
        { "allowFallback", read_fallback },
        { "pull", read_pull },
        { "restartPolicy", read_restart },
        { "networkPolicy", read_policy },
        { "prewarm", read_prewarm },
        { "vm", read_vm },
        { "agentNhi", read_later },
        { "delegationChain", read_later },
        { "secrets", read_later },
        { "volumes", read_later },
        { "attestationPolicy", read_later },
};

enum { FIELDS = sizeof(fields) / sizeof(fields[0]) };

int spec_faults_err(const struct spec_faults *faults, bool unsupported, struct err *e)
{
        err_set(e, unsupported ? ERR_NOT_SUPPORTED : ERR_INVALID_SPEC, 0, "%s %s%s", faults->list[0].field, faults->list[0].message,
                faults->count > 1 ? ", and more" : "");
        return err_hint(e, unsupported ? "leave it out; a setting that cannot be honoured is refused, never ignored"
                                       : "/openapi.json says what is taken");
}

static bool among(const char *const *names, const struct json_node *key)
{
        while (names && *names && !json_str_is(key, *names))
                names++;
        return names && *names;
}

static void read_field(struct reader *r, const struct spec_place *place, const struct json_node *key)
{
        char name[SPEC_FIELD_MAX];
        unsigned i = 0;

        if (among(place->others, key))
                return;
        while (i < FIELDS && !json_str_is(key, fields[i].name))
                i++;
        snprintf(name, sizeof(name), "%s%s%.*s", place->where, *place->where ? "." : "", key->len < 64 ? (int)key->len : 64, key->text);
        if (i == FIELDS || (place->only && !among(place->only, key)))
                fault(r, name, "there is no such field");
        else if (!json_is_null(json_value(key)))
                fields[i].read(r, name, json_value(key));
}

int spec_json_read_at(const struct spec_place *place, const struct json_node *node, struct spec *s, char *arena, size_t cap,
                      struct spec_faults *faults, struct err *e)
{
        struct reader r = { .s = s, .arena = arena, .left = cap, .faults = faults };

        faults->count = 0;
        if (node && !json_is_object(node) && !json_is_null(node))
                fault(&r, place->where, "must be an object");
        for (const struct json_node *m = json_first(node); m && json_is_object(node); m = json_next(node, m))
                read_field(&r, place, m);
        if (faults->count == 0 && spec_check_hw(s, e) < 0)
                fault(&r, *place->where ? "spec.vm.hwConfig" : "vm.hwConfig",
                      "(--vcpus) is for virtual machines, and runtime class '%s' is none", s->runtime);
        return faults->count == 0 ? 0 : spec_faults_err(faults, r.unsupported, e);
}

int spec_json_read(const struct json_node *node, struct spec *s, char *arena, size_t cap, struct spec_faults *faults, struct err *e)
{
        static const struct spec_place whole = { "spec", NULL, NULL };

        return spec_json_read_at(&whole, node, s, arena, cap, faults, e);
}

/* ---- and back ---- */

static void put_pairs(struct json_put *j, const char *key, const char *const *pairs, size_t count)
{
        char name[SPEC_STRING_MAX + 1];

        json_put_key(j, key);
        json_put_object(j);
        for (size_t i = 0; i < count; i++) {
                size_t n = strcspn(pairs[i], "=");

                if (n >= sizeof(name) || i + 1 + str_find_pair(pairs + i + 1, count - i - 1, pairs[i]) < count)
                        continue; /* the last of a name counts */
                memcpy(name, pairs[i], n);
                name[n] = '\0';
                json_put_key(j, name);
                json_put_string(j, pairs[i] + n + (pairs[i][n] == '='));
        }
        json_put_end(j);
}

static void put_seconds(struct json_put *j, const char *key, uint64_t ms)
{
        json_put_key(j, key);
        if (ms == 0)
                json_put_null(j);
        else if (ms % 1000 == 0)
                json_put_u64(j, ms / 1000);
        else
                json_put_double(j, (double)ms / 1000);
}

static void put_text(struct json_put *j, const char *key, const char *text)
{
        json_put_key(j, key);
        if (text)
                json_put_string(j, text);
        else
                json_put_null(j);
}

static void put_limits(struct json_put *j, const struct limits *l)
{
        json_put_key(j, "resourceLimits");
        json_put_object(j);
        for (unsigned i = 0; i < LIMIT_COUNT; i++) {
                json_put_key(j, limit_table[i].field);
                if (l->value[i] == LIMIT_UNLIMITED)
                        json_put_string(j, "unlimited");
                else
                        json_put_u64(j, l->value[i]);
        }
        json_put_end(j);
}

static void put_empty(struct json_put *j, const char *key)
{
        json_put_key(j, key);
        json_put_array(j);
        json_put_end(j);
}

/* Only where there is one: a spec that has none reads as it did before there was such a field. */
static void put_prewarm(struct json_put *j, const struct spec_prewarm *p)
{
        if (p->interpreter == SPEC_PREWARM_NONE)
                return;
        json_put_key(j, "prewarm");
        json_put_object(j);
        if (p->interpreter != SPEC_PREWARM_COMMAND)
                put_text(j, "interpreter", interpreters[p->interpreter]);
        json_put_key(j, p->interpreter == SPEC_PREWARM_COMMAND ? "command" : "imports");
        json_put_array(j);
        for (size_t i = 0; i < p->count; i++)
                json_put_string(j, p->items[i]);
        json_put_end(j);
        json_put_end(j);
}

/* Its memory is among the limits. */
void spec_json_put_vm(struct json_put *j, const struct spec *s)
{
        if (s->vcpus == 0)
                return;
        json_put_key(j, "vm");
        json_put_object(j);
        json_put_key(j, "hwConfig");
        json_put_object(j);
        json_put_key(j, "vcpus");
        json_put_u64(j, s->vcpus);
        json_put_end(j);
        json_put_end(j);
}

void spec_json_put(struct json_put *j, const struct spec *s)
{
        json_put_object(j);
        put_text(j, "image", s->image);
        put_text(j, "runtimeClass", s->runtime);
        if (s->trust != TRUST_UNSAID) /* a spec without reads as it did before there was such a field */
                put_text(j, "trustLevel", trust_names[s->trust]);
        put_limits(j, &s->limits);
        put_pairs(j, "env", s->env, s->env_count);
        put_pairs(j, "labels", s->labels, s->label_count);
        put_text(j, "workingDir", s->cwd);
        put_text(j, "user", s->user);
        put_seconds(j, "ttlSeconds", s->ttl_ms);
        put_seconds(j, "idleTimeoutSeconds", s->idle_ms);
        json_put_key(j, "networkPolicy");
        json_put_object(j);
        put_text(j, "defaultAction", "Deny");
        put_empty(j, "egressRules");
        json_put_end(j);
        put_empty(j, "secrets");
        put_empty(j, "volumes");
        put_text(j, "agentNhi", NULL);
        put_empty(j, "delegationChain");
        put_text(j, "restartPolicy", restarts[s->restart]);
        json_put_key(j, "allowFallback");
        json_put_bool(j, s->allow_fallback);
        put_text(j, "pull", s->pull ? "Always" : "IfNotPresent");
        put_prewarm(j, &s->prewarm);
        spec_json_put_vm(j, s);
        json_put_end(j);
}

char *spec_json_text(const struct spec *s, size_t *len)
{
        struct wbuf w = text_new();
        struct json_put j = json_put_over(&w);

        spec_json_put(&j, s);
        return text_take(&w, len);
}
