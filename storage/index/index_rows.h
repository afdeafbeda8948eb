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
#include "storage/base/slice.h"
#include "storage/index/index.h"

/* The first byte of a key says what the row is. */
enum index_prefix {
    INDEX_CHUNK = 'c',       /* + key: struct engine_row */
    INDEX_SEGMENT = 's',     /* + upload id + number: struct engine_row */
    INDEX_UPLOAD = 'u',      /* + upload id: empty */
    INDEX_PACK = 'p',        /* + pack id: struct index_pack */
    INDEX_DEAD = 'd',        /* + pack id: counter, dead bytes */
    INDEX_CHUNK_COUNT = 'n', /* counter, chunks */
    INDEX_STORE = 'i',       /* the store's uuid */
};

enum { INDEX_KEY_MAX = 33, INDEX_VALUE_MAX = 96 };

struct index_key {
    size_t size;
    uint8_t bytes[INDEX_KEY_MAX];
};

struct index_key index_key_of(enum index_prefix prefix, const void *rest, size_t size);
struct index_key index_key_number(enum index_prefix prefix, uint64_t number);
struct index_key index_key_segment(const struct upload_id *upload, uint64_t segment);

size_t index_row_encode(const struct engine_row *row, uint8_t out[INDEX_VALUE_MAX]);
bool index_row_decode(struct slice in, struct engine_row *row);
size_t index_pack_encode(const struct index_pack *pack, uint8_t out[INDEX_VALUE_MAX]);
bool index_pack_decode(struct slice in, struct index_pack *pack);
