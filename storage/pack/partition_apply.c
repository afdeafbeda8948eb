#include "storage/pack/partition_apply.h"

#include "storage/base/bytes.h"
#include "storage/base/checksum.h"
#include "storage/index/index_partition.h"

/* ---- blocks ---- */

/* Whether `row` is to be written: there is no such block, or an older one, which is retired. */
static enum coffer_status make_way(struct applier *applier, const struct partition_id *partition,
    const struct block_id *block, const struct engine_row *row, bool *write, struct error *err)
{
    struct engine_row old;
    enum coffer_status status = index_find_block(applier->index, partition, block, &old, err);

    *write = status == COFFER_NO_SUCH_CHUNK;
    if (status != COFFER_OK)
        return *write ? COFFER_OK : status;
    if (old.lsn == row->lsn && old.pack == row->pack)
        return COFFER_OK; /* applied before */
    *write = old.lsn < row->lsn;
    if (*write)
        apply_dead(applier, old.pack, old.stored_size);
    else
        apply_dead(applier, row->pack, row->stored_size);
    return COFFER_OK;
}

static enum coffer_status apply_block(struct applier *applier, const struct batch *batch,
    uint64_t pack, uint64_t offset, bool look, struct error *err)
{
    const struct engine_row row = {.size = batch->raw_size,
        .stored_size = batch->stored_size,
        .codec = batch->codec,
        .pack = pack,
        .offset = offset,
        .lsn = batch->lsn,
        .checksum = batch->checksum};
    bool write = true;
    enum coffer_status status = COFFER_OK;

    if (look)
        status = make_way(applier, &batch->partition, &batch->block, &row, &write, err);
    if (status != COFFER_OK || !write)
        return status;
    index_batch_put_block(applier->batch, &batch->partition, &batch->block, &row);
    if (batch->entry_count == 0)
        index_batch_put_staged(applier->batch, &batch->partition, &batch->block);
    else if (look) /* in the place of one that was staged */
        index_batch_delete_staged(applier->batch, &batch->partition, &batch->block);
    return COFFER_OK;
}

enum coffer_status apply_damaged_block(struct applier *applier,
    const struct partition_id *partition, const struct block_id *block,
    const struct engine_row *row, struct error *err)
{
    bool write;
    enum coffer_status status = make_way(applier, partition, block, row, &write, err);

    if (status == COFFER_OK && write)
        index_batch_put_block(applier->batch, partition, block, row);
    return status;
}

/* Forget a block that is older than `lsn`. */
static enum coffer_status drop_block(struct applier *applier, const struct partition_id *partition,
    const struct block_id *block, uint64_t lsn, struct error *err)
{
    struct engine_row row;
    enum coffer_status status = index_find_block(applier->index, partition, block, &row, err);

    index_batch_delete_staged(applier->batch, partition, block);
    if (status == COFFER_NO_SUCH_CHUNK)
        return COFFER_OK;
    if (status != COFFER_OK || row.lsn > lsn)
        return status;
    index_batch_delete_block(applier->batch, partition, block);
    apply_dead(applier, row.pack, row.stored_size);
    return COFFER_OK;
}

enum coffer_status apply_drop_staged(struct applier *applier, const struct partition_id *partition,
    const struct block_id *block, struct error *err)
{
    bool staged;
    enum coffer_status status = index_find_staged(applier->index, partition, block, &staged, err);

    if (status != COFFER_OK || !staged)
        return status;
    return drop_block(applier, partition, block, UINT64_MAX, err);
}

/* ---- rows ---- */

static enum coffer_status apply_entry(struct applier *applier, const struct batch *batch,
    const struct batch_entry *entry, uint64_t pack, bool look, struct error *err)
{
    uint64_t own = batch_entry_size(entry->key.size, entry->value.size);
    struct index_stored old;
    enum coffer_status status = COFFER_NO_SUCH_CHUNK;

    if (look)
        status = index_find_stored(applier->index, &batch->partition, entry->key, &old, err);
    if (status == COFFER_OK && old.lsn == entry->lsn && old.pack == pack && !entry->remove)
        return COFFER_OK; /* applied before */
    if (status == COFFER_OK && old.lsn > entry->lsn) {
        if (!entry->remove)
            apply_dead(applier, pack, own);
        return COFFER_OK;
    }
    if (status == COFFER_OK)
        apply_dead(applier, old.pack, batch_entry_size(entry->key.size, old.value_size));
    else if (status != COFFER_NO_SUCH_CHUNK)
        return status;
    if (!entry->remove)
        index_batch_put_row(
            applier->batch, &batch->partition, entry->key, entry->lsn, pack, entry->value);
    else if (status == COFFER_OK)
        index_batch_delete_row(applier->batch, &batch->partition, entry->key);
    return COFFER_OK;
}

enum coffer_status apply_batch(struct applier *applier, const struct batch *batch, uint64_t pack,
    uint64_t offset, const struct engine_op *op, struct error *err)
{
    const uint8_t *at = batch->entries;
    uint64_t living = batch->stored_size;
    enum coffer_status status = COFFER_OK;

    if (batch->has_block)
        status = apply_block(applier, batch, pack, offset, op == NULL, err);
    for (size_t i = 0; i < batch->entry_count && status == COFFER_OK; i++) {
        struct batch_entry entry;

        at = batch_entry_at(batch, at, &entry);
        if (!entry.remove)
            living += batch_entry_size(entry.key.size, entry.value.size);
        status =
            apply_entry(applier, batch, &entry, pack, op == NULL || !op->changes[i].fresh, err);
    }
    for (size_t i = 0; i < batch->claim_count; i++) {
        struct block_id block = batch_reference(batch->claims, i);

        index_batch_delete_staged(applier->batch, &batch->partition, &block);
    }
    for (size_t i = 0; i < batch->drop_count && status == COFFER_OK; i++) {
        struct block_id block = batch_reference(batch->drops, i);

        status = drop_block(applier, &batch->partition, &block, batch->lsn, err);
    }
    apply_dead(applier, pack, batch->record_size - living);
    return status;
}

/* ---- whole partitions ---- */

struct dropping {
    struct applier *applier;
    const struct partition_id *partition;
    uint64_t lsn;
    size_t steps;
};

static enum coffer_status drop_visited_row(
    void *context, struct slice key, const struct index_stored *stored, struct error *err)
{
    struct dropping *dropping = context;

    if (stored->lsn > dropping->lsn)
        return COFFER_OK;
    index_batch_delete_row(dropping->applier->batch, dropping->partition, key);
    apply_dead(dropping->applier, stored->pack, batch_entry_size(key.size, stored->value_size));
    return apply_step(dropping->applier, &dropping->steps, err);
}

static enum coffer_status drop_visited_block(
    void *context, const struct block_id *block, const struct engine_row *row, struct error *err)
{
    struct dropping *dropping = context;

    if (row->lsn > dropping->lsn)
        return COFFER_OK;
    index_batch_delete_block(dropping->applier->batch, dropping->partition, block);
    index_batch_delete_staged(dropping->applier->batch, dropping->partition, block);
    apply_dead(dropping->applier, row->pack, row->stored_size);
    return apply_step(dropping->applier, &dropping->steps, err);
}

enum coffer_status apply_drop(
    struct applier *applier, const struct partition_id *partition, uint64_t lsn, struct error *err)
{
    struct dropping dropping = {.applier = applier, .partition = partition, .lsn = lsn};
    enum coffer_status status =
        index_visit_rows(applier->index, partition, drop_visited_row, &dropping, err);

    if (status == COFFER_OK)
        status = index_visit_blocks(applier->index, partition, drop_visited_block, &dropping, err);
    return status;
}

/* ---- what a batch changes ---- */

static uint64_t partition_mark(const struct partition_id *partition)
{
    return checksum_once(partition->bytes, PARTITION_ID_SIZE);
}

static uint64_t block_mark(uint64_t partition, const struct block_id *block)
{
    uint8_t bytes[20];

    put_be64(bytes, partition);
    put_be32(bytes + 8, block->channel);
    put_be64(bytes + 12, block->number);
    return checksum_once(bytes, sizeof(bytes));
}

/* Call `visit` for the mark of each row and block that the batch changes, until it answers false.
 */
static bool visit_marks(
    const struct batch *batch, bool (*visit)(struct touched *, uint64_t), struct touched *touched)
{
    uint64_t partition = partition_mark(&batch->partition);
    const uint8_t *at = batch->entries;
    bool more = true;

    if (batch->has_block)
        more = visit(touched, block_mark(partition, &batch->block));
    for (size_t i = 0; i < batch->entry_count && more; i++) {
        struct batch_entry entry;

        at = batch_entry_at(batch, at, &entry);
        more = visit(touched, partition + checksum_once(entry.key.data, entry.key.size));
    }
    for (size_t i = 0; i < batch->drop_count && more; i++) {
        struct block_id block = batch_reference(batch->drops, i);

        more = visit(touched, block_mark(partition, &block));
    }
    return more;
}

static bool is_new(struct touched *touched, uint64_t mark)
{
    return !touched_has(touched, mark);
}

static bool add_mark(struct touched *touched, uint64_t mark)
{
    touched_add(touched, mark);
    return true;
}

bool batch_is_touched(const struct batch *batch, struct touched *touched)
{
    return touched->count > 0 && !visit_marks(batch, is_new, touched);
}

void batch_touch(const struct batch *batch, struct touched *touched)
{
    (void)visit_marks(batch, add_mark, touched);
}
