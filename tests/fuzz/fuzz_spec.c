/*
 * Lines of "name=value" or "name", as a command line would have them, and behind a line "--" the command: what is taken is within its
 * limits, taking it twice changes nothing more, and what is refused changes nothing. Each value is read as every kind of number, too.
 */
#include "fuzz.h"

#include <ctype.h>
#include <errno.h>
#include <stdbool.h>

#include "base/str.h"
#include "domain/classes.h"
#include "domain/spec.h"

enum { COMMAND_MAX = 64 };

/* ---- numbers ---- */

/* The C library's reading of the leading digits; false where there are none, or too many. */
static bool digits(const char *s, uint64_t *out, const char **end)
{
        char *stop;

        if (!isdigit((unsigned char)*s))
                return false;
        errno = 0;
        *out = strtoull(s, &stop, 10);
        *end = stop;
        return errno == 0;
}

static void check_u64(const char *s)
{
        const char *end = s;
        uint64_t ours = 1, theirs = 0;
        bool plain = digits(s, &theirs, &end) && *end == '\0';

        NEED(str_parse_u64(s, &ours) == plain);
        NEED(!plain || ours == theirs);
}

static void check_bytes(const char *s)
{
        static const char units[] = "KMGT";
        const char *end, *unit;
        char text[32];
        uint64_t bytes, number, again;

        if (!str_parse_bytes(s, &bytes))
                return;
        NEED(digits(s, &number, &end));
        unit = *end ? strchr(units, toupper((unsigned char)*end)) : NULL;
        NEED(bytes >> (unit ? (unit - units + 1) * 10 : 0) == number && strlen(end) <= 3);
        snprintf(text, sizeof(text), "%lluB", (unsigned long long)bytes);
        NEED(str_parse_bytes(text, &again) && again == bytes);
        str_format_bytes(bytes, text, sizeof(text));
        NEED(strlen(text) > 2 && strlen(text) < sizeof(text) - 1);
}

static void check_ms(const char *s)
{
        char text[32];
        uint64_t ms, again;

        if (!str_parse_ms(s, &ms))
                return;
        snprintf(text, sizeof(text), "%llums", (unsigned long long)ms);
        NEED(str_parse_ms(text, &again) && again == ms);
}

/* ---- the spec ---- */

static void check_limits(const struct limits *l)
{
        char text[64];

        NEED(limits_valid(l));
        for (int i = 0; i < LIMIT_COUNT; i++) {
                limit_format((enum limit)i, l->value[i], text, sizeof(text));
                NEED(text[0] && strlen(text) < 32);
        }
}

static void check_spec(const struct spec *s)
{
        check_limits(&s->limits);
        NEED(s->image[0] && strlen(s->image) <= 4000);
        NEED(str_is_id(s->runtime, CLASS_NAME_MAX));
        NEED(s->env_count <= SPEC_ENV_MAX && !s->env[s->env_count] && s->label_count <= SPEC_LABELS_MAX);
        for (size_t i = 0; i < s->env_count; i++)
                NEED(strchr(s->env[i], '=') > s->env[i]);
        for (size_t i = 0; i < s->label_count; i++)
                NEED(strchr(s->labels[i], '=') > s->labels[i] && strlen(s->labels[i]) <= 1024);
        NEED(!s->cwd || (s->cwd[0] == '/' && strlen(s->cwd) <= 4095));
        NEED(!s->user || (s->user[0] && strlen(s->user) <= 255 && !strpbrk(s->user, " \t\n/")));
        NEED(s->timeout_ms <= UINT32_MAX && s->ttl_ms <= UINT32_MAX);
}

static void set(struct spec *s, const char *name, const char *value)
{
        static struct spec before, once;
        struct err e = { 0 };

        before = *s;
        if (spec_set(s, name, value, &e) < 0) {
                NEED(memcmp(&before, s, sizeof(*s)) == 0);
                NEED((e.code == ERR_INVALID_SPEC || e.code == ERR_NOT_SUPPORTED) && e.msg[0]);
                return;
        }
        NEED(spec_takes_value(name) == (value != NULL));
        check_spec(s);
        if (strcmp(name, "env") == 0 || strcmp(name, "label") == 0)
                return;
        once = *s;
        NEED(spec_set(s, name, value, &e) == 0 && memcmp(&once, s, sizeof(*s)) == 0);
}

static void check_whole(const struct spec *s)
{
        struct err e = { 0 };
        size_t total = 0;

        if (spec_check(s, &e) < 0) {
                NEED(e.code == ERR_INVALID_SPEC && e.msg[0]);
                return;
        }
        for (size_t i = 0; i < s->env_count; i++)
                total += strlen(s->env[i]);
        for (size_t i = 0; s->command[i]; i++)
                total += strlen(s->command[i]);
        NEED(total <= SPEC_TOTAL_MAX);
        NEED(s->command[0] ? s->command[0][0] != '\0' : strcmp(s->image, "host") != 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
        static struct spec spec;
        const char *command[COMMAND_MAX + 1] = { NULL };
        char *text = fuzz_text(data, len), *rest = text, *line;
        size_t argc = 0;
        bool behind = false;

        spec_init(&spec);
        while ((line = strsep(&rest, "\n"))) {
                char *value = strchr(line, '=');

                if (behind) {
                        if (argc < COMMAND_MAX)
                                command[argc++] = line;
                        continue;
                }
                behind = strcmp(line, "--") == 0;
                if (value)
                        *value++ = '\0';
                set(&spec, line, value);
                if (value) {
                        check_u64(value);
                        check_bytes(value);
                        check_ms(value);
                }
        }
        spec.command = command;
        check_whole(&spec);
        free(text);
        return 0;
}
