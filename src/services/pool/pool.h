/*
 * Warm pools: sandboxes that have everything done but identity, kept in number, handed out once.
 *
 * A pool is a record that outlives the daemon; its ready sandboxes are sandboxes whose records name it. All in one loop, without waiting: what takes time answers by callback. What
 * is promised of a claim is in docs/pools.md and docs/models/.
 */
#pragma once

#include "domain/pool/settings.h"
#include "domain/spec.h"
#include "services/sandbox/sandbox.h"

enum {
        POOLS_MAX = 256,
        POOL_LOG_MAX = 256 /* entries that are kept a pool */,
        POOL_WAITING_MAX = 4096 /* claims that wait */,
        POOL_WAITING_EACH = 1024 /* of one owner */
};

struct pools;
struct pool;

enum pool_count {
        POOL_COUNT_CLAIM,  /* label: the pool; value: seconds */
        POOL_COUNT_COLD,   /* label: the pool: a claim that found none ready */
        POOL_COUNT_FAILED, /* label: the pool: one could not be made */
        POOL_COUNT_GONE,   /* label: the pool: it is deleted */
};

struct pools_config {
        struct loop *loop;
        struct store *store;
        struct events *events;
        struct sandboxes *sandboxes;
        unsigned cores;
        void (*log)(void *ctx, bool bad, const char *pool, const char *text);
        void (*count)(void *ctx, enum pool_count what, const char *pool, double value);
        void *ctx;
};

/* Reads the records; ready sandboxes are taken over as the sandboxes service finds them. After sandboxes_open(). */
int pools_open(const struct pools_config *config, struct pools **out, struct err *e);
void pools_close(struct pools *all);
/* The service stops: nothing is filled any more. */
void pools_stop(struct pools *all);

struct pool *pools_find(struct pools *all, const char *id);
struct pool *pools_first(struct pools *all); /* in the order of their ids */
struct pool *pools_next(struct pool *p);

/* Read-only, good until the loop goes on. Wall times in ms since 1970, 0: none. */
struct pool_info {
        char id[POOL_ID_MAX + 1];
        char owner[SANDBOX_OWNER_MAX + 1];
        enum pool_state state;
        struct pool_settings settings;
        const char *spec; /* JSON */
        size_t spec_len;
        const char *runtime; /* the class */
        const struct choice *choice;
        uint64_t created_ms;
        unsigned ready, claimed, warming, target, waiting;
        unsigned claims_per_minute;
        double mean_ms, p99_ms; /* of claims */
        uint64_t claims, cold;
        uint64_t oldest_s;     /* age of the oldest ready one; 0 where there is none */
        enum err_code failure; /* why the last one could not be made; ERR_NONE where the last one could */
        char failure_text[256];
        uint64_t failed_ms, retry_ms;
};

/* Counts and sorts what was measured: not for what is done with every claim. */
const struct pool_info *pool_info(struct pool *p);
const char *pool_runtime(const struct pool *p);

struct pool_log {
        uint64_t at_ms;
        const char *phase; /* "Warming", "Ready", "Claimed", "Evicted", "Scaling", "Pool" */
        bool bad;
        char sandbox[IPC_ID_MAX + 1]; /* or "" */
        enum err_code code;           /* ERR_NONE where nothing failed */
        char text[256];
};

/* Oldest first; `phase` NULL: all. */
void pool_each_log(const struct pool *p, const char *phase, void (*fn)(void *ctx, const struct pool_log *entry), void *ctx);

/* ---- what is done with them; `e` is NULL where it was done ---- */

typedef void pool_done_fn(void *ctx, struct pool *p, const struct err *e);

struct pool_request {
        const char *id, *owner;
        const struct spec *spec; /* the template */
        struct pool_settings settings;
};

/* Answers when the record is on the disk. The same request again answers with the same pool; another pool of that name is INVALID_SPEC. */
void pool_create(struct pools *all, const struct pool_request *req, pool_done_fn *done, void *ctx);
void pool_update(struct pool *p, const struct pool_settings *settings, pool_done_fn *done, void *ctx);
/* POOL_ACTIVE or POOL_DRAINING. */
void pool_set_state(struct pool *p, enum pool_state state, pool_done_fn *done, void *ctx);
/* Answers with p == NULL when its record is gone; its ready ones are being ended. */
void pool_delete(struct pool *p, pool_done_fn *done, void *ctx);

/* Ends up to `count` ready ones, oldest first; returns how many. */
unsigned pool_evict(struct pool *p, unsigned count);
/* Makes up to `count` more, max_ready in all; returns how many are begun. INVALID_SPEC or NO_READY_SANDBOXES where the pool takes none. */
int pool_spawn(struct pool *p, unsigned count, unsigned *begun, struct err *e);

/* ---- claims ---- */

enum { CLAIM_FILES_MAX = 64, CLAIM_FILES_BYTES_MAX = 4 * 1024 * 1024 };

struct claim_file {
        const char *path; /* absolute */
        const void *data;
        size_t len;
        unsigned mode;
};

/* What is bound to a sandbox when it is claimed; everything borrowed until pool_claim() returns. */
struct claim_request {
        const char *owner, *request_id, *key; /* key: idempotency, or NULL */
        uint64_t asked;                       /* not 0: tells this request from others with that key */
        const struct spec *spec;              /* env, labels; limits whose bit is in limits.wanted; ttl_ms and idle_ms where not 0 */
        const struct claim_file *files;
        size_t file_count;
        bool fallback;
        bool (*left)(void *ctx); /* nobody waits for the answer any more; with the ctx of pool_claim(); or NULL */
        /* Begins the claim's command, which goes with it to the sandbox: at most once, and with the ctx of pool_claim(); or NULL. */
        void (*along)(void *ctx, struct sandbox *sb);
};

/* `us`: from the request to the answer of creto-init. */
typedef void claim_done_fn(void *ctx, struct sandbox *sb, bool from_pool, uint64_t us, const struct err *e);
void pool_claim(struct pool *p, const struct claim_request *req, claim_done_fn *done, void *ctx);

/* Ends a claimed one of this pool. `replaced`: the pool is reusable and builds another on its slot. */
void pool_release(struct pool *p, struct sandbox *sb, bool *replaced, sandbox_done_fn *done, void *ctx);
