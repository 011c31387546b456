#pragma once

/* Answers FUSE requests on a connected socket from the tree at `root`, read-only, until the other end closes it. */
void share_run(int socket, int root);
