/*
 * Goal: a power cut at any moment loses nothing that was acknowledged, undoes no deletion, shows
 * nothing half, and is not taken for damage. Method: some 300 operations are run once, and every
 * write, truncation, allocation and sync of the packs is recorded (disk_recorder.h), together with
 * the acknowledgements. For each place between two calls the folder is built as a cut there may
 * have left it, opened, and compared with what was acknowledged by then. The index is derived from
 * the packs: it is missing, or the one that was on the disk.
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
#include "storage/store.h"
#include "tests/support/recorded_calls.h"
#include "tests/support/store_fixture.h"

enum { IDS = 40, OPS = 300, SNAPSHOTS_MAX = 16 };

enum action { ACTION_PUT, ACTION_PUT_BUFFERED, ACTION_DELETE, ACTION_SYNC };

struct key_state {
    bool maybe_there, maybe_gone, buffered, counted;
};

struct suite {
    struct store_fixture fixture, image;
    uint64_t random;
    size_t snapshots[SNAPSHOTS_MAX]; /* position in the record of each copy of the index */
    unsigned snapshot_count;
    uint64_t cuts[CUT_MODES], checked;
};

static uint8_t *content_of(unsigned id, size_t *size)
{
    *size = id % 10 == 4 ? FIXTURE_SEGMENT + 600 * id : id * 177;
    return content_make(*size, id + 1, id % 3 == 0 ? CONTENT_TEXT : CONTENT_RANDOM);
}

/* ---- the recorded run ---- */

static void mark(enum action action, unsigned id, bool answered, bool good)
{
    struct disk_mark entry = {{(uint32_t)action, id, answered, good}};

    recorder_mark(&entry);
}

static void act(struct suite *suite)
{
    static const char *const channels[] = {"", "a", "b"};
    unsigned choice = (unsigned)random_below(&suite->random, 20);
    unsigned id = (unsigned)random_below(&suite->random, IDS);
    enum action action = choice < 7    ? ACTION_PUT
                         : choice < 14 ? ACTION_PUT_BUFFERED
                         : choice < 18 ? ACTION_DELETE
                                       : ACTION_SYNC;
    struct store *store = suite->fixture.store;
    size_t size;
    uint8_t *data = content_of(id, &size);
    struct digest key = content_key(data, size);
    struct upload_options options = {.size = size,
        .durability = action == ACTION_PUT ? DURABILITY_SYNCED : DURABILITY_BUFFERED,
        .channel = slice_from_text(channels[random_below(&suite->random, 3)])};
    struct upload_result result;
    enum coffer_status status;

    mark(action, id, false, false);
    if (action == ACTION_DELETE)
        status = store_delete(store, &key, 1, NULL, NULL, NULL);
    else if (action == ACTION_SYNC)
        status = store_sync(store, NULL, 0, NULL, NULL);
    else
        status = store_put(store, data, size, 0, &options, &result, NULL);
    mark(action, id, true, status == COFFER_OK);
    free(data);
}

static const char *snapshot_path(struct suite *suite, unsigned number)
{
    char name[32];

    (void)snprintf(name, sizeof(name), "index%u", number);
    return fixture_path(&suite->fixture, name);
}

/* The index as it is on the disk now; nothing goes on that could change it. */
static void take_snapshot(struct suite *suite)
{
    invariant(suite->snapshot_count < SNAPSHOTS_MAX);
    tree_copy(
        fixture_data_path(&suite->fixture, "index"), snapshot_path(suite, suite->snapshot_count));
    suite->snapshots[suite->snapshot_count++] = recorder_count();
}

static void run(struct suite *suite)
{
    recorder_start(fixture_data_path(&suite->fixture, "packs"));
    take_snapshot(suite);
    for (unsigned i = 0; i < OPS; i++) {
        if (i == OPS / 4) /* some of it goes wrong, and is written again */
            fault_arm(FAULT_PACK_SYNC, 5, 1, 1);
        if (i == OPS / 3)
            fault_arm(FAULT_PACK_WRITE, FAULT_SHORT, 1, 1);
        if (i == OPS / 2 || i == OPS * 3 / 4) {
            fixture_close(&suite->fixture);
            take_snapshot(suite);
            fixture_open(&suite->fixture);
        }
        act(suite);
    }
    fault_disarm_all();
    fixture_close(&suite->fixture);
    take_snapshot(suite);
}

/* ---- what must be there ---- */

static void apply_mark(struct key_state *keys, const struct disk_mark *entry)
{
    enum action action = (enum action)entry->words[0];
    struct key_state *key = &keys[entry->words[1]];
    bool answered = entry->words[2], good = entry->words[3];

    if (action == ACTION_SYNC) {
        for (unsigned i = 0; i < IDS; i++)
            if (!answered)
                keys[i].counted = keys[i].buffered;
            else if (good && keys[i].counted)
                keys[i] = (struct key_state){.maybe_there = true};
        return;
    }
    if (!answered || !good) {
        key->maybe_there = key->maybe_there || action != ACTION_DELETE;
        key->maybe_gone = key->maybe_gone || action == ACTION_DELETE;
        key->buffered = false;
    } else if (action == ACTION_PUT) {
        *key = (struct key_state){.maybe_there = true};
    } else if (action == ACTION_DELETE) {
        *key = (struct key_state){.maybe_gone = true};
    } else {
        key->buffered = key->maybe_gone;
    }
}

static void state_at(size_t position, struct key_state *keys)
{
    for (unsigned i = 0; i < IDS; i++)
        keys[i] = (struct key_state){.maybe_gone = true};
    for (size_t i = 0; i < position; i++) {
        const struct disk_mark *entry = recorder_mark_at(i);

        if (entry != NULL)
            apply_mark(keys, entry);
    }
}

static void check_image(struct suite *suite, struct key_state *keys, const char *where)
{
    struct store_status status;
    uint64_t there = 0;

    for (unsigned id = 0; id < IDS; id++) {
        size_t size;
        uint8_t *data = content_of(id, &size);
        struct digest key = content_key(data, size);
        bool found = store_has(suite->image.store, &key);

        if (found && !keys[id].maybe_there)
            fail_msg("%s: chunk %u is back", where, id);
        if (!found && !keys[id].maybe_gone)
            fail_msg("%s: chunk %u is lost", where, id);
        if (found)
            check_content(suite->image.store, &key, data, size);
        suite->checked += !(keys[id].maybe_there && keys[id].maybe_gone);
        keys[id] = (struct key_state){.maybe_there = found, .maybe_gone = !found};
        there += found;
        free(data);
    }
    store_status(suite->image.store, &status);
    if (status.damaged_records != 0)
        fail_msg("%s: taken for damage", where);
    assert_int_equal(status.chunks, there);
}

static void build_image(struct suite *suite, size_t position, enum cut_mode mode, bool with_index)
{
    struct store_fixture *image = &suite->image;
    unsigned snapshot = suite->snapshot_count;
    size_t size;
    uint8_t *marker = file_bytes(fixture_data_path(&suite->fixture, "STORE"), &size);

    tree_remove(image->data_dir);
    invariant(mkdir(image->data_dir, 0750) == 0);
    invariant(mkdir(fixture_data_path(image, "packs"), 0750) == 0);
    file_put_bytes(fixture_data_path(image, "STORE"), marker, size);
    free(marker);
    recorder_build(position, mode, &suite->random, fixture_data_path(image, "packs"));
    while (with_index && snapshot > 0 && suite->snapshots[snapshot - 1] > position)
        snapshot--;
    if (with_index && snapshot > 0)
        tree_copy(snapshot_path(suite, snapshot - 1), fixture_data_path(image, "index"));
}

static void cut_at(struct suite *suite, size_t position, enum cut_mode mode, bool with_index)
{
    static const char *const names[] = {"dropped", "kept", "prefix", "torn"};
    struct store_fixture *image = &suite->image;
    struct key_state keys[IDS];
    struct digest afterwards;
    struct error error;
    char where[80];

    (void)snprintf(where, sizeof(where), "cut at %zu, %s, %s index", position, names[mode],
        with_index ? "with" : "no");
    state_at(position, keys);
    build_image(suite, position, mode, with_index);
    if (fixture_try_open(image, &error) != COFFER_OK)
        fail_msg("%s: %s", where, error.text);
    check_image(suite, keys, where);
    suite->cuts[mode]++;
    if (position % 3 == 2) { /* it goes on, and all of it can be found again in the packs */
        afterwards = store_put_good(image->store, "afterwards", 10);
        fixture_close(image);
        fixture_remove_index(image);
        fixture_open(image);
        assert_int_equal(store_delete_one(image->store, &afterwards), COFFER_OK);
        check_image(suite, keys, where);
    }
    fixture_close(image);
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
    struct suite *suite = calloc(1, sizeof(*suite));
    size_t count;

    (void)state;
    invariant(suite != NULL);
    log_configure(LOG_ERROR + 1, false);
    suite->random = test_seed() | 1;
    fixture_init(&suite->fixture, ENGINE_LOCAL);
    suite->fixture.options.flush_interval_ns = (uint64_t)3600 * 1000000000;
    fixture_init(&suite->image, ENGINE_LOCAL);
    suite->image.options.buffer_size = 0;
    fixture_open(&suite->fixture);
    run(suite);
    count = recorder_count();
    for (size_t position = 0; position <= count; position++)
        for (unsigned turn = 0; turn < 2 * CUT_MODES; turn++)
            if (test_long() || is_chosen(position, turn))
                cut_at(suite, position, (enum cut_mode)(turn % CUT_MODES), turn < CUT_MODES);
    print_message("%zu calls and marks; cuts: %llu dropped, %llu kept, %llu prefix, %llu torn; "
                  "%llu keys whose state was certain\n",
        count, (unsigned long long)suite->cuts[0], (unsigned long long)suite->cuts[1],
        (unsigned long long)suite->cuts[2], (unsigned long long)suite->cuts[3],
        (unsigned long long)suite->checked);
    recorder_stop();
    fixture_release(&suite->image);
    fixture_release(&suite->fixture);
    free(suite);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_cuts)};

    return cmocka_run_group_tests(tests, NULL, NULL);
}
