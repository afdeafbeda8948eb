#include "storage/pack/batch_format.h"

#include <string.h>

#include "storage/base/bytes.h"
#include "storage/base/invariant.h"

enum { ENTRY_REMOVES = 1, KEY_HAS_BLOCK = 1 };

/* ---- keys ---- */

void batch_key_encode(const struct partition_id *partition, const struct block_id *block,
    uint8_t out[RECORD_KEY_SIZE])
{
    memset(out, 0, RECORD_KEY_SIZE);
    memcpy(out, partition->bytes, PARTITION_ID_SIZE);
    if (block == NULL)
        return;
    put_be32(out + 16, block->channel);
    put_be32(out + 20, KEY_HAS_BLOCK);
    put_be64(out + 24, block->number);
}

void partition_of_key(const uint8_t key[RECORD_KEY_SIZE], struct partition_id *partition)
{
    memcpy(partition->bytes, key, PARTITION_ID_SIZE);
}

bool block_of_key(const uint8_t key[RECORD_KEY_SIZE], struct block_id *block)
{
    block->channel = get_be32(key + 16);
    block->number = get_be64(key + 24);
    return (get_be32(key + 20) & KEY_HAS_BLOCK) != 0;
}

/* ---- encoding ---- */

uint64_t batch_section_size(const struct engine_op *op)
{
    uint64_t size =
        BATCH_TAIL_SIZE + BATCH_REFERENCE_SIZE * (uint64_t)(op->claim_count + op->drop_count);

    for (size_t i = 0; i < op->change_count; i++)
        size += batch_entry_size(
            op->changes[i].key.size, op->changes[i].remove ? 0 : op->changes[i].value.size);
    return size;
}

uint8_t *batch_entry_encode(const struct batch_entry *entry, uint8_t *out)
{
    put_le64(out, entry->lsn);
    out[8] = entry->remove ? ENTRY_REMOVES : 0;
    put_le16(out + 9, (uint16_t)entry->key.size);
    put_le32(out + 11, (uint32_t)entry->value.size);
    out += BATCH_ENTRY_SIZE;
    memcpy(out, entry->key.data, entry->key.size);
    out += entry->key.size;
    if (entry->value.size > 0)
        memcpy(out, entry->value.data, entry->value.size);
    return out + entry->value.size;
}

uint8_t *batch_references_encode(const struct block_id *blocks, size_t count, uint8_t *out)
{
    for (size_t i = 0; i < count; i++, out += BATCH_REFERENCE_SIZE) {
        put_le32(out, blocks[i].channel);
        put_le64(out + 4, blocks[i].number);
    }
    return out;
}

void batch_tail_encode(const struct batch_tail *tail, uint8_t out[BATCH_TAIL_SIZE])
{
    put_le64(out, tail->stored_size);
    put_le64(out + 8, tail->checksum);
    put_le32(out + 16, (uint32_t)tail->entry_count);
    put_le32(out + 20, (uint32_t)tail->claim_count);
    put_le32(out + 24, (uint32_t)tail->drop_count);
    put_le32(out + 28, 0);
}

void batch_section_encode(
    const struct engine_op *op, uint64_t stored_size, uint64_t checksum, uint8_t *out)
{
    invariant(op->change_count <= ENGINE_BATCH_ROWS_MAX &&
              op->claim_count <= ENGINE_BATCH_ROWS_MAX && op->drop_count <= ENGINE_BATCH_ROWS_MAX);
    for (size_t i = 0; i < op->change_count; i++) {
        const struct engine_change *change = &op->changes[i];
        const struct batch_entry entry = {.remove = change->remove,
            .key = change->key,
            .value = change->remove ? slice_of("", 0) : change->value};

        invariant(entry.key.size >= 1 && entry.key.size <= ENGINE_ROW_KEY_MAX &&
                  entry.value.size <= ENGINE_ROW_VALUE_MAX);
        out = batch_entry_encode(&entry, out);
    }
    out = batch_references_encode(op->claims, op->claim_count, out);
    out = batch_references_encode(op->drops, op->drop_count, out);
    batch_tail_encode(&(struct batch_tail){stored_size, checksum, op->change_count, op->claim_count,
                          op->drop_count},
        out);
}

/* ---- decoding ---- */

/* The bytes of `count` entries at the beginning of `size` bytes; false: they are not that. */
static bool walk_entries(
    const uint8_t *at, uint64_t size, size_t count, uint64_t lsn, uint64_t *walked)
{
    uint64_t done = 0;

    for (size_t i = 0; i < count; i++) {
        uint64_t key_size, value_size;

        if (size - done < BATCH_ENTRY_SIZE)
            return false;
        key_size = get_le16(at + done + 9);
        value_size = get_le32(at + done + 11);
        if (get_le64(at + done) > lsn || at[done + 8] > ENTRY_REMOVES || key_size == 0 ||
            key_size > ENGINE_ROW_KEY_MAX || value_size > ENGINE_ROW_VALUE_MAX ||
            (at[done + 8] == ENTRY_REMOVES && value_size > 0) ||
            size - done < batch_entry_size(key_size, value_size))
            return false;
        done += batch_entry_size(key_size, value_size);
    }
    *walked = done;
    return true;
}

/* The tail, and what the key says; false: they do not fit the record. */
static bool take_tail(const struct record_header *header, const uint8_t *tail, struct batch *batch)
{
    batch->stored_size = get_le64(tail);
    batch->checksum = get_le64(tail + 8);
    batch->entry_count = get_le32(tail + 16);
    batch->claim_count = get_le32(tail + 20);
    batch->drop_count = get_le32(tail + 24);
    if (get_le32(tail + 28) != 0 || batch->entry_count > ENGINE_BATCH_ROWS_MAX ||
        batch->claim_count > ENGINE_BATCH_ROWS_MAX || batch->drop_count > ENGINE_BATCH_ROWS_MAX ||
        batch->stored_size > header->stored_size - BATCH_TAIL_SIZE)
        return false;
    if (!batch->has_block)
        return batch->stored_size == 0 && header->raw_size == 0 && header->codec == CODEC_NONE;
    return header->codec != CODEC_NONE || batch->stored_size == header->raw_size;
}

enum coffer_status batch_decode(
    const struct record_header *header, struct slice in, struct batch *batch, struct error *err)
{
    const uint8_t *bytes = in.data;
    uint64_t references, section, walked;

    memset(batch, 0, sizeof(*batch));
    if (in.size < BATCH_TAIL_SIZE || in.size > header->stored_size)
        return error_set(err, COFFER_DATA_CORRUPT, "a batch has no tail");
    partition_of_key(header->key, &batch->partition);
    batch->lsn = header->lsn;
    batch->record_size = record_size(header->stored_size);
    batch->codec = header->codec;
    batch->raw_size = header->raw_size;
    batch->has_block = block_of_key(header->key, &batch->block);
    if (!take_tail(header, bytes + in.size - BATCH_TAIL_SIZE, batch))
        return error_set(err, COFFER_DATA_CORRUPT, "the tail of a batch does not fit it");
    section = header->stored_size - batch->stored_size;
    references = BATCH_REFERENCE_SIZE * (uint64_t)(batch->claim_count + batch->drop_count);
    if (section > in.size || references > section - BATCH_TAIL_SIZE)
        return error_set(err, COFFER_DATA_CORRUPT, "a batch is too short for what it lists");
    batch->entries = bytes + (in.size - section);
    if (!walk_entries(batch->entries, section - BATCH_TAIL_SIZE - references, batch->entry_count,
            header->lsn, &walked) ||
        walked + references + BATCH_TAIL_SIZE != section)
        return error_set(err, COFFER_DATA_CORRUPT, "the rows of a batch cannot be read");
    batch->claims = batch->entries + walked;
    batch->drops = batch->claims + BATCH_REFERENCE_SIZE * batch->claim_count;
    return COFFER_OK;
}

const uint8_t *batch_entry_at(
    const struct batch *batch, const uint8_t *at, struct batch_entry *entry)
{
    const uint64_t lsn = get_le64(at);

    entry->lsn = lsn == 0 ? batch->lsn : lsn;
    entry->remove = at[8] == ENTRY_REMOVES;
    entry->key = slice_of(at + BATCH_ENTRY_SIZE, get_le16(at + 9));
    entry->value = slice_of(at + BATCH_ENTRY_SIZE + entry->key.size, get_le32(at + 11));
    return at + batch_entry_size(entry->key.size, entry->value.size);
}

struct block_id batch_reference(const uint8_t *references, size_t i)
{
    const uint8_t *at = references + BATCH_REFERENCE_SIZE * i;

    return (struct block_id){.channel = get_le32(at), .number = get_le64(at + 4)};
}
