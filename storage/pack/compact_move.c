/*
 * From the buffer to the new pack and to the index. Bytes are settled for each record at its move:
 * what its original had of living bytes dies there, and what of the copy nothing refers to (any
 * more) is dead from the beginning.
 */
#include <string.h>

#include "storage/base/bytes.h"
#include "storage/base/fault.h"
#include "storage/base/invariant.h"
#include "storage/index/index_partition.h"
#include "storage/pack/compact_parts.h"

enum { MOVED_AT_ONCE = 256 }; /* records and rows, while the gate is closed */

struct move { /* of one record */
    struct compact_run *run;
    struct applier *applier;
    const struct copied *copied;
    struct record_header header; /* of the copy */
    const uint8_t *payload;
    uint64_t offset; /* of the copy */
    uint64_t pack;   /* the new one */
    size_t rows;     /* that were looked at */
};

/* Whether the row leads to the original; it then leads to the copy. */
static bool lead_on(const struct move *move, struct engine_row *row)
{
    if (row->pack != move->copied->from->pack->id || row->offset != move->copied->original)
        return false;
    row->pack = move->pack;
    row->offset = move->offset;
    return true;
}

static void take_payload_of(const struct move *move, struct engine_row *row)
{
    row->codec = move->header.codec;
    row->stored_size = move->header.stored_size;
    row->checksum = move->header.checksum;
}

static enum coffer_status move_chunk(struct move *move, struct error *err)
{
    uint64_t own = record_size(move->header.stored_size), original = own;
    struct engine_row row;
    struct digest key;
    enum coffer_status status;

    memcpy(key.bytes, move->header.key, DIGEST_SIZE);
    status = index_find_chunk(move->run->engine->index, &key, &row, err);
    if (status != COFFER_OK && status != COFFER_NO_SUCH_CHUNK)
        return status;
    if (status == COFFER_NO_SUCH_CHUNK || !lead_on(move, &row)) {
        apply_dead(move->applier, move->pack, own);
        return COFFER_OK;
    }
    if (!row.segmented) {
        original = record_size(row.stored_size);
        take_payload_of(move, &row);
    }
    index_batch_put_chunk(move->applier->batch, &key, &row);
    apply_dead(move->applier, move->copied->from->pack->id, original);
    move->run->compaction->records_moved++;
    return COFFER_OK;
}

static enum coffer_status move_segment(struct move *move, struct error *err)
{
    uint64_t own = record_size(move->header.stored_size);
    uint64_t segment = get_be64(move->header.key + UPLOAD_ID_SIZE);
    struct engine_row row;
    struct upload_id upload;
    enum coffer_status status;

    memcpy(upload.bytes, move->header.key, UPLOAD_ID_SIZE);
    status = index_find_segment(move->run->engine->index, &upload, segment, &row, err);
    if (status != COFFER_OK && status != COFFER_NO_SUCH_CHUNK)
        return status;
    if (status == COFFER_NO_SUCH_CHUNK || !lead_on(move, &row)) {
        apply_dead(move->applier, move->pack, own);
        return COFFER_OK;
    }
    apply_dead(move->applier, move->copied->from->pack->id, record_size(row.stored_size));
    take_payload_of(move, &row);
    index_batch_put_segment(move->applier->batch, &upload, segment, &row);
    move->run->compaction->records_moved++;
    return COFFER_OK;
}

static enum coffer_status move_block(
    struct move *move, const struct batch *batch, uint64_t *living, struct error *err)
{
    struct engine_row row;
    enum coffer_status status =
        index_find_block(move->run->engine->index, &batch->partition, &batch->block, &row, err);

    if (status == COFFER_NO_SUCH_CHUNK)
        return COFFER_OK;
    if (status != COFFER_OK || !lead_on(move, &row))
        return status;
    apply_dead(move->applier, move->copied->from->pack->id, row.stored_size);
    row.codec = batch->codec;
    row.stored_size = batch->stored_size;
    row.checksum = batch->checksum;
    index_batch_put_block(move->applier->batch, &batch->partition, &batch->block, &row);
    *living += batch->stored_size;
    return COFFER_OK;
}

static enum coffer_status move_entry(struct move *move, const struct batch *batch,
    const struct batch_entry *entry, uint64_t *living, struct error *err)
{
    uint64_t size = batch_entry_size(entry->key.size, entry->value.size);
    struct index_stored stored;
    enum coffer_status status =
        index_find_stored(move->run->engine->index, &batch->partition, entry->key, &stored, err);

    if (status == COFFER_NO_SUCH_CHUNK)
        return COFFER_OK;
    if (status != COFFER_OK || stored.lsn != entry->lsn ||
        stored.pack != move->copied->from->pack->id)
        return status;
    apply_dead(move->applier, stored.pack, size);
    index_batch_put_row(
        move->applier->batch, &batch->partition, entry->key, entry->lsn, move->pack, entry->value);
    *living += size;
    return COFFER_OK;
}

static enum coffer_status move_batch(struct move *move, struct error *err)
{
    struct batch batch;
    const uint8_t *at;
    uint64_t living = 0;
    enum coffer_status status = batch_decode(
        &move->header, slice_of(move->payload, (size_t)move->header.stored_size), &batch, err);

    invariant(status == COFFER_OK); /* it was encoded here */
    if (batch.has_block)
        status = move_block(move, &batch, &living, err);
    at = batch.entries;
    for (size_t i = 0; i < batch.entry_count && status == COFFER_OK; i++) {
        struct batch_entry entry;

        at = batch_entry_at(&batch, at, &entry);
        if (!entry.remove)
            status = move_entry(move, &batch, &entry, &living, err);
    }
    apply_dead(move->applier, move->pack, batch.record_size - living);
    move->rows = batch.entry_count;
    move->run->compaction->records_moved += living > 0;
    return status;
}

static enum coffer_status move_record(struct move *move, struct error *err)
{
    switch (move->header.type) {
    case RECORD_CHUNK:
    case RECORD_MANIFEST:
        return move_chunk(move, err);
    case RECORD_SEGMENT:
        return move_segment(move, err);
    case RECORD_BATCH:
        return move_batch(move, err);
    case RECORD_TOMBSTONE:
    case RECORD_DROP:
    case RECORD_SEAL:
        break;
    }
    apply_dead(move->applier, move->pack, record_size(move->header.stored_size));
    return COFFER_OK;
}

/* Rows that were moved must not be found in the cache, or its pack may be gone. */
static void drop_cached(const struct compact_run *run, uint64_t nonce, size_t from, size_t to)
{
    for (size_t i = from; i < to; i++) {
        struct record_header header;
        struct digest key;

        invariant(record_header_decode(run->buffer + run->copied[i].at, nonce, &header));
        memcpy(key.bytes, header.key, DIGEST_SIZE);
        if (header.type == RECORD_CHUNK || header.type == RECORD_MANIFEST)
            row_cache_drop(run->engine->rows, &key);
    }
}

/* Move records from number *next on, as many as fit into one closing of the gate. `start`: where
 * the buffer begins in the new pack. */
static enum coffer_status move_some(
    struct compact_run *run, uint64_t start, size_t *next, struct error *err)
{
    struct pack *pack = pack_writer_pack(run->lane.writer);
    struct applier applier = {
        .index = run->engine->index, .batch = run->lane.batch, .packs = run->engine->packs};
    size_t from = *next, done = 0;
    enum coffer_status status = COFFER_OK;
    struct index_pack row = {.state = PACK_COPYING};

    gate_close(&run->engine->gate);
    while (*next < run->copied_count && done < MOVED_AT_ONCE && status == COFFER_OK) {
        const struct copied *copied = &run->copied[*next];
        const uint8_t *bytes = run->buffer + copied->at;
        struct move move = {.run = run,
            .applier = &applier,
            .copied = copied,
            .payload = bytes + RECORD_HEADER_SIZE,
            .offset = start + copied->at,
            .pack = pack->id};

        invariant(record_header_decode(bytes, pack->nonce, &move.header));
        status = move_record(&move, err);
        row.end = move.offset + record_size(move.header.stored_size);
        row.last_lsn = move.header.lsn;
        done += 1 + move.rows;
        ++*next;
    }
    row.records = pack->records - (run->copied_count - *next);
    index_batch_put_pack(applier.batch, pack->id, &row);
    if (status == COFFER_OK)
        status = apply_write(&applier, err);
    index_batch_clear(run->lane.batch);
    drop_cached(run, pack->nonce, from, *next);
    gate_leave(&run->engine->gate);
    (void)fault_errno(FAULT_REPACK_MOVED);
    return status;
}

/* ---- writing ---- */

/* The new pack is known to be one of copies before it has one; see compact.h. */
static enum coffer_status make_pack(struct compact_run *run, struct error *err)
{
    struct local_engine *engine = run->engine;
    struct index_pack row = {.state = PACK_COPYING, .end = PACK_HEADER_SIZE};
    uint64_t base_lsn = UINT64_MAX;
    enum coffer_status status;

    for (size_t i = 0; i < run->victim_count; i++)
        base_lsn = min_u64(base_lsn, run->victims[i].pack->base_lsn);
    status =
        local_new_writer(engine, base_lsn, engine->options.reserve_space, &run->lane.writer, err);
    if (status != COFFER_OK)
        return status;
    index_batch_put_pack(run->lane.batch, pack_writer_pack(run->lane.writer)->id, &row);
    status = index_write(engine->index, run->lane.batch, err);
    index_batch_clear(run->lane.batch);
    if (status != COFFER_OK)
        local_fail(engine, err->text);
    return status == COFFER_OK ? index_flush(engine->index, true, err) : status;
}

static void finish_headers(struct compact_run *run)
{
    struct pack_writer *writer = run->lane.writer;

    for (size_t i = 0; i < run->copied_count; i++) {
        uint8_t *at = run->buffer + run->copied[i].at;
        struct record_header header;

        invariant(record_header_decode(at, 0, &header));
        header.nonce = pack_writer_pack(writer)->nonce;
        header.durable = pack_writer_durable(writer);
        record_header_encode(&header, at);
    }
}

static enum coffer_status write_buffer(struct compact_run *run, struct error *err)
{
    struct pack_writer *writer = run->lane.writer;
    struct iovec vector = {run->buffer, run->size};
    enum coffer_status status;

    finish_headers(run);
    status = pack_writer_append(writer, &vector, 1, run->size, run->sizes, run->copied_count, err);
    (void)fault_errno(FAULT_REPACK_COPIED);
    if (status == COFFER_OK) {
        atomic_fetch_add(&run->engine->syncs, 1);
        status = pack_writer_sync(writer, err);
    }
    (void)fault_errno(FAULT_REPACK_SYNCED);
    if (status != COFFER_OK)
        local_drop_poisoned(run->engine, &run->lane);
    return status;
}

enum coffer_status compact_settle(struct compact_run *run, struct error *err)
{
    enum coffer_status status = COFFER_OK;
    uint64_t start;
    size_t next = 0;

    if (run->copied_count == 0)
        return COFFER_OK;
    if (run->lane.writer == NULL)
        status = make_pack(run, err);
    if (status == COFFER_OK)
        status = pack_writer_reserve(
            run->lane.writer, run->size, false, run->engine->options.reserve_space, err);
    if (status != COFFER_OK)
        return status;
    start = pack_writer_end(run->lane.writer);
    status = write_buffer(run, err);
    while (status == COFFER_OK && next < run->copied_count) {
        status = move_some(run, start, &next, err);
        if (status != COFFER_OK)
            local_fail(run->engine, err->text);
    }
    /* Neither a start nor the index's memory is to notice that so many rows have moved. */
    local_flush_index_sometimes(run->engine, run->copied_count, run->size);
    run->compaction->bytes_written += run->size;
    run->size = 0;
    run->copied_count = 0;
    return status;
}
