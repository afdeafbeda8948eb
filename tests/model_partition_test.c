/*
 * Goal: partitions of the local engine behave like those of the memory engine, across restarts,
 * crashes and lost indexes. Method: a sequence of random commits that follows from a seed alone,
 * run against both; rows, scans and blocks are compared, and the live bytes with what all of it
 * takes, to the byte. A restart must have forgotten what was staged and not claimed, and nothing
 * else: everything that commit() has answered is durable.
 * ctest-labels: slow (no threads: nothing for ThreadSanitizer)
 */
#include <limits.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "storage/base/invariant.h"
#include "storage/base/log.h"
#include "tests/support/partition_workload.h"

enum { STEPS = 1500, STEPS_LONG = 10000, BLOCK_SIZE_MAX = 300000 };

struct model {
    struct suite *local, *memory;
    struct workload *workload;
    unsigned restarts[3];
};

static void do_commit(struct model *model)
{
    struct workload_group *group = workload_make(model->workload, model->memory);
    unsigned lane = workload_below(model->workload, LANES);

    assert_int_equal(workload_commit(group, model->memory, lane), COFFER_OK);
    assert_int_equal(workload_commit(group, model->local, lane), COFFER_OK);
    workload_settle(model->workload, group);
    workload_group_free(group);
    if (workload_below(model->workload, 8) == 0)
        model->local->engine->ops->lane_idle(model->local->engine, lane);
}

static void check_scan(struct model *model)
{
    struct workload *workload = model->workload;
    const struct partition_id *id = &workload->ids[workload_below(workload, WORKLOAD_PARTITIONS)];
    struct slice prefix = workload_key(workload_below(workload, WORKLOAD_KEYS));
    struct slice from = workload_key(workload_below(workload, WORKLOAD_KEYS));
    bool backwards = workload_below(workload, 2) == 0;
    size_t limit = workload_below(workload, 3) == 0 ? 1 + workload_below(workload, 4) : SIZE_MAX;
    struct row_list local, memory;

    prefix.size = workload_below(workload, 3) % (prefix.size + 1);
    from.size = workload_below(workload, 4) == 0 ? 0 : from.size;
    local = suite_list(model->local, id, prefix, from, backwards, limit);
    memory = suite_list(model->memory, id, prefix, from, backwards, limit);
    assert_true(row_list_equal(&local, &memory));
    row_list_release(&local);
    row_list_release(&memory);
}

static void check_all(struct model *model)
{
    struct engine_status status = suite_status(model->local);
    unsigned step = model->workload->step;
    uint64_t live, memory_live;

    assert_true(workload_matches(model->workload, model->local, model->memory, step, true, &live));
    assert_true(
        workload_matches(model->workload, model->memory, model->memory, step, true, &memory_live));
    assert_int_equal(status.damaged_records, 0);
    assert_int_equal(status.live_bytes, live);
}

/* Some of the staged blocks; and some that are not, which must stay. */
static void do_drop_blocks(struct model *model)
{
    struct suite *const engines[] = {model->local, model->memory};
    struct workload *workload = model->workload;

    workload->step++;
    for (size_t i = 0; i < workload->block_count; i++) {
        struct workload_block *block = &workload->blocks[i];

        if (workload_below(workload, 5) > 0)
            continue;
        for (size_t j = 0; j < ARRAY_COUNT(engines); j++)
            assert_int_equal(engines[j]->engine->ops->drop_blocks(
                                 engines[j]->engine, &block->partition, &block->id, 1, NULL),
                COFFER_OK);
        if (block->claimed == UINT_MAX && block->gone == UINT_MAX)
            block->gone = workload->step;
    }
}

static void do_restart(struct model *model)
{
    unsigned how = workload_below(model->workload, 3);

    check_all(model);
    if (how == 0)
        suite_reopen(model->local);
    else if (how == 1)
        suite_crash(model->local);
    else
        suite_rebuild(model->local);
    model->restarts[how]++;
    workload_restart(model->workload, &model->memory, 1);
    check_all(model);
}

static void test_both_engines_agree(void **state)
{
    struct model model = {.local = NULL};
    unsigned steps = test_long() ? STEPS_LONG : STEPS;
    void *local, *memory;

    (void)state;
    log_configure(LOG_WARN, false);
    (void)suite_set_up_local(&local);
    (void)suite_set_up_memory(&memory);
    model.local = local;
    model.memory = memory;
    model.workload = workload_create(test_seed(), WORKLOAD_GROUP_MAX, BLOCK_SIZE_MAX);
    for (unsigned step = 0; step < steps; step++) {
        unsigned choice = workload_below(model.workload, 100);

        if (choice < 70)
            do_commit(&model);
        else if (choice < 95)
            check_scan(&model);
        else if (choice < 98)
            do_drop_blocks(&model);
        else
            do_restart(&model);
        if (step % 200 == 199)
            workload_forget(model.workload);
    }
    check_all(&model);
    print_message("%u steps, %u clean restarts, %u crashes, %u rebuilds, %llu blocks\n", steps,
        model.restarts[0], model.restarts[1], model.restarts[2],
        (unsigned long long)model.workload->next_number);
    workload_destroy(model.workload);
    (void)suite_tear_down(&local);
    (void)suite_tear_down(&memory);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_both_engines_agree)};

    return cmocka_run_group_tests(tests, NULL, NULL);
}
