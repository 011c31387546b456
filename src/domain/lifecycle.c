#include "domain/lifecycle.h"

#include <stddef.h>

/* A cell holds the next state plus one; an empty cell means: not permitted. */
#define TO(state) (SANDBOX_##state + 1)

static const unsigned char table[SANDBOX_STATES][SANDBOX_EVENTS] = {
        [SANDBOX_CREATING] = {
                [SANDBOX_EV_CREATED] = TO(READY),
                [SANDBOX_EV_TERMINATE] = TO(TERMINATING),
                [SANDBOX_EV_DIED] = TO(FAILED),
        },
        [SANDBOX_READY] = {
                [SANDBOX_EV_START] = TO(RUNNING),
                [SANDBOX_EV_TERMINATE] = TO(TERMINATING),
                [SANDBOX_EV_DIED] = TO(FAILED),
        },
        [SANDBOX_RUNNING] = {
                [SANDBOX_EV_START] = TO(RUNNING),
                [SANDBOX_EV_PAUSE] = TO(PAUSED),
                [SANDBOX_EV_CHECKPOINT] = TO(CHECKPOINTING),
                [SANDBOX_EV_TERMINATE] = TO(TERMINATING),
                [SANDBOX_EV_DIED] = TO(FAILED),
        },
        [SANDBOX_PAUSED] = {
                [SANDBOX_EV_RESUME] = TO(RUNNING),
                [SANDBOX_EV_CHECKPOINT] = TO(CHECKPOINTING),
                [SANDBOX_EV_TERMINATE] = TO(TERMINATING),
                [SANDBOX_EV_DIED] = TO(FAILED),
        },
        [SANDBOX_CHECKPOINTING] = {
                [SANDBOX_EV_CHECKPOINT_DONE] = TO(CHECKPOINTED),
                [SANDBOX_EV_CHECKPOINT_ABORTED] = TO(RUNNING),
                [SANDBOX_EV_TERMINATE] = TO(TERMINATING),
                [SANDBOX_EV_DIED] = TO(FAILED),
        },
        [SANDBOX_CHECKPOINTED] = {
                [SANDBOX_EV_TERMINATE] = TO(TERMINATING),
        },
        [SANDBOX_TERMINATING] = {
                [SANDBOX_EV_TERMINATE] = TO(TERMINATING),
                [SANDBOX_EV_DIED] = TO(TERMINATING),
                [SANDBOX_EV_GONE] = TO(TERMINATED),
        },
        [SANDBOX_FAILED] = {
                [SANDBOX_EV_TERMINATE] = TO(TERMINATING),
                [SANDBOX_EV_GONE] = TO(FAILED),
                [SANDBOX_EV_RESTART] = TO(CREATING),
        },
};

static const char *const names[SANDBOX_STATES] = {
        [SANDBOX_CREATING] = "Creating",
        [SANDBOX_READY] = "Ready",
        [SANDBOX_RUNNING] = "Running",
        [SANDBOX_PAUSED] = "Paused",
        [SANDBOX_CHECKPOINTING] = "Checkpointing",
        [SANDBOX_CHECKPOINTED] = "Checkpointed",
        [SANDBOX_TERMINATING] = "Terminating",
        [SANDBOX_TERMINATED] = "Terminated",
        [SANDBOX_FAILED] = "Failed",
};

bool lifecycle_step(enum sandbox_state state, enum sandbox_event event, enum sandbox_state *next)
{
        if ((unsigned)state >= SANDBOX_STATES || (unsigned)event >= SANDBOX_EVENTS || table[state][event] == 0)
                return false;
        *next = (enum sandbox_state)(table[state][event] - 1);
        return true;
}

bool lifecycle_accepts_exec(enum sandbox_state state)
{
        return state == SANDBOX_READY || state == SANDBOX_RUNNING;
}

const char *lifecycle_name(enum sandbox_state state)
{
        return (unsigned)state < SANDBOX_STATES ? names[state] : "Unknown";
}
