/*
 * ttrpc: frames one after the other, each taken as a response and as what Wait answers. What is decoded lies inside the input; and the input as the words of a
 * request, which is a frame again.
 */
#include "fuzz.h"

#include "wire/ttrpc.h"

static bool inside(struct bytes part, struct bytes whole)
{
        return part.len == 0 || (part.data >= whole.data && part.len <= whole.len && part.data + part.len <= whole.data + whole.len);
}

static void walk(const uint8_t *data, size_t len)
{
        struct ttrpc_response r;
        struct ttrpc_frame f;
        uint32_t status;
        size_t used;

        for (; ttrpc_parse(data, len, &f, &used) == 1; data += used, len -= used) {
                NEED(used >= TTRPC_HEADER && used <= len && f.payload.len == used - TTRPC_HEADER && f.payload.len <= TTRPC_FRAME_MAX);
                NEED(inside(f.payload, (struct bytes){ data, used }));
                if (ttrpc_get_response(f.payload, &r) == 0)
                        NEED(inside(r.message, f.payload) && inside(r.payload, f.payload));
                task_get_wait(f.payload, &status);
        }
}

static void ask(const char *text)
{
        uint8_t room[TTRPC_MESSAGE_MAX + TTRPC_HEADER];
        const struct task_create c = { text, text, text, NULL, "", strlen(text) % 2 ? text : NULL, text, 6 };
        struct wbuf w = wbuf_over(room, sizeof(room));
        struct ttrpc_frame f;
        size_t used;

        task_put_create(&w, 1, &c);
        NEED(w.bad || (ttrpc_parse(room, w.len, &f, &used) == 1 && used == w.len && f.type == TTRPC_REQUEST && f.stream == 1));
        NEED(!w.bad || strlen(text) > 1000);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
        uint8_t *copy = malloc(len ? len : 1);
        struct ttrpc_response r;
        uint32_t status;

        NEED(copy);
        memcpy(copy, data, len);
        walk(copy, len);
        ttrpc_get_response((struct bytes){ copy, len }, &r);
        task_get_wait((struct bytes){ copy, len }, &status);
        free(copy);
        char *text = fuzz_text(data, len);
        ask(text);
        free(text);
        return 0;
}
