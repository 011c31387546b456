/*
 * Answers of creto-image: what is taken is encoded again and must come out as it went in, byte by byte, so that there is one way to say each
 * thing. Lent memory of any size and alignment is enough or is said not to be.
 */
#include "fuzz.h"

#include "domain/image_ref.h"
#include "wire/image_answer.h"

static void check_list(const struct image_answer_list *l)
{
        NEED(l->count <= IMAGE_ANSWER_STRINGS_MAX);
        for (uint32_t i = 0; i < l->count; i++)
                NEED(l->items[i]);
        NEED(l->items[l->count] == NULL);
}

static void check(const struct image_answer *a)
{
        if (!a->ok) {
                NEED(a->error.code > ERR_NONE && a->error.code < ERR_CODE_COUNT);
                NEED(memchr(a->error.msg, '\0', sizeof(a->error.msg)) && memchr(a->error.hint, '\0', sizeof(a->error.hint)));
                for (const char *s = a->error.msg; *s; s++)
                        NEED((unsigned char)*s >= ' ' && *s != 0x7f);
                return;
        }
        NEED(memcmp(a->id, "sha256:", 7) == 0 && image_is_hex(a->id + 7));
        NEED(a->layer_count <= IMAGE_ANSWER_LAYERS_MAX);
        for (uint32_t i = 0; i < a->layer_count; i++)
                NEED(image_is_hex(a->layers[i]));
        check_list(&a->env);
        check_list(&a->entrypoint);
        check_list(&a->cmd);
        NEED(a->cwd && a->user);
}

/* In a block of exactly `cap` bytes, so that a sanitizer sees the first byte beyond. */
static void with_little(const uint8_t *data, size_t len, size_t cap)
{
        static struct image_answer a;
        uint8_t *arena = malloc(cap ? cap : 1);

        NEED(arena);
        if (image_answer_get(data, len, arena, cap, &a) == 0)
                check(&a);
        free(arena);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
        static struct image_answer a;
        static uint8_t arena[IMAGE_ANSWER_ARENA + 8], again[IMAGE_ANSWER_MAX];

        with_little(data, len, len > 0 ? data[len - 1] : 0);
        if (image_answer_get(data, len, arena + len % 8, IMAGE_ANSWER_ARENA, &a) < 0)
                return 0;
        check(&a);
        struct wbuf w = wbuf_over(again, sizeof(again));
        image_answer_put(&w, &a);
        NEED(!w.bad && w.len == len && memcmp(again, data, len) == 0);
        return 0;
}
