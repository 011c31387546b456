/*
 * What an emulator says to a request: it is the same however it was cut (the first bytes of the input say how), ends, and its reason for a refusal is printable.
 */
#include "fuzz.h"

#include "domain/vmm.h"

enum { CUTS = 4 };

/* To its end, each piece in a block of its own; `cuts` NULL: in one. */
static enum http_event hear(struct vmm_answer *a, const uint8_t *data, size_t len, const uint8_t *cuts)
{
        enum http_event event = HTTP_MORE;

        vmm_answer_init(a);
        for (size_t i = 0; len > 0 && event == HTTP_MORE; i++) {
                size_t n = cuts ? 1U + cuts[i % CUTS] : len;

                n = n < len ? n : len;
                uint8_t *piece = malloc(n);
                NEED(piece);
                memcpy(piece, data, n);
                event = vmm_answer_take(a, piece, n);
                free(piece);
                data += n;
                len -= n;
        }
        if (event == HTTP_MORE)
                event = vmm_answer_take(a, NULL, 0);
        NEED((event == HTTP_DONE && a->http.status >= 200 && a->http.status <= 599 && a->len <= VMM_ANSWER_MAX) ||
             (event == HTTP_BAD && a->http.why && *a->http.why));
        NEED(a->body_len <= VMM_BODY_MAX);
        return event;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
        static struct vmm_answer whole, pieces;
        char reason[64];

        if (len < CUTS)
                return 0;
        enum http_event event = hear(&whole, data + CUTS, len - CUTS, NULL);
        NEED(hear(&pieces, data + CUTS, len - CUTS, data) == event);
        NEED(event == HTTP_BAD || (whole.http.status == pieces.http.status && whole.body_len == pieces.body_len &&
                                   memcmp(whole.body, pieces.body, whole.body_len) == 0));
        char *body = malloc(whole.body_len ? whole.body_len : 1);
        NEED(body);
        memcpy(body, whole.body, whole.body_len);
        vmm_reason(body, whole.body_len, reason, sizeof(reason));
        free(body);
        vmm_reason(data, len, reason, sizeof(reason));
        for (const char *p = reason; *p; p++)
                NEED(*p >= ' ' && *p < 0x7f);
        return 0;
}
