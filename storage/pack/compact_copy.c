/*
 * From a record of a victim to its copy. Whether something refers to a record is asked of the index
 * here without the gate, only to save what would be copied in vain: the move asks again.
 */
#include <stdlib.h>
#include <string.h>

#include "storage/base/bytes.h"
#include "storage/base/checksum.h"
#include "storage/base/invariant.h"
#include "storage/index/index_partition.h"
#include "storage/io/file.h"
#include "storage/pack/compact_parts.h"

/* ---- the buffer ---- */

/* Room for one more record with so many bytes of payload; where the payload goes. */
static enum coffer_status room(
    struct compact_run *run, uint64_t payload, uint8_t **out, struct error *err)
{
    uint64_t size = record_size(payload);
    enum coffer_status status = COFFER_OK;

    if (run->copied_count == COPY_RECORDS_MAX ||
        (run->size > 0 && run->size + size > run->size_max))
        status = compact_settle(run, err);
    if (status != COFFER_OK)
        return status;
    if (run->size + size > run->capacity) {
        size_t capacity = (size_t)max_u64(run->size + size, run->size_max);
        uint8_t *larger = realloc(run->buffer, capacity);

        if (larger == NULL) {
            (void)error_set(err, COFFER_OVERLOADED, "no memory for a record of %llu bytes",
                (unsigned long long)size);
            return COFFER_OVERLOADED;
        }
        run->buffer = larger;
        run->capacity = capacity;
    }
    *out = run->buffer + run->size + RECORD_HEADER_SIZE;
    return COFFER_OK;
}

/* The payload is in the buffer: its header and padding around it. Nonce and durable offset come
 * when it is written. `living`: its bytes that something may refer to. */
static void add(struct compact_run *run, const struct victim *victim, struct record_header header,
    uint64_t living)
{
    uint64_t size = record_size(header.stored_size);
    uint8_t *at = run->buffer + run->size;

    header.nonce = 0;
    header.checksum = checksum_once(at + RECORD_HEADER_SIZE, (size_t)header.stored_size);
    memset(at + RECORD_HEADER_SIZE + header.stored_size, 0,
        (size_t)(size - RECORD_HEADER_SIZE - header.stored_size));
    record_header_encode(&header, at);
    run->copied[run->copied_count] = (struct copied){victim, victim->item.offset, run->size};
    run->sizes[run->copied_count++] = size;
    run->size += (size_t)size;
    run->fixed += size - living;
    run->last_lsn = header.lsn;
}

static void damaged(const struct compact_run *run, const struct victim *victim)
{
    local_count_damage(run->engine, victim->pack->id, victim->item.offset,
        "the content of a record fails its checksum");
}

/* The bytes of the current record's payload from `from` on; it was found good. */
static enum coffer_status take_payload(
    const struct victim *victim, uint64_t size, uint8_t *out, struct error *err)
{
    if (victim->item.payload == NULL)
        return file_read_at(victim->pack->fd, out, (size_t)size,
            victim->item.offset + RECORD_HEADER_SIZE, victim->name, err);
    memcpy(out, victim->item.payload, (size_t)size);
    return COFFER_OK;
}

/* ---- encoding again ---- */

/* Encode `*size` bytes of content at `at` again, in place if that makes them fewer. */
static void encode_again(
    struct compact_run *run, struct record_header *header, uint8_t *at, uint64_t *size)
{
    const struct codec_settings settings = {.codec = CODEC_ZSTD,
        .level = run->compaction->compression_level,
        .min_size = run->engine->options.compression_min_size};
    size_t raw_size = (size_t)header->raw_size, bound = codec_bound(raw_size), encoded;

    if (settings.level == 0 || header->raw_size > CODEC_RAW_MAX || raw_size < settings.min_size ||
        header->codec == CODEC_ZLIB)
        return;
    if (run->raw_capacity < raw_size + bound) {
        free(run->raw);
        run->raw_capacity = raw_size + bound;
        run->raw = malloc(run->raw_capacity);
        invariant(run->raw != NULL);
    }
    if (codec_decode(decoder_of_thread(), header->codec, slice_of(at, (size_t)*size), run->raw,
            raw_size, NULL) != COFFER_OK)
        return; /* whoever reads it will be told */
    if (run->lane.encoder == NULL)
        run->lane.encoder = encoder_create();
    if (!encoder_encode(run->lane.encoder, &settings, slice_of(run->raw, raw_size),
            run->raw + raw_size, bound, &encoded) ||
        encoded >= *size)
        return;
    memcpy(at, run->raw + raw_size, encoded);
    header->codec = CODEC_ZSTD;
    *size = encoded;
}

/* ---- chunks ---- */

static bool lies_here(const struct victim *victim, const struct engine_row *row)
{
    return row->pack == victim->pack->id && row->offset == victim->item.offset;
}

/* A chunk, segment or manifest that has a row: as it is. */
static enum coffer_status copy_whole(
    struct compact_run *run, const struct victim *victim, struct error *err)
{
    struct record_header header = victim->item.header;
    enum coffer_status status;
    uint8_t *payload = NULL;

    if (!victim->item.payload_good) {
        damaged(run, victim);
        return COFFER_OK;
    }
    status = room(run, header.stored_size, &payload, err);
    if (status == COFFER_OK)
        status = take_payload(victim, header.stored_size, payload, err);
    if (status != COFFER_OK)
        return status;
    if (header.type != RECORD_MANIFEST)
        encode_again(run, &header, payload, &header.stored_size);
    add(run, victim, header, record_size(header.stored_size));
    return COFFER_OK;
}

static enum coffer_status copy_chunk(
    struct compact_run *run, const struct victim *victim, struct error *err)
{
    struct engine_row row;
    struct digest key;
    enum coffer_status status;

    memcpy(key.bytes, victim->item.header.key, DIGEST_SIZE);
    status = index_find_chunk(run->engine->index, &key, &row, err);
    if (status == COFFER_NO_SUCH_CHUNK || (status == COFFER_OK && !lies_here(victim, &row)))
        return COFFER_OK;
    return status == COFFER_OK ? copy_whole(run, victim, err) : status;
}

static enum coffer_status copy_segment(
    struct compact_run *run, const struct victim *victim, struct error *err)
{
    const uint8_t *key = victim->item.header.key;
    struct engine_row row;
    struct upload_id upload;
    enum coffer_status status;

    memcpy(upload.bytes, key, UPLOAD_ID_SIZE);
    status =
        index_find_segment(run->engine->index, &upload, get_be64(key + UPLOAD_ID_SIZE), &row, err);
    if (status == COFFER_NO_SUCH_CHUNK || (status == COFFER_OK && !lies_here(victim, &row)))
        return COFFER_OK;
    return status == COFFER_OK ? copy_whole(run, victim, err) : status;
}

/* ---- deletions ---- */

/* The keys that have no newer chunk: such a one is newer than all that the tombstone is about. */
static enum coffer_status copy_tombstone(
    struct compact_run *run, const struct victim *victim, struct error *err)
{
    struct record_header header = victim->item.header;
    size_t count = (size_t)(header.stored_size / DIGEST_SIZE);
    enum coffer_status status;
    uint8_t *payload = NULL, *at;

    if (header.lsn <= victim->oldest_elsewhere)
        return COFFER_OK;
    if (victim->item.payload == NULL) {
        damaged(run, victim);
        return COFFER_OK;
    }
    status = room(run, header.stored_size, &payload, err);
    at = payload;
    for (size_t i = 0; i < count && status == COFFER_OK; i++) {
        struct engine_row row;
        struct digest key;

        memcpy(key.bytes, victim->item.payload + i * DIGEST_SIZE, DIGEST_SIZE);
        status = index_find_chunk(run->engine->index, &key, &row, err);
        if (status == COFFER_NO_SUCH_CHUNK) {
            memcpy(at, key.bytes, DIGEST_SIZE);
            at += DIGEST_SIZE;
            status = COFFER_OK;
        }
    }
    if (status != COFFER_OK || at == payload)
        return status;
    header.stored_size = header.raw_size = (uint64_t)(at - payload);
    add(run, victim, header, 0);
    return COFFER_OK;
}

static enum coffer_status copy_drop(
    struct compact_run *run, const struct victim *victim, struct error *err)
{
    enum coffer_status status;
    uint8_t *payload = NULL;

    if (victim->item.header.lsn <= victim->oldest_elsewhere)
        return COFFER_OK;
    status = room(run, victim->item.header.stored_size, &payload, err);
    if (status == COFFER_OK)
        status = take_payload(victim, victim->item.header.stored_size, payload, err);
    if (status == COFFER_OK)
        add(run, victim, victim->item.header, 0);
    return status;
}

/* ---- batches ---- */

struct batch_copy {
    struct compact_run *run;
    const struct victim *victim;
    struct batch batch; /* of the original */
    struct batch_tail tail;
    uint8_t *at;     /* behind what is copied */
    uint64_t living; /* bytes of content and rows among it */
};

static enum coffer_status copy_content(
    struct batch_copy *copy, struct record_header *header, struct error *err)
{
    const struct batch *batch = &copy->batch;
    struct engine_row row;
    enum coffer_status status = COFFER_NO_SUCH_CHUNK;

    if (batch->has_block)
        status =
            index_find_block(copy->run->engine->index, &batch->partition, &batch->block, &row, err);
    if (status != COFFER_OK && status != COFFER_NO_SUCH_CHUNK)
        return status;
    if (status == COFFER_NO_SUCH_CHUNK || !lies_here(copy->victim, &row)) {
        batch_key_encode(&batch->partition, NULL, header->key);
        header->codec = CODEC_NONE;
        header->raw_size = 0;
        return COFFER_OK;
    }
    copy->tail.stored_size = batch->stored_size;
    memcpy(copy->at, copy->victim->item.payload, (size_t)batch->stored_size);
    encode_again(copy->run, header, copy->at, &copy->tail.stored_size);
    copy->tail.checksum = checksum_once(copy->at, (size_t)copy->tail.stored_size);
    copy->at += copy->tail.stored_size;
    copy->living = copy->tail.stored_size;
    return COFFER_OK;
}

/* A row that is the newest lives; a removal is needed where there is no newer row, as long as
 * there may be an older one. */
static enum coffer_status is_needed(
    const struct batch_copy *copy, const struct batch_entry *entry, bool *needed, struct error *err)
{
    const struct victim *victim = copy->victim;
    struct index_stored stored;
    enum coffer_status status;

    *needed = false;
    if (entry->remove && entry->lsn <= victim->oldest_elsewhere)
        return COFFER_OK;
    status = index_find_stored(
        copy->run->engine->index, &copy->batch.partition, entry->key, &stored, err);
    if (status != COFFER_OK && status != COFFER_NO_SUCH_CHUNK)
        return status;
    *needed = entry->remove ? status == COFFER_NO_SUCH_CHUNK
                            : status == COFFER_OK && stored.lsn == entry->lsn &&
                                  stored.pack == victim->pack->id;
    return COFFER_OK;
}

static enum coffer_status copy_entries(struct batch_copy *copy, struct error *err)
{
    const uint8_t *from = copy->batch.entries;
    enum coffer_status status = COFFER_OK;

    for (size_t i = 0; i < copy->batch.entry_count && status == COFFER_OK; i++) {
        struct batch_entry entry;
        const uint8_t *next = batch_entry_at(&copy->batch, from, &entry);
        size_t size = (size_t)(next - from);
        bool needed;

        status = is_needed(copy, &entry, &needed, err);
        if (status == COFFER_OK && needed) {
            memcpy(copy->at, from, size); /* the LSN of the record is the same */
            copy->at += size;
            copy->tail.entry_count++;
            copy->living += entry.remove ? 0 : size;
        }
        from = next;
    }
    return status;
}

/* Those of blocks that live, and one of its own block if nothing else says that it is claimed. */
static enum coffer_status copy_claims(struct batch_copy *copy, bool has_block, struct error *err)
{
    const struct batch *batch = &copy->batch;
    struct index *index = copy->run->engine->index;
    enum coffer_status status = COFFER_OK;

    for (size_t i = 0; i < batch->claim_count && status == COFFER_OK; i++) {
        struct block_id block = batch_reference(batch->claims, i);
        struct engine_row row;

        status = index_find_block(index, &batch->partition, &block, &row, err);
        if (status == COFFER_OK) {
            copy->at = batch_references_encode(&block, 1, copy->at);
            copy->tail.claim_count++;
        } else if (status == COFFER_NO_SUCH_CHUNK) {
            status = COFFER_OK;
        }
    }
    if (status == COFFER_OK && has_block && copy->tail.entry_count == 0) {
        bool staged;

        status = index_find_staged(index, &batch->partition, &batch->block, &staged, err);
        if (status == COFFER_OK && !staged) {
            copy->at = batch_references_encode(&batch->block, 1, copy->at);
            copy->tail.claim_count++;
        }
    }
    return status;
}

static void copy_drops(struct batch_copy *copy)
{
    const struct batch *batch = &copy->batch;

    if (batch->lsn <= copy->victim->oldest_elsewhere)
        return;
    memcpy(copy->at, batch->drops, batch->drop_count * BATCH_REFERENCE_SIZE);
    copy->at += batch->drop_count * BATCH_REFERENCE_SIZE;
    copy->tail.drop_count = batch->drop_count;
}

static enum coffer_status copy_batch(
    struct compact_run *run, const struct victim *victim, struct error *err)
{
    const struct pack_scan_item *item = &victim->item;
    struct record_header header = item->header;
    struct batch_copy copy = {.run = run, .victim = victim};
    enum coffer_status status;
    uint8_t *payload = NULL;
    bool has_block;

    if (item->payload == NULL ||
        batch_decode(&header, slice_of(item->payload, (size_t)header.stored_size), &copy.batch,
            NULL) != COFFER_OK) {
        damaged(run, victim);
        return COFFER_OK;
    }
    status = room(run, header.stored_size + BATCH_REFERENCE_SIZE, &payload, err);
    if (status != COFFER_OK)
        return status;
    copy.at = payload;
    status = copy_content(&copy, &header, err);
    has_block = status == COFFER_OK && block_of_key(header.key, &copy.batch.block);
    if (status == COFFER_OK)
        status = copy_entries(&copy, err);
    if (status == COFFER_OK)
        status = copy_claims(&copy, has_block, err);
    if (status != COFFER_OK)
        return status;
    copy_drops(&copy);
    if (!has_block && copy.at == payload)
        return COFFER_OK;
    batch_tail_encode(&copy.tail, copy.at);
    header.stored_size = (uint64_t)(copy.at - payload) + BATCH_TAIL_SIZE;
    add(run, victim, header, copy.living);
    return COFFER_OK;
}

enum coffer_status compact_copy(
    struct compact_run *run, const struct victim *victim, struct error *err)
{
    switch (victim->item.header.type) {
    case RECORD_CHUNK:
    case RECORD_MANIFEST:
        return copy_chunk(run, victim, err);
    case RECORD_SEGMENT:
        return copy_segment(run, victim, err);
    case RECORD_TOMBSTONE:
        return copy_tombstone(run, victim, err);
    case RECORD_SEAL:
        return COFFER_OK;
    case RECORD_BATCH:
        return copy_batch(run, victim, err);
    case RECORD_DROP:
        return copy_drop(run, victim, err);
    }
    return COFFER_OK;
}
