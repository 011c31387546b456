/*
 * SHA-1 (FIPS 180-4), for the one thing that still asks for it: the handshake of a WebSocket, where it protects nothing.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

enum { SHA1_LEN = 20 };

void sha1(const void *data, size_t len, uint8_t out[SHA1_LEN]);
