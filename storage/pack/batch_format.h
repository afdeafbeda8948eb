/*
 * batch_format.h - the payload of a BATCH record, and the keys of BATCH and DROP records.
 * docs/format.md has them in tables. Little-endian; the only place that encodes or decodes them.
 *
 *     content of the block, as stored | entries of rows | claims | drops | tail
 *
 * All but the content is the rows section: the writer has it in a buffer of its own, the content
 * stays where it is.
 *
 * Errors:  decoding trusts nothing: what it accepts is within its limits and fills the payload
 *          without a gap.
 * Threads: pure functions.
 * Memory:  a decoded batch borrows the bytes it was decoded from.
 */
#pragma once

#include "storage/engine.h"
#include "storage/pack/pack_format.h"

enum {
    BATCH_ENTRY_SIZE = 15,     /* of an entry, before its key and value */
    BATCH_REFERENCE_SIZE = 12, /* of a claim or a drop */
    BATCH_TAIL_SIZE = 32,
};

struct batch_entry {
    uint64_t lsn; /* of the change; in the record 0 for the record's own */
    bool remove;
    struct slice key, value;
};

struct batch { /* decoded */
    struct partition_id partition;
    uint64_t lsn;         /* of the record */
    uint64_t record_size; /* with header and padding */
    bool has_block;
    struct block_id block;
    enum codec codec;
    uint64_t raw_size; /* of the block's content */
    uint64_t stored_size;
    uint64_t checksum; /* of the content as stored */
    const uint8_t *entries, *claims, *drops;
    size_t entry_count, claim_count, drop_count;
};

/* Bytes of a pack that an entry takes. */
static inline uint64_t batch_entry_size(uint64_t key_size, uint64_t value_size)
{
    return BATCH_ENTRY_SIZE + key_size + value_size;
}

/* The key of a record; `block` NULL: it has none. */
void batch_key_encode(const struct partition_id *partition, const struct block_id *block,
    uint8_t out[RECORD_KEY_SIZE]);
void partition_of_key(const uint8_t key[RECORD_KEY_SIZE], struct partition_id *partition);
/* False: the record has no block. */
bool block_of_key(const uint8_t key[RECORD_KEY_SIZE], struct block_id *block);

/* The rows section of an ENGINE_BATCH: its size, and its bytes, for a block whose content is stored
 * as `stored_size` bytes with `checksum` (both 0 without one). */
uint64_t batch_section_size(const struct engine_op *op);
void batch_section_encode(
    const struct engine_op *op, uint64_t stored_size, uint64_t checksum, uint8_t *out);
struct batch_tail {
    uint64_t stored_size, checksum; /* of the content */
    size_t entry_count, claim_count, drop_count;
};
void batch_tail_encode(const struct batch_tail *tail, uint8_t out[BATCH_TAIL_SIZE]);
/* Claims or drops; behind them. */
uint8_t *batch_references_encode(const struct block_id *blocks, size_t count, uint8_t *out);
/* One entry; where the next one goes. */
uint8_t *batch_entry_encode(const struct batch_entry *entry, uint8_t *out);

/* `in`: the payload, or only its end from before the rows section on. COFFER_DATA_CORRUPT. */
MUST_USE enum coffer_status batch_decode(
    const struct record_header *header, struct slice in, struct batch *batch, struct error *err);
/* The entry at `at` (the first: batch->entries), with its LSN; where the next one is. There are
 * batch->entry_count of them. */
const uint8_t *batch_entry_at(
    const struct batch *batch, const uint8_t *at, struct batch_entry *entry);
/* Number i of batch->claims or ->drops. */
struct block_id batch_reference(const uint8_t *references, size_t i);
