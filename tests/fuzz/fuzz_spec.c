#include "fuzz.h"

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "base/str.h"
#include "domain/spec.h"

/* Lines of "name=value" or "name", as a command line would have them: what is accepted is within the limits, and bad input changes nothing. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
        static struct spec spec, before;
        static const char *const command[] = { "true", NULL };
        char *text = malloc(len + 1), *save = NULL;
        struct err e;

        if (!text)
                return 0;
        if (len > 0)
                memcpy(text, data, len);
        text[len] = '\0';
        spec_init(&spec);
        for (char *line = strtok_r(text, "\n", &save); line; line = strtok_r(NULL, "\n", &save)) {
                char *equals = strchr(line, '=');

                if (equals)
                        *equals = '\0';
                before = spec;
                if (spec_set(&spec, line, equals ? equals + 1 : NULL, &e) < 0) {
                        if (memcmp(&before, &spec, sizeof(spec)) != 0 || !e.msg[0] || memchr(e.msg, '\0', sizeof(e.msg)) == NULL)
                                __builtin_trap();
                        continue;
                }
                if (spec_takes_value(line) < 0 || spec.env_count > SPEC_ENV_MAX || spec.label_count > SPEC_LABELS_MAX ||
                    spec.env[spec.env_count])
                        __builtin_trap();
        }
        spec.command = command;
        spec_check(&spec, &e);
        free(text);
        return 0;
}
