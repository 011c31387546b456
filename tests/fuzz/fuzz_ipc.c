#include "fuzz.h"

#include "wire/ipc.h"

/* Every decoder over every input: none may read beyond it, and what it accepts must be accepted again after encoding. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
        static struct ipc_spawn spawn;
        static struct ipc_image image;
        static uint8_t again[IPC_MESSAGE_MAX];
        struct ipc_header head;
        struct ipc_hello hello;
        struct ipc_exited exited;
        struct rbuf body, copy;
        struct err e;

        if (ipc_get_header(data, len, &head, &body) < 0)
                return 0;
        copy = body;
        ipc_get_hello(&copy, &hello);
        copy = body;
        ipc_get_image(&copy, &image);
        copy = body;
        ipc_get_exited(&copy, &exited);
        copy = body;
        ipc_get_error(&copy, &e);
        copy = body;
        if (ipc_get_spawn(&copy, &spawn) == 0) {
                struct wbuf w = wbuf_over(again, sizeof(again));

                ipc_put_spawn(&w, &spawn);
                struct rbuf r = rbuf_over(again, w.len);
                if (!w.bad && ipc_get_spawn(&r, &spawn) < 0)
                        __builtin_trap();
        }
        return 0;
}
