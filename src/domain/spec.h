/*
 * What is asked of a sandbox and of the command in it: one struct, filled by one table of names, whoever asks. Pure.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "domain/choice.h"
#include "domain/limits.h"

enum {
        SPEC_ENV_MAX = 4096,
        SPEC_LABELS_MAX = 64,
        SPEC_ARGS_MAX = 32768,
        SPEC_TOTAL_MAX = 1000 * 1000,
        SPEC_STRING_MAX = 131071,
        SPEC_PREWARM_MAX = 32,       /* imports, and arguments of a command */
        SPEC_IMPORT_MAX = 128,       /* bytes of one */
        SPEC_PREWARM_ARG_MAX = 4096, /* bytes of an argument */
};

/* What happens when creto-init ends by itself. */
enum spec_restart { SPEC_RESTART_NEVER, SPEC_RESTART_ON_FAILURE, SPEC_RESTART_ALWAYS };

/* What waits, started, for commands (docs/protocols/prewarm.md). */
enum spec_interpreter { SPEC_PREWARM_NONE, SPEC_PREWARM_PYTHON, SPEC_PREWARM_NODE, SPEC_PREWARM_COMMAND };

struct spec_prewarm {
        enum spec_interpreter interpreter;
        const char *items[SPEC_PREWARM_MAX + 1]; /* the imports; of SPEC_PREWARM_COMMAND the command. NULL-ended */
        size_t count;
};

/* Strings are borrowed from who filled it in. */
struct spec {
        const char *image;   /* default "host" */
        const char *runtime; /* default CLASS_AUTO */
        enum trust trust;
        const char *engine_path;  /* root: the runsc to be tried, on this machine; or NULL */
        const char *engine_offer; /* the word under which one was offered, or NULL; it works once, so it is no part of what is kept */
        struct limits limits;
        const char *env[SPEC_ENV_MAX + 1]; /* NAME=value, NULL-ended */
        size_t env_count;
        const char *labels[SPEC_LABELS_MAX];
        size_t label_count;
        const char *cwd;  /* NULL: the image's, else the user's home */
        const char *user; /* NULL: the image's, else the default user */
        bool tty, interactive;
        bool allow_fallback, pull;
        unsigned vcpus;      /* vm.hwConfig.vcpus; 0: as limits say */
        bool hw_config;      /* something of vm.hwConfig is named, which only virtual machines have */
        uint64_t timeout_ms; /* 0: none */
        uint64_t ttl_ms;     /* 0: none */
        uint64_t idle_ms;    /* 0: none; terminated when no command has run for so long */
        enum spec_restart restart;
        struct spec_prewarm prewarm;
        const char *const *command; /* NULL-ended; may be empty where the image has one */
};

void spec_init(struct spec *s);

/* Applies one option by its name on the command line (without --), as often as the name allows it. `value` is NULL for a switch. INVALID_SPEC,
 * or NOT_SUPPORTED where the feature is not there yet. */
int spec_set(struct spec *s, const char *name, const char *value, struct err *e);

/* Returns 1 where the name is an option with a value, 0 for a switch, -1 where there is none of that name. */
int spec_takes_value(const char *name);

/* INVALID_SPEC where a virtual machine's hardware is asked for, and the class has none. */
int spec_check_hw(const struct spec *s, struct err *e);

/* The words of a command: the image's entrypoint goes before what the caller names, and its cmd (what stands behind the entrypoint in `image`) is taken where the caller
 * names nothing. To be freed; NULL: no memory. */
const char **spec_argv(const char *const *image, size_t entrypoint_count, const char *const *own);

/* Its environment: lists, each NULL-ended or NULL, of which a later one takes the place of an earlier. To be freed; NULL: no memory. */
const char **spec_environment(const char *const *image, const char *const *sandbox, const char *const *own);

/* What can only be judged as a whole: sizes in all, a command where one is needed. */
int spec_check(const struct spec *s, struct err *e);
