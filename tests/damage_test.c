/*
 * Goal: damage is never served and never hidden. Method: every byte of a small pack is flipped in
 * turn. Whatever was hit, a read gives the right bytes or an error; what was not hit stays
 * readable; and a chunk may be missing without a report of damage only if it belongs to the last
 * group of records of a pack that is not sealed, which cannot be told from a torn tail when there
 * is no index. The same for STORE and for the index, which may be lost, but not lie.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "storage/base/bytes.h"
#include "storage/base/invariant.h"
#include "storage/base/log.h"
#include "storage/store.h"
#include "tests/support/pack_records.h"
#include "tests/support/store_fixture.h"

enum { CHUNKS = 10, DELETED = 3, SEGMENTED = 5, RECORD_SMALL = 65536 };

struct suite {
    struct store_fixture fixture;
    uint8_t *data[CHUNKS];
    size_t sizes[CHUNKS];
    struct digest keys[CHUNKS];
    struct pack_records records; /* of the first pack */
    char pack_path[FIXTURE_PATH_SIZE + 80];
};

static void quiet(void)
{
    log_configure(LOG_ERROR + 1, false); /* damage is logged: thousands of lines here */
}

/* ---- the store ---- */

static void fill(struct suite *suite)
{
    static const size_t sizes[CHUNKS] = {
        0, 1, 100, 300, 1500, 2 * FIXTURE_SEGMENT + 700, 90, 800, 120, 64};

    for (size_t i = 0; i < CHUNKS; i++) {
        suite->sizes[i] = sizes[i];
        suite->data[i] = calloc(1, sizes[i] + 1);
        invariant(suite->data[i] != NULL);
        memset(suite->data[i], (int)('a' + i), sizes[i]); /* compresses to next to nothing */
        if (i != 4 && i != SEGMENTED)
            content_fill(suite->data[i], sizes[i], i + 1, CONTENT_RANDOM);
        suite->keys[i] = store_put_good(suite->fixture.store, suite->data[i], sizes[i]);
        if (i == 7)
            assert_int_equal(
                store_delete_one(suite->fixture.store, &suite->keys[DELETED]), COFFER_OK);
    }
}

static void seal_first_pack(struct suite *suite)
{
    uint8_t *large = content_make(FIXTURE_SEGMENT, 99, CONTENT_RANDOM);

    for (uint64_t i = 0; i < 18; i++) { /* until it is over 1 MiB, and one more */
        put_le64(large, i);
        (void)store_put_good(suite->fixture.store, large, FIXTURE_SEGMENT);
    }
    free(large);
}

static int set_up_as(void **state, bool sealed)
{
    struct suite *suite = calloc(1, sizeof(*suite));

    invariant(suite != NULL);
    quiet();
    fixture_init(&suite->fixture, ENGINE_LOCAL);
    suite->fixture.options.default_channels = 1;
    fixture_open(&suite->fixture);
    fill(suite);
    if (sealed)
        seal_first_pack(suite);
    fixture_close(&suite->fixture);
    (void)snprintf(suite->pack_path, sizeof(suite->pack_path), "%s",
        fixture_data_path(&suite->fixture, "packs/0000000001.pack"));
    suite->records = pack_records_read(suite->pack_path);
    assert_int_equal(suite->records.sealed, sealed);
    *state = suite;
    return 0;
}

static int set_up_open(void **state)
{
    return set_up_as(state, false);
}

static int set_up_sealed(void **state)
{
    return set_up_as(state, true);
}

static int tear_down(void **state)
{
    struct suite *suite = *state;

    for (size_t i = 0; i < CHUNKS; i++)
        free(suite->data[i]);
    pack_records_release(&suite->records);
    fixture_release(&suite->fixture);
    free(suite);
    return 0;
}

static uint64_t damaged_of(struct suite *suite)
{
    struct store_status status;

    store_status(suite->fixture.store, &status);
    return status.damaged_records;
}

/* ---- what was hit ---- */

/* Whether the record is (a part of) the chunk, or its deletion. */
static bool concerns(const struct suite *suite, const struct pack_scan_item *record, size_t chunk)
{
    switch (record->header.type) {
    case RECORD_CHUNK:
    case RECORD_MANIFEST:
        return memcmp(record->header.key, suite->keys[chunk].bytes, DIGEST_SIZE) == 0;
    case RECORD_SEGMENT:
        return chunk == SEGMENTED;
    case RECORD_TOMBSTONE:
        return chunk == DELETED;
    case RECORD_SEAL:
    case RECORD_BATCH:
    case RECORD_DROP:
        return false;
    }
    return false;
}

/* Right bytes, or an error that says so. */
static enum coffer_status get_checked(struct suite *suite, size_t chunk)
{
    uint8_t *data;
    size_t size;
    enum coffer_status status =
        store_get(suite->fixture.store, &suite->keys[chunk], &data, &size, NULL);

    if (status != COFFER_OK) {
        assert_true(status == COFFER_DATA_CORRUPT || status == COFFER_NO_SUCH_CHUNK);
        return status;
    }
    assert_int_equal(size, suite->sizes[chunk]);
    assert_memory_equal(data, suite->data[chunk], size);
    free(data);
    return COFFER_OK;
}

static void check_all_good(struct suite *suite)
{
    for (size_t i = 0; i < CHUNKS; i++)
        assert_int_equal(get_checked(suite, i), i == DELETED ? COFFER_NO_SUCH_CHUNK : COFFER_OK);
}

/* Which bytes to flip: all of what is small, three of each large payload. */
static uint64_t next_byte(const struct suite *suite, uint64_t at, uint64_t stride)
{
    const struct pack_scan_item *record = pack_record_at(&suite->records, at);

    if (record != NULL && record->size > 10000 && at >= record->offset + RECORD_HEADER_SIZE)
        return min_u64(at + record->size / 2, record->offset + record->size);
    return at + stride;
}

/* ---- flipping, with the index in place and the store open ---- */

static void test_every_byte_with_an_index(void **state)
{
    struct suite *suite = *state;
    uint64_t flips = 0;

    fixture_open(&suite->fixture);
    for (uint64_t at = 0; at < suite->records.pack_size; at = next_byte(suite, at, 1)) {
        const struct pack_scan_item *record = pack_record_at(&suite->records, at);

        file_flip(suite->pack_path, at, (uint8_t)(1U << at % 8));
        for (size_t i = 0; i < CHUNKS; i++) {
            enum coffer_status status = get_checked(suite, i), wanted = COFFER_OK;

            if (i == DELETED)
                wanted = COFFER_NO_SUCH_CHUNK;
            else if (record != NULL && concerns(suite, record, i) &&
                     !pack_record_is_padding(record, at) &&
                     at >= record->offset + RECORD_HEADER_SIZE &&
                     record->header.type != RECORD_MANIFEST)
                wanted = COFFER_DATA_CORRUPT; /* headers and manifests are in the index, too */
            assert_int_equal(status, wanted);
        }
        file_flip(suite->pack_path, at, (uint8_t)(1U << at % 8));
        flips++;
    }
    check_all_good(suite);
    assert_true(damaged_of(suite) > 0);
    print_message("%llu flips\n", (unsigned long long)flips);
}

/* ---- flipping, and making the index again ---- */

static void check_after_rebuild(struct suite *suite, uint64_t at)
{
    const struct pack_scan_item *record = pack_record_at(&suite->records, at);
    bool reported;
    enum coffer_status got[CHUNKS];

    for (size_t i = 0; i < CHUNKS; i++)
        got[i] = get_checked(suite, i);
    reported = damaged_of(suite) > 0;
    if (record == NULL) { /* the whole pack is kept aside */
        assert_true(reported);
        return;
    }
    for (size_t i = 0; i < CHUNKS; i++) {
        if (!concerns(suite, record, i) || pack_record_is_padding(record, at))
            assert_int_equal(got[i], i == DELETED ? COFFER_NO_SUCH_CHUNK : COFFER_OK);
        else if (record->header.type != RECORD_TOMBSTONE && i != DELETED)
            assert_true(got[i] == COFFER_DATA_CORRUPT ||
                        (got[i] == COFFER_NO_SUCH_CHUNK &&
                            (reported || !pack_record_is_known_durable(&suite->records, record))));
    }
    if (!pack_record_is_padding(record, at) &&
        pack_record_is_known_durable(&suite->records, record))
        assert_true(reported);
}

static void flip_and_rebuild(struct suite *suite, uint64_t stride)
{
    uint64_t flips = 0;

    for (uint64_t at = 0; at < suite->records.pack_size; at = next_byte(suite, at, stride)) {
        struct store_fixture *fixture = &suite->fixture;
        size_t size;
        uint8_t *kept = file_bytes(suite->pack_path, &size);

        fixture_remove_index(fixture);
        file_flip(suite->pack_path, at, (uint8_t)(1U << at % 8));
        fixture_open(fixture);
        check_after_rebuild(suite, at);
        fixture_close(fixture);
        file_put_bytes(suite->pack_path, kept, size); /* a torn tail was cut off */
        free(kept);
        flips++;
    }
    fixture_remove_index(&suite->fixture);
    fixture_open(&suite->fixture);
    check_all_good(suite);
    assert_int_equal(damaged_of(suite), 0);
    print_message("%llu flips\n", (unsigned long long)flips);
}

static void test_bytes_without_an_index(void **state)
{
    flip_and_rebuild(*state, test_long() ? 1 : 37);
}

/* ---- healing ---- */

static void test_putting_again_heals(void **state)
{
    struct suite *suite = *state;

    for (size_t i = 0; i < suite->records.count; i++) {
        const struct pack_scan_item *record = &suite->records.items[i];

        if (record->header.stored_size > 0 && record->header.type != RECORD_TOMBSTONE &&
            record->header.type != RECORD_SEAL)
            file_flip(suite->pack_path, record->offset + RECORD_HEADER_SIZE, 0x40);
    }
    fixture_remove_index(&suite->fixture);
    fixture_open(&suite->fixture);
    for (size_t i = 0; i < CHUNKS; i++) {
        enum coffer_status status = get_checked(suite, i);
        struct upload_options options = {.size = suite->sizes[i]};
        struct upload_result result;

        if (i == DELETED)
            continue;
        if (i == 0) { /* it has no bytes that could be damaged */
            assert_int_equal(status, COFFER_OK);
            continue;
        }
        if (i + 1 < CHUNKS) /* the last one was taken for a torn tail */
            assert_int_equal(status, COFFER_DATA_CORRUPT);
        assert_int_equal(store_put(suite->fixture.store, suite->data[i], suite->sizes[i], 0,
                             &options, &result, NULL),
            COFFER_OK);
        assert_true(result.created);
    }
    check_all_good(suite);
    fixture_reopen(&suite->fixture);
    check_all_good(suite);
    fixture_close(&suite->fixture);
    fixture_remove_index(&suite->fixture);
    fixture_open(&suite->fixture);
    check_all_good(suite);
}

/* ---- payloads that are not read whole ---- */

static void test_large_payloads(void **state)
{
    static const size_t sizes[] = {RECORD_SMALL + 1, 300000, 3 << 20};

    (void)state;
    quiet();
    for (size_t i = 0; i < ARRAY_COUNT(sizes); i++) {
        uint64_t first = PACK_HEADER_SIZE + RECORD_HEADER_SIZE;
        const uint64_t places[] = {first, first + sizes[i] / 2, first + sizes[i] - 1};
        uint8_t *data = content_make(sizes[i], i + 1, CONTENT_RANDOM), *got;
        struct store_fixture fixture;
        struct digest key;
        size_t size;

        fixture_init(&fixture, ENGINE_LOCAL);
        fixture.options.segment_size = 4 << 20;
        fixture_open(&fixture);
        key = store_put_good(fixture.store, data, sizes[i]);
        for (size_t place = 0; place < ARRAY_COUNT(places); place++) {
            const char *pack = fixture_data_path(&fixture, "packs/0000000001.pack");

            file_flip(pack, places[place], 0x10);
            assert_int_equal(
                store_get(fixture.store, &key, &got, &size, NULL), COFFER_DATA_CORRUPT);
            file_flip(pack, places[place], 0x10);
        }
        check_content(fixture.store, &key, data, sizes[i]);
        fixture_release(&fixture);
        free(data);
    }
}

/* ---- the other files ---- */

static void test_every_byte_of_the_marker(void **state)
{
    struct suite *suite = *state;
    const char *path = fixture_data_path(&suite->fixture, "STORE");
    char marker[FIXTURE_PATH_SIZE + 80];
    size_t size;
    uint8_t *kept = file_bytes(path, &size);
    struct error error;

    (void)snprintf(marker, sizeof(marker), "%s", path);
    for (size_t at = 0; at < size; at++)
        for (unsigned bit = 0; bit < 8; bit += 3) {
            file_flip(marker, at, (uint8_t)(1U << bit));
            assert_int_equal(fixture_try_open(&suite->fixture, &error), COFFER_FORMAT_UNKNOWN);
            assert_true(strlen(error.text) > 20);
            file_flip(marker, at, (uint8_t)(1U << bit));
        }
    for (size_t cut = 0; cut < size; cut++) {
        file_put_bytes(marker, kept, cut);
        assert_int_equal(fixture_try_open(&suite->fixture, &error), COFFER_FORMAT_UNKNOWN);
    }
    file_put_bytes(marker, kept, size);
    fixture_open(&suite->fixture);
    check_all_good(suite);
    free(kept);
}

/* After this the store opens, or says why not; and reads tell the truth, or fail. */
static void check_with_spoiled_index(struct suite *suite, unsigned *opened, unsigned *readable)
{
    struct error error = {.text = ""};

    if (fixture_try_open(&suite->fixture, &error) != COFFER_OK) {
        assert_true(strlen(error.text) > 10);
        return;
    }
    (*opened)++;
    for (size_t i = 0; i < CHUNKS; i++) {
        enum coffer_status status = get_checked(suite, i);

        if (i == DELETED)
            assert_int_not_equal(status, COFFER_OK);
        else
            assert_int_not_equal(status, COFFER_NO_SUCH_CHUNK);
        *readable += status == COFFER_OK;
    }
    (void)store_close(suite->fixture.store, NULL);
    suite->fixture.store = NULL;
}

static void test_bytes_of_the_index(void **state)
{
    struct suite *suite = *state;
    char names[32][64], good[FIXTURE_PATH_SIZE + 80];
    size_t count;
    unsigned tries = 0, opened = 0, readable = 0;
    uint64_t random = 4711;

    (void)snprintf(good, sizeof(good), "%s", fixture_path(&suite->fixture, "good"));
    tree_copy(fixture_data_path(&suite->fixture, "index"), good);
    count = folder_list(good, "", names, 32);
    assert_true(count >= 4);
    for (size_t i = 0; i < count; i++)
        for (int turn = 0; turn < (test_long() ? 200 : 5); turn++) {
            char path[FIXTURE_PATH_SIZE + 200];
            size_t size;
            uint8_t *bytes;

            fixture_remove_index(&suite->fixture);
            tree_copy(good, fixture_data_path(&suite->fixture, "index"));
            (void)snprintf(
                path, sizeof(path), "%s/%s", fixture_data_path(&suite->fixture, "index"), names[i]);
            bytes = file_bytes(path, &size);
            if (turn == 0)
                assert_int_equal(unlink(path), 0);
            else if (turn == 1)
                file_put_bytes(path, bytes, size / 2);
            else if (size > 0)
                file_flip(path, random_below(&random, size), (uint8_t)(1U << random % 8));
            free(bytes);
            check_with_spoiled_index(suite, &opened, &readable);
            tries++;
        }
    print_message("%u spoiled indexes, %u opened, %u of %u reads good\n", tries, opened, readable,
        opened * (CHUNKS - 1));
    assert_int_equal(opened, tries);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        {"every byte, open pack", test_every_byte_with_an_index, set_up_open, tear_down, NULL},
        {"every byte, sealed pack", test_every_byte_with_an_index, set_up_sealed, tear_down, NULL},
        {"bytes, no index, open pack", test_bytes_without_an_index, set_up_open, tear_down, NULL},
        {"bytes, no index, sealed pack", test_bytes_without_an_index, set_up_sealed, tear_down,
            NULL},
        cmocka_unit_test_setup_teardown(test_putting_again_heals, set_up_open, tear_down),
        cmocka_unit_test(test_large_payloads),
        cmocka_unit_test_setup_teardown(test_every_byte_of_the_marker, set_up_open, tear_down),
        cmocka_unit_test_setup_teardown(test_bytes_of_the_index, set_up_open, tear_down),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
