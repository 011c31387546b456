/*
 * The life of a sandbox: one pure transition table. A state is recorded before the action that it announces.
 */
#pragma once

#include <stdbool.h>

enum sandbox_state {
        SANDBOX_CREATING, /* resources are being made; nothing of the tenant runs */
        SANDBOX_READY,    /* creto-init answers; no command has run */
        SANDBOX_RUNNING,  /* claimed, or given its first command */
        SANDBOX_PAUSED,   /* frozen; keeps everything, runs nothing */
        SANDBOX_CHECKPOINTING,
        SANDBOX_CHECKPOINTED, /* only its image is left */
        SANDBOX_TERMINATING,  /* being taken down; accepts nothing */
        SANDBOX_TERMINATED,
        SANDBOX_FAILED, /* could not be made, or died; what is left is being taken down */
        SANDBOX_STATES,
};

enum sandbox_event {
        SANDBOX_EV_CREATED, /* creto-init has answered */
        SANDBOX_EV_START,   /* claim, or first command */
        SANDBOX_EV_PAUSE,
        SANDBOX_EV_RESUME,
        SANDBOX_EV_CHECKPOINT,
        SANDBOX_EV_CHECKPOINT_DONE,
        SANDBOX_EV_CHECKPOINT_ABORTED, /* it could not be written; the sandbox goes on */
        SANDBOX_EV_TERMINATE,
        SANDBOX_EV_GONE,    /* nothing of it is left on the host */
        SANDBOX_EV_RESTART, /* it is made once more, as its restart policy says */
        SANDBOX_EV_DIED,    /* creto-init ended by itself, or a step of creation failed */
        SANDBOX_EVENTS,
};

/* Sets *next and returns true where `event` is permitted in `state`. */
bool lifecycle_step(enum sandbox_state state, enum sandbox_event event, enum sandbox_state *next);

/* True where commands may be started. */
bool lifecycle_accepts_exec(enum sandbox_state state);

const char *lifecycle_name(enum sandbox_state state); /* "Ready" */
