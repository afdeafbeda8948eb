/*
 * progress.h - a bar on standard error, if that is a terminal; else nothing.
 *
 * Threads: any, after progress_start(). Drawn at most ten times a second.
 */
#pragma once

#include <stdint.h>

enum progress_unit { PROGRESS_BYTES, PROGRESS_ITEMS };

/* One at a time. `total` 0: not known. The text is copied. */
void progress_start(const char *what, uint64_t total, enum progress_unit unit);
void progress_add(uint64_t more);
/* For what is told from elsewhere: all that is done, and of how much. */
void progress_set(uint64_t done, uint64_t total);
/* The bar goes away. Without one that was started, a no-op. */
void progress_end(void);
/* Before a line is printed to a terminal: takes the bar away until it is drawn next. */
void progress_hide(void);

/* "1.50 GiB", into `out`, which is returned. */
enum { HUMAN_SIZE = 32 };
const char *human_bytes(uint64_t bytes, char out[HUMAN_SIZE]);
