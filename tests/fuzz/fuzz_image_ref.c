#include "fuzz.h"

#include <stdlib.h>
#include <string.h>

#include "domain/image_ref.h"

/* What is a reference has a name in full, which is a reference to the same. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
        static struct image_ref ref, again;
        static char name[IMAGE_NAME_MAX + 1], name2[IMAGE_NAME_MAX + 1];
        char *text = malloc(len + 1);
        struct err e;

        if (!text)
                return 0;
        if (len > 0)
                memcpy(text, data, len);
        text[len] = '\0';
        if (image_ref_parse(text, &ref, &e) == 0) {
                image_ref_format(&ref, name, sizeof(name));
                if (image_ref_parse(name, &again, &e) < 0 || again.kind != ref.kind)
                        __builtin_trap();
                image_ref_format(&again, name2, sizeof(name2));
                if (strcmp(name, name2) != 0 || strcmp(ref.path, again.path) != 0 || strcmp(ref.hex, again.hex) != 0)
                        __builtin_trap();
                if (ref.hex[0] && !image_is_hex(ref.hex))
                        __builtin_trap();
                image_ref_is_loopback(&ref);
        } else if (!e.msg[0]) {
                __builtin_trap();
        }
        free(text);
        return 0;
}
