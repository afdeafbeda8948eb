#include "tests/support/partition_suite.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "storage/base/invariant.h"
#include "storage/pack/pack_format.h"

void suite_restart(struct suite *suite, enum restart how)
{
    if (how == RESTART_CRASH)
        suite_crash(suite);
    else if (how == RESTART_CLEAN)
        suite_reopen(suite);
    else if (how == RESTART_REBUILD)
        suite_rebuild(suite);
}

void suite_check_live(struct suite *suite, uint64_t wanted)
{
    struct engine_status status = suite_status(suite);

    assert_int_equal(status.damaged_records, 0);
    if (!suite->persistent)
        return;
    assert_int_equal(status.live_bytes, wanted);
    assert_int_equal(
        status.live_bytes + status.dead_bytes + status.packs * PACK_HEADER_SIZE, status.used_space);
}

struct partition_id partition_named(const char *name)
{
    struct partition_id partition = {{0}};

    memcpy(partition.bytes, name, strnlen(name, PARTITION_ID_SIZE));
    return partition;
}

struct engine_change change_put(struct slice key, struct slice value)
{
    return (struct engine_change){.key = key, .value = value};
}

struct engine_change change_remove(struct slice key)
{
    return (struct engine_change){.key = key, .remove = true};
}

struct engine_op op_rows(
    const struct partition_id *partition, const struct engine_change *changes, size_t count)
{
    return (struct engine_op){
        .kind = ENGINE_BATCH, .partition = *partition, .changes = changes, .change_count = count};
}

struct engine_op op_block(const struct partition_id *partition, const struct item *item,
    uint32_t channel, uint64_t number)
{
    return (struct engine_op){.kind = ENGINE_BATCH,
        .partition = *partition,
        .has_block = true,
        .block = {.channel = channel, .number = number},
        .block_codec = CODEC_ZSTD,
        .body = item->body,
        .size = item->size};
}

struct engine_op op_drop_partition(const struct partition_id *partition)
{
    return (struct engine_op){.kind = ENGINE_DROP, .partition = *partition};
}

void suite_put_row(
    struct suite *suite, const struct partition_id *partition, const char *key, const char *value)
{
    struct engine_change change = change_put(slice_from_text(key), slice_from_text(value));
    struct engine_op op = op_rows(partition, &change, 1);

    suite_commit(suite, 0, &op, 1);
}

void suite_remove_row(struct suite *suite, const struct partition_id *partition, const char *key)
{
    struct engine_change change = change_remove(slice_from_text(key));
    struct engine_op op = op_rows(partition, &change, 1);

    suite_commit(suite, 0, &op, 1);
}

/* ---- lists ---- */

static struct slice copy_of(struct slice bytes)
{
    void *copy = malloc(bytes.size + 1);

    invariant(copy != NULL);
    if (bytes.size > 0)
        memcpy(copy, bytes.data, bytes.size);
    return slice_of(copy, bytes.size);
}

static bool list_row(void *context, struct slice key, struct slice value)
{
    struct row_list *list = context;

    if (list->count == list->capacity) {
        list->capacity = list->capacity == 0 ? 16 : 2 * list->capacity;
        list->rows = realloc(list->rows, list->capacity * sizeof(struct listed_row));
        invariant(list->rows != NULL);
    }
    list->rows[list->count++] = (struct listed_row){copy_of(key), copy_of(value)};
    return list->count < list->limit;
}

struct row_list suite_list(struct suite *suite, const struct partition_id *partition,
    struct slice prefix, struct slice from, bool backwards, size_t limit)
{
    struct row_list list = {.limit = limit};

    assert_int_equal(suite->engine->ops->row_scan(
                         suite->engine, partition, prefix, from, backwards, list_row, &list, NULL),
        COFFER_OK);
    return list;
}

struct row_list suite_list_all(struct suite *suite, const struct partition_id *partition)
{
    return suite_list(suite, partition, slice_of("", 0), slice_of("", 0), false, SIZE_MAX);
}

void row_list_release(struct row_list *list)
{
    for (size_t i = 0; i < list->count; i++) {
        free((void *)(uintptr_t)list->rows[i].key.data);
        free((void *)(uintptr_t)list->rows[i].value.data);
    }
    free(list->rows);
    memset(list, 0, sizeof(*list));
}

bool row_list_equal(const struct row_list *a, const struct row_list *b)
{
    if (a->count != b->count)
        return false;
    for (size_t i = 0; i < a->count; i++)
        if (!slice_equal(a->rows[i].key, b->rows[i].key) ||
            !slice_equal(a->rows[i].value, b->rows[i].value))
            return false;
    return true;
}

uint64_t row_list_live(const struct row_list *list)
{
    uint64_t live = 0;

    for (size_t i = 0; i < list->count; i++)
        live += ROW_OVERHEAD + list->rows[i].key.size + list->rows[i].value.size;
    return live;
}

/* ---- checks ---- */

void suite_check_text(
    struct suite *suite, const struct partition_id *partition, const char *key, const char *value)
{
    void *got = NULL;
    size_t size;
    bool found;

    assert_int_equal(suite->engine->ops->row_get(
                         suite->engine, partition, slice_from_text(key), &got, &size, &found, NULL),
        COFFER_OK);
    assert_int_equal(found, value != NULL);
    if (value == NULL)
        return;
    assert_int_equal(size, strlen(value));
    assert_string_equal(got, value);
    free(got);
}

bool suite_has_block(
    struct suite *suite, const struct partition_id *partition, uint32_t channel, uint64_t number)
{
    const struct block_id block = {.channel = channel, .number = number};
    struct engine_row row;
    enum coffer_status status =
        suite->engine->ops->find_block(suite->engine, partition, &block, &row, NULL);

    assert_true(status == COFFER_OK || status == COFFER_NO_SUCH_CHUNK);
    return status == COFFER_OK;
}

uint64_t suite_check_block(struct suite *suite, const struct partition_id *partition,
    uint32_t channel, uint64_t number, const struct item *item)
{
    const struct block_id block = {.channel = channel, .number = number};
    struct engine_row row;

    assert_int_equal(
        suite->engine->ops->find_block(suite->engine, partition, &block, &row, NULL), COFFER_OK);
    assert_false(row.segmented);
    suite_check_row(suite, &row, item);
    return row.stored_size;
}
