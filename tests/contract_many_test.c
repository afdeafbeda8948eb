/*
 * Goal: every engine keeps its promise for thousands of keys at once. Method: as contract_test.c,
 * with lookups and deletions of more keys than are handled in one go.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include <cmocka.h>

#include "storage/base/invariant.h"
#include "storage/engine.h"
#include "tests/support/engine_suite.h"

/* Small things under keys of their own, which ascend; the caller frees them. */
static struct item *put_many(struct suite *suite, struct digest *keys, size_t count)
{
    struct item *items = calloc(count, sizeof(*items));
    struct engine_op *ops = calloc(count, sizeof(*ops));

    invariant(items != NULL && ops != NULL);
    for (size_t i = 0; i < count; i++) {
        items[i] = item_make(i % 50, i, CONTENT_RANDOM);
        memset(&items[i].key, 0, sizeof(items[i].key));
        items[i].key.bytes[0] = (uint8_t)(i >> 8);
        items[i].key.bytes[1] = (uint8_t)i;
        keys[i] = items[i].key;
        ops[i] = op_put(&items[i]);
    }
    for (size_t i = 0; i < count; i += OPS_MAX)
        suite_commit(suite, 0, ops + i, count - i < OPS_MAX ? count - i : OPS_MAX);
    free(ops);
    return items;
}

static void free_many(struct item *items, size_t count)
{
    items_free(items, count);
    free(items);
}

/* Whether find_many() says of all keys, in this order, what find() says of each. */
static void check_find_many(struct suite *suite, const struct digest *keys, size_t count)
{
    struct engine_row *rows = calloc(count + 1, sizeof(*rows)), row;
    bool *found = calloc(count + 1, sizeof(*found)), *only = calloc(count + 1, sizeof(*only));

    invariant(rows != NULL && found != NULL && only != NULL);
    assert_int_equal(
        suite->engine->ops->find_many(suite->engine, keys, count, rows, found, NULL), COFFER_OK);
    assert_int_equal(
        suite->engine->ops->find_many(suite->engine, keys, count, NULL, only, NULL), COFFER_OK);
    for (size_t i = 0; i < count; i++) {
        enum coffer_status status = suite->engine->ops->find(suite->engine, &keys[i], &row, NULL);

        assert_int_equal(found[i], status == COFFER_OK);
        assert_int_equal(only[i], found[i]);
        if (found[i]) {
            assert_int_equal(rows[i].lsn, row.lsn);
            assert_int_equal(rows[i].offset, row.offset);
            assert_int_equal(rows[i].size, row.size);
            assert_int_equal(rows[i].checksum, row.checksum);
        }
    }
    free(rows);
    free(found);
    free(only);
}

static void test_find_many(void **state)
{
    enum { COUNT = 1000, ASKED = 3 * COUNT };
    struct suite *suite = *state;
    struct digest stored[COUNT], asked[ASKED];
    struct item *items = put_many(suite, stored, COUNT);
    uint64_t random = 99;

    assert_int_equal(suite_delete(suite, stored + 500, 100), 100);
    for (int pass = 0; pass < 2; pass++) {
        check_find_many(suite, stored, 0);
        check_find_many(suite, stored, 1);
        for (size_t i = 0; i < ASKED; i++) { /* ascending, with missing ones and some twice */
            asked[i] = stored[i / 3];
            asked[i].bytes[31] = i % 3 == 1;
        }
        check_find_many(suite, asked, ASKED);
        for (size_t i = 0; i < ASKED; i++)
            asked[i] =
                i % 7 == 0 ? content_key(&i, sizeof(i)) : stored[random_below(&random, COUNT)];
        check_find_many(suite, asked, ASKED);
        suite_reopen(suite);
        if (!suite->persistent)
            break;
    }
    free_many(items, COUNT);
}

/* More keys than are written with one call, among other operations of the same commit. */
static void test_delete_very_many(void **state)
{
    enum { STORED = 12000, UNKNOWN = 30000, KEPT = 100 };
    struct suite *suite = *state;
    struct digest *stored = calloc(STORED, sizeof(*stored));
    struct item *items = put_many(suite, stored, STORED);
    struct item first = item_make(1000, 70001, CONTENT_TEXT),
                last = item_make(900, 70002, CONTENT_TEXT);
    struct spill *gone = spill_create(DIGEST_SIZE, (struct spill_place){0});
    struct engine_op ops[3] = {op_put(&first), {.kind = ENGINE_DELETE}, op_put(&last)};

    invariant(stored != NULL);
    for (size_t i = 0; i < STORED + UNKNOWN; i++) {
        struct digest key = i < STORED ? stored[i] : content_key(&i, sizeof(i));

        if (i >= KEPT)
            assert_int_equal(spill_append(gone, &key, 1, NULL), COFFER_OK);
    }
    for (size_t i = 0; i < STORED; i += 97) /* so that they are in every cache there is */
        assert_true(suite_has(suite, &stored[i]));
    ops[1].keys = key_source_spill(gone);
    suite_commit(suite, 0, ops, 3);
    assert_int_equal(ops[1].deleted, STORED - KEPT);
    suite_put(suite, &items[STORED - 1]); /* and back again */
    for (int pass = 0; pass < 2; pass++) {
        struct engine_status status = suite_status(suite);

        assert_int_equal(status.chunks, KEPT + 3);
        assert_int_equal(status.damaged_records, 0);
        for (size_t i = 0; i < STORED; i++)
            assert_int_equal(suite_has(suite, &stored[i]), i < KEPT || i == STORED - 1);
        suite_check_item(suite, &first);
        suite_check_item(suite, &last);
        suite_reopen(suite);
    }
    spill_destroy(gone);
    free(first.block);
    free(last.block);
    free_many(items, STORED);
    free(stored);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        CONTRACT(test_find_many),
        CONTRACT(test_delete_very_many),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
