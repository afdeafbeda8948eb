/*
 * Goal: each fault point of fault.def is reached, and what happens there is what the headers say.
 * Method: arm one, use the store, look at the answer, at fault_hits(), at what is readable, and at
 * what is left after a restart, with the index and without. fdatasync() is ours here too, so that
 * a second sync of a pack whose first one failed is seen.
 */
#include <assert.h>
#include <errno.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cmocka.h>

#include "storage/base/fault.h"
#include "storage/base/invariant.h"
#include "storage/base/log.h"
#include "tests/support/store_fixture.h"

/* AFTER_*: see store_crash_test.c; behind SEAL: {compact_kill,backup,dataset_crash}_test.c. */
static_assert(FAULT_COUNT == 28, "a new fault point needs a test");

/* ---- fdatasync, watched ---- */

static struct {
    pthread_mutex_t lock;
    unsigned to_fail; /* so many syncs of packs from now on */
    ino_t failed[16]; /* packs whose sync has failed */
    size_t failed_count;
    unsigned repeated; /* syncs of those */
} watch = {.lock = PTHREAD_MUTEX_INITIALIZER};

static bool is_pack(int fd)
{
    char link[64], path[512];
    ssize_t size;

    (void)snprintf(link, sizeof(link), "/proc/self/fd/%d", fd);
    size = readlink(link, path, sizeof(path));
    return size > 5 && memcmp(path + size - 5, ".pack", 5) == 0;
}

int fdatasync(int fd) /* in place of the C library's */
{
    struct stat info;
    bool fails = false;

    if (is_pack(fd) && fstat(fd, &info) == 0) {
        pthread_mutex_lock(&watch.lock);
        for (size_t i = 0; i < watch.failed_count; i++)
            watch.repeated += watch.failed[i] == info.st_ino;
        fails = watch.to_fail > 0 && info.st_size > 64; /* not of a mere header */
        if (fails) {
            watch.to_fail--;
            watch.failed[watch.failed_count++ % ARRAY_COUNT(watch.failed)] = info.st_ino;
        }
        pthread_mutex_unlock(&watch.lock);
    }
    errno = EIO;
    return fails ? -1 : (int)syscall(SYS_fdatasync, fd);
}

static void fail_syncs(unsigned count)
{
    pthread_mutex_lock(&watch.lock);
    watch.to_fail = count;
    watch.failed_count = 0;
    watch.repeated = 0;
    pthread_mutex_unlock(&watch.lock);
}

/* ---- fixture ---- */

static int set_up(void **state)
{
    struct store_fixture *fixture = calloc(1, sizeof(*fixture));

    invariant(fixture != NULL);
    log_configure(LOG_ERROR + 1, false); /* failures are logged; here they are wanted */
    fixture_init(fixture, ENGINE_LOCAL);
    fixture->options.default_channels = 1;
    fixture->options.segment_size = 2 << 20;
    fixture->options.pack_size = 8 << 20;
    fixture->options.flush_interval_ns = (uint64_t)3600 * 1000000000;
    fixture_open(fixture);
    *state = fixture;
    return 0;
}

static int tear_down(void **state)
{
    fault_disarm_all();
    fail_syncs(0);
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

static struct digest put_text(struct store_fixture *fixture, const char *text)
{
    return store_put_good(fixture->store, text, strlen(text));
}

static enum coffer_status try_put(struct store_fixture *fixture, const char *text)
{
    struct upload_options options = {.size = strlen(text)};
    struct upload_result result;
    struct error error = {.text = ""};
    enum coffer_status status =
        store_put(fixture->store, text, strlen(text), 0, &options, &result, &error);

    assert_true(status == COFFER_OK || strlen(error.text) > 10);
    return status;
}

static bool has_text(struct store_fixture *fixture, const char *text)
{
    struct digest key = content_key(text, strlen(text));

    return store_has(fixture->store, &key);
}

static void check_text(struct store_fixture *fixture, const char *text)
{
    struct digest key = content_key(text, strlen(text));

    check_content(fixture->store, &key, text, strlen(text));
}

static unsigned poisoned_packs(struct store_fixture *fixture)
{
    struct pack_info packs[32];
    size_t count = store_packs(fixture->store, 0, packs, 32);
    unsigned poisoned = 0;

    for (size_t i = 0; i < count; i++)
        poisoned += strcmp(packs[i].state, "poisoned") == 0;
    return poisoned;
}

/* The same after a restart with the index, and after one without. */
static void check_texts_after_restarts(
    struct store_fixture *fixture, const char *const *there, const char *const *gone)
{
    for (int pass = 0; pass < 4; pass++) {
        for (size_t i = 0; there[i] != NULL; i++)
            check_text(fixture, there[i]);
        for (size_t i = 0; gone[i] != NULL; i++)
            assert_false(has_text(fixture, gone[i]));
        assert_int_equal(status_of(fixture).damaged_records, 0);
        if (pass == 1)
            fixture_crash(fixture);
        else
            fixture_close(fixture);
        if (pass == 2)
            fixture_remove_index(fixture);
        fixture_open(fixture);
    }
}

static const char *const NONE[] = {NULL};

/* ---- writing ---- */

static void failing_write(struct store_fixture *fixture, enum fault_site site, int action)
{
    static const char *const there[] = {"before", "during", "after", NULL};

    put_text(fixture, "before");
    fault_arm(site, action, 1, 1);
    put_text(fixture, "during"); /* to a new pack, without anybody noticing */
    assert_int_equal(fault_hits(site), 1);
    assert_int_equal(poisoned_packs(fixture), 1);
    put_text(fixture, "after");
    assert_int_equal(status_of(fixture).packs, 2);
    check_texts_after_restarts(fixture, there, NONE);
}

static void test_failed_write(void **state)
{
    failing_write(*state, FAULT_PACK_WRITE, EIO);
}

static void test_short_write(void **state)
{
    failing_write(*state, FAULT_PACK_WRITE, FAULT_SHORT);
}

static void test_failed_sync(void **state)
{
    failing_write(*state, FAULT_PACK_SYNC, EIO);
}

static void test_failed_sync_is_never_repeated(void **state)
{
    static const char *const there[] = {"before", "during", "after", NULL};
    struct store_fixture *fixture = *state;

    put_text(fixture, "before");
    fail_syncs(1);
    put_text(fixture, "during");
    put_text(fixture, "after");
    assert_int_equal(watch.failed_count, 1);
    assert_int_equal(poisoned_packs(fixture), 1);
    check_texts_after_restarts(fixture, there, NONE);
    assert_int_equal(watch.repeated, 0);
}

static void test_sync_fails_twice(void **state)
{
    static const char *const there[] = {"before", "after", NULL};
    static const char *const gone[] = {"lost", "accepted", NULL};
    struct store_fixture *fixture = *state;
    struct ticket ticket;
    struct digest key;
    size_t failed;

    put_text(fixture, "before");
    fault_arm(FAULT_PACK_SYNC, EIO, 1, 2);
    assert_int_equal(try_put(fixture, "lost"), COFFER_IO);
    assert_int_equal(fault_hits(FAULT_PACK_SYNC), 2);
    assert_false(has_text(fixture, "lost"));
    assert_int_equal(store_sync(fixture->store, NULL, 0, &failed, NULL), COFFER_OK); /* he knows */

    key = store_put_buffered(fixture->store, "slow", "accepted", 8, &ticket);
    check_text(fixture, "accepted");
    fault_arm(FAULT_PACK_SYNC, EIO, 1, 2);
    assert_int_equal(store_sync(fixture->store, NULL, 0, &failed, NULL), COFFER_SYNC_FAILED);
    assert_int_equal(failed, 1);
    assert_false(store_has(fixture->store, &key));
    assert_int_equal(store_sync(fixture->store, NULL, 0, &failed, NULL), COFFER_OK); /* told once */
    for (int i = 0; i < 3; i++) { /* but who has the ticket is told whenever he asks */
        assert_int_equal(store_sync(fixture->store, &ticket, 1, &failed, NULL), COFFER_SYNC_FAILED);
        assert_int_equal(failed, 1);
    }
    put_text(fixture, "after");
    assert_int_equal(store_sync(fixture->store, NULL, 0, NULL, NULL), COFFER_OK);
    assert_int_equal(status_of(fixture).memory_used, 0);
    check_texts_after_restarts(fixture, there, gone);
}

static void test_close_tells_of_what_is_lost(void **state)
{
    struct store_fixture *fixture = *state;

    store_put_buffered(fixture->store, "slow", "accepted", 8, NULL);
    fault_arm(FAULT_PACK_SYNC, EIO, 1, 0);
    assert_int_equal(store_close(fixture->store, NULL), COFFER_SYNC_FAILED);
    fixture->store = NULL;
    fault_disarm_all();
    fixture_open(fixture);
    assert_false(has_text(fixture, "accepted"));
}

static void test_failed_deletion(void **state)
{
    struct store_fixture *fixture = *state;
    struct digest key = put_text(fixture, "stays");
    struct error error;

    fault_arm(FAULT_PACK_WRITE, EIO, 1, 2);
    assert_int_equal(store_delete(fixture->store, &key, 1, NULL, NULL, &error), COFFER_IO);
    check_text(fixture, "stays");
    fixture_reopen(fixture);
    check_text(fixture, "stays");
    assert_int_equal(store_delete_one(fixture->store, &key), COFFER_OK);
}

static void test_segment_fails(void **state)
{
    struct store_fixture *fixture = *state;
    size_t size = 9 << 20;
    uint8_t *data = content_make(size, 1, CONTENT_RANDOM);
    struct digest key = content_key(data, size);
    struct upload_options options = {.size = size};
    struct upload_result result;

    fixture_close(fixture);
    fixture->options.pack_size = 64 << 20; /* no sealing between the two writes that fail */
    fixture_open(fixture);
    fault_arm(FAULT_PACK_WRITE, EIO, 2, 2);
    assert_int_equal(store_put(fixture->store, data, size, 0, &options, &result, NULL), COFFER_IO);
    assert_int_equal(fault_hits(FAULT_PACK_WRITE), 2);
    assert_false(store_has(fixture->store, &key));
    assert_int_equal(store_sync(fixture->store, NULL, 0, NULL, NULL), COFFER_OK);
    assert_int_equal(status_of(fixture).memory_used, 0);
    assert_int_equal(status_of(fixture).live_bytes, 0);
    (void)store_put_good(fixture->store, data, size);
    fixture_reopen(fixture);
    check_content(fixture->store, &key, data, size);
    free(data);
}

/* ---- space ---- */

static void test_disk_full(void **state)
{
    struct store_fixture *fixture = *state;
    struct digest key = put_text(fixture, "old"), other = put_text(fixture, "older");
    struct upload_options options = {.size = 1 << 20};
    uint8_t *data = content_make(1 << 20, 1, CONTENT_RANDOM);
    struct upload_result result;
    struct ticket ticket;
    size_t failed;

    fault_arm(FAULT_PACK_ALLOCATE, ENOSPC, 1, 0);
    assert_int_equal(
        store_put(fixture->store, data, 1 << 20, 0, &options, &result, NULL), COFFER_DISK_FULL);
    assert_true(fault_hits(FAULT_PACK_ALLOCATE) >= 1);
    assert_int_equal(status_http(COFFER_DISK_FULL), 507);
    check_text(fixture, "old"); /* reads and deletions go on */
    assert_int_equal(store_delete_one(fixture->store, &key), COFFER_OK);
    assert_false(has_text(fixture, "old"));
    options.durability = DURABILITY_BUFFERED;
    assert_int_equal(
        store_put(fixture->store, data, 1 << 20, 0, &options, &result, NULL), COFFER_OK);
    ticket = result.ticket;
    assert_int_equal(store_delete_one(fixture->store, &other), COFFER_OK); /* beside it */
    assert_int_equal(store_sync(fixture->store, &ticket, 1, &failed, NULL), COFFER_SYNC_FAILED);
    assert_int_equal(failed, 1);
    assert_false(store_has(fixture->store, &result.key));

    fault_disarm_all(); /* somebody has made room */
    (void)store_put_good(fixture->store, data, 1 << 20);
    assert_true(status_of(fixture).writable);
    assert_string_equal(status_of(fixture).reason, "");
    assert_int_equal(poisoned_packs(fixture), 0);
    fixture_reopen(fixture);
    check_content(fixture->store, &result.key, data, 1 << 20);
    assert_false(has_text(fixture, "older"));
    free(data);
}

static void test_space_in_reserve(void **state)
{
    struct store_fixture *fixture = *state;
    struct digest key = put_text(fixture, "old");

    fixture_close(fixture);
    fixture->options.reserve_space = (uint64_t)1 << 60; /* more than any disk has left */
    fixture_open(fixture);
    assert_int_equal(try_put(fixture, "new"), COFFER_DISK_FULL);
    assert_false(status_of(fixture).writable);
    assert_string_equal(status_of(fixture).reason, "the disk is full");
    check_text(fixture, "old");
    assert_int_equal(store_delete_one(fixture->store, &key), COFFER_OK);
    assert_false(status_of(fixture).writable);
    fixture_close(fixture);
    fixture->options.reserve_space = 0;
    fixture_open(fixture);
    assert_false(has_text(fixture, "old"));
    put_text(fixture, "new");
}

static void test_write_finds_no_space(void **state)
{
    static const char *const there[] = {"before", "after", NULL};
    struct store_fixture *fixture = *state;

    put_text(fixture, "before");
    fault_arm(FAULT_PACK_WRITE, ENOSPC, 1, 2);
    assert_int_equal(try_put(fixture, "lost"), COFFER_DISK_FULL);
    put_text(fixture, "after");
    assert_true(status_of(fixture).writable);
    check_texts_after_restarts(fixture, there, NONE);
}

/* ---- files and folders ---- */

static void test_no_descriptor_for_a_pack(void **state)
{
    struct store_fixture *fixture = *state;

    fault_arm(FAULT_PACK_OPEN, EMFILE, 1, 1);
    assert_int_equal(try_put(fixture, "first"), COFFER_IO);
    assert_int_equal(fault_hits(FAULT_PACK_OPEN), 1);
    put_text(fixture, "second");
    assert_int_equal(status_of(fixture).packs, 1);
    assert_false(has_text(fixture, "first"));
}

static void test_folder_sync_fails_for_a_pack(void **state)
{
    static const char *const there[] = {"second", NULL}, *const gone[] = {"first", NULL};
    struct store_fixture *fixture = *state;

    fault_arm(FAULT_DIR_SYNC, EIO, 1, 1);
    assert_int_equal(try_put(fixture, "first"), COFFER_IO);
    assert_int_equal(fault_hits(FAULT_DIR_SYNC), 1);
    put_text(fixture, "second");
    check_texts_after_restarts(fixture, there, gone);
}

static void test_making_a_store_fails(void **state)
{
    struct store_fixture *fixture = *state;
    struct error error;

    for (unsigned site = 0; site < 2; site++)
        for (uint64_t nth = 1;; nth++) {
            enum fault_site fault = site == 0 ? FAULT_DIR_SYNC : FAULT_FILE_PUBLISH;
            struct store_fixture other;
            enum coffer_status status;

            fixture_init(&other, ENGINE_LOCAL);
            fault_arm(fault, EIO, nth, 1);
            status = fixture_try_open(&other, &error);
            fault_disarm_all();
            assert_int_equal(status, fault_hits(fault) == 0 ? COFFER_OK : COFFER_IO);
            if (status != COFFER_OK)
                fixture_open(&other); /* what it left is no hindrance */
            put_text(&other, "hello");
            fixture_reopen(&other);
            check_text(&other, "hello");
            fixture_release(&other);
            if (status == COFFER_OK) {
                assert_true(nth > 1);
                break;
            }
        }
    put_text(fixture, "hello");
}

static void test_seal_fails(void **state)
{
    struct store_fixture *fixture = *state;
    uint8_t *data = content_make(1 << 20, 5, CONTENT_RANDOM);
    struct digest keys[12];

    fault_arm(FAULT_SEAL, EIO, 1, 1);
    for (size_t i = 0; i < 12; i++) {
        memcpy(data, &i, sizeof(i));
        keys[i] = store_put_good(fixture->store, data, 1 << 20);
    }
    assert_int_equal(fault_hits(FAULT_SEAL), 1);
    for (int pass = 0; pass < 2; pass++) {
        for (size_t i = 0; i < 12; i++) {
            memcpy(data, &i, sizeof(i));
            check_content(fixture->store, &keys[i], data, 1 << 20);
        }
        fixture_close(fixture);
        fixture_remove_index(fixture);
        fixture_open(fixture);
        assert_int_equal(status_of(fixture).damaged_records, 0);
    }
    free(data);
}

/* ---- the index ---- */

static void test_index_write_fails(void **state)
{
    struct store_fixture *fixture = *state;
    struct digest key = put_text(fixture, "before");

    fault_arm(FAULT_INDEX_WRITE, EIO, 1, 1);
    assert_int_equal(try_put(fixture, "during"), COFFER_IO);
    assert_int_equal(fault_hits(FAULT_INDEX_WRITE), 1);
    assert_false(status_of(fixture).writable); /* closed until a restart */
    assert_int_equal(try_put(fixture, "after"), COFFER_IO);
    assert_int_equal(store_delete(fixture->store, &key, 1, NULL, NULL, NULL), COFFER_IO);
    check_text(fixture, "before");
    assert_false(has_text(fixture, "after"));
    assert_int_equal(store_close(fixture->store, NULL), COFFER_OK); /* all were told */
    fixture->store = NULL;
    fixture_open(fixture);
    check_text(fixture, "before");
    if (has_text(fixture, "during")) /* it may be, as after a cut connection: then whole */
        check_text(fixture, "during");
    assert_false(has_text(fixture, "after"));
    put_text(fixture, "after");
    assert_int_equal(store_delete_one(fixture->store, &key), COFFER_OK);
}

static void test_index_flush_fails(void **state)
{
    struct store_fixture *fixture = *state;

    put_text(fixture, "hello");
    fault_arm(FAULT_INDEX_FLUSH, EIO, 1, 1);
    assert_int_not_equal(store_close(fixture->store, NULL), COFFER_OK);
    assert_int_equal(fault_hits(FAULT_INDEX_FLUSH), 1);
    fixture->store = NULL;
    fixture_open(fixture);
    check_text(fixture, "hello");
}

static void test_index_fails_in_recovery(void **state)
{
    struct store_fixture *fixture = *state;
    struct error error;

    put_text(fixture, "hello");
    fixture_close(fixture);
    for (uint64_t nth = 1;; nth++) {
        enum coffer_status status;

        fixture_remove_index(fixture);
        fault_arm(FAULT_INDEX_WRITE, EIO, nth, 1);
        status = fixture_try_open(fixture, &error);
        if (fault_hits(FAULT_INDEX_WRITE) == 0) {
            assert_int_equal(status, COFFER_OK);
            assert_true(nth > 2);
            break;
        }
        assert_int_equal(status, COFFER_IO);
        fault_disarm_all();
        fixture_open(fixture);
        check_text(fixture, "hello");
        fixture_close(fixture);
    }
    check_text(fixture, "hello");
}

static void test_sync_fails_in_recovery(void **state)
{
    struct store_fixture *fixture = *state;
    struct error error;

    put_text(fixture, "hello");
    fixture_crash(fixture);
    fail_syncs(1); /* what a killed process left may only be in memory */
    assert_int_equal(fixture_try_open(fixture, &error), COFFER_IO);
    fixture_open(fixture);
    check_text(fixture, "hello");
}

/* ---- reading ---- */

static void test_read_fails(void **state)
{
    struct store_fixture *fixture = *state;
    uint8_t *large = content_make(300000, 8, CONTENT_RANDOM), *data;
    struct digest keys[] = {
        put_text(fixture, "small"), store_put_good(fixture->store, large, 300000)};
    size_t size;

    for (size_t i = 0; i < 2; i++) {
        fault_arm(FAULT_PACK_READ, EIO, 1, 1);
        assert_int_equal(store_get(fixture->store, &keys[i], &data, &size, NULL), COFFER_IO);
        assert_int_equal(fault_hits(FAULT_PACK_READ), 1);
    }
    for (size_t i = 0; i < 2; i++) {
        fault_arm(FAULT_PACK_READ, EAGAIN, 1, 0); /* nothing is cached */
        fault_arm(FAULT_COLD_READ, EIO, 1, 1);
        assert_int_equal(store_get(fixture->store, &keys[i], &data, &size, NULL), COFFER_IO);
        assert_int_equal(fault_hits(FAULT_COLD_READ), 1);
        assert_int_equal(store_get(fixture->store, &keys[i], &data, &size, NULL), COFFER_OK);
        free(data);
    }
    fault_disarm_all();
    check_text(fixture, "small");
    check_content(fixture->store, &keys[1], large, 300000);
    assert_int_equal(status_of(fixture).damaged_records, 0); /* an error is no damage */
    free(large);
}

#define CASE(test) cmocka_unit_test_setup_teardown(test, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        CASE(test_failed_write),
        CASE(test_short_write),
        CASE(test_failed_sync),
        CASE(test_failed_sync_is_never_repeated),
        CASE(test_sync_fails_twice),
        CASE(test_close_tells_of_what_is_lost),
        CASE(test_failed_deletion),
        CASE(test_segment_fails),
        CASE(test_disk_full),
        CASE(test_space_in_reserve),
        CASE(test_write_finds_no_space),
        CASE(test_no_descriptor_for_a_pack),
        CASE(test_folder_sync_fails_for_a_pack),
        CASE(test_making_a_store_fails),
        CASE(test_seal_fails),
        CASE(test_index_write_fails),
        CASE(test_index_flush_fails),
        CASE(test_index_fails_in_recovery),
        CASE(test_sync_fails_in_recovery),
        CASE(test_read_fails),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
