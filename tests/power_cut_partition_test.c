/*
 * Goal: a power cut at any moment leaves each commit to a partition whole or not at all, all that
 * was acknowledged, nothing that was staged and not claimed, and is not taken for damage. Method:
 * as power_cut_test.c, for random batches (partition_workload.h), one a commit. What an image holds
 * is compared with memory engines that got as many of them as were acknowledged by then, or one
 * more, if it was under way.
 * ctest-labels: slow (no threads: nothing for ThreadSanitizer)
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include <cmocka.h>

#include "storage/base/fault.h"
#include "storage/base/invariant.h"
#include "storage/base/log.h"
#include "tests/support/partition_workload.h"
#include "tests/support/recorded_calls.h"

enum { GROUPS = 120, RESTART_EVERY = 40, LANES_USED = 3, SNAPSHOTS_MAX = 8, BLOCK_SIZE_MAX = 6000 };

struct cuts {
    struct suite *local, *image;
    struct suite *acknowledged, *under_way; /* in memory: up to the same group, or one more */
    struct workload *workload;
    struct workload_group *groups[GROUPS]; /* NULL: a restart */
    unsigned applied[2];                   /* groups in those */
    uint64_t random;
    size_t snapshots[SNAPSHOTS_MAX]; /* position in the record of each copy of the index */
    unsigned snapshot_count;
    uint64_t done[CUT_MODES], between;
};

static const char *snapshot_path(struct cuts *cuts, unsigned number)
{
    char name[32];

    (void)snprintf(name, sizeof(name), "index%u", number);
    return fixture_path(&cuts->local->fixture, name);
}

/* ---- the recorded run ---- */

/* The index as it is on the disk now; nothing goes on that could change it. */
static void take_snapshot(struct cuts *cuts)
{
    invariant(cuts->snapshot_count < SNAPSHOTS_MAX);
    tree_copy(fixture_data_path(&cuts->local->fixture, "index"),
        snapshot_path(cuts, cuts->snapshot_count));
    cuts->snapshots[cuts->snapshot_count++] = recorder_count();
}

static void mark(unsigned group, bool answered)
{
    struct disk_mark entry = {{group, answered, 0, 0}};

    recorder_mark(&entry);
}

/* `model` is an engine in memory that goes along with it. */
static void run(struct cuts *cuts, struct suite *model)
{
    recorder_start(fixture_data_path(&cuts->local->fixture, "packs"));
    take_snapshot(cuts);
    for (unsigned i = 0; i < GROUPS; i++) {
        mark(i, false);
        if (i % RESTART_EVERY == RESTART_EVERY - 1) {
            suite_close(cuts->local);
            take_snapshot(cuts);
            suite_open(cuts->local);
            workload_restart(cuts->workload, &model, 1);
        } else {
            struct workload_group *group = workload_make(cuts->workload, model);

            if (i == GROUPS / 4) /* some of it goes wrong, and is written again */
                fault_arm(FAULT_PACK_SYNC, 5, 1, 1);
            if (i == GROUPS / 2)
                fault_arm(FAULT_PACK_WRITE, FAULT_SHORT, 1, 1);
            assert_int_equal(workload_commit(group, cuts->local, i % LANES_USED), COFFER_OK);
            assert_int_equal(workload_commit(group, model, 0), COFFER_OK);
            workload_settle(cuts->workload, group);
            cuts->groups[i] = group;
        }
        mark(i, true);
    }
    fault_disarm_all();
    suite_close(cuts->local);
    take_snapshot(cuts);
}

/* ---- what must be there ---- */

/* Bring a memory engine up to `count` groups. */
static void apply_up_to(struct cuts *cuts, struct suite *memory, unsigned *applied, unsigned count)
{
    for (; *applied < count; (*applied)++) {
        struct workload_group *group = cuts->groups[*applied];

        if (group != NULL) /* what a restart forgets is left out when images are looked at */
            assert_int_equal(workload_commit(group, memory, 0), COFFER_OK);
    }
}

static void groups_at(size_t position, unsigned *begun, unsigned *answered)
{
    *begun = *answered = 0;
    for (size_t i = 0; i < position; i++) {
        const struct disk_mark *entry = recorder_mark_at(i);

        if (entry != NULL && entry->words[1] != 0)
            *answered = entry->words[0] + 1;
        else if (entry != NULL)
            *begun = entry->words[0] + 1;
    }
}

/* Which of the two the image is; its live bytes are what it holds. */
static unsigned check_image(struct cuts *cuts, unsigned answered, unsigned begun, const char *where)
{
    struct engine_status status = suite_status(cuts->image);
    uint64_t live;

    if (status.damaged_records != 0)
        fail_msg("%s: taken for damage", where);
    if (workload_matches(cuts->workload, cuts->image, cuts->acknowledged, answered, false, &live)) {
        assert_int_equal(status.live_bytes, live);
        return answered;
    }
    if (begun == answered ||
        !workload_matches(cuts->workload, cuts->image, cuts->under_way, begun, false, &live))
        fail_msg("%s: neither %u groups nor %u", where, answered, begun);
    assert_int_equal(status.live_bytes, live);
    return begun;
}

static void build_image(struct cuts *cuts, size_t position, enum cut_mode mode, bool with_index)
{
    struct store_fixture *image = &cuts->image->fixture;
    unsigned snapshot = cuts->snapshot_count;

    tree_remove(image->data_dir);
    invariant(mkdir(image->data_dir, 0750) == 0);
    invariant(mkdir(fixture_data_path(image, "packs"), 0750) == 0);
    recorder_build(position, mode, &cuts->random, fixture_data_path(image, "packs"));
    while (with_index && snapshot > 0 && cuts->snapshots[snapshot - 1] > position)
        snapshot--;
    if (with_index && snapshot > 0)
        tree_copy(snapshot_path(cuts, snapshot - 1), fixture_data_path(image, "index"));
}

static void cut_at(struct cuts *cuts, size_t position, enum cut_mode mode, bool with_index)
{
    static const char *const names[] = {"dropped", "kept", "prefix", "torn"};
    struct partition_id own = partition_named("own");
    unsigned answered, begun, found;
    char where[80];

    (void)snprintf(where, sizeof(where), "cut at %zu, %s, %s index", position, names[mode],
        with_index ? "with" : "no");
    groups_at(position, &begun, &answered);
    apply_up_to(cuts, cuts->acknowledged, &cuts->applied[0], answered);
    apply_up_to(cuts, cuts->under_way, &cuts->applied[1], begun);
    build_image(cuts, position, mode, with_index);
    suite_open(cuts->image);
    found = check_image(cuts, answered, begun, where);
    cuts->done[mode]++;
    cuts->between += answered != begun;
    if (position % 3 == 2) { /* it goes on, and all of it can be found again in the packs */
        suite_put_row(cuts->image, &own, "afterwards", "written");
        suite_rebuild(cuts->image);
        suite_check_text(cuts->image, &own, "afterwards", "written");
        suite_remove_row(cuts->image, &own, "afterwards");
        assert_int_equal(check_image(cuts, answered, begun, where), found);
    }
    suite_close(cuts->image);
}

/* One way at every eighth place, and all that is torn where a pack has just been made. */
static bool is_chosen(size_t position, unsigned turn)
{
    if (recorder_new_file_at(position) && turn % CUT_MODES == CUT_TORN)
        return true;
    return position % 8 == 0 && turn == position / 8 * 3 % (2 * CUT_MODES);
}

static void test_cuts(void **state)
{
    struct cuts *cuts = calloc(1, sizeof(*cuts));
    void *suites[5];
    size_t count;

    (void)state;
    invariant(cuts != NULL);
    log_configure(LOG_ERROR + 1, false);
    cuts->random = test_seed() | 1;
    for (unsigned i = 0; i < 5; i++)
        (void)(i < 2 ? suite_set_up_local(&suites[i]) : suite_set_up_memory(&suites[i]));
    cuts->local = suites[0];
    cuts->image = suites[1];
    cuts->acknowledged = suites[2];
    cuts->under_way = suites[3];
    cuts->workload = workload_create(cuts->random, 1, BLOCK_SIZE_MAX);
    suite_close(cuts->image);
    run(cuts, suites[4]);
    count = recorder_count();
    for (size_t position = 0; position <= count; position++)
        for (unsigned turn = 0; turn < 2 * CUT_MODES; turn++)
            if (test_long() || is_chosen(position, turn))
                cut_at(cuts, position, (enum cut_mode)(turn % CUT_MODES), turn < CUT_MODES);
    print_message("%zu calls and marks; cuts: %llu dropped, %llu kept, %llu prefix, %llu torn; "
                  "%llu of them in a commit\n",
        count, (unsigned long long)cuts->done[0], (unsigned long long)cuts->done[1],
        (unsigned long long)cuts->done[2], (unsigned long long)cuts->done[3],
        (unsigned long long)cuts->between);
    recorder_stop();
    for (unsigned i = 0; i < GROUPS; i++)
        workload_group_free(cuts->groups[i]);
    workload_destroy(cuts->workload);
    for (unsigned i = 0; i < 5; i++)
        (void)suite_tear_down(&suites[i]);
    free(cuts);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_cuts)};

    return cmocka_run_group_tests(tests, NULL, NULL);
}
