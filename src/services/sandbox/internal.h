/*
 * What a sandbox and a command of it are, for the files of this folder.
 */
#pragma once

#include "domain/classes.h"
#include "services/link/link.h"
#include "services/events/events.h"
#include "services/guest/guest.h"
#include "services/sandbox/sandbox.h"
#include "services/store/store.h"

enum { COLD_STARTS = 15 };

/* How long the last cold starts of a class took, a ring. */
struct cold_starts {
        char class[CLASS_NAME_MAX + 1];
        uint64_t us[COLD_STARTS];
        unsigned count; /* ever */
};

enum { BUCKETS = 4096, BOOT_ID_MAX = 36, LOOK_PAUSE_MS = 250, LOOK_FRESH_MS = 180000, ATTACH_TRIES = 8, ADOPT_MS = 5000, MAKE_TRIES = 10 };

/* Somebody who waits for something to come true of a sandbox. */
struct waiter {
        struct waiter *next;
        sandbox_done_fn *done;
        void *ctx;
};

/* What an image says of the commands that run in it, and what a spec says: one block of memory for each sandbox. */
struct setup {
        char *memory; /* owned; everything below is in it */
        const char *const *env, *const *image_env, *const *labels;
        const char *const *command; /* entrypoint and cmd of the image in one */
        size_t label_count, entrypoint_count;
        struct spec_prewarm prewarm;
        const char *image, *cwd, *user; /* cwd, user: of the spec, else of the image, else NULL */
};

struct sandbox {
        struct sandboxes *all;
        struct sandbox *next, *prev, *chain, *key_chain;
        struct sandbox_info info;
        struct setup setup;
        struct choice choice; /* of its class */
        struct limits limits;
        unsigned vcpus;      /* of a virtual machine; 0: as limits say */
        uint64_t root_known; /* what its image is made of, as a number; 0: not known, or it has none */
        char *spec_json;
        char key[SANDBOX_KEY_MAX + 1];
        uint64_t asked; /* the claim with that key; 0: not known */
        char request_id[SANDBOX_REQUEST_MAX + 1];
        uint64_t ttl_ms, idle_ms;
        enum spec_restart restart;
        bool pull, allow_fallback;
        bool offered;                     /* made by an engine that root offered for it */
        char offer[IPC_OFFER_HEX + 1];    /* the word, until it is made */
        uint64_t born_ms;                 /* CLOCK_MONOTONIC, of this daemon's request */
        uint64_t asked_us;                /* likewise, of what the warden was asked; 0: it has answered, or nobody waits for it */
        uint64_t expires_boot, idle_boot; /* CLOCK_BOOTTIME; 0: none */
        bool promised;                    /* counted by admission */
        bool in_warden, doomed, listed;   /* it was asked to make it; to end it; it has said that it has it */
        bool spawning, remaking;          /* the warden has not answered yet; what is left of the last try goes first */
        unsigned tries;                   /* how often it was made anew because a warden had died */
        struct timer *attach_timer;
        bool adopting; /* its creto-init has not answered yet, after it has answered an earlier connection */
        unsigned restarts;
        uint64_t paused_boot; /* since when */
        bool background;
        void *member;                          /* of the pool's */
        uint8_t claim[GUEST_CLAIM];            /* what its creto-init is bound to, or is to be */
        bool has_claim, verified;              /* creto-init has said so to this connection */
        bool may_bind, bind_sent, limit_asked; /* of a claim under way */
        void (*prepare)(void *ctx);
        void *prepare_ctx;
        void (*along)(void *ctx, struct sandbox *sb); /* NULL once it was called */
        void *along_ctx;
        bool unknown;        /* its claim was not answered: nobody has its id */
        uint64_t claim_boot; /* when a claim under way has taken too long; 0: none is */
        struct waiter *claiming;
        unsigned attach_tries;
        struct session *session;
        struct vm *vm; /* the machine that the session's other end is in; NULL where it is in none */
        struct watch *watch;
        struct timer *timer;
        struct exec *execs;
        struct prewarm *prewarm; /* prewarm.c; NULL: none */
        unsigned exec_count;
        struct waiter *creating, *ending, *looking, *resuming;
        uint64_t looked_ms, looked_cpu; /* CLOCK_MONOTONIC of the last look */
        bool look_disk, look_under_way, look_waits;
        struct timer *look_timer;
        uint64_t attacks;
        struct ipc_usage before; /* counters when the last look for a reason was */
        char *log;
        size_t log_at; /* where the next byte goes; the log is a ring once it is full */
        bool log_full;
};

struct sandboxes {
        struct sandboxes_config config;
        struct link *link;
        struct ipc_hello_ok warden;
        struct sandbox *first, *last, *buckets[BUCKETS], *key_buckets[BUCKETS];
        unsigned counts[SANDBOX_STATES];
        unsigned ended;
        struct admission_promised promised;
        struct admission_host host;
        uint64_t host_ms;
        bool drained, listed;
        struct ipc_classes classes;
        char drained_classes[CLASSES_MAX][CLASS_NAME_MAX + 1];
        uint64_t classes_ms; /* CLOCK_MONOTONIC: when the warden was asked */
        struct cold_starts cold[IPC_CLASSES_MAX];
        uint32_t list_seen;
        uint64_t listed_ms; /* CLOCK_MONOTONIC: since when it is */
        char boot_id[BOOT_ID_MAX + 1];
        struct image_cache *images;
        struct timer *sweep;
        uint64_t epoch;
        sandbox_pooled_fn *on_pooled;
        void *pooled_ctx;
};

/* ---- sandboxes.c ---- */
struct sandbox *sandbox_new(struct sandboxes *all, const char *id, const char *owner);
void sandbox_forget(struct sandbox *sb); /* of memory and of the store; nothing of it may be left on the host */
void sandbox_free(struct sandbox *sb);
/* What it takes of the host is counted from now on, or no more. */
void sandbox_promise(struct sandbox *sb, bool promised);
void sandbox_set_state(struct sandbox *sb, enum sandbox_state state);
void sandbox_log(struct sandbox *sb, bool bad, const char *text);
void sandbox_event(struct sandbox *sb, const char *name, const char *request_id, const char *detail);
/* A key can be looked for from now on. */
void sandbox_set_key(struct sandbox *sb, const char *key);
bool waiter_add(struct waiter **list, sandbox_done_fn *done, void *ctx);
void waiters_tell(struct sandbox *sb, struct waiter **list, const struct err *e);

/* ---- record.c: what the store knows ---- */
typedef void record_fn(void *ctx, const struct err *e);
/* Writes the record as it is now; `done` may be NULL. */
void record_put(struct sandbox *sb, record_fn *done, void *ctx);
void record_delete(struct sandbox *sb);
/* Makes a sandbox of every record. */
int record_load_all(struct sandboxes *all, struct err *e);
/* The spec that was recorded; strings are in *arena, to be freed. */
int record_spec(const struct sandbox *sb, struct spec *spec, char **arena, struct err *e);

/* ---- classes.c ---- */
/* As the warden has said it; NULL where there is none of that name, or nothing was said yet. */
const struct ipc_class *class_find(const struct sandboxes *all, const char *name);
void classes_load(struct sandboxes *all);
void class_set(struct sandbox *sb, const struct choice *choice);
/* What admission counts: the limits, and what the class needs beside them. */
struct limits class_promise(const struct sandboxes *all, const char *class, const struct limits *l);
/* Its class could not make it: true where another one may, and will. */
bool class_fall_back(struct sandbox *sb, const struct err *why);
/* What a class that failed could be replaced by, were it allowed. */
void class_say_fallback(const struct sandbox *sb, struct err *e);
/* It has answered for the first time. */
void classes_started(struct sandbox *sb);

/* ---- setup.c ---- */
struct image_answer;
int setup_make(struct sandbox *sb, const struct spec *spec, const struct image_answer *image, struct err *e);
void setup_release(struct setup *s);

/* ---- create.c ---- */
void sandbox_failed(struct sandbox *sb, const struct err *e); /* what died, or cannot be made */
void sandbox_died(struct sandbox *sb, const struct err *e);   /* the same, but what nobody has seen yet is made anew */
/* The connection and what hangs on it; commands that have not ended are bound again by the next. */
void sandbox_drop_session(struct sandbox *sb);
void sandbox_make(struct sandbox *sb);
void sandbox_remake(struct sandbox *sb);
/* Connects to the creto-init of one that runs. */
void sandbox_attach(struct sandbox *sb);
void sandbox_session_new(struct sandbox *sb, int stream);
void sandbox_ready(struct sandbox *sb); /* creto-init has answered */

/* How many an owner has, ready ones of pools left out; 0 where that is not limited. */
unsigned sandboxes_of_owner(const struct sandboxes *all, const char *owner);

/* The stream to the creto-init that runs commands. */
void sandbox_stream(struct sandbox *sb, int stream);
/* What it spoke through is gone: `e` where that broke the protocol, else NULL. */
void sandbox_stream_lost(struct sandbox *sb, const struct err *e);
uint64_t sandboxes_epoch(struct sandboxes *all);

/* ---- machine.c: sandboxes that are virtual machines ---- */
bool is_machine(const struct sandbox *sb);
/* Puts their classes into the list that the warden has sent, which makes nothing but native sandboxes for them. */
void machine_describe(struct sandboxes *all);
/* Can there be such a machine? */
int machine_check(const struct sandboxes *all, const char *class, const struct limits *l, struct err *e);
/* INVALID_SPEC: the class is none of machines, and has no vm.hwConfig. */
int machine_needed(const char *class, struct err *e);
/* What a sandbox of that class with these limits takes of the host: of a machine, the limits of the native sandbox around it. */
struct limits limits_outside(const char *runtime, const struct limits *inside);
/* What is special of the native sandbox around it. */
void machine_spawn(struct sandbox *sb, struct ipc_spawn *req);
/* Takes the stream to that one's creto-init. */
void machine_begin(struct sandbox *sb, int stream);

/* ---- claim.c ---- */
void claim_greeted(struct sandbox *sb);     /* creto-init has answered: is it bound as the record says? */
void claim_stepped(struct sandbox *sb);     /* it may have said more */
void claim_dropped(struct sandbox *sb);     /* the connection is gone */
bool claim_binds_first(struct sandbox *sb); /* made anew for its owner: it is bound before it is ready */
void claim_timed_out(struct sandbox *sb);
void pooled_tell(struct sandbox *sb, enum sandbox_pooled what, const struct err *e);
/* It is nobody's. */
bool is_pooled(const struct sandbox *sb);

/* ---- change.c ---- */
void sandbox_end(struct sandbox *sb); /* asks the warden to take it down */
void sandbox_arm(struct sandbox *sb); /* sets the timer for what comes first of its ends */
void sandbox_touch(struct sandbox *sb);
void sandbox_look_disk(struct sandbox *sb); /* what the sandbox says of its disk may have come */

/* ---- exec.c ---- */
void exec_adopt(void *ctx, struct session_exec *x, const struct guest_channel_state *state);
void execs_check(struct sandbox *sb); /* after a step of the session */
void execs_lose(struct sandbox *sb, const struct err *why);
void execs_unbind(struct sandbox *sb); /* the session goes, another will come */
void execs_free(struct sandbox *sb);

/* ---- prewarm.c ---- */
void prewarm_begin(struct sandbox *sb); /* creto-init has answered: the sandbox gets Ready, at once or when its server is */
void prewarm_check(struct sandbox *sb); /* after a step of the session */
void prewarm_adopt(struct sandbox *sb, struct session_exec *guest);
void prewarm_unbind(struct sandbox *sb); /* the session goes */
void prewarm_free(struct sandbox *sb);

/* ---- image.c ---- */
struct image_cache *image_cache_new(struct sandboxes *all);
void image_cache_free(struct image_cache *c);
void image_cache_drop(struct image_cache *c, const char *ref);
/* `answer` is good until `done` returns. */
typedef void image_done_fn(void *ctx, const struct image_answer *answer, const struct err *e);
void image_find(struct image_cache *c, const char *ref, bool pull, image_done_fn *done, void *ctx);

/* ---- host.c ---- */
void host_look(struct sandboxes *all);
int host_boot_id(char out[BOOT_ID_MAX + 1]);
