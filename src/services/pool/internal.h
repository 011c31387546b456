/*
 * What a pool and its members are, for the files of this folder.
 */
#pragma once

#include "domain/pool/pace.h"
#include "domain/pool/scaling.h"
#include "domain/pool/stats.h"
#include "services/events/events.h"
#include "services/pool/pool.h"
#include "services/store/store.h"

enum {
        FOREGROUND_MAX = 32,
        CLAIM_TRIES = 5,
        WAITING_BYTES_MAX = 64 << 20 /* what claims that wait keep in memory, in all pools */,
        WAITING_BYTES_EACH = 16 << 20 /* of one owner */,
        TICK_MS = 1000,
        SETTLE_MS = 10,
        REFILL_MS = 2 /* after a claim: its answer goes out first */
};

/* The life of a member. Each is in the list of its state, in the order in which it came into it. */
enum member_state {
        MEMBER_WARMING,
        MEMBER_READY,
        MEMBER_CLAIMING,
        MEMBER_CLAIMED,
        MEMBER_LEAVING, /* it is being ended */
        MEMBER_STATES,
};

struct member {
        struct pool *pool; /* NULL: the pool is deleted */
        struct member *next, *prev;
        struct sandbox *sb;  /* NULL while it is made */
        struct claim *claim; /* that has it and is not answered yet */
        enum member_state state;
        bool background;          /* nobody waits for it */
        bool adopted;             /* an earlier daemon made it, and it has not answered yet */
        bool replacing;           /* old: another is being made in its place */
        uint64_t born_ms;         /* monotonic: when it was begun, or became ready */
        uint64_t old_ms, over_ms; /* monotonic: when it is to be replaced; when it may not be claimed any more */
};

struct members {
        struct member *first, *last;
        unsigned count;
};

/* A claim on its way; a copy of the request in one block. */
struct claim {
        struct claim *next;
        struct pool *pool;
        struct member *member;
        struct sandbox_claim bind;
        struct claim_file *files;
        size_t file_count, file_at;
        struct exec *exec; /* that places a file */
        bool mkdir;        /* it makes the folder of it first */
        size_t sent;
        struct exec_reader reader;
        size_t size;         /* of the block */
        struct again *again; /* the same request, asked again meanwhile: it gets the same answer */
        bool failed;         /* a file could not be placed, for this reason */
        struct err why;
        bool cold;
        bool begun; /* its command, which is not begun a second time elsewhere */
        unsigned tries;
        uint64_t born_us, us;
        claim_done_fn *done;
        bool (*left)(void *ctx);
        void (*along)(void *ctx, struct sandbox *sb);
        void *ctx;
};

enum pool_phase { PHASE_WARMING, PHASE_READY, PHASE_CLAIMED, PHASE_EVICTED, PHASE_SCALING, PHASE_POOL, PHASES };

enum { PHASE_KEPT = POOL_LOG_MAX / 4 };

struct phase_log {
        struct pool_log entries[PHASE_KEPT];
        uint64_t number[PHASE_KEPT];
        unsigned at, count;
};

struct pool {
        struct pools *all;
        struct pool *next;
        struct pool_info info;
        struct spec spec;
        uint64_t wanted;         /* limits that the template names (struct limits): the text has the others too */
        char *spec_json, *arena; /* the text, and what `spec` points to */
        struct members lists[MEMBER_STATES];
        unsigned replacing;
        unsigned extra; /* to be made beyond the target, once */
        struct pool_stats stats;
        struct pool_scaling scaling;
        struct backoff backoff;
        bool crowded;       /* what failed last was not begun: there was no room for one that nobody waits for */
        uint64_t refill_ms; /* how long one takes, smoothed; 0: not known */
        struct claim *waiting, **waiting_last;
        struct phase_log *logs; /* PHASES of them */
        uint64_t log_number;
        unsigned busy; /* claims that have a sandbox and no answer yet, and changes that are being written */
        bool deleted;  /* nobody finds it any more */
        bool gone;     /* and it is freed when it is not busy */
};

struct pools {
        struct pools_config config;
        struct pool *first;
        unsigned count;
        struct pace pace;
        size_t waiting_bytes;
        unsigned under_way, foreground; /* members that are made: in all, and those somebody waits for */
        struct timer *turn;             /* the next look at what is to be done */
        uint64_t turn_ms;
        bool settled, stopped;
};

/* ---- pools.c ---- */
void member_to(struct member *m, enum member_state state);
struct member *member_new(struct pool *p);
void member_free(struct member *m);
__attribute__((format(printf, 6, 7))) void pool_log(struct pool *p, enum pool_phase phase, bool bad, const struct sandbox *sb,
                                                    enum err_code code, const char *fmt, ...);
struct pool *pool_new(struct pools *all, const char *id, const char *owner);
void pool_free(struct pool *p); /* at once, or when it is not busy any more */

/* ---- record.c ---- */
typedef void pool_record_fn(void *ctx, const struct err *e);
void pool_record_put(struct pool *p, pool_record_fn *done, void *ctx);
void pool_record_delete(struct pool *p, pool_record_fn *done, void *ctx);
int pool_record_load_all(struct pools *all, struct err *e);
/* Its spec from this text, taken. */
int pool_set_spec(struct pool *p, char *json, size_t len, struct err *e);

/* ---- fill.c ---- */
void pools_turn_soon(struct pools *all);
void pools_turn_in(struct pools *all, uint64_t ms);
void pools_turn(void *ctx);
void fill_on_pooled(void *ctx, struct sandbox *sb, enum sandbox_pooled what, const struct err *e);
void member_end(struct member *m); /* ends its sandbox */
void pool_failed(struct pool *p, const struct sandbox *sb, const struct err *e);

/* ---- claim.c ---- */
/* A ready one: to who waits, else into the list. */
void claim_offer(struct member *m);
/* One that somebody may wait for cannot be made. */
void claim_refuse(struct pool *p, const struct err *e);
/* Ready ones that came back to those that wait; whose clients have left need none. */
void claims_serve(struct pool *p);
void claims_refuse_all(struct pool *p, const struct err *e);

/* ---- files.c ---- */
void claim_place_files(void *claim); /* then the claim is bound */
void claim_stop_files(struct claim *c);
void claim_finish(struct claim *c, const struct err *e);
