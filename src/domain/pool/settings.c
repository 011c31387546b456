#include "domain/pool/settings.h"

#include <string.h>

#include "base/str.h"

void pool_settings_default(struct pool_settings *s)
{
        *s = (struct pool_settings){ .min_ready = 1, .max_ready = 10, .headroom = POOL_HEADROOM, .scale_down_s = POOL_SCALE_DOWN_S };
}

static int out_of_range(const char *field, uint64_t value, uint64_t min, uint64_t max, const char *unit, struct err *e)
{
        return err_set(e, ERR_INVALID_SPEC, 0, "%s: %llu is out of range: %llu to %llu%s", field, (unsigned long long)value,
                       (unsigned long long)min, (unsigned long long)max, unit);
}

int pool_settings_check(const struct pool_settings *s, struct err *e)
{
        const struct {
                const char *field;
                uint64_t value, min, max;
                const char *unit, *hint;
        } bounds[] = {
                { "maxReady", s->max_ready, 1, POOL_READY_MAX, "", "a pool that is to keep nothing ready is drained, or deleted" },
                { "minReady", s->min_ready, 0, POOL_READY_MAX, "", "spread more over several pools" },
                { "maxAgeSeconds", s->max_age_s, 0, POOL_SECONDS_MAX, " seconds", "0: they do not age" },
                { "autoScaling.headroom", s->headroom, 0, POOL_HEADROOM_MAX, " percent", "write a percentage: 20" },
                { "autoScaling.scaleDownSeconds", s->scale_down_s, 0, POOL_SECONDS_MAX, " seconds", "0: shrink at once" },
        };

        for (size_t i = 0; i < sizeof(bounds) / sizeof(bounds[0]); i++) {
                if (bounds[i].value >= bounds[i].min && bounds[i].value <= bounds[i].max)
                        continue;
                out_of_range(bounds[i].field, bounds[i].value, bounds[i].min, bounds[i].max, bounds[i].unit, e);
                return err_hint(e, "%s", bounds[i].hint);
        }
        if (s->min_ready > s->max_ready) {
                err_set(e, ERR_INVALID_SPEC, 0, "minReady %llu is more than maxReady %llu", (unsigned long long)s->min_ready,
                        (unsigned long long)s->max_ready);
                return err_hint(e, "lower minReady, or raise maxReady to %llu", (unsigned long long)s->min_ready);
        }
        return 0;
}

int pool_id_check(const char *id, struct err *e)
{
        size_t len = strnlen(id, POOL_ID_MAX + 1);
        bool printable = true;

        if (str_is_id(id, POOL_ID_MAX) && id[len - 1] != '-')
                return 0;
        for (size_t i = 0; i < len; i++)
                printable = printable && (unsigned char)id[i] >= ' ' && (unsigned char)id[i] < 127;
        if (len == 0)
                err_set(e, ERR_INVALID_SPEC, 0, "the pool's id is empty");
        else if (len > POOL_ID_MAX)
                err_set(e, ERR_INVALID_SPEC, 0, "the pool's id has more than %d characters", POOL_ID_MAX);
        else if (!printable)
                err_set(e, ERR_INVALID_SPEC, 0, "the pool's id holds a character that is not ASCII, or a control character");
        else
                err_set(e, ERR_INVALID_SPEC, 0, "'%s' is not an id of a pool", id);
        return err_hint(e, "an id is 1 to %d lowercase letters, digits and '-', with no '-' at either end: python-fast", POOL_ID_MAX);
}

const char *pool_state_name(enum pool_state state)
{
        static const char *const names[] = { [POOL_ACTIVE] = "Active", [POOL_DRAINING] = "Draining", [POOL_DELETING] = "Deleting" };

        return (unsigned)state < sizeof(names) / sizeof(names[0]) ? names[state] : "Unknown";
}
