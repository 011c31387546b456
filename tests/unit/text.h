/*
 * Text that a test lets grow; one at a time.
 */
#pragma once

#include <string.h>

static char grown[64 * 1024];
static size_t grown_len;

static void add(const char *s)
{
        memcpy(grown + grown_len, s, strlen(s));
        grown_len += strlen(s);
}

static void fill(size_t n)
{
        memset(grown + grown_len, 'x', n);
        grown_len += n;
}

static void start(const char *s)
{
        grown_len = 0;
        add(s);
}
