/*
 * Goal: every engine keeps what storage/engine.h promises of the blocks of partitions. Method: as
 * contract_partition_test.c.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "storage/base/invariant.h"
#include "storage/codec/codec.h"
#include "tests/support/partition_suite.h"

static struct slice text(const char *bytes)
{
    return slice_from_text(bytes);
}

static void test_block_sizes(void **state)
{
    static const size_t sizes[] = {0, 1, 7, 8, 9, 849, 850, 5000, 65536, CODEC_FRAME_SIZE,
        CODEC_FRAME_SIZE + 1, 1 << 20, 5 << 20};
    enum { COUNT = ARRAY_COUNT(sizes), FORMS = 4 };
    struct suite *suite = *state;
    struct partition_id part = partition_named("blocks");
    struct item items[COUNT][2];
    uint64_t live;

    for (size_t i = 0; i < COUNT; i++) {
        items[i][0] = item_make(sizes[i], i, CONTENT_TEXT);
        items[i][1] = item_make(sizes[i], i, CONTENT_RANDOM);
        for (size_t form = 0; form < FORMS; form++) {
            const struct item *item = &items[i][form % 2];
            struct engine_op op = op_block(&part, item, (uint32_t)form, i + ((uint64_t)1 << 40));
            struct engine_change change = change_put(text("last"), text("block"));
            bool packed = suite->persistent && form == 0 && sizes[i] >= 850;
            struct engine_row row;

            op.block_codec = form < 2 ? CODEC_ZSTD : CODEC_NONE;
            op.block_level = form == 0 && i % 2 == 0 ? 5 : 0;
            op.changes = &change;
            op.change_count = 1;
            suite_commit(suite, 1, &op, 1);
            assert_int_equal(
                suite->engine->ops->find_block(suite->engine, &part, &op.block, &row, NULL),
                COFFER_OK);
            assert_int_equal(row.codec, packed ? CODEC_ZSTD : CODEC_NONE);
            assert_int_equal(row.stored_size, op.stored_size);
            assert_true(packed ? row.stored_size < row.size : row.stored_size == row.size);
        }
    }
    for (enum restart how = RESTART_NONE; how < RESTARTS; how++) {
        suite_restart(suite, how);
        live = ROW_OVERHEAD + 9;
        for (size_t i = 0; i < COUNT; i++)
            for (size_t form = 0; form < FORMS; form++)
                live += suite_check_block(
                    suite, &part, (uint32_t)form, i + ((uint64_t)1 << 40), &items[i][form % 2]);
        suite_check_live(suite, live);
    }
    assert_false(suite_has_block(suite, &part, 0, 0));
    assert_false(suite_has_block(suite, &part, 99, (uint64_t)1 << 40));
    for (size_t i = 0; i < COUNT; i++)
        items_free(items[i], 2);
}

static void test_staged_blocks(void **state)
{
    enum { COUNT = 6 };
    struct suite *suite = *state;
    struct partition_id part = partition_named("staged"), other = partition_named("other");
    struct item items[COUNT];
    struct engine_op ops[COUNT], claim = op_rows(&part, NULL, 0);
    struct block_id claims[2] = {{1, 0}, {1, 2}}, dropped[3] = {{1, 0}, {1, 3}, {1, 77}};
    struct engine_change change = change_put(text("refers"), text("to it"));
    uint64_t live;

    for (size_t i = 0; i < COUNT; i++) {
        items[i] = item_make(2000 * i, i, CONTENT_RANDOM);
        ops[i] = op_block(i == 4 ? &other : &part, &items[i], 1, i);
    }
    ops[5].changes = &change; /* not staged */
    ops[5].change_count = 1;
    suite_commit(suite, 0, ops, COUNT);
    for (size_t i = 0; i < COUNT; i++) /* readable all the same */
        (void)suite_check_block(suite, &ops[i].partition, 1, i, &items[i]);
    claim.claims = claims;
    claim.claim_count = 2;
    suite_commit(suite, 3, &claim, 1);
    assert_int_equal(
        suite->engine->ops->drop_blocks(suite->engine, &part, dropped, 3, NULL), COFFER_OK);
    assert_false(suite_has_block(suite, &part, 1, 3));
    (void)suite_check_block(suite, &part, 1, 0, &items[0]); /* it was claimed */
    (void)suite_check_block(suite, &other, 1, 4, &items[4]);
    if (!suite->persistent) {
        items_free(items, COUNT);
        return;
    }
    for (enum restart how = RESTART_CRASH; how < RESTARTS; how++) {
        suite_restart(suite, how);
        assert_false(suite_has_block(suite, &part, 1, 1));
        assert_false(suite_has_block(suite, &part, 1, 3));
        assert_false(suite_has_block(suite, &other, 1, 4));
        live = suite_check_block(suite, &part, 1, 0, &items[0]);
        live += suite_check_block(suite, &part, 1, 2, &items[2]);
        live += suite_check_block(suite, &part, 1, 5, &items[5]);
        suite_check_live(suite, live + ROW_OVERHEAD + change.key.size + change.value.size);
    }
    items_free(items, COUNT);
}

static void test_more_staged_blocks_than_are_dropped_at_once(void **state)
{
    enum { COUNT = 550 };
    struct suite *suite = *state;
    struct partition_id part = partition_named("staged");
    struct item items[COUNT];
    struct engine_op ops[COUNT];

    for (size_t i = 0; i < COUNT; i++) {
        items[i] = item_make(300, i, CONTENT_RANDOM);
        ops[i] = op_block(&part, &items[i], 1, i);
    }
    suite_commit(suite, 0, ops, COUNT);
    suite_reopen(suite);
    for (size_t i = 0; i < COUNT; i++)
        assert_int_equal(suite_has_block(suite, &part, 1, i), !suite->persistent);
    suite_check_live(suite, 0);
    items_free(items, COUNT);
}

static void test_a_batch_is_one_change(void **state)
{
    struct suite *suite = *state;
    struct partition_id part = partition_named("one");
    struct item items[] = {item_make(400, 1, CONTENT_RANDOM), item_make(70000, 2, CONTENT_TEXT),
        item_make(90000, 3, CONTENT_RANDOM)};
    struct engine_change first[] = {
        change_put(text("keep"), text("k")), change_put(text("gone"), text("g"))};
    struct engine_change second[] = {
        change_put(text("new"), text("n")), change_remove(text("gone"))};
    struct engine_op ops[] = {op_block(&part, &items[0], 1, 1), op_block(&part, &items[1], 1, 2)};
    struct engine_op last = op_block(&part, &items[2], 1, 3);
    struct block_id claims[] = {{1, 2}}, drops[] = {{1, 1}};
    struct row_list list;
    uint64_t live;

    ops[0].changes = first;
    ops[0].change_count = 2;
    suite_commit(suite, 0, ops, 2);
    last.changes = second;
    last.change_count = 2;
    last.claims = claims;
    last.claim_count = 1;
    last.drops = drops;
    last.drop_count = 1;
    suite_commit(suite, 1, &last, 1);
    for (enum restart how = RESTART_NONE; how < RESTARTS; how++) {
        suite_restart(suite, how);
        assert_false(suite_has_block(suite, &part, 1, 1));
        live = suite_check_block(suite, &part, 1, 2, &items[1]);
        live += suite_check_block(suite, &part, 1, 3, &items[2]);
        list = suite_list_all(suite, &part);
        assert_int_equal(list.count, 2);
        suite_check_text(suite, &part, "keep", "k");
        suite_check_text(suite, &part, "new", "n");
        suite_check_live(suite, live + row_list_live(&list));
        row_list_release(&list);
    }
    items_free(items, ARRAY_COUNT(items));
}

static void test_pinned_block_outlives_its_partition(void **state)
{
    struct suite *suite = *state;
    struct partition_id part = partition_named("pinned");
    struct item item = item_make(5000, 3, CONTENT_RANDOM);
    struct engine_op op = op_block(&part, &item, 1, 1);
    struct engine_source source;
    struct engine_row row;

    suite_commit(suite, 0, &op, 1);
    assert_int_equal(
        suite->engine->ops->find_block(suite->engine, &part, &op.block, &row, NULL), COFFER_OK);
    assert_int_equal(suite->engine->ops->pin(suite->engine, &row, &source, NULL), COFFER_OK);
    op = op_drop_partition(&part);
    suite_commit(suite, 0, &op, 1);
    assert_false(suite_has_block(suite, &part, 1, 1));
    item_check_pinned(&row, &source, &item);
    suite->engine->ops->unpin(suite->engine, &source);
    free(item.block);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        CONTRACT(test_block_sizes),
        CONTRACT(test_staged_blocks),
        CONTRACT(test_more_staged_blocks_than_are_dropped_at_once),
        CONTRACT(test_a_batch_is_one_change),
        CONTRACT(test_pinned_block_outlives_its_partition),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
