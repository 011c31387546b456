#pragma once

/* Carries whole FUSE messages between the kernel (`fuse`) and the serial port. Returns when either has ended. */
void relay_run(int fuse, int port);
