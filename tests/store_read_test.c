/*
 * Goal: every way of reading gives the same bytes. Method: chunks of every shape (empty, small,
 * large, compressed in one frame and in many, segmented, buffered), read whole, in ranges around
 * every boundary, in their stored form and in bulk; with the page cache warm, and dropped.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <zstd.h>

#include <cmocka.h>

#include "storage/base/invariant.h"
#include "storage/codec/codec.h"
#include "storage/store.h"
#include "tests/support/store_fixture.h"

enum { SEGMENT = 1 << 20, SHAPES = 12 };

struct shape {
    size_t size;
    enum content_kind kind;
    bool buffered;
};

static const struct shape SHAPE[SHAPES] = {
    {0, CONTENT_RANDOM, false},
    {1, CONTENT_RANDOM, false},
    {5000, CONTENT_RANDOM, false},
    {5000, CONTENT_TEXT, false},
    {64 * 1024, CONTENT_RANDOM, false},
    {64 * 1024 + 1, CONTENT_RANDOM, false},
    {CODEC_FRAME_SIZE, CONTENT_TEXT, false},
    {CODEC_FRAME_SIZE + 1, CONTENT_TEXT, false},
    {SEGMENT - 1, CONTENT_TEXT, false},
    {SEGMENT, CONTENT_RANDOM, false},
    {2 * SEGMENT + 12345, CONTENT_TEXT, false},
    {3000, CONTENT_TEXT, true},
};

struct suite {
    struct store_fixture fixture;
    uint8_t *data[SHAPES];
    struct digest keys[SHAPES];
};

static int set_up_as(void **state, enum engine_kind engine)
{
    struct suite *suite = calloc(1, sizeof(*suite));

    invariant(suite != NULL);
    fixture_init(&suite->fixture, engine);
    suite->fixture.options.segment_size = SEGMENT;
    suite->fixture.options.pack_size = 4 << 20;
    suite->fixture.options.flush_interval_ns = (uint64_t)3600 * 1000000000;
    fixture_open(&suite->fixture);
    for (size_t i = 0; i < SHAPES; i++) {
        const struct shape *shape = &SHAPE[i];

        suite->data[i] = content_make(shape->size, i + 1, shape->kind);
        suite->keys[i] = shape->buffered
                             ? store_put_buffered(
                                   suite->fixture.store, "slow", suite->data[i], shape->size, NULL)
                             : store_put_good(suite->fixture.store, suite->data[i], shape->size);
    }
    *state = suite;
    return 0;
}

static int set_up_memory(void **state)
{
    return set_up_as(state, ENGINE_MEMORY);
}

static int set_up_local(void **state)
{
    return set_up_as(state, ENGINE_LOCAL);
}

static int tear_down(void **state)
{
    struct suite *suite = *state;

    for (size_t i = 0; i < SHAPES; i++)
        free(suite->data[i]);
    fixture_release(&suite->fixture);
    free(suite);
    return 0;
}

static void maybe_cold(struct suite *suite, int pass)
{
    if (pass == 1)
        fixture_drop_page_cache(&suite->fixture);
}

static void test_whole(void **state)
{
    struct suite *suite = *state;

    for (int pass = 0; pass < 3; pass++) {
        for (size_t i = 0; i < SHAPES; i++) {
            maybe_cold(suite, pass);
            check_content(suite->fixture.store, &suite->keys[i], suite->data[i], SHAPE[i].size);
        }
        if (pass == 1 && suite->fixture.options.engine == ENGINE_LOCAL)
            fixture_reopen(&suite->fixture); /* nothing is verified yet */
    }
}

static void check_range(struct suite *suite, size_t shape, uint64_t from, uint64_t to)
{
    size_t size;
    uint8_t *out;

    if (to > SHAPE[shape].size)
        to = SHAPE[shape].size;
    if (from > to)
        return;
    size = (size_t)(to - from);
    out = malloc(size + 1);
    invariant(out != NULL);
    assert_int_equal(
        store_get_range(suite->fixture.store, &suite->keys[shape], from, size, out, NULL, NULL),
        COFFER_OK);
    assert_memory_equal(out, suite->data[shape] + from, size);
    free(out);
}

static void test_ranges(void **state)
{
    static const uint64_t edges[] = {0, 1, 777, 4999, 5000, 64 * 1024 - 1, 64 * 1024,
        CODEC_FRAME_SIZE - 1, CODEC_FRAME_SIZE, CODEC_FRAME_SIZE + 1, SEGMENT - 1, SEGMENT,
        SEGMENT + 1, 2 * SEGMENT, 2 * SEGMENT + 12345};
    struct suite *suite = *state;

    for (int pass = 0; pass < 2; pass++)
        for (size_t shape = 0; shape < SHAPES; shape++) {
            maybe_cold(suite, pass);
            for (size_t i = 0; i < ARRAY_COUNT(edges); i++) {
                check_range(suite, shape, edges[i], edges[i]);
                check_range(suite, shape, edges[i], edges[i] + 1);
                for (size_t j = i + 1; j < ARRAY_COUNT(edges); j += 3)
                    check_range(suite, shape, edges[i], edges[j]);
            }
        }
}

static enum reader_form form_of(struct suite *suite, size_t shape)
{
    uint8_t *out = malloc(SHAPE[shape].size + 1);
    enum reader_form form;

    invariant(out != NULL);
    assert_int_equal(store_get_range(suite->fixture.store, &suite->keys[shape], 0,
                         SHAPE[shape].size, out, &form, NULL),
        COFFER_OK);
    free(out);
    return form;
}

static void test_forms(void **state)
{
    struct suite *suite = *state;

    assert_int_equal(form_of(suite, 2), READER_MEMORY);  /* small */
    assert_int_equal(form_of(suite, 3), READER_MEMORY);  /* small and compressed */
    assert_int_equal(form_of(suite, 5), READER_MEMORY);  /* larger and raw: copied */
    assert_int_equal(form_of(suite, 8), READER_STREAM);  /* large and compressed */
    assert_int_equal(form_of(suite, 10), READER_STREAM); /* segmented */
    assert_int_equal(form_of(suite, 11), READER_MEMORY); /* buffered */
}

/* When the memory for copies is used up, the next reader gets a part of the file, for sendfile,
 * with the same bytes; and when it is given back, copies again. */
static void test_copies_are_bounded(void **state)
{
    enum { READERS_MAX = 1000 };
    struct suite *suite = *state;
    struct reader *readers[READERS_MAX];
    struct reader_content first = {.form = READER_STREAM}, content = {.form = READER_MEMORY};
    struct gate gate;
    uint8_t *bytes;
    size_t count = 0;

    gate_init(&gate);
    while (content.form == READER_MEMORY && count < READERS_MAX) {
        assert_int_equal(reader_open(suite->fixture.store, &suite->keys[5], gate_waker(&gate),
                             &readers[count], NULL),
            COFFER_OK);
        while (reader_content(readers[count], &content, NULL) == COFFER_AGAIN)
            gate_wait(&gate);
        if (count++ == 0)
            first = content;
    }
    assert_int_equal(first.form, READER_MEMORY);
    assert_int_equal(content.form, READER_FILE);
    bytes = malloc(content.size);
    invariant(bytes != NULL);
    assert_int_equal(pread(content.fd, bytes, content.size, (off_t)content.offset), content.size);
    assert_memory_equal(bytes, first.data, content.size);
    free(bytes);
    while (count > 0)
        reader_close(readers[--count]);
    gate_release(&gate);
    assert_int_equal(form_of(suite, 5), READER_MEMORY);
}

/* Goal: a reader in the middle of the first verification goes on with it although another one has
 * come to its end meanwhile. Method: it waits for the disk while the other reads everything. */
static void test_two_that_verify(void **state)
{
    struct suite *suite = *state;

    for (size_t i = 0; i < SHAPES; i++) {
        struct reader *reader;
        struct reader_content content;
        enum coffer_status status;
        struct gate gate;

        if (SHAPE[i].buffered)
            continue;
        fixture_reopen(&suite->fixture); /* nothing is verified yet */
        fixture_drop_page_cache(&suite->fixture);
        gate_init(&gate);
        assert_int_equal(
            reader_open(suite->fixture.store, &suite->keys[i], gate_waker(&gate), &reader, NULL),
            COFFER_OK);
        status = reader_content(reader, &content, NULL);
        check_content(suite->fixture.store, &suite->keys[i], suite->data[i], SHAPE[i].size);
        for (; status == COFFER_AGAIN; status = reader_content(reader, &content, NULL))
            gate_wait(&gate);
        assert_int_equal(status, COFFER_OK);
        if (content.form == READER_MEMORY)
            assert_memory_equal(content.data, suite->data[i], SHAPE[i].size);
        reader_close(reader);
        gate_release(&gate);
    }
}

static void test_encoded(void **state)
{
    struct suite *suite = *state;

    for (size_t i = 0; i < SHAPES; i++) {
        uint8_t *encoded = NULL, *raw;
        size_t size;
        enum coffer_status status =
            store_get_encoded(suite->fixture.store, &suite->keys[i], &encoded, &size, NULL);
        bool wanted = SHAPE[i].kind == CONTENT_TEXT && !SHAPE[i].buffered &&
                      SHAPE[i].size <= SEGMENT && suite->fixture.options.engine == ENGINE_LOCAL;
        struct chunk_info info;
        ZSTD_DCtx *context;
        ZSTD_inBuffer in;
        ZSTD_outBuffer out;

        assert_int_equal(status, wanted ? COFFER_OK : COFFER_NOT_ACCEPTABLE);
        if (!wanted)
            continue;
        assert_int_equal(store_stat(suite->fixture.store, &suite->keys[i], &info, NULL), COFFER_OK);
        assert_int_equal(info.codec, CODEC_ZSTD);
        assert_int_equal(info.stored_size, size);
        raw = malloc(SHAPE[i].size + 1);
        context = ZSTD_createDCtx();
        invariant(raw != NULL && context != NULL);
        in = (ZSTD_inBuffer){encoded, size, 0};
        out = (ZSTD_outBuffer){raw, SHAPE[i].size + 1, 0};
        while (in.pos < in.size) /* as any other program would */
            assert_false(ZSTD_isError(ZSTD_decompressStream(context, &out, &in)));
        assert_int_equal(out.pos, SHAPE[i].size);
        assert_memory_equal(raw, suite->data[i], SHAPE[i].size);
        ZSTD_freeDCtx(context);
        free(raw);
        free(encoded);
    }
}

static void test_missing(void **state)
{
    struct suite *suite = *state;
    struct digest key = content_key("missing", 7);
    struct reader *reader;
    uint8_t *data;
    size_t size;

    assert_int_equal(reader_open(suite->fixture.store, &key, (struct waker){0}, &reader, NULL),
        COFFER_NO_SUCH_CHUNK);
    assert_int_equal(
        store_get(suite->fixture.store, &key, &data, &size, NULL), COFFER_NO_SUCH_CHUNK);
    assert_false(store_has(suite->fixture.store, &key));
}

/* A segmented chunk, opened, then deleted, is read to its end. */
static void test_deleted_while_it_is_read(void **state)
{
    struct suite *suite = *state;
    size_t size = SHAPE[10].size, at = 0, part;
    uint8_t *out = malloc(size + 1);
    struct reader *reader;
    struct gate gate;

    invariant(out != NULL);
    gate_init(&gate);
    assert_int_equal(
        reader_open(suite->fixture.store, &suite->keys[10], gate_waker(&gate), &reader, NULL),
        COFFER_OK);
    assert_int_equal(store_delete_one(suite->fixture.store, &suite->keys[10]), COFFER_OK);
    do {
        enum coffer_status status;

        while ((status = reader_read(reader, out + at, size + 1 - at, &part, NULL)) == COFFER_AGAIN)
            gate_wait(&gate);
        assert_int_equal(status, COFFER_OK);
        at += part;
    } while (part > 0);
    assert_int_equal(at, size);
    assert_memory_equal(out, suite->data[10], size);
    reader_close(reader);
    gate_release(&gate);
    free(out);
}

/* ---- in bulk ---- */

static void read_large_item(struct bulk_reader *bulk, const struct bulk_item *item, uint8_t *out)
{
    size_t at = 0, part;

    do {
        assert_int_equal(bulk_read(bulk, out + at, 100000, &part, NULL), COFFER_OK);
        at += part;
    } while (part > 0 && at + 100000 < 4 * SEGMENT);
    assert_int_equal(at, item->info.size);
}

static void check_bulk(
    struct suite *suite, const size_t *shapes, size_t count, enum bulk_order order)
{
    struct digest *keys = calloc(count + 1, sizeof(struct digest));
    bool *seen = calloc(count + 1, sizeof(bool));
    uint8_t *out = malloc(4 * SEGMENT);
    struct bulk_options options = {.keys = key_source_array(keys, count), .order = order};
    struct bulk_reader *bulk;
    struct bulk_item item;
    size_t total = 0, missing = 0;
    bool more;

    invariant(keys != NULL && seen != NULL && out != NULL);
    for (size_t i = 0; i < count; i++)
        keys[i] = shapes[i] < SHAPES ? suite->keys[shapes[i]] : content_key(&shapes[i], 8);
    assert_int_equal(bulk_open(suite->fixture.store, &options, &bulk, NULL), COFFER_OK);
    for (size_t i = 0; i < count; i++) {
        assert_int_equal(bulk_is_missing(bulk, i), shapes[i] >= SHAPES);
        missing += shapes[i] >= SHAPES;
    }
    assert_int_equal(bulk_missing_count(bulk), missing);
    for (;; total++) {
        size_t shape;

        assert_int_equal(bulk_next(bulk, &item, &more, NULL), COFFER_OK);
        if (!more)
            break;
        assert_true(item.position < count && !seen[item.position]);
        assert_true(order == BULK_STORAGE_ORDER || item.position == total);
        seen[item.position] = true;
        shape = shapes[item.position];
        assert_int_equal(item.status, shape < SHAPES ? COFFER_OK : COFFER_NO_SUCH_CHUNK);
        if (shape >= SHAPES)
            continue;
        assert_true(digest_equal(&item.info.key, &keys[item.position]));
        assert_int_equal(item.info.size, SHAPE[shape].size);
        if (item.data == NULL) {
            assert_non_null(item.reader);
            read_large_item(bulk, &item, out);
        } else {
            memcpy(out, item.data, SHAPE[shape].size);
        }
        assert_memory_equal(out, suite->data[shape], SHAPE[shape].size);
    }
    assert_int_equal(total, count);
    bulk_close(bulk);
    free(keys);
    free(seen);
    free(out);
}

static void test_bulk(void **state)
{
    enum { MANY = 3000 };
    struct suite *suite = *state;
    size_t shapes[MANY];
    uint64_t random = 12345;

    for (int pass = 0; pass < 2; pass++)
        for (int order = BULK_REQUEST_ORDER; order <= BULK_STORAGE_ORDER; order++) {
            maybe_cold(suite, pass);
            check_bulk(suite, shapes, 0, (enum bulk_order)order);
            for (size_t i = 0; i < 2 * SHAPES; i++)
                shapes[i] = i % (SHAPES + 1); /* one missing, and all of them again */
            check_bulk(suite, shapes, 2 * SHAPES, (enum bulk_order)order);
            for (size_t i = 0; i < MANY; i++) /* several windows, mostly of small ones */
                shapes[i] = random_below(&random, 100) == 0 ? random_below(&random, SHAPES)
                                                            : random_below(&random, 5);
            check_bulk(suite, shapes, MANY, (enum bulk_order)order);
        }
}

static void test_bulk_given_up(void **state)
{
    struct suite *suite = *state;

    for (size_t steps = 0; steps < SHAPES; steps++) {
        struct bulk_options options = {.keys = key_source_array(suite->keys, SHAPES)};
        struct bulk_reader *bulk;
        struct bulk_item item;
        uint8_t bytes[10];
        size_t size;
        bool more;

        assert_int_equal(bulk_open(suite->fixture.store, &options, &bulk, NULL), COFFER_OK);
        for (size_t i = 0; i < steps; i++)
            assert_int_equal(bulk_next(bulk, &item, &more, NULL), COFFER_OK);
        if (steps > 0 && item.data == NULL)
            assert_int_equal(bulk_read(bulk, bytes, sizeof(bytes), &size, NULL), COFFER_OK);
        bulk_close(bulk);
    }
}

#define BOTH(test)                                                                                 \
    {#test " (memory)", test, set_up_memory, tear_down, NULL},                                     \
    {                                                                                              \
#test " (local)", test, set_up_local, tear_down, NULL                                      \
    }

int main(void)
{
    const struct CMUnitTest tests[] = {
        BOTH(test_whole),
        cmocka_unit_test_setup_teardown(test_two_that_verify, set_up_local, tear_down),
        BOTH(test_ranges),
        cmocka_unit_test_setup_teardown(test_forms, set_up_local, tear_down),
        cmocka_unit_test_setup_teardown(test_copies_are_bounded, set_up_local, tear_down),
        BOTH(test_encoded),
        BOTH(test_missing),
        BOTH(test_deleted_while_it_is_read),
        BOTH(test_bulk),
        BOTH(test_bulk_given_up),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
