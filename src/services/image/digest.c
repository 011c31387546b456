#include "services/image/digest.h"

#include <errno.h>
#include <openssl/evp.h>
#include <stdlib.h>
#include <unistd.h>

enum { CHUNK = 256 * 1024 };

struct digest {
        EVP_MD_CTX *md;
};

/* A hash that cannot be made must not become a hash that is wrong. */
static void must(int ok)
{
        if (ok != 1)
                abort();
}

struct digest *digest_new(void)
{
        struct digest *d = calloc(1, sizeof(*d));

        if (!d)
                return NULL;
        d->md = EVP_MD_CTX_new();
        if (!d->md) {
                free(d);
                return NULL;
        }
        must(EVP_DigestInit_ex(d->md, EVP_sha256(), NULL));
        return d;
}

void digest_free(struct digest *d)
{
        if (!d)
                return;
        EVP_MD_CTX_free(d->md);
        free(d);
}

void digest_free_p(struct digest **d)
{
        digest_free(*d);
}

void digest_add(struct digest *d, const void *data, size_t len)
{
        must(EVP_DigestUpdate(d->md, data, len));
}

static void to_hex(const unsigned char *bytes, char hex[DIGEST_HEX + 1])
{
        static const char digits[] = "0123456789abcdef";

        for (size_t i = 0; i < DIGEST_HEX / 2; i++) {
                hex[2 * i] = digits[bytes[i] >> 4];
                hex[2 * i + 1] = digits[bytes[i] & 15];
        }
        hex[DIGEST_HEX] = '\0';
}

void digest_end(struct digest *d, char hex[DIGEST_HEX + 1])
{
        unsigned char out[EVP_MAX_MD_SIZE];
        unsigned len;

        must(EVP_DigestFinal_ex(d->md, out, &len));
        to_hex(out, hex);
}

void digest_of(const void *data, size_t len, char hex[DIGEST_HEX + 1])
{
        unsigned char out[EVP_MAX_MD_SIZE];
        unsigned n;

        must(EVP_Digest(data, len, out, &n, EVP_sha256(), NULL));
        to_hex(out, hex);
}

static int pass(int fd, uint64_t max, struct digest *d, uint8_t *chunk, uint64_t *size, struct err *e)
{
        for (*size = 0;;) {
                ssize_t n = read(fd, chunk, CHUNK);

                if (n < 0 && errno == EINTR)
                        continue;
                if (n < 0)
                        return err_sys(e, "cannot read");
                if (n == 0)
                        return 0;
                if ((uint64_t)n > max - *size)
                        return err_set(e, ERR_RESOURCE_EXHAUSTED, 0, "more than %llu bytes", (unsigned long long)max);
                *size += (uint64_t)n;
                digest_add(d, chunk, (size_t)n);
        }
}

int digest_fd(int fd, uint64_t max, char hex[DIGEST_HEX + 1], uint64_t *size, struct err *e)
{
        auto_digest d = digest_new();
        uint8_t *chunk = malloc(CHUNK);
        int r = d && chunk ? pass(fd, max, d, chunk, size, e) : err_set(e, ERR_RESOURCE_EXHAUSTED, 0, "out of memory");

        if (r == 0)
                digest_end(d, hex);
        free(chunk);
        return r;
}
