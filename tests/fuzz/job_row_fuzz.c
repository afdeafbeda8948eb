/*
 * Target: the rows of jobs (job_row.h): nine bytes of key, then the value. What is accepted can be
 * written again and reads back the same.
 */
#include "storage/maintain/job_row.h"
#include "tests/fuzz/fuzz.h"

static void check_same(const struct job_row *a, const struct job_row *b)
{
    fuzz_check(a->id == b->id && a->kind == b->kind && a->state == b->state);
    fuzz_check(a->resume == b->resume && a->status == b->status);
    fuzz_check(a->created_ns == b->created_ns && a->started_ns == b->started_ns);
    fuzz_check(a->ended_ns == b->ended_ns && slice_equal(a->subject, b->subject));
    fuzz_check(slice_equal(a->key, b->key) && slice_equal(a->text, b->text));
    fuzz_check(slice_equal(a->result, b->result));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    size_t key_size = size < JOB_ROW_KEY_SIZE ? size : JOB_ROW_KEY_SIZE, written;
    struct slice key = slice_of(data, key_size);
    uint8_t key_again[JOB_ROW_KEY_SIZE];
    struct job_row row, again;
    void *value;

    if (!job_row_decode(key, slice_of(data + key_size, size - key_size), &row))
        return 0;
    fuzz_check(row.subject.size < JOB_SUBJECT_SIZE && row.key.size < JOB_KEY_SIZE);
    fuzz_check(row.text.size < ERROR_TEXT_SIZE && row.result.size <= JOB_RESULT_MAX);
    job_row_key(row.id, key_again);
    fuzz_check(memcmp(key_again, data, JOB_ROW_KEY_SIZE) == 0);
    value = job_row_encode(&row, &written);
    fuzz_check(job_row_decode(key, slice_of(value, written), &again));
    check_same(&row, &again);
    free(value);
    return 0;
}
