#include "test.h"

#include <stdarg.h>

struct test *test_list;
int test_failed_here;
const char *test_skip_reason;

static const char *current;

void test_fail(const char *file, int line, const char *fmt, ...)
{
        va_list ap;

        test_failed_here = 1;
        printf("not ok %s: %s:%d: ", current, file, line);
        va_start(ap, fmt);
        vprintf(fmt, ap);
        va_end(ap);
        printf("\n");
}

int main(int argc, char **argv)
{
        int passed = 0, failed = 0, skipped = 0;

        for (struct test *t = test_list; t; t = t->next) {
                if (argc > 1 && strcmp(argv[1], t->name) != 0)
                        continue;
                current = t->name;
                test_failed_here = 0;
                test_skip_reason = NULL;
                t->run();
                if (test_failed_here) {
                        failed++;
                } else if (test_skip_reason) {
                        printf("skip %s: %s\n", t->name, test_skip_reason);
                        skipped++;
                } else {
                        printf("ok %s\n", t->name);
                        passed++;
                }
        }
        printf("%d passed, %d failed, %d skipped\n", passed, failed, skipped);
        return failed > 0;
}
