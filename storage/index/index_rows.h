/*
 * index_rows.h - the keys and values of the index: the only place that encodes or decodes them.
 * docs/format.md has them in tables. Keys are big-endian so that they sort; values little-endian.
 * Threads: pure functions.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "storage/base/engine_row.h"
#include "storage/base/partition.h"
#include "storage/base/slice.h"
#include "storage/index/index.h"
#include "storage/index/index_partition.h"

/* The first byte of a key says what the row is. */
enum index_prefix {
    INDEX_CHUNK = 'c',       /* + key: struct engine_row */
    INDEX_SEGMENT = 's',     /* + upload id + number: struct engine_row */
    INDEX_UPLOAD = 'u',      /* + upload id: empty */
    INDEX_PACK = 'p',        /* + pack id: struct index_pack */
    INDEX_DEAD = 'd',        /* + pack id: counter, dead bytes */
    INDEX_CHUNK_COUNT = 'n', /* counter, chunks */
    INDEX_STORE = 'i',       /* the store's uuid */
    INDEX_ROW = 'r',         /* + partition + key: struct index_stored, value */
    INDEX_BLOCK = 'b',       /* + partition + channel + number: struct engine_row */
    INDEX_STAGED = 'w',      /* + partition + channel + number: empty */
};

enum {
    INDEX_KEY_MAX = 33, /* of all but rows */
    INDEX_VALUE_MAX = 96,
    INDEX_BLOCK_SIZE = PARTITION_ID_SIZE + 4 + 8, /* of the key of a block, behind its prefix */
    INDEX_ROW_KEY_MAX = 1 + PARTITION_ID_SIZE + ENGINE_ROW_KEY_MAX,
    INDEX_STORED_SIZE = 16, /* before the value of a row */
};

struct index_key {
    size_t size;
    uint8_t bytes[INDEX_KEY_MAX];
};

struct index_key index_key_of(enum index_prefix prefix, const void *rest, size_t size);
struct index_key index_key_number(enum index_prefix prefix, uint64_t number);
struct index_key index_key_segment(const struct upload_id *upload, uint64_t segment);
struct index_key index_key_block(
    enum index_prefix prefix, const struct partition_id *partition, const struct block_id *block);
/* `rest`: the INDEX_BLOCK_SIZE bytes behind the prefix. */
void index_block_of_key(
    const uint8_t *rest, struct partition_id *partition, struct block_id *block);
/* The size; `key` is the row's or only its beginning, of at most ENGINE_ROW_KEY_MAX bytes. */
size_t index_row_key(
    const struct partition_id *partition, struct slice key, uint8_t out[INDEX_ROW_KEY_MAX]);

size_t index_row_encode(const struct engine_row *row, uint8_t out[INDEX_VALUE_MAX]);
bool index_row_decode(struct slice in, struct engine_row *row);
size_t index_pack_encode(const struct index_pack *pack, uint8_t out[INDEX_VALUE_MAX]);
bool index_pack_decode(struct slice in, struct index_pack *pack);
void index_stored_encode(const struct index_stored *stored, uint8_t out[INDEX_STORED_SIZE]);
/* *value (or NULL): within `in`. */
bool index_stored_decode(struct slice in, struct index_stored *stored, struct slice *value);
