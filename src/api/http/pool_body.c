#include "api/http/pool_body.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "services/template/template.h"

enum { NODES = 2 * TEMPLATE_VALUES_MAX + 2, FORMAT_MAX = 16 };

typedef void field_fn(struct pool_body *b, const char *name, const struct json_node *v);

static void read_id(struct pool_body *b, const char *name, const struct json_node *v)
{
        struct err e;

        if (!json_str(v, b->id, sizeof(b->id)) || pool_id_check(b->id, &e) < 0)
                spec_fault(&b->faults, name, "must be 1 to %d lower-case letters, digits and '-', with no '-' at either end", POOL_ID_MAX);
}

/* ---- the template ---- */

/* The object itself, or what stands in it as "spec": a file that was written for POST /v1/sandboxes is a template too. */
static void take_template(struct pool_body *b, const char *name, const struct json_node *v)
{
        const struct json_node *inner = json_count(v) == 1 ? json_get(v, "spec") : NULL;

        if (b->template) {
                spec_fault(&b->faults, name, "is not taken beside %s", b->template_field);
                return;
        }
        b->template = json_is_object(inner) ? inner : v;
        b->template_field = name;
}

static void bad_template(struct pool_body *b, const char *field, const char *why)
{
        spec_fault(&b->faults, field, "%.150s", why);
        b->bad_template = true;
}

static void read_template(struct pool_body *b, const char *name, const struct json_node *v)
{
        if (json_is_object(v))
                take_template(b, "template", v);
        else
                bad_template(b, name, "must be an object");
}

/* Into JSON, whose nodes stay until the next one is read. */
static void read_text(struct pool_body *b, enum template_format format, const char *text)
{
        static struct json_node nodes[NODES];
        auto_text json = text_new();
        struct err e;

        if (template_read(format, text, strlen(text), &json, &e) < 0) {
                bad_template(b, "templateSource.text", e.msg);
                return;
        }
        free(b->memory);
        b->memory = text_take(&json, &b->template_len);
        if (b->memory && json_parse(b->memory, b->template_len, nodes, NODES, NULL) > 0)
                take_template(b, "templateSource", nodes);
        else
                bad_template(b, "templateSource.text", "is too large");
}

static void read_source(struct pool_body *b, const char *name, const struct json_node *v)
{
        enum template_format format = TEMPLATE_FORMATS;
        char field[SPEC_FIELD_MAX], word[FORMAT_MAX];

        if (!json_is_object(v)) {
                bad_template(b, name, "must be an object");
                return;
        }
        for (const struct json_node *m = json_first(v); m; m = json_next(v, m)) {
                snprintf(field, sizeof(field), "%s.%.*s", name, m->len < 64 ? (int)m->len : 64, m->text);
                if (!json_str_is(m, "format") && !json_str_is(m, "text"))
                        bad_template(b, field, "there is no such field");
        }
        if (json_str(json_get(v, "format"), word, sizeof(word)))
                format = template_format_of(word);
        if (format == TEMPLATE_FORMATS)
                bad_template(b, "templateSource.format", "must be \"yaml\", \"toml\" or \"json\"");
        const struct json_node *text = json_get(v, "text");
        size_t cap = json_is_string(text) ? text->len + 1 : 1;
        char *copy = malloc(cap);
        if (!copy || !json_str(text, copy, cap))
                bad_template(b, "templateSource.text", "must be a string without NUL");
        else if (format != TEMPLATE_FORMATS)
                read_text(b, format, copy);
        free(copy);
}

/* ---- the settings ---- */

static void read_number(struct pool_body *b, const char *name, const struct json_node *v)
{
        const struct {
                const char *name;
                uint64_t *at, min, max;
        } numbers[] = {
                { "minReady", &b->settings.min_ready, 0, POOL_READY_MAX },
                { "maxReady", &b->settings.max_ready, 1, POOL_READY_MAX },
                { "maxAgeSeconds", &b->settings.max_age_s, 0, POOL_SECONDS_MAX },
                { "autoScaling.headroom", &b->settings.headroom, 0, POOL_HEADROOM_MAX },
                { "autoScaling.scaleDownSeconds", &b->settings.scale_down_s, 0, POOL_SECONDS_MAX },
        };
        unsigned i = 0;
        uint64_t n = 0;

        while (strcmp(numbers[i].name, name) != 0)
                i++;
        bool none = json_is_null(v) && numbers[i].at == &b->settings.max_age_s;
        if (none || (json_u64(v, &n) && n >= numbers[i].min && n <= numbers[i].max)) {
                *numbers[i].at = n;
                return;
        }
        spec_fault(&b->faults, name, "must be a whole number from %llu to %llu", (unsigned long long)numbers[i].min,
                   (unsigned long long)numbers[i].max);
        b->bad_settings = true;
}

static void read_reusable(struct pool_body *b, const char *name, const struct json_node *v)
{
        if (!json_bool(v, &b->settings.reusable))
                spec_fault(&b->faults, name, "must be true or false");
}

static void read_scaling(struct pool_body *b, const char *name, const struct json_node *v)
{
        char field[SPEC_FIELD_MAX];

        if (!json_is_object(v)) {
                spec_fault(&b->faults, name, "must be an object");
                return;
        }
        for (const struct json_node *m = json_first(v); m; m = json_next(v, m)) {
                const struct json_node *value = json_value(m);

                snprintf(field, sizeof(field), "%s.%.*s", name, m->len < 64 ? (int)m->len : 64, m->text);
                if (!json_str_is(m, "headroom") && !json_str_is(m, "scaleDownSeconds") && !json_str_is(m, "enabled"))
                        spec_fault(&b->faults, field, "there is no such field");
                else if (json_is_null(value))
                        continue;
                else if (!json_str_is(m, "enabled"))
                        read_number(b, field, value);
                else if (!json_bool(value, &b->settings.auto_scaling))
                        spec_fault(&b->faults, field, "must be true or false");
        }
}

static void read_state(struct pool_body *b, const char *name, const struct json_node *v)
{
        b->has_state = true;
        b->state = json_str_is(v, "Draining") ? POOL_DRAINING : POOL_ACTIVE;
        if (!json_str_is(v, "Active") && !json_str_is(v, "Draining"))
                spec_fault(&b->faults, name, "must be \"Active\" or \"Draining\"");
}

static const struct {
        const char *name;
        unsigned in;
        field_fn *read;
} fields[] = {
        { "id", POOL_CREATES, read_id },
        { "template", POOL_CREATES, read_template },
        { "templateSource", POOL_CREATES, read_source },
        { "minReady", POOL_CREATES | POOL_UPDATES, read_number },
        { "maxReady", POOL_CREATES | POOL_UPDATES, read_number },
        { "maxAgeSeconds", POOL_CREATES | POOL_UPDATES, read_number },
        { "reusable", POOL_CREATES | POOL_UPDATES, read_reusable },
        { "autoScaling", POOL_CREATES | POOL_UPDATES, read_scaling },
        { "state", POOL_UPDATES, read_state },
};

enum { FIELDS = sizeof(fields) / sizeof(fields[0]) };

/* What can only be judged as a whole; the message begins with the field. */
static void check_settings(struct pool_body *b)
{
        char name[SPEC_FIELD_MAX];
        struct err e;

        if (b->bad_settings || pool_settings_check(&b->settings, &e) == 0)
                return;
        snprintf(name, sizeof(name), "%.*s", (int)strcspn(e.msg, " :"), e.msg);
        const char *rest = e.msg + strlen(name);
        spec_fault(&b->faults, name, "%.150s", rest + strspn(rest, " :"));
}

/* A field that is null is one that is not there; but a maximal age, which it takes away. */
void pool_body_read(struct pool_body *b, enum pool_body_kind kind, struct bytes text, const struct json_node *body)
{
        char name[SPEC_FIELD_MAX];

        b->template_len = text.len;
        for (const struct json_node *m = json_first(body); m; m = json_next(body, m)) {
                unsigned i = 0;

                while (i < FIELDS && !(json_str_is(m, fields[i].name) && (fields[i].in & kind)))
                        i++;
                snprintf(name, sizeof(name), "%.*s", m->len < 64 ? (int)m->len : 64, m->text);
                if (i == FIELDS)
                        spec_fault(&b->faults, name, "there is no such field");
                else if (!json_is_null(json_value(m)) || strcmp(name, "maxAgeSeconds") == 0)
                        fields[i].read(b, name, json_value(m));
        }
        if (kind == POOL_CREATES && (!json_get(body, "id") || json_is_null(json_get(body, "id"))))
                spec_fault(&b->faults, "id", "is missing");
        if (kind == POOL_CREATES && !b->template && !b->bad_template)
                spec_fault(&b->faults, "template", "is missing, and so is templateSource");
        check_settings(b);
}

void pool_body_release(struct pool_body *b)
{
        free(b->memory);
}

int pool_body_check(const struct pool_body *b, struct err *e)
{
        return b->faults.count == 0 ? 0 : spec_faults_err(&b->faults, b->is_unsupported, e);
}

int pool_body_spec(struct pool_body *b, struct spec *spec, char **arena, struct err *e)
{
        const struct spec_place place = { b->template_field, NULL, NULL };
        struct spec_faults faults;

        *arena = malloc(b->template_len + 1);
        if (!*arena)
                return err_set(e, ERR_RESOURCE_EXHAUSTED, 0, "out of memory");
        if (b->template && spec_json_read_at(&place, b->template, spec, *arena, b->template_len + 1, &faults, e) < 0) {
                for (unsigned i = 0; i < faults.count; i++)
                        spec_fault(&b->faults, faults.list[i].field, "%s", faults.list[i].message);
                b->is_unsupported = e->code == ERR_NOT_SUPPORTED;
        }
        return pool_body_check(b, e);
}
