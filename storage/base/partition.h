/*
 * partition.h - names inside of an engine's partitions: see storage/engine.h.
 */
#pragma once

#include <stdint.h>

enum {
    PARTITION_ID_SIZE = 16,
    ENGINE_ROW_KEY_MAX = 255,        /* bytes; at least 1 */
    ENGINE_ROW_VALUE_MAX = 1 << 20,  /* bytes */
    ENGINE_BATCH_ROWS_MAX = 1 << 20, /* rows, and claims, and drops, of one batch */
};

struct partition_id { /* random, or a constant of the layer above */
    uint8_t bytes[PARTITION_ID_SIZE];
};

struct block_id { /* within its partition; never used twice */
    uint32_t channel;
    uint64_t number;
};
