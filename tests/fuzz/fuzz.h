/*
 * A fuzz target is one function, LLVMFuzzerTestOneInput(). With -Dfuzz=true it is linked with libFuzzer; otherwise with fuzz.c, which
 * runs it over the files and folders named on the command line and then over mutations of them (a fixed number, from a fixed seed), so
 * that every target is also a test.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

/* What must hold, whatever the input. */
#define NEED(cond)                                                                                                                         \
        do {                                                                                                                               \
                if (!(cond)) {                                                                                                             \
                        fprintf(stderr, "%s:%d: %s\n", __FILE__, __LINE__, #cond);                                                         \
                        abort();                                                                                                           \
                }                                                                                                                          \
        } while (0)

/* The input as a string, in a block of exactly its size: what a command line or an archive would hand over. Owned by the caller. */
static inline char *fuzz_text(const uint8_t *data, size_t len)
{
        char *text = malloc(len + 1);

        NEED(text);
        if (len > 0)
                memcpy(text, data, len);
        text[len] = '\0';
        return text;
}
