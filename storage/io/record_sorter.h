/*
 * record_sorter.h - sort more records than memory should hold. Records have one size and are
 * compared as bytes, so that numbers in them are big-endian.
 *
 * Algorithm: records are sorted in memory a run at a time; if there is more than one run, they go
 *          to a spill and are merged while they are read.
 * Order:   add, add..., finish; then next until it gives none.
 * Memory:  RECORD_SORTER_RUN bytes and as much again while a run is sorted, then
 *          RECORD_SORTER_MERGE for all runs together (a record a run if that is more); less for a
 *          few records.
 * Threads: one at a time.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "storage/base/spill.h"

struct record_sorter;

enum { RECORD_SORTER_RUN = 1 << 20, RECORD_SORTER_MERGE = 512 * 1024 };

/* Never NULL. */
struct record_sorter *record_sorter_create(size_t record_size, struct spill_place place)
    __attribute__((returns_nonnull));
void record_sorter_destroy(struct record_sorter *sorter); /* NULL is a no-op */
MUST_USE enum coffer_status record_sorter_add(
    struct record_sorter *sorter, const void *record, struct error *err);
MUST_USE enum coffer_status record_sorter_finish(struct record_sorter *sorter, struct error *err);
/* The next records, in order: up to max; *count < max only at the end. */
MUST_USE enum coffer_status record_sorter_next(
    struct record_sorter *sorter, void *records, size_t max, size_t *count, struct error *err);
