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
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "storage/base/bytes.h"
#include "storage/base/checksum.h"
#include "storage/base/clock.h"
#include "storage/base/fault.h"
#include "storage/base/invariant.h"
#include "storage/base/log.h"
#include "storage/pack/local_parts.h"

enum { WRITE_ATTEMPTS = 2, VECTORS_PER_RECORD = 3, SCRATCH_KEPT_MAX = 1 << 20 };

struct lane_record {
    struct engine_op *op;
    uint8_t *header; /* RECORD_HEADER_SIZE bytes before the payload, or own_header */
    uint8_t own_header[RECORD_HEADER_SIZE];
    const uint8_t *payload;
    uint64_t stored_size, raw_size, checksum, offset, lsn;
    enum codec codec;
    enum record_type type;
    bool in_place; /* header, payload and padding lie side by side */
    void *owned;   /* encoded payload, to be freed */
    uint8_t manifest[MANIFEST_SIZE];
};

static const uint8_t PADDING[RECORD_ALIGNMENT];

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

static struct pack_writer *take_free_writer(struct local_engine *engine)
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

static void put_pack_row(struct index_batch *batch, const struct pack *pack, uint64_t last_lsn)
{
    const struct index_pack row = {.state = (enum pack_state)atomic_load(&pack->state),
        .end = pack->end,
        .records = pack->records,
        .last_lsn = last_lsn};

    index_batch_put_pack(batch, pack->id, &row);
}

/* The lane's pack has become useless: forget it, and let the index know how far it counts. */
static void drop_poisoned(struct local_engine *engine, struct local_lane *lane)
{
    struct error error;

    pack_writer_poison(lane->writer);
    index_batch_clear(lane->batch);
    put_pack_row(lane->batch, pack_writer_pack(lane->writer),
        atomic_load_explicit(&engine->next_lsn, memory_order_relaxed));
    if (index_write(engine->index, lane->batch, &error) != COFFER_OK)
        local_fail(engine, error.text);
    index_batch_clear(lane->batch);
    pack_writer_destroy(lane->writer);
    lane->writer = NULL;
}

/* Seal a pack that has reached its size. Without success it stays as it is, whole and unsealed:
 * recovery reads it like any open pack. */
static void seal_full(struct local_engine *engine, struct local_lane *lane)
{
    struct pack_writer *writer = lane->writer;
    uint64_t lsn = atomic_fetch_add(&engine->next_lsn, 1), before = pack_writer_end(writer);
    struct error error;
    enum coffer_status status = pack_writer_seal(writer, lsn, &error);

    atomic_fetch_add(&engine->syncs, 1);
    if (status == COFFER_OK) {
        struct pack *pack = pack_writer_pack(writer);

        index_batch_clear(lane->batch);
        put_pack_row(lane->batch, pack, lsn);
        index_batch_add_dead(lane->batch, pack->id, pack_writer_end(writer) - before);
        pack_set_add_dead(engine->packs, pack->id, pack_writer_end(writer) - before);
        if (index_write(engine->index, lane->batch, &error) != COFFER_OK)
            local_fail(engine, error.text);
        index_batch_clear(lane->batch);
    } else if (status != COFFER_DISK_FULL) {
        log_write(LOG_ERROR, "seal_failed", "%s", error.text);
        drop_poisoned(engine, lane);
        return;
    }
    pack_writer_destroy(writer);
    lane->writer = NULL;
}

static enum coffer_status new_writer(
    struct local_engine *engine, struct local_lane *lane, uint64_t reserve, struct error *err)
{
    struct pack_header header = {.pack_id = atomic_fetch_add(&engine->next_pack, 1),
        .base_lsn = atomic_load(&engine->next_lsn)};

    random_bytes(&header.nonce, sizeof(header.nonce));
    header.nonce |= 1; /* never 0, which means unusable */
    memcpy(header.store, engine->options.store, STORE_UUID_SIZE);
    return pack_writer_create(engine->packs, &header, reserve, &lane->writer, err);
}

/* The lane has a pack with room for `bytes`. */
static enum coffer_status ready_pack(struct local_engine *engine, struct local_lane *lane,
    uint64_t bytes, bool deletions, struct error *err)
{
    uint64_t reserve = deletions ? 0 : engine->options.reserve_space;

    for (;;) {
        if (lane->writer == NULL)
            lane->writer = take_free_writer(engine);
        if (lane->writer == NULL) {
            enum coffer_status status = new_writer(engine, lane, reserve, err);

            if (status != COFFER_OK)
                return status;
        }
        if (pack_writer_end(lane->writer) < engine->options.pack_size)
            return pack_writer_reserve(lane->writer, bytes, deletions, reserve, err);
        seal_full(engine, lane);
        if (engine->failed)
            return error_set(err, COFFER_IO, "the index failed");
    }
}

/* ---- from operations to records ---- */

static void grow(struct local_lane *lane, size_t count)
{
    if (count <= lane->capacity)
        return;
    lane->capacity = count + count / 2;
    free(lane->records);
    free(lane->vectors);
    free(lane->sizes);
    lane->records = calloc(lane->capacity, sizeof(struct lane_record));
    lane->vectors = calloc(lane->capacity * VECTORS_PER_RECORD, sizeof(struct iovec));
    lane->sizes = calloc(lane->capacity, sizeof(uint64_t));
    invariant(lane->records != NULL && lane->vectors != NULL && lane->sizes != NULL);
}

/* Room for the encoded form of `size` bytes, with the engine's headroom and tailroom around. */
static uint8_t *scratch_for(struct local_lane *lane, uint64_t size)
{
    if (lane->scratch_size < size || lane->scratch == NULL) {
        free(lane->scratch);
        lane->scratch = malloc(ENGINE_HEADROOM + codec_bound((size_t)size) + ENGINE_TAILROOM);
        invariant(lane->scratch != NULL);
        lane->scratch_size = (size_t)size;
    }
    return (uint8_t *)lane->scratch + ENGINE_HEADROOM;
}

static void encode_body(
    struct local_engine *engine, struct local_lane *lane, struct lane_record *record)
{
    const struct codec_settings settings = {.codec = engine->options.compression,
        .level = engine->options.compression_level,
        .min_size = engine->options.compression_min_size};
    struct engine_op *op = record->op;
    uint8_t *encoded;
    size_t size;

    record->payload = op->body;
    record->stored_size = record->raw_size = op->size;
    record->codec = CODEC_NONE;
    record->in_place = true;
    if (settings.codec != CODEC_NONE && op->size >= settings.min_size) {
        if (lane->encoder == NULL)
            lane->encoder = encoder_create();
        encoded = scratch_for(lane, op->size);
        if (encoder_encode(lane->encoder, &settings, slice_of(op->body, (size_t)op->size), encoded,
                codec_bound((size_t)op->size), &size)) {
            record->codec = CODEC_ZSTD;
            record->payload = encoded;
            record->stored_size = size;
            record->owned = lane->scratch;
            lane->scratch = NULL;
        }
    }
    op->stored_size = record->stored_size;
}

static void fill_record(
    struct local_engine *engine, struct local_lane *lane, struct lane_record *record)
{
    struct engine_op *op = record->op;
    struct manifest manifest;

    record->owned = NULL;
    record->in_place = false;
    record->codec = CODEC_NONE;
    switch (op->kind) {
    case ENGINE_PUT:
        record->type = RECORD_CHUNK;
        encode_body(engine, lane, record);
        break;
    case ENGINE_SEGMENT:
        record->type = RECORD_SEGMENT;
        encode_body(engine, lane, record);
        break;
    case ENGINE_MANIFEST:
        record->type = RECORD_MANIFEST;
        memcpy(manifest.upload, op->upload.bytes, UPLOAD_ID_SIZE);
        manifest.segment_size = op->segment_size;
        manifest.size = op->size;
        manifest.stored_size = op->stored_size;
        manifest_encode(&manifest, record->manifest);
        record->payload = record->manifest;
        record->stored_size = record->raw_size = MANIFEST_SIZE;
        break;
    case ENGINE_DELETE:
        record->type = RECORD_TOMBSTONE;
        record->payload = (const uint8_t *)op->keys;
        record->stored_size = record->raw_size = op->key_count * DIGEST_SIZE;
        break;
    }
    record->checksum = checksum_once(record->payload, (size_t)record->stored_size);
    record->header = record->in_place ? (uint8_t *)(uintptr_t)record->payload - RECORD_HEADER_SIZE
                                      : record->own_header;
}

static void encode_header(
    struct lane_record *record, const struct pack *pack, uint64_t durable, uint64_t lsn)
{
    const struct engine_op *op = record->op;
    struct record_header header = {.type = record->type,
        .codec = record->codec,
        .nonce = pack->nonce,
        .lsn = lsn,
        .durable = durable,
        .raw_size = record->raw_size,
        .stored_size = record->stored_size,
        .checksum = record->checksum};

    record->lsn = lsn;
    if (op->kind == ENGINE_SEGMENT) {
        memcpy(header.key, op->upload.bytes, UPLOAD_ID_SIZE);
        put_be64(header.key + UPLOAD_ID_SIZE, op->segment);
    } else if (op->kind != ENGINE_DELETE) {
        memcpy(header.key, op->key.bytes, DIGEST_SIZE);
    }
    record_header_encode(&header, record->header);
}

/* Vectors for one record: one if it lies in one piece, else header, payload, padding. */
static size_t lay_out(struct lane_record *record, struct iovec *vectors)
{
    uint64_t size = record_size(record->stored_size);
    size_t padding = (size_t)(size - RECORD_HEADER_SIZE - record->stored_size);

    if (record->in_place) {
        memset((uint8_t *)(uintptr_t)record->payload + record->stored_size, 0, padding);
        vectors[0] = (struct iovec){record->header, (size_t)size};
        return 1;
    }
    vectors[0] = (struct iovec){record->header, RECORD_HEADER_SIZE};
    vectors[1] = (struct iovec){(void *)(uintptr_t)record->payload, (size_t)record->stored_size};
    vectors[2] = (struct iovec){(void *)(uintptr_t)PADDING, padding};
    return VECTORS_PER_RECORD;
}

static enum coffer_status write_and_sync(
    struct local_engine *engine, struct local_lane *lane, size_t count, struct error *err)
{
    struct pack_writer *writer = lane->writer;
    uint64_t lsn = atomic_fetch_add(&engine->next_lsn, count), bytes = 0;
    uint64_t start = pack_writer_end(writer);
    size_t vectors = 0;
    enum coffer_status status;

    for (size_t i = 0; i < count; i++) {
        struct lane_record *record = &lane->records[i];

        record->offset = start + bytes;
        encode_header(record, pack_writer_pack(writer), pack_writer_durable(writer), lsn + i);
        vectors += lay_out(record, lane->vectors + vectors);
        lane->sizes[i] = record_size(record->stored_size);
        bytes += lane->sizes[i];
    }
    status = pack_writer_append(writer, lane->vectors, vectors, bytes, lane->sizes, count, err);
    if (status != COFFER_OK)
        return status;
    atomic_fetch_add(&engine->syncs, 1);
    status = pack_writer_sync(writer, err);
    (void)fault_errno(FAULT_AFTER_SYNC);
    return status;
}

/* ---- the index ---- */

static enum coffer_status index_record(
    struct applier *applier, const struct lane_record *record, uint64_t pack, struct error *err)
{
    struct engine_op *op = record->op;
    struct engine_row row = {.size = op->size,
        .stored_size = record->stored_size,
        .codec = record->codec,
        .pack = pack,
        .offset = record->offset,
        .lsn = record->lsn,
        .checksum = record->checksum};
    enum coffer_status status = COFFER_OK;

    switch (op->kind) {
    case ENGINE_PUT:
        return apply_chunk(applier, &op->key, &row, op->replace, err);
    case ENGINE_SEGMENT:
        return apply_segment(applier, &op->upload, op->segment, &row, false, err);
    case ENGINE_MANIFEST:
        row.segmented = true;
        row.stored_size = op->stored_size;
        row.upload = op->upload;
        row.segment_size = op->segment_size;
        return apply_manifest(applier, &op->key, &row, op->replace, err);
    case ENGINE_DELETE:
        status = apply_delete_all(
            applier, (const uint8_t *)op->keys, op->key_count, record->lsn, &op->deleted, err);
        apply_dead(applier, pack, record_size(record->stored_size));
        return status;
    }
    return status;
}

/* Rows that the batch changed or deleted must not be found in the cache any more. */
static void drop_cached_rows(struct local_engine *engine, const struct engine_op *op)
{
    if (op->replace)
        row_cache_drop(engine->rows, &op->key);
    for (size_t i = 0; op->kind == ENGINE_DELETE && i < op->key_count; i++)
        row_cache_drop(engine->rows, &op->keys[i]);
}

static enum coffer_status publish(
    struct local_engine *engine, struct local_lane *lane, size_t count, struct error *err)
{
    struct pack *pack = pack_writer_pack(lane->writer);
    struct applier applier = {.index = engine->index, .batch = lane->batch, .packs = engine->packs};
    enum coffer_status status = COFFER_OK;

    for (size_t i = 0; i < count && status == COFFER_OK; i++)
        status = index_record(&applier, &lane->records[i], pack->id, err);
    put_pack_row(lane->batch, pack, lane->records[count - 1].lsn);
    index_batch_add_chunks(lane->batch, applier.chunks);
    if (status == COFFER_OK)
        status = index_write(engine->index, lane->batch, err);
    index_batch_clear(lane->batch);
    for (size_t i = 0; i < count; i++)
        drop_cached_rows(engine, lane->records[i].op);
    if (status == COFFER_OK)
        atomic_fetch_add(&engine->chunks, (uint64_t)(applier.chunks + applier.written_chunks));
    else
        local_fail(engine, err->text);
    (void)fault_errno(FAULT_AFTER_INDEX);
    return status;
}

/* Keep what a start would have to replay small. */
static void flush_index_sometimes(struct local_engine *engine, uint64_t records, uint64_t bytes)
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

/* ---- commit ---- */

/* Take the operations of one sort (all, or on a full disk the deletions) as the lane's records. */
static size_t gather(struct local_engine *engine, struct local_lane *lane, struct engine_op **ops,
    size_t count, bool only_deletions, uint64_t *bytes)
{
    size_t gathered = 0;

    *bytes = 0;
    for (size_t i = 0; i < count; i++) {
        struct lane_record *record = &lane->records[gathered];

        if (only_deletions && ops[i]->kind != ENGINE_DELETE)
            continue;
        record->op = ops[i];
        fill_record(engine, lane, record);
        *bytes += record_size(record->stored_size);
        gathered++;
    }
    return gathered;
}

static void release_records(struct local_lane *lane, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        free(lane->records[i].owned);
        lane->records[i].owned = NULL;
    }
    if (lane->scratch_size > SCRATCH_KEPT_MAX) {
        free(lane->scratch);
        lane->scratch = NULL;
        lane->scratch_size = 0;
    }
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
            return publish(engine, lane, count, err);
        if (attempt + 1 < WRITE_ATTEMPTS)
            log_write(LOG_ERROR, "write_again", "%s; the batch goes to a new pack", err->text);
        drop_poisoned(engine, lane);
        if (engine->failed)
            return status;
    }
    return status;
}

static enum coffer_status commit_some(struct local_engine *engine, struct local_lane *lane,
    struct engine_op **ops, size_t count, bool only_deletions, struct error *err)
{
    uint64_t bytes;
    size_t gathered = gather(engine, lane, ops, count, only_deletions, &bytes);
    enum coffer_status status = COFFER_OK;

    if (gathered > 0)
        status = store_records(engine, lane, gathered, bytes, only_deletions, err);
    for (size_t i = 0; i < gathered; i++)
        lane->records[i].op->status = status;
    release_records(lane, gathered);
    if (status == COFFER_OK)
        flush_index_sometimes(engine, gathered, bytes);
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
    grow(lane, count);
    status = commit_some(engine, lane, ops, count, false, err);
    if (status == COFFER_DISK_FULL) {
        struct error ignored;

        if (!atomic_exchange(&engine->full, true))
            log_write(LOG_ERROR, "disk_full", "%s; reads and deletions go on", err->text);
        (void)commit_some(engine, lane, ops, count, true, &ignored);
    } else if (status == COFFER_OK && atomic_load_explicit(&engine->full, memory_order_relaxed) &&
               ops[0]->kind != ENGINE_DELETE) {
        atomic_store(&engine->full, false);
        log_write(LOG_INFO, "disk_has_space", "writes go on");
    }
    return status;
}

enum coffer_status local_drop_upload(
    struct engine *base, const struct upload_id *upload, uint64_t count, struct error *err)
{
    struct local_engine *engine = local_of(base);
    struct index_batch *batch = index_batch_create();
    struct applier applier = {.index = engine->index, .batch = batch, .packs = engine->packs};
    enum coffer_status status = apply_drop_segments(&applier, upload, count, err);

    index_batch_delete_upload(batch, upload);
    if (status == COFFER_OK)
        status = index_write(engine->index, batch, err);
    index_batch_destroy(batch);
    return status;
}
