/*
 * Goal: a deletion of many is all or nothing, whatever fails in the middle of it and wherever its
 * chunks are; and any number of them, of writes and of syncs at the same time come to an end, each
 * with an answer that fits the others. Method: fault points in the middle of a tombstone that is
 * written in pieces; threads that delete overlapping thousands while others write and read them.
 */
#include <errno.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "storage/base/fault.h"
#include "storage/base/invariant.h"
#include "storage/base/log.h"
#include "storage/store.h"
#include "tests/support/store_fixture.h"

enum { MANY = 10000 }; /* more than a tombstone has that is written in one piece */

static int set_up_as(void **state, enum engine_kind engine)
{
    struct store_fixture *fixture = calloc(1, sizeof(*fixture));

    invariant(fixture != NULL);
    log_configure(LOG_ERROR + 1, false); /* failures are logged; here they are wanted */
    fixture_init(fixture, engine);
    fixture->options.flush_interval_ns = (uint64_t)3600 * 1000000000;
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
    fault_disarm_all();
    fixture_release(*state);
    free(*state);
    return 0;
}

static uint64_t chunks_of(struct store_fixture *fixture)
{
    struct store_status status;

    store_status(fixture->store, &status);
    assert_int_equal(status.damaged_records, 0);
    return status.chunks;
}

static size_t text_of(size_t number, char text[16])
{
    return (size_t)snprintf(text, 16, "%zu", number);
}

static struct digest put(struct store_fixture *fixture, const char *channel, size_t number)
{
    char text[16];
    size_t size = text_of(number, text);

    return store_put_buffered(fixture->store, channel, text, size, NULL);
}

static void sync_all(struct store_fixture *fixture)
{
    assert_int_equal(store_sync(fixture->store, NULL, 0, NULL, NULL), COFFER_OK);
}

/* All in the buffer of one channel; the caller frees the keys. */
static struct digest *put_many(struct store_fixture *fixture, size_t count)
{
    struct digest *keys = calloc(count, sizeof(*keys));

    invariant(keys != NULL);
    for (size_t i = 0; i < count; i++)
        keys[i] = put(fixture, "slow", i);
    return keys;
}

static size_t count_there(struct store_fixture *fixture, const struct digest *keys, size_t count)
{
    size_t there = 0;

    for (size_t i = 0; i < count; i++)
        there += store_has(fixture->store, &keys[i]);
    return there;
}

/* More than are looked up together, in all states, some of them twice, far apart. */
static void test_every_state(void **state)
{
    enum { COUNT = 1500, ASKED = 2 * COUNT + 700 };
    static const char *const channels[] = {"one", "two", "three"};
    struct store_fixture *fixture = *state;
    struct digest *keys = calloc(ASKED, sizeof(*keys)), kept = put(fixture, "one", COUNT);
    bool *missing = calloc(ASKED, sizeof(*missing));
    uint64_t deleted;

    invariant(keys != NULL && missing != NULL);
    for (size_t i = 0; i < COUNT; i++) {
        keys[i] = put(fixture, channels[i % 3], i);
        if (i == COUNT / 4)
            sync_all(fixture);
    }
    memcpy(keys + COUNT, keys, COUNT * sizeof(*keys)); /* once more, and then unknown ones */
    for (size_t i = 2 * COUNT; i < ASKED; i++)
        keys[i] = content_key(&i, sizeof(i));
    assert_int_equal(store_delete(fixture->store, keys, ASKED, &deleted, missing, NULL), COFFER_OK);
    assert_int_equal(deleted, COUNT);
    for (size_t i = 0; i < ASKED; i++)
        assert_int_equal(missing[i], i >= 2 * COUNT);
    assert_int_equal(count_there(fixture, keys, ASKED), 0);
    assert_true(store_has(fixture->store, &kept));
    assert_int_equal(
        chunks_of(fixture), 1); /* it went to the disk with the others of its channel */
    free(keys);
    free(missing);
}

/* ---- failures ---- */

/* Some of them in a buffer: they are still there when the rest of it fails. */
static void test_fails_after_the_buffers(void **state)
{
    enum { COUNT = 20 };
    struct store_fixture *fixture = *state;
    struct digest *keys = put_many(fixture, COUNT / 2);
    struct digest all[COUNT];

    memcpy(all, keys, COUNT / 2 * sizeof(*keys));
    free(keys);
    sync_all(fixture);
    for (size_t i = COUNT / 2; i < COUNT; i++)
        all[i] = put(fixture, "late", i);
    fault_arm(FAULT_PACK_WRITE, EIO, 2, 2); /* that of the buffer works */
    assert_int_equal(store_delete(fixture->store, all, COUNT, NULL, NULL, NULL), COFFER_IO);
    assert_int_equal(fault_hits(FAULT_PACK_WRITE), 2);
    assert_int_equal(count_there(fixture, all, COUNT), COUNT);
    fixture_reopen(fixture);
    assert_int_equal(count_there(fixture, all, COUNT), COUNT);
    assert_int_equal(store_delete(fixture->store, all, COUNT, NULL, NULL, NULL), COFFER_OK);
    assert_int_equal(count_there(fixture, all, COUNT), 0);
}

/* In the middle of the tombstone, whose first part may then be on the disk. */
static void test_fails_in_the_tombstone(void **state)
{
    static const int errors[] = {EIO, FAULT_SHORT};
    struct store_fixture *fixture = *state;
    struct digest *keys = put_many(fixture, MANY);
    uint64_t deleted;

    sync_all(fixture);
    for (size_t i = 0; i < ARRAY_COUNT(errors); i++)
        for (unsigned hit = 1; hit < 8; hit += 2) {
            fault_arm(FAULT_PACK_WRITE, errors[i], hit, 2);
            assert_int_equal(store_delete(fixture->store, keys, MANY, NULL, NULL, NULL), COFFER_IO);
            assert_int_equal(fault_hits(FAULT_PACK_WRITE), 2);
            fault_disarm_all();
            assert_int_equal(chunks_of(fixture), MANY);
            if (hit == 3)
                fixture_crash(fixture);
            else
                fixture_close(fixture);
            fixture_open(fixture);
            assert_int_equal(chunks_of(fixture), MANY);
        }
    assert_int_equal(count_there(fixture, keys, MANY), MANY);
    fault_arm(FAULT_PACK_WRITE, EIO, 4, 1); /* once: then it is written to another pack */
    assert_int_equal(store_delete(fixture->store, keys, MANY, &deleted, NULL, NULL), COFFER_OK);
    assert_int_equal(deleted, MANY);
    for (int pass = 0; pass < 3; pass++) {
        assert_int_equal(chunks_of(fixture), 0);
        assert_int_equal(count_there(fixture, keys, MANY), 0);
        fixture_crash(fixture);
        if (pass == 1)
            fixture_remove_index(fixture);
        fixture_open(fixture);
    }
    free(keys);
}

/* The tombstone is on the disk, and not all of it in the index: a start brings it there. */
static void test_index_fails_in_the_middle(void **state)
{
    struct store_fixture *fixture = *state;
    struct digest *keys = put_many(fixture, MANY);
    struct digest kept;

    sync_all(fixture);
    kept = put(fixture, "slow", MANY);
    sync_all(fixture);
    fault_arm(FAULT_INDEX_WRITE, EIO, 5, 1);
    assert_int_equal(store_delete(fixture->store, keys, MANY, NULL, NULL, NULL), COFFER_IO);
    fault_disarm_all();
    assert_true(count_there(fixture, keys, MANY) > 0);
    assert_int_equal(store_close(fixture->store, NULL), COFFER_OK); /* all were told */
    fixture->store = NULL;
    fixture_open(fixture);
    assert_int_equal(count_there(fixture, keys, MANY), 0);
    assert_true(store_has(fixture->store, &kept));
    assert_int_equal(chunks_of(fixture), 1);
    free(keys);
}

/* ---- many at once ---- */

enum { SHARED = 2500, WRITERS = 4, DELETERS = 4, ROUNDS = 4 };

struct job {
    struct store_fixture *fixture;
    const struct digest *keys; /* of SHARED chunks */
    unsigned number;
    _Atomic uint64_t *created, *deleted;
};

/* Write them all, each in an order of its own, buffered or synced. */
static void *run_writer(void *context)
{
    struct job *job = context;
    uint64_t random = 17 + job->number;

    for (int round = 0; round < ROUNDS; round++) {
        for (size_t i = 0; i < SHARED; i++) {
            char text[16];
            size_t size = text_of((i * 7 + job->number * 1000) % SHARED, text);
            bool synced = random_below(&random, 200) == 0;
            struct upload_options options = {
                .size = size, .durability = synced ? DURABILITY_SYNCED : DURABILITY_BUFFERED};
            struct upload_result result;

            invariant(store_put(job->fixture->store, text, size, 0, &options, &result, NULL) ==
                      COFFER_OK);
            atomic_fetch_add(job->created, result.created);
        }
    }
    return NULL;
}

/* Delete a random half of them, in the order in which they come. */
static void *run_deleter(void *context)
{
    struct job *job = context;
    struct digest *some = calloc(SHARED, sizeof(*some));
    bool *missing = calloc(SHARED, sizeof(*missing));
    uint64_t random = 91 + job->number;

    invariant(some != NULL && missing != NULL);
    for (int round = 0; round < ROUNDS; round++) {
        size_t count = 0, gone = 0;
        uint64_t deleted;

        for (size_t i = 0; i < SHARED; i++)
            if (random_below(&random, 2) == 0)
                some[count++] = job->keys[(i * 11 + job->number * 500) % SHARED];
        invariant(
            store_delete(job->fixture->store, some, count, &deleted, missing, NULL) == COFFER_OK);
        for (size_t i = 0; i < count; i++)
            gone += missing[i];
        invariant(deleted + gone == count);
        atomic_fetch_add(job->deleted, deleted);
    }
    free(some);
    free(missing);
    return NULL;
}

static void test_crossing_deletions(void **state)
{
    struct store_fixture *fixture = *state;
    struct digest *keys = put_many(fixture, SHARED);
    _Atomic uint64_t created = SHARED, deleted = 0;
    struct job jobs[WRITERS + DELETERS];
    pthread_t threads[WRITERS + DELETERS];

    for (unsigned i = 0; i < WRITERS + DELETERS; i++) {
        jobs[i] = (struct job){fixture, keys, i, &created, &deleted};
        invariant(pthread_create(
                      &threads[i], NULL, i < WRITERS ? run_writer : run_deleter, &jobs[i]) == 0);
    }
    for (unsigned i = 0; i < WRITERS + DELETERS; i++)
        pthread_join(threads[i], NULL);
    sync_all(fixture);
    assert_true(deleted > 0);
    assert_int_equal(chunks_of(fixture), created - deleted);
    assert_int_equal(count_there(fixture, keys, SHARED), created - deleted);
    if (fixture->options.engine == ENGINE_LOCAL) {
        fixture_crash(fixture);
        fixture_remove_index(fixture);
        fixture_open(fixture);
        assert_int_equal(count_there(fixture, keys, SHARED), created - deleted);
    }
    free(keys);
}

/* Given up at any step, it leaves nothing behind that others would wait for. */
static void test_given_up(void **state)
{
    struct store_fixture *fixture = *state;
    struct digest *keys = put_many(fixture, 2000);
    struct gate gate;

    gate_init(&gate);
    for (unsigned steps = 0; steps < 3; steps++) {
        enum coffer_status status = COFFER_AGAIN;
        struct removal *removal;

        assert_int_equal(removal_begin(fixture->store, key_source_array(keys, 2000),
                             gate_waker(&gate), &removal, NULL),
            COFFER_OK);
        for (unsigned i = 0; i < steps && status == COFFER_AGAIN; i++) {
            status = removal_finish(removal, NULL);
            if (status == COFFER_AGAIN)
                gate_wait(&gate);
        }
        removal_close(removal);
        free(put_many(fixture, 2000)); /* nobody is kept out */
    }
    gate_release(&gate);
    free(keys);
}

#define BOTH(test)                                                                                 \
    {#test " (memory)", test, set_up_memory, tear_down, NULL},                                     \
    {                                                                                              \
#test " (local)", test, set_up_local, tear_down, NULL                                      \
    }

int main(void)
{
    const struct CMUnitTest tests[] = {
        BOTH(test_every_state),
        cmocka_unit_test_setup_teardown(test_fails_after_the_buffers, set_up_local, tear_down),
        cmocka_unit_test_setup_teardown(test_fails_in_the_tombstone, set_up_local, tear_down),
        cmocka_unit_test_setup_teardown(test_index_fails_in_the_middle, set_up_local, tear_down),
        BOTH(test_crossing_deletions),
        BOTH(test_given_up),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
