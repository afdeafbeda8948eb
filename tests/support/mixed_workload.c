#include "tests/support/mixed_workload.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "storage/base/bytes.h"
#include "storage/base/invariant.h"
#include "storage/pack/pack_format.h"

enum { GROUP_MAX = 6, BLOCK_SIZE_MAX = 40000, DELETED_MAX = 6, PARTS = 3 };

static struct suite *const *engines_of(struct mixed *mixed)
{
    return &mixed->local; /* and memory, side by side */
}

void mixed_init(struct mixed *mixed, uint64_t seed)
{
    void *local, *memory;

    memset(mixed, 0, sizeof(*mixed));
    (void)suite_set_up_local(&local);
    (void)suite_set_up_memory(&memory);
    mixed->local = local;
    mixed->memory = memory;
    mixed->workload = workload_create(seed, GROUP_MAX, BLOCK_SIZE_MAX);
    mixed->lanes = LANES;
}

void mixed_release(struct mixed *mixed)
{
    void *local = mixed->local, *memory = mixed->memory;

    workload_destroy(mixed->workload);
    (void)suite_tear_down(&local);
    (void)suite_tear_down(&memory);
}

static unsigned below(struct mixed *mixed, unsigned limit)
{
    return workload_below(mixed->workload, limit);
}

/* ---- chunks ---- */

static bool is_segmented(unsigned number)
{
    return number % 10 == 9;
}

/* A whole chunk, or one segment of one. */
static struct item content_of(unsigned number, unsigned segment)
{
    static const size_t sizes[] = {0, 1, 90, 900, 3000, 30000, 7, 60000, 500, 2000};
    size_t size = is_segmented(number) ? (segment + 1 < PARTS ? SEGMENT_SIZE : 777)
                                       : sizes[number % ARRAY_COUNT(sizes)] + number;

    return item_make(
        size, number * 16 + segment + 1, number / 10 % 2 == 0 ? CONTENT_TEXT : CONTENT_RANDOM);
}

static void put_whole(struct mixed *mixed, unsigned number, unsigned lane)
{
    struct item item = content_of(number, 0);

    mixed->keys[number] = item.key;
    for (size_t i = 0; i < 2; i++) {
        struct engine_op op = op_put(&item);

        op.replace = mixed->there[number]; /* as if it were damaged */
        suite_commit(engines_of(mixed)[i], lane, &op, 1);
    }
    items_free(&item, 1);
}

static struct upload_id upload_of(uint64_t number)
{
    struct upload_id upload = {"upload"};

    put_be64(upload.bytes + 8, number);
    return upload;
}

static uint64_t put_segments(struct mixed *mixed, struct suite *suite, unsigned number,
    const struct upload_id *upload, unsigned count)
{
    uint64_t stored = 0;

    for (unsigned i = 0; i < count; i++) {
        struct item item = content_of(number, i);
        struct engine_op op = op_segment(&item, upload, i);

        suite_commit(suite, (number + i) % mixed->lanes, &op, 1);
        stored += op.stored_size;
        items_free(&item, 1);
    }
    return stored;
}

static void put_segmented(struct mixed *mixed, unsigned number, unsigned lane)
{
    struct upload_id upload = upload_of(mixed->uploads++);
    struct engine_op manifest = {.kind = ENGINE_MANIFEST,
        .size = (PARTS - 1) * SEGMENT_SIZE + 777,
        .segment_size = SEGMENT_SIZE,
        .replace = mixed->there[number],
        .upload = upload};

    manifest.key = content_key(&number, sizeof(number));
    mixed->keys[number] = manifest.key;
    for (size_t i = 0; i < 2; i++) {
        struct engine_op op = manifest;

        op.stored_size = put_segments(mixed, engines_of(mixed)[i], number, &upload, PARTS);
        suite_commit(engines_of(mixed)[i], lane, &op, 1);
    }
}

static void do_put(struct mixed *mixed)
{
    unsigned number = below(mixed, MIXED_CHUNKS), lane = below(mixed, mixed->lanes);

    if (mixed->there[number] && below(mixed, 4) > 0)
        return;
    if (is_segmented(number))
        put_segmented(mixed, number, lane);
    else
        put_whole(mixed, number, lane);
    mixed->there[number] = true;
}

/* Begin an upload that nobody ends, or drop one. */
static void do_upload(struct mixed *mixed)
{
    struct upload_id upload = upload_of(mixed->uploads++);

    if (mixed->unfinished_count == ARRAY_COUNT(mixed->unfinished)) {
        upload = mixed->unfinished[--mixed->unfinished_count];
        for (size_t i = 0; i < 2; i++)
            assert_int_equal(engines_of(mixed)[i]->engine->ops->drop_upload(
                                 engines_of(mixed)[i]->engine, &upload, 2, NULL),
                COFFER_OK);
        return;
    }
    for (size_t i = 0; i < 2; i++)
        (void)put_segments(mixed, engines_of(mixed)[i], 9, &upload, 2);
    mixed->unfinished[mixed->unfinished_count++] = upload;
}

static void do_delete(struct mixed *mixed)
{
    struct digest keys[DELETED_MAX];
    unsigned count = 1 + below(mixed, DELETED_MAX), start = below(mixed, MIXED_CHUNKS);
    uint64_t wanted = 0;

    for (unsigned i = 0; i < count; i++) {
        unsigned number = (start + i) % MIXED_CHUNKS;

        keys[i] = mixed->keys[number];
        wanted += mixed->there[number];
        mixed->there[number] = false;
    }
    for (size_t i = 0; i < 2; i++) {
        struct engine_op op = op_delete(keys, count);

        suite_commit(engines_of(mixed)[i], below(mixed, mixed->lanes), &op, 1);
        assert_int_equal(op.deleted, wanted);
    }
}

static void do_group(struct mixed *mixed)
{
    struct workload_group *group = workload_make(mixed->workload, mixed->memory);
    unsigned lane = below(mixed, mixed->lanes);

    assert_int_equal(workload_commit(group, mixed->memory, lane), COFFER_OK);
    assert_int_equal(workload_commit(group, mixed->local, lane), COFFER_OK);
    workload_settle(mixed->workload, group);
    workload_group_free(group);
    if (below(mixed, 8) == 0)
        mixed->local->engine->ops->lane_idle(mixed->local->engine, lane);
}

void mixed_step(struct mixed *mixed)
{
    unsigned choice = below(mixed, 100);

    if (choice < 45)
        do_group(mixed);
    else if (choice < 80)
        do_put(mixed);
    else if (choice < 83)
        do_upload(mixed);
    else
        do_delete(mixed);
}

void mixed_restarted(struct mixed *mixed)
{
    workload_restart(mixed->workload, &mixed->memory, 1);
    for (size_t i = 0; i < mixed->unfinished_count; i++)
        assert_int_equal(mixed->memory->engine->ops->drop_upload(
                             mixed->memory->engine, &mixed->unfinished[i], 2, NULL),
            COFFER_OK);
    mixed->unfinished_count = 0;
}

/* ---- checking ---- */

static uint64_t check_segments(
    struct mixed *mixed, const struct upload_id *upload, unsigned number, unsigned count)
{
    struct engine *engine = mixed->local->engine;
    uint64_t live = 0;

    for (unsigned i = 0; i < count; i++) {
        struct item item = content_of(number, i);
        struct engine_row row;

        assert_int_equal(engine->ops->find_segment(engine, upload, i, &row, NULL), COFFER_OK);
        suite_check_row(mixed->local, &row, &item);
        live += record_size(row.stored_size);
        items_free(&item, 1);
    }
    return live;
}

static uint64_t check_chunk(struct mixed *mixed, unsigned number)
{
    struct engine *engine = mixed->local->engine;
    struct engine_row row;
    struct item item;

    if (!mixed->there[number]) {
        assert_false(suite_has(mixed->local, &mixed->keys[number]));
        return 0;
    }
    assert_int_equal(engine->ops->find(engine, &mixed->keys[number], &row, NULL), COFFER_OK);
    if (is_segmented(number))
        return record_size(MANIFEST_SIZE) + check_segments(mixed, &row.upload, number, PARTS);
    item = content_of(number, 0);
    suite_check_item(mixed->local, &item);
    items_free(&item, 1);
    return record_size(row.stored_size);
}

void mixed_check(struct mixed *mixed)
{
    uint64_t live;

    assert_true(workload_matches(
        mixed->workload, mixed->local, mixed->memory, mixed->workload->step, true, &live));
    for (unsigned i = 0; i < MIXED_CHUNKS; i++)
        live += check_chunk(mixed, i);
    for (size_t i = 0; i < mixed->unfinished_count; i++)
        live += check_segments(mixed, &mixed->unfinished[i], 9, 2);
    assert_int_equal(suite_status(mixed->local).chunks, suite_status(mixed->memory).chunks);
    suite_check_live(mixed->local, live);
}

struct engine_compaction mixed_compaction(void)
{
    return (struct engine_compaction){.dead_ratio = 0, .seal_idle = true, .merge_small = true};
}

void mixed_compact(struct mixed *mixed, struct engine_compaction *compaction)
{
    struct engine *engine = mixed->local->engine;
    struct error error;

    if (engine->ops->compact(engine, compaction, &error) != COFFER_OK)
        fail_msg("compact fails: %s", error.text);
    assert_int_equal(compaction->packs_kept, 0);
}
