/*
 * Two sorted tables, of chunks and of segments, under one lock. Content is reference counted, so
 * that a pinned row stays readable when it is deleted.
 */
#include "storage/memory/memory_engine.h"

#include <stdlib.h>
#include <string.h>

#include "storage/base/bytes.h"
#include "storage/base/checksum.h"
#include "storage/base/invariant.h"
#include "storage/base/lock.h"

struct content {
    unsigned references; /* (memory.lock) */
    uint64_t size;
    uint8_t bytes[];
};

struct entry {
    uint8_t key[DIGEST_SIZE];
    struct engine_row row;
    struct content *content; /* NULL for a segmented chunk */
};

struct table { /* sorted by key */
    struct entry *entries;
    size_t count, capacity;
};

struct memory {
    struct engine base;
    struct lock lock;
    struct table chunks, segments; /* (lock) */
    uint64_t next_lsn;             /* (lock) */
    uint64_t bytes;                /* (lock) of content */
};

static struct memory *memory_of(struct engine *base)
{
    return container_of(base, struct memory, base);
}

/* ---- tables ---- */

/* Where `key` is or would be. */
static size_t table_place(const struct table *table, const uint8_t *key)
{
    size_t low = 0, high = table->count;

    while (low < high) {
        size_t middle = low + (high - low) / 2;

        if (memcmp(table->entries[middle].key, key, DIGEST_SIZE) < 0)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

static struct entry *table_find(const struct table *table, const uint8_t *key)
{
    size_t at = table_place(table, key);

    return at < table->count && memcmp(table->entries[at].key, key, DIGEST_SIZE) == 0
               ? &table->entries[at]
               : NULL;
}

static void content_release(struct content *content)
{
    if (content != NULL && --content->references == 0)
        free(content);
}

static void table_remove(struct memory *memory, struct table *table, const uint8_t *key)
{
    struct entry *entry = table_find(table, key);
    size_t after;

    if (entry == NULL)
        return;
    if (entry->content != NULL)
        memory->bytes -= entry->content->size;
    content_release(entry->content);
    after = table->count - (size_t)(entry - table->entries) - 1;
    memmove(entry, entry + 1, after * sizeof(*entry));
    table->count--;
}

static void table_put(struct memory *memory, struct table *table, const struct entry *entry)
{
    size_t at;

    table_remove(memory, table, entry->key);
    at = table_place(table, entry->key);
    if (table->count == table->capacity) {
        table->capacity = table->capacity == 0 ? 64 : 2 * table->capacity;
        table->entries = realloc(table->entries, table->capacity * sizeof(struct entry));
        invariant(table->entries != NULL);
    }
    memmove(
        &table->entries[at + 1], &table->entries[at], (table->count - at) * sizeof(struct entry));
    table->entries[at] = *entry;
    table->count++;
    if (entry->content != NULL)
        memory->bytes += entry->content->size;
}

static void segment_key(const struct upload_id *upload, uint64_t segment, uint8_t out[DIGEST_SIZE])
{
    memcpy(out, upload->bytes, UPLOAD_ID_SIZE);
    put_be64(out + UPLOAD_ID_SIZE, segment);
}

/* ---- operations ---- */

static void fill_content(struct memory *memory, struct entry *entry, const struct engine_op *op)
{
    entry->content = malloc(sizeof(struct content) + op->size);
    invariant(entry->content != NULL);
    entry->content->references = 1;
    entry->content->size = op->size;
    if (op->size > 0)
        memcpy(entry->content->bytes, op->body, op->size);
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
        table_remove(memory, &memory->segments, key);
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
    table_remove(memory, &memory->chunks, key->bytes);
    return true;
}

static void apply(struct memory *memory, struct engine_op *op)
{
    struct entry entry = {.content = NULL};

    op->status = COFFER_OK;
    switch (op->kind) {
    case ENGINE_PUT:
        memcpy(entry.key, op->key.bytes, DIGEST_SIZE);
        fill_content(memory, &entry, op);
        op->stored_size = op->size;
        table_put(memory, &memory->chunks, &entry);
        break;
    case ENGINE_SEGMENT:
        segment_key(&op->upload, op->segment, entry.key);
        fill_content(memory, &entry, op);
        op->stored_size = op->size;
        table_put(memory, &memory->segments, &entry);
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
        table_put(memory, &memory->chunks, &entry);
        break;
    case ENGINE_DELETE:
        op->deleted = 0;
        for (size_t i = 0; i < op->key_count; i++)
            op->deleted += forget_chunk(memory, &op->keys[i]);
        break;
    }
}

static enum coffer_status memory_commit(
    struct engine *base, unsigned lane, struct engine_op **ops, size_t count, struct error *err)
{
    struct memory *memory = memory_of(base);

    (void)lane;
    (void)err;
    lock_take(&memory->lock);
    for (size_t i = 0; i < count; i++)
        apply(memory, ops[i]);
    lock_drop(&memory->lock);
    return COFFER_OK;
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

static enum coffer_status memory_find_segment(struct engine *base, const struct upload_id *upload,
    uint64_t segment, struct engine_row *row, struct error *err)
{
    uint8_t key[DIGEST_SIZE];

    (void)err;
    segment_key(upload, segment, key);
    return find_in(memory_of(base), &memory_of(base)->segments, key, row);
}

/* Rows have no place in memory but their number. */
static struct entry *find_lsn(const struct table *table, uint64_t lsn)
{
    for (size_t i = 0; i < table->count; i++)
        if (table->entries[i].row.lsn == lsn)
            return &table->entries[i];
    return NULL;
}

static enum coffer_status memory_pin(struct engine *base, const struct engine_row *row,
    struct engine_source *source, struct error *err)
{
    struct memory *memory = memory_of(base);
    struct entry *entry;

    lock_take(&memory->lock);
    entry = find_lsn(&memory->chunks, row->lsn);
    if (entry == NULL)
        entry = find_lsn(&memory->segments, row->lsn);
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
    content_release(source->pin);
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
    status->used_space = status->live_bytes = memory->bytes;
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
    for (size_t i = 0; i < memory->chunks.count; i++)
        content_release(memory->chunks.entries[i].content);
    for (size_t i = 0; i < memory->segments.count; i++)
        content_release(memory->segments.entries[i].content);
    free(memory->chunks.entries);
    free(memory->segments.entries);
    lock_release(&memory->lock);
    free(memory);
    return COFFER_OK;
}

static const struct engine_ops memory_ops = {
    .name = "memory",
    .commit = memory_commit,
    .lane_idle = memory_lane_idle,
    .find = memory_find,
    .find_segment = memory_find_segment,
    .pin = memory_pin,
    .unpin = memory_unpin,
    .scan = memory_scan,
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
