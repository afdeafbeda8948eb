/*
 * Goal: whatever fails under a commit to partitions, each of its batches is there whole or not at
 * all, and nothing is counted twice. Method: arm a fault point (fault.def), commit, look at the
 * answers, at what is readable and at the live bytes, now, after a crash and without the index.
 * ctest-labels: slow (no threads: nothing for ThreadSanitizer)
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "storage/base/fault.h"
#include "storage/base/invariant.h"
#include "storage/base/log.h"
#include "tests/support/partition_workload.h"

enum { ENTRIES = 10000, FAULTS_MAX = 200 };

static int set_up(void **state)
{
    log_configure(LOG_ERROR + 1, false); /* failures are logged; here they are wanted */
    return suite_set_up_local(state);
}

static int tear_down(void **state)
{
    fault_disarm_all();
    return suite_tear_down(state);
}

static enum coffer_status try_commit(struct suite *suite, struct engine_op *ops, size_t count)
{
    struct engine_op *list[OPS_MAX];
    struct error error = {.text = ""};
    enum coffer_status status;

    for (size_t i = 0; i < count; i++)
        list[i] = &ops[i];
    status = suite->engine->ops->commit(suite->engine, 0, list, count, &error);
    assert_true(status == COFFER_OK || strlen(error.text) > 10);
    return status;
}

static void check_live(struct suite *suite, const struct partition_id *part)
{
    struct row_list list = suite_list_all(suite, part);
    struct engine_status status = suite_status(suite);

    assert_int_equal(status.live_bytes, row_list_live(&list));
    assert_int_equal(status.damaged_records, 0);
    row_list_release(&list);
}

static unsigned poisoned_packs(struct suite *suite)
{
    struct engine_pack packs[32];
    size_t count = suite->engine->ops->packs(suite->engine, 0, packs, 32);
    unsigned poisoned = 0;

    for (size_t i = 0; i < count; i++)
        poisoned += strcmp(packs[i].state, "poisoned") == 0;
    return poisoned;
}

/* ---- the pack ---- */

static void test_a_failed_write_or_sync_is_not_noticed(void **state)
{
    static const struct {
        enum fault_site site;
        int action;
    } faults[] = {{FAULT_PACK_WRITE, EIO}, {FAULT_PACK_WRITE, FAULT_SHORT}, {FAULT_PACK_SYNC, EIO}};
    struct suite *suite = *state;
    struct partition_id part = partition_named("noticed");
    char key[8];

    for (unsigned i = 0; i < ARRAY_COUNT(faults); i++) {
        suite_put_row(suite, &part, "k", "before");
        fault_arm(faults[i].site, faults[i].action, 1, 1);
        (void)snprintf(key, sizeof(key), "k%u", i);
        suite_put_row(suite, &part, key, "during");
        assert_int_equal(fault_hits(faults[i].site), 1);
        assert_int_equal(poisoned_packs(suite), i + 1);
    }
    for (int pass = 0; pass < 3; pass++) {
        for (unsigned i = 0; i < ARRAY_COUNT(faults); i++) {
            (void)snprintf(key, sizeof(key), "k%u", i);
            suite_check_text(suite, &part, key, "during");
        }
        check_live(suite, &part);
        pass == 0 ? suite_crash(suite) : suite_rebuild(suite);
    }
}

static void test_two_failures_leave_nothing(void **state)
{
    static const enum fault_site sites[] = {FAULT_PACK_WRITE, FAULT_PACK_SYNC};
    struct suite *suite = *state;
    struct partition_id part = partition_named("nothing");
    struct item item = item_make(3000, 1, CONTENT_TEXT);
    struct engine_change changes[] = {change_put(slice_from_text("k"), slice_from_text("after")),
        change_put(slice_from_text("new"), slice_from_text("")),
        change_remove(slice_from_text("gone"))};

    suite_put_row(suite, &part, "k", "before");
    suite_put_row(suite, &part, "gone", "not yet");
    for (size_t i = 0; i < ARRAY_COUNT(sites); i++) {
        struct engine_op op = op_block(&part, &item, 1, 1);

        op.changes = changes;
        op.change_count = ARRAY_COUNT(changes);
        fault_arm(sites[i], EIO, 1, 2);
        assert_int_equal(try_commit(suite, &op, 1), COFFER_IO);
        assert_int_equal(op.status, COFFER_IO);
        assert_int_equal(fault_hits(sites[i]), 2);
        for (int pass = 0; pass < 3; pass++) {
            suite_check_text(suite, &part, "k", "before");
            suite_check_text(suite, &part, "gone", "not yet");
            suite_check_text(suite, &part, "new", NULL);
            assert_false(suite_has_block(suite, &part, 1, 1));
            check_live(suite, &part);
            pass == 0 ? suite_crash(suite) : suite_rebuild(suite);
        }
    }
    free(item.block);
}

static void test_disk_full(void **state)
{
    struct suite *suite = *state;
    struct partition_id part = partition_named("full"), doomed = partition_named("doomed");
    struct item item = item_make(2 << 20, 1, CONTENT_RANDOM);
    struct engine_change put = change_put(slice_from_text("new"), slice_from_text("row"));
    struct engine_change removals[] = {
        change_remove(slice_from_text("old")), change_remove(slice_from_text("never"))};
    struct block_id block = {.channel = 1, .number = 1};
    struct engine_op ops[4], claim = op_rows(&part, NULL, 0);

    suite_put_row(suite, &part, "old", "row");
    suite_put_row(suite, &part, "older", "row");
    suite_put_row(suite, &doomed, "all", "of it");
    ops[0] = op_rows(&part, &put, 1);
    ops[0].has_block = true; /* too large for what is allocated */
    ops[0].block = block;
    ops[0].body = item.body;
    ops[0].size = item.size;
    ops[1] = op_rows(&part, removals, 2);
    ops[2] = op_drop_partition(&doomed);
    ops[3] = op_rows(&part, &put, 1);
    fault_arm(FAULT_PACK_ALLOCATE, ENOSPC, 1, 0);
    assert_int_equal(try_commit(suite, ops, 4), COFFER_DISK_FULL);
    assert_int_equal(ops[0].status, COFFER_DISK_FULL);
    assert_int_equal(ops[1].status, COFFER_OK);
    assert_int_equal(ops[2].status, COFFER_OK);
    assert_int_equal(ops[3].status, COFFER_DISK_FULL);
    suite_check_text(suite, &part, "old", NULL);
    suite_check_text(suite, &part, "new", NULL);
    suite_check_text(suite, &doomed, "all", NULL);
    check_live(suite, &part);
    removals[0] = change_remove(slice_from_text("older"));
    suite_commit(suite, 0, &ops[1], 1); /* alone, it is a deletion as well */

    fault_disarm_all(); /* somebody has made room */
    suite_commit(suite, 0, &ops[0], 1);
    claim.claims = &block;
    claim.claim_count = 1;
    suite_commit(suite, 0, &claim, 1);
    for (int pass = 0; pass < 3; pass++) {
        suite_check_text(suite, &part, "new", "row");
        suite_check_text(suite, &part, "older", NULL);
        (void)suite_check_block(suite, &part, 1, 1, &item);
        pass == 0 ? suite_crash(suite) : suite_rebuild(suite);
    }
    free(item.block);
}

/* ---- the index ---- */

static void put_many(struct suite *suite, const struct partition_id *part)
{
    struct engine_change *changes = calloc(ENTRIES, sizeof(struct engine_change));
    char(*keys)[8] = calloc(ENTRIES, sizeof(*keys));
    struct engine_op op = op_rows(part, changes, ENTRIES);

    invariant(changes != NULL && keys != NULL);
    for (size_t i = 0; i < ENTRIES; i++) {
        (void)snprintf(keys[i], sizeof(keys[i]), "%zu", i);
        changes[i] = change_put(slice_from_text(keys[i]), slice_from_text("value"));
        changes[i].fresh = true;
    }
    suite_commit(suite, 1, &op, 1);
    free(keys);
    free(changes);
}

/* A commit that takes several index batches: each batch of it changes what the one before has, and
 * a partition of many rows goes in the midst of it. */
static enum coffer_status commit_in_pieces(
    struct suite *suite, const struct partition_id *part, const struct partition_id *doomed)
{
    static const char *const values[] = {"one", "two", "three", "four", "five"};
    struct engine_change changes[ARRAY_COUNT(values)][2];
    struct engine_op ops[ARRAY_COUNT(values) + 1];

    for (size_t i = 0; i < ARRAY_COUNT(values); i++) {
        changes[i][0] = change_put(slice_from_text("k"), slice_from_text(values[i]));
        changes[i][1] = change_put(slice_from_text(values[i]), slice_from_text("x"));
        ops[i < 3 ? i : i + 1] = op_rows(part, changes[i], 2);
    }
    ops[3] = op_drop_partition(doomed);
    return try_commit(suite, ops, ARRAY_COUNT(ops));
}

static void check_in_pieces(
    struct suite *suite, const struct partition_id *part, const struct partition_id *doomed)
{
    struct row_list list = suite_list_all(suite, doomed);

    assert_int_equal(list.count, 0);
    suite_check_text(suite, part, "k", "five");
    suite_check_text(suite, part, "one", "x");
    suite_check_text(suite, part, "five", "x");
    check_live(suite, part);
}

/* Everything is durable in the pack, and the index has a part of it: the next start brings the rest
 * in, and counts nothing again. */
static void test_index_writes_fail_in_a_commit(void **state)
{
    struct partition_id part = partition_named("pieces"), doomed = partition_named("doomed");
    uint64_t failures = 0;

    (void)state;
    for (uint64_t nth = 1; nth < FAULTS_MAX; nth++) {
        void *own;
        struct suite *suite;
        enum coffer_status status;
        bool hit;

        (void)set_up(&own);
        suite = own;
        suite_put_row(suite, &part, "k", "zero");
        put_many(suite, &doomed);
        fault_arm(FAULT_INDEX_WRITE, EIO, nth, 1);
        status = commit_in_pieces(suite, &part, &doomed);
        hit = fault_hits(FAULT_INDEX_WRITE) == 1;
        fault_disarm_all();
        assert_int_equal(status, hit ? COFFER_IO : COFFER_OK);
        for (int pass = 0; pass < 3; pass++) {
            /* RocksDB keeps what it has in memory when it is closed, and loses it in a crash. */
            pass == 0 ? suite_reopen(suite) : pass == 1 ? suite_crash(suite) : suite_rebuild(suite);
            check_in_pieces(suite, &part, &doomed);
        }
        (void)tear_down(&own);
        failures += hit;
        if (!hit)
            break;
    }
    assert_true(failures >= 6 && failures < FAULTS_MAX);
}

static void test_index_fails_in_recovery(void **state)
{
    struct suite *suite = *state;
    struct partition_id part = partition_named("pieces"), doomed = partition_named("doomed");
    struct item item = item_make(100, 1, CONTENT_RANDOM);
    struct engine_op staged = op_block(&part, &item, 1, 1);
    struct error error;

    suite_put_row(suite, &part, "k", "zero");
    put_many(suite, &doomed);
    assert_int_equal(commit_in_pieces(suite, &part, &doomed), COFFER_OK);
    suite_commit(suite, 0, &staged, 1);
    for (uint64_t nth = 1;; nth++) {
        enum coffer_status status;

        suite_close(suite);
        fixture_remove_index(&suite->fixture);
        fault_arm(FAULT_INDEX_WRITE, EIO, nth, 1);
        status = suite_try_open(suite, &error);
        if (fault_hits(FAULT_INDEX_WRITE) == 0) {
            assert_int_equal(status, COFFER_OK);
            assert_true(nth > 6);
            break;
        }
        assert_int_equal(status, COFFER_IO);
        fault_disarm_all();
        suite_open(suite);
        check_in_pieces(suite, &part, &doomed);
        assert_false(suite_has_block(suite, &part, 1, 1));
    }
    free(item.block);
}

/* ---- anything ---- */

/* Random commits with one failure somewhere: what is there is that of before or after the commit
 * that it hit. Only a failed index leaves its records in the packs. */
static void run_into(enum fault_site site, uint64_t nth, uint64_t count, uint64_t seed)
{
    struct suite *suite, *before, *after;
    struct workload *workload = workload_create(seed, WORKLOAD_GROUP_MAX, 6000);
    void *suites[3];
    struct workload_group *group = NULL;
    enum coffer_status status = COFFER_OK;
    uint64_t live;

    (void)set_up(&suites[0]);
    (void)suite_set_up_memory(&suites[1]);
    (void)suite_set_up_memory(&suites[2]);
    suite = suites[0];
    before = suites[1];
    after = suites[2];
    fault_arm(site, EIO, nth, count);
    while (status == COFFER_OK && workload->step < 25) {
        workload_group_free(group);
        group = workload_make(workload, before);
        status = workload_commit(group, suite, workload_below(workload, LANES));
        assert_int_equal(workload_commit(group, after, 0), COFFER_OK);
        workload_settle(workload, group);
        if (status == COFFER_OK)
            assert_int_equal(workload_commit(group, before, 0), COFFER_OK);
    }
    fault_disarm_all();
    for (int pass = 0; pass < 3; pass++) {
        bool happened = status == COFFER_OK || (site == FAULT_INDEX_WRITE && pass > 0);

        if (pass > 0 || site != FAULT_INDEX_WRITE) /* until a restart it may have a part of it */
            assert_true(workload_matches(workload, suite, happened ? after : before,
                workload->step - !happened, pass == 0, &live));
        if (pass > 0)
            assert_int_equal(suite_status(suite).live_bytes, live);
        if (pass == 0 && site == FAULT_INDEX_WRITE)
            suite_reopen(suite); /* with a part of the last commit in the index */
        else
            pass == 0 ? suite_crash(suite) : suite_rebuild(suite);
    }
    workload_group_free(group);
    workload_destroy(workload);
    (void)tear_down(&suites[0]);
    (void)suite_tear_down(&suites[1]);
    (void)suite_tear_down(&suites[2]);
}

static void test_a_failure_anywhere(void **state)
{
    static const struct {
        enum fault_site site;
        uint64_t count;
    } faults[] = {{FAULT_PACK_WRITE, 1}, {FAULT_PACK_WRITE, 2}, {FAULT_PACK_SYNC, 1},
        {FAULT_PACK_SYNC, 2}, {FAULT_INDEX_WRITE, 1}, {FAULT_PACK_OPEN, 1}, {FAULT_DIR_SYNC, 1}};
    uint64_t random = test_seed() | 1;

    (void)state;
    for (unsigned turn = 0; turn < (test_long() ? 60 : 3); turn++)
        for (size_t i = 0; i < ARRAY_COUNT(faults); i++)
            run_into(faults[i].site, 1 + random_below(&random, 20), faults[i].count,
                random_next(&random));
}

#define CASE(test) cmocka_unit_test_setup_teardown(test, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        CASE(test_a_failed_write_or_sync_is_not_noticed),
        CASE(test_two_failures_leave_nothing),
        CASE(test_disk_full),
        cmocka_unit_test(test_index_writes_fail_in_a_commit),
        CASE(test_index_fails_in_recovery),
        cmocka_unit_test(test_a_failure_anywhere),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
