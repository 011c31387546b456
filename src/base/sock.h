/*
 * Local sockets that carry descriptors. A message that carries more descriptors than the receiver has room for is refused and every
 * descriptor in it closed; received descriptors are O_CLOEXEC.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

enum { SOCK_FDS_MAX = 144 };

/* A connected pair, O_CLOEXEC. `type` is SOCK_STREAM or SOCK_SEQPACKET. Returns 0, or -1 with errno. */
int sock_pair(int type, int out[2]);

/* Connects to the stream socket that `file` (O_PATH will do) is, and not to what has since been put in its place. Returns a descriptor, O_NONBLOCK, or -1 with errno. */
int sock_connect_file(int file);
/* To the first socket in that directory, which is beneath `dir`. As above. */
int sock_connect_in(int dir, const char *path);

/* Sends one message with `nfds` descriptors (borrowed). Returns 0, or -1 with errno (EMSGSIZE: a short send on SEQPACKET). */
int sock_send(int fd, const void *data, size_t len, const int *fds, size_t nfds);

/* Receives one message. *nfds holds the room in `fds` on entry and the count on return; the caller owns them. Returns the length,
 * 0 at the end of the stream, or -1 with errno (EMSGSIZE: the message or its descriptors did not fit). */
ssize_t sock_recv(int fd, void *data, size_t cap, int *fds, size_t *nfds);

/* Whether sock_recv_from() on this end knows who sent a message. Returns 0, or -1 with errno. */
int sock_name_senders(int fd, bool on);
/* Receives one message without descriptors and without waiting, and the pid that its sender has for us (0: not known). Returns as sock_recv() does. */
ssize_t sock_recv_from(int fd, void *data, size_t cap, pid_t *sender);

/* Datagrams to `name` in that directory, a socket that nobody but its owner can reach; whatever had that name before has it no more. Returns a descriptor that knows the senders, or -1 with errno. */
int sock_bind_datagrams(const char *dir, const char *name);
/* Receives one message without waiting, the descriptor that came with it (*passed, owned; -1: none), and the uid of its sender. Returns as sock_recv() does. */
ssize_t sock_recv_with(int fd, void *data, size_t cap, int *passed, uid_t *sender);
/* Sends one to `path`, without waiting, with a descriptor (borrowed). Returns 0, or -1 with errno (EAGAIN: there is no room for it). */
int sock_send_datagram(const char *path, const void *data, size_t len, int passed);
