/*
 * log.h - the log: one line an event, on standard error, as text or JSON.
 *
 * Return an error or log it, never both: it is logged where it is answered or where nobody is
 * left to answer to.
 * Threads: any; a line is written with one write(2). log_configure() before other threads start
 *          (the level may be changed at any time).
 */
#pragma once

#include <stdbool.h>

#include "storage/base/status.h"

enum log_level { LOG_DEBUG, LOG_INFO, LOG_WARN, LOG_ERROR };

void log_configure(enum log_level level, bool json);
bool log_enabled(enum log_level level);
/* `event` is a short stable word ("ready", "pack_poisoned"); the rest a sentence for people. */
void log_write(enum log_level level, const char *event, const char *format, ...) PRINTF_LIKE(3, 4);
