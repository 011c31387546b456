#include "fuzz.h"

#include <stdlib.h>
#include <string.h>

#include "wire/image_answer.h"

/* What is an answer is the same answer after encoding, byte by byte. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
        static struct image_answer a;
        static uint8_t arena[IMAGE_ANSWER_ARENA], again[IMAGE_ANSWER_MAX];

        if (image_answer_get(data, len, arena, sizeof(arena), &a) < 0)
                return 0;
        struct wbuf w = wbuf_over(again, sizeof(again));
        image_answer_put(&w, &a);
        /* texts of errors may have been cut to what an error holds */
        if (w.bad || (a.ok && (w.len != len || memcmp(again, data, len) != 0)))
                __builtin_trap();
        if (a.ok && (a.layer_count > IMAGE_ANSWER_LAYERS_MAX || a.env.items[a.env.count] || a.cmd.items[a.cmd.count] ||
                     a.entrypoint.items[a.entrypoint.count]))
                __builtin_trap();
        return 0;
}
