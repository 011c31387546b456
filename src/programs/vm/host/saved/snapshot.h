#pragma once

/* Waits on `setup` until the guest is ready, and has QEMU (`qmp`) write it to `state`, running: it goes on where it is read. Returns 0, or -1 where the state is of no use. */
int snapshot_take(int setup, int qmp, int state);
/* Ends QEMU. */
void snapshot_end(int qmp);
