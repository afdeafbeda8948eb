/*
 * From operations to records: what is encoded, and where its bytes lie until they are written. A
 * body stays where the caller has it, with the header put before it and the padding behind it; only
 * what is compressed, and the rows of a batch, are in memory of our own.
 */
#include <stdlib.h>
#include <string.h>

#include "storage/base/bytes.h"
#include "storage/base/checksum.h"
#include "storage/base/invariant.h"
#include "storage/pack/local_parts.h"
#include "storage/pack/tombstone.h"

enum { SCRATCH_KEPT_MAX = 1 << 20 };

static const uint8_t PADDING[RECORD_ALIGNMENT];

void local_lane_grow(struct local_lane *lane, size_t count)
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

void local_lane_release(struct local_lane *lane)
{
    pack_writer_destroy(lane->writer);
    index_batch_destroy(lane->batch);
    encoder_destroy(lane->encoder);
    touched_release(&lane->touched);
    free(lane->records);
    free(lane->vectors);
    free(lane->sizes);
    free(lane->scratch);
}

/* ---- bodies ---- */

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

/* The settings of the engine; a block has its own codec and perhaps level. */
static struct codec_settings settings_of(
    const struct local_engine *engine, const struct engine_op *op)
{
    struct codec_settings settings = {.codec = engine->options.compression,
        .level = engine->options.compression_level,
        .min_size = engine->options.compression_min_size};

    if (op->kind == ENGINE_BATCH) {
        settings.codec = op->block_codec;
        if (op->block_level != 0)
            settings.level = op->block_level;
    }
    return settings;
}

static void encode_body(
    struct local_engine *engine, struct local_lane *lane, struct lane_record *record)
{
    const struct codec_settings settings = settings_of(engine, record->op);
    struct engine_op *op = record->op;
    uint8_t *encoded;
    size_t size;

    record->payload = op->body;
    record->payload_size = record->header.raw_size = op->size;
    record->in_place = true;
    if (settings.codec != CODEC_NONE && op->size >= settings.min_size &&
        op->size <= CODEC_RAW_MAX) {
        if (lane->encoder == NULL)
            lane->encoder = encoder_create();
        encoded = scratch_for(lane, op->size);
        if (encoder_encode(lane->encoder, &settings, slice_of(op->body, (size_t)op->size), encoded,
                codec_bound((size_t)op->size), &size)) {
            record->header.codec = CODEC_ZSTD;
            record->payload = encoded;
            record->payload_size = size;
            record->owned = lane->scratch;
            lane->scratch = NULL;
        }
    }
    op->stored_size = record->payload_size;
}

/* ---- records ---- */

static void fill_manifest(struct lane_record *record)
{
    const struct engine_op *op = record->op;
    struct manifest manifest = {
        .segment_size = op->segment_size, .size = op->size, .stored_size = op->stored_size};

    memcpy(manifest.upload, op->upload.bytes, UPLOAD_ID_SIZE);
    manifest_encode(&manifest, record->manifest);
    record->payload = record->manifest;
    record->payload_size = record->header.raw_size = MANIFEST_SIZE;
}

/* A block and the rows behind it: the block's own checksum is on the way to that of both. */
static void fill_block(struct local_engine *engine, struct local_lane *lane,
    struct lane_record *record, uint8_t *section)
{
    struct checksum sum;

    encode_body(engine, lane, record);
    checksum_init(&sum);
    checksum_update(&sum, record->payload, (size_t)record->payload_size);
    batch_section_encode(record->op, record->payload_size, checksum_value(&sum), section);
    checksum_update(&sum, record->section.data, record->section.size);
    record->header.checksum = checksum_value(&sum);
    checksum_release(&sum);
    record->rest = record->section;
}

/* The rows section lies behind the block's content, or, without one, is all of the payload. */
static void fill_batch(
    struct local_engine *engine, struct local_lane *lane, struct lane_record *record)
{
    const struct engine_op *op = record->op;
    uint64_t size = batch_section_size(op);
    uint8_t *bytes = malloc(ENGINE_HEADROOM + (size_t)size + ENGINE_TAILROOM);

    invariant(bytes != NULL);
    record->section_owned = bytes;
    record->section = slice_of(bytes + ENGINE_HEADROOM, (size_t)size);
    batch_key_encode(&op->partition, op->has_block ? &op->block : NULL, record->header.key);
    if (op->has_block) {
        fill_block(engine, lane, record, bytes + ENGINE_HEADROOM);
        return;
    }
    batch_section_encode(op, 0, 0, bytes + ENGINE_HEADROOM);
    record->payload = record->section.data;
    record->payload_size = record->section.size;
    record->in_place = true;
}

/* Not COFFER_OK: the operation cannot even be read. */
static enum coffer_status fill_record(struct local_engine *engine, struct local_lane *lane,
    struct lane_record *record, struct error *err)
{
    const struct engine_op *op = record->op;
    struct record_header *header = &record->header;
    enum coffer_status status;

    switch (op->kind) {
    case ENGINE_PUT:
        header->type = RECORD_CHUNK;
        memcpy(header->key, op->key.bytes, DIGEST_SIZE);
        encode_body(engine, lane, record);
        break;
    case ENGINE_SEGMENT:
        header->type = RECORD_SEGMENT;
        memcpy(header->key, op->upload.bytes, UPLOAD_ID_SIZE);
        put_be64(header->key + UPLOAD_ID_SIZE, op->segment);
        encode_body(engine, lane, record);
        break;
    case ENGINE_MANIFEST:
        header->type = RECORD_MANIFEST;
        memcpy(header->key, op->key.bytes, DIGEST_SIZE);
        fill_manifest(record);
        break;
    case ENGINE_DELETE:
        header->type = RECORD_TOMBSTONE;
        record->start = record->own_header;
        status = tombstone_load(&op->keys, &record->owned, &header->checksum, err);
        record->payload = record->owned;
        record->payload_size = header->raw_size = op->keys.count * DIGEST_SIZE;
        header->stored_size = record->payload_size;
        return status;
    case ENGINE_BATCH:
        header->type = RECORD_BATCH;
        fill_batch(engine, lane, record);
        break;
    case ENGINE_DROP:
        header->type = RECORD_DROP;
        record->payload = PADDING; /* none of it */
        batch_key_encode(&op->partition, NULL, header->key);
        break;
    }
    header->stored_size = record->payload_size + record->rest.size;
    if (record->rest.size == 0)
        header->checksum = checksum_once(record->payload, (size_t)record->payload_size);
    record->start = record->in_place ? (uint8_t *)(uintptr_t)record->payload - RECORD_HEADER_SIZE
                                     : record->own_header;
    return COFFER_OK;
}

/* A record that no reader would believe must not be written. */
static bool is_too_large(const struct engine_op *op)
{
    return op->kind == ENGINE_BATCH &&
           batch_section_size(op) + (op->has_block ? op->size : 0) > RECORD_PAYLOAD_MAX;
}

/* One operation as a record, or why it cannot be one. */
static enum coffer_status make_record(struct local_engine *engine, struct local_lane *lane,
    struct lane_record *record, struct engine_op *op, struct error *err)
{
    enum coffer_status status;

    memset(record, 0, sizeof(*record));
    record->op = op;
    if (is_too_large(op))
        return error_set(err, COFFER_CONTENT_TOO_LARGE, "a batch takes more than %llu MiB",
            (unsigned long long)(RECORD_PAYLOAD_MAX >> 20));
    status = fill_record(engine, lane, record, err);
    if (status != COFFER_OK) {
        free(record->owned);
        record->owned = NULL;
    }
    return status;
}

enum coffer_status local_gather(struct local_engine *engine, struct local_lane *lane,
    struct engine_op **ops, size_t count, bool only_deletions, size_t *gathered, uint64_t *bytes,
    struct error *err)
{
    enum coffer_status first = COFFER_OK;

    *gathered = 0;
    *bytes = 0;
    for (size_t i = 0; i < count; i++) {
        struct lane_record *record = &lane->records[*gathered];
        enum coffer_status status;

        if (only_deletions && !local_is_deletion(ops[i]))
            continue;
        status = make_record(engine, lane, record, ops[i], err);
        if (status != COFFER_OK) {
            ops[i]->status = first = status;
            continue;
        }
        *bytes += record_size(record->header.stored_size);
        (*gathered)++;
    }
    return first;
}

void local_release_records(struct local_lane *lane, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        free(lane->records[i].owned);
        free(lane->records[i].section_owned);
    }
    if (lane->scratch_size > SCRATCH_KEPT_MAX) {
        free(lane->scratch);
        lane->scratch = NULL;
        lane->scratch_size = 0;
    }
}

bool local_is_deletion(const struct engine_op *op)
{
    if (op->kind == ENGINE_DELETE || op->kind == ENGINE_DROP)
        return true;
    if (op->kind != ENGINE_BATCH || op->has_block || op->claim_count > 0)
        return false;
    if (op->frees)
        return true;
    for (size_t i = 0; i < op->change_count; i++)
        if (!op->changes[i].remove)
            return false;
    return true;
}

size_t local_lay_out(struct lane_record *record, struct iovec *vectors)
{
    uint64_t size = record_size(record->header.stored_size);
    size_t padding = (size_t)(size - RECORD_HEADER_SIZE - record->header.stored_size);
    size_t count = 0;

    record_header_encode(&record->header, record->start);
    if (record->in_place) {
        vectors[count++] =
            (struct iovec){record->start, RECORD_HEADER_SIZE + (size_t)record->payload_size};
    } else {
        vectors[count++] = (struct iovec){record->start, RECORD_HEADER_SIZE};
        vectors[count++] =
            (struct iovec){(void *)(uintptr_t)record->payload, (size_t)record->payload_size};
    }
    if (record->rest.size > 0)
        vectors[count++] = (struct iovec){(void *)(uintptr_t)record->rest.data, record->rest.size};
    if (record->in_place) { /* there is room for it behind the last of them */
        memset((uint8_t *)vectors[count - 1].iov_base + vectors[count - 1].iov_len, 0, padding);
        vectors[count - 1].iov_len += padding;
    } else {
        vectors[count++] = (struct iovec){(void *)(uintptr_t)PADDING, padding};
    }
    return count;
}
