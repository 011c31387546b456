/* A kernel image: what is said to be packed lies inside it, and what comes of it has the size that it was said to have, or is nothing. */
#include "fuzz.h"

#include "wire/bzimage.h"

enum { MOST = 1 << 20 };

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
        uint8_t *copy = malloc(len ? len : 1);
        struct bytes packed;
        size_t size;

        NEED(copy);
        memcpy(copy, data, len);
        if (bzimage_find(copy, len, &packed, &size) == BZIMAGE_LZ4) {
                NEED(packed.data >= copy && packed.len <= (size_t)(copy + len - packed.data) && size <= BZIMAGE_ELF_MAX);
                size = size < MOST ? size : MOST;
                void *out = malloc(size);
                NEED(out);
                bzimage_unpack(packed, out, size);
                free(out);
        }
        free(copy);
        return 0;
}
