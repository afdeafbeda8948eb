#include "storage/index/index_rows.h"

#include <string.h>

#include "storage/base/bytes.h"
#include "storage/base/invariant.h"

enum {
    ROW_SIZE = 52,
    ROW_SEGMENTED_SIZE = ROW_SIZE + UPLOAD_ID_SIZE + 8,
    ROW_FLAG_SEGMENTED = 1,
    PACK_SIZE = 28,
};

struct index_key index_key_of(enum index_prefix prefix, const void *rest, size_t size)
{
    struct index_key key = {.size = size + 1};

    invariant(size < INDEX_KEY_MAX);
    key.bytes[0] = (uint8_t)prefix;
    if (size > 0)
        memcpy(key.bytes + 1, rest, size);
    return key;
}

struct index_key index_key_number(enum index_prefix prefix, uint64_t number)
{
    uint8_t rest[8];

    put_be64(rest, number);
    return index_key_of(prefix, rest, sizeof(rest));
}

struct index_key index_key_segment(const struct upload_id *upload, uint64_t segment)
{
    uint8_t rest[UPLOAD_ID_SIZE + 8];

    memcpy(rest, upload->bytes, UPLOAD_ID_SIZE);
    put_be64(rest + UPLOAD_ID_SIZE, segment);
    return index_key_of(INDEX_SEGMENT, rest, sizeof(rest));
}

struct index_key index_key_block(
    enum index_prefix prefix, const struct partition_id *partition, const struct block_id *block)
{
    uint8_t rest[INDEX_BLOCK_SIZE];

    memcpy(rest, partition->bytes, PARTITION_ID_SIZE);
    put_be32(rest + PARTITION_ID_SIZE, block->channel);
    put_be64(rest + PARTITION_ID_SIZE + 4, block->number);
    return index_key_of(prefix, rest, sizeof(rest));
}

void index_block_of_key(const uint8_t *rest, struct partition_id *partition, struct block_id *block)
{
    memcpy(partition->bytes, rest, PARTITION_ID_SIZE);
    block->channel = get_be32(rest + PARTITION_ID_SIZE);
    block->number = get_be64(rest + PARTITION_ID_SIZE + 4);
}

size_t index_row_key(
    const struct partition_id *partition, struct slice key, uint8_t out[INDEX_ROW_KEY_MAX])
{
    invariant(key.size <= ENGINE_ROW_KEY_MAX);
    out[0] = INDEX_ROW;
    memcpy(out + 1, partition->bytes, PARTITION_ID_SIZE);
    if (key.size > 0)
        memcpy(out + 1 + PARTITION_ID_SIZE, key.data, key.size);
    return 1 + PARTITION_ID_SIZE + key.size;
}

size_t index_row_encode(const struct engine_row *row, uint8_t out[INDEX_VALUE_MAX])
{
    out[0] = 1; /* version of this encoding */
    out[1] = row->segmented ? ROW_FLAG_SEGMENTED : 0;
    out[2] = (uint8_t)row->codec;
    out[3] = 0;
    put_le64(out + 4, row->pack);
    put_le64(out + 12, row->offset);
    put_le64(out + 20, row->size);
    put_le64(out + 28, row->stored_size);
    put_le64(out + 36, row->lsn);
    put_le64(out + 44, row->checksum);
    if (!row->segmented)
        return ROW_SIZE;
    memcpy(out + ROW_SIZE, row->upload.bytes, UPLOAD_ID_SIZE);
    put_le64(out + ROW_SIZE + UPLOAD_ID_SIZE, row->segment_size);
    return ROW_SEGMENTED_SIZE;
}

bool index_row_decode(struct slice in, struct engine_row *row)
{
    const uint8_t *at = in.data;

    if (in.size < ROW_SIZE || at[0] != 1 || at[2] > CODEC_ZLIB)
        return false;
    row->segmented = (at[1] & ROW_FLAG_SEGMENTED) != 0;
    if (in.size != (row->segmented ? ROW_SEGMENTED_SIZE : ROW_SIZE))
        return false;
    row->codec = (enum codec)at[2];
    row->pack = get_le64(at + 4);
    row->offset = get_le64(at + 12);
    row->size = get_le64(at + 20);
    row->stored_size = get_le64(at + 28);
    row->lsn = get_le64(at + 36);
    row->checksum = get_le64(at + 44);
    if (row->segmented) {
        memcpy(row->upload.bytes, at + ROW_SIZE, UPLOAD_ID_SIZE);
        row->segment_size = get_le64(at + ROW_SIZE + UPLOAD_ID_SIZE);
        return row->segment_size > 0;
    }
    return true;
}

size_t index_pack_encode(const struct index_pack *pack, uint8_t out[INDEX_VALUE_MAX])
{
    put_le32(out, (uint32_t)pack->state);
    put_le64(out + 4, pack->end);
    put_le64(out + 12, pack->records);
    put_le64(out + 20, pack->last_lsn);
    return PACK_SIZE;
}

bool index_pack_decode(struct slice in, struct index_pack *pack)
{
    const uint8_t *at = in.data;
    uint32_t state;

    if (in.size != PACK_SIZE)
        return false;
    state = get_le32(at);
    if (state < PACK_OPEN || state > PACK_REMOVED)
        return false;
    pack->state = (enum pack_state)state;
    pack->end = get_le64(at + 4);
    pack->records = get_le64(at + 12);
    pack->last_lsn = get_le64(at + 20);
    return true;
}

void index_stored_encode(const struct index_stored *stored, uint8_t out[INDEX_STORED_SIZE])
{
    put_le64(out, stored->lsn);
    put_le64(out + 8, stored->pack);
}

bool index_stored_decode(struct slice in, struct index_stored *stored, struct slice *value)
{
    const uint8_t *at = in.data;

    if (in.size < INDEX_STORED_SIZE || in.size - INDEX_STORED_SIZE > ENGINE_ROW_VALUE_MAX)
        return false;
    stored->lsn = get_le64(at);
    stored->pack = get_le64(at + 8);
    stored->value_size = in.size - INDEX_STORED_SIZE;
    if (value != NULL)
        *value = slice_of(at + INDEX_STORED_SIZE, (size_t)stored->value_size);
    return true;
}
