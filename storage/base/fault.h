/*
 * fault.h - fault points: named places where a test makes a system call fail, write short, or
 * ends the process as kill -9 would.
 *
 * Built into every binary, so that what is tested is what is shipped; with nothing armed a point
 * costs one relaxed load. Armed by tests through fault_arm(), or at start from the environment:
 *   COFFER_FAULTS="SITE=ACTION[@NTH][xCOUNT][,...]"   e.g. "pack_sync=EIO@3,pack_write=shortx*"
 * ACTION: EIO ENOSPC EMFILE ENOMEM EACCES | short | kill. NTH: the first call that is hit, from 1.
 * COUNT: how many calls in a row, * for all that follow; 1 unless told.
 * Threads: any.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "storage/base/status.h"

enum fault_site {
#define FAULT(name, text, what) FAULT_##name,
#include "storage/base/fault.def"
#undef FAULT
    FAULT_COUNT
};

enum { FAULT_SHORT = -1, FAULT_KILL = -2 }; /* actions beside errno values */

/* 0, or the errno to fail with (FAULT_SHORT at sites that write; `kill` does not return). */
int fault_errno(enum fault_site site);

/* Make calls nth .. nth + count - 1 of `site` (from now on, counted from 1) do `action`.
 * count 0: all from the nth on. */
void fault_arm(enum fault_site site, int action, uint64_t nth, uint64_t count);
void fault_disarm_all(void);
/* Calls of `site` that were made to fail since it was armed. */
uint64_t fault_hits(enum fault_site site);
/* From text as above; COFFER_BAD_OPTION names what is wrong. */
MUST_USE enum coffer_status fault_configure(const char *text, struct error *err);
const char *fault_name(enum fault_site site);
