/*
 * Goal: readers and writers do not notice a repack: every byte is right, what was deleted stays
 * deleted, what was written stays. Method: threads that write, read and delete chunks of their own
 * through the store, while another one repacks over and over.
 */
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "storage/base/clock.h"
#include "storage/base/invariant.h"
#include "storage/base/log.h"
#include "storage/maintenance.h"
#include "tests/support/store_fixture.h"

enum { THREADS = 3, SLOTS = 40, ROUNDS = 400 };

struct load {
    struct store *store;
    pthread_t thread;
    unsigned number;
    bool there[SLOTS];
    _Atomic bool *over;
};

static uint8_t *content_of(const struct load *load, unsigned slot, size_t *size)
{
    static const size_t sizes[] = {10, 1000, 30000, FIXTURE_SEGMENT * 2 + 5};

    *size = sizes[slot % ARRAY_COUNT(sizes)] + slot;
    return content_make(
        *size, load->number * 1000 + slot + 1, slot % 3 == 0 ? CONTENT_TEXT : CONTENT_RANDOM);
}

static void check_slot(const struct load *load, unsigned slot)
{
    size_t size;
    uint8_t *data = content_of(load, slot, &size);
    struct digest key = content_key(data, size);

    if (load->there[slot])
        check_content(load->store, &key, data, size);
    else
        invariant(!store_has(load->store, &key));
    free(data);
}

static void *load_main(void *argument)
{
    struct load *load = argument;
    uint64_t random = load->number + 77;

    for (unsigned round = 0; round < ROUNDS; round++) {
        unsigned slot = (unsigned)random_below(&random, SLOTS);
        size_t size;
        uint8_t *data = content_of(load, slot, &size);
        struct digest key = content_key(data, size);

        if (!load->there[slot])
            (void)store_put_good(load->store, data, size);
        else
            invariant(store_delete_one(load->store, &key) == COFFER_OK);
        load->there[slot] = !load->there[slot];
        free(data);
        check_slot(load, slot);
        check_slot(load, (unsigned)random_below(&random, SLOTS));
    }
    return NULL;
}

static bool goes_on(void *context, uint64_t done, uint64_t total)
{
    (void)done;
    (void)total;
    return !atomic_load((_Atomic bool *)context);
}

static void *repack_main(void *argument)
{
    struct load *load = argument;
    const struct maintenance_watch watch = {goes_on, load->over};
    const struct repack_options options = {
        .dead_ratio = 0.05, .seal_idle = true, .merge_small = true};
    uint64_t rewritten = 0;

    while (!atomic_load(load->over)) {
        struct repack_result result;
        enum coffer_status status = store_repack(load->store, &options, &watch, &result, NULL);

        invariant(status == COFFER_OK || status == COFFER_DRAINING);
        invariant(result.packs_kept == 0 || status == COFFER_OK);
        rewritten += result.packs_rewritten;
    }
    print_message("%llu packs rewritten\n", (unsigned long long)rewritten);
    return NULL;
}

static void test_nobody_notices(void **state)
{
    struct load loads[THREADS + 1];
    _Atomic bool over = false;
    struct store_fixture fixture;
    struct store_status status;

    (void)state;
    log_configure(LOG_ERROR, false);
    fixture_init(&fixture, ENGINE_LOCAL);
    fixture.options.repack_dead_ratio = 0;
    fixture_open(&fixture);
    for (unsigned i = 0; i <= THREADS; i++) {
        loads[i] = (struct load){.store = fixture.store, .number = i, .over = &over};
        invariant(pthread_create(&loads[i].thread, NULL, i < THREADS ? load_main : repack_main,
                      &loads[i]) == 0);
    }
    for (unsigned i = 0; i < THREADS; i++)
        pthread_join(loads[i].thread, NULL);
    atomic_store(&over, true);
    pthread_join(loads[THREADS].thread, NULL);
    for (int pass = 0; pass < 2; pass++) {
        store_status(fixture.store, &status);
        assert_int_equal(status.damaged_records, 0);
        for (unsigned i = 0; i < THREADS; i++)
            for (unsigned slot = 0; slot < SLOTS; slot++) {
                loads[i].store = fixture.store;
                check_slot(&loads[i], slot);
            }
        fixture_close(&fixture);
        fixture_remove_index(&fixture);
        fixture_open(&fixture);
    }
    fixture_release(&fixture);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_nobody_notices)};

    return cmocka_run_group_tests(tests, NULL, NULL);
}
