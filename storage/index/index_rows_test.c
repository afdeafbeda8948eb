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
    for (unsigned state_number = 0; state_number < 6; state_number++) {
        bytes[0] = (uint8_t)state_number;
        assert_int_equal(index_pack_decode(slice_of(bytes, size), &back),
            state_number >= PACK_OPEN && state_number <= PACK_POISONED);
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

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_row),
        cmocka_unit_test(test_pack),
        cmocka_unit_test(test_keys_sort),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
