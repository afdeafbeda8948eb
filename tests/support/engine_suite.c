#include "tests/support/engine_suite.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "storage/base/checksum.h"
#include "storage/base/invariant.h"
#include "storage/codec/codec.h"
#include "storage/memory/memory_engine.h"
#include "storage/pack/local_engine.h"

static int set_up_as(void **state, bool persistent)
{
    struct suite *suite = calloc(1, sizeof(*suite));

    invariant(suite != NULL);
    fixture_init(&suite->fixture, ENGINE_LOCAL);
    invariant(mkdir(suite->fixture.data_dir, 0750) == 0);
    suite->persistent = persistent;
    suite_open(suite);
    *state = suite;
    return 0;
}

int suite_set_up_memory(void **state)
{
    return set_up_as(state, false);
}

int suite_set_up_local(void **state)
{
    return set_up_as(state, true);
}

int suite_tear_down(void **state)
{
    struct suite *suite = *state;

    if (suite->engine != NULL)
        suite_close(suite);
    fixture_release(&suite->fixture);
    free(suite);
    return 0;
}

enum coffer_status suite_try_open(struct suite *suite, struct error *err)
{
    struct local_engine_options options = {.data_dir = suite->fixture.data_dir,
        .pack_size = 1 << 20,
        .index_cache_size = 1 << 20,
        .lanes = LANES,
        .descriptors_max = 4,
        .compression = CODEC_ZSTD,
        .compression_level = 1,
        .compression_min_size = CODEC_MIN_SIZE_DEFAULT};

    if (!suite->persistent) {
        suite->engine = memory_engine_create();
        return COFFER_OK;
    }
    memset(options.store, 7, sizeof(options.store));
    return local_engine_open(&options, &suite->engine, err);
}

void suite_open(struct suite *suite)
{
    struct error error;

    if (suite_try_open(suite, &error) != COFFER_OK)
        fail_msg("the engine does not open: %s", error.text);
}

void suite_close(struct suite *suite)
{
    struct error error;

    if (suite->engine->ops->close(suite->engine, &error) != COFFER_OK)
        fail_msg("the engine does not close: %s", error.text);
    suite->engine = NULL;
}

void suite_reopen(struct suite *suite)
{
    if (!suite->persistent)
        return;
    suite_close(suite);
    suite_open(suite);
}

void suite_rebuild(struct suite *suite)
{
    if (!suite->persistent)
        return;
    suite_close(suite);
    fixture_remove_index(&suite->fixture);
    suite_open(suite);
}

void suite_crash(struct suite *suite)
{
    struct store_fixture *fixture = &suite->fixture;
    char next[FIXTURE_PATH_SIZE];

    if (!suite->persistent)
        return;
    (void)snprintf(next, sizeof(next), "%s/data%u", fixture->root, ++fixture->generation);
    tree_copy(fixture->data_dir, next);
    suite_close(suite);
    tree_remove(fixture->data_dir);
    memcpy(fixture->data_dir, next, sizeof(next));
    suite_open(suite);
}

/* ---- items and operations ---- */

struct item item_make(size_t size, uint64_t seed, enum content_kind kind)
{
    struct item item = {.size = size};

    item.block = malloc(ENGINE_HEADROOM + size + ENGINE_TAILROOM);
    invariant(item.block != NULL);
    item.body = item.block + ENGINE_HEADROOM;
    content_fill(item.body, size, seed, kind);
    item.key = content_key(item.body, size);
    return item;
}

void items_free(struct item *items, size_t count)
{
    for (size_t i = 0; i < count; i++)
        free(items[i].block);
}

struct engine_op op_put(const struct item *item)
{
    return (struct engine_op){
        .kind = ENGINE_PUT, .key = item->key, .body = item->body, .size = item->size};
}

struct engine_op op_segment(
    const struct item *item, const struct upload_id *upload, uint64_t segment)
{
    return (struct engine_op){.kind = ENGINE_SEGMENT,
        .body = item->body,
        .size = item->size,
        .upload = *upload,
        .segment = segment,
        .segment_size = SEGMENT_SIZE};
}

struct engine_op op_delete(const struct digest *keys, size_t count)
{
    return (struct engine_op){.kind = ENGINE_DELETE, .keys = key_source_array(keys, count)};
}

void suite_commit(struct suite *suite, unsigned lane, struct engine_op *ops, size_t count)
{
    struct engine_op *list[OPS_MAX];
    struct error error;

    assert_true(count <= OPS_MAX);
    for (size_t i = 0; i < count; i++)
        list[i] = &ops[i];
    if (suite->engine->ops->commit(suite->engine, lane, list, count, &error) != COFFER_OK)
        fail_msg("commit fails: %s", error.text);
    for (size_t i = 0; i < count; i++)
        assert_int_equal(ops[i].status, COFFER_OK);
}

void suite_put(struct suite *suite, const struct item *item)
{
    struct engine_op op = op_put(item);

    suite_commit(suite, 0, &op, 1);
}

uint64_t suite_delete(struct suite *suite, const struct digest *keys, size_t count)
{
    struct engine_op op = op_delete(keys, count);

    suite_commit(suite, 0, &op, 1);
    return op.deleted;
}

bool suite_has(struct suite *suite, const struct digest *key)
{
    struct engine_row row;
    enum coffer_status status = suite->engine->ops->find(suite->engine, key, &row, NULL);

    assert_true(status == COFFER_OK || status == COFFER_NO_SUCH_CHUNK);
    return status == COFFER_OK;
}

/* The stored payload of the row decodes to the content. */
void item_check_pinned(
    const struct engine_row *row, const struct engine_source *source, const struct item *item)
{
    size_t size = (size_t)row->stored_size;
    uint8_t *stored = malloc(size + 1), *raw = malloc(item->size + 1);

    invariant(stored != NULL && raw != NULL);
    if (source->memory != NULL)
        memcpy(stored, source->memory, size);
    else
        assert_int_equal(pread(source->fd, stored, size, (off_t)source->offset), size);
    assert_int_equal(row->size, item->size);
    assert_true(checksum_once(stored, size) == row->checksum);
    assert_int_equal(codec_decode(decoder_of_thread(), row->codec, slice_of(stored, size), raw,
                         item->size, NULL),
        COFFER_OK);
    assert_memory_equal(raw, item->body, item->size);
    free(stored);
    free(raw);
}

void suite_check_row(struct suite *suite, const struct engine_row *row, const struct item *item)
{
    struct engine_source source;

    assert_int_equal(suite->engine->ops->pin(suite->engine, row, &source, NULL), COFFER_OK);
    item_check_pinned(row, &source, item);
    suite->engine->ops->unpin(suite->engine, &source);
}

void suite_check_item(struct suite *suite, const struct item *item)
{
    struct engine_row row;

    assert_int_equal(suite->engine->ops->find(suite->engine, &item->key, &row, NULL), COFFER_OK);
    assert_false(row.segmented);
    suite_check_row(suite, &row, item);
}

struct engine_status suite_status(struct suite *suite)
{
    struct engine_status status;

    suite->engine->ops->status(suite->engine, &status);
    assert_false(status.failed);
    return status;
}
