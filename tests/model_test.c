/*
 * Goal: the local engine behaves like the memory engine, and both like a model of a few lines,
 * across restarts, crashes and lost indexes. Method: a sequence of random operations that follows
 * from a seed alone, run against both stores; every answer is compared. After a crash what was
 * buffered may be there or not, whole; all else is as it was.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "storage/base/invariant.h"
#include "storage/store.h"
#include "tests/support/store_fixture.h"

enum { IDS = 160, OPS = 2500, OPS_LONG = 100000, BATCH_MAX = 12 };

enum presence { ABSENT, BUFFERED, DURABLE };

struct model {
    struct store_fixture local, memory;
    uint64_t random;
    enum presence presence[IDS];
    struct digest keys[IDS];
    size_t sizes[IDS];
    unsigned step;
    unsigned crashes, reopens;
};

/* Content is made from its number: sizes of every kind, every second one compressible. */
static uint8_t *content_of(unsigned id, size_t *size)
{
    static const size_t sizes[] = {0, 1, 100, 849, 900, 5000, 20000, FIXTURE_SEGMENT,
        FIXTURE_SEGMENT + 1, 3 * FIXTURE_SEGMENT - 5, 64, 300};

    *size = sizes[id % ARRAY_COUNT(sizes)] + (id >= ARRAY_COUNT(sizes) ? id : 0);
    return content_make(*size, id, id / 12 % 2 == 0 ? CONTENT_TEXT : CONTENT_RANDOM);
}

static unsigned below(struct model *model, unsigned limit)
{
    return (unsigned)random_below(&model->random, limit);
}

/* ---- operations ---- */

static void do_put(struct model *model)
{
    static const char *const channels[] = {"", "x", "y"};
    unsigned id = below(model, IDS);
    size_t size;
    uint8_t *data = content_of(id, &size);
    struct upload_options options = {.size = below(model, 2) == 0 ? size : UPLOAD_SIZE_UNKNOWN,
        .durability = below(model, 3) == 0 ? DURABILITY_SYNCED : DURABILITY_BUFFERED,
        .channel = slice_from_text(channels[below(model, 3)]),
        .key = &model->keys[id]};
    size_t piece = below(model, 3) * 7001;
    struct upload_result local, memory;

    assert_int_equal(
        store_put(model->local.store, data, size, piece, &options, &local, NULL), COFFER_OK);
    assert_int_equal(
        store_put(model->memory.store, data, size, piece, &options, &memory, NULL), COFFER_OK);
    assert_int_equal(local.created, model->presence[id] == ABSENT);
    assert_int_equal(memory.created, local.created);
    assert_int_equal(memory.size, local.size);
    if (local.state == CHUNK_DURABLE)
        model->presence[id] = DURABLE;
    else if (model->presence[id] == ABSENT)
        model->presence[id] = BUFFERED;
    free(data);
}

static void check_id(struct model *model, unsigned id, bool range)
{
    size_t size, from = 0, got_size;
    uint8_t *data = content_of(id, &size), *got;

    if (model->presence[id] == ABSENT) {
        assert_int_equal(store_get(model->local.store, &model->keys[id], &got, &got_size, NULL),
            COFFER_NO_SUCH_CHUNK);
        assert_int_equal(store_get(model->memory.store, &model->keys[id], &got, &got_size, NULL),
            COFFER_NO_SUCH_CHUNK);
        free(data);
        return;
    }
    got_size = size;
    if (range) {
        from = below(model, (unsigned)size + 1);
        got_size = below(model, (unsigned)(size - from) + 1);
    }
    got = malloc(got_size + 1);
    invariant(got != NULL);
    assert_int_equal(
        store_get_range(model->local.store, &model->keys[id], from, got_size, got, NULL, NULL),
        COFFER_OK);
    assert_memory_equal(got, data + from, got_size);
    assert_int_equal(
        store_get_range(model->memory.store, &model->keys[id], from, got_size, got, NULL, NULL),
        COFFER_OK);
    assert_memory_equal(got, data + from, got_size);
    free(got);
    free(data);
}

static void do_delete(struct model *model, unsigned count)
{
    struct digest keys[BATCH_MAX];
    bool local[BATCH_MAX], memory[BATCH_MAX], wanted[BATCH_MAX];
    unsigned ids[BATCH_MAX];
    uint64_t local_deleted, memory_deleted, deleted = 0;

    for (unsigned i = 0; i < count; i++) {
        ids[i] = below(model, IDS);
        keys[i] = model->keys[ids[i]];
        wanted[i] = model->presence[ids[i]] == ABSENT;
    }
    for (unsigned i = 0; i < count; i++) { /* a key may be there twice */
        deleted += model->presence[ids[i]] != ABSENT;
        model->presence[ids[i]] = ABSENT;
    }
    assert_int_equal(
        store_delete(model->local.store, keys, count, &local_deleted, local, NULL), COFFER_OK);
    assert_int_equal(
        store_delete(model->memory.store, keys, count, &memory_deleted, memory, NULL), COFFER_OK);
    assert_int_equal(local_deleted, deleted);
    assert_int_equal(memory_deleted, deleted);
    assert_memory_equal(local, wanted, count * sizeof(bool));
    assert_memory_equal(memory, wanted, count * sizeof(bool));
}

static void do_stat(struct model *model)
{
    unsigned id = below(model, IDS);
    struct chunk_info local, memory;
    enum coffer_status wanted = model->presence[id] == ABSENT ? COFFER_NO_SUCH_CHUNK : COFFER_OK;

    assert_int_equal(store_stat(model->local.store, &model->keys[id], &local, NULL), wanted);
    assert_int_equal(store_stat(model->memory.store, &model->keys[id], &memory, NULL), wanted);
    if (wanted != COFFER_OK)
        return;
    assert_int_equal(local.size, model->sizes[id]);
    assert_int_equal(memory.size, local.size);
    if (model->presence[id] == DURABLE)
        assert_int_equal(local.state, CHUNK_DURABLE);
}

static size_t list_all(struct store *store, unsigned page, struct chunk_info *infos)
{
    size_t total = 0, found;

    do {
        assert_int_equal(store_list(store, total == 0 ? NULL : &infos[total - 1].key,
                             slice_of(NULL, 0), infos + total, page, &found, NULL),
            COFFER_OK);
        total += found;
        assert_true(total <= IDS);
    } while (found == page);
    return total;
}

static void do_list(struct model *model)
{
    struct chunk_info local[2 * IDS], memory[2 * IDS];
    unsigned page = 1 + below(model, IDS);
    size_t count = list_all(model->local.store, page, local), wanted = 0;

    assert_int_equal(list_all(model->memory.store, page, memory), count);
    for (unsigned id = 0; id < IDS; id++)
        wanted += model->presence[id] != ABSENT;
    assert_int_equal(count, wanted);
    for (size_t i = 0; i < count; i++) {
        assert_true(digest_equal(&local[i].key, &memory[i].key));
        assert_int_equal(local[i].size, memory[i].size);
    }
}

static struct store_status check_status(struct store *store)
{
    struct store_status status;

    store_status(store, &status);
    assert_int_equal(status.damaged_records, 0);
    assert_true(status.writable);
    return status;
}

static void do_sync(struct model *model)
{
    struct store_status local, memory;
    uint64_t chunks = 0;

    assert_int_equal(store_sync(model->local.store, NULL, 0, NULL, NULL), COFFER_OK);
    assert_int_equal(store_sync(model->memory.store, NULL, 0, NULL, NULL), COFFER_OK);
    for (unsigned id = 0; id < IDS; id++)
        if (model->presence[id] != ABSENT) {
            model->presence[id] = DURABLE;
            chunks++;
        }
    local = check_status(model->local.store);
    memory = check_status(model->memory.store);
    assert_int_equal(local.chunks, chunks);
    assert_int_equal(memory.chunks, chunks);
    assert_int_equal(local.memory_used, 0);
    assert_int_equal(memory.memory_used, 0);
    assert_int_equal(local.live_bytes + local.dead_bytes + 64 * local.packs, local.used_space);
}

/* ---- restarts ---- */

static void spoil_index(struct model *model)
{
    unsigned choice = below(model, 12);

    if (choice == 0)
        fixture_remove_index(&model->local);
    if (choice == 1)
        file_put_bytes(fixture_data_path(&model->local, "index/CURRENT"), "garbage\n", 8);
}

static void do_reopen(struct model *model)
{
    fixture_close(&model->local);
    for (unsigned id = 0; id < IDS; id++)
        if (model->presence[id] == BUFFERED)
            model->presence[id] = DURABLE;
    spoil_index(model);
    fixture_open(&model->local);
    model->reopens++;
}

static void do_crash(struct model *model)
{
    fixture_crash(&model->local);
    spoil_index(model);
    fixture_open(&model->local);
    model->crashes++;
    for (unsigned id = 0; id < IDS; id++) {
        if (model->presence[id] == BUFFERED) {
            if (store_has(model->local.store, &model->keys[id])) {
                model->presence[id] = DURABLE;
            } else {
                model->presence[id] = ABSENT;
                assert_int_equal(
                    store_delete_one(model->memory.store, &model->keys[id]), COFFER_OK);
            }
        }
        check_id(model, id, false);
    }
}

static void step(struct model *model)
{
    unsigned choice = below(model, 1000);

    if (choice < 400)
        do_put(model);
    else if (choice < 650)
        check_id(model, below(model, IDS), true);
    else if (choice < 720)
        do_delete(model, 1);
    else if (choice < 750)
        do_delete(model, below(model, BATCH_MAX + 1));
    else if (choice < 880)
        do_stat(model);
    else if (choice < 940)
        do_list(model);
    else if (choice < 976)
        do_sync(model);
    else if (choice < 988)
        do_reopen(model);
    else
        do_crash(model);
}

static void run(uint64_t seed, unsigned ops)
{
    struct model *model = calloc(1, sizeof(*model));

    invariant(model != NULL);
    model->random = seed | 1;
    fixture_init(&model->local, ENGINE_LOCAL);
    fixture_init(&model->memory, ENGINE_MEMORY);
    fixture_open(&model->local);
    fixture_open(&model->memory);
    for (unsigned id = 0; id < IDS; id++) {
        uint8_t *data = content_of(id, &model->sizes[id]);

        model->keys[id] = content_key(data, model->sizes[id]);
        free(data);
    }
    for (model->step = 0; model->step < ops; model->step++)
        step(model);
    do_crash(model);
    do_sync(model);
    print_message("%u operations, %u crashes, %u reopens\n", ops, model->crashes, model->reopens);
    fixture_release(&model->local);
    fixture_release(&model->memory);
    free(model);
}

static void test_fixed_seed(void **state)
{
    (void)state;
    run(1, OPS / 2);
}

static void test_new_seed(void **state)
{
    (void)state;
    run(test_seed(), test_long() ? OPS_LONG : OPS);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_fixed_seed),
        cmocka_unit_test(test_new_seed),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
