/*
 * Goal: the limits hold, and nobody is left waiting. Method: more uploads at once than the memory
 * limit or a channel's buffer has room for, in many threads, on few keys, with deletions, syncs,
 * lists and reads between them; all calls come back, all content is right, all memory is given
 * back. What waits for ever meets the time limit of ctest.
 */
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "storage/base/invariant.h"
#include "storage/store.h"
#include "tests/support/store_fixture.h"

enum { THREADS = 16 };

static int set_up_as(void **state, enum engine_kind engine)
{
    struct store_fixture *fixture = calloc(1, sizeof(*fixture));

    invariant(fixture != NULL);
    fixture_init(fixture, engine);
    fixture->options.memory_limit = 4 * FIXTURE_SEGMENT;
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

static void check_quiet(struct store *store)
{
    struct store_status status;

    assert_int_equal(store_sync(store, NULL, 0, NULL, NULL), COFFER_OK);
    status = status_of(store);
    assert_int_equal(status.memory_used, 0);
    assert_int_equal(status.buffered_records, 0);
}

struct job {
    struct store *store;
    unsigned number;
    enum durability durability;
    const char *channel;
    size_t size; /* of each body; 0: from small to several segments */
    bool known;  /* the length is announced */
    unsigned count;
    _Atomic uint64_t *most_memory;
};

static void note_memory(struct job *job)
{
    uint64_t used = status_of(job->store).memory_used, most = *job->most_memory;

    while (used > most && !atomic_compare_exchange_weak(job->most_memory, &most, used))
        continue;
}

static void *run_uploads(void *context)
{
    struct job *job = context;

    for (unsigned i = 0; i < job->count; i++) {
        size_t size = job->size != 0 ? job->size : (size_t)1 << (i + job->number) % 19;
        uint8_t *data = content_make(size, job->number * 1000 + i, CONTENT_RANDOM), *got;
        struct upload_options options = {.durability = job->durability,
            .size = job->known ? size : UPLOAD_SIZE_UNKNOWN,
            .channel = slice_from_text(job->channel)};
        struct upload_result result;
        size_t got_size;

        invariant(store_put(job->store, data, size, 30000, &options, &result, NULL) == COFFER_OK);
        note_memory(job);
        invariant(store_get(job->store, &result.key, &got, &got_size, NULL) == COFFER_OK);
        invariant(got_size == size && memcmp(got, data, size) == 0);
        free(got);
        free(data);
    }
    return NULL;
}

static void run_all(struct job *jobs, void *(*run)(void *))
{
    pthread_t threads[THREADS];

    for (unsigned i = 0; i < THREADS; i++) {
        jobs[i].number = i;
        invariant(pthread_create(&threads[i], NULL, run, &jobs[i]) == 0);
    }
    for (unsigned i = 0; i < THREADS; i++)
        pthread_join(threads[i], NULL);
}

static void load(struct store_fixture *fixture, struct job like)
{
    struct job jobs[THREADS];
    _Atomic uint64_t most_memory = 0;

    like.store = fixture->store;
    like.most_memory = &most_memory;
    for (unsigned i = 0; i < THREADS; i++)
        jobs[i] = like;
    run_all(jobs, run_uploads);
    assert_true(most_memory <= fixture->options.memory_limit);
    check_quiet(fixture->store);
}

static void test_memory_limit(void **state)
{
    struct store_fixture *fixture = *state;

    load(fixture, (struct job){.channel = "", .known = true, .count = 20});
    load(fixture, (struct job){.channel = "", .count = 20});
    load(fixture, (struct job){.channel = "", .size = 5 * FIXTURE_SEGMENT, .count = 4});
    load(fixture,
        (struct job){.channel = "", .durability = DURABILITY_BUFFERED, .known = true, .count = 20});
    load(fixture, (struct job){.channel = "",
                      .durability = DURABILITY_BUFFERED,
                      .size = FIXTURE_SEGMENT,
                      .known = true,
                      .count = 10});
}

/* One channel, a small buffer, bodies as large as it: nobody is overtaken for ever. */
static void test_channel_buffer_limit(void **state)
{
    struct store_fixture *fixture = *state;

    fixture_close(fixture);
    fixture->options.buffer_size = FIXTURE_SEGMENT; /* the least is 1 MiB, all the same */
    fixture->options.segment_size = 512 * 1024;
    fixture->options.memory_limit = 32 << 20;
    fixture_open(fixture);
    load(fixture, (struct job){.channel = "one",
                      .durability = DURABILITY_BUFFERED,
                      .size = 500 * 1024,
                      .known = true,
                      .count = 6});
    load(fixture, (struct job){.channel = "one", .known = true, .count = 20});
}

/* Many small buffered writes do not keep a large one out of their channel. */
static void test_large_among_small(void **state)
{
    struct store_fixture *fixture = *state;
    struct job jobs[THREADS];
    _Atomic uint64_t most_memory = 0;

    fixture_close(fixture);
    fixture->options.buffer_size = 1 << 20;
    fixture->options.segment_size = 1 << 20;
    fixture->options.memory_limit = 32 << 20;
    fixture_open(fixture);
    for (unsigned i = 0; i < THREADS; i++) {
        jobs[i] = (struct job){.store = fixture->store,
            .channel = "one",
            .durability = DURABILITY_BUFFERED,
            .size = 20000,
            .known = true,
            .count = 60,
            .most_memory = &most_memory};
        if (i % 8 == 0) {
            jobs[i].size = 1 << 20;
            jobs[i].count = 5;
        }
    }
    run_all(jobs, run_uploads);
    check_quiet(fixture->store);
}

static void test_no_buffer(void **state)
{
    struct store_fixture *fixture = *state;
    struct upload_result result;
    struct upload_options options = {.size = 3, .durability = DURABILITY_BUFFERED};

    fixture_close(fixture);
    fixture->options.buffer_size = 0;
    fixture_open(fixture);
    assert_int_equal(store_put(fixture->store, "abc", 3, 0, &options, &result, NULL), COFFER_OK);
    assert_int_equal(result.state, CHUNK_DURABLE);
    load(fixture, (struct job){.channel = "one", .count = 10});
}

static void test_too_many_channels(void **state)
{
    struct store_fixture *fixture = *state;
    struct upload *uploads[32];
    struct upload_options options = {.size = 1};
    char name[16];
    unsigned open = 0;
    enum coffer_status status = COFFER_OK;

    for (; open < ARRAY_COUNT(uploads); open++) { /* each holds its channel */
        (void)snprintf(name, sizeof(name), "c%u", open);
        options.channel = slice_from_text(name);
        status = upload_begin(fixture->store, &options, (struct waker){0}, &uploads[open], NULL);
        if (status != COFFER_OK)
            break;
    }
    assert_int_equal(status, COFFER_OVERLOADED);
    assert_int_equal(open, fixture->options.channels_max - 2); /* without the default ones */
    upload_close(uploads[--open]);
    status = upload_begin(fixture->store, &options, (struct waker){0}, &uploads[open++], NULL);
    assert_int_equal(status, COFFER_OK); /* the one that was let go is forgotten for it */
    while (open > 0)
        upload_close(uploads[--open]);
    for (unsigned i = 0; i < 10; i++) { /* and so are others */
        (void)snprintf(name, sizeof(name), "d%u", i);
        store_put_buffered(fixture->store, name, &i, sizeof(i), NULL);
    }
    check_quiet(fixture->store);
    assert_int_equal(status_of(fixture->store).chunks, 10);
}

/* ---- everything at once ---- */

enum { KEYS = 24, ROUNDS = 150 };

static uint8_t *key_content(unsigned number, size_t *size)
{
    *size = number % 6 == 0 ? 3 * FIXTURE_SEGMENT + number : number * 700;
    return content_make(*size, number, number % 2 == 0 ? CONTENT_TEXT : CONTENT_RANDOM);
}

static void put_shared(struct job *job, const uint8_t *data, size_t size, uint64_t random)
{
    static const char *const channels[] = {"", "x", "y"};
    struct upload_options options = {.size = random & 1 ? size : UPLOAD_SIZE_UNKNOWN,
        .durability = random & 2 ? DURABILITY_SYNCED : DURABILITY_BUFFERED,
        .channel = slice_from_text(channels[random % 3])};
    struct upload_result result;

    invariant(store_put(job->store, data, size, 0, &options, &result, NULL) == COFFER_OK);
}

static void get_shared(struct job *job, const struct digest *key, const uint8_t *data, size_t size)
{
    uint8_t *got;
    size_t got_size;
    struct error error = {.text = ""};
    enum coffer_status status = store_get(job->store, key, &got, &got_size, &error);

    if (status == COFFER_NO_SUCH_CHUNK)
        return;
    if (status != COFFER_OK)
        (void)fprintf(stderr, "get: %s\n", error.text);
    invariant(status == COFFER_OK);
    invariant(got_size == size && memcmp(got, data, size) == 0);
    free(got);
}

static void *run_mixture(void *context)
{
    struct job *job = context;
    uint64_t random = 77 + job->number;

    for (int round = 0; round < ROUNDS; round++) {
        size_t size, found;
        uint8_t *data = key_content((unsigned)random_below(&random, KEYS), &size);
        struct digest keys[3] = {content_key(data, size)};
        struct chunk_info infos[KEYS];

        switch (random_below(&random, 8)) {
        case 0:
            invariant(store_delete(job->store, keys, 1, NULL, NULL, NULL) == COFFER_OK);
            break;
        case 1: { /* two more, so that deletions cross */
            for (int i = 1; i < 3; i++) {
                size_t other_size;
                uint8_t *other = key_content((unsigned)random_below(&random, KEYS), &other_size);

                keys[i] = content_key(other, other_size);
                free(other);
            }
            invariant(store_delete(job->store, keys, 3, NULL, NULL, NULL) == COFFER_OK);
            break;
        }
        case 2:
            invariant(store_sync(job->store, NULL, 0, NULL, NULL) == COFFER_OK);
            break;
        case 3:
            invariant(store_list(job->store, NULL, slice_of(NULL, 0), infos, KEYS, &found, NULL) ==
                      COFFER_OK);
            break;
        case 4:
            get_shared(job, &keys[0], data, size);
            break;
        default:
            put_shared(job, data, size, random_next(&random));
            break;
        }
        free(data);
    }
    return NULL;
}

static void test_many_threads(void **state)
{
    struct store_fixture *fixture = *state;
    struct job jobs[THREADS];
    uint64_t chunks = 0;

    fixture_close(fixture);
    fixture->options.memory_limit = 8 * FIXTURE_SEGMENT;
    fixture->options.sync_delay_ns = 100000;
    fixture_open(fixture);
    for (unsigned i = 0; i < THREADS; i++)
        jobs[i] = (struct job){.store = fixture->store};
    run_all(jobs, run_mixture);
    check_quiet(fixture->store);
    for (int pass = 0; pass < 2; pass++) {
        uint64_t found = 0;

        for (unsigned i = 0; i < KEYS; i++) {
            size_t size;
            uint8_t *data = key_content(i, &size);
            struct digest key = content_key(data, size);

            if (store_has(fixture->store, &key)) {
                check_content(fixture->store, &key, data, size);
                found++;
            }
            free(data);
        }
        assert_int_equal(status_of(fixture->store).chunks, found);
        assert_true(pass == 0 || chunks == found);
        chunks = found;
        if (fixture->options.engine != ENGINE_LOCAL)
            break;
        fixture_reopen(fixture);
    }
}

/* ---- a list while others come and go ---- */

enum { STAY = 40, COME_AND_GO = 400 };

static _Atomic bool listing;

static void *come_and_go(void *context)
{
    struct job *job = context;

    for (unsigned i = 0; listing; i = (i + 1) % COME_AND_GO) {
        uint64_t content = 1000000 + i;
        struct digest key = store_put_buffered(job->store, NULL, &content, sizeof(content), NULL);

        /* another thread may have been faster */
        invariant(store_delete(job->store, &key, 1, NULL, NULL, NULL) == COFFER_OK);
    }
    return NULL;
}

static unsigned count_staying(struct store *store, const struct digest *keys, size_t page)
{
    struct chunk_info infos[STAY + COME_AND_GO];
    struct digest after;
    unsigned staying = 0;
    bool begun = false;
    size_t found;

    do {
        invariant(store_list(store, begun ? &after : NULL, slice_of(NULL, 0), infos, page, &found,
                      NULL) == COFFER_OK);
        for (size_t i = 0; i < found; i++) {
            invariant(!begun || digest_compare(&after, &infos[i].key) < 0);
            after = infos[i].key;
            begun = true;
            for (size_t j = 0; j < STAY; j++)
                staying += digest_equal(&infos[i].key, &keys[j]);
        }
    } while (found == page);
    return staying;
}

static void test_list_while_others_come_and_go(void **state)
{
    struct store_fixture *fixture = *state;
    struct job job = {.store = fixture->store};
    struct digest keys[STAY];
    pthread_t threads[4];

    for (uint64_t i = 0; i < STAY; i++)
        keys[i] = i % 2 == 0 ? store_put_good(fixture->store, &i, sizeof(i))
                             : store_put_buffered(fixture->store, NULL, &i, sizeof(i), NULL);
    listing = true;
    for (size_t i = 0; i < 4; i++)
        invariant(pthread_create(&threads[i], NULL, come_and_go, &job) == 0);
    for (unsigned i = 0; i < 300; i++)
        assert_int_equal(count_staying(fixture->store, keys, 1 + i % 7), STAY);
    listing = false;
    for (size_t i = 0; i < 4; i++)
        pthread_join(threads[i], NULL);
    check_quiet(fixture->store);
}

#define BOTH(test)                                                                                 \
    {#test " (memory)", test, set_up_memory, tear_down, NULL},                                     \
    {                                                                                              \
#test " (local)", test, set_up_local, tear_down, NULL                                      \
    }

int main(void)
{
    const struct CMUnitTest tests[] = {
        BOTH(test_memory_limit),
        BOTH(test_channel_buffer_limit),
        BOTH(test_large_among_small),
        BOTH(test_no_buffer),
        BOTH(test_too_many_channels),
        BOTH(test_many_threads),
        BOTH(test_list_while_others_come_and_go),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
