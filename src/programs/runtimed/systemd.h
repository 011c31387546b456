/*
 * What systemd hands to a service and wants to hear of it (sd_listen_fds(3), sd_notify(3)), without its library.
 */
#pragma once

#include <stdbool.h>

#include "base/err.h"

/* Started by systemd with sockets? */
bool systemd_has_sockets(void);

/* Puts what it handed over to FD_SOCKET and FD_LISTEN, by kind. */
int systemd_take_sockets(struct err *e);

/* Connects to who wants to hear; to be called before confine_daemon(). */
void systemd_open(void);
void systemd_say(const char *text); /* "READY=1" */
