/*
 * The prewarm server of this sandbox, of which there is one at most (docs/protocols/prewarm.md). It is a command in a channel of its own; what it says
 * is believed only where the kernel says the same, and nothing here waits for it longer than it must.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "programs/init/channel.h"
#include "programs/init/exec/spawn.h"

bool prewarm_is_there(void);

/* The two ends for a server that is about to start: ours, and its descriptor 3. Returns 0, or -1 with errno. */
int prewarm_pair(int ends[2]);

/* The server runs in channel `c`; takes our end. Its STARTED waits for its first READY. */
void prewarm_begin(struct channel *c, pid_t pid, int socket, const struct identity *id, bool has_stdin);

/* True where a standby may be asked to run this. Waits for one that is on its way. */
bool prewarm_fits(const struct spawn *order);

/* True where the standby's own standard streams become the command's: `fds` of the order are then of no use, and prewarm_hand_over() follows. */
bool prewarm_keeps(void);

/* A process that has become the command and that is a child of ours, or -1: a cold start, with other streams, is to be made. */
pid_t prewarm_run(const struct spawn *order, bool has_stdin);

/* The server has become the command of `c`. */
void prewarm_hand_over(struct channel *c, bool has_stdin, uint32_t timeout_ms);

/* A child of ours has ended, whoever it was. */
void prewarm_reaped(pid_t pid);

void prewarm_watch(void);
void prewarm_ready(void);
