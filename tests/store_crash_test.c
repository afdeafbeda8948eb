/*
 * Goal: kill -9 at any point loses nothing that was acknowledged and undoes no deletion. Method:
 * this program starts itself as a child that uses a store with three threads and writes what it is
 * going to do, and what it was answered, into a pipe, which outlives it. It is killed at a fault
 * point, or after so many answers; then the store is opened here and every key is compared with the
 * ledger. The next child goes on with the same store. Some children only open it, and are killed
 * while it recovers.
 */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <spawn.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "storage/base/fault.h"
#include "storage/base/invariant.h"
#include "storage/base/log.h"
#include "storage/store.h"
#include "tests/support/store_fixture.h"

enum { THREADS = 3, IDS_A_THREAD = 25, IDS = THREADS * IDS_A_THREAD, CHILD_OPS = 120 };
enum { ROUNDS = 24, ROUNDS_LONG = 2000, LEDGER_FD = 3 };

enum action { ACTION_PUT, ACTION_PUT_BUFFERED, ACTION_DELETE, ACTION_SYNC, ACTION_END };

struct entry { /* of the ledger */
    uint8_t action;
    uint8_t answered; /* 0: about to ask */
    uint8_t thread;
    uint8_t good;
    uint32_t id;
};

static uint8_t *content_of(unsigned id, size_t *size)
{
    *size = id % 9 == 4 ? FIXTURE_SEGMENT + id : id * 97;
    return content_make(*size, id + 1, id % 2 == 0 ? CONTENT_TEXT : CONTENT_RANDOM);
}

/* ---- the child ---- */

struct user {
    struct store *store;
    uint64_t random;
    unsigned thread;
};

static void note(struct user *user, enum action action, unsigned id, bool answered, bool good)
{
    struct entry entry = {.action = (uint8_t)action,
        .answered = answered,
        .thread = (uint8_t)user->thread,
        .good = good,
        .id = id};

    if (write(LEDGER_FD, &entry, sizeof(entry)) != sizeof(entry))
        _exit(3);
}

static bool act(struct user *user, enum action action, unsigned id)
{
    size_t size;
    uint8_t *data = content_of(id, &size);
    struct digest key = content_key(data, size);
    struct upload_options options = {.size = size,
        .durability = action == ACTION_PUT ? DURABILITY_SYNCED : DURABILITY_BUFFERED,
        .channel = slice_from_text(id % 2 == 0 ? "" : "own")};
    struct upload_result result;
    enum coffer_status status;

    if (action == ACTION_DELETE)
        status = store_delete(user->store, &key, 1, NULL, NULL, NULL);
    else if (action == ACTION_SYNC)
        status = store_sync(user->store, NULL, 0, NULL, NULL);
    else
        status = store_put(user->store, data, size, 0, &options, &result, NULL);
    free(data);
    return status == COFFER_OK;
}

static void *use(void *context)
{
    struct user *user = context;

    for (int i = 0; i < CHILD_OPS; i++) {
        unsigned choice = (unsigned)random_below(&user->random, 20);
        unsigned id =
            user->thread * IDS_A_THREAD + (unsigned)random_below(&user->random, IDS_A_THREAD);
        enum action action = choice < 9    ? ACTION_PUT
                             : choice < 14 ? ACTION_PUT_BUFFERED
                             : choice < 19 ? ACTION_DELETE
                                           : ACTION_SYNC;

        note(user, action, id, false, false);
        note(user, action, id, true, act(user, action, id));
    }
    return NULL;
}

static void fill_options(struct store_options *options, const char *dir)
{
    const char *method = getenv("COFFER_IO_METHOD");

    store_options_default(options);
    options->data_dir = dir;
    options->segment_size = FIXTURE_SEGMENT;
    options->memory_limit = 32 << 20;
    options->pack_size = 1 << 20;
    options->reserve_space = 0;
    options->default_channels = 2;
    options->channels_max = 8;
    options->flush_interval_ns = 20000000;
    options->index_cache_size = 1 << 20;
    options->io_method = method != NULL && strcmp(method, "sync") == 0 ? IO_SYNC : IO_AUTO;
}

/* child DIR SEED FAULTS use|open: FAULTS are armed before the opening for `open`, else after. */
static int child_main(char **argv)
{
    struct store_options options;
    struct user users[THREADS];
    pthread_t threads[THREADS];
    struct store *store;
    bool only_open = strcmp(argv[5], "open") == 0;

    log_configure(LOG_ERROR, false);
    fill_options(&options, argv[2]);
    if (only_open && fault_configure(argv[4], NULL) != COFFER_OK)
        return 4;
    if (store_open(&options, &store, NULL) != COFFER_OK)
        return 5;
    if (!only_open && fault_configure(argv[4], NULL) != COFFER_OK)
        return 4;
    for (unsigned i = 0; i < THREADS && !only_open; i++) {
        users[i] = (struct user){store, strtoull(argv[3], NULL, 10) * THREADS + i + 1, i};
        invariant(pthread_create(&threads[i], NULL, use, &users[i]) == 0);
    }
    for (unsigned i = 0; i < THREADS && !only_open; i++)
        pthread_join(threads[i], NULL);
    return store_close(store, NULL) == COFFER_OK ? 0 : 6;
}

/* ---- the parent ---- */

struct key_state {
    bool maybe_there, maybe_gone; /* both: unknown */
    bool buffered;                /* there for sure once a sync that begins now is answered */
    bool counted;                 /* by the sync under way */
};

struct suite {
    struct store_fixture fixture; /* for its folder */
    struct key_state keys[IDS];
    uint64_t random, answers, kills, known;
};

static void apply_entry(struct suite *suite, const struct entry *entry)
{
    struct key_state *key = &suite->keys[entry->id];

    if (entry->action == ACTION_SYNC) {
        for (unsigned i = 0; i < IDS_A_THREAD; i++) { /* this thread's own keys */
            key = &suite->keys[entry->thread * IDS_A_THREAD + i];
            if (!entry->answered)
                key->counted = key->buffered;
            else if (entry->good && key->counted)
                *key = (struct key_state){.maybe_there = true};
        }
        return;
    }
    if (!entry->answered || !entry->good) { /* from now on either is right */
        key->maybe_there = key->maybe_there || entry->action != ACTION_DELETE;
        key->maybe_gone = key->maybe_gone || entry->action == ACTION_DELETE;
        key->buffered = false;
    } else if (entry->action == ACTION_PUT) {
        *key = (struct key_state){.maybe_there = true};
    } else if (entry->action == ACTION_DELETE) {
        *key = (struct key_state){.maybe_gone = true};
    } else if (key->maybe_gone) {
        key->buffered = true; /* and a crash may lose it */
    }
}

static pid_t start_child(struct suite *suite, const char *faults, const char *what, int *ledger)
{
    extern char **environ;
    char seed[32], path[] = "/proc/self/exe", child[] = "child";
    char *argv[] = {path, child, suite->fixture.data_dir, seed, NULL, NULL, NULL};
    char faults_text[64], what_text[8];
    posix_spawn_file_actions_t actions;
    int ends[2];
    pid_t pid;

    (void)snprintf(seed, sizeof(seed), "%u", (unsigned)random_below(&suite->random, 1000000));
    (void)snprintf(faults_text, sizeof(faults_text), "%s", faults);
    (void)snprintf(what_text, sizeof(what_text), "%s", what);
    argv[4] = faults_text;
    argv[5] = what_text;
    invariant(pipe2(ends, O_CLOEXEC) == 0);
    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_adddup2(&actions, ends[1], LEDGER_FD);
    invariant(posix_spawn(&pid, path, &actions, NULL, argv, environ) == 0);
    posix_spawn_file_actions_destroy(&actions);
    close(ends[1]);
    *ledger = ends[0];
    return pid;
}

/* Read the ledger to its end; kill the child after `kill_after` answers. */
static void follow(struct suite *suite, pid_t pid, int ledger, unsigned kill_after)
{
    struct entry entry;
    unsigned answers = 0;
    int result;

    while (read(ledger, &entry, sizeof(entry)) == sizeof(entry)) {
        apply_entry(suite, &entry);
        answers += entry.answered;
        if (entry.answered && answers == kill_after)
            invariant(kill(pid, SIGKILL) == 0);
    }
    close(ledger);
    invariant(waitpid(pid, &result, 0) == pid);
    suite->answers += answers;
    if (WIFSIGNALED(result)) {
        assert_int_equal(WTERMSIG(result), SIGKILL);
        suite->kills++;
    } else {
        assert_int_equal(WEXITSTATUS(result), 0);
    }
}

static void check_keys(struct suite *suite)
{
    uint64_t there = 0;
    struct store_status status;

    for (unsigned id = 0; id < IDS; id++) {
        struct key_state *key = &suite->keys[id];
        size_t size;
        uint8_t *data = content_of(id, &size);
        struct digest name = content_key(data, size);
        bool found = store_has(suite->fixture.store, &name);

        if (found && !key->maybe_there)
            fail_msg("chunk %u was deleted, and is back", id);
        if (!found && !key->maybe_gone)
            fail_msg("chunk %u was acknowledged, and is lost", id);
        suite->known += !(key->maybe_there && key->maybe_gone);
        if (found)
            check_content(suite->fixture.store, &name, data, size);
        there += found;
        *key = (struct key_state){.maybe_there = found, .maybe_gone = !found};
        free(data);
    }
    store_status(suite->fixture.store, &status);
    assert_int_equal(status.chunks, there);
    assert_int_equal(status.damaged_records, 0);
}

/* Open, and open again: the second time nothing may have changed. */
static void check_store(struct suite *suite)
{
    fixture_open(&suite->fixture);
    check_keys(suite);
    if (random_below(&suite->random, 4) == 0) {
        fixture_close(&suite->fixture);
        if (random_below(&suite->random, 2) == 0)
            fixture_remove_index(&suite->fixture);
        fixture_open(&suite->fixture);
        check_keys(suite);
    }
    fixture_close(&suite->fixture);
}

static void kill_in_recovery(struct suite *suite)
{
    static const char *const faults[] = {"pack_sync=kill", "index_write=kill@1",
        "index_write=kill@2", "index_flush=kill", "dir_sync=kill"};
    int ledger;
    pid_t pid;

    if (random_below(&suite->random, 3) == 0)
        fixture_remove_index(&suite->fixture);
    pid = start_child(
        suite, faults[random_below(&suite->random, ARRAY_COUNT(faults))], "open", &ledger);
    follow(suite, pid, ledger, 0);
}

static void run_round(struct suite *suite)
{
    static const enum fault_site sites[] = {FAULT_AFTER_SYNC, FAULT_AFTER_INDEX, FAULT_PACK_WRITE,
        FAULT_PACK_SYNC, FAULT_INDEX_WRITE, FAULT_PACK_ALLOCATE, FAULT_SEAL, FAULT_DIR_SYNC,
        FAULT_PACK_OPEN};
    char faults[64] = "";
    unsigned kill_after = 0;
    int ledger;
    pid_t pid;

    if (random_below(&suite->random, 2) == 0) {
        enum fault_site site = sites[random_below(&suite->random, ARRAY_COUNT(sites))];
        unsigned most = site == FAULT_AFTER_SYNC || site == FAULT_AFTER_INDEX ||
                                site == FAULT_PACK_WRITE || site == FAULT_PACK_SYNC ||
                                site == FAULT_INDEX_WRITE
                            ? 60
                            : 3;

        (void)snprintf(faults, sizeof(faults), "%s=kill@%u", fault_name(site),
            1 + (unsigned)random_below(&suite->random, most));
    } else {
        kill_after = 1 + (unsigned)random_below(&suite->random, THREADS * CHILD_OPS - 20);
    }
    pid = start_child(suite, faults, "use", &ledger);
    follow(suite, pid, ledger, kill_after);
    if (random_below(&suite->random, 3) == 0)
        kill_in_recovery(suite);
    check_store(suite);
}

static void test_kills(void **state)
{
    struct suite *suite = calloc(1, sizeof(*suite));
    unsigned rounds = test_long() ? ROUNDS_LONG : ROUNDS;

    (void)state;
    invariant(suite != NULL);
    log_configure(LOG_ERROR, false);
    suite->random = test_seed() | 1;
    fixture_init(&suite->fixture, ENGINE_LOCAL);
    fill_options(&suite->fixture.options, suite->fixture.data_dir);
    for (unsigned id = 0; id < IDS; id++)
        suite->keys[id].maybe_gone = true;
    for (unsigned i = 0; i < rounds; i++)
        run_round(suite);
    print_message("%u rounds, %llu kills, %llu answers, %llu keys whose state was certain\n",
        rounds, (unsigned long long)suite->kills, (unsigned long long)suite->answers,
        (unsigned long long)suite->known);
    assert_true(suite->kills > rounds / 3);
    fixture_release(&suite->fixture);
    free(suite);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_kills)};

    if (argc == 6 && strcmp(argv[1], "child") == 0)
        return child_main(argv);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
