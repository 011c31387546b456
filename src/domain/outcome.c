#include "domain/outcome.h"

#include <stdarg.h>
#include <stdio.h>

enum { STATUS_TIMEOUT = 124, STATUS_KILLED = 137 };

__attribute__((format(printf, 2, 3))) static void say(struct outcome *o, const char *fmt, ...)
{
        va_list ap;

        if (o->count == OUTCOME_LINES)
                return;
        va_start(ap, fmt);
        vsnprintf(o->lines[o->count++], OUTCOME_LINE, fmt, ap);
        va_end(ap);
}

static bool happened(uint64_t counter)
{
        return counter != 0 && counter != UINT64_MAX;
}

static const char *limit_text(const struct outcome_facts *f, enum limit which, char *out, size_t cap)
{
        char value[32];

        snprintf(out, cap, "%s limit %s", limit_table[which].noun, limit_format(which, f->limits->value[which], value, sizeof(value)));
        return out;
}

void outcome_of(const struct outcome_facts *f, struct outcome *o)
{
        char text[80];

        *o = (struct outcome){ .status = !f->ended ? STATUS_KILLED : f->signal ? 128 + f->signal : f->code };
        if (f->timed_out || f->ttl_over) {
                uint64_t ms = f->timed_out ? f->timeout_ms : f->ttl_ms;

                o->status = STATUS_TIMEOUT;
                say(o, "killed: %s of %llu.%03llu s is over", f->timed_out ? "timeout" : "time to live", (unsigned long long)ms / 1000,
                    (unsigned long long)ms % 1000);
        }
        if (happened(f->oom_kills)) {
                limit_text(f, LIMIT_MEMORY, text, sizeof(text));
                if (!f->ended || f->signal == 9)
                        say(o, "killed: %s", text);
                else
                        say(o, "limit: %s: %llu processes killed", text, (unsigned long long)f->oom_kills);
        }
        if (happened(f->forks_refused))
                say(o, "limit: %s: %llu times a process was refused", limit_text(f, LIMIT_PIDS, text, sizeof(text)),
                    (unsigned long long)f->forks_refused);
        if (f->disk_full)
                say(o, "limit: %s: the disk is full", limit_text(f, LIMIT_DISK, text, sizeof(text)));
        if (f->inodes_full)
                say(o, "limit: %s: no more files fit on the disk", limit_text(f, LIMIT_INODES, text, sizeof(text)));
        if (!f->ended && o->count == 0)
                say(o, "the sandbox ended before its command did");
}
