#include "programs/init/bind.h"

#include <string.h>

static uint8_t bound[GUEST_CLAIM];

void bind_take(const uint8_t claim[GUEST_CLAIM])
{
        if (guest_claim_is_none(bound))
                memcpy(bound, claim, GUEST_CLAIM);
}

const uint8_t *bind_claim(void)
{
        return bound;
}
