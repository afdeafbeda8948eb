#include "storage/store.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "storage/base/clock.h"
#include "storage/base/invariant.h"
#include "storage/chunk/store_parts.h"
#include "storage/codec/codec.h"
#include "storage/dataset/dataset_set.h"
#include "storage/folder.h"
#include "storage/maintain/job_set.h"
#include "storage/maintain/upkeep.h"
#include "storage/memory/memory_engine.h"
#include "storage/pack/local_engine.h"

enum {
    DESCRIPTORS_MAX = 1024, /* of packs, open at once */
    COLD_DEPTH = 128,
    COLD_THREADS = 4,
    LANES_DEFAULT_MAX = 4,
    READ_MEMORY_SHARE = 4, /* the part of memory_limit that content may be copied into */
};
#define SPACE_LOOK_EVERY ((uint64_t)1 << 20)

const char *chunk_state_name(enum chunk_state state)
{
    static const char *const names[] = {"buffered", "flushing", "durable"};

    return names[state];
}

const char *codec_name(enum codec codec)
{
    static const char *const names[] = {"none", "zstd", "zlib"};

    return names[codec];
}

void store_options_default(struct store_options *options)
{
    *options = (struct store_options){
        .engine = ENGINE_LOCAL,
        .data_dir = "coffer-data",
        .buffer_size = 8 << 20,
        .memory_limit = 256 << 20,
        .sync_delay_ns = 0,
        .flush_interval_ns = 1000000000,
        .pack_size = (uint64_t)1 << 30,
        .segment_size = 8 << 20,
        .compression = CODEC_ZSTD,
        .compression_level = CODEC_LEVEL_DEFAULT,
        .compression_min_size = CODEC_MIN_SIZE_DEFAULT,
        .reserve_space = 64 << 20,
        .default_channels = 0,
        .channels_max = 256,
        .datasets_kept = 1024,
        .index_cache_size = 64 << 20,
        .io_method = IO_AUTO,
        .repack_dead_ratio = 0.5,
        .repack_interval_ns = (uint64_t)10 * NS_PER_S,
    };
}

static enum coffer_status check_options(const struct store_options *options, struct error *err)
{
    if (options->segment_size < (uint64_t)64 * 1024 || options->segment_size > CODEC_RAW_MAX)
        return error_set(err, COFFER_BAD_OPTION, "segment_size must be 64 KiB to 64 MiB");
    if (options->pack_size < (1 << 20) || options->pack_size > ((uint64_t)16 << 30))
        return error_set(err, COFFER_BAD_OPTION, "pack_size must be 1 MiB to 16 GiB");
    if (options->memory_limit < 4 * options->segment_size)
        return error_set(err, COFFER_BAD_OPTION,
            "memory_limit must be at least four times segment_size (%llu MiB)",
            (unsigned long long)(4 * options->segment_size >> 20));
    if (options->repack_dead_ratio < 0 || options->repack_dead_ratio > 1)
        return error_set(err, COFFER_BAD_OPTION, "repack_dead_ratio must be 0 to 1");
    if (options->channels_max == 0 || options->default_channels > options->channels_max)
        return error_set(err, COFFER_BAD_OPTION,
            "channels_max must be at least 1, and at least default_channels");
    if (options->engine == ENGINE_LOCAL && (options->data_dir == NULL || *options->data_dir == 0))
        return error_set(err, COFFER_BAD_OPTION, "data_dir is empty");
    return COFFER_OK;
}

static unsigned default_lanes(const struct store_options *options)
{
    long processors = sysconf(_SC_NPROCESSORS_ONLN);
    unsigned lanes = processors > 2 ? (unsigned)processors : 2; /* one writes, one syncs */

    if (options->default_channels > 0)
        return options->default_channels;
    if (lanes > LANES_DEFAULT_MAX)
        lanes = LANES_DEFAULT_MAX;
    return lanes < options->channels_max ? lanes : options->channels_max;
}

static enum coffer_status open_engine(struct store *store, struct error *err)
{
    const struct store_options *options = &store->options;
    struct local_engine_options local = {.data_dir = options->data_dir,
        .pack_size = options->pack_size,
        .reserve_space = options->reserve_space,
        .index_cache_size = options->index_cache_size,
        .lanes = options->channels_max,
        .descriptors_max = DESCRIPTORS_MAX,
        .compression = options->compression,
        .compression_level = options->compression_level,
        .compression_min_size = options->compression_min_size};
    enum coffer_status status;

    if (options->engine == ENGINE_MEMORY) {
        store->engine = memory_engine_create();
        return COFFER_OK;
    }
    status = folder_open(options->data_dir, local.store, &store->lock_fd, err);
    if (status == COFFER_OK)
        status = local_engine_open(&local, &store->engine, err);
    return status;
}

static enum coffer_status open_parts(struct store *store, struct error *err)
{
    static const enum cold_method methods[] = {
        [IO_AUTO] = COLD_AUTO, [IO_URING] = COLD_URING, [IO_SYNC] = COLD_SYNC};
    const struct store_options *options = &store->options;
    const struct lane_settings lanes = {.buffer_size = options->buffer_size,
        .sync_delay_ns = options->sync_delay_ns,
        .flush_interval_ns = options->flush_interval_ns,
        .lanes_max = options->channels_max,
        .default_lanes = default_lanes(options)};
    enum coffer_status status = open_engine(store, err);

    if (status == COFFER_OK)
        status = cold_reader_create(
            methods[options->io_method], COLD_DEPTH, COLD_THREADS, &store->cold, err);
    if (status == COFFER_OK)
        status = lane_set_create(store->engine, &lanes, &store->lanes, err);
    if (status == COFFER_OK)
        status = dataset_set_create(store, &store->datasets, err);
    if (status == COFFER_OK)
        status = job_set_create(store, &store->jobs, err);
    if (status == COFFER_OK)
        store->upkeep = upkeep_create(store);
    return status;
}

/* Release what there is; the store may be half open. */
static enum coffer_status release(struct store *store, struct error *err)
{
    enum coffer_status status = COFFER_OK;
    bool durable;

    upkeep_destroy(store->upkeep);
    job_set_destroy(store->jobs); /* they write until they have stopped */
    dataset_set_quiesce(store->datasets);
    durable = lane_set_destroy(store->lanes);
    dataset_set_destroy(store->datasets);
    cold_reader_destroy(store->cold);
    if (store->engine != NULL)
        status = store->engine->ops->close(store->engine, err);
    pending_destroy(store->pending);
    budget_release_all(&store->budget);
    budget_release_all(&store->read_budget);
    folder_close(store->lock_fd);
    free(store);
    if (!durable)
        return error_set(err, COFFER_SYNC_FAILED, "accepted writes could not be made durable");
    return status;
}

enum coffer_status store_open(
    const struct store_options *options, struct store **out, struct error *err)
{
    uint8_t boot[(BOOT_SIZE - 1) / 2];
    enum coffer_status status = check_options(options, err);
    struct store *store;

    if (status != COFFER_OK)
        return status;
    store = calloc(1, sizeof(*store));
    invariant(store != NULL);
    store->options = *options;
    store->lock_fd = -1;
    if (options->engine == ENGINE_LOCAL && strlen(options->data_dir) + 5 < TEMP_FOLDER_SIZE)
        (void)snprintf(store->temp_folder, sizeof(store->temp_folder), "%s/tmp", options->data_dir);
    store->pending = pending_create();
    budget_init(&store->budget, options->memory_limit);
    budget_init(&store->read_budget, options->memory_limit / READ_MEMORY_SHARE);
    random_bytes(boot, sizeof(boot));
    hex_encode(boot, sizeof(boot), store->boot);
    status = open_parts(store, err);
    if (status != COFFER_OK) {
        (void)release(store, NULL);
        return status;
    }
    *out = store;
    return COFFER_OK;
}

enum coffer_status store_close(struct store *store, struct error *err)
{
    return store == NULL ? COFFER_OK : release(store, err);
}

const char *store_boot(const struct store *store)
{
    return store->boot;
}

const struct store_options *store_options_of(const struct store *store)
{
    return &store->options;
}

const char *store_temp_folder(const struct store *store)
{
    return store->temp_folder;
}

struct spill_place store_spill_place(const struct store *store)
{
    return (struct spill_place){
        .folder = store->temp_folder, .disk_spare = store->options.reserve_space};
}

struct spill *store_spill_create(const struct store *store, size_t record_size)
{
    return spill_create(record_size, store_spill_place(store));
}

enum coffer_status store_check_space(struct store *store, uint64_t bytes, struct error *err)
{
    uint64_t max = store->options.max_space, used;

    if (max == 0)
        return COFFER_OK;
    if (atomic_load(&store->written_since_seen) + bytes >= SPACE_LOOK_EVERY ||
        atomic_load(&store->used_space_seen) == 0 ||
        max < atomic_load(&store->used_space_seen) + SPACE_LOOK_EVERY) {
        struct engine_status engine;

        store->engine->ops->status(store->engine, &engine);
        atomic_store(&store->used_space_seen, engine.used_space);
        atomic_store(&store->written_since_seen, 0);
    }
    used = atomic_load(&store->used_space_seen) + atomic_load(&store->written_since_seen);
    if (used + bytes > max)
        return error_set(err, COFFER_CAPACITY_EXCEEDED,
            "the store uses %llu bytes of the %llu it may (max_space): delete something first",
            (unsigned long long)used, (unsigned long long)max);
    return COFFER_OK;
}

/* ---- status ---- */

void store_status(struct store *store, struct store_status *status)
{
    struct engine_status engine;
    struct lane_info *lanes = calloc(store->options.channels_max, sizeof(struct lane_info));
    size_t count;

    invariant(lanes != NULL);
    memset(status, 0, sizeof(*status));
    store->engine->ops->status(store->engine, &engine);
    status->engine = engine.name;
    status->chunks = engine.chunks;
    status->used_space = engine.used_space;
    status->max_space = store->options.max_space;
    status->live_bytes = engine.live_bytes;
    status->dead_bytes = engine.dead_bytes;
    status->packs = engine.packs;
    status->damaged_records = engine.damaged_records;
    status->syncs = engine.syncs;
    status->writable = !engine.failed && !engine.full;
    memcpy(status->reason, engine.reason, sizeof(status->reason));
    count = lane_set_list(store->lanes, NULL, lanes, store->options.channels_max);
    status->channels = count;
    for (size_t i = 0; i < count; i++) {
        status->buffered_bytes += lanes[i].buffered_bytes;
        status->buffered_records += lanes[i].buffered_records;
    }
    status->memory_used = budget_used(&store->budget);
    status->memory_limit = store->options.memory_limit;
    free(lanes);
}

size_t store_packs(struct store *store, uint64_t after, struct pack_info *infos, size_t count)
{
    struct engine_pack *packs = calloc(count + 1, sizeof(struct engine_pack));
    size_t found;

    invariant(packs != NULL);
    found = store->engine->ops->packs(store->engine, after, packs, count);
    for (size_t i = 0; i < found; i++)
        infos[i] = (struct pack_info){.id = packs[i].id,
            .state = packs[i].state,
            .bytes = packs[i].bytes,
            .live_bytes = packs[i].live_bytes,
            .dead_bytes = packs[i].dead_bytes,
            .records = packs[i].records,
            .damaged = packs[i].damaged};
    free(packs);
    return found;
}

size_t store_channels(
    struct store *store, const char *after, struct channel_info *infos, size_t count)
{
    struct lane_info *lanes = calloc(count + 1, sizeof(struct lane_info));
    size_t found;

    invariant(lanes != NULL);
    found = lane_set_list(store->lanes, after, lanes, count);
    for (size_t i = 0; i < found; i++) {
        infos[i] = (struct channel_info){.state = lanes[i].state,
            .buffered_bytes = lanes[i].buffered_bytes,
            .buffered_records = lanes[i].buffered_records,
            .flushed_bytes = lanes[i].flushed_bytes,
            .flushed_records = lanes[i].flushed_records,
            .syncs = lanes[i].syncs,
            .last_sync_ns = lanes[i].last_sync_ns};
        memcpy(infos[i].name, lanes[i].name, sizeof(infos[i].name));
    }
    free(lanes);
    return found;
}
