/*
 * Goal: datasets of the local engine and of the memory engine behave like a model of a few arrays
 * (dataset_model.h), across restarts, crashes and lost indexes. Method: a sequence of random
 * operations that follows from a seed alone; each is made on both stores, and every answer is
 * compared with what the model says. Version numbers are each engine's own: they must grow, and the
 * log must list exactly those that were handed out, with what they added. After a crash what was
 * buffered may be there or not, each append whole and none without those before it; all else is as
 * it was.
 * ctest-labels: slow
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "storage/base/clock.h"
#include "storage/base/invariant.h"
#include "tests/support/dataset_world.h"

enum { OPS = 1800, OPS_LONG = 30000, BYTES_MAX = 24 << 20 /* of a dataset */ };

/* ---- datasets ---- */

static const char *const state_metadata[] = {"{}", "{\"run\":17}", "{\"run\":18,\"x\":[1,2]}"};

static void settings_of(struct world *world, unsigned kind, struct dataset_settings *settings)
{
    static const uint64_t buffers[] = {0, 1000, 65536, 4 << 20};

    dataset_settings_default(world->sides[0].fixture.store, settings);
    settings->buffer_size = buffers[kind % 4];
    settings->compression = kind / 4 % 2 == 0 ? CODEC_ZSTD : CODEC_NONE;
    settings->action_count = kind / 8;
    for (unsigned i = 0; i < settings->action_count; i++)
        settings->actions[i] = (struct close_action){.kind = CLOSE_COMPRESS, .level = 3 + (int)i};
}

static void do_create(struct world *world, unsigned slot)
{
    struct model_dataset *model = world->models[slot];
    unsigned kind =
        world_one_in(world, 2) && model != NULL ? model->settings : world_below(world, 16);
    const char *metadata = state_metadata[world_below(world, ARRAY_COUNT(state_metadata))];
    bool same = model != NULL && model->settings == kind && strcmp(model->metadata, metadata) == 0;
    struct dataset_settings settings;

    settings_of(world, kind, &settings);
    EACH_SIDE(e)
    {
        struct side *side = &world->sides[e];
        bool created;

        WORLD_CHECK(
            ds_create(side->fixture.store, world_names[slot], &settings, metadata, &created, err),
            model == NULL || same ? COFFER_OK : COFFER_ALREADY_EXISTS);
        if (model == NULL || same)
            assert_int_equal(created, model == NULL);
        if (model == NULL) {
            side->datasets[slot] = ds_hold(side->fixture.store, world_names[slot]);
            side->versions[slot] = side->tags[slot] = 0;
        }
    }
    if (model != NULL)
        return;
    world->models[slot] = model_create();
    world->models[slot]->settings = kind;
    (void)snprintf(world->models[slot]->metadata, MODEL_METADATA_SIZE, "%s", metadata);
}

static void do_delete(struct world *world, unsigned slot)
{
    struct model_dataset *model = world->models[slot];

    model_abort_all(model);
    model->deleted = true;
    model->next = world->gone;
    world->gone = model;
    world->models[slot] = NULL;
    world->deletions++;
    EACH_SIDE(e)
    {
        struct dataset *dataset = world->sides[e].datasets[slot];

        WORLD_CHECK(ds_delete(dataset, err), COFFER_OK);
        WORLD_CHECK(ds_delete(dataset, err), COFFER_NO_SUCH_DATASET);
        WORLD_CHECK(ds_append(dataset, "a", "x", 1, NULL, NULL, err), COFFER_NO_SUCH_DATASET);
        WORLD_CHECK(
            tx_open(dataset, "t", NULL, 1000, false, false, NULL, err), COFFER_NO_SUCH_DATASET);
        assert_false(ds_exists(world->sides[e].fixture.store, world_names[slot]));
        dataset_drop(dataset);
        world->sides[e].datasets[slot] = NULL;
    }
}

static void do_metadata(struct world *world, unsigned slot)
{
    struct model_dataset *model = world->models[slot];
    const char *metadata = state_metadata[world_below(world, ARRAY_COUNT(state_metadata))];
    const char *was = world_one_in(world, 2)
                          ? NULL
                          : state_metadata[world_below(world, ARRAY_COUNT(state_metadata))];
    unsigned tag = world_below(world, 3); /* none, the right one, an old one */
    bool good = (was == NULL || strcmp(was, model->metadata) == 0) && tag != 2;

    world_sync(world); /* or the tag may be another one by now */
    EACH_SIDE(e)
    {
        struct dataset *dataset = world->sides[e].datasets[slot];
        struct dataset_info info;

        dataset_info(dataset, &info);
        WORLD_CHECK(ds_set_metadata(dataset,
                        tag == 0   ? 0
                        : tag == 1 ? info.tag
                                   : info.tag + 1,
                        was, metadata, err),
            good ? COFFER_OK : COFFER_PRECONDITION_FAILED);
    }
    if (good)
        (void)snprintf(model->metadata, MODEL_METADATA_SIZE, "%s", metadata);
}

static void do_close(struct world *world, unsigned slot)
{
    struct model_dataset *model = world->models[slot];
    enum coffer_status wanted = model->state == DATASET_OPEN ? COFFER_OK : COFFER_DATASET_CLOSED;

    EACH_SIDE(e)
    WORLD_CHECK(ds_close_begin(world->sides[e].datasets[slot], err), wanted);
    if (wanted != COFFER_OK)
        return;
    model_abort_all(model);
    model_settle(model);
    model->state = DATASET_CLOSING;
}

static void do_closed(struct world *world, unsigned slot)
{
    struct model_dataset *model = world->models[slot];
    enum coffer_status wanted = model->state == DATASET_OPEN ? COFFER_BAD_REQUEST : COFFER_OK;

    EACH_SIDE(e)
    WORLD_CHECK(ds_closed(world->sides[e].datasets[slot], err), wanted);
    if (wanted == COFFER_OK)
        model->state = DATASET_CLOSED;
}

static void check_package(
    struct world *world, struct dataset *dataset, const uint8_t *data, size_t size)
{
    struct stream_reader *reader = NULL;
    struct gate gate;
    uint8_t *got = malloc(size + 1);
    enum coffer_status status;
    size_t at = 0, part = 1;

    invariant(got != NULL);
    gate_init(&gate);
    WORLD_CHECK(dataset_package_open(dataset, gate_waker(&gate), &reader, err),
        size > 0 ? COFFER_OK : COFFER_NO_SUCH_PATH);
    while (size > 0 && part > 0) {
        status = stream_read(reader, got + at, size + 1 - at, &part, NULL);
        if (status == COFFER_AGAIN) {
            gate_wait(&gate);
            part = 1;
            continue;
        }
        assert_int_equal(status, COFFER_OK);
        at += part;
    }
    assert_int_equal(at, size);
    assert_true(size == 0 || memcmp(got, data, size) == 0);
    stream_close(reader);
    gate_release(&gate);
    free(got);
}

static void do_package(struct world *world, unsigned slot)
{
    struct model_dataset *model = world->models[slot];
    bool open = model->state == DATASET_OPEN, write = world_one_in(world, 2);
    uint8_t *data;

    if (write && !open) {
        model->package_size = 1 + world_below(world, 2500000);
        model->package_seed = world->random;
    }
    data = content_make(model->package_size, model->package_seed, CONTENT_TEXT);
    EACH_SIDE(e)
    {
        struct dataset *dataset = world->sides[e].datasets[slot];
        struct package_writer *writer = NULL;

        if (write) {
            WORLD_CHECK(package_begin(dataset, ARCHIVE_TAR, &writer, err),
                open ? COFFER_BAD_REQUEST : COFFER_OK);
            if (!open) {
                WORLD_CHECK(package_write(writer, data, model->package_size, err), COFFER_OK);
                WORLD_CHECK(package_finish(writer, err), COFFER_OK);
            }
            package_close(writer);
        }
        check_package(world, dataset, data, model->package_size);
    }
    free(data);
}

static void do_compress(struct world *world, unsigned slot)
{
    int level = 1 + (int)world_below(world, 9);
    uint64_t saved;

    if (world->models[slot]->state == DATASET_OPEN)
        return;
    EACH_SIDE(e)
    WORLD_CHECK(dataset_compress(world->sides[e].datasets[slot], level, &saved, NULL, NULL, err),
        COFFER_OK);
}

static void do_verify(struct world *world, unsigned slot)
{
    struct verify_result result;
    uint64_t bytes = 0;

    world_sync(world);
    for (unsigned i = 0; i < MODEL_CHANNELS; i++)
        bytes += world->models[slot]->channels[i].run.size;
    EACH_SIDE(e)
    {
        WORLD_CHECK(
            dataset_verify(world->sides[e].datasets[slot], &result, NULL, NULL, err), COFFER_OK);
        assert_int_equal(result.damaged, 0);
        assert_int_equal(result.bytes, bytes);
    }
}

/* ---- restarts ---- */

/* The local engine's store ends: what is open there is over, and so it is in the other one. */
static void before_end(struct world *world)
{
    world_close_pending(world);
    for (unsigned slot = 0; slot < SLOTS; slot++) {
        struct model_dataset *model = world->models[slot];

        if (model == NULL)
            continue;
        for (struct model_transaction *at = model->transactions; at != NULL; at = at->next)
            if (at->state == TRANSACTION_OPEN)
                WORLD_CHECK(
                    tx_abort(world->sides[1].datasets[slot], at->id, NULL, NULL, err), COFFER_OK);
        model_abort_all(model);
        dataset_drop(world->sides[0].datasets[slot]);
        world->sides[0].datasets[slot] = NULL;
    }
}

static void after_end(struct world *world)
{
    struct store_fixture *fixture = &world->sides[0].fixture;
    unsigned choice = world_below(world, 6);

    if (choice == 0)
        fixture_remove_index(fixture);
    if (choice == 1)
        file_put_bytes(fixture_data_path(fixture, "index/CURRENT"), "garbage\n", 8);
    fixture_open(fixture);
    for (unsigned slot = 0; slot < SLOTS; slot++)
        if (world->models[slot] != NULL)
            world->sides[0].datasets[slot] = ds_hold(fixture->store, world_names[slot]);
        else
            assert_false(ds_exists(fixture->store, world_names[slot]));
}

static void do_reopen(struct world *world)
{
    before_end(world);
    fixture_close(&world->sides[0].fixture);
    for (unsigned slot = 0; slot < SLOTS; slot++)
        if (world->models[slot] != NULL)
            model_settle(world->models[slot]);
    after_end(world);
    world_sync(world);
    world->reopens++;
}

/* What a crash has left of a channel is a whole number of appends, with all that was durable; the
 * others are made again, so that both engines have the same. */
static void mend(struct world *world, unsigned slot, unsigned number)
{
    struct side *side = &world->sides[0];
    struct model_channel *channel = &world->models[slot]->channels[number];
    struct stream_info info = {0};
    enum coffer_status status = dataset_stream(
        side->datasets[slot], slice_from_text(model_channel_names[number]), &info, NULL);

    assert_true(status == COFFER_OK || (status == COFFER_NO_SUCH_CHANNEL && channel->settled == 0));
    assert_int_equal(info.epoch, channel->epoch);
    assert_true(info.size >= channel->settled && info.size <= channel->run.size);
    for (size_t i = 0; i < channel->run.append_count; i++) {
        struct model_append *append = &channel->run.appends[i];
        struct append_call call = {.lines = append->lines};
        struct append_result result;

        assert_true(append->offset + append->length <= info.size || append->offset >= info.size);
        if (append->offset < info.size)
            continue;
        assert_true(append->buffered && append->version[0] == 0);
        WORLD_CHECK(ds_append(side->datasets[slot], model_channel_names[number],
                        channel->run.bytes + append->offset, append->length, &call, &result, err),
            COFFER_OK);
        assert_int_equal(result.offset, append->offset);
        append->version[0] = result.version;
    }
}

static void do_crash(struct world *world)
{
    if (world_one_in(world, 3))
        world_sync(world);
    before_end(world);
    fixture_crash(&world->sides[0].fixture);
    after_end(world);
    for (unsigned slot = 0; slot < SLOTS; slot++)
        for (unsigned number = 0; number < MODEL_CHANNELS && world->models[slot] != NULL; number++)
            mend(world, slot, number);
    world_sync(world);
    world->crashes++;
}

/* ---- running ---- */

static bool is_large(const struct model_dataset *model)
{
    uint64_t bytes = 0;

    for (unsigned i = 0; i < MODEL_CHANNELS; i++)
        bytes += model->channels[i].run.size;
    return bytes > BYTES_MAX;
}

static const struct {
    unsigned weight;
    void (*run)(struct world *world, unsigned slot);
} steps[] = {
    {300, world_append},
    {110, world_pending},
    {12, world_claim},
    {70, world_open},
    {70, world_commit},
    {60, world_ready},
    {15, world_abort},
    {25, world_find_transaction},
    {90, world_read},
    {60, world_records},
    {30, world_look},
    {15, do_create},
    {2, do_delete},
    {20, do_metadata},
    {4, do_close},
    {8, do_closed},
    {15, do_package},
    {12, do_compress},
    {8, do_verify},
};

static void step(struct world *world)
{
    unsigned total = 0, choice, slot = world_below(world, SLOTS), i = 0;

    if (world->models[slot] == NULL)
        do_create(world, slot);
    if (is_large(world->models[slot]) ||
        (world->models[slot]->state != DATASET_OPEN && world_one_in(world, 40))) {
        do_delete(world, slot);
        return;
    }
    switch (world_below(world, 150)) {
    case 0:
        do_reopen(world);
        return;
    case 1:
        do_crash(world);
        return;
    case 2:
    case 3:
        world_sync(world);
        return;
    default:
        break;
    }
    for (size_t j = 0; j < ARRAY_COUNT(steps); j++)
        total += steps[j].weight;
    for (choice = world_below(world, total); choice >= steps[i].weight; i++)
        choice -= steps[i].weight;
    steps[i].run(world, slot);
}

static struct world *world_create(uint64_t seed)
{
    static const enum engine_kind engines[MODEL_ENGINES] = {ENGINE_LOCAL, ENGINE_MEMORY};
    struct world *world = calloc(1, sizeof(*world));

    invariant(world != NULL);
    world->random = seed | 1;
    world->body = malloc(BODY_MAX);
    invariant(world->body != NULL);
    EACH_SIDE(e)
    {
        struct store_options *options = &world->sides[e].fixture.options;

        fixture_init(&world->sides[e].fixture, engines[e]);
        options->flush_interval_ns =
            (uint64_t)3600 * NS_PER_S; /* what is buffered stays so, mostly */
        options->datasets_kept = 1;
        fixture_open(&world->sides[e].fixture);
    }
    return world;
}

static void world_destroy(struct world *world)
{
    struct model_dataset *next;

    EACH_SIDE(e)
    {
        for (unsigned slot = 0; slot < SLOTS; slot++)
            dataset_drop(world->sides[e].datasets[slot]);
        fixture_release(&world->sides[e].fixture);
    }
    for (unsigned slot = 0; slot < SLOTS; slot++)
        if (world->models[slot] != NULL)
            model_destroy(world->models[slot]);
    for (; world->gone != NULL; world->gone = next) {
        next = world->gone->next;
        model_destroy(world->gone);
    }
    free(world->body);
    free(world);
}

static void run(uint64_t seed, unsigned ops)
{
    struct world *world = world_create(seed);

    for (; world->step < ops; world->step++)
        step(world);
    do_crash(world);
    print_message("%u operations, %u crashes, %u reopens, %u deletions, %u commits, %u repeats\n",
        ops, world->crashes, world->reopens, world->deletions, world->commits, world->repeats);
    world_destroy(world);
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
