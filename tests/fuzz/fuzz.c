#include "fuzz.h"

#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { INPUT_MAX = 1 << 20, MUTATIONS = 2000 };

static uint64_t state = 0x9e3779b97f4a7c15;
static unsigned long runs;

static uint32_t next(void)
{
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        return (uint32_t)(state >> 16);
}

/* Each input in a block of exactly its size, so that a sanitizer sees the first byte beyond. */
static void feed(const uint8_t *data, size_t len)
{
        uint8_t *copy = malloc(len ? len : 1);

        if (!copy)
                abort();
        if (len)
                memcpy(copy, data, len);
        LLVMFuzzerTestOneInput(copy, len);
        free(copy);
        runs++;
}

static void mutate(const uint8_t *seed, size_t len)
{
        static uint8_t work[INPUT_MAX];

        for (int i = 0; i < MUTATIONS; i++) {
                size_t n = len;

                memcpy(work, seed, len);
                for (uint32_t k = next() % 6; k-- > 0 && n > 0;) {
                        switch (next() % 4) {
                        case 0:
                                work[next() % n] ^= (uint8_t)(1U << (next() % 8));
                                break;
                        case 1:
                                work[next() % n] = (uint8_t)next();
                                break;
                        case 2:
                                n = next() % (n + 1);
                                break;
                        default:
                                work[next() % n] = (next() & 1) ? 0xff : 0;
                                break;
                        }
                }
                feed(work, n);
        }
}

static void take(const char *path)
{
        static uint8_t data[INPUT_MAX];
        struct stat st;

        if (stat(path, &st) < 0) {
                perror(path);
                exit(2);
        }
        if (S_ISDIR(st.st_mode)) {
                DIR *dir = opendir(path);
                struct dirent *e;

                while (dir && (e = readdir(dir))) {
                        char child[4096];

                        if (e->d_name[0] == '.')
                                continue;
                        snprintf(child, sizeof(child), "%s/%s", path, e->d_name);
                        take(child);
                }
                if (dir)
                        closedir(dir);
                return;
        }
        int fd = open(path, O_RDONLY | O_CLOEXEC);
        ssize_t n = fd < 0 ? -1 : read(fd, data, sizeof(data));
        if (fd >= 0)
                close(fd);
        if (n < 0) {
                perror(path);
                exit(2);
        }
        feed(data, (size_t)n);
        mutate(data, (size_t)n);
}

int main(int argc, char **argv)
{
        static const uint8_t empty[64];

        feed(empty, 0);
        mutate(empty, sizeof(empty));
        for (int i = 1; i < argc; i++)
                take(argv[i]);
        printf("ok %s: %lu inputs\n", argv[0], runs);
        return 0;
}
