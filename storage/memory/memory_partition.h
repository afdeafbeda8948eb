/*
 * memory_partition.h - the partitions of the memory engine: sorted rows, and a table of blocks.
 *
 * Threads: the caller holds the engine's lock.
 */
#pragma once

#include "storage/engine.h"
#include "storage/memory/memory_table.h"

struct memory_row {
    size_t key_size, value_size;
    uint8_t bytes[]; /* key, value */
};

struct memory_partition {
    struct partition_id id;
    struct memory_row **rows; /* sorted by key */
    size_t count, capacity;
    struct table blocks; /* by partition_block_key() */
    uint64_t bytes;      /* of keys and values */
};

struct memory_partitions { /* all zeros is an empty set */
    struct memory_partition **all;
    size_t count, capacity;
};

/* NULL: nothing was ever put there. */
struct memory_partition *partitions_find(
    const struct memory_partitions *set, const struct partition_id *id);
struct memory_partition *partitions_find_or_make(
    struct memory_partitions *set, const struct partition_id *id);
void partitions_drop(struct memory_partitions *set, const struct partition_id *id);
void partitions_release(struct memory_partitions *set);
/* The block with this LSN in whatever partition, or NULL. */
struct entry *partitions_find_lsn(const struct memory_partitions *set, uint64_t lsn);
uint64_t partitions_bytes(const struct memory_partitions *set);

void partition_block_key(const struct block_id *block, uint8_t out[DIGEST_SIZE]);
void partition_change(struct memory_partition *partition, const struct engine_change *change);
/* NULL: there is no such row. */
const struct memory_row *partition_row(const struct memory_partition *partition, struct slice key);
/* As row_scan of storage/engine.h. */
void partition_scan(const struct memory_partition *partition, struct slice prefix,
    struct slice from, bool backwards,
    bool (*visit)(void *context, struct slice key, struct slice value), void *context);
