#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "tests/support/dataset_world.h"

enum { RECORDS_PAGE = 50 };

void world_sync(struct world *world)
{
    struct store_status status;
    uint64_t memory = 0;

    EACH_SIDE(e)
    WORLD_CHECK(store_sync(world->sides[e].fixture.store, NULL, 0, NULL, err), COFFER_OK);
    for (unsigned slot = 0; slot < SLOTS; slot++)
        if (world->models[slot] != NULL) {
            model_settle(world->models[slot]);
            world_check_log(world, slot);
        }
    for (unsigned i = 0; i < PENDING; i++)
        memory += world->pending[i].used;
    store_status(world->sides[0].fixture.store, &status);
    assert_int_equal(status.damaged_records, 0);
    assert_int_equal(status.live_bytes + status.dead_bytes + 64 * status.packs, status.used_space);
    if (memory == 0)
        EACH_SIDE(e)
        {
            store_status(world->sides[e].fixture.store, &status);
            assert_int_equal(status.memory_used, 0);
        }
}

/* A version of the log; now and then one that is none. 0: as it is now. */
static uint64_t a_version(
    struct world *world, unsigned slot, unsigned e, uint64_t random, bool *real)
{
    const struct side *side = &world->sides[e];
    uint64_t version;

    *real = true;
    if (random % 4 == 0 || side->logged[slot] == 0)
        return 0;
    version = side->log[slot][random / 32 % side->logged[slot]];
    if (random % 4 != 1 || random / 4 % 8 != 0)
        return version;
    version += 1 + random / 32 % 3;
    *real = false;
    for (size_t i = 0; i < side->logged[slot]; i++)
        *real = *real || side->log[slot][i] == version;
    return version;
}

static enum coffer_status wanted_status(
    const struct model_channel *channel, uint64_t version, bool real, uint64_t size, bool records)
{
    if (!model_channel_exists(channel))
        return COFFER_NO_SUCH_CHANNEL;
    if (!real)
        return COFFER_NO_SUCH_VERSION;
    return version != 0 && size == 0 && !records ? COFFER_NO_SUCH_CHANNEL : COFFER_OK;
}

/* The whole channel, or a range of it, now or as of a version. */
void world_read(struct world *world, unsigned slot)
{
    unsigned number = world_below(world, MODEL_CHANNELS);
    const struct model_channel *channel = &world->models[slot]->channels[number];
    uint64_t random = random_next(&world->random) >> 8;

    world_check_log(world, slot);
    EACH_SIDE(e)
    {
        bool real, settled = channel->settled == channel->run.size;
        uint64_t version = a_version(world, slot, e, random, &real);
        uint64_t size = version == 0 ? channel->run.size : model_size_at(channel, e, version);
        enum coffer_status wanted = wanted_status(channel, version, real, size, false);
        struct dataset *dataset = world->sides[e].datasets[slot];
        struct stream_info info;
        uint8_t *data;
        size_t got;

        if (!settled && wanted != COFFER_NO_SUCH_CHANNEL &&
            dataset_stream(dataset, slice_from_text(model_channel_names[number]), &info, NULL) ==
                COFFER_NO_SUCH_CHANNEL)
            continue; /* all of it is buffered */
        WORLD_CHECK(
            ds_read(dataset, model_channel_names[number], version, &data, &got, err), wanted);
        if (wanted != COFFER_OK)
            continue;
        if (version != 0 || settled)
            assert_int_equal(got, size);
        assert_true(got >= (version == 0 ? channel->settled : 0) && got <= size);
        assert_true(got == 0 || memcmp(data, channel->run.bytes, got) == 0);
        if (got > 0) {
            size_t from = random % got, part = 1 + random / 64 % (got - from);

            WORLD_CHECK(ds_read_range(dataset, model_channel_names[number], from, part, data, err),
                COFFER_OK);
            assert_memory_equal(data, channel->run.bytes + from, part);
        }
        free(data);
    }
}

static void check_records(struct world *world, unsigned slot, unsigned number, unsigned e,
    uint64_t version, uint64_t first, uint64_t records)
{
    const struct model_run *run = &world->models[slot]->channels[number].run;
    struct record_place places[RECORDS_PAGE];
    size_t found;

    WORLD_CHECK(
        stream_records(world->sides[e].datasets[slot], slice_from_text(model_channel_names[number]),
            version, first, places, RECORDS_PAGE, &found, err),
        COFFER_OK);
    if (first >= records)
        assert_int_equal(found, 0);
    else
        assert_int_equal(found, records - first < RECORDS_PAGE ? records - first : RECORDS_PAGE);
    for (size_t i = 0; i < found; i++) {
        uint64_t start = first + i == 0 ? 0 : run->ends[first + i - 1];

        assert_int_equal(places[i].record, first + i);
        assert_int_equal(places[i].offset, start);
        assert_int_equal(places[i].length, run->ends[first + i] - start);
    }
}

void world_records(struct world *world, unsigned slot)
{
    unsigned number = world_below(world, MODEL_CHANNELS);
    const struct model_channel *channel = &world->models[slot]->channels[number];
    uint64_t random = random_next(&world->random) >> 8;

    if (channel->settled < channel->run.size)
        world_sync(world);
    world_check_log(world, slot);
    EACH_SIDE(e)
    {
        bool real;
        uint64_t version = a_version(world, slot, e, random, &real);
        uint64_t size = version == 0 ? channel->run.size : model_size_at(channel, e, version);
        uint64_t records = model_records_in(&channel->run, size);
        enum coffer_status wanted = wanted_status(channel, version, real, size, true);
        struct record_place place;
        size_t found;

        WORLD_CHECK(
            stream_records(world->sides[e].datasets[slot],
                slice_from_text(model_channel_names[number]), version, 0, &place, 1, &found, err),
            wanted);
        if (wanted == COFFER_OK)
            check_records(world, slot, number, e, version, random % (records + 2), records);
    }
}

void world_look(struct world *world, unsigned slot)
{
    const struct model_dataset *model = world->models[slot];

    EACH_SIDE(e)
    {
        struct dataset *dataset = world->sides[e].datasets[slot];
        struct stream_info *streams;
        struct dataset_info info;
        unsigned at = 0, certain = 0;
        size_t count, size;
        char *metadata = dataset_metadata(dataset, &size);

        assert_string_equal(metadata, model->metadata);
        free(metadata);
        dataset_snapshot(dataset, &info, &streams, &count);
        assert_string_equal(info.name, world_names[slot]);
        assert_int_equal(info.state, model->state);
        assert_int_equal(info.channels, count);
        assert_int_equal(info.packaged, model->package_size > 0);
        for (size_t i = 0; i < count; i++, at++) {
            while (at < MODEL_CHANNELS && strcmp(model_channel_names[at], streams[i].name) != 0)
                at++;
            assert_true(at < MODEL_CHANNELS && model_channel_exists(&model->channels[at]));
            assert_int_equal(streams[i].epoch, model->channels[at].epoch);
            assert_true(streams[i].size >= model->channels[at].settled);
            assert_true(streams[i].size <= model->channels[at].run.size);
            assert_int_equal(
                streams[i].records, model_records_in(&model->channels[at].run, streams[i].size));
        }
        for (unsigned i = 0; i < MODEL_CHANNELS; i++)
            certain += model->channels[i].settled > 0 || model->channels[i].epoch > 0;
        assert_true(count >= certain);
        free(streams);
    }
}
