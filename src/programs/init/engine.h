#pragma once

/* Started by an OCI engine: puts the descriptors where the warden's own way of starting has them (wire/boot.h). */
void engine_settle(void);
