/*
 * Goal: every engine keeps the promise of storage/engine.h. Method: one suite of operations, run
 * through struct engine against each of them, with a check of every row and every byte; where an
 * engine can be reopened, each test also looks at what is there after that.
 */
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "storage/base/invariant.h"
#include "storage/codec/codec.h"
#include "storage/engine.h"
#include "tests/support/engine_suite.h"

/* ---- the promises ---- */

static void test_sizes(void **state)
{
    static const size_t sizes[] = {0, 1, 7, 8, 9, 95, 96, 97, 849, 850, 851, 4095, 4096, 4097,
        65535, 65536, 65537, CODEC_FRAME_SIZE - 1, CODEC_FRAME_SIZE, CODEC_FRAME_SIZE + 1, 1 << 20};
    struct suite *suite = *state;
    struct item items[2 * ARRAY_COUNT(sizes)];
    size_t count = 0;

    for (size_t i = 0; i < ARRAY_COUNT(sizes); i++) {
        items[count++] = item_make(sizes[i], i + 1, CONTENT_RANDOM);
        if (sizes[i] > 8) /* else it may be the same content */
            items[count++] = item_make(sizes[i], i + 1, CONTENT_TEXT);
    }
    for (size_t i = 0; i < count; i++) {
        assert_false(suite_has(suite, &items[i].key));
        suite_put(suite, &items[i]);
        suite_check_item(suite, &items[i]);
    }
    assert_int_equal(suite_status(suite).chunks, count);
    suite_reopen(suite);
    assert_int_equal(suite_status(suite).chunks, count);
    for (size_t i = 0; i < count; i++)
        suite_check_item(suite, &items[i]);
    items_free(items, count);
}

static void test_compression_is_used_when_it_helps(void **state)
{
    struct suite *suite = *state;
    struct item items[] = {item_make(50000, 1, CONTENT_TEXT), item_make(50000, 1, CONTENT_RANDOM),
        item_make(849, 1, CONTENT_TEXT), item_make(851, 1, CONTENT_TEXT)};
    enum codec wanted = suite->persistent ? CODEC_ZSTD : CODEC_NONE;
    struct engine_row row;

    for (size_t i = 0; i < ARRAY_COUNT(items); i++) {
        struct engine_op op = op_put(&items[i]);

        suite_commit(suite, 0, &op, 1);
        assert_int_equal(
            suite->engine->ops->find(suite->engine, &items[i].key, &row, NULL), COFFER_OK);
        assert_int_equal(row.codec, i == 0 || i == 3 ? wanted : CODEC_NONE);
        assert_int_equal(row.stored_size, op.stored_size);
        assert_true(
            row.codec == CODEC_NONE ? row.stored_size == row.size : row.stored_size < row.size / 2);
        suite_check_item(suite, &items[i]);
    }
    items_free(items, ARRAY_COUNT(items));
}

static void test_scan_in_pages(void **state)
{
    enum { COUNT = 257, PAGE = 10 };
    struct suite *suite = *state;
    struct item items[COUNT];
    struct digest keys[COUNT + 1], last = {{0}};
    struct engine_row rows[COUNT + 1];
    struct engine_op ops[COUNT];
    size_t found, total = 0;

    for (size_t i = 0; i < COUNT; i++) {
        items[i] = item_make(20 + i, i, CONTENT_RANDOM);
        ops[i] = op_put(&items[i]);
    }
    assert_int_equal(
        suite->engine->ops->scan(suite->engine, NULL, keys, rows, PAGE, &found, NULL), COFFER_OK);
    assert_int_equal(found, 0);
    suite_commit(suite, 0, ops, COUNT);
    suite_reopen(suite);
    do {
        assert_int_equal(suite->engine->ops->scan(suite->engine, total == 0 ? NULL : &last, keys,
                             rows, PAGE, &found, NULL),
            COFFER_OK);
        for (size_t i = 0; i < found; i++) {
            assert_true(total == 0 || digest_compare(&last, &keys[i]) < 0);
            last = keys[i];
            total++;
        }
    } while (found == PAGE);
    assert_int_equal(total, COUNT);
    assert_int_equal(
        suite->engine->ops->scan(suite->engine, &last, keys, rows, PAGE, &found, NULL), COFFER_OK);
    assert_int_equal(found, 0);
    assert_int_equal(
        suite->engine->ops->scan(suite->engine, NULL, keys, rows, COUNT + 1, &found, NULL),
        COFFER_OK);
    assert_int_equal(found, COUNT);
    for (size_t i = 0; i < COUNT; i++) /* each row belongs to its key */
        for (size_t j = 0; j < COUNT; j++)
            if (digest_equal(&keys[i], &items[j].key))
                suite_check_row(suite, &rows[i], &items[j]);
    items_free(items, COUNT);
}

static void test_delete(void **state)
{
    enum { COUNT = 12 };
    struct suite *suite = *state;
    struct item items[COUNT];
    struct digest keys[4];

    for (size_t i = 0; i < COUNT; i++) {
        items[i] = item_make(1000 + i, i, CONTENT_TEXT);
        suite_put(suite, &items[i]);
    }
    assert_int_equal(suite_delete(suite, &items[0].key, 1), 1);
    assert_int_equal(suite_delete(suite, &items[0].key, 1), 0); /* again */
    keys[0] = items[1].key;
    keys[1] = items[0].key; /* missing */
    keys[2] = items[2].key;
    keys[3] = content_key("never stored", 12);
    assert_int_equal(suite_delete(suite, keys, 4), 2);
    assert_int_equal(suite_status(suite).chunks, COUNT - 3);
    suite_reopen(suite);
    assert_int_equal(suite_status(suite).chunks, COUNT - 3);
    for (size_t i = 0; i < COUNT; i++)
        assert_int_equal(suite_has(suite, &items[i].key), i >= 3);
    suite_put(suite, &items[1]); /* and back again */
    suite_check_item(suite, &items[1]);
    suite_reopen(suite);
    suite_check_item(suite, &items[1]);
    assert_int_equal(suite_status(suite).chunks, COUNT - 2);
    items_free(items, COUNT);
}

static void test_pinned_content_outlives_its_deletion(void **state)
{
    struct suite *suite = *state;
    struct item item = item_make(5000, 3, CONTENT_RANDOM);
    struct engine_source source;
    struct engine_row row;

    suite_put(suite, &item);
    assert_int_equal(suite->engine->ops->find(suite->engine, &item.key, &row, NULL), COFFER_OK);
    assert_int_equal(suite->engine->ops->pin(suite->engine, &row, &source, NULL), COFFER_OK);
    assert_int_equal(suite_delete(suite, &item.key, 1), 1);
    item_check_pinned(&row, &source, &item);
    suite->engine->ops->unpin(suite->engine, &source);
    free(item.block);
}

/* Segments 0 .. count - 1, the last of them short. */
static struct digest put_segmented(struct suite *suite, const struct upload_id *upload,
    struct item *segments, size_t count, bool replace)
{
    struct engine_op ops[8], manifest = {.kind = ENGINE_MANIFEST,
                                 .upload = *upload,
                                 .segment_size = SEGMENT_SIZE,
                                 .replace = replace};

    for (size_t i = 0; i < count; i++) {
        segments[i] = item_make(i + 1 < count ? SEGMENT_SIZE : 777, 100 + i,
            i % 2 == 0 ? CONTENT_TEXT : CONTENT_RANDOM);
        ops[i] = op_segment(&segments[i], upload, i);
    }
    suite_commit(suite, 1, ops, count);
    for (size_t i = 0; i < count; i++) {
        manifest.size += segments[i].size;
        manifest.stored_size += ops[i].stored_size;
    }
    manifest.key = content_key("the whole", 9); /* an engine does not look into it */
    suite_commit(suite, 1, &manifest, 1);
    return manifest.key;
}

static void check_segmented(struct suite *suite, const struct digest *key,
    const struct upload_id *upload, const struct item *segments, size_t count)
{
    struct engine_row row;

    assert_int_equal(suite->engine->ops->find(suite->engine, key, &row, NULL), COFFER_OK);
    assert_true(row.segmented);
    assert_int_equal(row.size, (count - 1) * SEGMENT_SIZE + 777);
    assert_int_equal(row.segment_size, SEGMENT_SIZE);
    assert_memory_equal(&row.upload, upload, sizeof(*upload));
    for (size_t i = 0; i < count; i++) {
        assert_int_equal(
            suite->engine->ops->find_segment(suite->engine, upload, i, &row, NULL), COFFER_OK);
        suite_check_row(suite, &row, &segments[i]);
    }
    assert_int_equal(suite->engine->ops->find_segment(suite->engine, upload, count, &row, NULL),
        COFFER_NO_SUCH_CHUNK);
}

static void test_segments_and_manifest(void **state)
{
    enum { COUNT = 4 };
    struct suite *suite = *state;
    struct upload_id upload = {"upload-one"};
    struct item segments[COUNT];
    struct engine_row row;
    struct digest key = put_segmented(suite, &upload, segments, COUNT, false);

    assert_int_equal(suite_status(suite).chunks, 1);
    check_segmented(suite, &key, &upload, segments, COUNT);
    suite_reopen(suite);
    check_segmented(suite, &key, &upload, segments, COUNT);
    assert_int_equal(suite_delete(suite, &key, 1), 1);
    suite_reopen(suite);
    assert_false(suite_has(suite, &key));
    for (uint64_t i = 0; i < COUNT; i++)
        assert_int_equal(suite->engine->ops->find_segment(suite->engine, &upload, i, &row, NULL),
            COFFER_NO_SUCH_CHUNK);
    items_free(segments, COUNT);
}

static void test_unfinished_uploads_are_forgotten(void **state)
{
    struct suite *suite = *state;
    struct upload_id dropped = {"dropped"}, left = {"left"};
    struct item item = item_make(SEGMENT_SIZE, 1, CONTENT_RANDOM);
    struct engine_op ops[] = {op_segment(&item, &dropped, 0), op_segment(&item, &dropped, 1),
        op_segment(&item, &left, 0)};
    uint64_t live = suite_status(suite).live_bytes;
    struct engine_row row;

    suite_commit(suite, 0, ops, ARRAY_COUNT(ops));
    assert_int_equal(suite_status(suite).chunks, 0);
    assert_int_equal(suite->engine->ops->drop_upload(suite->engine, &dropped, 2, NULL), COFFER_OK);
    for (uint64_t i = 0; i < 2; i++)
        assert_int_equal(suite->engine->ops->find_segment(suite->engine, &dropped, i, &row, NULL),
            COFFER_NO_SUCH_CHUNK);
    assert_int_equal(
        suite->engine->ops->find_segment(suite->engine, &left, 0, &row, NULL), COFFER_OK);
    suite_reopen(suite);
    if (suite->persistent) { /* whose upload can have no manifest any more */
        assert_int_equal(suite->engine->ops->find_segment(suite->engine, &left, 0, &row, NULL),
            COFFER_NO_SUCH_CHUNK);
        assert_int_equal(suite_status(suite).live_bytes, live);
    }
    free(item.block);
}

static void test_replace(void **state)
{
    enum { COUNT = 3 };
    struct suite *suite = *state;
    struct item item = item_make(3000, 5, CONTENT_RANDOM), segments[COUNT], again[COUNT];
    struct engine_op op = op_put(&item);
    struct upload_id first = {"first"}, second = {"second"};
    struct engine_row old, row;
    struct digest key;

    suite_put(suite, &item);
    assert_int_equal(suite->engine->ops->find(suite->engine, &item.key, &old, NULL), COFFER_OK);
    op.replace = true;
    suite_commit(suite, 2, &op, 1);
    assert_int_equal(suite->engine->ops->find(suite->engine, &item.key, &row, NULL), COFFER_OK);
    assert_true(row.lsn > old.lsn);
    suite_check_item(suite, &item);
    key = put_segmented(suite, &first, segments, COUNT, false);
    assert_true(digest_equal(&key, &(struct digest){0}) == false);
    (void)put_segmented(suite, &second, again, COUNT, true);
    check_segmented(suite, &key, &second, again, COUNT);
    assert_int_equal(suite->engine->ops->find_segment(suite->engine, &first, 0, &row, NULL),
        COFFER_NO_SUCH_CHUNK);
    assert_int_equal(suite_status(suite).chunks, 2);
    suite_reopen(suite);
    suite_check_item(suite, &item);
    check_segmented(suite, &key, &second, again, COUNT);
    assert_int_equal(suite_status(suite).chunks, 2);
    items_free(segments, COUNT);
    items_free(again, COUNT);
    free(item.block);
}

static void test_mixed_batch(void **state)
{
    enum { PUTS = 40 };
    struct suite *suite = *state;
    struct item items[PUTS], old = item_make(100, 999, CONTENT_RANDOM),
                             segment = item_make(SEGMENT_SIZE, 1, CONTENT_TEXT);
    struct upload_id upload = {"mixed"};
    struct digest gone[2] = {old.key, content_key("no", 2)};
    struct engine_op ops[PUTS + 2];

    suite_put(suite, &old);
    for (size_t i = 0; i < PUTS; i++) {
        items[i] = item_make(i * 137, 50 + i, i % 3 == 0 ? CONTENT_TEXT : CONTENT_RANDOM);
        ops[i] = op_put(&items[i]);
    }
    ops[PUTS] = ops[7];
    ops[7] = op_delete(gone, 2);
    ops[PUTS + 1] = op_segment(&segment, &upload, 0);
    suite_commit(suite, 3, ops, PUTS + 2);
    assert_int_equal(ops[7].deleted, 1);
    assert_false(suite_has(suite, &old.key));
    for (size_t i = 0; i < PUTS; i++)
        suite_check_item(suite, &items[i]);
    suite_reopen(suite);
    assert_false(suite_has(suite, &old.key));
    for (size_t i = 0; i < PUTS; i++)
        suite_check_item(suite, &items[i]);
    assert_int_equal(suite_status(suite).chunks, PUTS);
    items_free(items, PUTS);
    free(old.block);
    free(segment.block);
}

static void test_status_adds_up(void **state)
{
    enum { COUNT = 30 };
    struct suite *suite = *state;
    struct item items[COUNT];
    struct digest keys[COUNT];
    struct engine_status before, status;

    for (size_t i = 0; i < COUNT; i++) {
        items[i] = item_make(60000, i, CONTENT_RANDOM);
        keys[i] = items[i].key;
        suite_put(suite, &items[i]);
    }
    before = suite_status(suite);
    assert_true(before.live_bytes >= COUNT * 60000 && before.live_bytes <= before.used_space);
    assert_int_equal(suite_delete(suite, keys, COUNT / 2), COUNT / 2);
    status = suite_status(suite);
    assert_true(status.live_bytes <= before.live_bytes - COUNT / 2 * 60000);
    assert_true(status.live_bytes + status.dead_bytes <= status.used_space);
    assert_int_equal(status.damaged_records, 0);
    suite_reopen(suite);
    assert_int_equal(suite_status(suite).live_bytes, status.live_bytes);
    assert_int_equal(suite_status(suite).dead_bytes, status.dead_bytes);
    if (suite->persistent) {
        struct engine_pack packs[16];
        size_t count = suite->engine->ops->packs(suite->engine, 0, packs, 16);
        uint64_t live = 0, dead = 0, used = 0;

        assert_true(count >= 2 && count == status.packs);
        for (size_t i = 0; i < count; i++) {
            live += packs[i].live_bytes;
            dead += packs[i].dead_bytes;
            used += packs[i].bytes;
        }
        assert_int_equal(live, status.live_bytes);
        assert_int_equal(dead, status.dead_bytes);
        assert_int_equal(used, status.used_space);
        assert_string_equal(packs[0].state, "sealed");
        assert_int_equal(
            suite->engine->ops->packs(suite->engine, packs[0].id, packs, 16), count - 1);
    }
    items_free(items, COUNT);
}

/* ---- lanes in parallel ---- */

enum { ROUNDS = 12, ITEMS_A_ROUND = 10 };

struct lane_job {
    struct suite *suite;
    unsigned lane;
    struct item items[ROUNDS * ITEMS_A_ROUND];
};

static void *run_lane(void *context)
{
    struct lane_job *job = context;
    struct engine *engine = job->suite->engine;

    for (size_t round = 0; round < ROUNDS; round++) {
        struct item *items = job->items + round * ITEMS_A_ROUND;
        struct engine_op ops[ITEMS_A_ROUND + 1], *list[ITEMS_A_ROUND + 1];
        size_t count = ITEMS_A_ROUND;

        for (size_t i = 0; i < ITEMS_A_ROUND; i++) {
            items[i] = item_make(500 * i + 40, job->lane * 10000 + round * 100 + i, CONTENT_TEXT);
            ops[i] = op_put(&items[i]);
        }
        if (round > 0) /* the first of the round before */
            ops[count++] = op_delete(&items[-ITEMS_A_ROUND].key, 1);
        for (size_t i = 0; i < count; i++)
            list[i] = &ops[i];
        invariant(engine->ops->commit(engine, job->lane, list, count, NULL) == COFFER_OK);
        if (round % 4 == 3)
            engine->ops->lane_idle(engine, job->lane); /* others may go on with its pack */
    }
    return NULL;
}

static void test_lanes_in_parallel(void **state)
{
    struct suite *suite = *state;
    struct lane_job *jobs = calloc(LANES, sizeof(struct lane_job));
    pthread_t threads[LANES];
    uint64_t chunks = LANES * (ROUNDS * ITEMS_A_ROUND - (ROUNDS - 1));

    invariant(jobs != NULL);
    for (unsigned i = 0; i < LANES; i++) {
        jobs[i].suite = suite;
        jobs[i].lane = i;
        invariant(pthread_create(&threads[i], NULL, run_lane, &jobs[i]) == 0);
    }
    for (unsigned i = 0; i < LANES; i++)
        pthread_join(threads[i], NULL);
    for (int pass = 0; pass < 2; pass++) {
        assert_int_equal(suite_status(suite).chunks, chunks);
        for (unsigned i = 0; i < LANES; i++)
            for (size_t j = 0; j < ROUNDS * ITEMS_A_ROUND; j++)
                if (j % ITEMS_A_ROUND == 0 && j / ITEMS_A_ROUND + 1 < ROUNDS)
                    assert_false(suite_has(suite, &jobs[i].items[j].key));
                else
                    suite_check_item(suite, &jobs[i].items[j]);
        suite_reopen(suite);
    }
    for (unsigned i = 0; i < LANES; i++)
        items_free(jobs[i].items, ROUNDS * ITEMS_A_ROUND);
    free(jobs);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        CONTRACT(test_sizes),
        CONTRACT(test_compression_is_used_when_it_helps),
        CONTRACT(test_scan_in_pages),
        CONTRACT(test_delete),
        CONTRACT(test_pinned_content_outlives_its_deletion),
        CONTRACT(test_segments_and_manifest),
        CONTRACT(test_unfinished_uploads_are_forgotten),
        CONTRACT(test_replace),
        CONTRACT(test_mixed_batch),
        CONTRACT(test_status_adds_up),
        CONTRACT(test_lanes_in_parallel),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
