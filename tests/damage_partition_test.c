/*
 * Goal: damage in what partitions have in a pack is never served and never hidden. Method: every
 * byte of a small pack is flipped in turn. With the index in place all rows stay right, and a block
 * is right or fails its checksum. Without it, all is as if the batch that was hit had never been,
 * and that is reported, or the batch was the last of a pack that is not sealed, which cannot be
 * told from a torn tail; a block whose record is known stays, and fails its checksum.
 * ctest-labels: slow (no threads: nothing for ThreadSanitizer)
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "storage/base/checksum.h"
#include "storage/base/invariant.h"
#include "storage/base/log.h"
#include "tests/support/pack_records.h"
#include "tests/support/partition_suite.h"

enum { STEPS = 12, BLOCKS = 6, NO_STEP = STEPS, STRIDE = 23 };

struct damage {
    struct suite *suite;
    struct suite *skipping[STEPS + 1]; /* in memory: without that step; the last one with all */
    struct item items[BLOCKS];         /* block {1, i} */
    struct item fillers[2];
    struct pack_records records; /* of the first pack: one a step */
    char pack_path[FIXTURE_PATH_SIZE + 80];
};

enum block_result { BLOCK_ABSENT, BLOCK_GOOD, BLOCK_BAD };

static const struct partition_id PARTS[] = {{{0}}, {"dropped"}};

/* ---- what is in the pack ---- */

static const struct engine_change ROWS_A[] = {
    {.key = {"a", 1}, .value = {"one", 3}},
    {.key = {"b", 1}, .value = {"", 0}},
    {.key = {"c", 1}, .value = {"a somewhat longer value", 23}},
};
static const struct engine_change ROWS_B[] = {
    {.key = {"a", 1}, .value = {"two, overwritten", 16}},
    {.key = {"b", 1}, .remove = true},
};
static const struct engine_change ROWS_C[] = {
    {.key = {"d", 1}, .value = {"d", 1}},
    {.key = {"c", 1}, .remove = true},
};
static const struct engine_change ROWS_D[] = {{.key = {"refers", 6}, .value = {"to blocks", 9}}};

enum { NONE = BLOCKS, CLAIMING_STEP = 5, DROPPING_STEP = 7 };
enum { CLAIMED = 2, NEVER_CLAIMED = 3, DROPPED = 4 }; /* blocks */

static const struct step { /* one commit, and one record */
    unsigned part;
    const struct engine_change *changes; /* NULL in a batch with a block: it is staged */
    size_t count;
    unsigned block, claims, drops; /* or NONE */
    bool drops_partition;
} DONE[STEPS] = {
    {0, ROWS_A, 3, NONE, NONE, NONE, false},
    {0, ROWS_D, 1, 0, NONE, NONE, false},
    {0, ROWS_D, 1, 1, NONE, NONE, false},
    {0, NULL, 0, CLAIMED, NONE, NONE, false},
    {0, NULL, 0, NEVER_CLAIMED, NONE, NONE, false},
    {0, ROWS_B, 2, NONE, CLAIMED, NONE, false},
    {0, ROWS_D, 1, DROPPED, NONE, NONE, false},
    {0, NULL, 0, NONE, NONE, DROPPED, false},
    {0, ROWS_C, 2, 5, NONE, NONE, false},
    {1, ROWS_A, 2, NONE, NONE, NONE, false},
    {1, NULL, 0, NONE, NONE, NONE, true},
    {0, ROWS_B, 1, NONE, NONE, NONE, false},
};

static void do_step(struct suite *suite, const struct step *step, const struct item *items)
{
    const struct block_id claimed = {1, step->claims}, dropped = {1, step->drops};
    struct engine_op op = op_rows(&PARTS[step->part], NULL, 0);

    if (step->drops_partition)
        op = op_drop_partition(&PARTS[step->part]);
    if (step->block != NONE)
        op = op_block(&PARTS[step->part], &items[step->block], 1, step->block);
    op.changes = step->changes;
    op.change_count = step->count;
    op.claims = &claimed;
    op.claim_count = step->claims != NONE;
    op.drops = &dropped;
    op.drop_count = step->drops != NONE;
    suite_commit(suite, 0, &op, 1);
}

static int set_up_as(void **state, bool sealed)
{
    static const size_t sizes[BLOCKS] = {60, 2000, 0, 40, 1, 900};
    struct damage *damage = calloc(1, sizeof(*damage));
    void *suite;

    invariant(damage != NULL);
    log_configure(LOG_ERROR + 1, false); /* damage is logged: thousands of lines here */
    for (size_t i = 0; i < BLOCKS; i++)
        damage->items[i] = item_make(sizes[i], i, i == 1 ? CONTENT_TEXT : CONTENT_RANDOM);
    for (unsigned skipped = 0; skipped <= NO_STEP; skipped++) {
        (void)suite_set_up_memory(&suite);
        damage->skipping[skipped] = suite;
        for (unsigned step = 0; step < STEPS; step++)
            if (step != skipped)
                do_step(suite, &DONE[step], damage->items);
    }
    (void)suite_set_up_local(&suite);
    damage->suite = suite;
    for (unsigned step = 0; step < STEPS; step++)
        do_step(suite, &DONE[step], damage->items);
    for (size_t i = 0; i < 2; i++) { /* over the size of a pack, and one more, which seals it */
        damage->fillers[i] = item_make(1 << 20, 50 + i, CONTENT_RANDOM);
        if (sealed)
            suite_put(suite, &damage->fillers[i]);
    }
    suite_close(suite);
    (void)snprintf(damage->pack_path, sizeof(damage->pack_path), "%s",
        fixture_data_path(&damage->suite->fixture, "packs/0000000001.pack"));
    damage->records = pack_records_read(damage->pack_path);
    assert_int_equal(damage->records.sealed, sealed);
    assert_int_equal(damage->records.count, sealed ? STEPS + 2 : STEPS);
    *state = damage;
    return 0;
}

static int set_up_open(void **state)
{
    return set_up_as(state, false);
}

static int set_up_sealed(void **state)
{
    return set_up_as(state, true);
}

static int tear_down(void **state)
{
    struct damage *damage = *state;
    void *suite;

    for (unsigned i = 0; i <= NO_STEP; i++) {
        suite = damage->skipping[i];
        (void)suite_tear_down(&suite);
    }
    suite = damage->suite;
    (void)suite_tear_down(&suite);
    items_free(damage->items, BLOCKS);
    items_free(damage->fillers, 2);
    pack_records_release(&damage->records);
    free(damage);
    return 0;
}

/* ---- what can be read ---- */

/* What is there is right, or fails its checksum. */
static enum block_result read_block(struct damage *damage, unsigned number)
{
    struct engine *engine = damage->suite->engine;
    const struct block_id id = {1, number};
    struct engine_source source;
    struct engine_row row;
    enum coffer_status status = engine->ops->find_block(engine, &PARTS[0], &id, &row, NULL);
    enum block_result result = BLOCK_BAD;
    uint8_t *bytes;

    if (status == COFFER_NO_SUCH_CHUNK)
        return BLOCK_ABSENT;
    assert_int_equal(status, COFFER_OK);
    assert_int_equal(engine->ops->pin(engine, &row, &source, NULL), COFFER_OK);
    bytes = malloc((size_t)row.stored_size + 1);
    invariant(bytes != NULL);
    assert_int_equal(
        pread(source.fd, bytes, (size_t)row.stored_size, (off_t)source.offset), row.stored_size);
    if (checksum_once(bytes, (size_t)row.stored_size) == row.checksum) {
        item_check_pinned(&row, &source, &damage->items[number]);
        result = BLOCK_GOOD;
    }
    engine->ops->unpin(engine, &source);
    free(bytes);
    return result;
}

/* The rows are those of all steps but `skipped`. */
static void check_rows(struct damage *damage, unsigned skipped)
{
    for (size_t i = 0; i < ARRAY_COUNT(PARTS); i++) {
        struct row_list got = suite_list_all(damage->suite, &PARTS[i]);
        struct row_list wanted = suite_list_all(damage->skipping[skipped], &PARTS[i]);

        assert_true(row_list_equal(&got, &wanted));
        row_list_release(&got);
        row_list_release(&wanted);
    }
}

/* What a block is after a restart, if `skipped` did not happen. */
static enum block_result wanted_block(unsigned number, unsigned skipped)
{
    if (number == NEVER_CLAIMED || (skipped < STEPS && DONE[skipped].block == number))
        return BLOCK_ABSENT;
    if (number == CLAIMED && skipped == CLAIMING_STEP)
        return BLOCK_ABSENT;
    return number == DROPPED && skipped != DROPPING_STEP ? BLOCK_ABSENT : BLOCK_GOOD;
}

static void check_all_good(struct damage *damage)
{
    check_rows(damage, NO_STEP);
    for (unsigned i = 0; i < BLOCKS; i++)
        assert_int_equal(read_block(damage, i), wanted_block(i, NO_STEP));
    assert_int_equal(suite_status(damage->suite).damaged_records, 0);
}

static uint64_t next_byte(const struct damage *damage, uint64_t at, uint64_t stride)
{
    const struct pack_scan_item *record = pack_record_at(&damage->records, at);

    /* The fillers are of no interest here. */
    return record != NULL && record->size > 100000 ? record->offset + record->size : at + stride;
}

/* ---- with the index ---- */

static void test_every_byte_with_an_index(void **state)
{
    struct damage *damage = *state;
    uint64_t bad = 0;

    suite_open(damage->suite);
    check_all_good(damage);
    for (uint64_t at = 0; at < damage->records.pack_size; at = next_byte(damage, at, 1)) {
        const struct pack_scan_item *record = pack_record_at(&damage->records, at);
        size_t step = record == NULL ? NO_STEP : (size_t)(record - damage->records.items);

        file_flip(damage->pack_path, at, (uint8_t)(1U << at % 8));
        check_rows(damage, NO_STEP);
        for (unsigned i = 0; i < BLOCKS; i++) {
            enum block_result result = read_block(damage, i);

            if (result != BLOCK_BAD)
                assert_int_equal(result, wanted_block(i, NO_STEP));
            else /* hit in its content, not in the rows behind it */
                assert_true(
                    step < STEPS && DONE[step].block == i &&
                    at >= record->offset + RECORD_HEADER_SIZE &&
                    at < record->offset + RECORD_HEADER_SIZE + record->header.stored_size - 32);
            bad += result == BLOCK_BAD;
        }
        file_flip(damage->pack_path, at, (uint8_t)(1U << at % 8));
    }
    check_all_good(damage);
    assert_true(bad > 60 + 900); /* each byte of those that are stored as they are */
}

/* ---- without ---- */

static void check_after_rebuild(struct damage *damage, uint64_t at)
{
    const struct pack_scan_item *record = pack_record_at(&damage->records, at);
    size_t step = record == NULL ? NO_STEP : (size_t)(record - damage->records.items);
    bool reported = suite_status(damage->suite).damaged_records > 0;

    if (record == NULL) { /* the whole pack is kept aside */
        assert_true(reported);
        return;
    }
    if (pack_record_is_padding(record, at)) {
        check_all_good(damage);
        return;
    }
    assert_int_equal(reported, pack_record_is_known_durable(&damage->records, record));
    if (step > STEPS)
        step = NO_STEP;
    check_rows(damage, (unsigned)step);
    for (unsigned i = 0; i < BLOCKS; i++) {
        enum block_result result = read_block(damage, i);

        if (step >= STEPS || DONE[step].block != i || result != BLOCK_BAD)
            assert_int_equal(result, wanted_block(i, (unsigned)step));
    }
}

static void test_bytes_without_an_index(void **state)
{
    struct damage *damage = *state;
    struct suite *suite = damage->suite;
    uint64_t flips = 0, stride = test_long() ? 1 : STRIDE;

    for (uint64_t at = 0; at < damage->records.pack_size; at = next_byte(damage, at, stride)) {
        size_t size;
        uint8_t *kept = file_bytes(damage->pack_path, &size);

        fixture_remove_index(&suite->fixture);
        file_flip(damage->pack_path, at, (uint8_t)(1U << at % 8));
        suite_open(suite);
        check_after_rebuild(damage, at);
        suite_close(suite);
        file_put_bytes(damage->pack_path, kept, size); /* a torn tail was cut off */
        free(kept);
        flips++;
    }
    fixture_remove_index(&suite->fixture);
    suite_open(suite);
    check_all_good(damage);
    print_message("%llu flips\n", (unsigned long long)flips);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        {"every byte, open pack", test_every_byte_with_an_index, set_up_open, tear_down, NULL},
        {"every byte, sealed pack", test_every_byte_with_an_index, set_up_sealed, tear_down, NULL},
        {"bytes, no index, open pack", test_bytes_without_an_index, set_up_open, tear_down, NULL},
        {"bytes, no index, sealed pack", test_bytes_without_an_index, set_up_sealed, tear_down,
            NULL},
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
