/*
 * Goal: what a repack promises one by one: which packs it touches, what it leaves of deletions,
 * what readers see, what it does with damage, and that its memory does not grow with what it moves.
 * Method: an engine with packs of 1 MiB, filled as each case needs it.
 */
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "storage/base/clock.h"
#include "storage/base/invariant.h"
#include "storage/base/log.h"
#include "storage/pack/pack_format.h"
#include "tests/support/mixed_workload.h"
#include "tests/support/pack_records.h"

enum { ITEMS = 64, ITEM_SIZE = 100000, MANY = 200000, MANY_AT_ONCE = 500, PACKS_MAX = 64 };

static struct item items[ITEMS];

static int set_up(void **state)
{
    log_configure(LOG_ERROR + 1, false);
    for (size_t i = 0; i < ITEMS; i++)
        items[i] = item_make(ITEM_SIZE, i + 1, CONTENT_RANDOM);
    return suite_set_up_local(state);
}

static int tear_down(void **state)
{
    items_free(items, ITEMS);
    return suite_tear_down(state);
}

static void put_items(struct suite *suite, size_t from, size_t to)
{
    for (size_t i = from; i < to; i++)
        suite_put(suite, &items[i]);
}

/* Every `step`th from `from` on. */
static void delete_items(struct suite *suite, size_t from, size_t to, size_t step)
{
    struct digest keys[ITEMS];
    size_t count = 0;

    for (size_t i = from; i < to; i += step)
        keys[count++] = items[i].key;
    assert_int_equal(suite_delete(suite, keys, count), count);
}

static struct engine_compaction compact(struct suite *suite, double ratio)
{
    struct engine_compaction compaction = {.dead_ratio = ratio};
    struct error error;

    if (suite->engine->ops->compact(suite->engine, &compaction, &error) != COFFER_OK)
        fail_msg("compact fails: %s", error.text);
    return compaction;
}

static size_t list_packs(struct suite *suite, struct engine_pack packs[PACKS_MAX])
{
    return suite->engine->ops->packs(suite->engine, 0, packs, PACKS_MAX);
}

static const char *pack_path(struct suite *suite, uint64_t id)
{
    char name[PACK_NAME_SIZE + 8] = "packs/";

    pack_file_name(id, name + strlen(name));
    return fixture_data_path(&suite->fixture, name);
}

static bool pack_exists(struct suite *suite, uint64_t id)
{
    struct stat info;

    return stat(pack_path(suite, id), &info) == 0;
}

/* ---- which packs ---- */

static void test_only_what_is_dead(void **state)
{
    struct suite *suite = *state;
    struct engine_pack before[PACKS_MAX], after[PACKS_MAX];
    struct engine_compaction done;
    struct stat untouched, now;
    uint64_t used;

    put_items(suite, 0, 44);         /* 11 fill a pack */
    delete_items(suite, 11, 22, 2);  /* 6 of 11 of the second pack */
    delete_items(suite, 22, 33, 10); /* 2 of 11 of the third */
    assert_true(list_packs(suite, before) >= 4);
    assert_int_equal(stat(pack_path(suite, before[0].id), &untouched), 0);
    used = suite_status(suite).used_space;
    done = compact(suite, 0.5);
    assert_int_equal(done.packs_rewritten, 1);
    assert_int_equal(done.packs_written, 1);
    assert_false(pack_exists(suite, before[1].id));
    assert_true(pack_exists(suite, before[2].id));
    assert_int_equal(stat(pack_path(suite, before[0].id), &now), 0);
    assert_int_equal(now.st_ino, untouched.st_ino);
    assert_int_equal(now.st_mtim.tv_nsec, untouched.st_mtim.tv_nsec);
    assert_true(used - suite_status(suite).used_space > (uint64_t)5 * ITEM_SIZE);
    assert_true(list_packs(suite, after) == list_packs(suite, before));
    assert_int_equal(compact(suite, 0.5).packs_rewritten, 0); /* there is nothing left to do */
    for (int pass = 0; pass < 2; pass++) {
        for (size_t i = 0; i < 44; i++)
            assert_int_equal(suite_has(suite, &items[i].key),
                !((i >= 11 && i < 22 && i % 2 == 1) || i == 22 || i == 32));
        suite_rebuild(suite);
    }
}

/* Of the open ones, those that nobody writes to and that are worth it. */
static void test_open_packs(void **state)
{
    struct suite *suite = *state;
    struct engine_compaction look = {.dead_ratio = 0.5, .seal_idle = true, .look_only = true};
    struct engine_compaction done = {.dead_ratio = 0.5, .seal_idle = true};
    struct engine_pack packs[PACKS_MAX];

    for (size_t i = 0; i < 8; i++) {
        struct engine_op op = op_put(&items[i]);

        suite_commit(suite, i < 4 ? 1 : 2, &op, 1);
    }
    delete_items(suite, 0, 3, 1); /* 3 of 4 of the first */
    suite->engine->ops->lane_idle(suite->engine, 2);
    assert_int_equal(suite->engine->ops->compact(suite->engine, &done, NULL), COFFER_OK);
    assert_int_equal(done.packs_rewritten, 0); /* somebody may be writing to it */
    suite->engine->ops->lane_idle(suite->engine, 1);
    assert_int_equal(suite->engine->ops->compact(suite->engine, &look, NULL), COFFER_OK);
    assert_true(look.bytes_worth > (uint64_t)4 * ITEM_SIZE);
    assert_string_equal((list_packs(suite, packs), packs[0].state), "open");
    assert_int_equal(suite->engine->ops->compact(suite->engine, &done, NULL), COFFER_OK);
    assert_int_equal(done.packs_rewritten, 1);
    for (int pass = 0; pass < 2; pass++) {
        for (size_t i = 0; i < 8; i++)
            assert_int_equal(suite_has(suite, &items[i].key), i >= 3);
        suite_rebuild(suite);
    }
}

/* Also of packs that hold nothing but what a repack had to carry: it does not go round in circles.
 */
static void test_comes_to_an_end(void **state)
{
    struct suite *suite = *state;
    struct engine_compaction done = {.dead_ratio = 0, .seal_idle = true};

    put_items(suite, 0, 22);
    delete_items(suite, 11, 22, 1); /* the tombstone is needed while the first pack is there */
    assert_int_equal(suite->engine->ops->compact(suite->engine, &done, NULL), COFFER_OK);
    assert_true(done.packs_rewritten > 0);
    assert_int_equal(compact(suite, 0).packs_rewritten, 0);
    suite_reopen(suite);
    assert_int_equal(compact(suite, 0).packs_rewritten, 0);
    suite_rebuild(suite);
    for (size_t i = 0; i < 22; i++)
        assert_int_equal(suite_has(suite, &items[i].key), i < 11);
}

static void test_small_ones_are_merged(void **state)
{
    struct suite *suite = *state;
    struct engine_compaction done = {.dead_ratio = -1, .seal_idle = true, .merge_small = true};
    struct engine_pack packs[PACKS_MAX];
    size_t before;

    for (size_t i = 0; i < 6; i++) {
        struct engine_op op = op_put(&items[i]);

        suite_commit(suite, (unsigned)i, &op, 1);
    }
    for (unsigned lane = 0; lane < 6; lane++)
        suite->engine->ops->lane_idle(suite->engine, lane);
    before = list_packs(suite, packs);
    assert_int_equal(before, 6);
    assert_int_equal(suite->engine->ops->compact(suite->engine, &done, NULL), COFFER_OK);
    assert_int_equal(done.packs_sealed, 6);
    assert_int_equal(done.packs_rewritten, 6);
    assert_int_equal(list_packs(suite, packs), 1);
    assert_string_equal(packs[0].state, "sealed");
    suite_rebuild(suite);
    for (size_t i = 0; i < 6; i++)
        suite_check_item(suite, &items[i]);
}

static size_t tombstones_in(struct suite *suite)
{
    struct engine_pack packs[PACKS_MAX];
    size_t count = list_packs(suite, packs), found = 0;

    for (size_t i = 0; i < count; i++) {
        struct pack_records records = pack_records_read(pack_path(suite, packs[i].id));

        for (size_t j = 0; j < records.count; j++)
            found += records.items[j].header.type == RECORD_TOMBSTONE;
        pack_records_release(&records);
    }
    return found;
}

/* A deletion is carried while an older pack may hold what it deletes, and no longer. */
static void test_deletions(void **state)
{
    struct suite *suite = *state;
    struct engine_compaction done = {.dead_ratio = 0.1, .seal_idle = true};

    put_items(suite, 0, 12);
    delete_items(suite, 0, 1, 1); /* in the second pack, of what is in the first */
    suite->engine->ops->lane_idle(suite->engine, 0);
    put_items(suite, 12, 23);
    delete_items(suite, 12, 22, 1);
    suite->engine->ops->lane_idle(suite->engine, 0);
    assert_int_equal(suite->engine->ops->compact(suite->engine, &done, NULL), COFFER_OK);
    assert_true(done.packs_rewritten > 0);
    suite_close(suite);
    fixture_remove_index(&suite->fixture);
    suite_open(suite);
    assert_true(tombstones_in(suite) > 0);
    for (size_t i = 0; i < 23; i++)
        assert_int_equal(suite_has(suite, &items[i].key), (i >= 1 && i < 12) || i == 22);
}

static void test_the_last_pack_keeps_its_number(void **state)
{
    struct suite *suite = *state;
    struct engine_compaction done = {.dead_ratio = 0, .seal_idle = true};
    struct engine_pack packs[PACKS_MAX];
    size_t count;
    uint64_t highest;

    put_items(suite, 0, 3);
    delete_items(suite, 0, 3, 1);
    suite->engine->ops->lane_idle(suite->engine, 0);
    assert_int_equal(suite->engine->ops->compact(suite->engine, &done, NULL), COFFER_OK);
    count = list_packs(suite, packs);
    highest = packs[count - 1].id;
    suite_reopen(suite);
    put_items(suite, 3, 4);
    count = list_packs(suite, packs);
    assert_true(packs[count - 1].id > highest);
}

/* ---- readers ---- */

static void test_readers_keep_what_they_have(void **state)
{
    struct suite *suite = *state;
    struct engine *engine = suite->engine;
    struct engine_source source, again;
    struct engine_pack packs[PACKS_MAX];
    struct engine_row row, moved;
    size_t count;

    put_items(suite, 0, 12);
    delete_items(suite, 1, 11, 1);
    assert_int_equal(engine->ops->find(engine, &items[0].key, &row, NULL), COFFER_OK);
    assert_int_equal(engine->ops->pin(engine, &row, &source, NULL), COFFER_OK);
    assert_int_equal(compact(suite, 0.5).packs_rewritten, 1);
    assert_false(pack_exists(suite, row.pack));
    count = list_packs(suite, packs);
    assert_true(count > 0 && packs[0].id != row.pack);
    item_check_pinned(&row, &source, &items[0]);
    engine->ops->unpin(engine, &source);
    assert_int_equal(engine->ops->pin(engine, &row, &again, NULL), COFFER_NO_SUCH_CHUNK);
    assert_int_equal(engine->ops->find(engine, &items[0].key, &moved, NULL), COFFER_OK);
    assert_true(moved.pack != row.pack && moved.lsn == row.lsn);
    suite_check_item(suite, &items[0]);
}

static void test_encoded_again(void **state)
{
    struct suite *suite = *state;
    struct engine_compaction done = {.dead_ratio = 0.3, .compression_level = 19};
    struct item text = item_make(200000, 99, CONTENT_TEXT);
    struct engine_row before, after;

    suite_put(suite, &text);
    put_items(suite, 0, 12);
    delete_items(suite, 0, 8, 1);
    assert_int_equal(suite->engine->ops->find(suite->engine, &text.key, &before, NULL), COFFER_OK);
    assert_int_equal(suite->engine->ops->compact(suite->engine, &done, NULL), COFFER_OK);
    assert_int_equal(suite->engine->ops->find(suite->engine, &text.key, &after, NULL), COFFER_OK);
    assert_true(after.stored_size < before.stored_size);
    for (int pass = 0; pass < 2; pass++) {
        suite_check_item(suite, &text);
        suite_check_item(suite, &items[8]);
        suite_rebuild(suite);
    }
    items_free(&text, 1);
}

/* ---- damage ---- */

static void test_damage_stays(void **state)
{
    struct suite *suite = *state;
    struct engine_row row;
    struct engine_compaction done;
    uint8_t byte;
    int fd;

    put_items(suite, 0, 12);
    delete_items(suite, 1, 10, 1);
    assert_int_equal(suite->engine->ops->find(suite->engine, &items[0].key, &row, NULL), COFFER_OK);
    fd = open(pack_path(suite, row.pack), O_RDWR | O_CLOEXEC);
    invariant(fd >= 0 && pread(fd, &byte, 1, (off_t)row.offset + 500) == 1);
    byte ^= 1;
    invariant(pwrite(fd, &byte, 1, (off_t)row.offset + 500) == 1);
    close(fd);
    done = compact(suite, 0.5);
    assert_int_equal(done.packs_kept, 1);
    assert_true(pack_exists(suite, row.pack));
    assert_int_equal(suite_status(suite).damaged_records, 1);
    assert_true(suite_has(suite, &items[0].key)); /* who reads it learns that it is damaged */
    suite_check_item(suite, &items[10]);          /* moved */
    assert_int_equal(compact(suite, 0.5).packs_rewritten, 0);
    suite_check_item(suite, &items[11]);
}

/* ---- deletions in the middle ---- */

struct racing {
    struct suite *suite;
    size_t calls; /* one before each record of the first pack: chunks 0 to 10, its seal */
};

/* Each chunk is deleted when it was copied, and not moved yet. */
static bool delete_behind(void *context, uint64_t done, uint64_t total)
{
    struct racing *racing = context;

    assert_true(done <= total);
    if (racing->calls > 8 && racing->calls <= 11)
        delete_items(racing->suite, racing->calls - 1, racing->calls, 1);
    racing->calls++;
    return true;
}

static void test_deletions_in_the_middle(void **state)
{
    struct suite *suite = *state;
    struct racing racing = {.suite = suite};
    struct engine_compaction done = {
        .dead_ratio = 0.3, .progress = delete_behind, .context = &racing};

    put_items(suite, 0, 30);
    delete_items(suite, 0, 8, 1);
    assert_int_equal(suite->engine->ops->compact(suite->engine, &done, NULL), COFFER_OK);
    assert_true(racing.calls > 11 && done.packs_rewritten > 0);
    for (int pass = 0; pass < 3; pass++) {
        struct engine_status status = suite_status(suite);
        uint64_t live = 0;

        for (size_t i = 0; i < 30; i++) {
            bool there = i > 10;

            assert_int_equal(suite_has(suite, &items[i].key), there);
            live += there ? record_size(ITEM_SIZE) : 0;
            if (there)
                suite_check_item(suite, &items[i]);
        }
        assert_int_equal(status.live_bytes, live);
        assert_int_equal(
            live + status.dead_bytes + status.packs * PACK_HEADER_SIZE, status.used_space);
        pass == 0 ? suite_crash(suite) : suite_rebuild(suite);
    }
}

/* ---- stopping, limits ---- */

static bool stop_soon(void *context, uint64_t done, uint64_t total)
{
    unsigned *left = context;

    assert_true(done <= total);
    return (*left)-- > 0;
}

static void test_stopped_and_begun_again(void **state)
{
    struct suite *suite = *state;
    unsigned left = 9;
    struct engine_compaction done = {.dead_ratio = 0.3, .progress = stop_soon, .context = &left};

    put_items(suite, 0, 30);
    delete_items(suite, 0, 22, 2);
    assert_int_equal(suite->engine->ops->compact(suite->engine, &done, NULL), COFFER_DRAINING);
    for (size_t i = 0; i < 30; i++)
        assert_int_equal(suite_has(suite, &items[i].key), i >= 22 || i % 2 == 1);
    assert_true(compact(suite, 0.3).packs_rewritten > 0);
    suite_rebuild(suite);
    for (size_t i = 0; i < 30; i++)
        assert_int_equal(suite_has(suite, &items[i].key), i >= 22 || i % 2 == 1);
}

static uint64_t peak_memory(void)
{
    char line[256];
    unsigned long long kib = 0;
    FILE *file = fopen("/proc/self/status", "re");

    invariant(file != NULL);
    while (kib == 0 && fgets(line, sizeof(line), file) != NULL)
        (void)sscanf(line, "VmHWM: %llu", &kib); /* NOLINT(cert-err34-c): 0 is a failure, too */
    (void)fclose(file);
    return (uint64_t)kib << 10;
}

/* Every second one of many small records. */
static void test_memory_is_flat(void **state)
{
    struct suite *suite = *state;
    struct item *many = calloc(MANY_AT_ONCE, sizeof(struct item));
    struct digest *keys = calloc(MANY_AT_ONCE, sizeof(struct digest));
    struct engine_op *ops = calloc(MANY_AT_ONCE, sizeof(struct engine_op));
    const char *sanitizer = getenv("COFFER_SANITIZE"); /* whose own memory is none of ours */
    struct engine_compaction done;
    uint64_t before, after, started, elapsed;

    invariant(many != NULL && keys != NULL && ops != NULL);
    for (size_t i = 0; i < MANY; i += MANY_AT_ONCE) {
        struct engine_op deletion = op_delete(keys, MANY_AT_ONCE / 2);

        for (size_t j = 0; j < MANY_AT_ONCE; j++) {
            many[j] = item_make(100, i + j + 1000, CONTENT_RANDOM);
            ops[j] = op_put(&many[j]);
            keys[j / 2] = many[j].key;
        }
        suite_commit(suite, 0, ops, MANY_AT_ONCE);
        suite_commit(suite, 0, &deletion, 1);
        items_free(many, MANY_AT_ONCE);
    }
    before = peak_memory();
    started = clock_monotonic_ns();
    done = compact(suite, 0.1);
    elapsed = clock_monotonic_ns() - started;
    after = peak_memory(); /* the kernel's count may lag, and be less */
    assert_true(done.records_moved > MANY / 3);
    assert_int_equal(suite_status(suite).chunks, MANY / 2);
    print_message("%llu records moved in %llu ms, %llu KiB of memory more\n",
        (unsigned long long)done.records_moved, (unsigned long long)(elapsed / NS_PER_MS),
        (unsigned long long)((after > before ? after - before : 0) >> 10));
    if (sanitizer == NULL || *sanitizer == '\0')
        assert_true(after < before + ((uint64_t)64 << 20));
    free(many);
    free(keys);
    free(ops);
}

#define CASE(test) cmocka_unit_test_setup_teardown(test, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        CASE(test_only_what_is_dead),
        CASE(test_open_packs),
        CASE(test_comes_to_an_end),
        CASE(test_small_ones_are_merged),
        CASE(test_deletions),
        CASE(test_the_last_pack_keeps_its_number),
        CASE(test_readers_keep_what_they_have),
        CASE(test_encoded_again),
        CASE(test_damage_stays),
        CASE(test_deletions_in_the_middle),
        CASE(test_stopped_and_begun_again),
        CASE(test_memory_is_flat),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
