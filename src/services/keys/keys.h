/*
 * Who calls: API keys, and what their holders may do.
 *
 * A key is shown once, when it is made. What is kept is the SHA-256 of it: a key has 160 random bits, so nothing slower is needed.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "services/store/store.h"

enum { KEY_ID_MAX = 8, KEY_NAME_MAX = 64, KEY_TEXT_MAX = 80, KEYS_MAX = 10000, PRINCIPAL_MAX = 127 };

enum key_role { ROLE_NONE, ROLE_AGENT, ROLE_OPERATOR, ROLE_ADMIN };

const char *key_role_name(enum key_role role);
enum key_role key_role_of(const char *name); /* ROLE_NONE: there is none of that name */

/* Somebody who was recognised. */
struct principal {
        enum key_role role;
        char name[PRINCIPAL_MAX + 1]; /* "key:ab12cd34", "uid:1000", "jwt:alice": the owner of what it makes */
};

struct keys;

struct key_info {
        char id[KEY_ID_MAX + 1];
        char name[KEY_NAME_MAX + 1];
        enum key_role role;
        uint64_t created_ms, expires_ms, used_ms; /* since 1970; 0: never */
};

/* Reads what is in the store. */
int keys_open(struct store *store, struct keys **out, struct err *e);

/* One of the config file: `sha256` is the hex digest of the key. It is not stored, and cannot be revoked by the API. */
int keys_add_fixed(struct keys *k, const char *name, enum key_role role, const char *sha256, struct err *e);

typedef void key_made_fn(void *ctx, const struct key_info *info, const char *text, const struct err *e);
/* Answers when it is on the disk. `text` is the key. `ttl_ms` 0: no end. */
void keys_make(struct keys *k, const char *name, enum key_role role, uint64_t ttl_ms, key_made_fn *done, void *ctx);

typedef void key_done_fn(void *ctx, const struct err *e);
/* It is refused from this call on; answers when that is on the disk. One that is not there is SANDBOX_NOT_FOUND: the API has no other 404 for it. */
void keys_revoke(struct keys *k, const char *id, key_done_fn *done, void *ctx);

/* The holder of a key, or UNAUTHENTICATED. */
int keys_check(struct keys *k, const char *text, struct principal *out, struct err *e);

/* Walks them: `i` from 0 until it is false. */
int keys_count(const struct keys *k);
const struct key_info *keys_at(const struct keys *k, int i);
