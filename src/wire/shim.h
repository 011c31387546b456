/*
 * What the warden hands to creto-shim at exec: its descriptors. Its arguments are the id of the container and, where there are options, their type, the number of the
 * one field that they have, and its text. The paths are those of the bundle as the shim sees it.
 */
#pragma once

#define SHIM_BUNDLE "/tmp"
#define SHIM_LOG SHIM_BUNDLE "/log"
#define SHIM_STDIN SHIM_BUNDLE "/stdin"
#define SHIM_STDOUT SHIM_BUNDLE "/stdout"
#define SHIM_EVENTS SHIM_BUNDLE "/events"

enum shim_fd {
        SHIM_FD_LOG,   /* a fifo: what the shim writes to its log, and the container to its standard error */
        SHIM_FD_IN,    /* a fifo: the container's standard input */
        SHIM_FD_SAID,  /* a file: the last line is why it ended */
        SHIM_FD_OUT,   /* a fifo: the container's standard output */
        SHIM_FD_TASK,  /* the shim's socket, connected */
        SHIM_FD_SINK,  /* listens: the shim tells there what happens */
        SHIM_FD_GUEST, /* the host's end of the guest stream: connected, or listening */
        SHIM_FD_SLOT,  /* kept open and never used: it holds the id range */
        SHIM_FD_READY, /* an eventfd, written to when the container has started, and answers */
        SHIM_FDS,
};
