/*
 * The unit test harness: a program is a list of TEST()s; each prints "ok NAME" or "not ok NAME: file:line: what". The program ends with
 * "N passed, N failed, N skipped" and fails where any test failed. A failed CHECK ends its test.
 */
#pragma once

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct test {
        const char *name;
        void (*run)(void);
        struct test *next;
};

extern struct test *test_list;
extern int test_failed_here;
extern const char *test_skip_reason;

void test_fail(const char *file, int line, const char *fmt, ...) __attribute__((format(printf, 3, 4)));

#define TEST(id)                                                                                                                           \
        static void test_##id(void);                                                                                                       \
        static struct test test_entry_##id = { #id, test_##id, NULL };                                                                     \
        __attribute__((constructor)) static void test_register_##id(void)                                                                  \
        {                                                                                                                                  \
                struct test **at = &test_list;                                                                                             \
                while (*at)                                                                                                                \
                        at = &(*at)->next;                                                                                                 \
                *at = &test_entry_##id;                                                                                                    \
        }                                                                                                                                  \
        static void test_##id(void)

#define CHECK(cond)                                                                                                                        \
        do {                                                                                                                               \
                if (!(cond)) {                                                                                                             \
                        test_fail(__FILE__, __LINE__, "%s", #cond);                                                                        \
                        return;                                                                                                            \
                }                                                                                                                          \
        } while (0)

#define CHECK_INT(a, b)                                                                                                                    \
        do {                                                                                                                               \
                long long check_a_ = (long long)(a), check_b_ = (long long)(b);                                                            \
                if (check_a_ != check_b_) {                                                                                                \
                        test_fail(__FILE__, __LINE__, "%s is %lld, wanted %lld", #a, check_a_, check_b_);                                  \
                        return;                                                                                                            \
                }                                                                                                                          \
        } while (0)

#define CHECK_STR(a, b)                                                                                                                    \
        do {                                                                                                                               \
                const char *check_a_ = (a), *check_b_ = (b);                                                                               \
                if (strcmp(check_a_, check_b_) != 0) {                                                                                     \
                        test_fail(__FILE__, __LINE__, "%s is \"%s\", wanted \"%s\"", #a, check_a_, check_b_);                              \
                        return;                                                                                                            \
                }                                                                                                                          \
        } while (0)

/* Ends the test as skipped; the reason names what the host lacks. */
#define SKIP(reason)                                                                                                                       \
        do {                                                                                                                               \
                test_skip_reason = (reason);                                                                                               \
                return;                                                                                                                    \
        } while (0)
