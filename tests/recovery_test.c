/*
 * Goal: whatever a crash or a hand has left in the folder, the store opens with all that was
 * acknowledged, or says what is wrong, and goes on from there. Method: spoil a closed store (or
 * the copy of an open one, which is what a kill leaves) in one certain way, open it, compare with
 * what must be there; then write on, lose the index, and compare again.
 */
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "storage/base/bytes.h"
#include "storage/base/checksum.h"
#include "storage/base/invariant.h"
#include "storage/base/log.h"
#include "storage/pack/pack_format.h"
#include "storage/store.h"
#include "tests/support/store_fixture.h"

enum { CHUNKS = 40 };

static int set_up(void **state)
{
    struct store_fixture *fixture = calloc(1, sizeof(*fixture));

    invariant(fixture != NULL);
    log_configure(LOG_ERROR + 1, false); /* damage is logged; here it is wanted */
    fixture_init(fixture, ENGINE_LOCAL);
    fixture->options.default_channels = 1;
    fixture_open(fixture);
    *state = fixture;
    return 0;
}

static int tear_down(void **state)
{
    fixture_release(*state);
    free(*state);
    return 0;
}

static struct store_status status_of(struct store_fixture *fixture)
{
    struct store_status status;

    store_status(fixture->store, &status);
    return status;
}

static uint8_t *chunk_of(unsigned number, size_t *size)
{
    *size = number % 7 == 3 ? 2 * FIXTURE_SEGMENT + number : number * 611;
    return content_make(*size, number, number % 2 == 0 ? CONTENT_TEXT : CONTENT_RANDOM);
}

static struct digest key_of(unsigned number)
{
    size_t size;
    uint8_t *data = chunk_of(number, &size);
    struct digest key = content_key(data, size);

    free(data);
    return key;
}

static void put_number(struct store_fixture *fixture, unsigned number)
{
    size_t size;
    uint8_t *data = chunk_of(number, &size);

    (void)store_put_good(fixture->store, data, size);
    free(data);
}

static void check_number(struct store_fixture *fixture, unsigned number, bool there)
{
    size_t size;
    uint8_t *data = chunk_of(number, &size);
    struct digest key = content_key(data, size);

    if (there)
        check_content(fixture->store, &key, data, size);
    else
        assert_false(store_has(fixture->store, &key));
    free(data);
}

/* Chunks 0 .. CHUNKS - 1, every fifth deleted again. */
static void fill(struct store_fixture *fixture)
{
    for (unsigned i = 0; i < CHUNKS; i++)
        put_number(fixture, i);
    for (unsigned i = 0; i < CHUNKS; i += 5) {
        struct digest key = key_of(i);

        assert_int_equal(store_delete_one(fixture->store, &key), COFFER_OK);
    }
}

static void check_filled(struct store_fixture *fixture)
{
    for (unsigned i = 0; i < CHUNKS; i++)
        check_number(fixture, i, i % 5 != 0);
}

static void check_same_status(const struct store_status *a, const struct store_status *b)
{
    assert_int_equal(a->chunks, b->chunks);
    assert_int_equal(a->used_space, b->used_space);
    assert_int_equal(a->live_bytes, b->live_bytes);
    assert_int_equal(a->dead_bytes, b->dead_bytes);
    assert_int_equal(a->packs, b->packs);
    assert_int_equal(a->damaged_records, b->damaged_records);
}

/* ---- the index ---- */

static void test_index_lost(void **state)
{
    struct store_fixture *fixture = *state;
    struct store_status before, after;

    fixture->options.pack_size = 1 << 20;
    fill(fixture);
    before = status_of(fixture);
    for (int pass = 0; pass < 3; pass++) {
        fixture_close(fixture);
        if (pass < 2)
            fixture_remove_index(fixture);
        fixture_open(fixture);
        check_filled(fixture);
        after = status_of(fixture);
        check_same_status(&before, &after);
    }
}

static void test_index_unusable(void **state)
{
    static const char *const names[] = {"CURRENT", "IDENTITY", "LOCK", "MANIFEST-000005"};
    struct store_fixture *fixture = *state, other;
    char path[64];

    fill(fixture);
    fixture_close(fixture);
    for (size_t i = 0; i < ARRAY_COUNT(names); i++) {
        (void)snprintf(path, sizeof(path), "index/%s", names[i]);
        file_put_bytes(fixture_data_path(fixture, path), "this is no such file", 20);
        fixture_open(fixture);
        check_filled(fixture);
        fixture_close(fixture);
    }
    fixture_init(&other, ENGINE_LOCAL); /* the index of another store */
    fixture_open(&other);
    put_number(&other, 999);
    fixture_close(&other);
    fixture_remove_index(fixture);
    tree_copy(fixture_data_path(&other, "index"), fixture_data_path(fixture, "index"));
    fixture_open(fixture);
    check_filled(fixture);
    check_number(fixture, 999, false);
    assert_int_equal(status_of(fixture).damaged_records, 0);
    fixture_release(&other);
}

/* An old index (from a backup, say) is brought up from the packs. */
static void test_index_is_old(void **state)
{
    struct store_fixture *fixture = *state;

    put_number(fixture, 1);
    put_number(fixture, 5);
    fixture_close(fixture);
    tree_copy(fixture_data_path(fixture, "index"), fixture_path(fixture, "old"));
    fixture_open(fixture);
    fill(fixture);
    fixture_close(fixture);
    fixture_remove_index(fixture);
    tree_copy(fixture_path(fixture, "old"), fixture_data_path(fixture, "index"));
    fixture_open(fixture);
    check_filled(fixture);
    assert_int_equal(status_of(fixture).damaged_records, 0);
}

static void test_recovering_twice_changes_nothing(void **state)
{
    struct store_fixture *fixture = *state;
    struct store_status first, second;
    const char *pack;
    uint8_t *bytes[2];
    size_t sizes[2];

    fill(fixture);
    fixture_crash(fixture);
    pack = fixture_data_path(fixture, "packs/0000000001.pack");
    for (int pass = 0; pass < 2; pass++) {
        fixture_open(fixture);
        check_filled(fixture);
        *(pass == 0 ? &first : &second) = status_of(fixture);
        fixture_crash(fixture); /* without a clean end */
        pack = fixture_data_path(fixture, "packs/0000000001.pack");
        bytes[pass] = file_bytes(pack, &sizes[pass]);
    }
    check_same_status(&first, &second);
    assert_int_equal(sizes[0], sizes[1]);
    assert_memory_equal(bytes[0], bytes[1], sizes[0]);
    free(bytes[0]);
    free(bytes[1]);
    fixture_open(fixture);
}

/* ---- the order of operations ---- */

/* One key goes from lane to lane and so from pack to pack, stored and deleted in turn. */
static void test_lanes_replay_in_order(void **state)
{
    static const char *const channels[] = {"a", "b", "c"};
    struct store_fixture *fixture = *state;
    unsigned turns = 0;

    for (unsigned round = 0; round < 8; round++) {
        bool there = false;

        for (unsigned i = 0; i <= round; i++, turns++) {
            size_t size;
            uint8_t *data = chunk_of(3, &size);
            struct digest key = content_key(data, size);
            struct upload_options options = {
                .size = size, .channel = slice_from_text(channels[turns % 3])};
            struct upload_result result;

            if (there)
                assert_int_equal(store_delete_one(fixture->store, &key), COFFER_OK);
            else
                assert_int_equal(
                    store_put(fixture->store, data, size, 0, &options, &result, NULL), COFFER_OK);
            there = !there;
            free(data);
        }
        fixture_crash(fixture);
        if (round % 2 == 0)
            fixture_remove_index(fixture);
        fixture_open(fixture);
        check_number(fixture, 3, there);
        assert_int_equal(status_of(fixture).chunks, there);
        if (there) {
            struct digest key = key_of(3);

            assert_int_equal(store_delete_one(fixture->store, &key), COFFER_OK);
        }
    }
    assert_true(status_of(fixture).packs >= 3);
}

/* ---- torn tails ---- */

enum tear { TEAR_CUT, TEAR_ZERO, TEAR_GARBAGE, TEAR_HOLE, TEARS };

struct tail { /* the last group of records, written with one sync that was never acknowledged */
    uint64_t start, end;
    char pack[FIXTURE_PATH_SIZE + 80];
    char good[FIXTURE_PATH_SIZE + 80]; /* a copy of the data folder */
};

static void spoil_tail(const struct tail *tail, uint64_t at, enum tear tear)
{
    size_t size;
    uint8_t *bytes = file_bytes(tail->pack, &size);
    uint64_t hole_end = min_u64(tail->end, at + 200);

    if (tear == TEAR_CUT)
        size = (size_t)at;
    if (tear == TEAR_ZERO)
        memset(bytes + at, 0, tail->end - at);
    if (tear == TEAR_GARBAGE)
        content_fill(bytes + at, tail->end - at, at, CONTENT_RANDOM);
    if (tear == TEAR_HOLE) /* something in the middle is lost, and what follows is not */
        memset(bytes + at, 0, hole_end - at);
    file_put_bytes(tail->pack, bytes, size);
    free(bytes);
}

static void check_torn(struct store_fixture *fixture, const char *const *texts, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        struct digest key = content_key(texts[i], strlen(texts[i]));

        if (store_has(fixture->store, &key)) /* then whole */
            check_content(fixture->store, &key, texts[i], strlen(texts[i]));
    }
    check_number(fixture, 1, true);
    check_number(fixture, 3, true);
    assert_int_equal(status_of(fixture).damaged_records, 0);
}

static void test_torn_tail(void **state)
{
    static const char *const texts[] = {"the first of the last group", "and a second one",
        "and the third, with which the file ends"};
    struct store_fixture *fixture = *state;
    struct tail tail;
    struct stat info;
    struct pack_info pack;
    uint64_t step = test_long() ? 1 : 29;

    fixture_close(fixture);
    fixture->options.flush_interval_ns = (uint64_t)3600 * 1000000000;
    fixture_open(fixture);
    put_number(fixture, 1);
    put_number(fixture, 3);
    assert_int_equal(store_packs(fixture->store, 0, &pack, 1), 1);
    tail.start = pack.bytes;
    for (size_t i = 0; i < ARRAY_COUNT(texts); i++)
        store_put_buffered(fixture->store, NULL, texts[i], strlen(texts[i]), NULL);
    assert_int_equal(store_sync(fixture->store, NULL, 0, NULL, NULL), COFFER_OK);
    assert_int_equal(store_packs(fixture->store, 0, &pack, 1), 1);
    tail.end = pack.bytes;
    fixture_crash(fixture); /* the index knows nothing of it */
    (void)snprintf(
        tail.pack, sizeof(tail.pack), "%s", fixture_data_path(fixture, "packs/0000000001.pack"));
    (void)snprintf(tail.good, sizeof(tail.good), "%s", fixture_path(fixture, "good"));
    tree_copy(fixture->data_dir, tail.good);
    for (int tear = 0; tear < TEARS; tear++)
        for (uint64_t at = tail.start; at < tail.end; at += step) {
            tree_remove(fixture->data_dir);
            tree_copy(tail.good, fixture->data_dir);
            spoil_tail(&tail, at, (enum tear)tear);
            fixture_open(fixture);
            check_torn(fixture, texts, ARRAY_COUNT(texts));
            assert_int_equal(store_packs(fixture->store, 0, &pack, 1), 1);
            assert_true(stat(tail.pack, &info) == 0 && (uint64_t)info.st_size == pack.bytes);
            put_number(fixture, 8); /* and on it goes */
            fixture_close(fixture);
            fixture_remove_index(fixture);
            fixture_open(fixture);
            check_torn(fixture, texts, ARRAY_COUNT(texts));
            check_number(fixture, 8, true);
            fixture_close(fixture);
        }
    fixture_open(fixture);
}

/* ---- pack files ---- */

static void test_pack_of_a_newer_format(void **state)
{
    struct store_fixture *fixture = *state;
    const char *path;
    uint8_t *bytes, *after;
    size_t size, after_size;
    struct error error;

    fill(fixture);
    fixture_close(fixture);
    path = fixture_data_path(fixture, "packs/0000000001.pack");
    bytes = file_bytes(path, &size);
    put_le32(bytes + 8, PACK_FORMAT_VERSION + 1);
    put_le64(bytes + 56, checksum_once(bytes, 56));
    file_put_bytes(path, bytes, size);
    for (int pass = 0; pass < 2; pass++) {
        assert_int_equal(fixture_try_open(fixture, &error), COFFER_FORMAT_UNKNOWN);
        assert_non_null(strstr(error.text, "format"));
        after = file_bytes(path, &after_size);
        assert_int_equal(after_size, size);
        assert_memory_equal(after, bytes, size);
        free(after);
        fixture_remove_index(fixture);
    }
    put_le32(bytes + 8, PACK_FORMAT_VERSION);
    put_le64(bytes + 56, checksum_once(bytes, 56));
    file_put_bytes(path, bytes, size);
    free(bytes);
    fixture_open(fixture);
    check_filled(fixture);
}

static void test_pack_of_another_store(void **state)
{
    struct store_fixture *fixture = *state, other;
    uint8_t *bytes;
    size_t size;

    fill(fixture);
    fixture_close(fixture);
    fixture_init(&other, ENGINE_LOCAL);
    fixture_open(&other);
    put_number(&other, 999);
    fixture_close(&other);
    bytes = file_bytes(fixture_data_path(&other, "packs/0000000001.pack"), &size);
    file_put_bytes(fixture_data_path(fixture, "packs/0000000777.pack"), bytes, size);
    free(bytes);
    for (int pass = 0; pass < 2; pass++) {
        fixture_open(fixture);
        check_filled(fixture);
        check_number(fixture, 999, false);
        assert_int_equal(status_of(fixture).damaged_records, 1);
        put_number(fixture, 1000 + (unsigned)pass);
        fixture_close(fixture);
        fixture_remove_index(fixture);
    }
    bytes = file_bytes(fixture_data_path(fixture, "packs/0000000777.pack"), &size);
    free(bytes); /* it is still there */
    fixture_open(fixture);
    fixture_release(&other);
}

static void test_pack_missing(void **state)
{
    struct store_fixture *fixture = *state;
    struct pack_info packs[8];
    struct digest key = key_of(2);
    uint8_t *data;
    size_t size;
    bool with_index = true;

    for (int pass = 0; pass < 2; pass++, with_index = false) {
        put_number(fixture, 1);
        put_number(fixture, 2);
        fixture_close(fixture);
        assert_int_equal(unlink(fixture_data_path(fixture,
                             pass == 0 ? "packs/0000000001.pack" : "packs/0000000002.pack")),
            0);
        if (!with_index)
            fixture_remove_index(fixture);
        fixture_open(fixture);
        if (with_index) { /* without one, nobody knows of it */
            assert_int_equal(status_of(fixture).damaged_records, 1);
            assert_int_equal(
                store_get(fixture->store, &key, &data, &size, NULL), COFFER_DATA_CORRUPT);
            assert_int_equal(store_packs(fixture->store, 0, packs, 8), 1);
            assert_string_equal(packs[0].state, "poisoned");
        }
        put_number(fixture, 2); /* heals it, in a pack of another name */
        check_number(fixture, 2, true);
        fixture_reopen(fixture);
        check_number(fixture, 2, true);
        if (with_index) {
            assert_int_equal(store_packs(fixture->store, 0, packs, 8), 2);
            assert_int_equal(packs[1].id, 2);
        }
    }
}

/* A tombstone that is read late (its pack was away for a while) is older than what is there now. */
static void test_pack_comes_back(void **state)
{
    struct store_fixture *fixture = *state;
    struct digest key = key_of(2);
    const char *pack;

    put_number(fixture, 2);
    assert_int_equal(store_delete_one(fixture->store, &key), COFFER_OK);
    fixture_close(fixture);
    pack = fixture_data_path(fixture, "packs/0000000001.pack");
    assert_int_equal(rename(pack, fixture_path(fixture, "away")), 0);
    fixture_open(fixture);
    put_number(fixture, 2);
    fixture_close(fixture);
    fixture_remove_index(fixture);
    fixture_open(fixture); /* an index that knows only the second pack */
    fixture_close(fixture);
    pack = fixture_data_path(fixture, "packs/0000000001.pack");
    assert_int_equal(rename(fixture_path(fixture, "away"), pack), 0);
    fixture_open(fixture);
    check_number(fixture, 2, true);
    assert_int_equal(status_of(fixture).chunks, 1);
    fixture_close(fixture);
    fixture_remove_index(fixture);
    fixture_open(fixture);
    check_number(fixture, 2, true);
}

static void test_pack_shorter_than_the_index_knows(void **state)
{
    struct store_fixture *fixture = *state;
    struct digest key = key_of(3);
    const char *path;
    uint8_t *data;
    size_t size;

    put_number(fixture, 1);
    put_number(fixture, 3);
    fixture_close(fixture);
    path = fixture_data_path(fixture, "packs/0000000001.pack");
    assert_int_equal(truncate(path, 1000), 0);
    for (int pass = 0; pass < 2; pass++) {
        fixture_open(fixture);
        check_number(fixture, 1, true);
        if (pass == 0) {
            assert_true(status_of(fixture).damaged_records >= 1);
            assert_int_equal(
                store_get(fixture->store, &key, &data, &size, NULL), COFFER_DATA_CORRUPT);
            put_number(fixture, 3);
        }
        check_number(fixture, 3, true);
        fixture_close(fixture);
    }
    fixture_open(fixture);
}

static void test_leftovers_of_a_start(void **state)
{
    struct store_fixture *fixture = *state;
    uint8_t zeros[PACK_HEADER_SIZE] = {0};
    struct stat info;

    fill(fixture);
    fixture_crash(fixture);
    file_put_bytes(fixture_data_path(fixture, "packs/0000000050.pack"), zeros, 0);
    file_put_bytes(fixture_data_path(fixture, "packs/0000000051.pack"), zeros, 17);
    file_put_bytes(fixture_data_path(fixture, "packs/0000000052.pack"), zeros, sizeof(zeros));
    file_put_bytes(fixture_data_path(fixture, "packs/notes.txt"), "not ours", 8);
    file_put_bytes(fixture_data_path(fixture, "STORE.new"), "half", 4);
    fixture_open(fixture);
    check_filled(fixture);
    assert_int_equal(status_of(fixture).damaged_records, 0);
    assert_int_equal(status_of(fixture).packs, 1);
    assert_int_not_equal(stat(fixture_data_path(fixture, "packs/0000000051.pack"), &info), 0);
    assert_int_equal(stat(fixture_data_path(fixture, "packs/notes.txt"), &info), 0);
}

/* ---- the folder ---- */

static void test_folder_is_locked(void **state)
{
    struct store_fixture *fixture = *state;
    struct store *second;
    struct error error;

    put_number(fixture, 1);
    assert_int_equal(store_open(&fixture->options, &second, &error), COFFER_LOCKED);
    assert_non_null(strstr(error.text, fixture->data_dir));
    check_number(fixture, 1, true);
    fixture_reopen(fixture);
}

static void test_folder_is_not_a_store(void **state)
{
    struct store_fixture *fixture = *state;
    struct error error;
    struct stat info;

    put_number(fixture, 1);
    fixture_close(fixture);
    assert_int_equal(rename(fixture_data_path(fixture, "STORE"), fixture_path(fixture, "kept")), 0);
    assert_int_equal(fixture_try_open(fixture, &error), COFFER_FORMAT_UNKNOWN);
    file_put_bytes(fixture_data_path(fixture, "STORE"), "coffer store, format 2\nid 0\n", 28);
    assert_int_equal(fixture_try_open(fixture, &error), COFFER_FORMAT_UNKNOWN);
    assert_non_null(strstr(error.text, "newer"));
    assert_int_equal(rename(fixture_path(fixture, "kept"), fixture_data_path(fixture, "STORE")), 0);
    fixture_open(fixture);
    check_number(fixture, 1, true);
    fixture_close(fixture);
    fixture->options.data_dir = fixture_path(fixture, "home");
    assert_int_equal(mkdir(fixture->options.data_dir, 0750), 0);
    file_put_bytes(fixture_path(fixture, "home/letter.txt"), "dear", 4);
    assert_int_equal(fixture_try_open(fixture, &error), COFFER_FORMAT_UNKNOWN);
    assert_int_not_equal(stat(fixture_path(fixture, "home/packs"), &info), 0);
}

#define CASE(test) cmocka_unit_test_setup_teardown(test, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        CASE(test_index_lost),
        CASE(test_index_unusable),
        CASE(test_index_is_old),
        CASE(test_recovering_twice_changes_nothing),
        CASE(test_lanes_replay_in_order),
        CASE(test_torn_tail),
        CASE(test_pack_of_a_newer_format),
        CASE(test_pack_of_another_store),
        CASE(test_pack_missing),
        CASE(test_pack_comes_back),
        CASE(test_pack_shorter_than_the_index_knows),
        CASE(test_leftovers_of_a_start),
        CASE(test_folder_is_locked),
        CASE(test_folder_is_not_a_store),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
