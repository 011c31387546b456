/*
 * The sandboxes of a daemon: made, given commands, paused, ended; recorded before each step, taken over by the next daemon. All of it in one loop, without
 * waiting: what takes time answers by callback.
 *
 * Nothing here knows of HTTP. What a tenant grows is bounded: output that nobody takes stays in the sandbox (GUEST_RING a stream), ended commands that
 * nobody asks about are forgotten.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "base/loop.h"
#include "domain/admission.h"
#include "domain/choice.h"
#include "domain/lifecycle.h"
#include "domain/outcome.h"
#include "domain/spec.h"
#include "wire/guest.h"
#include "wire/ipc.h"

enum {
        SANDBOX_OWNER_MAX = 127,
        SANDBOX_POOL_MAX = 63, /* the id of a pool */
        SANDBOX_KEY_MAX = 128, /* an idempotency key */
        SANDBOX_REQUEST_MAX = 63,
        SANDBOX_ENDED_MAX = 10000, /* ended sandboxes that are remembered at most */
        SANDBOX_LOG_MAX = 16384,   /* of the last output of each */
};

struct sandboxes;
struct sandbox;
struct exec;
struct store;
struct events;
struct vm_assets;

/* What is counted; who runs the daemon makes metrics of it. */
enum sandbox_count {
        SANDBOX_COUNT_SPAWNED,  /* label: the class; value: seconds */
        SANDBOX_COUNT_EXEC,     /* value: seconds from the request to the start of the command */
        SANDBOX_COUNT_REFUSED,  /* label: the resource */
        SANDBOX_COUNT_ATTACKS,  /* label: the sandbox; value: attack calls refused */
        SANDBOX_COUNT_OUTPUT,   /* value: bytes */
        SANDBOX_COUNT_RESTARTS, /* of the warden */
        SANDBOX_COUNT_GONE,     /* label: a sandbox that is not even remembered any more */
};

struct sandboxes_config {
        struct loop *loop;
        struct store *store;
        struct events *events;
        const char *warden_socket, *state_dir;
        const struct vm_assets *vm;         /* what virtual machines are made of */
        const struct classes *table;        /* as configured: what a class needs of the host */
        const struct choice_policy *policy; /* which class a request gets */
        unsigned prepared;
        struct admission_rules rules;
        unsigned execs_max;     /* at once, each sandbox */
        uint64_t ended_keep_ms; /* how long an ended sandbox is remembered */
        /* Something worth a line in the log. */
        void (*log)(void *ctx, bool bad, const char *sandbox, const char *text);
        void (*count)(void *ctx, enum sandbox_count what, const char *label, double value);
        void *ctx;
};

/* Reads the records and begins to look for the warden; what was there before is taken over as soon as it answers. */
int sandboxes_open(const struct sandboxes_config *config, struct sandboxes **out, struct err *e);
void sandboxes_close(struct sandboxes *all);

/* What an operator asks: does the warden answer, and is everything taken over? */
bool sandboxes_warden_up(const struct sandboxes *all);
bool sandboxes_settled(const struct sandboxes *all);

/* Drained: new ones are refused. All of them, for as long as this daemon runs; or those of one class, until it is enabled again. SANDBOX_NOT_FOUND where there is no such class. */
void sandboxes_drain(struct sandboxes *all, bool drained);
int sandboxes_drain_class(struct sandboxes *all, const char *class, bool drained, struct err *e);
bool sandboxes_drained(const struct sandboxes *all, const char *class);

/* The runtime classes as the warden last named them; none before it has. Looking again asks it; `done` is called in any case, perhaps at once. */
const struct ipc_classes *sandboxes_classes(const struct sandboxes *all);
void sandboxes_look_classes(struct sandboxes *all, void (*done)(void *ctx), void *ctx);
/* The same where the last look was a while ago; else `done` is called at once. */
void sandboxes_freshen_classes(struct sandboxes *all, void (*done)(void *ctx), void *ctx);
/* What a cold start of that class takes on this host, from the order to the warden until creto-init answers: the median of the last ones that somebody waited for, and how many
 * these are. 0 where this daemon has seen none. What a pool holds, or goes on from a saved machine, is not cold. */
unsigned sandboxes_cold_start(const struct sandboxes *all, const char *class, uint64_t *median_us);
/* BACKEND_UNAVAILABLE where the class, which was chosen before, is drained. */
int sandboxes_class_check(const struct sandboxes *all, const char *class, struct err *e);
/* As choice_make(), with what is known here. */
int sandboxes_choose(const struct sandboxes *all, const struct spec *spec, struct choice *out, struct err *e);

/* What the operator has laid down about a class. */
struct sandbox_class_policy {
        const struct runtime_class *table; /* NULL: nothing is configured */
        uint32_t trust;                    /* levels that lead to it: bits */
        bool is_default;                   /* where nothing is asked for, at this moment */
};
void sandboxes_class_policy(const struct sandboxes *all, const char *class, struct sandbox_class_policy *out);
/* Is it a name of an image, of a kind that a service can have? Whether it is there is not known here. */
int sandboxes_image_check(const char *ref, struct err *e);

unsigned sandboxes_count(const struct sandboxes *all, enum sandbox_state state);

/* ---- one of them ---- */

struct sandbox *sandboxes_find(struct sandboxes *all, const char *id);
/* In the order of their making. */
struct sandbox *sandboxes_first(struct sandboxes *all);
struct sandbox *sandboxes_next(struct sandbox *sb);

/* A figure that this host does not keep is IPC_USAGE_UNKNOWN; so is the disk of one that does not run. */
struct sandbox_usage {
        struct ipc_usage now;
        double cpu_percent;    /* of its limit, or of one core without limit, since the last look; below 0: not known */
        double memory_percent; /* of its limit; below 0: without limit */
        uint64_t disk_used, disk_total;
};

/* Read-only, good until the loop goes on. Times are ms since 1970; 0: not yet, or never. */
struct sandbox_info {
        char id[IPC_ID_MAX + 1];
        char owner[SANDBOX_OWNER_MAX + 1];
        enum sandbox_state state;
        char pool[SANDBOX_POOL_MAX + 1]; /* whose pool it was made for, or "" */
        uint64_t created_ms, started_ms, ended_ms, expires_ms, idle_ends_ms, claimed_ms;
        const char *spec; /* JSON */
        size_t spec_len;
        const char *image;
        const char *runtime; /* the class */
        const struct choice *choice;
        const char *const *labels; /* K=V */
        size_t label_count;
        char missing[160]; /* defaults that are not enforced, "memory, cpu" */
        enum err_code failure;
        char failure_text[256];
        struct sandbox_usage usage; /* as of the last sandbox_look() */
        unsigned execs;             /* that run */
};

const struct sandbox_info *sandbox_info(const struct sandbox *sb);

/* An earlier daemon made it, and what runs in it is not known yet: it is paused, or about to answer. */
bool sandbox_is_taken_over(const struct sandbox *sb);

/* Appends the last output of its commands, SANDBOX_LOG_MAX bytes at most. */
void sandbox_read_log(const struct sandbox *sb, struct wbuf *out);

/* ---- what is done with them; `e` is NULL where it was done ---- */

typedef void sandbox_done_fn(void *ctx, struct sandbox *sb, const struct err *e);

struct sandbox_request {
        const char *owner;
        const char *request_id; /* may be NULL */
        const char *key;        /* idempotency key, or NULL */
        const struct spec *spec;
        const char *pool;            /* sandbox_create_pooled(): whose; else NULL */
        const struct choice *choice; /* likewise: the pool's class */
        bool background;             /* nobody waits for it: it gives way to what somebody waits for */
};

/* Answers when it is Ready. A request with the same owner and key as an earlier one answers with the sandbox of that one. */
void sandbox_create(struct sandboxes *all, const struct sandbox_request *req, sandbox_done_fn *done, void *ctx);

void sandbox_pause(struct sandbox *sb, sandbox_done_fn *done, void *ctx);
void sandbox_resume(struct sandbox *sb, sandbox_done_fn *done, void *ctx);
/* Answers when nothing is left of it. */
void sandbox_terminate(struct sandbox *sb, sandbox_done_fn *done, void *ctx);
/* From now on; 0: no end. */
void sandbox_renew(struct sandbox *sb, uint64_t ttl_ms, sandbox_done_fn *done, void *ctx);
/* Brings `usage` up to date. Where there was no look within the last minutes, it takes a quarter of a second. */
void sandbox_look(struct sandbox *sb, bool disk, sandbox_done_fn *done, void *ctx);

/* ---- those of pools ---- */

/* What becomes of them: it can be claimed (also again, after it was out of reach for a moment); it died, or could not be made; nothing is left of it. */
enum sandbox_pooled { SANDBOX_POOLED_READY, SANDBOX_POOLED_FAILED, SANDBOX_POOLED_ENDED };

/* `e`: SANDBOX_POOLED_FAILED. */
typedef void sandbox_pooled_fn(void *ctx, struct sandbox *sb, enum sandbox_pooled what, const struct err *e);
void sandboxes_on_pooled(struct sandboxes *all, sandbox_pooled_fn *fn, void *ctx);

/* Begins one that is nobody's, with `member` (anything, for who keeps the pool). What becomes of it is told as above, perhaps before this returns, unless it returns a negative code:
 * then it was not even begun. */
int sandbox_create_pooled(struct sandboxes *all, const struct sandbox_request *req, void *member, struct err *e);

void *sandbox_member(const struct sandbox *sb);
void sandbox_set_member(struct sandbox *sb, void *member);

/* What a claim binds to it; borrowed. */
struct sandbox_claim {
        const char *owner;
        const char *request_id, *key;           /* may be NULL */
        uint64_t asked;                         /* tells one request with that key from another */
        const char *const *env, *const *labels; /* K=V, in place of those of the template with the same name */
        size_t env_count, label_count;
        struct limits limits;     /* those whose bit is in `wanted` */
        uint64_t ttl_ms, idle_ms; /* 0: the template's */
        /* What else belongs to the claim is done here, before it is bound, or NULL. sandbox_claim_bind() follows, or sandbox_terminate(). */
        void (*prepare)(void *ctx);
        void *prepare_ctx;
        /* Called once, when BIND goes out, or NULL: the command that is begun here goes with it, and is run where BIND was taken. */
        void (*along)(void *ctx, struct sandbox *sb);
        void *along_ctx;
};

/* Ready, nobody's, and its creto-init is there. */
bool sandbox_claimable(const struct sandbox *sb);

/* RESOURCE_EXHAUSTED where the owner has as many sandboxes as one may have. */
int sandboxes_may_own_more(const struct sandboxes *all, const char *owner, struct err *e);

/* INVALID_SPEC where the limits of the claim cannot be had from a sandbox of that class with those of `spec`. */
int sandbox_claim_check(const struct sandboxes *all, const char *class, const struct spec *spec, const struct sandbox_claim *c,
                        struct err *e);

/* Makes it the owner's: recorded first, then made what the claim wants it to be, then said to its creto-init, which takes one claim in its life. Answers when that
 * has agreed: whoever finds it bound finds it complete. With an error it is not claimed: where it is still claimable the claim was refused and nothing has changed,
 * else it is being ended and another may be tried. */
void sandbox_claim(struct sandbox *sb, const struct sandbox_claim *c, sandbox_done_fn *done, void *ctx);

void sandbox_claim_bind(struct sandbox *sb);

/* The sandbox that was claimed or made with this key, or NULL. */
struct sandbox *sandboxes_find_key(struct sandboxes *all, const char *owner, const char *key);
/* It is what a claim of that pool made of that request: the answer to a repeat. */
bool sandbox_claimed_by(const struct sandbox *sb, const char *pool, uint64_t asked);
/* Who made or claimed it can ask for its answer again. */
bool sandbox_has_key(const struct sandbox *sb);

/* ---- commands ---- */

struct exec_request {
        enum guest_kind kind;    /* GUEST_KIND_PROGRAM, or what creto-init does with files */
        const char *const *argv; /* NULL-ended */
        const char *const *env;  /* likewise; besides those of the sandbox; may be NULL */
        const char *cwd, *user;  /* NULL: the sandbox's */
        uint32_t timeout_ms;     /* 0: none */
        bool tty, stdin_open;
        uint16_t rows, cols;
        const char *request_id; /* may be NULL */
};

enum exec_state { EXEC_STARTING, EXEC_RUNNING, EXEC_EXITED, EXEC_FAILED, EXEC_LOST };

struct exec_info {
        uint32_t number; /* "ex-7" */
        enum exec_state state;
        bool tty;
        const char *command; /* JSON array of strings; "[]" where it is not known any more */
        uint64_t started_ms, ended_ms, duration_ms;
        uint64_t bytes[2];      /* of stdout and stderr */
        struct guest_exit exit; /* EXEC_EXITED */
        struct outcome outcome; /* EXEC_EXITED, EXEC_LOST */
        struct err failure;     /* EXEC_FAILED, EXEC_LOST */
        enum guest_stage stage; /* EXEC_FAILED */
        uint64_t refused_calls; /* attack calls of the whole sandbox so far */
        char refused[256];      /* "3 attack calls refused: bpf 1, keyctl 2" */
        uint64_t stdin_taken;   /* bytes of input so far */
};

/* Who takes the output of a command. `ready` is called when there may be something to take, room for input, or the end. */
struct exec_reader {
        void (*ready)(void *ctx);
        void *ctx;
};

/* Begins a command; the caller has a reference. */
int sandbox_exec(struct sandbox *sb, const struct exec_request *req, struct exec **out, struct err *e);
/* A command by its number, or NULL; borrowed. */
struct exec *sandbox_find_exec(struct sandbox *sb, uint32_t number);
struct exec *sandbox_first_exec(struct sandbox *sb);
struct exec *exec_next(struct exec *x);

struct exec *exec_ref(struct exec *x);
void exec_unref(struct exec *x);

const struct exec_info *exec_info(const struct exec *x);

/* Makes `reader` (borrowed) the one reader, from these offsets on, or from the oldest that is kept. Another reader is told to go by `ready`: it finds that
 * exec_reads() is false. */
void exec_attach(struct exec *x, const struct exec_reader *reader, uint64_t stdout_offset, uint64_t stderr_offset);
bool exec_reads(const struct exec *x, const struct exec_reader *reader);
void exec_detach(struct exec *x, const struct exec_reader *reader);

struct exec_piece {
        int stream; /* 1 or 2 */
        uint64_t offset;
        const uint8_t *data;
        size_t len;
};

/* The output that comes next; false where there is none now. Stays until exec_advance(). */
bool exec_peek(const struct exec *x, struct exec_piece *piece);
void exec_advance(struct exec *x, size_t len);
/* The reader's place in both streams. */
void exec_position(const struct exec *x, uint64_t out[2]);
/* All that was advanced over has left this process; the sandbox need not keep it. */
void exec_confirm(struct exec *x);
/* True where the command has ended and all of its output was advanced over. */
bool exec_drained(const struct exec *x);

size_t exec_room(const struct exec *x);
void exec_write(struct exec *x, const void *data, size_t len); /* at most exec_room() */
void exec_eof(struct exec *x);
void exec_signal(struct exec *x, int signo, bool group);
void exec_resize(struct exec *x, uint16_t rows, uint16_t cols);

/* Its end was taken: it may be forgotten. Of one that runs: it is killed first, and its output is nobody's. */
void exec_release(struct exec *x);
