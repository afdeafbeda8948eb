/*
 * The write path of the local engine: one lane's batch of operations becomes records of its pack,
 * is synced with one fdatasync, and only then gets its rows in the index. So:
 *  1. The index never points at bytes that a power cut could take.
 *  2. When the write or the sync fails, nothing of the batch was visible yet: the pack is poisoned
 *     and the whole batch is written again to a new one, once. If that fails too, its writers are
 *     told. The failed sync itself is never repeated.
 *  3. When the index cannot be written, what is in the packs and what is in the index no longer
 *     agree: the engine refuses writes until a restart brings the index up from the packs.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "storage/base/fault.h"
#include "storage/base/invariant.h"
#include "storage/base/log.h"
#include "storage/pack/local_parts.h"
#include "storage/pack/tombstone.h"

enum { WRITE_ATTEMPTS = 2 };

static struct local_engine *local_of(struct engine *base)
{
    return container_of(base, struct local_engine, base);
}

void local_fail(struct local_engine *engine, const char *reason)
{
    if (atomic_exchange(&engine->failed, true))
        return;
    lock_take(&engine->lock);
    (void)snprintf(engine->failure, sizeof(engine->failure), "%s", reason);
    lock_drop(&engine->lock);
    log_write(
        LOG_ERROR, "engine_failed", "%s; writes are refused until a restart, reads go on", reason);
}

/* ---- packs ---- */

void local_free_writer(struct local_engine *engine, struct pack_writer *writer)
{
    lock_take(&engine->lock);
    if (engine->free_count == engine->free_capacity) {
        engine->free_capacity = engine->free_capacity == 0 ? 8 : 2 * engine->free_capacity;
        engine->free_writers =
            realloc(engine->free_writers, engine->free_capacity * sizeof(struct pack_writer *));
        invariant(engine->free_writers != NULL);
    }
    engine->free_writers[engine->free_count++] = writer;
    lock_drop(&engine->lock);
}

struct pack_writer *local_take_free_writer(struct local_engine *engine)
{
    struct pack_writer *writer = NULL;

    lock_take(&engine->lock);
    if (engine->free_count > 0)
        writer = engine->free_writers[--engine->free_count];
    lock_drop(&engine->lock);
    return writer;
}

void local_lane_idle(struct engine *base, unsigned lane)
{
    struct local_engine *engine = local_of(base);

    if (engine->lanes[lane].writer != NULL)
        local_free_writer(engine, engine->lanes[lane].writer);
    engine->lanes[lane].writer = NULL;
}

void local_drop_poisoned(struct local_engine *engine, struct local_lane *lane)
{
    struct error error;

    pack_writer_poison(lane->writer);
    index_batch_clear(lane->batch);
    local_put_pack_row(lane->batch, pack_writer_pack(lane->writer),
        atomic_load_explicit(&engine->next_lsn, memory_order_relaxed));
    if (index_write(engine->index, lane->batch, &error) != COFFER_OK)
        local_fail(engine, error.text);
    index_batch_clear(lane->batch);
    pack_writer_destroy(lane->writer);
    lane->writer = NULL;
}

void local_seal(struct local_engine *engine, struct local_lane *lane, uint64_t fixed)
{
    struct pack_writer *writer = lane->writer;
    uint64_t lsn = atomic_fetch_add(&engine->next_lsn, 1), before = pack_writer_end(writer);
    struct error error;
    enum coffer_status status = pack_writer_seal(writer, lsn, fixed, &error);

    atomic_fetch_add(&engine->syncs, 1);
    if (status == COFFER_OK) {
        struct pack *pack = pack_writer_pack(writer);

        index_batch_clear(lane->batch);
        local_put_pack_row(lane->batch, pack, lsn);
        index_batch_add_dead(lane->batch, pack->id, pack_writer_end(writer) - before);
        pack_set_add_dead(engine->packs, pack->id, pack_writer_end(writer) - before);
        if (index_write(engine->index, lane->batch, &error) != COFFER_OK)
            local_fail(engine, error.text);
        index_batch_clear(lane->batch);
    } else if (status != COFFER_DISK_FULL) {
        log_write(LOG_ERROR, "seal_failed", "%s", error.text);
        local_drop_poisoned(engine, lane);
        return;
    }
    pack_writer_destroy(writer);
    lane->writer = NULL;
}

enum coffer_status local_new_writer(struct local_engine *engine, uint64_t base_lsn,
    uint64_t reserve, struct pack_writer **out, struct error *err)
{
    struct pack_header header = {
        .pack_id = atomic_fetch_add(&engine->next_pack, 1), .base_lsn = base_lsn};

    random_bytes(&header.nonce, sizeof(header.nonce));
    header.nonce |= 1; /* never 0, which means unusable */
    memcpy(header.store, engine->options.store, STORE_UUID_SIZE);
    return pack_writer_create(engine->packs, &header, reserve, out, err);
}

/* The lane has a pack with room for `bytes`. */
static enum coffer_status ready_pack(struct local_engine *engine, struct local_lane *lane,
    uint64_t bytes, bool deletions, struct error *err)
{
    uint64_t reserve = deletions ? 0 : engine->options.reserve_space;

    for (;;) {
        if (lane->writer == NULL)
            lane->writer = local_take_free_writer(engine);
        if (lane->writer == NULL) {
            enum coffer_status status = local_new_writer(
                engine, atomic_load(&engine->next_lsn), reserve, &lane->writer, err);

            if (status != COFFER_OK)
                return status;
        }
        if (pack_writer_end(lane->writer) < engine->options.pack_size)
            return pack_writer_reserve(lane->writer, bytes, deletions, reserve, err);
        local_seal(engine, lane, 0);
        if (engine->failed)
            return error_set(err, COFFER_IO, "the index failed");
    }
}

/* ---- commit ---- */

/* A tombstone whose keys are not in memory: what was laid out before it, its header, and they. */
static enum coffer_status write_large(struct pack_writer *writer, struct lane_record *record,
    struct iovec *vectors, size_t count, uint64_t bytes, struct error *err)
{
    enum coffer_status status;

    record_header_encode(&record->header, record->start);
    vectors[count++] = (struct iovec){record->start, RECORD_HEADER_SIZE};
    status = pack_writer_write(writer, vectors, count, bytes + RECORD_HEADER_SIZE, err);
    return status == COFFER_OK ? tombstone_write(&record->op->keys, writer, err) : status;
}

static enum coffer_status write_and_sync(
    struct local_engine *engine, struct local_lane *lane, size_t count, struct error *err)
{
    struct pack_writer *writer = lane->writer;
    uint64_t lsn = atomic_fetch_add(&engine->next_lsn, count), bytes = 0;
    uint64_t offset = pack_writer_end(writer);
    size_t vectors = 0;
    enum coffer_status status = COFFER_OK;

    for (size_t i = 0; i < count && status == COFFER_OK; i++) {
        struct lane_record *record = &lane->records[i];

        record->offset = offset;
        record->header.nonce = pack_writer_pack(writer)->nonce;
        record->header.durable = pack_writer_durable(writer);
        record->header.lsn = lsn + i;
        lane->sizes[i] = record_size(record->header.stored_size);
        offset += lane->sizes[i];
        if (record->payload == NULL) {
            status = write_large(writer, record, lane->vectors, vectors, bytes, err);
            vectors = bytes = 0;
        } else {
            vectors += local_lay_out(record, lane->vectors + vectors);
            bytes += lane->sizes[i];
        }
    }
    if (status == COFFER_OK)
        status = pack_writer_append(writer, lane->vectors, vectors, bytes, lane->sizes, count, err);
    if (status != COFFER_OK)
        return status;
    atomic_fetch_add(&engine->syncs, 1);
    status = pack_writer_sync(writer, err);
    (void)fault_errno(FAULT_AFTER_SYNC);
    return status;
}

static enum coffer_status store_records(struct local_engine *engine, struct local_lane *lane,
    size_t count, uint64_t bytes, bool deletions, struct error *err)
{
    enum coffer_status status = COFFER_OK;

    for (int attempt = 0; attempt < WRITE_ATTEMPTS; attempt++) {
        status = ready_pack(engine, lane, bytes, deletions, err);
        if (status != COFFER_OK)
            return status;
        status = write_and_sync(engine, lane, count, err);
        if (status == COFFER_OK)
            return local_publish(engine, lane, count, err);
        if (attempt + 1 < WRITE_ATTEMPTS)
            log_write(LOG_ERROR, "write_again", "%s; the batch goes to a new pack", err->text);
        local_drop_poisoned(engine, lane);
        if (engine->failed)
            return status;
    }
    return status;
}

static enum coffer_status commit_some(struct local_engine *engine, struct local_lane *lane,
    struct engine_op **ops, size_t count, bool only_deletions, struct error *err)
{
    uint64_t bytes;
    size_t gathered;
    enum coffer_status unread =
        local_gather(engine, lane, ops, count, only_deletions, &gathered, &bytes, err);
    enum coffer_status status = COFFER_OK;

    if (gathered > 0)
        status = store_records(engine, lane, gathered, bytes, only_deletions, err);
    for (size_t i = 0; i < gathered; i++)
        lane->records[i].op->status = status;
    local_release_records(lane, gathered);
    if (status == COFFER_OK)
        local_flush_index_sometimes(engine, gathered, bytes);
    return status == COFFER_OK ? unread : status;
}

static enum coffer_status commit_all(struct local_engine *engine, struct local_lane *lane,
    struct engine_op **ops, size_t count, struct error *err)
{
    enum coffer_status status = commit_some(engine, lane, ops, count, false, err);
    if (status == COFFER_DISK_FULL) {
        struct error ignored;

        if (!atomic_exchange(&engine->full, true))
            log_write(LOG_ERROR, "disk_full", "%s; reads and deletions go on", err->text);
        (void)commit_some(engine, lane, ops, count, true, &ignored);
    } else if (status == COFFER_OK && atomic_load_explicit(&engine->full, memory_order_relaxed) &&
               !local_is_deletion(ops[0])) {
        atomic_store(&engine->full, false);
        log_write(LOG_INFO, "disk_has_space", "writes go on");
    }
    return status;
}

enum coffer_status local_commit(
    struct engine *base, unsigned number, struct engine_op **ops, size_t count, struct error *err)
{
    struct local_engine *engine = local_of(base);
    struct local_lane *lane = &engine->lanes[number];
    struct error own;
    enum coffer_status status;

    if (err == NULL)
        err = &own;
    for (size_t i = 0; i < count; i++)
        ops[i]->status = COFFER_IO;
    if (engine->failed)
        return error_set(err, COFFER_IO, "writes are refused since an earlier failure");
    if (lane->batch == NULL)
        lane->batch = index_batch_create();
    local_lane_grow(lane, count);
    gate_enter(&engine->gate);
    status = commit_all(engine, lane, ops, count, err);
    gate_leave(&engine->gate);
    return status;
}
