#include "storage/pack/replay.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "storage/base/bytes.h"
#include "storage/base/fault.h"
#include "storage/base/invariant.h"
#include "storage/pack/partition_apply.h"

/* ---- scanning ---- */

void replay_remember(struct replay *replay, uint64_t offset)
{
    if (replay->offset_count == replay->offset_capacity) {
        replay->offset_capacity =
            replay->offset_capacity < 1024 ? 1024 : 2 * replay->offset_capacity;
        replay->offsets = realloc(replay->offsets, replay->offset_capacity * sizeof(uint32_t));
        invariant(replay->offsets != NULL);
    }
    replay->offsets[replay->offset_count++] = (uint32_t)(offset / RECORD_ALIGNMENT);
}

/* Whether what is at `offset` was durable once: a later record says so. */
static enum coffer_status was_durable(
    struct replay *replay, uint64_t offset, uint64_t from, bool *durable, struct error *err)
{
    struct pack_scan *scan = pack_scan_begin(replay->pack->fd, replay->name, replay->pack->nonce,
        from, replay->file_size, SCAN_PAYLOADS_SMALL);
    struct pack_scan_item item = {.kind = PACK_SCAN_RECORD};
    enum coffer_status status = COFFER_OK;

    *durable = false;
    while (!*durable && status == COFFER_OK && item.kind != PACK_SCAN_END) {
        status = pack_scan_next(scan, &item, err);
        if (status == COFFER_OK && item.kind == PACK_SCAN_RECORD &&
            (item.header.durable > offset || item.header.type == RECORD_SEAL))
            *durable = true;
    }
    pack_scan_end(scan);
    return status;
}

/* The item is a gap or has a bad payload. *keep: give it a row all the same. */
static enum coffer_status judge(
    struct recovery *recovery, struct replay *replay, bool *keep, struct error *err)
{
    const struct pack_scan_item *item = &replay->item;
    bool durable = false;
    enum coffer_status status =
        was_durable(replay, item->offset, item->offset + item->size, &durable, err);

    *keep = durable && item->kind == PACK_SCAN_RECORD;
    replay->torn = replay->torn || !durable;
    if (durable)
        local_count_damage(recovery->engine, replay->pack->id, item->offset,
            item->kind == PACK_SCAN_GAP ? "no record can be read here"
                                        : "the content of a record fails its checksum");
    return status;
}

/* The next record of the pack that counts, or its end. */
static enum coffer_status advance(
    struct recovery *recovery, struct replay *replay, struct error *err)
{
    for (;;) {
        struct pack_scan_item *item = &replay->item;
        bool keep = true;
        enum coffer_status status = pack_scan_next(replay->scan, item, err);

        if (status != COFFER_OK)
            return status;
        if (item->kind == PACK_SCAN_END) {
            pack_scan_end(replay->scan);
            replay->scan = NULL;
            replay->ended = true;
            return COFFER_OK;
        }
        if (item->kind == PACK_SCAN_GAP || !item->payload_good) {
            status = judge(recovery, replay, &keep, err);
            if (status != COFFER_OK)
                return status;
        }
        if (item->kind == PACK_SCAN_RECORD && keep) {
            replay->holed = replay->holed || replay->torn;
            replay_remember(replay, item->offset);
            return COFFER_OK;
        }
    }
}

static enum coffer_status begin(struct recovery *recovery, struct replay *replay, struct error *err)
{
    int fault = fault_errno(FAULT_PACK_SYNC);

    replay->begun = true;
    errno = fault;
    if (fault != 0 || fdatasync(replay->pack->fd) != 0)
        return error_errno(err, "sync pack %s", replay->name);
    replay->scan = pack_scan_begin(replay->pack->fd, replay->name, replay->pack->nonce,
        replay->row.end, replay->file_size, SCAN_PAYLOADS_ALL);
    return advance(recovery, replay, err);
}

/* ---- applying ---- */

static enum coffer_status write_batch(struct recovery *recovery, struct error *err)
{
    enum coffer_status status;

    for (size_t i = 0; i < recovery->count; i++)
        if (recovery->replays[i].begun)
            index_batch_put_pack(
                recovery->applier.batch, recovery->replays[i].pack->id, &recovery->replays[i].row);
    status = apply_write(&recovery->applier, err);
    recovery->batched = 0;
    touched_clear(&recovery->touched);
    return status;
}

/* Before a record of `key` is applied. */
static enum coffer_status room_for(struct recovery *recovery, const uint8_t *key, struct error *err)
{
    enum coffer_status status = COFFER_OK;
    uint64_t mark = get_le64(key);

    if (recovery->batched >= BATCH_RECORDS_MAX || touched_has(&recovery->touched, mark))
        status = write_batch(recovery, err);
    touched_add(&recovery->touched, mark);
    recovery->batched++;
    return status;
}

static enum coffer_status room_for_batch(
    struct recovery *recovery, const struct batch *batch, struct error *err)
{
    enum coffer_status status = COFFER_OK;

    if (recovery->batched >= BATCH_RECORDS_MAX || batch_is_touched(batch, &recovery->touched))
        status = write_batch(recovery, err);
    batch_touch(batch, &recovery->touched);
    recovery->batched += 1 + batch->entry_count;
    return status;
}

static enum coffer_status apply_tombstone(
    struct recovery *recovery, const struct pack_scan_item *item, struct error *err)
{
    const struct key_source keys = key_source_array((const struct digest *)item->payload,
        item->payload == NULL ? 0 : (size_t)(item->header.stored_size / DIGEST_SIZE));
    enum coffer_status status = write_batch(recovery, err);
    uint64_t deleted;

    if (status == COFFER_OK)
        status = apply_delete_all(&recovery->applier, &keys, item->header.lsn, &deleted, err);
    recovery->batched = BATCH_RECORDS_MAX; /* its keys are not marked as touched: write it next */
    return status;
}

static enum coffer_status apply_drop_record(
    struct recovery *recovery, const struct pack_scan_item *item, struct error *err)
{
    enum coffer_status status = write_batch(recovery, err);
    struct partition_id partition;

    partition_of_key(item->header.key, &partition);
    if (status == COFFER_OK)
        status = apply_drop(&recovery->applier, &partition, item->header.lsn, err);
    recovery->batched = BATCH_RECORDS_MAX; /* as with a tombstone */
    return status;
}

/* A batch whose payload cannot be read: what it did to rows is lost. Its block gets a row that
 * leads to the whole payload, which has not the checksum of the header, so that a read says so. */
static enum coffer_status apply_damaged_batch(struct recovery *recovery, struct engine_row *row,
    uint64_t size, const uint8_t *key, struct error *err)
{
    struct partition_id partition;
    struct block_id block;
    enum coffer_status status = write_batch(recovery, err);

    if (status != COFFER_OK)
        return status;
    recovery->batched = BATCH_RECORDS_MAX;
    partition_of_key(key, &partition);
    if (block_of_key(key, &block) && (row->codec != CODEC_NONE || row->size <= row->stored_size)) {
        apply_dead(&recovery->applier, row->pack, size - row->stored_size);
        return apply_damaged_block(&recovery->applier, &partition, &block, row, err);
    }
    apply_dead(&recovery->applier, row->pack, size);
    return COFFER_OK;
}

static enum coffer_status apply_batch_record(struct recovery *recovery,
    const struct pack_scan_item *item, struct engine_row *row, struct error *err)
{
    struct batch batch;
    enum coffer_status status;

    if (item->payload == NULL)
        return apply_damaged_batch(recovery, row, item->size, item->header.key, err);
    if (batch_decode(&item->header, slice_of(item->payload, (size_t)item->header.stored_size),
            &batch, NULL) != COFFER_OK) {
        local_count_damage(recovery->engine, row->pack, item->offset, "a batch cannot be read");
        row->checksum = ~row->checksum;
        return apply_damaged_batch(recovery, row, item->size, item->header.key, err);
    }
    status = room_for_batch(recovery, &batch, err);
    return status == COFFER_OK
               ? apply_batch(&recovery->applier, &batch, row->pack, item->offset, NULL, err)
               : status;
}

static enum coffer_status apply_manifest_record(struct recovery *recovery,
    const struct pack_scan_item *item, struct engine_row *row, struct error *err)
{
    struct manifest manifest;
    struct digest key;
    enum coffer_status status;

    memcpy(key.bytes, item->header.key, DIGEST_SIZE);
    status = room_for(recovery, key.bytes, err);
    if (status != COFFER_OK)
        return status;
    /* Damaged: its row leads to a bad checksum, which tells who reads it, or sends it again. */
    if (item->payload == NULL || manifest_decode(item->payload, (size_t)item->header.stored_size,
                                     &manifest, NULL) != COFFER_OK)
        return apply_chunk(&recovery->applier, &key, row, true, err);
    row->segmented = true;
    row->size = manifest.size;
    row->stored_size = manifest.stored_size;
    row->segment_size = manifest.segment_size;
    memcpy(row->upload.bytes, manifest.upload, UPLOAD_ID_SIZE);
    return apply_manifest(&recovery->applier, &key, row, true, err);
}

static enum coffer_status apply_item(
    struct recovery *recovery, struct replay *replay, struct error *err)
{
    const struct pack_scan_item *item = &replay->item;
    const struct record_header *header = &item->header;
    struct engine_row row = {.size = header->raw_size,
        .stored_size = header->stored_size,
        .codec = header->codec,
        .pack = replay->pack->id,
        .offset = item->offset,
        .lsn = header->lsn,
        .checksum = header->checksum};
    struct upload_id upload;
    struct digest key;
    enum coffer_status status = COFFER_OK;

    switch (header->type) {
    case RECORD_CHUNK:
        memcpy(key.bytes, header->key, DIGEST_SIZE);
        status = room_for(recovery, key.bytes, err);
        if (status == COFFER_OK)
            status = apply_chunk(&recovery->applier, &key, &row, true, err);
        break;
    case RECORD_SEGMENT:
        memcpy(upload.bytes, header->key, UPLOAD_ID_SIZE);
        status = room_for(recovery, header->key + UPLOAD_ID_SIZE, err);
        if (status == COFFER_OK)
            status = apply_segment(&recovery->applier, &upload,
                get_be64(header->key + UPLOAD_ID_SIZE), &row, true, err);
        break;
    case RECORD_MANIFEST:
        status = apply_manifest_record(recovery, item, &row, err);
        break;
    case RECORD_TOMBSTONE:
        status = apply_tombstone(recovery, item, err);
        apply_dead(&recovery->applier, replay->pack->id, item->size);
        break;
    case RECORD_SEAL:
        apply_dead(&recovery->applier, replay->pack->id, item->size);
        replay->row.state = PACK_SEALED;
        break;
    case RECORD_BATCH:
        status = apply_batch_record(recovery, item, &row, err);
        break;
    case RECORD_DROP:
        status = apply_drop_record(recovery, item, err);
        apply_dead(&recovery->applier, replay->pack->id, item->size);
        break;
    }
    if (status != COFFER_OK)
        return status;
    if (item->offset > replay->row.end) /* a hole that nothing refers to */
        apply_dead(&recovery->applier, replay->pack->id, item->offset - replay->row.end);
    replay->row.end = replay->good_end = item->offset + item->size;
    replay->row.last_lsn = header->lsn;
    replay->row.records++;
    recovery->last_lsn = max_u64(recovery->last_lsn, header->lsn);
    recovery->applied++;
    return COFFER_OK;
}

/* The pack whose next record has the lowest LSN; packs are begun only when their turn may come. */
static enum coffer_status pick(struct recovery *recovery, struct replay **out, struct error *err)
{
    struct replay *lowest = NULL;

    for (size_t i = 0; i < recovery->count; i++) {
        struct replay *replay = &recovery->replays[i];

        if (!replay->begun && (lowest == NULL || replay->base_lsn <= lowest->item.header.lsn)) {
            enum coffer_status status = begin(recovery, replay, err);

            if (status != COFFER_OK)
                return status;
        }
        if (replay->begun && !replay->ended &&
            (lowest == NULL || replay->item.header.lsn < lowest->item.header.lsn))
            lowest = replay;
    }
    *out = lowest;
    return COFFER_OK;
}

enum coffer_status replay_all(struct recovery *recovery, struct error *err)
{
    enum coffer_status status;

    for (;;) {
        struct replay *replay;

        status = pick(recovery, &replay, err);
        if (status != COFFER_OK || replay == NULL)
            break;
        status = apply_item(recovery, replay, err);
        if (status == COFFER_OK)
            status = advance(recovery, replay, err);
        if (status != COFFER_OK)
            break;
    }
    return status == COFFER_OK ? write_batch(recovery, err) : status;
}
