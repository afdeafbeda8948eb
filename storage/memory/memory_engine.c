/*
 * Two sorted tables, of chunks and of segments, and the partitions, under one lock.
 */
#include "storage/memory/memory_engine.h"

#include <stdlib.h>
#include <string.h>

#include "storage/base/bytes.h"
#include "storage/base/checksum.h"
#include "storage/base/invariant.h"
#include "storage/base/lock.h"
#include "storage/memory/memory_partition.h"
#include "storage/memory/memory_table.h"

struct memory {
    struct engine base;
    struct lock lock;
    struct table chunks, segments;       /* (lock) */
    struct memory_partitions partitions; /* (lock) */
    uint64_t next_lsn;                   /* (lock) */
};

static struct memory *memory_of(struct engine *base)
{
    return container_of(base, struct memory, base);
}

static void segment_key(const struct upload_id *upload, uint64_t segment, uint8_t out[DIGEST_SIZE])
{
    memcpy(out, upload->bytes, UPLOAD_ID_SIZE);
    put_be64(out + UPLOAD_ID_SIZE, segment);
}

/* ---- operations ---- */

static void fill_content(struct memory *memory, struct entry *entry, const struct engine_op *op)
{
    entry->content = content_create(op->body, op->size);
    entry->row = (struct engine_row){.size = op->size,
        .stored_size = op->size,
        .lsn = memory->next_lsn++,
        .checksum = checksum_once(op->body, op->size)};
}

static void forget_segments(struct memory *memory, const struct upload_id *upload, uint64_t count)
{
    for (uint64_t i = 0; i < count; i++) {
        uint8_t key[DIGEST_SIZE];

        segment_key(upload, i, key);
        table_remove(&memory->segments, key);
    }
}

static bool forget_chunk(struct memory *memory, const struct digest *key)
{
    struct entry *entry = table_find(&memory->chunks, key->bytes);

    if (entry == NULL)
        return false;
    if (entry->row.segmented)
        forget_segments(
            memory, &entry->row.upload, segment_count(entry->row.size, entry->row.segment_size));
    table_remove(&memory->chunks, key->bytes);
    return true;
}

static void apply_batch(struct memory *memory, struct engine_op *op)
{
    struct memory_partition *partition =
        partitions_find_or_make(&memory->partitions, &op->partition);
    uint8_t key[DIGEST_SIZE];

    if (op->has_block) {
        struct entry entry = {.staged = op->change_count == 0};

        partition_block_key(&op->block, entry.key);
        fill_content(memory, &entry, op);
        op->stored_size = op->size;
        table_put(&partition->blocks, &entry);
    }
    for (size_t i = 0; i < op->change_count; i++) {
        invariant(op->changes[i].key.size >= 1 && op->changes[i].key.size <= ENGINE_ROW_KEY_MAX &&
                  op->changes[i].value.size <= ENGINE_ROW_VALUE_MAX);
        partition_change(partition, &op->changes[i]);
    }
    for (size_t i = 0; i < op->claim_count; i++) {
        struct entry *entry;

        partition_block_key(&op->claims[i], key);
        entry = table_find(&partition->blocks, key);
        if (entry != NULL)
            entry->staged = false;
    }
    for (size_t i = 0; i < op->drop_count; i++) {
        partition_block_key(&op->drops[i], key);
        table_remove(&partition->blocks, key);
    }
}

/* `keys` are those of a DELETE, read before the lock was taken. */
static void apply(struct memory *memory, struct engine_op *op, const struct digest *keys)
{
    struct entry entry = {.content = NULL};

    switch (op->kind) {
    case ENGINE_PUT:
        memcpy(entry.key, op->key.bytes, DIGEST_SIZE);
        fill_content(memory, &entry, op);
        op->stored_size = op->size;
        table_put(&memory->chunks, &entry);
        break;
    case ENGINE_SEGMENT:
        segment_key(&op->upload, op->segment, entry.key);
        fill_content(memory, &entry, op);
        op->stored_size = op->size;
        table_put(&memory->segments, &entry);
        break;
    case ENGINE_MANIFEST:
        memcpy(entry.key, op->key.bytes, DIGEST_SIZE);
        entry.row = (struct engine_row){.size = op->size,
            .stored_size = op->stored_size,
            .segmented = true,
            .lsn = memory->next_lsn++,
            .upload = op->upload,
            .segment_size = op->segment_size};
        (void)forget_chunk(memory, &op->key);
        table_put(&memory->chunks, &entry);
        break;
    case ENGINE_DELETE:
        invariant(keys != NULL);
        op->deleted = 0;
        for (uint64_t i = 0; i < op->keys.count; i++)
            op->deleted += forget_chunk(memory, &keys[i]);
        break;
    case ENGINE_BATCH:
        apply_batch(memory, op);
        break;
    case ENGINE_DROP:
        partitions_drop(&memory->partitions, &op->partition);
        break;
    }
}

static enum coffer_status load_keys(
    const struct engine_op *op, struct digest **keys, struct error *err)
{
    *keys = calloc(op->keys.count + 1, sizeof(struct digest));
    if (*keys == NULL)
        return error_set(err, COFFER_OVERLOADED, "no memory to delete so many chunks");
    return key_source_read(&op->keys, 0, op->keys.count, *keys, err);
}

static enum coffer_status memory_commit(
    struct engine *base, unsigned lane, struct engine_op **ops, size_t count, struct error *err)
{
    struct memory *memory = memory_of(base);
    enum coffer_status first = COFFER_OK;

    (void)lane;
    for (size_t i = 0; i < count; i++) {
        struct digest *keys = NULL;

        ops[i]->status = ops[i]->kind == ENGINE_DELETE ? load_keys(ops[i], &keys, err) : COFFER_OK;
        if (ops[i]->status == COFFER_OK) {
            lock_take(&memory->lock);
            apply(memory, ops[i], keys);
            lock_drop(&memory->lock);
        }
        first = first == COFFER_OK ? ops[i]->status : first;
        free(keys);
    }
    return first;
}

static void memory_lane_idle(struct engine *base, unsigned lane)
{
    (void)base;
    (void)lane;
}

static enum coffer_status find_in(
    struct memory *memory, const struct table *table, const uint8_t *key, struct engine_row *row)
{
    const struct entry *entry;

    lock_take(&memory->lock);
    entry = table_find(table, key);
    if (entry != NULL)
        *row = entry->row;
    lock_drop(&memory->lock);
    return entry != NULL ? COFFER_OK : COFFER_NO_SUCH_CHUNK;
}

static enum coffer_status memory_find(
    struct engine *base, const struct digest *key, struct engine_row *row, struct error *err)
{
    (void)err;
    return find_in(memory_of(base), &memory_of(base)->chunks, key->bytes, row);
}

static enum coffer_status memory_find_many(struct engine *base, const struct digest *keys,
    size_t count, struct engine_row *rows, bool *found, struct error *err)
{
    struct engine_row ignored;

    for (size_t i = 0; i < count; i++)
        found[i] =
            memory_find(base, &keys[i], rows != NULL ? &rows[i] : &ignored, err) == COFFER_OK;
    return COFFER_OK;
}

static enum coffer_status memory_find_segment(struct engine *base, const struct upload_id *upload,
    uint64_t segment, struct engine_row *row, struct error *err)
{
    uint8_t key[DIGEST_SIZE];

    (void)err;
    segment_key(upload, segment, key);
    return find_in(memory_of(base), &memory_of(base)->segments, key, row);
}

static enum coffer_status memory_pin(struct engine *base, const struct engine_row *row,
    struct engine_source *source, struct error *err)
{
    struct memory *memory = memory_of(base);
    struct entry *entry;

    lock_take(&memory->lock);
    entry = table_find_lsn(&memory->chunks, row->lsn);
    if (entry == NULL)
        entry = table_find_lsn(&memory->segments, row->lsn);
    if (entry == NULL)
        entry = partitions_find_lsn(&memory->partitions, row->lsn);
    if (entry != NULL) {
        entry->content->references++;
        *source = (struct engine_source){
            .memory = entry->content->bytes, .fd = -1, .pin = entry->content};
    }
    lock_drop(&memory->lock);
    return entry != NULL ? COFFER_OK
                         : error_set(err, COFFER_NO_SUCH_CHUNK, "it was deleted meanwhile");
}

static void memory_unpin(struct engine *base, struct engine_source *source)
{
    struct memory *memory = memory_of(base);

    lock_take(&memory->lock);
    content_drop(source->pin);
    lock_drop(&memory->lock);
}

static enum coffer_status memory_scan(struct engine *base, const struct digest *after,
    struct digest *keys, struct engine_row *rows, size_t count, size_t *found, struct error *err)
{
    struct memory *memory = memory_of(base);
    size_t at = 0;

    (void)err;
    *found = 0;
    lock_take(&memory->lock);
    if (after != NULL) {
        at = table_place(&memory->chunks, after->bytes);
        if (at < memory->chunks.count &&
            memcmp(memory->chunks.entries[at].key, after->bytes, DIGEST_SIZE) == 0)
            at++;
    }
    for (; at < memory->chunks.count && *found < count; at++, (*found)++) {
        memcpy(keys[*found].bytes, memory->chunks.entries[at].key, DIGEST_SIZE);
        rows[*found] = memory->chunks.entries[at].row;
    }
    lock_drop(&memory->lock);
    return COFFER_OK;
}

static enum coffer_status memory_row_get(struct engine *base, const struct partition_id *id,
    struct slice key, void **value, size_t *size, bool *found, struct error *err)
{
    struct memory *memory = memory_of(base);
    const struct memory_partition *partition;
    const struct memory_row *row = NULL;

    (void)err;
    lock_take(&memory->lock);
    partition = partitions_find(&memory->partitions, id);
    if (partition != NULL)
        row = partition_row(partition, key);
    *found = row != NULL;
    if (row != NULL) {
        uint8_t *copy = malloc(row->value_size + 1);

        invariant(copy != NULL);
        memcpy(copy, row->bytes + row->key_size, row->value_size);
        copy[row->value_size] = 0;
        *value = copy;
        *size = row->value_size;
    }
    lock_drop(&memory->lock);
    return COFFER_OK;
}

static enum coffer_status memory_row_scan(struct engine *base, const struct partition_id *id,
    struct slice prefix, struct slice from, bool backwards,
    bool (*visit)(void *context, struct slice key, struct slice value), void *context,
    struct error *err)
{
    struct memory *memory = memory_of(base);
    const struct memory_partition *partition;

    (void)err;
    lock_take(&memory->lock);
    partition = partitions_find(&memory->partitions, id);
    if (partition != NULL)
        partition_scan(partition, prefix, from, backwards, visit, context);
    lock_drop(&memory->lock);
    return COFFER_OK;
}

static uint64_t memory_next_number(struct engine *base)
{
    struct memory *memory = memory_of(base);
    uint64_t number;

    lock_take(&memory->lock);
    number = memory->next_lsn++;
    lock_drop(&memory->lock);
    return number;
}

static enum coffer_status memory_find_block(struct engine *base, const struct partition_id *id,
    const struct block_id *block, struct engine_row *row, struct error *err)
{
    struct memory *memory = memory_of(base);
    const struct memory_partition *partition;
    const struct entry *entry = NULL;
    uint8_t key[DIGEST_SIZE];

    (void)err;
    partition_block_key(block, key);
    lock_take(&memory->lock);
    partition = partitions_find(&memory->partitions, id);
    if (partition != NULL)
        entry = table_find(&partition->blocks, key);
    if (entry != NULL)
        *row = entry->row;
    lock_drop(&memory->lock);
    return entry != NULL ? COFFER_OK : COFFER_NO_SUCH_CHUNK;
}

static enum coffer_status memory_drop_blocks(struct engine *base, const struct partition_id *id,
    const struct block_id *blocks, size_t count, struct error *err)
{
    struct memory *memory = memory_of(base);
    struct memory_partition *partition;

    (void)err;
    lock_take(&memory->lock);
    partition = partitions_find(&memory->partitions, id);
    for (size_t i = 0; partition != NULL && i < count; i++) {
        uint8_t key[DIGEST_SIZE];
        const struct entry *entry;

        partition_block_key(&blocks[i], key);
        entry = table_find(&partition->blocks, key);
        if (entry != NULL && entry->staged)
            table_remove(&partition->blocks, key);
    }
    lock_drop(&memory->lock);
    return COFFER_OK;
}

static enum coffer_status memory_drop_upload(
    struct engine *base, const struct upload_id *upload, uint64_t count, struct error *err)
{
    struct memory *memory = memory_of(base);

    (void)err;
    lock_take(&memory->lock);
    forget_segments(memory, upload, count);
    lock_drop(&memory->lock);
    return COFFER_OK;
}

static void memory_note_damage(
    struct engine *base, const struct engine_row *row, const struct digest *key)
{
    (void)base;
    (void)row;
    (void)key;
}

static void memory_status(struct engine *base, struct engine_status *status)
{
    struct memory *memory = memory_of(base);

    memset(status, 0, sizeof(*status));
    status->name = base->ops->name;
    lock_take(&memory->lock);
    status->chunks = memory->chunks.count;
    status->used_space = status->live_bytes =
        memory->chunks.bytes + memory->segments.bytes + partitions_bytes(&memory->partitions);
    lock_drop(&memory->lock);
}

static size_t memory_packs(
    struct engine *base, uint64_t after, struct engine_pack *packs, size_t count)
{
    (void)base;
    (void)after;
    (void)packs;
    (void)count;
    return 0;
}

static enum coffer_status memory_close(struct engine *base, struct error *err)
{
    struct memory *memory = memory_of(base);

    (void)err;
    table_release(&memory->chunks);
    table_release(&memory->segments);
    partitions_release(&memory->partitions);
    lock_release(&memory->lock);
    free(memory);
    return COFFER_OK;
}

static const struct engine_ops memory_ops = {
    .name = "memory",
    .commit = memory_commit,
    .lane_idle = memory_lane_idle,
    .find = memory_find,
    .find_many = memory_find_many,
    .find_segment = memory_find_segment,
    .pin = memory_pin,
    .unpin = memory_unpin,
    .scan = memory_scan,
    .row_get = memory_row_get,
    .row_scan = memory_row_scan,
    .next_number = memory_next_number,
    .find_block = memory_find_block,
    .drop_blocks = memory_drop_blocks,
    .drop_upload = memory_drop_upload,
    .note_damage = memory_note_damage,
    .status = memory_status,
    .packs = memory_packs,
    .close = memory_close,
};

struct engine *memory_engine_create(void)
{
    struct memory *memory = calloc(1, sizeof(*memory));

    invariant(memory != NULL);
    memory->base.ops = &memory_ops;
    memory->next_lsn = 1;
    lock_init(&memory->lock, LOCK_ENGINE);
    return &memory->base;
}
