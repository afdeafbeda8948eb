/*
 * index_partition.h - the part of the index that belongs to partitions: their rows with the values,
 * and where their blocks lie. Same database, same rules as index.h.
 */
#pragma once

#include "storage/base/partition.h"
#include "storage/base/slice.h"
#include "storage/index/index.h"

struct index_stored { /* of a row, beside its key and value */
    uint64_t lsn;
    uint64_t pack;       /* that holds its entry */
    uint64_t value_size; /* bytes */
};

void index_batch_put_row(struct index_batch *batch, const struct partition_id *partition,
    struct slice key, uint64_t lsn, uint64_t pack, struct slice value);
void index_batch_delete_row(
    struct index_batch *batch, const struct partition_id *partition, struct slice key);
void index_batch_put_block(struct index_batch *batch, const struct partition_id *partition,
    const struct block_id *block, const struct engine_row *row);
void index_batch_delete_block(
    struct index_batch *batch, const struct partition_id *partition, const struct block_id *block);
/* A block that no batch has claimed yet. */
void index_batch_put_staged(
    struct index_batch *batch, const struct partition_id *partition, const struct block_id *block);
void index_batch_delete_staged(
    struct index_batch *batch, const struct partition_id *partition, const struct block_id *block);

/* COFFER_OK or COFFER_NO_SUCH_CHUNK (err not filled). */
MUST_USE enum coffer_status index_find_stored(struct index *index,
    const struct partition_id *partition, struct slice key, struct index_stored *stored,
    struct error *err);
MUST_USE enum coffer_status index_find_block(struct index *index,
    const struct partition_id *partition, const struct block_id *block, struct engine_row *row,
    struct error *err);
MUST_USE enum coffer_status index_find_staged(struct index *index,
    const struct partition_id *partition, const struct block_id *block, bool *found,
    struct error *err);
/* As row_get and row_scan of storage/engine.h. */
MUST_USE enum coffer_status index_get_value(struct index *index,
    const struct partition_id *partition, struct slice key, void **value, size_t *size, bool *found,
    struct error *err);
MUST_USE enum coffer_status index_scan_values(struct index *index,
    const struct partition_id *partition, struct slice prefix, struct slice from, bool backwards,
    bool (*visit)(void *context, struct slice key, struct slice value), void *context,
    struct error *err);
/* Visit all rows, or all blocks, of a partition as they are at the call, until one visit fails.
 * The visitor may write to the index. */
MUST_USE enum coffer_status index_visit_rows(struct index *index,
    const struct partition_id *partition,
    enum coffer_status (*visit)(
        void *context, struct slice key, const struct index_stored *stored, struct error *err),
    void *context, struct error *err);
MUST_USE enum coffer_status index_visit_blocks(struct index *index,
    const struct partition_id *partition,
    enum coffer_status (*visit)(void *context, const struct block_id *block,
        const struct engine_row *row, struct error *err),
    void *context, struct error *err);
/* Up to count staged blocks of whatever partitions. */
MUST_USE enum coffer_status index_scan_staged(struct index *index, struct partition_id *partitions,
    struct block_id *blocks, size_t count, size_t *found, struct error *err);
