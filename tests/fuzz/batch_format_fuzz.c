/*
 * Target: the payload of a BATCH record (batch_format.h). The first 13 bytes are what its header
 * says: flags (1 with a block, 2 zstd), raw size (4), LSN (8). What is accepted lies within the
 * payload, keeps the limits of engine.h, and can be written again to the same bytes; the rows
 * section alone says the same as the whole payload.
 */
#include "storage/base/bytes.h"
#include "storage/pack/batch_format.h"
#include "tests/fuzz/fuzz.h"

enum { HEAD_SIZE = 13, HEAD_BLOCK = 1, HEAD_ZSTD = 2 };

static void try_entries(const struct batch *batch, const uint8_t *end)
{
    const uint8_t *at = batch->entries;
    uint8_t *written = malloc((size_t)(end - at) + 1), *out = written;

    fuzz_check(written != NULL);
    for (size_t i = 0; i < batch->entry_count; i++) {
        struct batch_entry entry;
        const uint8_t *next = batch_entry_at(batch, at, &entry);

        fuzz_check(next <= end && entry.lsn <= batch->lsn);
        fuzz_check(entry.key.size >= 1 && entry.key.size <= ENGINE_ROW_KEY_MAX);
        fuzz_check(entry.value.size <= ENGINE_ROW_VALUE_MAX);
        fuzz_check(!entry.remove || entry.value.size == 0);
        fuzz_check(next == at + batch_entry_size(entry.key.size, entry.value.size));
        entry.lsn = get_le64(at); /* 0 stands for the record's */
        out = batch_entry_encode(&entry, out);
        at = next;
    }
    fuzz_check(at == batch->claims);
    fuzz_check(memcmp(written, batch->entries, (size_t)(out - written)) == 0);
    free(written);
}

static uint64_t sum_of(const uint8_t *references, size_t count)
{
    uint64_t sum = 0;

    for (size_t i = 0; i < count; i++) {
        struct block_id block = batch_reference(references, i);

        sum = sum * 31 + block.channel + block.number;
    }
    return sum;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const struct partition_id partition = {"fuzz"};
    const struct block_id block = {.channel = 3, .number = 4};
    struct record_header header = {.type = RECORD_BATCH};
    struct batch batch, again;
    const uint8_t *payload = data + HEAD_SIZE, *end;
    size_t section;

    if (size < HEAD_SIZE)
        return 0;
    header.codec = (data[0] & HEAD_ZSTD) != 0 ? CODEC_ZSTD : CODEC_NONE;
    header.raw_size = get_le32(data + 1);
    header.lsn = get_le64(data + 5);
    header.stored_size = size - HEAD_SIZE;
    batch_key_encode(&partition, (data[0] & HEAD_BLOCK) != 0 ? &block : NULL, header.key);
    if (batch_decode(&header, slice_of(payload, size - HEAD_SIZE), &batch, NULL) != COFFER_OK)
        return 0;
    end = data + size;
    fuzz_check(batch.has_block == ((data[0] & HEAD_BLOCK) != 0));
    fuzz_check(!batch.has_block || (batch.block.channel == 3 && batch.block.number == 4));
    fuzz_check(memcmp(&batch.partition, &partition, sizeof(partition)) == 0);
    fuzz_check(batch.entries == payload + batch.stored_size);
    try_entries(&batch, end);
    fuzz_check(batch.drops + BATCH_REFERENCE_SIZE * batch.drop_count + BATCH_TAIL_SIZE == end);
    section = (size_t)(end - batch.entries);
    fuzz_check(batch_decode(&header, slice_of(batch.entries, section), &again, NULL) == COFFER_OK);
    fuzz_check(again.entries == batch.entries && again.claims == batch.claims);
    fuzz_check(again.entry_count == batch.entry_count && again.drops == batch.drops);
    (void)sum_of(batch.claims, batch.claim_count);
    (void)sum_of(batch.drops, batch.drop_count);
    return 0;
}
