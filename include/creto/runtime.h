/*
 * libcreto-runtime: run untrusted code in a sandbox, from C.
 *
 * Two ways to begin: creto_open() needs no service and keeps every sandbox to itself (embedded mode); creto_connect() speaks to a running service, whose
 * sandboxes outlive the program. Both give the same handles. What only a service can do is NOT_SUPPORTED in embedded mode, and says so below.
 *
 * Ownership: handles belong to the caller and are freed by the function named with them; strings and vectors passed in are borrowed for
 * the call; strings inside results live as long as the result's struct. What a function gives as `char **` or as an array is the caller's, and goes to
 * creto_free(). Threads: a handle is used by one thread at a time, and with it all that was made through it. Blocking: every function says so; one that
 * asks the service blocks until it has answered, at most for the time of creto_set_timeout() without any progress. Errors: functions return 0, or a negative
 * CRETO_E_* code with *err filled; on failure nothing else is changed. `err` may not be NULL. SIGPIPE is never raised.
 *
 * Process effects of embedded mode: creto_open() starts one child process, the private warden. Started as root it stays root, and the
 * caller keeps its own identity unless it asks for CRETO_DROP_ROOT. creto_connect() has none.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#ifdef __cplusplus
extern "C" {
#endif

/* The API's error codes, in the order of the table in docs/errors.md; functions return them negated. */
enum creto_error_code {
        CRETO_E_IMAGE_NOT_FOUND = 1,
        CRETO_E_AUTHORIZATION_DENIED,
        CRETO_E_RESOURCE_EXHAUSTED,
        CRETO_E_INVALID_SPEC,
        CRETO_E_SANDBOX_NOT_FOUND,
        CRETO_E_SANDBOX_NOT_READY,
        CRETO_E_POOL_NOT_FOUND,
        CRETO_E_NO_READY_SANDBOXES,
        CRETO_E_BACKEND_UNAVAILABLE,
        CRETO_E_UNAUTHENTICATED,
        CRETO_E_RATE_LIMITED,
        CRETO_E_TIMEOUT,
        CRETO_E_NOT_SUPPORTED,
        CRETO_E_INTERNAL_ERROR,
};

struct creto_error {
        int code; /* enum creto_error_code */
        int sys;  /* errno, or 0 */
        char message[512];
        char hint[256]; /* what to do now; may be empty */
};

struct creto_runtime;
struct creto_sandbox;

enum creto_open_flag {
        CRETO_DROP_ROOT = 1, /* the calling process becomes a fixed unprivileged user for good, once the warden runs */
};

struct creto_open_options {
        unsigned flags;        /* enum creto_open_flag */
        unsigned prepared;     /* sandboxes to keep made ahead, 0 to 64: the next spawn takes one of them */
        int image_fd, auth_fd; /* as creto_open_sources() fills them, or -1. Borrowed */
        const char *state_dir; /* NULL: /var/lib/creto-runtime as root, $XDG_DATA_HOME/creto-runtime otherwise */
        const char *run_dir;   /* NULL: /run/creto-runtime */
        /* NULL, or what the option runsc-path of creto_spawn() will name: opened here, before root is dropped. */
        const char *engine_path;
};

/* Opens what `image` names on this machine (the directory of dir: and oci:, the file of an archive), or for a registry the file of credentials that skopeo
 * would take ($REGISTRY_AUTH_FILE, …/containers/auth.json, ~/.docker/config.json), with the rights that the caller has now; what there is none of
 * becomes -1. Needed before CRETO_DROP_ROOT; without that, creto_spawn() does it by itself. The caller closes both after creto_open(). */
int creto_open_sources(const char *image, struct creto_open_options *options, struct creto_error *err);

/* Starts a private warden; everything made through it ends with it. Blocks for about a millisecond. creto_close() takes every sandbox down, waits until
 * nothing of them is left (a few milliseconds), and frees the handle; NULL is fine. */
int creto_open(const struct creto_open_options *options, struct creto_runtime **out, struct creto_error *err);
void creto_close(struct creto_runtime *rt);

/* ---- a running service ---- */

/* `host`: "unix:PATH", or "http://ADDR:PORT" with a numeric address or localhost; NULL: $CRETO_RUNTIME_HOST, else unix:/run/creto-runtime/runtime.sock.
 * There is no TLS: https is NOT_SUPPORTED. `api_key`: NULL: $CRETO_RUNTIME_API_KEY, else none (the unix socket knows who asks). Does not block: the
 * connection is made with the first question, kept, and made again where the service has closed it. creto_close() ends it; sandboxes go on. */
int creto_connect(const char *host, const char *api_key, struct creto_runtime **out, struct creto_error *err);

/* How long the service may be silent, in milliseconds, before a function gives up with TIMEOUT. 0: as it was at first: a minute; ten where the service itself
 * may have to wait (spawning with an image that has to be pulled, taking a sandbox down). */
void creto_set_timeout(struct creto_runtime *rt, unsigned ms);

/* What a function gave as `char **` or as an array. NULL is fine. */
void creto_free(void *p);

/* ---- sandboxes ---- */

/* An option by its name on the command line of `creto-runtime run`, without --: { "memory", "64M" }. `value` is NULL for a switch. */
struct creto_option {
        const char *name;
        const char *value;
};

/* Makes a sandbox from options (see creto-runtime(1)) and waits until it takes commands. Blocks for milliseconds; for an image that is not in the store,
 * for as long as pulling takes. With a service, a connection that ends before the answer is made once more, and the sandbox is made once all the same. */
int creto_spawn(struct creto_runtime *rt, const struct creto_option *options, size_t count, struct creto_sandbox **out,
                struct creto_error *err);

/* A handle for a sandbox of the service's, by its id. Asks nothing: what is wrong with the id is said by what is done with it. Service only. */
int creto_sandbox_open(struct creto_runtime *rt, const char *id, struct creto_sandbox **out, struct creto_error *err);

/* Frees the handle alone. A sandbox of a service goes on; one of embedded mode can then only end with creto_close(). NULL is fine. */
void creto_sandbox_free(struct creto_sandbox *sb);

const char *creto_sandbox_id(const struct creto_sandbox *sb);

/* What this mode of this host does not enforce although it is a default ("memory, cpu, pids"), or "". */
const char *creto_sandbox_missing(const struct creto_sandbox *sb);

/* Of one that creto_spawn() made: the runtime class that it has, the one that was asked for (a class, or "auto"), and where the two differ, or a stronger one than it has was not to be
 * had, why; else "". */
const char *creto_sandbox_class(const struct creto_sandbox *sb);
const char *creto_sandbox_requested_class(const struct creto_sandbox *sb);
const char *creto_sandbox_notice(const struct creto_sandbox *sb);

enum creto_exec_flag {
        CRETO_EXEC_TTY = 1,
};

struct creto_exec;

struct creto_exec_options {
        const char *const *argv; /* NULL-ended; NULL or empty: the image's own command (embedded mode only) */
        const char *const *env;  /* NULL-ended NAME=value, besides those of the sandbox; may be NULL */
        const char *cwd;         /* NULL: the sandbox's */
        const char *user;        /* NULL: the sandbox's */
        unsigned flags;          /* enum creto_exec_flag */
        uint16_t rows, cols;     /* of the terminal; 0: 24 × 80 */
        uint32_t timeout_ms;     /* 0: that of the sandbox's options, else none */
        int stdin_fd;            /* read until its end and passed on; -1: /dev/null. Borrowed */
        /* Called with output as it comes, stream 1 or 2; returns how much of it was taken. With less than all it is called again with the rest when
         * output_fd[stream - 1] can be written to; the command is held back meanwhile. A negative return ends the exec. May be NULL: output is thrown
         * away. */
        ssize_t (*on_output)(void *ctx, int stream, const void *data, size_t len);
        int output_fd[2];
        /* With wake_fd ≥ 0: called whenever that descriptor is readable, so that signals can be passed on. */
        int wake_fd;
        void (*on_wake)(void *ctx, struct creto_exec *exec);
        void *ctx;
};

enum { CRETO_REASONS = 6 };

struct creto_result {
        int status; /* as a shell would say it: the exit code, or 128 + signal; 124 where time ran out */
        int code;   /* exit code, or -1 */
        int signal; /* signal that ended it, or 0 */
        unsigned reason_count;
        char reasons[CRETO_REASONS][160]; /* "killed: memory limit 64 MiB": whatever the sandbox's limits had to do with it */
        uint64_t user_us, system_us;      /* of the command and what it waited for, from its rusage */
        uint64_t peak_kib;                /* peak resident memory, likewise */
        uint64_t dropped;                 /* bytes that background processes wrote after the end */
        uint64_t refused_calls;           /* attack calls of the whole sandbox so far */
};

/* Runs a command and waits for its end. Blocks as long as it runs; where its output is not taken, no longer than two seconds after a signal that ends
 * programs, or the end of the sandbox's time. A command that could not be executed is an error whose `sys` says why (ENOENT, EACCES, …).
 *
 * With a service, each call has a connection of its own. Where that breaks, the command goes on; it is connected to again for up to 30 seconds, and output
 * continues with the byte after the last one that came. Standard input has no such numbers: where some was on its way at that moment and there is no terminal,
 * the function gives up (BACKEND_UNAVAILABLE), and the command finds the end of its input. user_us, system_us and peak_kib are 0. */
int creto_exec(struct creto_sandbox *sb, const struct creto_exec_options *options, struct creto_result *result, struct creto_error *err);

/* From on_wake: signal the command (its whole process group where `group`), or tell it the terminal's new size. */
void creto_exec_signal(struct creto_exec *exec, int signo, int group);
void creto_exec_resize(struct creto_exec *exec, uint16_t rows, uint16_t cols);

/* "3 attack calls refused: bpf 1, keyctl 2", or "" where there were none. Asks the sandbox; blocks for a fraction of a millisecond. With a service: what the
 * last command of this handle ended with. */
int creto_sandbox_refused(struct creto_sandbox *sb, char *out, size_t cap, struct creto_error *err);

struct creto_usage { /* UINT64_MAX: this host does not keep it */
        uint64_t memory_bytes, memory_peak_bytes;
        uint64_t cpu_us, throttled_us;
        uint64_t pids, oom_kills, forks_refused;
};

int creto_sandbox_usage(struct creto_sandbox *sb, struct creto_usage *usage, struct creto_error *err);

/* Kills everything inside, waits until nothing is left of it, and frees the handle, whatever it returns. */
int creto_terminate(struct creto_sandbox *sb, struct creto_error *err);

/* The same where the service should not wait for anything in it (?force=true). */
int creto_terminate_force(struct creto_sandbox *sb, struct creto_error *err);

/* ---- what only a service can do: everything from here to the images ---- */

/* `json`, where a function has it, may be NULL; else it becomes the service's own answer. */

enum { CRETO_ID_MAX = 64, CRETO_POOL_ID_MAX = 63 };

/* A sandbox as the service describes it; what is longer than its field is cut, and whole in the JSON. */
struct creto_info {
        char id[CRETO_ID_MAX + 1];
        char status[16]; /* "Creating", "Ready", "Running", "Paused", …, "Terminated", "Failed" */
        char runtime[64], image[512], owner[128];
        char attestation_hash[80];          /* "none" until there is one */
        int64_t created_ms;                 /* since 1970, UTC; 0: unknown */
        int has_usage;                      /* the three below hold; negative percentages: unknown */
        double cpu_percent, memory_percent; /* of the sandbox's limits */
        struct creto_usage usage;
        char pool[CRETO_POOL_ID_MAX + 1]; /* that it was made for; empty: none */
};

int creto_get(struct creto_sandbox *sb, struct creto_info *info, char **json, struct creto_error *err);

/* Each NULL or 0: not asked for. */
struct creto_list_query {
        const char *status, *runtime, *agent_nhi, *label; /* label: "key=value" */
        const char *sort_by;                              /* "cpu_usage", "memory_usage" or "age" */
        int descending;
        const char *cpu_usage, *memory_usage; /* ">80%" */
        size_t limit;                         /* 0: all there are */
        int all;                              /* terminated ones too */
        int usage;                            /* fill in has_usage */
        const char *pool;                     /* those made for this pool, claimed or not */
};

/* *out is an array of *count; *json an object whose "sandboxes" has all of them. Asks as often as it needs. */
int creto_list(struct creto_runtime *rt, const struct creto_list_query *query, struct creto_info **out, size_t *count, char **json,
               struct creto_error *err);

/* What it uses now, and how many commands run in it. */
struct creto_status {
        char status[16];
        unsigned execs;
        double cpu_percent, memory_percent; /* of the sandbox's limits; negative: unknown */
        uint64_t disk_used, disk_total;     /* bytes; UINT64_MAX: unknown */
        struct creto_usage usage;
};

int creto_status(struct creto_sandbox *sb, struct creto_status *status, char **json, struct creto_error *err);

/* Its life and its last output, as text, to `fd`; the last `tail` lines, or with 0 all that is kept. Blocks until `fd` has taken it. */
int creto_logs(struct creto_sandbox *sb, unsigned tail, int fd, struct creto_error *err);

/* A paused sandbox keeps everything and runs nothing. SANDBOX_NOT_READY where it is in no state for that. */
int creto_pause(struct creto_sandbox *sb, char **json, struct creto_error *err);
int creto_resume(struct creto_sandbox *sb, char **json, struct creto_error *err);

/* Its time to live begins anew, with so many milliseconds; 0: it no longer ends by itself. */
int creto_renew(struct creto_sandbox *sb, uint64_t ttl_ms, char **json, struct creto_error *err);

/* ---- warm pools: sandboxes that are made before somebody wants them (docs/pools.md) ---- */

/* What can be said of a pool. Only those whose bit is in `given` are sent: with creto_pool_create() the service chooses the others, with
 * creto_pool_update() they stay as they are. */
enum creto_pool_field {
        CRETO_POOL_MIN_READY = 1,
        CRETO_POOL_MAX_READY = 2,
        CRETO_POOL_MAX_AGE = 4,
        CRETO_POOL_REUSABLE = 8,
        CRETO_POOL_AUTO_SCALING = 16,
        CRETO_POOL_HEADROOM = 32,
        CRETO_POOL_SCALE_DOWN = 64,
};

struct creto_pool_settings {
        unsigned given;                /* of enum creto_pool_field */
        uint64_t min_ready, max_ready; /* how many are kept ready */
        uint64_t max_age_s;            /* a ready one that is older is replaced; 0: never */
        int reusable;                  /* a released one is replaced at once, on its slot */
        int auto_scaling;              /* between min_ready and max_ready, after the claims; else always min_ready */
        uint64_t headroom;             /* percent above what the claims ask for */
        uint64_t scale_down_s;         /* how long less must have been enough before fewer are kept */
};

struct creto_pool_info {
        char id[CRETO_POOL_ID_MAX + 1];
        char owner[128], state[16]; /* "Active", "Draining", "Deleting" */
        char runtime[64], image[512];
        struct creto_pool_settings settings;      /* all are given */
        uint64_t ready, claimed, warming, target; /* sandboxes; target: how many are to be ready now */
        int64_t created_ms;                       /* since 1970, UTC */
        char error_code[32], error_message[512];  /* why the last sandbox could not be made; empty where the last one could */
        int64_t error_at_ms, error_retry_ms;      /* when that was, and when it is tried again; 0: unknown */
};

/*
 * Makes a pool from a template: the keys of the API's `spec`, as text in `format` "yaml", "toml" or "json". Operators only. Returns when it is recorded; filling
 * it goes on behind. The same pool made again is the same pool; another one of that id is INVALID_SPEC. `info` may be NULL, here and in the next ones.
 */
int creto_pool_create(struct creto_runtime *rt, const char *id, const char *format, const char *text, size_t len,
                      const struct creto_pool_settings *settings, struct creto_pool_info *info, char **json, struct creto_error *err);

/* POOL_NOT_FOUND where there is none, as with all that take an id. */
int creto_pool_get(struct creto_runtime *rt, const char *id, struct creto_pool_info *info, char **json, struct creto_error *err);

/* *out is an array of *count, in the order of their ids; *json an object whose "pools" has all of them. Asks as often as it needs. */
int creto_pool_list(struct creto_runtime *rt, struct creto_pool_info **out, size_t *count, char **json, struct creto_error *err);

/* Takes what is given; fewer ready ones are ended, more are made, from now on. */
int creto_pool_update(struct creto_runtime *rt, const char *id, const struct creto_pool_settings *settings, struct creto_pool_info *info,
                      char **json, struct creto_error *err);

/* A draining pool takes no claims and makes no sandboxes; its ready ones are ended, claimed ones go on. creto_pool_activate() undoes it. */
int creto_pool_drain(struct creto_runtime *rt, const char *id, struct creto_pool_info *info, char **json, struct creto_error *err);
int creto_pool_activate(struct creto_runtime *rt, const char *id, struct creto_pool_info *info, char **json, struct creto_error *err);

/* Its ready sandboxes are ended; claimed ones go on, and are their claimants'. */
int creto_pool_delete(struct creto_runtime *rt, const char *id, struct creto_error *err);

/* Ends `count` ready ones, the oldest first, or all where there are fewer. *evicted (may be NULL): how many. */
int creto_pool_evict(struct creto_runtime *rt, const char *id, uint64_t count, uint64_t *evicted, char **json, struct creto_error *err);

/* Makes up to `count` more than there are, max_ready in all. *begun (may be NULL): how many; they become ready later. */
int creto_pool_spawn(struct creto_runtime *rt, const char *id, uint64_t count, uint64_t *begun, char **json, struct creto_error *err);

struct creto_pool_stats {
        uint64_t ready, claimed, warming, min_ready, max_ready;
        double claims_per_minute; /* of the last minute */
        double mean_ms, p99_ms;   /* latency of the last 1,024 claims, as the service measures it; 0 where there were none */
        uint64_t oldest_s;        /* age of the oldest ready one; 0 where there is none */
};

int creto_pool_stats(struct creto_runtime *rt, const char *id, struct creto_pool_stats *stats, char **json, struct creto_error *err);

struct creto_pool_log {
        int64_t at_ms;                  /* since 1970, UTC */
        char at[40];                    /* the same in RFC 3339 */
        char phase[16], level[16];      /* "Warming", "Ready", "Claimed", "Evicted", "Scaling", "Pool"; "info", "error" */
        char sandbox[CRETO_ID_MAX + 1]; /* empty: it is about none */
        char code[32], message[512];    /* code: where something failed, its name in docs/errors.md, else empty */
};

/* What happened, oldest first: *out is an array of *count. `phase` NULL: all; `limit` 0: all that is kept, else the last ones. */
int creto_pool_logs(struct creto_runtime *rt, const char *id, const char *phase, unsigned limit, struct creto_pool_log **out, size_t *count,
                    char **json, struct creto_error *err);

enum { CRETO_CLAIM_FILES_MAX = 64, CRETO_CLAIM_BYTES_MAX = 4 * 1024 * 1024 /* of all of them */ };

struct creto_claim_file {
        const char *path; /* absolute, in the sandbox */
        const void *data;
        size_t len;
        unsigned mode; /* 0: 0644 */
};

/* What is bound to the sandbox, all of it optional. */
struct creto_claim_request {
        /* As for creto_spawn(): env, label, the limits (more or less than the template's), ttl, idle-timeout, network-policy, runtime (none but the pool's).
         * What a running sandbox cannot change (image, user, cwd, disk, …) is INVALID_SPEC. */
        const struct creto_option *options;
        size_t option_count;
        const struct creto_claim_file *files; /* are there before the function returns */
        size_t file_count;
        int no_fallback; /* where none is ready: NO_READY_SANDBOXES at once, instead of waiting for the next one */
        /* NULL, or a command that is begun with the claim, once at most: the next creto_exec() of the handle, with these options, is that command. A connection
         * that ends before the answer is then not made again, and its sandbox ends. */
        const struct creto_exec_options *command;
};

struct creto_claim {
        double latency_ms; /* as the service measures it: until the sandbox has said that it is this caller's */
        int from_pool;     /* 0: none was ready, and the claim waited for one */
};

/*
 * Takes a ready sandbox, makes it the caller's and binds `request` (may be NULL) to it; *out is as if it had been spawned. `claim` may be NULL. It is one
 * transaction: the sandbox is this caller's alone, or it is nobody's. A connection that ends before the answer is made once more, and one sandbox is claimed
 * all the same. Blocks for a fraction of a millisecond; where none is ready, for as long as making one takes.
 */
int creto_pool_claim(struct creto_runtime *rt, const char *id, const struct creto_claim_request *request, struct creto_sandbox **out,
                     struct creto_claim *claim, char **json, struct creto_error *err);

/* Ends a claimed sandbox and gives its slot back to its pool, and frees the handle, whatever it returns. *replaced (may be NULL): a fresh one is being made in
 * its place. INVALID_SPEC where it is of no pool. */
int creto_pool_release(struct creto_sandbox *sb, int *replaced, char **json, struct creto_error *err);

/* ---- what happens, as it happens ---- */

struct creto_event {
        const char *name; /* "SandboxSpawned", "ExecFinished", … */
        const char *id;   /* for `after`, another time */
        const char *json; /* the whole of it: time, sandboxId, owner, details */
};

/* Returns 0 to go on; anything else ends creto_events(). The event is good until then. */
typedef int creto_event_fn(void *ctx, const struct creto_event *event);

/*
 * Tells of events of one sandbox, or with NULL of all that the caller may know of; those after the one named `after`, or with NULL from now on. Blocks until
 * `fn` has enough, and returns what it returned; connects again, without a gap, for half a minute where the service is away.
 */
int creto_events(struct creto_runtime *rt, const char *sandbox_id, const char *after, creto_event_fn *fn, void *ctx,
                 struct creto_error *err);

/* ---- files in a sandbox; paths are absolute ---- */

enum creto_file_type { CRETO_FILE_REGULAR, CRETO_FILE_DIRECTORY, CRETO_FILE_SYMLINK, CRETO_FILE_OTHER };

struct creto_file {
        char name[256]; /* has no '/', and is neither "." nor ".." */
        enum creto_file_type type;
        unsigned mode;
        uint64_t size;
        int64_t modified_ms; /* since 1970; 0: unknown */
};

/* *out is an array of *count. Returns 1, and gives nothing, where the path is no directory. */
int creto_file_list(struct creto_sandbox *sb, const char *path, struct creto_file **out, size_t *count, struct creto_error *err);

/* Writes the file to `fd`. *mode (may be NULL) becomes its permissions. Returns 1, with nothing written, where the path is a directory. Blocks as long as it
 * takes; after a failure part of it may have been written. */
int creto_file_get(struct creto_sandbox *sb, const char *path, int fd, unsigned *mode, struct creto_error *err);

/* Reads `fd` to its end and makes that the file, whole or not at all. Blocks as long as it takes. */
int creto_file_put(struct creto_sandbox *sb, const char *path, unsigned mode, int fd, struct creto_error *err);

int creto_file_mkdir(struct creto_sandbox *sb, const char *path, unsigned mode, struct creto_error *err);
int creto_file_remove(struct creto_sandbox *sb, const char *path, int recursive, struct creto_error *err);

/* ---- the service itself ---- */

/* *healthy becomes 1 or 0; an unhealthy service is no error. */
int creto_health(struct creto_runtime *rt, int *healthy, char **json, struct creto_error *err);

struct creto_key {
        char id[64], name[128], role[16];                      /* "admin", "operator", "agent" */
        char created_at[40], expires_at[40], last_used_at[40]; /* RFC 3339, or empty */
};

int creto_key_list(struct creto_runtime *rt, struct creto_key **out, size_t *count, char **json, struct creto_error *err);
/* *secret is the key itself; nothing will show it again. expires_s: in so many seconds; 0: never. */
int creto_key_create(struct creto_runtime *rt, const char *name, const char *role, uint64_t expires_s, struct creto_key *out, char **secret,
                     char **json, struct creto_error *err);
int creto_key_revoke(struct creto_runtime *rt, const char *key_id, struct creto_error *err);

struct creto_runtime_class {
        char name[64];
        int available, enabled;
        char reason[256]; /* why not; may be empty */
        char driver[32], isolation[256], version[256];
        char hint[256];                 /* what would make it available */
        char serves[80];                /* "default, standard": what leads to it; may be empty */
        unsigned syscalls, syscalls_of; /* how many system calls of so many programs have there; 0: not known */
        int checkpoint, gpu;
        double cold_start_ms; /* median of the last cold starts on this host; below 0: there were none */
        unsigned cold_starts; /* how many that were */
};

int creto_runtime_list(struct creto_runtime *rt, struct creto_runtime_class **out, size_t *count, char **json, struct creto_error *err);
/* A class that is not enabled (drained) makes no new sandboxes. */
int creto_runtime_enable(struct creto_runtime *rt, const char *name, int enabled, char **json, struct creto_error *err);

/* ---- images; embedded mode only ---- */

/* The image store: `verb` is list, pull, rm or prune, `ref` the image of pull and rm, else NULL. Output and progress go to the caller's
 * descriptors 1 and 2, errors too; *status is the exit status to end with. Blocks, for as long as pulling takes. */
int creto_image(struct creto_runtime *rt, const char *verb, const char *ref, int *status, struct creto_error *err);

const char *creto_version(void);

#ifdef __cplusplus
}
#endif
