/*
 * The index against the packs, both ways.
 */
#include <string.h>

#include "storage/base/bytes.h"
#include "storage/base/invariant.h"
#include "storage/index/index_partition.h"
#include "storage/io/file.h"
#include "storage/io/record_sorter.h"
#include "storage/pack/validate_parts.h"

enum { ROWS_AT_ONCE = 1024, PLACES_AT_ONCE = 256 };

struct place {                  /* sorted as bytes */
    uint8_t pack[8], offset[8]; /* big-endian */
    struct digest key;
};

/* ---- from a record to its rows ---- */

static enum coffer_status find_row(struct validate *validate, const struct pack_scan_item *item,
    struct engine_row *row, struct error *err)
{
    const uint8_t *key = item->header.key;
    struct upload_id upload;
    struct digest digest;

    if (item->header.type == RECORD_SEGMENT) {
        memcpy(upload.bytes, key, UPLOAD_ID_SIZE);
        return index_find_segment(
            validate->engine->index, &upload, get_be64(key + UPLOAD_ID_SIZE), row, err);
    }
    memcpy(digest.bytes, key, DIGEST_SIZE);
    return index_find_chunk(validate->engine->index, &digest, row, err);
}

static bool says_the_same(const struct pack_scan_item *item, const struct engine_row *row)
{
    const struct record_header *header = &item->header;

    if (row->lsn != header->lsn)
        return false;
    if (header->type == RECORD_MANIFEST)
        return row->segmented;
    return !row->segmented && row->size == header->raw_size &&
           row->stored_size == header->stored_size && row->checksum == header->checksum &&
           row->codec == header->codec;
}

static enum coffer_status look_at_row(struct validate *validate, uint64_t pack,
    const struct pack_scan_item *item, uint64_t *dead, struct error *err)
{
    struct engine_damage damage = {.pack = pack,
        .offset = item->offset,
        .owner = item->header.type == RECORD_SEGMENT ? OWNER_SEGMENT : OWNER_CHUNK,
        .what = "the index says something else of the record than its header"};
    struct engine_row row;
    enum coffer_status status = find_row(validate, item, &row, err);

    if (status != COFFER_OK && status != COFFER_NO_SUCH_CHUNK)
        return status;
    if (status == COFFER_NO_SUCH_CHUNK || row.pack != pack || row.offset != item->offset) {
        *dead = item->size;
        return COFFER_OK;
    }
    if (!says_the_same(item, &row)) {
        memcpy(damage.key.bytes, item->header.key, DIGEST_SIZE);
        validate_report(validate, &damage);
    }
    return COFFER_OK;
}

static enum coffer_status look_at_batch(struct validate *validate, uint64_t pack,
    const struct pack_scan_item *item, uint64_t *dead, struct error *err)
{
    struct engine_damage damage = {.pack = pack,
        .offset = item->offset,
        .owner = OWNER_PARTITION,
        .what = "the record is no batch that can be read"};
    struct index *index = validate->engine->index;
    enum coffer_status status = COFFER_OK;
    struct engine_row row;
    struct batch batch;
    const uint8_t *at;

    partition_of_key(item->header.key, &damage.partition);
    if (item->payload == NULL ||
        batch_decode(&item->header, slice_of(item->payload, (size_t)item->header.stored_size),
            &batch, NULL) != COFFER_OK) {
        validate_report(validate, &damage);
        return COFFER_OK;
    }
    *dead = item->size;
    if (batch.has_block)
        status = index_find_block(index, &batch.partition, &batch.block, &row, err);
    if (batch.has_block && status == COFFER_OK && row.pack == pack && row.offset == item->offset) {
        *dead -= batch.stored_size;
        damage.what = "the index says something else of the block than its record";
        if (row.checksum != batch.checksum || row.stored_size != batch.stored_size ||
            row.size != batch.raw_size)
            validate_report(validate, &damage);
    }
    at = batch.entries;
    for (size_t i = 0;
         i < batch.entry_count && (status == COFFER_OK || status == COFFER_NO_SUCH_CHUNK); i++) {
        struct batch_entry entry;
        struct index_stored stored;

        at = batch_entry_at(&batch, at, &entry);
        if (entry.remove)
            continue;
        status = index_find_stored(index, &batch.partition, entry.key, &stored, err);
        if (status == COFFER_OK && stored.lsn == entry.lsn && stored.pack == pack)
            *dead -= batch_entry_size(entry.key.size, entry.value.size);
    }
    return status == COFFER_NO_SUCH_CHUNK ? COFFER_OK : status;
}

enum coffer_status validate_references(struct validate *validate, uint64_t pack,
    const struct pack_scan_item *item, uint64_t *dead, struct error *err)
{
    *dead = 0;
    switch (item->header.type) {
    case RECORD_CHUNK:
    case RECORD_MANIFEST:
    case RECORD_SEGMENT:
        return look_at_row(validate, pack, item, dead, err);
    case RECORD_BATCH:
        return look_at_batch(validate, pack, item, dead, err);
    case RECORD_TOMBSTONE:
    case RECORD_DROP:
    case RECORD_SEAL:
        break;
    }
    *dead = item->size;
    return COFFER_OK;
}

enum coffer_status validate_owner(struct validate *validate, uint64_t pack,
    const struct pack_scan_item *item, struct engine_damage *damage, struct error *err)
{
    struct engine_row row;
    enum coffer_status status;

    if (item->header.type == RECORD_BATCH) {
        struct block_id block;

        partition_of_key(item->header.key, &damage->partition);
        /* Which rows it had nobody can say. */
        if (!block_of_key(item->header.key, &block))
            return COFFER_OK;
        status = index_find_block(validate->engine->index, &damage->partition, &block, &row, err);
        if (status == COFFER_OK && row.pack == pack && row.offset == item->offset)
            damage->owner = OWNER_PARTITION;
        return status == COFFER_NO_SUCH_CHUNK ? COFFER_OK : status;
    }
    if (item->header.type != RECORD_CHUNK && item->header.type != RECORD_MANIFEST &&
        item->header.type != RECORD_SEGMENT)
        return COFFER_OK;
    status = find_row(validate, item, &row, err);
    if (status == COFFER_OK && row.pack == pack && row.offset == item->offset) {
        damage->owner = item->header.type == RECORD_SEGMENT ? OWNER_SEGMENT : OWNER_CHUNK;
        memcpy(damage->key.bytes, item->header.key, DIGEST_SIZE);
    }
    return status == COFFER_NO_SUCH_CHUNK ? COFFER_OK : status;
}

/* ---- from a row to its record ---- */

static bool is_record_of(const struct pack *pack, const struct place *place)
{
    uint8_t bytes[RECORD_HEADER_SIZE];
    struct record_header header;

    return file_read_at(pack->fd, bytes, sizeof(bytes), get_be64(place->offset), "a pack", NULL) ==
               COFFER_OK &&
           record_header_decode(bytes, pack->nonce, &header) &&
           (header.type == RECORD_CHUNK || header.type == RECORD_MANIFEST) &&
           memcmp(header.key, place->key.bytes, DIGEST_SIZE) == 0;
}

/* It may have been moved or deleted since the rows were read. */
static enum coffer_status report_missing(
    struct validate *validate, const struct place *place, struct error *err)
{
    struct engine_damage damage = {.pack = get_be64(place->pack),
        .offset = get_be64(place->offset),
        .owner = OWNER_CHUNK,
        .key = place->key,
        .missing = true,
        .what = "the index leads to a place without its record"};
    struct engine_row row;
    enum coffer_status status = index_find_chunk(validate->engine->index, &place->key, &row, err);

    if (status == COFFER_OK && row.pack == damage.pack && row.offset == damage.offset)
        validate_report(validate, &damage);
    return status == COFFER_NO_SUCH_CHUNK ? COFFER_OK : status;
}

static enum coffer_status follow(
    struct validate *validate, struct record_sorter *sorter, struct error *err)
{
    struct place places[PLACES_AT_ONCE];
    struct pack *pack = NULL;
    size_t count = PLACES_AT_ONCE;
    enum coffer_status status = COFFER_OK;

    while (status == COFFER_OK && count == PLACES_AT_ONCE) {
        status = record_sorter_next(sorter, places, PLACES_AT_ONCE, &count, err);
        if (status == COFFER_OK)
            status = validate_keep_pace(validate, err);
        for (size_t i = 0; i < count && status == COFFER_OK; i++) {
            uint64_t id = get_be64(places[i].pack);

            if (pack != NULL && pack->id != id) {
                pack_set_unpin(validate->engine->packs, pack);
                pack = NULL;
            }
            if (pack == NULL && pack_set_pin(validate->engine->packs, id, &pack, NULL) != COFFER_OK)
                pack = NULL;
            if (pack == NULL || !is_record_of(pack, &places[i]))
                status = report_missing(validate, &places[i], err);
            validate->validation->chunks++;
        }
    }
    if (pack != NULL)
        pack_set_unpin(validate->engine->packs, pack);
    return status;
}

static enum coffer_status sort_rows(
    struct validate *validate, struct record_sorter *sorter, struct error *err)
{
    struct digest keys[ROWS_AT_ONCE];
    struct engine_row rows[ROWS_AT_ONCE];
    size_t found = ROWS_AT_ONCE;
    enum coffer_status status = COFFER_OK;
    struct digest after;

    for (bool first = true; status == COFFER_OK && found == ROWS_AT_ONCE; first = false) {
        status = index_scan_chunks(
            validate->engine->index, first ? NULL : &after, keys, rows, ROWS_AT_ONCE, &found, err);
        for (size_t i = 0; i < found && status == COFFER_OK; i++) {
            struct place place = {.key = keys[i]};

            put_be64(place.pack, rows[i].pack);
            put_be64(place.offset, rows[i].offset);
            status = record_sorter_add(sorter, &place, err);
        }
        if (found > 0)
            after = keys[found - 1];
        if (status == COFFER_OK)
            status = validate_keep_pace(validate, err);
    }
    return status == COFFER_OK ? record_sorter_finish(sorter, err) : status;
}

enum coffer_status validate_rows(struct validate *validate, struct error *err)
{
    struct record_sorter *sorter =
        record_sorter_create(sizeof(struct place), validate->validation->place);
    enum coffer_status status = sort_rows(validate, sorter, err);

    if (status == COFFER_OK)
        status = follow(validate, sorter, err);
    record_sorter_destroy(sorter);
    return status;
}
