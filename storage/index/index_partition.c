/*
 * Rows and blocks. A scan is a RocksDB iterator, which sees the database as it was when the
 * iterator was made, with bounds at both ends, so that it never walks through what its neighbours
 * have deleted.
 */
#include "storage/index/index_partition.h"

#include <stdlib.h>

#include "storage/base/invariant.h"
#include "storage/index/index_parts.h"

/* ---- batches ---- */

void index_batch_put_row(struct index_batch *batch, const struct partition_id *partition,
    struct slice key, uint64_t lsn, uint64_t pack, struct slice value)
{
    const struct index_stored stored = {.lsn = lsn, .pack = pack, .value_size = value.size};
    uint8_t row_key[INDEX_ROW_KEY_MAX], head[INDEX_STORED_SIZE];
    const size_t key_size = index_row_key(partition, key, row_key);
    const char *const key_parts[] = {(const char *)row_key}, *const value_parts[] = {
                                                                 (const char *)head, value.data};
    const size_t value_sizes[] = {sizeof(head), value.size};

    index_stored_encode(&stored, head);
    rocksdb_writebatch_putv(
        batch->rows, 1, key_parts, &key_size, value.size > 0 ? 2 : 1, value_parts, value_sizes);
}

void index_batch_delete_row(
    struct index_batch *batch, const struct partition_id *partition, struct slice key)
{
    uint8_t row_key[INDEX_ROW_KEY_MAX];
    size_t size = index_row_key(partition, key, row_key);

    rocksdb_writebatch_delete(batch->rows, (const char *)row_key, size);
}

void index_batch_put_block(struct index_batch *batch, const struct partition_id *partition,
    const struct block_id *block, const struct engine_row *row)
{
    uint8_t value[INDEX_VALUE_MAX];
    size_t size = index_row_encode(row, value);

    index_put(batch, index_key_block(INDEX_BLOCK, partition, block), value, size);
}

void index_batch_delete_block(
    struct index_batch *batch, const struct partition_id *partition, const struct block_id *block)
{
    index_drop(batch, index_key_block(INDEX_BLOCK, partition, block));
}

void index_batch_put_staged(
    struct index_batch *batch, const struct partition_id *partition, const struct block_id *block)
{
    index_put(batch, index_key_block(INDEX_STAGED, partition, block), "", 0);
}

void index_batch_delete_staged(
    struct index_batch *batch, const struct partition_id *partition, const struct block_id *block)
{
    index_drop(batch, index_key_block(INDEX_STAGED, partition, block));
}

/* ---- lookups ---- */

/* COFFER_NO_SUCH_CHUNK when there is no row; *pinned is destroyed by the caller if not NULL. */
static enum coffer_status get_row(struct index *index, const struct partition_id *partition,
    struct slice key, rocksdb_pinnableslice_t **pinned, struct index_stored *stored,
    struct slice *value, struct error *err)
{
    uint8_t row_key[INDEX_ROW_KEY_MAX];
    size_t key_size = index_row_key(partition, key, row_key);
    struct slice bytes;
    char *text = NULL;

    *pinned = rocksdb_get_pinned(index->db, index->read, (const char *)row_key, key_size, &text);
    if (text != NULL)
        return index_fail(err, "read", text);
    if (*pinned == NULL)
        return COFFER_NO_SUCH_CHUNK;
    bytes.data = rocksdb_pinnableslice_value(*pinned, &bytes.size);
    return index_stored_decode(bytes, stored, value) ? COFFER_OK : index_unreadable(err);
}

enum coffer_status index_find_stored(struct index *index, const struct partition_id *partition,
    struct slice key, struct index_stored *stored, struct error *err)
{
    rocksdb_pinnableslice_t *pinned;
    enum coffer_status status = get_row(index, partition, key, &pinned, stored, NULL, err);

    rocksdb_pinnableslice_destroy(pinned);
    return status;
}

enum coffer_status index_get_value(struct index *index, const struct partition_id *partition,
    struct slice key, void **value, size_t *size, bool *found, struct error *err)
{
    rocksdb_pinnableslice_t *pinned;
    struct index_stored stored;
    struct slice bytes = slice_of("", 0);
    enum coffer_status status = get_row(index, partition, key, &pinned, &stored, &bytes, err);

    *found = status == COFFER_OK;
    if (*found) {
        uint8_t *copy = malloc(bytes.size + 1);

        invariant(copy != NULL);
        memcpy(copy, bytes.data, bytes.size);
        copy[bytes.size] = 0;
        *value = copy;
        *size = bytes.size;
    }
    rocksdb_pinnableslice_destroy(pinned);
    return status == COFFER_NO_SUCH_CHUNK ? COFFER_OK : status;
}

enum coffer_status index_find_block(struct index *index, const struct partition_id *partition,
    const struct block_id *block, struct engine_row *row, struct error *err)
{
    return index_find_row(index, index_key_block(INDEX_BLOCK, partition, block), row, err);
}

enum coffer_status index_find_staged(struct index *index, const struct partition_id *partition,
    const struct block_id *block, bool *found, struct error *err)
{
    rocksdb_pinnableslice_t *pinned;
    struct slice value;
    enum coffer_status status =
        index_get(index, index_key_block(INDEX_STAGED, partition, block), &pinned, &value, err);

    *found = status == COFFER_OK;
    rocksdb_pinnableslice_destroy(pinned);
    return status == COFFER_NO_SUCH_CHUNK ? COFFER_OK : status;
}

/* ---- scans ---- */

struct range { /* of all keys that begin with the same bytes */
    uint8_t first[INDEX_ROW_KEY_MAX], end[INDEX_ROW_KEY_MAX];
    size_t size, end_size;
    rocksdb_readoptions_t *options;
    rocksdb_iterator_t *at;
};

/* range->first and ->size are set. */
static void range_begin(struct range *range, struct index *index, bool keep_in_cache)
{
    range->end_size = range->size;
    memcpy(range->end, range->first, range->size);
    while (range->end[range->end_size - 1] == 0xff) /* the first byte is a letter */
        range->end_size--;
    range->end[range->end_size - 1]++;
    range->options = rocksdb_readoptions_create();
    rocksdb_readoptions_set_fill_cache(range->options, keep_in_cache);
    rocksdb_readoptions_set_total_order_seek(range->options, 1);
    rocksdb_readoptions_set_iterate_lower_bound(
        range->options, (const char *)range->first, range->size);
    rocksdb_readoptions_set_iterate_upper_bound(
        range->options, (const char *)range->end, range->end_size);
    range->at = rocksdb_create_iterator(index->db, range->options);
}

/* The row at the range's place; false: past its end. Key from the prefix byte on. */
static bool range_row(const struct range *range, struct slice *key, struct slice *value)
{
    if (!rocksdb_iter_valid(range->at))
        return false;
    key->data = rocksdb_iter_key(range->at, &key->size);
    value->data = rocksdb_iter_value(range->at, &value->size);
    return true;
}

static enum coffer_status range_end(struct range *range, struct error *err)
{
    char *text = NULL;

    rocksdb_iter_get_error(range->at, &text);
    rocksdb_iter_destroy(range->at);
    rocksdb_readoptions_destroy(range->options);
    return text == NULL ? COFFER_OK : index_fail(err, "scan", text);
}

/* Bounds hold a seek within the range: one from before it is one from its start. */
static void range_seek(
    struct range *range, const struct partition_id *partition, struct slice from, bool backwards)
{
    uint8_t key[INDEX_ROW_KEY_MAX];
    size_t size;

    if (from.size == 0 && backwards) {
        rocksdb_iter_seek_to_last(range->at);
    } else if (from.size == 0) {
        rocksdb_iter_seek_to_first(range->at);
    } else {
        size = index_row_key(partition, from, key);
        if (backwards)
            rocksdb_iter_seek_for_prev(range->at, (const char *)key, size);
        else
            rocksdb_iter_seek(range->at, (const char *)key, size);
    }
}

enum coffer_status index_scan_values(struct index *index, const struct partition_id *partition,
    struct slice prefix, struct slice from, bool backwards,
    bool (*visit)(void *context, struct slice key, struct slice value), void *context,
    struct error *err)
{
    struct range range;
    struct slice key, bytes, value;
    enum coffer_status status;
    bool good = true, more = true;

    range.size = index_row_key(partition, prefix, range.first);
    range_begin(&range, index, true);
    range_seek(&range, partition, from, backwards);
    while (more && range_row(&range, &key, &bytes)) {
        struct index_stored stored;

        good = index_stored_decode(bytes, &stored, &value);
        more = good && visit(context,
                           slice_of((const uint8_t *)key.data + 1 + PARTITION_ID_SIZE,
                               key.size - 1 - PARTITION_ID_SIZE),
                           value);
        if (backwards)
            rocksdb_iter_prev(range.at);
        else
            rocksdb_iter_next(range.at);
    }
    status = range_end(&range, err);
    return status == COFFER_OK && !good ? index_unreadable(err) : status;
}

static void whole_partition(
    struct range *range, enum index_prefix prefix, const struct partition_id *partition)
{
    range->size = index_row_key(partition, slice_of("", 0), range->first);
    range->first[0] = (uint8_t)prefix;
}

enum coffer_status index_visit_rows(struct index *index, const struct partition_id *partition,
    enum coffer_status (*visit)(
        void *context, struct slice key, const struct index_stored *stored, struct error *err),
    void *context, struct error *err)
{
    struct range range;
    struct slice key, bytes;
    enum coffer_status status = COFFER_OK, read;

    whole_partition(&range, INDEX_ROW, partition);
    range_begin(&range, index, false);
    rocksdb_iter_seek_to_first(range.at);
    while (status == COFFER_OK && range_row(&range, &key, &bytes)) {
        struct index_stored stored;

        if (index_stored_decode(bytes, &stored, NULL))
            status = visit(context,
                slice_of((const uint8_t *)key.data + range.size, key.size - range.size), &stored,
                err);
        else
            status = index_unreadable(err);
        rocksdb_iter_next(range.at);
    }
    read = range_end(&range, status == COFFER_OK ? err : NULL);
    return status == COFFER_OK ? read : status;
}

enum coffer_status index_visit_blocks(struct index *index, const struct partition_id *partition,
    enum coffer_status (*visit)(void *context, const struct block_id *block,
        const struct engine_row *row, struct error *err),
    void *context, struct error *err)
{
    struct range range;
    struct slice key, bytes;
    enum coffer_status status = COFFER_OK, read;

    whole_partition(&range, INDEX_BLOCK, partition);
    range_begin(&range, index, false);
    rocksdb_iter_seek_to_first(range.at);
    while (status == COFFER_OK && range_row(&range, &key, &bytes)) {
        struct partition_id same;
        struct block_id block;
        struct engine_row row;

        if (key.size == 1 + INDEX_BLOCK_SIZE && index_row_decode(bytes, &row)) {
            index_block_of_key((const uint8_t *)key.data + 1, &same, &block);
            status = visit(context, &block, &row, err);
        } else {
            status = index_unreadable(err);
        }
        rocksdb_iter_next(range.at);
    }
    read = range_end(&range, status == COFFER_OK ? err : NULL);
    return status == COFFER_OK ? read : status;
}

enum coffer_status index_scan_staged(struct index *index, struct partition_id *partitions,
    struct block_id *blocks, size_t count, size_t *found, struct error *err)
{
    struct range range = {.first = {INDEX_STAGED}, .size = 1};
    struct slice key, value;

    *found = 0;
    range_begin(&range, index, false);
    rocksdb_iter_seek_to_first(range.at);
    while (*found < count && range_row(&range, &key, &value)) {
        if (key.size == 1 + INDEX_BLOCK_SIZE) {
            index_block_of_key((const uint8_t *)key.data + 1, &partitions[*found], &blocks[*found]);
            (*found)++;
        }
        rocksdb_iter_next(range.at);
    }
    return range_end(&range, err);
}
