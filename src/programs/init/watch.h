/* What the one ppoll(2) of main.c waits for; each turn of the loop the rooms say anew what they wait for. */
#pragma once

#include <stdint.h>

enum watch {
        WATCH_LISTEN,
        WATCH_CANDIDATE,
        WATCH_STREAM,
        WATCH_NOTIFY,
        WATCH_PREWARM,
        WATCH_STDIN, /* of channel slot `index` */
        WATCH_STDOUT,
        WATCH_STDERR,
};

void watch_add(int fd, short events, enum watch what, uint32_t index);
