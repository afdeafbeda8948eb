/*
 * Goal: every engine keeps what storage/engine.h promises of partitions. Method: as
 * contract_test.c; what must be there is looked at again after a restart, after a crash, and after
 * a restart without the index, and the live bytes are compared with what the rows and blocks that
 * are there take, to the byte.
 */
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "storage/base/bytes.h"
#include "storage/base/invariant.h"
#include "tests/support/partition_suite.h"

static struct slice text(const char *bytes)
{
    return slice_from_text(bytes);
}

/* ---- rows ---- */

static void test_rows(void **state)
{
    struct suite *suite = *state;
    struct partition_id part = partition_named("rows");
    struct engine_change changes[] = {change_put(text("a"), text("one")),
        change_put(text("b"), text("")), change_put(text("c"), text("three")),
        change_remove(text("never there"))};
    struct engine_op op = op_rows(&part, changes, ARRAY_COUNT(changes));
    struct row_list list;

    suite_check_text(suite, &part, "a", NULL);
    suite_commit(suite, 0, &op, 1);
    for (enum restart how = RESTART_NONE; how < RESTARTS; how++) {
        suite_restart(suite, how);
        suite_check_text(suite, &part, "a", "one");
        suite_check_text(suite, &part, "b", "");
        suite_check_text(suite, &part, "c", "three");
        suite_check_text(suite, &part, "never there", NULL);
        suite_check_text(suite, &part, "aa", NULL);
        suite_check_live(suite, 3 * (ROW_OVERHEAD + 1) + 8);
    }
    suite_put_row(suite, &part, "a", "another value");
    suite_remove_row(suite, &part, "b");
    suite_remove_row(suite, &part, "b"); /* again */
    suite_put_row(suite, &part, "c", "");
    suite_remove_row(suite, &part, "c");
    suite_put_row(suite, &part, "c", "back");
    for (enum restart how = RESTART_NONE; how < RESTARTS; how++) {
        suite_restart(suite, how);
        suite_check_text(suite, &part, "a", "another value");
        suite_check_text(suite, &part, "b", NULL);
        suite_check_text(suite, &part, "c", "back");
        list = suite_list_all(suite, &part);
        assert_int_equal(list.count, 2);
        suite_check_live(suite, row_list_live(&list));
        row_list_release(&list);
    }
}

/* Keys that sort and end in every way that bytes can. */
static const struct slice KEYS[] = {
    {"\x00", 1},
    {"\x00\x00", 2},
    {"\x00\xff", 2},
    {"\x01", 1},
    {"X", 1},
    {"X\x00", 2},
    {"X\x00\x00\x00\x01", 5},
    {"X\x00\x00\x00\x02", 5},
    {"X\xff", 2},
    {"X\xff\xff", 3},
    {"X\xff\xff\xff\xff\xff\xff\xff\xff", 9},
    {"Y", 1},
    {"\xfe\xff\xff", 3},
    {"\xff", 1},
    {"\xff\x00", 2},
    {"\xff\xff\xff\xff", 4},
};

static int compare(struct slice a, struct slice b)
{
    size_t common = a.size < b.size ? a.size : b.size;
    int order = common == 0 ? 0 : memcmp(a.data, b.data, common);

    return order != 0 ? order : (a.size > b.size) - (a.size < b.size);
}

static bool is_in(struct slice key, struct slice prefix, struct slice from, bool backwards)
{
    if (key.size < prefix.size ||
        (prefix.size > 0 && memcmp(key.data, prefix.data, prefix.size) != 0))
        return false;
    return from.size == 0 || (backwards ? compare(key, from) <= 0 : compare(key, from) >= 0);
}

static void check_scan(struct suite *suite, const struct partition_id *part, struct slice prefix,
    struct slice from, bool backwards, size_t limit)
{
    struct row_list list = suite_list(suite, part, prefix, from, backwards, limit);
    size_t found = 0;

    for (size_t i = 0; i < ARRAY_COUNT(KEYS) && found < limit; i++) {
        struct slice key = KEYS[backwards ? ARRAY_COUNT(KEYS) - 1 - i : i];

        if (!is_in(key, prefix, from, backwards))
            continue;
        assert_true(found < list.count);
        assert_true(slice_equal(list.rows[found].key, key));
        assert_true(slice_equal(list.rows[found].value, key));
        found++;
    }
    assert_int_equal(found, list.count);
    row_list_release(&list);
}

static void test_scans(void **state)
{
    static const struct slice more[] = {{"", 0}, {"W", 1}, {"X\x00\x00", 3}, {"X\xff\x00", 3},
        {"Z", 1}, {"\xfe", 1}, {"\xff\xff", 2}};
    struct suite *suite = *state;
    struct partition_id part = partition_named("scans"), before = part, after = part;
    struct engine_change changes[ARRAY_COUNT(KEYS)];
    struct slice bounds[ARRAY_COUNT(KEYS) + ARRAY_COUNT(more)];
    struct engine_op ops[3];

    before.bytes[PARTITION_ID_SIZE - 1]--; /* wraps: far away, and full of ff */
    after.bytes[PARTITION_ID_SIZE - 1]++;
    for (size_t i = 0; i < ARRAY_COUNT(KEYS); i++)
        changes[i] = change_put(KEYS[i], KEYS[i]);
    memcpy(bounds, KEYS, sizeof(KEYS));
    memcpy(bounds + ARRAY_COUNT(KEYS), more, sizeof(more));
    ops[0] = op_rows(&part, changes, ARRAY_COUNT(KEYS));
    ops[1] = op_rows(&before, changes, ARRAY_COUNT(KEYS));
    ops[2] = op_rows(&after, changes, ARRAY_COUNT(KEYS));
    suite_check_live(suite, 0);
    suite_commit(suite, 0, ops, 3);
    for (enum restart how = RESTART_NONE; how < RESTARTS; how++) {
        suite_restart(suite, how);
        for (size_t i = 0; i < ARRAY_COUNT(bounds); i++)
            for (size_t j = 0; j < ARRAY_COUNT(bounds); j++)
                for (int backwards = 0; backwards < 2; backwards++) {
                    check_scan(suite, &part, bounds[i], bounds[j], backwards != 0, SIZE_MAX);
                    check_scan(suite, &part, bounds[i], bounds[j], backwards != 0, 2);
                }
    }
}

static void test_partitions_are_apart(void **state)
{
    static const struct partition_id parts[] = {{{0}}, {{0, 1}}, {{[15] = 1}},
        {{'r', 'r', 'r', 'r', 'r', 'r', 'r', 'r', 'r', 'r', 'r', 'r', 'r', 'r', 'r', 'r'}},
        {{255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 254}},
        {{255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255}}};
    enum { COUNT = ARRAY_COUNT(parts), GONE = 3 };
    struct suite *suite = *state;
    struct item items[COUNT];
    struct engine_op drop = op_drop_partition(&parts[GONE]);
    uint64_t live;
    char value[8];

    for (size_t i = 0; i < COUNT; i++) {
        struct engine_op op;

        (void)snprintf(value, sizeof(value), "v%zu", i);
        suite_put_row(suite, &parts[i], "key", value);
        suite_put_row(suite, &parts[i], "key2", value);
        items[i] = item_make(100, i, CONTENT_RANDOM);
        op = op_block(&parts[i], &items[i], 0, 0);
        op.changes = &(struct engine_change){.key = text("b"), .value = text("")};
        op.change_count = 1;
        suite_commit(suite, 0, &op, 1);
    }
    suite_commit(suite, 0, &drop, 1);
    suite_remove_row(suite, &parts[0], "key2");
    for (enum restart how = RESTART_NONE; how < RESTARTS; how++) {
        suite_restart(suite, how);
        live = 0;
        for (size_t i = 0; i < COUNT; i++) {
            struct row_list list = suite_list_all(suite, &parts[i]);

            (void)snprintf(value, sizeof(value), "v%zu", i);
            assert_int_equal(list.count, i == GONE ? 0 : i == 0 ? 2 : 3);
            suite_check_text(suite, &parts[i], "key", i == GONE ? NULL : value);
            assert_int_equal(suite_has_block(suite, &parts[i], 0, 0), i != GONE);
            if (i != GONE)
                live += row_list_live(&list) + suite_check_block(suite, &parts[i], 0, 0, &items[i]);
            row_list_release(&list);
        }
        suite_check_live(suite, live);
    }
    items_free(items, COUNT);
}

static void test_many_rows(void **state)
{
    enum { ROWS_MAX = 100000, KEY = 8 };
    struct suite *suite = *state;
    /* Sorted arrays are slow at this; they need not be tried so hard. */
    const size_t rows = suite->persistent ? ROWS_MAX : ROWS_MAX / 8;
    struct partition_id part = partition_named("many");
    struct engine_change *changes = calloc(rows, sizeof(struct engine_change));
    uint8_t *keys = malloc(rows * KEY);
    struct engine_op op = op_rows(&part, changes, rows);
    struct row_list list;

    invariant(changes != NULL && keys != NULL);
    for (size_t i = 0; i < rows; i++) { /* neither ascending nor descending */
        put_be64(keys + i * KEY, i * 7919 % rows);
        changes[i] = change_put(slice_of(keys + i * KEY, KEY), slice_of(keys + i * KEY, i % KEY));
        changes[i].fresh = i % 2 == 0;
    }
    suite_commit(suite, 0, &op, 1);
    for (enum restart how = RESTART_NONE; how < RESTARTS; how++) {
        suite_restart(suite, how);
        list = suite_list_all(suite, &part);
        assert_int_equal(list.count, rows);
        for (size_t i = 0; i < rows; i++)
            assert_int_equal(get_be64(list.rows[i].key.data), i);
        suite_check_live(suite, row_list_live(&list));
        row_list_release(&list);
    }
    for (size_t i = 0; i < rows; i++) {
        changes[i].remove = i % 10 != 0;
        changes[i].fresh = false;
        changes[i].value = text("new");
    }
    suite_commit(suite, 0, &op, 1);
    for (enum restart how = RESTART_NONE; how < RESTARTS; how++) {
        suite_restart(suite, how);
        list = suite_list_all(suite, &part);
        assert_int_equal(list.count, rows / 10);
        suite_check_live(suite, row_list_live(&list));
        row_list_release(&list);
    }
    op = op_drop_partition(&part);
    suite_commit(suite, 0, &op, 1);
    for (enum restart how = RESTART_NONE; how < RESTARTS; how++) {
        suite_restart(suite, how);
        list = suite_list_all(suite, &part);
        assert_int_equal(list.count, 0);
        suite_check_live(suite, 0);
    }
    free(changes);
    free(keys);
}

static void test_largest_rows(void **state)
{
    struct suite *suite = *state;
    struct partition_id part = partition_named("largest");
    uint8_t *value = content_make(ENGINE_ROW_VALUE_MAX, 1, CONTENT_RANDOM);
    char key[ENGINE_ROW_KEY_MAX + 1];
    struct item item = item_make(3 << 20, 2, CONTENT_RANDOM);
    struct engine_change changes[] = {
        change_put(slice_of(key, ENGINE_ROW_KEY_MAX), slice_of(value, ENGINE_ROW_VALUE_MAX)),
        change_put(text("k"), slice_of(value, ENGINE_ROW_VALUE_MAX - 1))};
    struct engine_op op = op_block(&part, &item, 7, 8);
    struct row_list list;

    memset(key, 'k', ENGINE_ROW_KEY_MAX);
    key[ENGINE_ROW_KEY_MAX] = '\0';
    op.changes = changes;
    op.change_count = ARRAY_COUNT(changes);
    suite_commit(suite, 0, &op, 1);
    for (enum restart how = RESTART_NONE; how < RESTARTS; how++) {
        suite_restart(suite, how);
        list = suite_list(suite, &part, text("k"), slice_of(key, ENGINE_ROW_KEY_MAX), true, 9);
        assert_int_equal(list.count, 2);
        assert_int_equal(list.rows[0].key.size, ENGINE_ROW_KEY_MAX);
        assert_int_equal(list.rows[0].value.size, ENGINE_ROW_VALUE_MAX);
        assert_memory_equal(list.rows[0].value.data, value, ENGINE_ROW_VALUE_MAX);
        assert_int_equal(list.rows[1].value.size, ENGINE_ROW_VALUE_MAX - 1);
        suite_check_live(
            suite, row_list_live(&list) + suite_check_block(suite, &part, 7, 8, &item));
        row_list_release(&list);
    }
    free(value);
    free(item.block);
}

static void test_too_large_a_batch(void **state)
{
    enum { ROWS = 1025 };
    struct suite *suite = *state;
    struct partition_id part = partition_named("huge");
    uint8_t *value = calloc(1, ENGINE_ROW_VALUE_MAX);
    uint8_t keys[ROWS][2];
    struct engine_change *changes = calloc(ROWS, sizeof(struct engine_change));
    struct engine_change small = change_put(text("beside"), text("it"));
    struct engine_op ops[] = {op_rows(&part, changes, ROWS), op_rows(&part, &small, 1)};
    struct engine_op *list[] = {&ops[0], &ops[1]};
    struct error error;

    invariant(value != NULL && changes != NULL);
    if (suite->persistent) { /* memory has no such limit, and too little of itself */
        for (size_t i = 0; i < ROWS; i++) {
            put_be16(keys[i], (uint16_t)i);
            changes[i] = change_put(slice_of(keys[i], 2), slice_of(value, ENGINE_ROW_VALUE_MAX));
        }
        assert_int_equal(suite->engine->ops->commit(suite->engine, 0, list, 2, &error),
            COFFER_CONTENT_TOO_LARGE);
        assert_int_equal(ops[0].status, COFFER_CONTENT_TOO_LARGE);
        assert_int_equal(ops[1].status, COFFER_OK);
        suite_check_text(suite, &part, "beside", "it");
        suite_rebuild(suite);
        suite_check_text(suite, &part, "beside", "it");
    }
    free(changes);
    free(value);
}

/* ---- several batches in one commit ---- */

static void test_one_row_in_one_commit(void **state)
{
    struct suite *suite = *state;
    struct partition_id part = partition_named("group");
    struct engine_change a[] = {
        change_put(text("k"), text("first")), change_put(text("x"), text("1"))};
    struct engine_change b[] = {
        change_put(text("k"), text("second one")), change_remove(text("x"))};
    struct engine_change c[] = {change_remove(text("k")), change_put(text("x"), text("333"))};
    struct engine_change d[] = {
        change_put(text("k"), text("fourth")), change_put(text("y"), text("4"))};
    struct engine_change e[] = {change_put(text("z"), text("")), change_remove(text("old"))};
    struct item item = item_make(3000, 5, CONTENT_TEXT), same = item_make(3000, 5, CONTENT_TEXT);
    struct block_id gone = {.channel = 1, .number = 1};
    struct engine_op ops[7];
    struct row_list list;

    suite_put_row(suite, &part, "k", "zero");
    suite_put_row(suite, &part, "old", "old");
    ops[0] = op_rows(&part, a, 2);
    ops[1] = op_rows(&part, b, 2);
    ops[2] = op_rows(&part, c, 2);
    ops[3] = op_put(&item);
    ops[4] = op_block(&part, &same, 1, 1);
    ops[4].changes = d;
    ops[4].change_count = 2;
    ops[5] = op_rows(&part, e, 2);
    ops[5].drops = &gone;
    ops[5].drop_count = 1;
    ops[6] = op_rows(&part, a, 1);
    suite_commit(suite, 0, ops, ARRAY_COUNT(ops));
    for (enum restart how = RESTART_NONE; how < RESTARTS; how++) {
        suite_restart(suite, how);
        suite_check_text(suite, &part, "k", "first");
        suite_check_text(suite, &part, "x", "333");
        suite_check_text(suite, &part, "y", "4");
        suite_check_text(suite, &part, "z", "");
        suite_check_text(suite, &part, "old", NULL);
        assert_false(suite_has_block(suite, &part, 1, 1));
        suite_check_item(suite, &item);
        list = suite_list_all(suite, &part);
        assert_int_equal(list.count, 4);
        suite_check_live(suite, row_list_live(&list) + (96 + ops[3].stored_size + 7) / 8 * 8);
        row_list_release(&list);
    }
    free(item.block);
    free(same.block);
}

static void test_many_batches_in_one_commit(void **state)
{
    enum { OPS = 500, KEYS_SHARED = 37 };
    struct suite *suite = *state;
    struct partition_id part = partition_named("batches");
    struct engine_change changes[OPS][2];
    char keys[OPS][2][8], values[OPS][16];
    struct engine_op ops[OPS + 1], drop = op_drop_partition(&part);
    struct partition_id other = partition_named("batches2");
    struct row_list list;

    suite_put_row(suite, &other, "gone", "at the end");
    for (size_t i = 0; i < OPS; i++) {
        (void)snprintf(keys[i][0], 8, "s%zu", i % KEYS_SHARED);
        (void)snprintf(keys[i][1], 8, "o%zu", i);
        (void)snprintf(values[i], 16, "%zu", i * i);
        changes[i][0] = change_put(text(keys[i][0]), text(values[i]));
        changes[i][1] = change_put(text(keys[i][1]), text(values[i]));
        changes[i][1].fresh = true;
        ops[i] = op_rows(&part, changes[i], 2);
    }
    ops[OPS] = op_drop_partition(&other);
    suite_commit(suite, 2, ops, OPS + 1);
    for (enum restart how = RESTART_NONE; how < RESTARTS; how++) {
        suite_restart(suite, how);
        for (size_t i = 0; i < OPS; i++) {
            suite_check_text(suite, &part, keys[i][1], values[i]);
            if (i + KEYS_SHARED >= OPS)
                suite_check_text(suite, &part, keys[i][0], values[i]);
        }
        suite_check_text(suite, &other, "gone", NULL);
        list = suite_list_all(suite, &part);
        assert_int_equal(list.count, OPS + KEYS_SHARED);
        suite_check_live(suite, row_list_live(&list));
        row_list_release(&list);
    }
    suite_commit(suite, 2, &drop, 1);
    suite_check_live(suite, 0);
}

/* ---- in parallel ---- */

enum { WRITERS = 3, ROUNDS = 150, PAIR = 12 };

struct writer {
    struct suite *suite;
    unsigned lane;
    atomic_uint *running;
};

static struct partition_id shared_partition(void)
{
    return partition_named("shared");
}

/* All rows of a writer have the same value, whenever they are looked at. */
static void *write_rounds(void *context)
{
    struct writer *writer = context;
    struct partition_id part = shared_partition();
    struct engine *engine = writer->suite->engine;

    for (unsigned round = 1; round <= ROUNDS; round++) {
        struct engine_change changes[PAIR];
        char keys[PAIR][8], value[8];
        struct engine_op op = op_rows(&part, changes, PAIR), *list = &op;

        (void)snprintf(value, sizeof(value), "%u", round);
        for (unsigned i = 0; i < PAIR; i++) {
            (void)snprintf(keys[i], sizeof(keys[i]), "%u/%u", writer->lane, i);
            changes[i] = change_put(text(keys[i]), text(value));
        }
        invariant(engine->ops->commit(engine, writer->lane, &list, 1, NULL) == COFFER_OK);
    }
    atomic_fetch_sub(writer->running, 1);
    return NULL;
}

static void check_whole(struct suite *suite, unsigned lane, bool backwards)
{
    struct partition_id part = shared_partition();
    char prefix[8];
    struct row_list list;

    (void)snprintf(prefix, sizeof(prefix), "%u/", lane);
    list = suite_list(suite, &part, text(prefix), text(""), backwards, SIZE_MAX);
    assert_true(list.count == 0 || list.count == PAIR);
    for (size_t i = 1; i < list.count; i++)
        assert_true(slice_equal(list.rows[i].value, list.rows[0].value));
    row_list_release(&list);
}

static void test_scans_see_whole_batches(void **state)
{
    struct suite *suite = *state;
    struct partition_id part = shared_partition();
    atomic_uint running = WRITERS;
    struct writer writers[WRITERS];
    pthread_t threads[WRITERS];
    struct row_list list;
    char value[8];

    for (unsigned i = 0; i < WRITERS; i++) {
        writers[i] = (struct writer){.suite = suite, .lane = i, .running = &running};
        invariant(pthread_create(&threads[i], NULL, write_rounds, &writers[i]) == 0);
    }
    for (unsigned turn = 0; atomic_load(&running) > 0; turn++)
        check_whole(suite, turn % WRITERS, turn / WRITERS % 2 == 0);
    for (unsigned i = 0; i < WRITERS; i++)
        pthread_join(threads[i], NULL);
    (void)snprintf(value, sizeof(value), "%u", (unsigned)ROUNDS);
    for (enum restart how = RESTART_NONE; how < RESTARTS; how++) {
        suite_restart(suite, how);
        list = suite_list_all(suite, &part);
        assert_int_equal(list.count, WRITERS * PAIR);
        for (size_t i = 0; i < list.count; i++)
            assert_true(slice_equal(list.rows[i].value, text(value)));
        suite_check_live(suite, row_list_live(&list));
        row_list_release(&list);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        CONTRACT(test_rows),
        CONTRACT(test_scans),
        CONTRACT(test_partitions_are_apart),
        CONTRACT(test_many_rows),
        CONTRACT(test_largest_rows),
        CONTRACT(test_too_large_a_batch),
        CONTRACT(test_one_row_in_one_commit),
        CONTRACT(test_many_batches_in_one_commit),
        CONTRACT(test_scans_see_whole_batches),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
