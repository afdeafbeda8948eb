/* Keys and values of the index: what goes in comes out, keys sort, what is no row is refused. */
#include "storage/index/index_rows.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#include "storage/base/invariant.h"

static const struct engine_row ROW = {.size = 0x1122334455667788,
    .stored_size = 2,
    .codec = CODEC_ZSTD,
    .pack = 3,
    .offset = 4,
    .lsn = 5,
    .checksum = 0x8877665544332211};

static void test_row(void **state)
{
    struct engine_row row = ROW, back;
    uint8_t bytes[INDEX_VALUE_MAX];
    size_t size;

    (void)state;
    for (int segmented = 0; segmented < 2; segmented++) {
        row.segmented = segmented == 1;
        if (row.segmented) {
            memset(row.upload.bytes, 9, sizeof(row.upload.bytes));
            row.segment_size = 10;
        }
        memset(&back, 0, sizeof(back));
        size = index_row_encode(&row, bytes);
        assert_true(size <= sizeof(bytes));
        assert_true(index_row_decode(slice_of(bytes, size), &back));
        assert_int_equal(back.size, row.size);
        assert_int_equal(back.stored_size, row.stored_size);
        assert_int_equal(back.codec, row.codec);
        assert_int_equal(back.segmented, row.segmented);
        assert_int_equal(back.pack, row.pack);
        assert_int_equal(back.offset, row.offset);
        assert_int_equal(back.lsn, row.lsn);
        assert_true(back.checksum == row.checksum);
        assert_memory_equal(&back.upload, &row.upload, sizeof(row.upload));
        assert_int_equal(back.segment_size, row.segment_size);
        for (size_t cut = 0; cut < size; cut++)
            assert_false(index_row_decode(slice_of(bytes, cut), &back));
        assert_false(index_row_decode(slice_of(bytes, size + 1), &back));
        bytes[0] = 2; /* of another version */
        assert_false(index_row_decode(slice_of(bytes, size), &back));
        bytes[0] = 1;
        bytes[2] = 77; /* an unknown codec */
        assert_false(index_row_decode(slice_of(bytes, size), &back));
    }
    row.segment_size = 0; /* would be divided by */
    size = index_row_encode(&row, bytes);
    assert_false(index_row_decode(slice_of(bytes, size), &back));
}

static void test_pack(void **state)
{
    struct index_pack pack = {.state = PACK_SEALED, .end = 1, .records = 2, .last_lsn = 3}, back;
    uint8_t bytes[INDEX_VALUE_MAX];
    size_t size = index_pack_encode(&pack, bytes);

    (void)state;
    assert_true(index_pack_decode(slice_of(bytes, size), &back));
    assert_int_equal(back.state, PACK_SEALED);
    assert_int_equal(back.end, 1);
    assert_int_equal(back.records, 2);
    assert_int_equal(back.last_lsn, 3);
    assert_false(index_pack_decode(slice_of(bytes, size - 1), &back));
    for (unsigned state_number = 0; state_number <= PACK_REMOVED + 1; state_number++) {
        bytes[0] = (uint8_t)state_number;
        assert_int_equal(index_pack_decode(slice_of(bytes, size), &back),
            state_number >= PACK_OPEN && state_number <= PACK_REMOVED);
    }
}

static int compare(const struct index_key *a, const struct index_key *b)
{
    size_t size = a->size < b->size ? a->size : b->size;
    int order = memcmp(a->bytes, b->bytes, size);

    return order != 0 ? order : (a->size > b->size) - (a->size < b->size);
}

static void test_keys_sort(void **state)
{
    static const uint64_t numbers[] = {0, 1, 255, 256, 65536, 0x100000000, UINT64_MAX};
    struct upload_id upload = {{0xff}};

    (void)state;
    for (size_t i = 0; i + 1 < ARRAY_COUNT(numbers); i++) {
        struct index_key low = index_key_number(INDEX_PACK, numbers[i]);
        struct index_key high = index_key_number(INDEX_PACK, numbers[i + 1]);

        assert_true(compare(&low, &high) < 0);
        low = index_key_segment(&upload, numbers[i]);
        high = index_key_segment(&upload, numbers[i + 1]);
        assert_true(compare(&low, &high) < 0);
        assert_int_equal(low.size, 1 + UPLOAD_ID_SIZE + 8);
    }
    assert_int_equal(index_key_of(INDEX_STORE, NULL, 0).size, 1);
    assert_int_equal(index_key_of(INDEX_STORE, NULL, 0).bytes[0], 'i');
}

static void test_partition_keys(void **state)
{
    static const struct block_id blocks[] = {
        {0, 0}, {0, 1}, {0, UINT64_MAX}, {1, 0}, {256, 5}, {UINT32_MAX, 0}};
    struct partition_id partition = {{0xab, 0, 0xff}}, back;
    uint8_t key[INDEX_ROW_KEY_MAX], longest[ENGINE_ROW_KEY_MAX] = {7};
    struct block_id block;

    (void)state;
    for (size_t i = 0; i < ARRAY_COUNT(blocks); i++) {
        struct index_key low = index_key_block(INDEX_BLOCK, &partition, &blocks[i]);

        assert_int_equal(low.size, 1 + INDEX_BLOCK_SIZE);
        assert_int_equal(low.bytes[0], 'b');
        index_block_of_key(low.bytes + 1, &back, &block);
        assert_memory_equal(&back, &partition, sizeof(back));
        assert_int_equal(block.channel, blocks[i].channel);
        assert_true(block.number == blocks[i].number);
        if (i + 1 < ARRAY_COUNT(blocks)) {
            struct index_key high = index_key_block(INDEX_BLOCK, &partition, &blocks[i + 1]);

            assert_true(compare(&low, &high) < 0);
        }
    }
    assert_int_equal(index_row_key(&partition, slice_of("k\0", 2), key), 1 + 16 + 2);
    assert_memory_equal(key, "r\xab\0\xff\0\0\0\0\0\0\0\0\0\0\0\0\0k\0", 19);
    assert_int_equal(index_row_key(&partition, slice_of("", 0), key), 1 + 16);
    assert_int_equal(
        index_row_key(&partition, slice_of(longest, sizeof(longest)), key), INDEX_ROW_KEY_MAX);
}

static void test_stored(void **state)
{
    struct index_stored stored = {.lsn = 0x1122334455667788, .pack = 9}, back;
    uint8_t bytes[INDEX_STORED_SIZE + 3];
    struct slice value;

    (void)state;
    index_stored_encode(&stored, bytes);
    memcpy(bytes + INDEX_STORED_SIZE, "val", 3);
    for (size_t size = 0; size < INDEX_STORED_SIZE; size++)
        assert_false(index_stored_decode(slice_of(bytes, size), &back, NULL));
    assert_true(index_stored_decode(slice_of(bytes, sizeof(bytes)), &back, &value));
    assert_true(back.lsn == stored.lsn && back.pack == 9 && back.value_size == 3);
    assert_true(slice_equal(value, slice_of("val", 3)));
    assert_true(index_stored_decode(slice_of(bytes, INDEX_STORED_SIZE), &back, &value));
    assert_int_equal(value.size, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_row),
        cmocka_unit_test(test_pack),
        cmocka_unit_test(test_keys_sort),
        cmocka_unit_test(test_partition_keys),
        cmocka_unit_test(test_stored),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
