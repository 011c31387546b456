#include "base/time.h"

#include <stdio.h>
#include <time.h>

#include "base/clock.h"

uint64_t time_wall_ms(void)
{
        return clock_ms(CLOCK_REALTIME);
}

const char *time_format(uint64_t wall_ms, char out[TIME_TEXT_MAX])
{
        time_t seconds = (time_t)(wall_ms / 1000);
        struct tm tm;

        if (!gmtime_r(&seconds, &tm) || strftime(out, TIME_TEXT_MAX, "%Y-%m-%dT%H:%M:%S", &tm) == 0) {
                out[0] = '\0';
                return out;
        }
        char *end = out;
        while (*end)
                end++;
        snprintf(end, (size_t)(out + TIME_TEXT_MAX - end), ".%03uZ", (unsigned)(wall_ms % 1000));
        return out;
}
