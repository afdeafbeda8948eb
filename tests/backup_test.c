/*
 * Goal: a backup is the store as it was at one moment, whatever goes on, and stays so; sealed packs
 * are shared and not copied again; what stops in the middle is no backup, does not hurt those
 * before it, and is gone on with. Method: a backup is opened as a store, from a copy of it, and
 * read.
 */
#include <dirent.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "storage/base/fault.h"
#include "storage/base/invariant.h"
#include "storage/base/log.h"
#include "storage/maintenance.h"
#include "tests/support/dataset_fixture.h"

enum { CHUNK_SIZE = 50000, CHUNKS = 60 /* three packs of 1 MiB */ };

struct suite {
    struct store_fixture fixture;
    struct digest keys[CHUNKS];
    char to[FIXTURE_PATH_SIZE];
    struct backup_result result;
};

static uint8_t *content(size_t number)
{
    return content_make(CHUNK_SIZE, number + 1, CONTENT_RANDOM);
}

static void put(struct suite *suite, size_t from, size_t to)
{
    for (size_t i = from; i < to; i++) {
        uint8_t *data = content(i);

        suite->keys[i] = store_put_good(suite->fixture.store, data, CHUNK_SIZE);
        free(data);
    }
}

static int set_up(void **state)
{
    struct suite *suite = calloc(1, sizeof(*suite));

    invariant(suite != NULL);
    log_configure(LOG_ERROR + 1, false);
    fixture_init(&suite->fixture, ENGINE_LOCAL);
    suite->fixture.options.default_channels = 1;
    (void)snprintf(suite->to, sizeof(suite->to), "%s", fixture_path(&suite->fixture, "b"));
    if (strlen(suite->to) > BACKUP_TO_MAX)
        fail_msg("%s is too long a folder for this test", suite->to);
    fixture_open(&suite->fixture);
    *state = suite;
    return 0;
}

static int tear_down(void **state)
{
    struct suite *suite = *state;

    fixture_release(&suite->fixture);
    free(suite);
    return 0;
}

static enum coffer_status try_backup(struct suite *suite, const char *to, struct error *err)
{
    const struct backup_options options = {.to = to};

    return store_backup(suite->fixture.store, &options, NULL, &suite->result, err);
}

static void back_up(struct suite *suite)
{
    CHECK_STATUS(try_backup(suite, suite->to, err), COFFER_OK);
}

/* A fixture with a copy of the backup, open. */
static void restore(struct suite *suite, const char *name, struct store_fixture *restored)
{
    char command[4 * FIXTURE_PATH_SIZE];

    fixture_init(restored, ENGINE_LOCAL);
    (void)snprintf(command, sizeof(command), "rm -rf '%s' && cp -a '%s/%s' '%s'",
        restored->data_dir, suite->to, name, restored->data_dir);
    assert_int_equal(system(command), 0); /* NOLINT(concurrency-mt-unsafe,cert-env33-c) */
    fixture_open(restored);
}

static void check_chunks(struct suite *suite, struct store *store, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        uint8_t *data = content(i);

        check_content(store, &suite->keys[i], data, CHUNK_SIZE);
        free(data);
    }
}

static void check_backup(struct suite *suite, const char *name, size_t chunks)
{
    struct store_fixture restored;
    struct validate_result result;
    struct store_status status;

    restore(suite, name, &restored);
    check_chunks(suite, restored.store, chunks);
    store_status(restored.store, &status);
    assert_int_equal(status.chunks, chunks);
    CHECK_STATUS(store_validate(restored.store, &(struct validate_options){0}, NULL, &result, err),
        COFFER_OK);
    assert_int_equal(result.damaged_count + result.missing_count, 0);
    fixture_release(&restored);
}

static ino_t inode_of(const char *folder, unsigned pack)
{
    char path[2 * FIXTURE_PATH_SIZE + 32];
    struct stat info;

    (void)snprintf(path, sizeof(path), "%s/packs/%010u.pack", folder, pack);
    assert_int_equal(stat(path, &info), 0);
    return info.st_ino;
}

static const char *backup_path(const struct suite *suite, const char *name)
{
    static char path[FIXTURE_PATH_SIZE + BACKUP_NAME_SIZE];

    (void)snprintf(path, sizeof(path), "%s/%.31s", suite->to, name);
    return path;
}

/* ---- one after the other ---- */

static void test_incremental(void **state)
{
    struct suite *suite = *state;
    struct dataset *dataset = ds_make(suite->fixture.store, "run");
    char first[BACKUP_NAME_SIZE];
    struct store_fixture restored;
    ino_t sealed;

    put(suite, 0, CHUNKS / 2);
    (void)ds_append_text(dataset, "a", "before");
    back_up(suite);
    memcpy(first, suite->result.name, sizeof(first));
    assert_true(suite->result.bytes_linked > 1000000);
    assert_true(suite->result.bytes_copied > 0); /* the open pack */
    assert_true(suite->result.bytes_copied < (uint64_t)CHUNK_SIZE * CHUNKS / 2);
    sealed = inode_of(suite->fixture.data_dir, 1);
    assert_int_equal(inode_of(backup_path(suite, first), 1), sealed);

    put(suite, CHUNKS / 2, CHUNKS);
    (void)ds_append_text(dataset, "a", " and after");
    dataset_drop(dataset);
    back_up(suite);
    assert_string_not_equal(suite->result.name, first);
    assert_int_equal(inode_of(backup_path(suite, suite->result.name), 1), sealed);

    check_backup(suite, first, CHUNKS / 2);
    check_backup(suite, suite->result.name, CHUNKS);
    restore(suite, first, &restored);
    dataset = ds_hold(restored.store, "run");
    ds_check_text(dataset, "a", "before");
    dataset_drop(dataset);
    fixture_release(&restored);
    restore(suite, suite->result.name, &restored);
    dataset = ds_hold(restored.store, "run");
    ds_check_text(dataset, "a", "before and after");
    dataset_drop(dataset);
    fixture_release(&restored);
}

/* What was deleted does not come back by a pack that an unfinished backup has kept. */
static void test_after_a_repack(void **state)
{
    struct suite *suite = *state;
    const struct repack_options repack = {.dead_ratio = 0, .seal_idle = true, .merge_small = true};
    struct repack_result repacked;
    char first[BACKUP_NAME_SIZE], unfinished[2 * FIXTURE_PATH_SIZE];

    put(suite, 0, CHUNKS);
    back_up(suite);
    memcpy(first, suite->result.name, sizeof(first));
    (void)snprintf(unfinished, sizeof(unfinished), "%s/unfinished", suite->to);
    assert_int_equal(rename(backup_path(suite, first), unfinished), 0);
    for (size_t i = CHUNKS / 2; i < CHUNKS; i++)
        assert_int_equal(store_delete_one(suite->fixture.store, &suite->keys[i]), COFFER_OK);
    for (int i = 0; i < 2; i++)
        CHECK_STATUS(store_repack(suite->fixture.store, &repack, NULL, &repacked, err), COFFER_OK);
    back_up(suite);
    check_backup(suite, suite->result.name, CHUNKS / 2);
}

/* ---- where to ---- */

static void test_places(void **state)
{
    struct suite *suite = *state;
    char path[2 * FIXTURE_PATH_SIZE];
    struct store_fixture other;

    put(suite, 0, 1);
    CHECK_STATUS(try_backup(suite, "b", err), COFFER_BAD_REQUEST);
    (void)snprintf(path, sizeof(path), "%s/inside", suite->fixture.data_dir);
    CHECK_STATUS(try_backup(suite, path, err), COFFER_BAD_REQUEST);
    CHECK_STATUS(try_backup(suite, suite->fixture.data_dir, err), COFFER_BAD_REQUEST);
    CHECK_STATUS(try_backup(suite, suite->fixture.root, err), COFFER_BAD_REQUEST);
    memset(path, 'x', sizeof(path) - 1);
    path[0] = '/';
    path[sizeof(path) - 1] = '\0';
    CHECK_STATUS(try_backup(suite, path, err), COFFER_BAD_REQUEST);
    back_up(suite);
    fixture_init(&other, ENGINE_LOCAL);
    fixture_open(&other);
    CHECK_STATUS(store_backup(other.store, &(struct backup_options){.to = suite->to}, NULL,
                     &suite->result, err),
        COFFER_BAD_REQUEST); /* of another store */
    fixture_release(&other);
}

/* ---- stopped, killed, full, damaged ---- */

static bool stop(void *context, uint64_t done, uint64_t total)
{
    (void)context;
    (void)total;
    return done < (uint64_t)CHUNK_SIZE * 3;
}

static void test_stopped(void **state)
{
    struct suite *suite = *state;
    const struct backup_options options = {.to = suite->to};
    const struct maintenance_watch watch = {stop, NULL};

    put(suite, 0, CHUNKS);
    CHECK_STATUS(
        store_backup(suite->fixture.store, &options, &watch, &suite->result, err), COFFER_DRAINING);
    assert_string_equal(suite->result.name, "");
    back_up(suite);
    check_backup(suite, suite->result.name, CHUNKS);
}

static void test_full_disk(void **state)
{
    struct suite *suite = *state;

    put(suite, 0, 10);
    CHECK_STATUS(fault_configure("backup_write=ENOSPC", err), COFFER_OK);
    CHECK_STATUS(try_backup(suite, suite->to, err), COFFER_DISK_FULL);
    fault_disarm_all();
    back_up(suite);
    check_backup(suite, suite->result.name, 10);
}

static void test_a_lost_pack(void **state)
{
    struct suite *suite = *state;

    put(suite, 0, CHUNKS);
    fixture_close(&suite->fixture);
    assert_int_equal(unlink(fixture_data_path(&suite->fixture, "packs/0000000001.pack")), 0);
    fixture_open(&suite->fixture);
    CHECK_STATUS(try_backup(suite, suite->to, err), COFFER_DATA_CORRUPT);
    assert_string_equal(suite->result.name, "");
}

/* What the child process does. */
static int back_up_there(const char *data_dir, const char *to, const char *fault)
{
    const struct backup_options options = {.to = to};
    struct backup_result result;
    struct store_options store_options;
    struct store *store;
    struct error err;

    log_configure(LOG_ERROR + 1, false);
    store_options_default(&store_options);
    store_options.data_dir = data_dir;
    if (store_open(&store_options, &store, &err) != COFFER_OK ||
        fault_configure(fault, &err) != COFFER_OK)
        _exit(2);
    _exit(store_backup(store, &options, NULL, &result, &err) == COFFER_OK ? 0 : 1);
}

/* RocksDB's threads are not there after a mere fork. */
static void back_up_and_die(struct suite *suite, const char *site)
{
    char fault[64];
    pid_t child;
    int status;

    (void)snprintf(fault, sizeof(fault), "%s=kill", site);
    child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        (void)execl("/proc/self/exe", "backup_test", suite->fixture.data_dir, suite->to, fault,
            (char *)NULL);
        _exit(1);
    }
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
}

/* At each point, after a backup that must stay whole: the next one is made over what is left. */
static void test_killed(void **state)
{
    static const char *const points[] = {"backup_write", "backup_placed", "backup_whole"};
    struct suite *suite = *state;
    char first[BACKUP_NAME_SIZE];

    put(suite, 0, CHUNKS / 2);
    back_up(suite);
    memcpy(first, suite->result.name, sizeof(first));
    put(suite, CHUNKS / 2, CHUNKS);
    for (size_t i = 0; i < sizeof(points) / sizeof(points[0]); i++) {
        fixture_close(&suite->fixture);
        back_up_and_die(suite, points[i]);
        fixture_open(&suite->fixture);
        check_backup(suite, first, CHUNKS / 2);
        back_up(suite);
        check_backup(suite, suite->result.name, CHUNKS);
    }
}

/* ---- while others write ---- */

struct writer {
    struct store *store;
    _Atomic bool over;
    _Atomic uint64_t commits;
};

/* Both channels of a transaction always have as much. */
static void *write_transactions(void *argument)
{
    struct writer *writer = argument;
    struct dataset *dataset = ds_hold(writer->store, "pair");

    while (!atomic_load(&writer->over)) {
        static const char *const channels[] = {"a", "b", NULL};
        struct transaction_info info;
        struct append_result result;
        char id[32];
        struct append_call call = {.transaction = id};

        (void)snprintf(id, sizeof(id), "t%llu", (unsigned long long)writer->commits);
        CHECK_STATUS(tx_open(dataset, id, channels, 60000, false, false, &info, err), COFFER_OK);
        CHECK_STATUS(ds_append(dataset, "a", "0123456789", 10, &call, &result, err), COFFER_OK);
        call = (struct append_call){.transaction = id};
        CHECK_STATUS(ds_append(dataset, "b", "9876543210", 10, &call, &result, err), COFFER_OK);
        CHECK_STATUS(tx_commit(dataset, id, 60000, &info, err), COFFER_OK);
        atomic_fetch_add(&writer->commits, 1);
    }
    dataset_drop(dataset);
    return NULL;
}

static void test_under_load(void **state)
{
    enum { BACKUPS = 5 };
    struct suite *suite = *state;
    struct writer writer = {.store = NULL};
    uint64_t last = 0;
    pthread_t thread;

    fixture_close(&suite->fixture);
    suite->fixture.options.default_channels = 4;
    fixture_open(&suite->fixture);
    put(suite, 0, 1);
    dataset_drop(ds_make(suite->fixture.store, "pair"));
    writer.store = suite->fixture.store;
    assert_int_equal(pthread_create(&thread, NULL, write_transactions, &writer), 0);
    for (size_t i = 0; i < BACKUPS; i++) {
        uint64_t before = writer.commits;
        struct store_fixture restored;
        struct dataset *dataset;
        uint8_t *a, *b;
        size_t a_size = 0, b_size = 0;

        back_up(suite);
        restore(suite, suite->result.name, &restored);
        dataset = ds_hold(restored.store, "pair");
        if (ds_version(dataset) > 0) {
            CHECK_STATUS(ds_read(dataset, "a", 0, &a, &a_size, err), COFFER_OK);
            CHECK_STATUS(ds_read(dataset, "b", 0, &b, &b_size, err), COFFER_OK);
            free(a);
            free(b);
        }
        assert_int_equal(a_size, b_size);
        assert_true(a_size >= before * 10 && a_size >= last);
        last = a_size;
        dataset_drop(dataset);
        fixture_release(&restored);
    }
    atomic_store(&writer.over, true);
    pthread_join(thread, NULL);
}

#define CASE(test) cmocka_unit_test_setup_teardown(test, set_up, tear_down)

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        CASE(test_incremental),
        CASE(test_after_a_repack),
        CASE(test_places),
        CASE(test_stopped),
        CASE(test_full_disk),
        CASE(test_a_lost_pack),
        CASE(test_killed),
        CASE(test_under_load),
    };

    if (argc == 4)
        return back_up_there(argv[1], argv[2], argv[3]);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
