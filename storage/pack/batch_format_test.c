/* A batch: what goes in comes out, from the whole payload and from its rows section alone; a
 * payload that is cut, too long or says too much of itself is refused. */
#include "storage/pack/batch_format.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "storage/base/invariant.h"

static const struct partition_id PARTITION = {"0123456789abcdef"};
static const struct block_id CLAIMS[] = {{1, 2}, {0xffffffff, UINT64_MAX}}, DROPS[] = {{3, 4}};
static const char CONTENT[] = "the content of the block";

static const struct engine_change CHANGES[] = {
    {.key = {"key", 3}, .value = {"value", 5}},
    {.key = {"\x00", 1}, .value = {"", 0}},
    {.key = {"gone", 4}, .value = {"not stored", 10}, .remove = true},
    {.key = {"\xff\xff", 2}, .value = {"\x00\x00\x00", 3}, .fresh = true},
};

static struct engine_op op_of(bool with_block)
{
    return (struct engine_op){.kind = ENGINE_BATCH,
        .partition = PARTITION,
        .has_block = with_block,
        .block = {.channel = 5, .number = 0x1122334455667788},
        .changes = CHANGES,
        .change_count = ARRAY_COUNT(CHANGES),
        .claims = CLAIMS,
        .claim_count = ARRAY_COUNT(CLAIMS),
        .drops = DROPS,
        .drop_count = ARRAY_COUNT(DROPS)};
}

/* The payload of the operation, with CONTENT as it is. */
static uint8_t *payload_of(const struct engine_op *op, struct record_header *header)
{
    uint64_t content = op->has_block ? sizeof(CONTENT) : 0, section = batch_section_size(op);
    uint8_t *payload = malloc((size_t)(content + section));

    invariant(payload != NULL);
    memcpy(payload, CONTENT, (size_t)content);
    batch_section_encode(op, content, op->has_block ? 99 : 0, payload + content);
    *header = (struct record_header){
        .type = RECORD_BATCH, .lsn = 1000, .raw_size = content, .stored_size = content + section};
    batch_key_encode(&op->partition, op->has_block ? &op->block : NULL, header->key);
    return payload;
}

static void check_decoded(const struct batch *batch, const struct engine_op *op)
{
    const uint8_t *at = batch->entries;

    assert_memory_equal(&batch->partition, &PARTITION, sizeof(PARTITION));
    assert_int_equal(batch->has_block, op->has_block);
    if (op->has_block) {
        assert_int_equal(batch->block.channel, 5);
        assert_int_equal(batch->block.number, 0x1122334455667788);
        assert_int_equal(batch->stored_size, sizeof(CONTENT));
        assert_int_equal(batch->checksum, 99);
    }
    assert_int_equal(batch->entry_count, ARRAY_COUNT(CHANGES));
    for (size_t i = 0; i < ARRAY_COUNT(CHANGES); i++) {
        struct batch_entry entry;

        at = batch_entry_at(batch, at, &entry);
        assert_int_equal(entry.lsn, 1000);
        assert_true(slice_equal(entry.key, CHANGES[i].key));
        assert_int_equal(entry.remove, CHANGES[i].remove);
        assert_true(
            entry.remove ? entry.value.size == 0 : slice_equal(entry.value, CHANGES[i].value));
    }
    assert_int_equal(batch->claim_count, ARRAY_COUNT(CLAIMS));
    assert_int_equal(batch_reference(batch->claims, 1).channel, 0xffffffff);
    assert_true(batch_reference(batch->claims, 1).number == UINT64_MAX);
    assert_int_equal(batch->drop_count, ARRAY_COUNT(DROPS));
    assert_int_equal(batch_reference(batch->drops, 0).number, 4);
}

static void test_round_trip(void **state)
{
    (void)state;
    for (int with_block = 0; with_block < 2; with_block++) {
        struct engine_op op = op_of(with_block != 0);
        struct record_header header;
        uint8_t *payload = payload_of(&op, &header);
        size_t size = (size_t)header.stored_size, content = (size_t)header.raw_size;
        struct batch batch;

        assert_int_equal(batch_decode(&header, slice_of(payload, size), &batch, NULL), COFFER_OK);
        check_decoded(&batch, &op);
        assert_int_equal(
            batch_decode(&header, slice_of(payload + content, size - content), &batch, NULL),
            COFFER_OK);
        check_decoded(&batch, &op);
        free(payload);
    }
}

static void test_what_is_cut_is_refused(void **state)
{
    (void)state;
    for (int with_block = 0; with_block < 2; with_block++) {
        struct engine_op op = op_of(with_block != 0);
        struct record_header header, shorter;
        uint8_t *payload = payload_of(&op, &header);
        size_t size = (size_t)header.stored_size;
        struct batch batch;

        for (size_t cut = 1; cut <= size; cut++) {
            shorter = header;
            shorter.stored_size = size - cut; /* the end is missing */
            assert_int_equal(batch_decode(&shorter, slice_of(payload, size - cut), &batch, NULL),
                COFFER_DATA_CORRUPT);
            assert_int_equal(/* the beginning is */
                batch_decode(&shorter, slice_of(payload + cut, size - cut), &batch, NULL),
                COFFER_DATA_CORRUPT);
        }
        assert_int_equal(
            batch_decode(&header, slice_of(payload, size + 1), &batch, NULL), COFFER_DATA_CORRUPT);
        free(payload);
    }
}

static void test_what_does_not_fit_its_header(void **state)
{
    struct engine_op op = op_of(true);
    struct record_header header, other;
    uint8_t *payload = payload_of(&op, &header);
    struct slice whole = slice_of(payload, (size_t)header.stored_size);
    struct batch batch;

    (void)state;
    other = header;
    other.raw_size++; /* content that is stored as it is has this size */
    assert_int_equal(batch_decode(&other, whole, &batch, NULL), COFFER_DATA_CORRUPT);
    other.codec = CODEC_ZSTD;
    assert_int_equal(batch_decode(&other, whole, &batch, NULL), COFFER_OK);
    other = header;
    batch_key_encode(&PARTITION, NULL, other.key); /* content of no block */
    assert_int_equal(batch_decode(&other, whole, &batch, NULL), COFFER_DATA_CORRUPT);
    free(payload);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_round_trip),
        cmocka_unit_test(test_what_is_cut_is_refused),
        cmocka_unit_test(test_what_does_not_fit_its_header),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
