/*
 * The daemon's log: one event a line on standard error, as logfmt or as JSON, with the level in front that journald takes (<6>).
 *
 * A line is one write; where nobody takes it, it is dropped, never waited for. Values are escaped: what a tenant says cannot make a line of its own.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

enum log_level { LOG_ERROR, LOG_WARNING, LOG_INFO, LOG_DEBUG };

enum { LOG_LINE_MAX = 4096 };

void log_setup(bool json, enum log_level least, bool journal);
bool log_on(enum log_level level);

/* log_event(LOG_INFO, "sandbox ready", "sandbox", id, "ms", "3"): pairs of strings; a pair whose value is NULL or "" is left out. */
#define log_event(level, ...) log_line(level, __VA_ARGS__, (const char *)NULL)

__attribute__((sentinel)) void log_line(enum log_level level, const char *event, ...);
