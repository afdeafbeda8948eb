/*
 * mixed_workload.h - random commits of everything an engine keeps, for tests of what rewrites
 * packs: chunks small and segmented, uploads without an end, deletions, and partitions
 * (partition_workload.h). All of it follows from a seed alone, and is compared with a memory engine
 * that got the same, with content made again from its seed, and with what it takes of packs.
 */
#pragma once

#include "tests/support/partition_workload.h"

enum { MIXED_CHUNKS = 150 };

struct mixed {
    struct suite *local, *memory;
    struct workload *workload;
    bool there[MIXED_CHUNKS];
    struct digest keys[MIXED_CHUNKS];
    uint64_t uploads;
    struct upload_id unfinished[4]; /* segments 0 and 1 of each, which a restart forgets */
    size_t unfinished_count;
    unsigned lanes; /* that are written to */
};

void mixed_init(struct mixed *mixed, uint64_t seed);
void mixed_release(struct mixed *mixed);
/* One commit, or a few. */
void mixed_step(struct mixed *mixed);
/* The engine was opened again: what nothing refers to was forgotten. */
void mixed_restarted(struct mixed *mixed);
/* Fails the test unless all is as it must be, and all bytes are accounted for. */
void mixed_check(struct mixed *mixed);
/* Repack with defaults that touch whatever has something to give back. */
struct engine_compaction mixed_compaction(void);
void mixed_compact(struct mixed *mixed, struct engine_compaction *compaction);
