/*
 * Goal: all records come out in order, none is lost and none twice, whether they are one run or
 * many, with and without a disk. Method: random, equal, ascending and descending records with a
 * number in each, compared with what qsort makes of them.
 */
#include "storage/io/record_sorter.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "storage/base/bytes.h"
#include "storage/base/digest.h"
#include "storage/base/invariant.h"

struct record {
    uint8_t key[32];
    uint8_t number[4];
};

enum { RUN = RECORD_SORTER_RUN / sizeof(struct record) };

enum shape { RANDOM, EQUAL, ASCENDING, DESCENDING, SHAPES };

static int by_bytes(const void *a, const void *b)
{
    return memcmp(a, b, sizeof(struct record));
}

static struct record *make(size_t count, enum shape shape)
{
    struct record *records = calloc(count + 1, sizeof(*records));

    assert_non_null(records);
    if (shape == RANDOM)
        random_bytes(records, count * sizeof(*records));
    for (size_t i = 0; i < count; i++) {
        if (shape == ASCENDING || shape == DESCENDING)
            put_be64(records[i].key, shape == ASCENDING ? i / 3 : count - i / 3);
        put_be32(records[i].number, (uint32_t)i);
    }
    return records;
}

static void sort_and_check(size_t count, enum shape shape, struct spill_place place, size_t at_once)
{
    struct record_sorter *sorter = record_sorter_create(sizeof(struct record), place);
    struct record *records = make(count, shape);
    struct record *got = calloc(at_once, sizeof(*got));
    size_t total = 0, part;

    assert_non_null(got);
    for (size_t i = 0; i < count; i++)
        assert_int_equal(record_sorter_add(sorter, &records[i], NULL), COFFER_OK);
    assert_int_equal(record_sorter_finish(sorter, NULL), COFFER_OK);
    qsort(records, count, sizeof(*records), by_bytes);
    do {
        assert_int_equal(record_sorter_next(sorter, got, at_once, &part, NULL), COFFER_OK);
        assert_true(part <= at_once && total + part <= count);
        assert_memory_equal(got, records + total, part * sizeof(*got));
        total += part;
    } while (part == at_once);
    assert_int_equal(total, count);
    assert_int_equal(record_sorter_next(sorter, got, at_once, &part, NULL), COFFER_OK);
    assert_int_equal(part, 0);
    record_sorter_destroy(sorter);
    free(records);
    free(got);
}

static void test_all_orders(void **state)
{
    static const size_t counts[] = {0, 1, 2, 1000, RUN - 1, RUN, RUN + 1, 2 * RUN, 7 * RUN + 12345};

    (void)state;
    for (size_t i = 0; i < ARRAY_COUNT(counts); i++)
        for (int shape = RANDOM; shape < SHAPES; shape++)
            sort_and_check(counts[i], (enum shape)shape, (struct spill_place){0}, 512);
}

static void test_portions(void **state)
{
    static const size_t at_once[] = {1, 7, 100000};

    (void)state;
    for (size_t i = 0; i < ARRAY_COUNT(at_once); i++) {
        sort_and_check(1000, RANDOM, (struct spill_place){0}, at_once[i]);
        sort_and_check(3 * RUN + 1, RANDOM, (struct spill_place){0}, at_once[i]);
    }
}

static void test_without_a_disk(void **state)
{
    (void)state;
    sort_and_check(5 * RUN, RANDOM, (struct spill_place){NULL, (uint64_t)1 << 60}, 512);
}

static void test_given_up(void **state)
{
    (void)state;
    for (size_t count = 0; count < 3 * RUN; count += RUN) {
        struct record_sorter *sorter =
            record_sorter_create(sizeof(struct record), (struct spill_place){0});
        struct record record = {{0}, {0}};

        for (size_t i = 0; i < count + 1; i++)
            assert_int_equal(record_sorter_add(sorter, &record, NULL), COFFER_OK);
        record_sorter_destroy(sorter);
    }
    record_sorter_destroy(NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_all_orders),
        cmocka_unit_test(test_portions),
        cmocka_unit_test(test_without_a_disk),
        cmocka_unit_test(test_given_up),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
