/*
 * Goal: a validation of a whole store finds nothing, whatever goes on meanwhile, and finds every
 * kind of damage: of contents, headers, whole packs, of contents under a name that is not theirs,
 * and of the index, which may have lost rows or lead to the wrong place. Method: each kind is made
 * in the files of a closed store.
 */
#include <fcntl.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "storage/base/checksum.h"
#include "storage/base/invariant.h"
#include "storage/base/log.h"
#include "storage/index/index.h"
#include "storage/maintenance.h"
#include "tests/support/dataset_fixture.h"
#include "tests/support/pack_records.h"

enum {
    CHUNKS = 8,
    DELETED = 2,
    COMPRESSED = 3,
    SEGMENTED = 4, /* of three segments */
    SMALL = 5,
    LARGE_SEGMENT = 2 << 20, /* of the store that has a chunk too large for a scan's buffer */
};

struct suite {
    struct store_fixture fixture;
    struct digest keys[CHUNKS];
    struct pack_records records; /* of the first pack, read with the store closed */
    char pack_path[FIXTURE_PATH_SIZE + 80];
    struct validate_result result;
};

/* ---- the store ---- */

static void fill(struct suite *suite)
{
    static const size_t sizes[CHUNKS] = {
        0, 1, 100, 5000, 2 * FIXTURE_SEGMENT + 700, 90, 800, FIXTURE_SEGMENT};
    struct dataset *dataset = ds_make(suite->fixture.store, "run");

    for (size_t i = 0; i < CHUNKS; i++) {
        uint8_t *data =
            content_make(sizes[i], i + 1, i == COMPRESSED ? CONTENT_TEXT : CONTENT_RANDOM);

        suite->keys[i] = store_put_good(suite->fixture.store, data, sizes[i]);
        free(data);
    }
    assert_int_equal(store_delete_one(suite->fixture.store, &suite->keys[DELETED]), COFFER_OK);
    (void)ds_append_text(dataset, "a", "an append of a channel");
    (void)ds_append_text(dataset, "a", ", and another one");
    dataset_drop(dataset);
}

static int set_up(void **state)
{
    struct suite *suite = calloc(1, sizeof(*suite));

    invariant(suite != NULL);
    log_configure(LOG_ERROR + 1, false);
    fixture_init(&suite->fixture, ENGINE_LOCAL);
    suite->fixture.options.default_channels = 1;
    fixture_open(&suite->fixture);
    fill(suite);
    fixture_close(&suite->fixture);
    (void)snprintf(suite->pack_path, sizeof(suite->pack_path), "%s",
        fixture_data_path(&suite->fixture, "packs/0000000001.pack"));
    suite->records = pack_records_read(suite->pack_path);
    *state = suite;
    return 0;
}

static int tear_down(void **state)
{
    struct suite *suite = *state;

    pack_records_release(&suite->records);
    fixture_release(&suite->fixture);
    free(suite);
    return 0;
}

static void validate(struct suite *suite)
{
    const struct validate_options options = {0};

    CHECK_STATUS(
        store_validate(suite->fixture.store, &options, NULL, &suite->result, err), COFFER_OK);
}

static void check_clean(struct suite *suite)
{
    validate(suite);
    if (suite->result.damaged_count > 0)
        fail_msg("%s: %s", suite->result.damaged[0].key, suite->result.damaged[0].what);
    if (suite->result.missing_count > 0)
        fail_msg("%s: %s", suite->result.missing[0].key, suite->result.missing[0].what);
}

static const struct pack_scan_item *record_of(
    const struct suite *suite, enum record_type type, const struct digest *key)
{
    const struct pack_scan_item *found = NULL;

    for (size_t i = 0; i < suite->records.count && found == NULL; i++) {
        const struct pack_scan_item *item = &suite->records.items[i];

        if (item->header.type == type &&
            (key == NULL || memcmp(item->header.key, key->bytes, DIGEST_SIZE) == 0))
            found = item;
    }
    invariant(found != NULL);
    return found;
}

/* One thing is listed as damaged, with this key. */
static void check_one(struct suite *suite, uint64_t offset, const char *key)
{
    validate(suite);
    assert_int_equal(suite->result.missing_count, 0);
    assert_int_equal(suite->result.damaged_count, 1);
    assert_int_equal(suite->result.damaged[0].pack, 1);
    assert_int_equal(suite->result.damaged[0].offset, offset);
    assert_string_equal(suite->result.damaged[0].key, key);
}

static const char *hex_of(const struct digest *key)
{
    static _Thread_local char hex[DIGEST_HEX_SIZE + 1];

    digest_to_hex(key, hex);
    return hex;
}

/* ---- nothing is wrong ---- */

static void test_whole(void **state)
{
    struct suite *suite = *state;
    struct store_status status;

    fixture_open(&suite->fixture);
    check_clean(suite);
    store_status(suite->fixture.store, &status);
    assert_int_equal(suite->result.unreferenced_bytes, status.dead_bytes);
    assert_true(status.dead_bytes > 0);
    assert_int_equal(suite->result.chunks, CHUNKS - 1);
    assert_int_equal(suite->result.checked, suite->records.count);
    fixture_close(&suite->fixture);
    fixture_remove_index(&suite->fixture);
    fixture_open(&suite->fixture);
    check_clean(suite);
    store_status(suite->fixture.store, &status);
    assert_int_equal(suite->result.unreferenced_bytes, status.dead_bytes);
}

static bool stop_at_once(void *context, uint64_t done, uint64_t total)
{
    uint64_t *calls = context;

    assert_true(done <= total);
    return ++*calls < 3;
}

static void test_stopped(void **state)
{
    struct suite *suite = *state;
    const struct validate_options options = {.bytes_per_second = 1}; /* it would take a week */
    uint64_t calls = 0;
    const struct maintenance_watch watch = {stop_at_once, &calls};

    fixture_open(&suite->fixture);
    CHECK_STATUS(store_validate(suite->fixture.store, &options, &watch, &suite->result, err),
        COFFER_DRAINING);
    assert_int_equal(calls, 3);
}

/* ---- contents ---- */

static void test_contents(void **state)
{
    struct suite *suite = *state;
    const struct pack_scan_item *small = record_of(suite, RECORD_CHUNK, &suite->keys[SMALL]),
                                *zstd = record_of(suite, RECORD_CHUNK, &suite->keys[COMPRESSED]),
                                *dead = record_of(suite, RECORD_CHUNK, &suite->keys[DELETED]),
                                *batch = record_of(suite, RECORD_BATCH, NULL);

    assert_int_equal(zstd->header.codec, CODEC_ZSTD);
    fixture_open(&suite->fixture);
    file_flip(suite->pack_path, small->offset + RECORD_HEADER_SIZE + 7, 1);
    check_one(suite, small->offset, hex_of(&suite->keys[SMALL]));
    file_flip(suite->pack_path, small->offset + RECORD_HEADER_SIZE + 7, 1);
    file_flip(suite->pack_path, zstd->offset + RECORD_HEADER_SIZE + 40, 4);
    check_one(suite, zstd->offset, hex_of(&suite->keys[COMPRESSED]));
    file_flip(suite->pack_path, zstd->offset + RECORD_HEADER_SIZE + 40, 4);
    file_flip(suite->pack_path, dead->offset + RECORD_HEADER_SIZE, 1);
    check_one(suite, dead->offset, ""); /* nobody misses it */
    file_flip(suite->pack_path, dead->offset + RECORD_HEADER_SIZE, 1);
    file_flip(suite->pack_path, batch->offset + RECORD_HEADER_SIZE, 1);
    validate(suite);
    assert_int_equal(suite->result.damaged_count, 1);
    assert_int_equal(suite->result.damaged[0].offset, batch->offset);
    file_flip(suite->pack_path, batch->offset + RECORD_HEADER_SIZE, 1);
}

static void test_blocks(void **state)
{
    struct suite *suite = *state;
    size_t found = 0;

    fixture_open(&suite->fixture);
    for (size_t i = 0; i < suite->records.count; i++) {
        const struct pack_scan_item *item = &suite->records.items[i];

        if (item->header.type != RECORD_BATCH || item->header.raw_size == 0)
            continue; /* it has no block */
        file_flip(suite->pack_path, item->offset + RECORD_HEADER_SIZE, 1);
        check_one(suite, item->offset, "dataset run");
        file_flip(suite->pack_path, item->offset + RECORD_HEADER_SIZE, 1);
        found++;
    }
    assert_true(found >= 2);
}

/* Its second segment: the record is named, and the chunk that needs it. */
static void test_segments(void **state)
{
    struct suite *suite = *state;
    const struct pack_scan_item *segment = record_of(suite, RECORD_SEGMENT, NULL);

    fixture_open(&suite->fixture);
    file_flip(suite->pack_path, segment->offset + RECORD_HEADER_SIZE + 3, 1);
    validate(suite);
    assert_int_equal(suite->result.damaged_count, 2);
    assert_int_equal(suite->result.damaged[0].offset, segment->offset);
    assert_string_equal(suite->result.damaged[0].key, "a part of a large chunk");
    assert_string_equal(suite->result.damaged[1].key, hex_of(&suite->keys[SEGMENTED]));
}

static void test_headers(void **state)
{
    struct suite *suite = *state;
    const struct pack_scan_item *small = record_of(suite, RECORD_CHUNK, &suite->keys[SMALL]);

    fixture_open(&suite->fixture);
    file_flip(suite->pack_path, small->offset + 70, 1);
    validate(suite);
    assert_int_equal(suite->result.damaged_count, 1);
    assert_int_equal(suite->result.damaged[0].offset, small->offset);
    assert_int_equal(suite->result.missing_count, 1);
    assert_int_equal(suite->result.missing[0].offset, small->offset);
    assert_string_equal(suite->result.missing[0].key, hex_of(&suite->keys[SMALL]));
}

/* The last record, behind which none says that it was durable. */
static void test_the_end_of_an_open_pack(void **state)
{
    struct suite *suite = *state;
    const struct pack_scan_item *last = &suite->records.items[suite->records.count - 1];

    assert_false(suite->records.sealed);
    assert_int_equal(last->header.type, RECORD_BATCH);
    fixture_open(&suite->fixture);
    file_flip(suite->pack_path, last->offset + 70, 1);
    check_one(suite, last->offset, "");
    file_flip(suite->pack_path, last->offset + 70, 1);
    file_flip(
        suite->pack_path, last->offset + RECORD_HEADER_SIZE + last->header.stored_size - 1, 1);
    validate(suite);
    assert_int_equal(suite->result.damaged_count, 1);
    assert_int_equal(suite->result.damaged[0].offset, last->offset);
}

/* All checksums are right, and the content is another one. */
static void test_another_content(void **state)
{
    struct suite *suite = *state;
    const struct pack_scan_item *small = record_of(suite, RECORD_CHUNK, &suite->keys[SMALL]);
    uint8_t bytes[RECORD_HEADER_SIZE + 90] = {0};
    struct record_header header = small->header;
    int fd = open(suite->pack_path, O_RDWR | O_CLOEXEC);

    assert_int_equal(header.stored_size, 90);
    memset(bytes + RECORD_HEADER_SIZE, 'x', 90);
    header.checksum = checksum_once(bytes + RECORD_HEADER_SIZE, 90);
    record_header_encode(&header, bytes);
    assert_int_equal(
        pwrite(fd, bytes, sizeof(bytes), (off_t)small->offset), (ssize_t)sizeof(bytes));
    close(fd);
    fixture_open(&suite->fixture);
    check_one(suite, small->offset, hex_of(&suite->keys[SMALL]));
}

/* A content too large for a scan's buffer is hashed when it is read the second time. */
static void test_large(void **state)
{
    struct suite *suite = *state;
    uint8_t *data = content_make(LARGE_SEGMENT - 5, 77, CONTENT_RANDOM);
    char path[FIXTURE_PATH_SIZE + 80];
    struct chunk_info info;
    struct digest key;

    suite->fixture.options.segment_size = LARGE_SEGMENT;
    suite->fixture.options.pack_size = 4 * LARGE_SEGMENT;
    fixture_open(&suite->fixture);
    key = store_put_good(suite->fixture.store, data, LARGE_SEGMENT - 5);
    free(data);
    check_clean(suite);
    assert_int_equal(store_stat(suite->fixture.store, &key, &info, NULL), COFFER_OK);
    assert_false(info.segmented);
    (void)snprintf(path, sizeof(path), "%s/packs/%010llu.pack", suite->fixture.data_dir,
        (unsigned long long)info.pack);
    file_flip(path, info.offset + RECORD_HEADER_SIZE + LARGE_SEGMENT / 2, 1);
    validate(suite);
    assert_true(suite->result.damaged_count >= 1);
    assert_string_equal(suite->result.damaged[0].key, hex_of(&key));
}

static void test_a_lost_pack(void **state)
{
    struct suite *suite = *state;

    assert_int_equal(unlink(suite->pack_path), 0);
    fixture_open(&suite->fixture);
    validate(suite);
    assert_int_equal(suite->result.damaged_count, 1);
    assert_int_equal(suite->result.damaged[0].pack, 1);
    assert_int_equal(suite->result.missing_count, CHUNKS - 1);
}

/* ---- the index ---- */

static void change_index(struct suite *suite, const struct digest *key, uint64_t move, bool remove)
{
    const struct index_options options = {.cache_size = 1 << 20};
    struct index_batch *batch = index_batch_create();
    struct engine_row row;
    struct index *index;

    CHECK_STATUS(
        index_open(fixture_data_path(&suite->fixture, "index"), &options, &index, err), COFFER_OK);
    CHECK_STATUS(index_find_chunk(index, key, &row, err), COFFER_OK);
    row.offset += move;
    if (move == 0)
        row.checksum++;
    if (remove)
        index_batch_delete_chunk(batch, key);
    else
        index_batch_put_chunk(batch, key, &row);
    CHECK_STATUS(index_write(index, batch, err), COFFER_OK);
    CHECK_STATUS(index_flush(index, true, err), COFFER_OK);
    index_batch_destroy(batch);
    index_close(index);
}

static void test_lost_rows(void **state)
{
    struct suite *suite = *state;

    change_index(suite, &suite->keys[SMALL], 0, true);
    fixture_open(&suite->fixture);
    check_one(suite, 0, "");
    assert_non_null(strstr(suite->result.damaged[0].what, "fewer"));
}

static void test_rows_that_lead_elsewhere(void **state)
{
    struct suite *suite = *state;
    const struct pack_scan_item *small = record_of(suite, RECORD_CHUNK, &suite->keys[SMALL]);

    change_index(suite, &suite->keys[SMALL], 8, false);
    fixture_open(&suite->fixture);
    validate(suite);
    assert_int_equal(suite->result.missing_count, 1);
    assert_int_equal(suite->result.missing[0].offset, small->offset + 8);
    assert_string_equal(suite->result.missing[0].key, hex_of(&suite->keys[SMALL]));
}

static void test_rows_that_say_something_else(void **state)
{
    struct suite *suite = *state;
    const struct pack_scan_item *small = record_of(suite, RECORD_CHUNK, &suite->keys[SMALL]);

    change_index(suite, &suite->keys[SMALL], 0, false);
    fixture_open(&suite->fixture);
    check_one(suite, small->offset, hex_of(&suite->keys[SMALL]));
}

/* ---- under load ---- */

struct load {
    struct store *store;
    uint64_t seed;
    _Atomic bool over;
    _Atomic uint64_t rounds;
};

static void *write_and_delete(void *argument)
{
    struct load *load = argument;

    while (!atomic_load(&load->over)) {
        uint64_t size = 1 + random_below(&load->seed, 3 * (uint64_t)FIXTURE_SEGMENT);
        uint8_t *data = content_make(size, random_next(&load->seed), CONTENT_RANDOM);
        struct digest key = store_put_good(load->store, data, size);

        if (random_below(&load->seed, 3) > 0)
            invariant(store_delete_one(load->store, &key) == COFFER_OK);
        atomic_fetch_add(&load->rounds, 1);
        free(data);
    }
    return NULL;
}

static void *repack(void *argument)
{
    struct load *load = argument;

    while (!atomic_load(&load->over)) {
        const struct repack_options options = {.dead_ratio = 0.1, .seal_idle = true};
        struct repack_result result;

        invariant(store_repack(load->store, &options, NULL, &result, NULL) == COFFER_OK);
    }
    return NULL;
}

static void test_under_load(void **state)
{
    enum { WRITERS = 2, VALIDATIONS = 10 };
    struct suite *suite = *state;
    struct load loads[WRITERS + 1];
    pthread_t threads[WRITERS + 1];

    suite->fixture.options.default_channels = 2;
    fixture_open(&suite->fixture);
    for (size_t i = 0; i <= WRITERS; i++) {
        loads[i] = (struct load){.store = suite->fixture.store, .seed = i + 1};
        assert_int_equal(
            pthread_create(&threads[i], NULL, i < WRITERS ? write_and_delete : repack, &loads[i]),
            0);
    }
    for (unsigned i = 0; i < VALIDATIONS || atomic_load(&loads[0].rounds) < VALIDATIONS; i++)
        check_clean(suite);
    for (size_t i = 0; i <= WRITERS; i++)
        atomic_store(&loads[i].over, true);
    for (size_t i = 0; i <= WRITERS; i++)
        pthread_join(threads[i], NULL);
    check_clean(suite);
}

#define CASE(test) cmocka_unit_test_setup_teardown(test, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        CASE(test_whole),
        CASE(test_stopped),
        CASE(test_contents),
        CASE(test_blocks),
        CASE(test_segments),
        CASE(test_headers),
        CASE(test_the_end_of_an_open_pack),
        CASE(test_another_content),
        CASE(test_large),
        CASE(test_a_lost_pack),
        CASE(test_lost_rows),
        CASE(test_rows_that_lead_elsewhere),
        CASE(test_rows_that_say_something_else),
        CASE(test_under_load),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
