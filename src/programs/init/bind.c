#include "programs/init/bind.h"

#include <string.h>

static uint8_t bound[GUEST_CLAIM];
static bool taken;

void bind_take(const uint8_t claim[GUEST_CLAIM])
{
        if (guest_claim_is_none(bound))
                memcpy(bound, claim, GUEST_CLAIM);
        taken = memcmp(bound, claim, GUEST_CLAIM) == 0;
}

void bind_reset(void)
{
        taken = false;
}

bool bind_taken(void)
{
        return taken;
}

const uint8_t *bind_claim(void)
{
        return bound;
}
