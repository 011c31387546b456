/*
 * A fuzz target is one function, LLVMFuzzerTestOneInput(). With -Dfuzz=true it is linked with libFuzzer; otherwise with fuzz.c, which
 * runs it over the files and folders named on the command line and then over mutations of them (a fixed number, from a fixed seed), so
 * that every target is also a test.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);
