/*
 * Goal: what was appended is read back, whatever part of it is in memory, in the file, or in memory
 * since the disk did not take it; and nearly nothing of it is in memory. Method: records of several
 * sizes that tell their number, appended in random portions, read in all places and across them.
 */
#include "storage/base/spill.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "storage/base/digest.h"
#include "storage/base/invariant.h"

enum { RECORD_MAX = 100 };

static uint8_t byte_of(uint64_t record, size_t at)
{
    return (uint8_t)((record * 2654435761u + at * 40503u) >> 7);
}

static void fill(uint8_t *out, uint64_t first, size_t count, size_t record_size)
{
    for (size_t i = 0; i < count; i++)
        for (size_t j = 0; j < record_size; j++)
            out[i * record_size + j] = byte_of(first + i, j);
}

static void check(const struct spill *spill, uint64_t first, size_t count, size_t record_size)
{
    uint8_t *got = malloc(count * record_size + 1), *expected = malloc(count * record_size + 1);

    assert_non_null(got);
    assert_non_null(expected);
    fill(expected, first, count, record_size);
    assert_int_equal(spill_read(spill, first, count, got, NULL), COFFER_OK);
    assert_memory_equal(got, expected, count * record_size);
    free(got);
    free(expected);
}

static void try_all(struct spill_place place, size_t record_size, size_t total, bool kept)
{
    struct spill *spill = spill_create(record_size, place);
    uint8_t records[300 * RECORD_MAX];
    unsigned seed = (unsigned)(record_size + total);

    for (size_t at = 0; at < total;) {
        size_t count = (size_t)rand_r(&seed) % 300 + 1;

        count = count < total - at ? count : total - at;
        fill(records, at, count, record_size);
        assert_int_equal(spill_append(spill, records, count, NULL), COFFER_OK);
        at += count;
        assert_int_equal(spill_count(spill), at);
        check(spill, at - 1, 1, record_size); /* also between two appends */
    }
    assert_int_equal(spill_is_kept(spill), kept);
    check(spill, 0, total, record_size);
    check(spill, total, 0, record_size);
    for (int i = 0; i < 200 && total > 0; i++) {
        size_t first = (size_t)rand_r(&seed) % total;

        check(spill, first, (size_t)rand_r(&seed) % (total - first) + 1, record_size);
    }
    spill_destroy(spill);
}

static void test_sizes(void **state)
{
    static const size_t sizes[] = {1, 32, 36, 80, RECORD_MAX};
    static const struct spill_place nowhere = {"/no/such/folder", 0}, here = {NULL, 0};

    (void)state;
    for (size_t i = 0; i < ARRAY_COUNT(sizes); i++) {
        size_t block = SPILL_BLOCK_SIZE / sizes[i];

        try_all(here, sizes[i], 0, false);
        try_all(here, sizes[i], 1, false);
        try_all(here, sizes[i], block, false);
        try_all(here, sizes[i], block + 1, false);
        try_all(here, sizes[i], 3 * block + block / 3, false);
        try_all(nowhere, sizes[i], 2 * block, false); /* then in TMPDIR */
    }
}

/* A disk without space for it. */
static void test_kept_in_memory(void **state)
{
    static const struct spill_place full = {NULL, (uint64_t)1 << 60};
    size_t block = SPILL_BLOCK_SIZE / 32;

    (void)state;
    try_all(full, 32, block, false); /* it did not have to ask yet */
    try_all(full, 32, block + 1, true);
    try_all(full, 32, 70 * block + 5, true);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_sizes),
        cmocka_unit_test(test_kept_in_memory),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
