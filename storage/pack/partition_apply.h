/*
 * partition_apply.h - what BATCH and DROP records do to the index: the part of index_apply.h that
 * belongs to partitions.
 *
 * Order:   as index_apply.h: the row with the higher LSN stays, and applying again changes nothing.
 * Bytes:   a batch's record is shared out. Its content belongs to its block, each entry that puts a
 *          row to that row, until they go; header, removals, claims, drops and tail are dead at
 * once.
 */
#pragma once

#include "storage/pack/batch_format.h"
#include "storage/pack/index_apply.h"
#include "storage/pack/touched.h"

/* Apply a batch whose record lies at `offset` of `pack`. `op`: what it was made of, which says what
 * need not be looked up; NULL in a replay. */
MUST_USE enum coffer_status apply_batch(struct applier *applier, const struct batch *batch,
    uint64_t pack, uint64_t offset, const struct engine_op *op, struct error *err);
/* A block whose record is known and cannot be read: `row` leads to bytes with a wrong checksum. */
MUST_USE enum coffer_status apply_damaged_block(struct applier *applier,
    const struct partition_id *partition, const struct block_id *block,
    const struct engine_row *row, struct error *err);
/* All rows and blocks below `lsn` go, with batches written in between: begin with an empty one. */
MUST_USE enum coffer_status apply_drop(
    struct applier *applier, const struct partition_id *partition, uint64_t lsn, struct error *err);
/* Forget a block that was not claimed. */
MUST_USE enum coffer_status apply_drop_staged(struct applier *applier,
    const struct partition_id *partition, const struct block_id *block, struct error *err);

/* Whether the batch of `touched` changes something that this one changes too; note what it does. */
bool batch_is_touched(const struct batch *batch, struct touched *touched);
void batch_touch(const struct batch *batch, struct touched *touched);
