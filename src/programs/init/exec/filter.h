#pragma once

/* Installs the seccomp filter that everything in the sandbox inherits, for who was started without it. Returns its listener; where it cannot, it does not return. */
int filter_install(void);
