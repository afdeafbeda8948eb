/*
 * Goal: an upload stores exactly the bytes that came, or nothing. Method: bodies of every size at
 * which something changes, of known and unknown length, in odd pieces, through both engines; and
 * every way in which an upload can go wrong, after which nothing of it is left, in the store or in
 * the memory budget.
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "storage/base/fault.h"
#include "storage/base/invariant.h"
#include "storage/base/log.h"
#include "storage/store.h"
#include "tests/support/store_fixture.h"

static int set_up_as(void **state, enum engine_kind engine)
{
    struct store_fixture *fixture = calloc(1, sizeof(*fixture));

    invariant(fixture != NULL);
    fixture_init(fixture, engine);
    fixture_open(fixture);
    *state = fixture;
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
    fixture_release(*state);
    free(*state);
    return 0;
}

static struct store_status status_of(struct store *store)
{
    struct store_status status;

    store_status(store, &status);
    return status;
}

/* Everything is durable and given back. */
static void check_quiet(struct store *store, uint64_t chunks)
{
    struct store_status status;

    assert_int_equal(store_sync(store, NULL, 0, NULL, NULL), COFFER_OK);
    status = status_of(store);
    assert_int_equal(status.chunks, chunks);
    assert_int_equal(status.memory_used, 0);
    assert_int_equal(status.buffered_bytes, 0);
    assert_int_equal(status.buffered_records, 0);
    assert_true(status.writable);
}

static const size_t SIZES[] = {0, 1, 849, 850, 851, FIXTURE_SEGMENT - 1, FIXTURE_SEGMENT,
    FIXTURE_SEGMENT + 1, 2 * FIXTURE_SEGMENT - 1, 2 * FIXTURE_SEGMENT, 2 * FIXTURE_SEGMENT + 1,
    7 * FIXTURE_SEGMENT + 12345};

static void test_sizes(void **state)
{
    struct store_fixture *fixture = *state;
    uint64_t chunks = 0;

    for (size_t i = 0; i < ARRAY_COUNT(SIZES); i++)
        for (int form = 0; form < 8; form++) {
            size_t size = SIZES[i], piece = form & 1 ? 777 : 0;
            uint8_t *data = content_make(
                size, 8 * i + (unsigned)form, form & 2 ? CONTENT_TEXT : CONTENT_RANDOM);
            struct upload_options options = {.size = form & 4 ? UPLOAD_SIZE_UNKNOWN : size};
            struct upload_result result;
            struct chunk_info info;
            struct digest key = content_key(data, size);
            bool known = store_has(fixture->store, &key); /* sizes 0 and 1 repeat */

            assert_int_equal(
                store_put(fixture->store, data, size, piece, &options, &result, NULL), COFFER_OK);
            assert_true(digest_equal(&result.key, &key));
            assert_int_equal(result.size, size);
            assert_int_equal(result.created, !known);
            assert_int_equal(result.state, CHUNK_DURABLE);
            assert_string_equal(result.ticket.text, "");
            check_content(fixture->store, &key, data, size);
            assert_int_equal(store_stat(fixture->store, &key, &info, NULL), COFFER_OK);
            assert_int_equal(info.size, size);
            assert_int_equal(info.segmented, size > FIXTURE_SEGMENT);
            assert_true(info.stored_size <= size);
            chunks += !known;
            free(data);
        }
    check_quiet(fixture->store, chunks);
    if (fixture->options.engine == ENGINE_LOCAL) {
        fixture_reopen(fixture);
        assert_int_equal(status_of(fixture->store).chunks, chunks);
        for (size_t i = 0; i < ARRAY_COUNT(SIZES); i++) {
            uint8_t *data = content_make(SIZES[i], 8 * i, CONTENT_RANDOM);
            struct digest key = content_key(data, SIZES[i]);

            check_content(fixture->store, &key, data, SIZES[i]);
            free(data);
        }
    }
}

/* An upload like this fails with `wanted`, and nothing is there afterwards. */
static void check_refused(struct store_fixture *fixture, size_t size,
    const struct upload_options *options, enum coffer_status wanted)
{
    uint8_t *data = content_make(size, 42, CONTENT_RANDOM);
    struct digest key = content_key(data, size);
    struct upload_result result;
    struct error error = {.text = ""};

    assert_int_equal(store_put(fixture->store, data, size, 5000, options, &result, &error), wanted);
    assert_int_equal(error.status, wanted);
    assert_true(strlen(error.text) > 10);
    assert_false(store_has(fixture->store, &key));
    check_quiet(fixture->store, 0);
    free(data);
}

static void test_wrong_digests(void **state)
{
    struct store_fixture *fixture = *state;
    struct digest wrong = content_key("something else", 14);

    for (size_t i = 0; i < ARRAY_COUNT(SIZES); i++) {
        struct upload_options options = {.size = SIZES[i], .key = &wrong};

        check_refused(fixture, SIZES[i], &options, COFFER_DIGEST_MISMATCH);
        options.size = UPLOAD_SIZE_UNKNOWN;
        options.durability = DURABILITY_BUFFERED;
        check_refused(fixture, SIZES[i], &options, COFFER_DIGEST_MISMATCH);
        options.key = NULL;
        options.digest = &wrong;
        check_refused(fixture, SIZES[i], &options, COFFER_DIGEST_MISMATCH);
    }
}

static void test_wrong_lengths(void **state)
{
    struct store_fixture *fixture = *state;

    for (size_t i = 0; i < ARRAY_COUNT(SIZES); i++) {
        struct upload_options options = {.size = SIZES[i] + 1};

        check_refused(fixture, SIZES[i], &options, COFFER_BAD_REQUEST);
        options.size = SIZES[i] + 3 * FIXTURE_SEGMENT;
        check_refused(fixture, SIZES[i], &options, COFFER_BAD_REQUEST);
        if (SIZES[i] > 0) {
            options.size = SIZES[i] - 1;
            check_refused(fixture, SIZES[i], &options, COFFER_CONTENT_TOO_LARGE);
        }
    }
}

static void test_a_failed_upload_stays_failed(void **state)
{
    struct store_fixture *fixture = *state;
    struct digest wrong = {{1}};
    struct upload_options options = {.size = 3, .key = &wrong};
    struct upload_result result;
    struct upload *upload;
    size_t taken;

    assert_int_equal(
        upload_begin(fixture->store, &options, (struct waker){0}, &upload, NULL), COFFER_OK);
    assert_int_equal(upload_data(upload, "abc", 3, &taken, NULL), COFFER_OK);
    assert_int_equal(upload_data(upload, "d", 1, &taken, NULL), COFFER_CONTENT_TOO_LARGE);
    assert_int_equal(taken, 0);
    assert_int_not_equal(upload_finish(upload, &result, NULL), COFFER_OK);
    assert_int_not_equal(upload_finish(upload, &result, NULL), COFFER_OK);
    upload_close(upload);
    assert_int_equal(
        upload_begin(fixture->store, &options, (struct waker){0}, &upload, NULL), COFFER_OK);
    assert_int_equal(upload_data(upload, "abc", 3, &taken, NULL), COFFER_OK);
    assert_int_equal(upload_finish(upload, &result, NULL), COFFER_DIGEST_MISMATCH);
    assert_int_not_equal(upload_finish(upload, &result, NULL), COFFER_OK);
    upload_close(upload);
    check_quiet(fixture->store, 0);
}

static void test_bad_names(void **state)
{
    static const char *const bad[] = {".a", "-a", "_a", "a/b", "a b", "a:b", "\xc3\xa4",
        "0123456789012345678901234567890123456789012345678901234567890123"};
    static const char *const good[] = {
        "a", "A.b-c_9", "0", "012345678901234567890123456789012345678901234567890123456789012"};
    struct store_fixture *fixture = *state;

    for (size_t i = 0; i < ARRAY_COUNT(bad); i++) {
        struct upload_options options = {.size = 1, .channel = slice_from_text(bad[i])};

        check_refused(fixture, 1, &options, COFFER_BAD_NAME);
    }
    for (size_t i = 0; i < ARRAY_COUNT(good); i++) {
        struct digest key = store_put_buffered(fixture->store, good[i], good[i], 1, NULL);

        assert_true(store_has(fixture->store, &key));
    }
}

/* Given up at every step: after `size` of the bytes, before and after upload_finish(). */
static void abandon(struct store_fixture *fixture, const uint8_t *data, size_t size,
    const struct upload_options *options)
{
    struct upload *upload;
    struct gate gate;
    size_t at = 0, taken;

    gate_init(&gate);
    assert_int_equal(
        upload_begin(fixture->store, options, gate_waker(&gate), &upload, NULL), COFFER_OK);
    while (at < size) {
        enum coffer_status status = upload_data(upload, data + at, size - at, &taken, NULL);

        at += taken;
        if (status == COFFER_AGAIN)
            gate_wait(&gate);
        else
            assert_int_equal(status, COFFER_OK);
    }
    upload_close(upload);
    gate_release(&gate);
}

static void test_abandoned(void **state)
{
    struct store_fixture *fixture = *state;
    uint8_t *data = content_make(10 * FIXTURE_SEGMENT, 9, CONTENT_RANDOM);
    struct upload_options options = {.size = 10 * FIXTURE_SEGMENT};

    for (size_t i = 0; i < ARRAY_COUNT(SIZES); i++) {
        options.size = 10 * FIXTURE_SEGMENT;
        abandon(fixture, data, SIZES[i], &options);
        options.size = UPLOAD_SIZE_UNKNOWN;
        abandon(fixture, data, SIZES[i], &options);
    }
    check_quiet(fixture->store, 0);
    if (fixture->options.engine == ENGINE_LOCAL) {
        fixture_reopen(fixture);
        check_quiet(fixture->store, 0);
        assert_int_equal(status_of(fixture->store).live_bytes, 0);
    }
    free(data);
}

static void test_segments_do_not_wait_for_the_flush_timer(void **state)
{
    struct store_fixture *fixture = *state;
    size_t size = 40 * FIXTURE_SEGMENT;
    uint8_t *data = content_make(size, 10, CONTENT_RANDOM);

    fixture_close(fixture);
    fixture->options.flush_interval_ns = (uint64_t)3600 * 1000000000; /* then ctest's timeout */
    fixture_open(fixture);
    (void)store_put_good(fixture->store, data, size);
    check_quiet(fixture->store, 1);
    free(data);
}

/* What waits in the buffer is charged, and takes, what it has, not what might have come. */
/* Whoever wants it durable must not rely on a copy that is only in a buffer: that may be lost. */
static void test_duplicate_of_a_write_that_fails(void **state)
{
    struct store_fixture *fixture = *state;
    struct digest key;

    log_configure(LOG_ERROR + 1, false); /* the failures are wanted */
    fixture_close(fixture);
    fixture->options.flush_interval_ns = (uint64_t)3600 * 1000000000;
    fixture_open(fixture);
    (void)store_put_buffered(fixture->store, "slow", "twice", 5, NULL);
    fault_arm(FAULT_PACK_SYNC, EIO, 1, 2); /* both tries of the first copy */
    key = store_put_good(fixture->store, "twice", 5);
    assert_int_equal(fault_hits(FAULT_PACK_SYNC), 2);
    fault_disarm_all();
    fixture_crash(fixture);
    fixture_open(fixture);
    check_content(fixture->store, &key, "twice", 5);
}

static void test_memory_of_unknown_lengths(void **state)
{
    static const size_t sizes[] = {10, 60000, 70000, 200000};
    struct store_fixture *fixture = *state;
    struct upload_options options = {
        .size = UPLOAD_SIZE_UNKNOWN, .durability = DURABILITY_BUFFERED};
    uint64_t total = 0;

    fixture_close(fixture);
    fixture->options.flush_interval_ns = (uint64_t)3600 * 1000000000;
    fixture->options.segment_size = 1 << 20;
    fixture_open(fixture);
    for (size_t i = 0; i < ARRAY_COUNT(sizes); i++) {
        uint8_t *data = content_make(sizes[i], i, CONTENT_RANDOM);
        struct upload_result result;

        assert_int_equal(
            store_put(fixture->store, data, sizes[i], 7000, &options, &result, NULL), COFFER_OK);
        assert_int_equal(result.state, CHUNK_BUFFERED);
        check_content(fixture->store, &result.key, data, sizes[i]);
        total += sizes[i];
        assert_int_equal(status_of(fixture->store).memory_used, total);
        free(data);
    }
    check_quiet(fixture->store, ARRAY_COUNT(sizes));
}

static void test_max_space(void **state)
{
    struct store_fixture *fixture = *state;
    uint8_t *data = content_make(100000, 11, CONTENT_RANDOM);
    struct upload_options options = {.size = 50000};
    struct upload_result result;
    enum coffer_status status = COFFER_OK;
    struct digest keys[100];
    size_t count = 0;

    fixture_close(fixture);
    fixture->options.max_space = 1 << 20;
    fixture_open(fixture);
    for (; count < 100; count++) {
        memcpy(data, &count, sizeof(count));
        status = store_put(fixture->store, data, 50000, 0, &options, &result, NULL);
        if (status != COFFER_OK)
            break;
        keys[count] = result.key;
    }
    assert_int_equal(status, COFFER_CAPACITY_EXCEEDED);
    assert_in_range(count, 15, 21);
    assert_true(status_of(fixture->store).used_space <= 1 << 20);
    options.size = UPLOAD_SIZE_UNKNOWN;
    assert_int_equal(store_put(fixture->store, data, 99999, 0, &options, &result, NULL),
        COFFER_CAPACITY_EXCEEDED);
    for (size_t i = 0; i < count; i++)
        assert_true(store_has(fixture->store, &keys[i]));
    assert_int_equal(store_delete(fixture->store, keys, count, NULL, NULL, NULL), COFFER_OK);
    if (fixture->options.engine == ENGINE_MEMORY) /* a local store needs a repack for that */
        assert_int_equal(
            store_put(fixture->store, data, 50000, 0, &options, &result, NULL), COFFER_OK);
    free(data);
}

static void test_bad_options(void **state)
{
    struct store_fixture *fixture = *state;
    const struct store_options good = fixture->options;
    struct store_options bad[8];
    struct store *store;
    struct error error;

    for (size_t i = 0; i < ARRAY_COUNT(bad); i++)
        bad[i] = good;
    bad[0].segment_size = 1000;
    bad[1].segment_size = (uint64_t)1 << 30;
    bad[2].pack_size = 1000;
    bad[3].pack_size = (uint64_t)1 << 40;
    bad[4].memory_limit = good.segment_size;
    bad[5].channels_max = 0;
    bad[6].default_channels = good.channels_max + 1;
    bad[7].engine = ENGINE_LOCAL;
    bad[7].data_dir = "";
    for (size_t i = 0; i < ARRAY_COUNT(bad); i++) {
        assert_int_equal(store_open(&bad[i], &store, &error), COFFER_BAD_OPTION);
        assert_true(strlen(error.text) > 10);
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
        BOTH(test_sizes),
        BOTH(test_wrong_digests),
        BOTH(test_wrong_lengths),
        BOTH(test_a_failed_upload_stays_failed),
        BOTH(test_bad_names),
        BOTH(test_abandoned),
        BOTH(test_segments_do_not_wait_for_the_flush_timer),
        {"duplicate of a write that fails", test_duplicate_of_a_write_that_fails, set_up_local,
            tear_down, NULL},
        BOTH(test_memory_of_unknown_lengths),
        BOTH(test_max_space),
        BOTH(test_bad_options),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
