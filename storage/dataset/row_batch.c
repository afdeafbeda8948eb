#include <stdlib.h>

#include "storage/dataset/dataset_parts.h"

void row_batch_release(struct row_batch *batch)
{
    row_buffer_release(&batch->bytes);
    free(batch->refs);
    free(batch->changes);
    *batch = (struct row_batch){0};
}

static struct row_ref *add(struct row_batch *batch, const struct row_key *key)
{
    struct row_ref *ref;

    if (batch->count == batch->capacity) {
        batch->capacity = batch->capacity == 0 ? 4 : 2 * batch->capacity;
        batch->refs = realloc(batch->refs, batch->capacity * sizeof(struct row_ref));
        invariant(batch->refs != NULL);
    }
    ref = &batch->refs[batch->count++];
    *ref = (struct row_ref){.key_at = batch->bytes.used, .key_size = key->size};
    row_buffer_bytes(&batch->bytes, key->bytes, key->size);
    ref->value_at = batch->bytes.used;
    return ref;
}

void row_batch_begin(struct row_batch *batch, const struct row_key *key, bool fresh)
{
    add(batch, key)->fresh = fresh;
}

void row_batch_end(struct row_batch *batch)
{
    struct row_ref *ref = &batch->refs[batch->count - 1];

    ref->value_size = batch->bytes.used - ref->value_at;
}

void row_batch_put(
    struct row_batch *batch, const struct row_key *key, const void *value, size_t size, bool fresh)
{
    row_batch_begin(batch, key, fresh);
    row_buffer_bytes(&batch->bytes, value, size);
    row_batch_end(batch);
}

void row_batch_remove(struct row_batch *batch, const struct row_key *key)
{
    add(batch, key)->remove = true;
}

static void put_extent(
    struct row_batch *batch, uint32_t channel, const struct extent *extent, bool fresh)
{
    struct row_key key = row_key_channel(ROW_EXTENT, channel, extent->start);

    row_batch_begin(batch, &key, fresh);
    extent_encode(extent, &batch->bytes);
    row_batch_end(batch);
}

void row_batch_extent(struct row_batch *batch, uint32_t channel, const struct extent *extent)
{
    put_extent(batch, channel, extent, true);
}

void row_batch_replace_extent(
    struct row_batch *batch, uint32_t channel, const struct extent *extent)
{
    put_extent(batch, channel, extent, false);
}

void row_batch_fill(struct row_batch *batch, const struct partition_id *id, struct engine_op *op)
{
    batch->changes = calloc(batch->count + 1, sizeof(struct engine_change));
    invariant(batch->changes != NULL);
    for (size_t i = 0; i < batch->count; i++) {
        const struct row_ref *ref = &batch->refs[i];

        batch->changes[i] =
            (struct engine_change){.key = slice_of(batch->bytes.data + ref->key_at, ref->key_size),
                .value = slice_of(batch->bytes.data + ref->value_at, ref->value_size),
                .remove = ref->remove,
                .fresh = ref->fresh};
    }
    op->kind = ENGINE_BATCH;
    op->partition = *id;
    op->changes = batch->changes;
    op->change_count = batch->count;
}
