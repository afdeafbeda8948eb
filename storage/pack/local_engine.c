#include "storage/pack/local_engine.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "storage/base/clock.h"
#include "storage/base/invariant.h"
#include "storage/base/log.h"
#include "storage/index/index_partition.h"
#include "storage/io/file.h"
#include "storage/pack/backup.h"
#include "storage/pack/compact.h"
#include "storage/pack/local_parts.h"
#include "storage/pack/recovery.h"
#include "storage/pack/validate.h"

enum { SPACE_TO_GO_ON = 1 << 20 }; /* beyond the reserve: a disk that has it is not full */

static struct local_engine *local_of(struct engine *base)
{
    return container_of(base, struct local_engine, base);
}

/* ---- lookups ---- */

static enum coffer_status local_find(
    struct engine *base, const struct digest *key, struct engine_row *row, struct error *err)
{
    struct local_engine *engine = local_of(base);
    enum coffer_status status;
    uint64_t version;

    if (row_cache_find(engine->rows, key, row, &version))
        return COFFER_OK;
    status = index_find_chunk(engine->index, key, row, err);
    if (status == COFFER_OK)
        row_cache_offer(engine->rows, key, row, version);
    return status;
}

/* Past the cache: so many would only drive everything else out of it. */
static enum coffer_status local_find_many(struct engine *base, const struct digest *keys,
    size_t count, struct engine_row *rows, bool *found, struct error *err)
{
    return index_find_chunks(local_of(base)->index, keys, count, rows, found, err);
}

static enum coffer_status local_find_segment(struct engine *base, const struct upload_id *upload,
    uint64_t segment, struct engine_row *row, struct error *err)
{
    return index_find_segment(local_of(base)->index, upload, segment, row, err);
}

static enum coffer_status local_pin(struct engine *base, const struct engine_row *row,
    struct engine_source *source, struct error *err)
{
    struct local_engine *engine = local_of(base);
    uint64_t slot = row->offset / VERIFIED_SLOT_SIZE;
    struct pack *pack;
    enum coffer_status status = pack_set_pin(engine->packs, row->pack, &pack, err);

    if (status != COFFER_OK)
        return status;
    *source = (struct engine_source){
        .fd = pack->fd, .offset = row->offset + RECORD_HEADER_SIZE, .pin = pack};
    if (row->stored_size >= VERIFIED_SLOT_SIZE && slot / 8 < pack->verified_size) {
        source->verified = &pack->verified[slot / 8];
        source->verified_mask = (uint8_t)(1U << slot % 8);
    }
    return COFFER_OK;
}

static void local_unpin(struct engine *base, struct engine_source *source)
{
    pack_set_unpin(local_of(base)->packs, source->pin);
}

static enum coffer_status local_scan(struct engine *base, const struct digest *after,
    struct digest *keys, struct engine_row *rows, size_t count, size_t *found, struct error *err)
{
    return index_scan_chunks(local_of(base)->index, after, keys, rows, count, found, err);
}

static enum coffer_status local_row_get(struct engine *base, const struct partition_id *partition,
    struct slice key, void **value, size_t *size, bool *found, struct error *err)
{
    return index_get_value(local_of(base)->index, partition, key, value, size, found, err);
}

static enum coffer_status local_row_scan(struct engine *base, const struct partition_id *partition,
    struct slice prefix, struct slice from, bool backwards,
    bool (*visit)(void *context, struct slice key, struct slice value), void *context,
    struct error *err)
{
    return index_scan_values(
        local_of(base)->index, partition, prefix, from, backwards, visit, context, err);
}

/* A record that carries the number has a higher LSN, and no start gives out one below that. */
static uint64_t local_next_number(struct engine *base)
{
    return atomic_fetch_add(&local_of(base)->next_lsn, 1);
}

static enum coffer_status local_find_block(struct engine *base,
    const struct partition_id *partition, const struct block_id *block, struct engine_row *row,
    struct error *err)
{
    return index_find_block(local_of(base)->index, partition, block, row, err);
}

/* ---- damage and status ---- */

void local_count_damage(
    struct local_engine *engine, uint64_t pack, uint64_t offset, const char *what)
{
    bool known = false;

    lock_take(&engine->lock);
    for (size_t i = 0; i < engine->damaged_count && !known; i++)
        known = engine->damaged[i].pack == pack && engine->damaged[i].offset == offset;
    if (!known && engine->damaged_count < DAMAGED_PLACES_MAX)
        engine->damaged[engine->damaged_count++] = (struct damage_place){pack, offset};
    lock_drop(&engine->lock);
    if (known)
        return;
    pack_set_add_damaged(engine->packs, pack);
    log_write(LOG_ERROR, "damaged", "pack %" PRIu64 " at %" PRIu64 ": %s", pack, offset, what);
}

static void local_note_damage(
    struct engine *base, const struct engine_row *row, const struct digest *key)
{
    char what[DIGEST_HEX_SIZE + 64] = "chunk ";

    digest_to_hex(key, what + strlen(what));
    memcpy(what + strlen(what), " fails its checksum", sizeof(" fails its checksum"));
    local_count_damage(local_of(base), row->pack, row->offset, what);
}

/* A disk that was full stays so until a write succeeds, or until somebody asks and there is space:
 * who sends no writes to a store that is not ready must learn that it is again. */
static bool is_full(struct local_engine *engine)
{
    uint64_t available;
    struct error ignored;

    if (!atomic_load(&engine->full))
        return false;
    if (dir_free_space(engine->packs_dir, &available, &ignored) == COFFER_OK &&
        available >= engine->options.reserve_space + SPACE_TO_GO_ON &&
        atomic_exchange(&engine->full, false))
        log_write(LOG_INFO, "disk_has_space", "writes go on");
    return atomic_load(&engine->full);
}

static void local_status(struct engine *base, struct engine_status *status)
{
    struct local_engine *engine = local_of(base);
    struct pack_totals totals;

    pack_set_totals(engine->packs, &totals);
    memset(status, 0, sizeof(*status));
    status->name = base->ops->name;
    status->chunks = engine->chunks;
    status->used_space = totals.bytes;
    status->dead_bytes = totals.dead_bytes;
    status->live_bytes = totals.live_bytes;
    status->packs = totals.packs;
    status->damaged_records = totals.damaged;
    status->syncs = engine->syncs;
    status->failed = engine->failed;
    status->full = is_full(engine);
    lock_take(&engine->lock);
    memcpy(status->reason, engine->failure, sizeof(status->reason));
    lock_drop(&engine->lock);
    if (status->full && !status->failed)
        (void)snprintf(status->reason, sizeof(status->reason), "the disk is full");
}

static size_t local_packs(
    struct engine *base, uint64_t after, struct engine_pack *infos, size_t count)
{
    static const char *const names[] = {
        [PACK_OPEN] = "open", [PACK_SEALED] = "sealed", [PACK_POISONED] = "poisoned"};
    struct pack **packs = calloc(count + 1, sizeof(struct pack *));
    size_t found;

    invariant(packs != NULL);
    found = pack_set_list(local_of(base)->packs, after, packs, count);
    for (size_t i = 0; i < found; i++)
        infos[i] = (struct engine_pack){.id = packs[i]->id,
            .state = names[atomic_load(&packs[i]->state)], /* gcc takes it plain as an index */
            .bytes = packs[i]->end,
            .dead_bytes = packs[i]->dead_bytes,
            .records = packs[i]->records,
            .live_bytes = pack_live_bytes(packs[i]),
            .damaged = packs[i]->damaged};
    free(packs);
    return found;
}

/* ---- opening and closing ---- */

/* Let go of the index and the packs. */
static void release_parts(struct local_engine *engine)
{
    for (size_t i = 0; i < engine->free_count; i++)
        pack_writer_destroy(engine->free_writers[i]);
    engine->free_count = 0;
    engine->damaged_count = 0;
    index_close(engine->index);
    engine->index = NULL;
    pack_set_destroy(engine->packs);
    engine->packs = NULL;
}

static enum coffer_status local_close(struct engine *base, struct error *err)
{
    struct local_engine *engine = local_of(base);
    enum coffer_status status = COFFER_OK;

    if (engine->lanes != NULL)
        for (unsigned i = 0; i < engine->options.lanes; i++)
            local_lane_release(&engine->lanes[i]);
    if (engine->index != NULL && !engine->failed)
        status = index_flush(engine->index, true, err);
    release_parts(engine);
    row_cache_destroy(engine->rows);
    free(engine->free_writers);
    free(engine->damaged);
    free(engine->lanes);
    gate_lock_release(&engine->gate);
    lock_release(&engine->lock);
    free(engine);
    return status;
}

static const struct engine_ops local_ops = {
    .name = "local",
    .commit = local_commit,
    .lane_idle = local_lane_idle,
    .find = local_find,
    .find_many = local_find_many,
    .find_segment = local_find_segment,
    .pin = local_pin,
    .unpin = local_unpin,
    .scan = local_scan,
    .row_get = local_row_get,
    .row_scan = local_row_scan,
    .next_number = local_next_number,
    .find_block = local_find_block,
    .drop_blocks = local_drop_blocks,
    .drop_upload = local_drop_upload,
    .note_damage = local_note_damage,
    .compact = local_compact,
    .validate = local_validate,
    .backup = local_backup,
    .status = local_status,
    .packs = local_packs,
    .close = local_close,
};

/* Put an index that cannot be used out of the way, keeping the newest such for a look at it. */
static enum coffer_status set_aside(const char *dir, struct error *err)
{
    char aside[PATH_MAX], command[2 * PATH_MAX];
    struct stat info;

    for (int i = 1; i < 1000; i++) {
        (void)snprintf(aside, sizeof(aside), "%.4000s.unusable.%d", dir, i);
        if (stat(aside, &info) == 0)
            continue;
        (void)snprintf(command, sizeof(command), "%s", dir);
        return rename(dir, aside) == 0 ? dir_make(command, err)
                                       : error_errno(err, "rename unusable index %s", dir);
    }
    return error_set(err, COFFER_IO, "too many unusable indexes beside %s: remove them", dir);
}

/* The index of this store, empty if it had none; `afresh`: or if what it had was put aside.
 * COFFER_DATA_CORRUPT: it cannot be used. */
static enum coffer_status open_index(struct local_engine *engine, bool afresh, struct error *err)
{
    const struct index_options options = {
        .cache_size =
            engine->options.index_cache_size - engine->options.index_cache_size / ROW_CACHE_SHARE};
    uint8_t uuid[STORE_UUID_SIZE];
    char dir[PATH_MAX];
    struct index_batch *batch;
    enum coffer_status status;
    bool found = false;

    (void)snprintf(dir, sizeof(dir), "%.4000s/index", engine->options.data_dir);
    status = afresh ? set_aside(dir, err) : dir_make(dir, err);
    if (status == COFFER_OK)
        status = index_open(dir, &options, &engine->index, err);
    if (status == COFFER_OK)
        status = index_get_store(engine->index, uuid, &found, err);
    if (status == COFFER_OK && found && memcmp(uuid, engine->options.store, STORE_UUID_SIZE) != 0)
        status = error_set(err, COFFER_DATA_CORRUPT, "index: it is of another store");
    if (status != COFFER_OK || found)
        return status;
    batch = index_batch_create();
    index_batch_put_store(batch, engine->options.store);
    status = index_write(engine->index, batch, err);
    index_batch_destroy(batch);
    return status;
}

static enum coffer_status open_index_and_packs(
    struct local_engine *engine, bool afresh, struct error *err)
{
    enum coffer_status status = pack_set_create(engine->packs_dir, engine->options.pack_size,
        engine->options.descriptors_max, &engine->packs, err);

    if (status == COFFER_OK)
        status = open_index(engine, afresh, err);
    if (status == COFFER_OK)
        status = recovery_run(engine, err);
    return status;
}

static enum coffer_status open_parts(struct local_engine *engine, struct error *err)
{
    enum coffer_status status;

    (void)snprintf(
        engine->packs_dir, sizeof(engine->packs_dir), "%.4000s/packs", engine->options.data_dir);
    status = dir_make(engine->packs_dir, err);
    if (status == COFFER_OK)
        status = open_index_and_packs(engine, false, err);
    if (status != COFFER_DATA_CORRUPT)
        return status;
    log_write(LOG_ERROR, "index_unusable", "%s; it is made again from the packs", err->text);
    release_parts(engine);
    return open_index_and_packs(engine, true, err);
}

enum coffer_status local_engine_open(
    const struct local_engine_options *options, struct engine **out, struct error *err)
{
    struct local_engine *engine = calloc(1, sizeof(*engine));
    struct error local;
    enum coffer_status status;

    invariant(engine != NULL);
    engine->base.ops = &local_ops;
    engine->options = *options;
    engine->next_lsn = engine->next_pack = 1;
    engine->flushed_at_ns = clock_monotonic_ns();
    engine->rows = row_cache_create(options->index_cache_size / ROW_CACHE_SHARE);
    lock_init(&engine->lock, LOCK_ENGINE);
    gate_lock_init(&engine->gate);
    engine->lanes = calloc(options->lanes, sizeof(struct local_lane));
    engine->damaged = calloc(DAMAGED_PLACES_MAX, sizeof(struct damage_place));
    invariant(engine->lanes != NULL && engine->damaged != NULL);
    status = open_parts(engine, err != NULL ? err : &local);
    if (status != COFFER_OK) {
        engine->failed = true; /* nothing to flush */
        (void)local_close(&engine->base, NULL);
        return status;
    }
    *out = &engine->base;
    return COFFER_OK;
}
