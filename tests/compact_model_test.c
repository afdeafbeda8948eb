/*
 * Goal: a repack changes where things lie and nothing else, whatever comes before, after and in the
 * middle of it: the engine answers as a memory engine does, and every byte of a pack is live or
 * dead. Method: random commits that follow from a seed alone, with repacks, restarts, crashes and
 * lost indexes in between; a crash in the middle of a repack is a copy of the folder that its
 * progress() has made, between two of its records.
 * ctest-labels: slow (no threads: nothing for ThreadSanitizer)
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "storage/base/log.h"
#include "tests/support/mixed_workload.h"

enum { STEPS = 2500, STEPS_LONG = 60000 };

struct counters {
    unsigned compactions, crashes, restarts, rebuilds;
    uint64_t rewritten, written, kept;
};

static void restart(struct mixed *mixed, struct counters *counters)
{
    unsigned how = workload_below(mixed->workload, 3);

    if (how == 0)
        suite_reopen(mixed->local);
    else if (how == 1)
        suite_crash(mixed->local);
    else
        suite_rebuild(mixed->local);
    counters->restarts++;
    counters->rebuilds += how == 2;
    mixed_restarted(mixed);
    mixed_check(mixed);
}

struct crash { /* to come after so many calls */
    struct mixed *mixed;
    unsigned calls;
    bool done;
};

static bool crash_later(void *context, uint64_t done, uint64_t total)
{
    struct crash *crash = context;
    struct store_fixture *fixture = &crash->mixed->local->fixture;

    assert_true(done <= total);
    if (crash->calls-- != 0 || crash->done)
        return true;
    tree_copy(fixture->data_dir, fixture_path(fixture, "crashed"));
    crash->done = true;
    return workload_below(crash->mixed->workload, 2) == 0;
}

/* Go on with the folder as it was in the middle of the repack. */
static void become_crashed(struct mixed *mixed, bool without_index)
{
    struct suite *suite = mixed->local;
    struct store_fixture *fixture = &suite->fixture;

    suite_close(suite);
    tree_remove(fixture->data_dir);
    assert_int_equal(rename(fixture_path(fixture, "crashed"), fixture->data_dir), 0);
    if (without_index)
        fixture_remove_index(fixture);
    suite_open(suite);
    mixed_restarted(mixed);
}

static void compact(struct mixed *mixed, struct counters *counters)
{
    struct engine *engine = mixed->local->engine;
    struct engine_compaction compaction = mixed_compaction();
    struct crash crash = {.mixed = mixed, .calls = workload_below(mixed->workload, 400)};

    compaction.dead_ratio = 0.1 * workload_below(mixed->workload, 8);
    compaction.seal_idle = workload_below(mixed->workload, 2) == 0;
    compaction.merge_small = workload_below(mixed->workload, 2) == 0;
    compaction.compression_level = workload_below(mixed->workload, 3) == 0 ? 7 : 0;
    if (workload_below(mixed->workload, 2) == 0) {
        compaction.progress = crash_later;
        compaction.context = &crash;
    }
    (void)engine->ops->compact(engine, &compaction, NULL);
    counters->compactions++;
    counters->rewritten += compaction.packs_rewritten;
    counters->written += compaction.packs_written;
    counters->kept += compaction.packs_kept;
    mixed_check(mixed);
    if (crash.done) {
        become_crashed(mixed, workload_below(mixed->workload, 2) == 0);
        counters->crashes++;
        mixed_check(mixed);
    }
}

static void test_nothing_changes(void **state)
{
    unsigned steps = test_long() ? STEPS_LONG : STEPS;
    struct counters counters = {0};
    struct mixed mixed;

    (void)state;
    log_configure(LOG_WARN, false);
    mixed_init(&mixed, test_seed());
    for (unsigned step = 0; step < steps; step++) {
        unsigned choice = workload_below(mixed.workload, 200);

        if (choice < 190)
            mixed_step(&mixed);
        else if (choice < 197)
            compact(&mixed, &counters);
        else
            restart(&mixed, &counters);
        if (step % 200 == 199)
            workload_forget(mixed.workload);
    }
    mixed_check(&mixed);
    print_message("%u repacks (%llu packs into %llu, %llu kept), %u crashes within, %u restarts\n",
        counters.compactions, (unsigned long long)counters.rewritten,
        (unsigned long long)counters.written, (unsigned long long)counters.kept, counters.crashes,
        counters.restarts);
    assert_true(counters.rewritten > 0 && counters.crashes > 0);
    mixed_release(&mixed);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_nothing_changes)};

    return cmocka_run_group_tests(tests, NULL, NULL);
}
