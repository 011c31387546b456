#pragma once

#include <stdbool.h>

/* Answers FUSE requests on a connected socket from the tree at `root`, read-only, until the other end closes it. `owners`: whom files belong to is shown; else it is
 * root, whoever that is here. */
void share_run(int socket, int root, bool owners);
