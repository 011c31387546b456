/*
 * Runtime classes: a name for who makes a sandbox and what stands between it and the host. The ones that are built in, those that the operator adds, and
 * how an engine is called. Pure: whether an engine is there is not known here.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "wire/ipc.h"

#define CLASS_OVERHEAD_MAX (1ULL << 40)

enum {
        CLASS_NAME_MAX = 32, /* [a-z0-9-] */
        CLASSES_MAX = 32,
        CLASS_BINARY_MAX = 255,
        CLASS_OPTIONS_MAX = 8,
        CLASS_OPTION_MAX = 95,
        CLASS_ARGS_MAX = 32,
        CLASS_REQUIRES_MAX = 4,
        CLASS_REQUIRE_MAX = 95,
        CLASS_TEXT_MAX = 1400, /* class_format() */
};

enum class_driver { CLASS_NATIVE, CLASS_OCI, CLASS_CONTAINERD, CLASS_DRIVERS };

/* How an engine wants to be spoken to. */
enum class_engine {
        ENGINE_NONE,
        ENGINE_OCI,    /* only what all OCI runtimes have */
        ENGINE_CRUN,   /* and what crun has */
        ENGINE_RUNC,   /* and what runc has */
        ENGINE_GVISOR, /* runsc: a kernel of its own, in user space */
        ENGINE_SHIM,   /* containerd-shim-runc-v2, which calls an OCI runtime */
        ENGINE_KATA,   /* containerd-shim-kata-v2 */
        CLASS_ENGINES,
};

/* What not every class can. */
enum class_can {
        CAN_KILL_ONE,      /* where memory runs out, the command that took it is killed; else the sandbox is */
        CAN_COUNT_ATTACKS, /* calls that are refused as attacks are counted */
        CAN_HOST_KERNEL,   /* the host's kernel answers, with all that it can */
        CAN_CHANGE_LIMITS, /* of one that runs */
        CAN_EMBED,         /* without a service */
        CLASS_CANS,
};

extern const char *const class_can_names[CLASS_CANS];

struct runtime_class {
        char name[CLASS_NAME_MAX + 1];
        enum class_driver driver;
        enum class_engine engine;
        char binary[CLASS_BINARY_MAX + 1]; /* absolute; or a name to be looked for where packages put programs */
        char behind[CLASS_BINARY_MAX +
                    1]; /* of a shim: the OCI runtime that it calls, as `binary`; of Kata's: its configuration file, or "" */
        unsigned option_count;
        char options[CLASS_OPTIONS_MAX][CLASS_OPTION_MAX + 1];
        /* What only who places sandboxes has to know: */
        uint64_t overhead; /* bytes of memory that each needs beside its limit */
        unsigned require_count;
        char requires[CLASS_REQUIRES_MAX][CLASS_REQUIRE_MAX + 1]; /* paths that have to be there: "/dev/kvm" */
};

struct classes {
        unsigned count;
        struct runtime_class of[CLASSES_MAX];
};

/* Those that are built in. */
void classes_init(struct classes *c);

/* NULL where there is none of that name. */
const struct runtime_class *classes_find(const struct classes *c, const char *name);

/* Adds a class, or puts another in place of one that is built in (but for native). INVALID_SPEC where it is none, or there are too many. */
int classes_add(struct classes *c, const struct runtime_class *class, struct err *e);

/* What follows from the rest of a class and was not said: the engine, and what a shim calls. */
void class_complete(struct runtime_class *class);

/* Nothing of it is the operator's. */
bool class_is_built_in(const struct runtime_class *class);

/* A class as one line, as the warden's arguments have it: "NAME,ENGINE,BINARY[,OPTION …]", and with a shim "NAME,ENGINE,BINARY,BEHIND[,OPTION …]", where "-" is
 * nothing; and back: false where it is none. */
void class_format(const struct runtime_class *class, char out[CLASS_TEXT_MAX]);
bool class_parse(const char *text, struct runtime_class *class);

/* "oci", "crun", "runc", "gvisor", "shim", "kata". CLASS_ENGINES where it is none of them. */
enum class_engine class_engine_of(const char *name);
/* By the name of the program: ENGINE_OCI where it is none of those that are known. */
enum class_engine class_engine_at(const char *binary);

/* Bits of the limits that its engine cannot keep. */
uint32_t class_lacks(const struct runtime_class *class);

/* The i-th place where that program may be. False where there are no more. */
bool class_place(const char *binary, unsigned i, char *out, size_t cap);

/* For who asks: `limits` are those that the host can enforce, `version` what the engine says of itself, `why` NULL where it is available. */
void class_describe(const struct runtime_class *class, uint32_t limits, const char *version, const struct err *why, struct ipc_class *out);

/* What to do where `binary` of it is missing. */
const char *class_hint(const struct runtime_class *class, const char *binary);
/* The argument with which its binary says which it is. */
const char *class_version_arg(const struct runtime_class *class);

/* The call that starts a sandbox from the bundle in /tmp (the engine has a mount namespace of its own, where /tmp is that). `id` and the class are borrowed by `argv`, which is
 * NULL-ended; `fds` is how many descriptors from 3 on go along. `old`: the release has not got what newer ones have. `user`: an ordinary user calls it, in a namespace. */
void class_run_argv(const struct runtime_class *class, const char *id, unsigned fds, bool old, bool user, const char *argv[CLASS_ARGS_MAX]);
/* A call that does nothing and ends with 0 only where the engine has what newer releases have; false where no engine of that kind differs so. */
bool class_probe_argv(const struct runtime_class *class, const char *argv[CLASS_ARGS_MAX]);

/* ---- shims ---- */

static inline bool class_has_shim(const struct runtime_class *class)
{
        return class->driver == CLASS_CONTAINERD;
}
/* The engine that makes the container: its own, or the one behind its shim. */
enum class_engine class_maker(const struct runtime_class *class);
/* The program that its shim calls, if it calls one that is known here; else NULL. */
const char *class_runtime(const struct runtime_class *class);
/* What stands between the two, as a script: `runtime` is where the program is, or "". Returns its length. */
size_t class_runtime_script(const struct runtime_class *class, const char *runtime, bool old, char out[CLASS_TEXT_MAX]);
/* How creto-shim is called (wire/shim.h). */
void class_shim_argv(const struct runtime_class *class, const char *id, const char *argv[CLASS_ARGS_MAX]);
