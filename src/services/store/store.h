/*
 * What the daemon remembers: keys and values, shaped like etcd's, so that etcd can stand behind it. SQLite does here.
 *
 * A revision grows by one with each transaction that changes something. Every call answers by callback; SQLite calls it before the function returns, another
 * implementation may call it later: be ready for both. A callback may call the store.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

enum { STORE_KEY_MAX = 1024, STORE_VALUE_MAX = 1536 * 1024, STORE_OPS_MAX = 128 };

struct store;

struct store_kv {
        const char *key;
        const void *value;
        size_t len;
        uint64_t create_revision, mod_revision;
};

/* Opens the file at `path`, or makes it. What is no store of ours is refused and stays as it is. */
int store_open_sqlite(const char *path, struct store **out, struct err *e);
void store_close(struct store *s);

/* One step of a transaction: value NULL deletes the key. `expect` is compared first: STORE_ANY, 0 where the key must not be there, else its mod_revision. */
#define STORE_ANY UINT64_MAX

struct store_op {
        const char *key;
        const void *value;
        size_t len;
        uint64_t expect;
};

/* `lost`: a comparison failed, and nothing was changed. */
typedef void store_done_fn(void *ctx, bool lost, uint64_t revision, const struct err *e);

/* All of it or nothing. Without `durable` it survives the end of this process, not that of the host; with it `done` is called when it is on the disk.
 * RESOURCE_EXHAUSTED where the disk is full. `done` may be NULL. */
void store_txn(struct store *s, const struct store_op *ops, size_t count, bool durable, store_done_fn *done, void *ctx);

/* Every key that begins with `prefix`, in order; `each` returns false for enough. Then `done`. Pointers are good until `each` returns. */
typedef bool store_each_fn(void *ctx, const struct store_kv *kv);
void store_range(struct store *s, const char *prefix, store_each_fn *each, store_done_fn *done, void *ctx);

/* Cheap: does it answer, and is there room? */
bool store_healthy(struct store *s);
