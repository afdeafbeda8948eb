/*
 * From records that are durable to the index. One index batch holds the records of a commit up to
 * some place, with the watermark of that place, so that what a replay would apply again is what is
 * not there. Mostly that is all of them; a batch is written early where the next record
 *  1. changes a row or a block that the batch has changed: what is looked up must be the newest; or
 *  2. is applied in pieces, which have no watermark: what came before must have one.
 */
#include <string.h>

#include "storage/base/clock.h"
#include "storage/base/fault.h"
#include "storage/base/invariant.h"
#include "storage/base/log.h"
#include "storage/pack/local_parts.h"
#include "storage/pack/partition_apply.h"

static struct local_engine *local_of(struct engine *base)
{
    return container_of(base, struct local_engine, base);
}

void local_put_pack_row(struct index_batch *batch, const struct pack *pack, uint64_t last_lsn)
{
    const struct index_pack row = {.state = (enum pack_state)atomic_load(&pack->state),
        .end = pack->end,
        .records = pack->records,
        .last_lsn = last_lsn};

    index_batch_put_pack(batch, pack->id, &row);
}

/* ---- publishing ---- */

struct publication { /* of one commit's records */
    struct local_lane *lane;
    struct pack *pack;
    struct applier applier;
    size_t count;
    size_t batches; /* of partitions among the records */
    size_t batched; /* records in the index batch */
};

/* Write what the batch holds: all records before number `next`. */
static enum coffer_status write_up_to(struct publication *at, size_t next, struct error *err)
{
    const struct lane_record *records = at->lane->records;
    const struct index_pack row = {.state = (enum pack_state)atomic_load(&at->pack->state),
        .end = next < at->count ? records[next].offset : at->pack->end,
        .records = at->pack->records - (at->count - next),
        .last_lsn = records[next - 1].header.lsn};

    index_batch_put_pack(at->lane->batch, at->pack->id, &row);
    touched_clear(&at->lane->touched);
    at->batched = 0;
    return apply_write(&at->applier, err);
}

static enum coffer_status publish_chunk(
    struct applier *applier, const struct lane_record *record, uint64_t pack, struct error *err)
{
    const struct engine_op *op = record->op;
    struct engine_row row = {.size = op->size,
        .stored_size = record->header.stored_size,
        .codec = record->header.codec,
        .pack = pack,
        .offset = record->offset,
        .lsn = record->header.lsn,
        .checksum = record->header.checksum};

    if (op->kind == ENGINE_PUT)
        return apply_chunk(applier, &op->key, &row, op->replace, err);
    if (op->kind == ENGINE_SEGMENT)
        return apply_segment(applier, &op->upload, op->segment, &row, false, err);
    row.segmented = true;
    row.stored_size = op->stored_size;
    row.upload = op->upload;
    row.segment_size = op->segment_size;
    return apply_manifest(applier, &op->key, &row, op->replace, err);
}

static enum coffer_status publish_batch(struct publication *at, size_t i, struct error *err)
{
    const struct lane_record *record = &at->lane->records[i];
    struct batch batch;
    enum coffer_status status = batch_decode(&record->header, record->section, &batch, err);

    invariant(status == COFFER_OK); /* it was encoded here */
    if (batch_is_touched(&batch, &at->lane->touched))
        status = write_up_to(at, i, err);
    if (at->batches > 1)
        batch_touch(&batch, &at->lane->touched);
    return status == COFFER_OK
               ? apply_batch(&at->applier, &batch, at->pack->id, record->offset, record->op, err)
               : status;
}

static enum coffer_status publish_record(struct publication *at, size_t i, struct error *err)
{
    const struct lane_record *record = &at->lane->records[i];
    struct engine_op *op = record->op;
    bool in_pieces =
        op->kind == ENGINE_DROP || (op->kind == ENGINE_DELETE && op->keys.count > APPLY_AT_ONCE);
    enum coffer_status status = COFFER_OK;

    if (in_pieces && at->batched > 0)
        status = write_up_to(at, i, err);
    if (status != COFFER_OK)
        return status;
    switch (op->kind) {
    case ENGINE_PUT:
    case ENGINE_SEGMENT:
    case ENGINE_MANIFEST:
        return publish_chunk(&at->applier, record, at->pack->id, err);
    case ENGINE_DELETE:
        status = apply_delete_all(&at->applier, &op->keys, record->header.lsn, &op->deleted, err);
        break;
    case ENGINE_BATCH:
        return publish_batch(at, i, err);
    case ENGINE_DROP:
        status = apply_drop(&at->applier, &op->partition, record->header.lsn, err);
        break;
    }
    apply_dead(&at->applier, at->pack->id, record_size(record->header.stored_size));
    return status;
}

/* Rows that the batch changed or deleted must not be found in the cache any more. */
static void drop_cached_rows(struct local_engine *engine, const struct lane_record *record)
{
    const struct engine_op *op = record->op;
    const struct digest *keys = (const struct digest *)record->payload;

    if (op->replace)
        row_cache_drop(engine->rows, &op->key);
    if (op->kind != ENGINE_DELETE || op->keys.count > APPLY_AT_ONCE)
        return; /* apply_delete_all() has done it for so many */
    for (size_t i = 0; i < op->keys.count; i++)
        row_cache_drop(engine->rows, &keys[i]);
}

enum coffer_status local_publish(
    struct local_engine *engine, struct local_lane *lane, size_t count, struct error *err)
{
    struct publication at = {.lane = lane,
        .pack = pack_writer_pack(lane->writer),
        .applier = {.index = engine->index,
            .batch = lane->batch,
            .packs = engine->packs,
            .rows = engine->rows},
        .count = count};
    enum coffer_status status = COFFER_OK;

    for (size_t i = 0; i < count; i++)
        at.batches += lane->records[i].op->kind == ENGINE_BATCH;
    for (size_t i = 0; i < count && status == COFFER_OK; i++) {
        status = publish_record(&at, i, err);
        at.batched++;
    }
    if (status == COFFER_OK)
        status = write_up_to(&at, count, err);
    index_batch_clear(lane->batch);
    touched_clear(&lane->touched);
    for (size_t i = 0; i < count; i++)
        drop_cached_rows(engine, &lane->records[i]);
    if (status == COFFER_OK)
        atomic_fetch_add(&engine->chunks, (uint64_t)at.applier.written_chunks);
    else
        local_fail(engine, err->text);
    (void)fault_errno(FAULT_AFTER_INDEX);
    return status;
}

void local_flush_index_sometimes(struct local_engine *engine, uint64_t records, uint64_t bytes)
{
    uint64_t now = clock_monotonic_ns(), since = engine->flushed_at_ns;
    struct error error;

    if (atomic_fetch_add(&engine->unflushed_records, records) + records < FLUSH_RECORDS_MAX &&
        atomic_fetch_add(&engine->unflushed_bytes, bytes) + bytes < FLUSH_BYTES_MAX &&
        now - since < FLUSH_INTERVAL_NS)
        return;
    if (!atomic_compare_exchange_strong(&engine->flushed_at_ns, &since, now))
        return; /* another lane does it */
    engine->unflushed_records = 0;
    engine->unflushed_bytes = 0;
    if (index_flush(engine->index, false, &error) != COFFER_OK)
        log_write(LOG_WARN, "index_flush_failed", "%s", error.text);
}

/* ---- what is forgotten without a record ---- */

enum coffer_status local_drop_upload(
    struct engine *base, const struct upload_id *upload, uint64_t count, struct error *err)
{
    struct local_engine *engine = local_of(base);
    struct index_batch *batch = index_batch_create();
    struct applier applier = {.index = engine->index, .batch = batch, .packs = engine->packs};
    enum coffer_status status;

    gate_enter(&engine->gate);
    status = apply_drop_segments(&applier, upload, count, err);
    index_batch_delete_upload(batch, upload);
    if (status == COFFER_OK)
        status = apply_write(&applier, err);
    gate_leave(&engine->gate);
    index_batch_destroy(batch);
    return status;
}

enum coffer_status local_drop_blocks(struct engine *base, const struct partition_id *partition,
    const struct block_id *blocks, size_t count, struct error *err)
{
    struct local_engine *engine = local_of(base);
    struct index_batch *batch = index_batch_create();
    struct applier applier = {.index = engine->index, .batch = batch, .packs = engine->packs};
    enum coffer_status status = COFFER_OK;

    gate_enter(&engine->gate);
    for (size_t i = 0; i < count && status == COFFER_OK; i++)
        status = apply_drop_staged(&applier, partition, &blocks[i], err);
    if (status == COFFER_OK)
        status = apply_write(&applier, err);
    gate_leave(&engine->gate);
    index_batch_destroy(batch);
    return status;
}
