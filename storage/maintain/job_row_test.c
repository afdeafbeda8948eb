/*
 * Goal: a job's row reads back as it was written, and nothing but a whole row is taken for one.
 */
#include "storage/maintain/job_row.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static const struct job_row sample = {.id = 0x0102030405060708,
    .kind = JOB_CLOSE,
    .state = JOB_FAILED,
    .resume = true,
    .created_ns = 1,
    .started_ns = UINT64_MAX,
    .ended_ns = 3,
    .status = COFFER_DISK_FULL,
    .subject = {"run-7", 5},
    .key = {"00ff", 4},
    .text = {"", 0},
    .result = {"{\"a\":1}", 7}};

static void *encode(uint8_t key[JOB_ROW_KEY_SIZE], size_t *size)
{
    job_row_key(sample.id, key);
    return job_row_encode(&sample, size);
}

static void test_round_trip(void **state)
{
    uint8_t key[JOB_ROW_KEY_SIZE];
    struct job_row row;
    size_t size;
    void *value = encode(key, &size);

    (void)state;
    assert_true(job_row_decode(slice_of(key, sizeof(key)), slice_of(value, size), &row));
    assert_int_equal(row.id, sample.id);
    assert_int_equal(row.kind, sample.kind);
    assert_int_equal(row.state, sample.state);
    assert_true(row.resume);
    assert_int_equal(row.created_ns, sample.created_ns);
    assert_int_equal(row.started_ns, sample.started_ns);
    assert_int_equal(row.ended_ns, sample.ended_ns);
    assert_int_equal(row.status, sample.status);
    assert_true(slice_equal(row.subject, sample.subject));
    assert_true(slice_equal(row.key, sample.key));
    assert_int_equal(row.text.size, 0);
    assert_true(slice_equal(row.result, sample.result));
    free(value);
}

static void test_cut_and_long_rows(void **state)
{
    uint8_t key[JOB_ROW_KEY_SIZE], *longer;
    struct job_row row;
    size_t size;
    uint8_t *value = encode(key, &size);

    (void)state;
    for (size_t i = 0; i < size; i++)
        assert_false(job_row_decode(slice_of(key, sizeof(key)), slice_of(value, i), &row));
    longer = calloc(1, size + 1);
    assert_non_null(longer);
    memcpy(longer, value, size);
    assert_false(job_row_decode(slice_of(key, sizeof(key)), slice_of(longer, size + 1), &row));
    assert_false(job_row_decode(slice_of(key, sizeof(key) - 1), slice_of(value, size), &row));
    key[0]++;
    assert_false(job_row_decode(slice_of(key, sizeof(key)), slice_of(value, size), &row));
    key[0]--;
    value[1] = JOB_CANCELLED + 1;
    assert_false(job_row_decode(slice_of(key, sizeof(key)), slice_of(value, size), &row));
    free(longer);
    free(value);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_round_trip),
        cmocka_unit_test(test_cut_and_long_rows),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
