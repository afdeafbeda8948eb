/*
 * RocksDB behind typed rows. Rules:
 *  1. One column family and no write-ahead log: a flush writes a prefix of all batches, whole.
 *  2. RocksDB's error text is ours to free; index_fail() makes a status of it.
 *  3. Point lookups are the load: bloom filters, a hash index in the blocks, filters and index
 *     blocks kept in memory for the newest files. Both are partitioned into blocks of the usual
 *     size: those of a whole file (1.5 MB with a million short rows) are larger than a shard of
 *     the cache, so that each lookup would read and check them again.
 */
#include <errno.h>
#include <stdlib.h>

#include "storage/base/bytes.h"
#include "storage/base/fault.h"
#include "storage/base/invariant.h"
#include "storage/index/index_parts.h"

enum {
    WRITE_BUFFER_SIZE = 24 << 20,
    WRITE_BUFFERS_MAX = 3,
    WRITE_BUFFER_PIECE = 4 << 20, /* large enough for malloc to map it, and so to give it back */
    BLOOM_BITS = 10,
    OPEN_FILES_MAX = 256,
    LOG_LEVEL_HEADER = 5, /* above the one of fatal errors */
    LOG_FILES_KEPT = 2,
    FIND_AT_ONCE = 256,
    FIND_CACHED_MAX = 32, /* keys: whoever asks for more does not ask for the same again soon */
};

enum coffer_status index_fail(struct error *err, const char *doing, char *text)
{
    /* RocksDB's C API tells the kind of an error only by the beginning of its text. */
    enum coffer_status status = COFFER_IO;

    if (strncmp(text, "Corruption", 10) == 0 || strncmp(text, "Invalid argument", 16) == 0 ||
        strstr(text, "No such file") != NULL) /* one of its own is gone */
        status = COFFER_DATA_CORRUPT;
    else if (strstr(text, "No space left") != NULL)
        status = COFFER_DISK_FULL;
    (void)error_set(err, status, "index: %s: %s", doing, text);
    rocksdb_free(text);
    return status;
}

enum coffer_status index_unreadable(struct error *err)
{
    return error_set(err, COFFER_DATA_CORRUPT, "index: a row cannot be read");
}

static rocksdb_options_t *make_options(rocksdb_cache_t *cache)
{
    rocksdb_options_t *options = rocksdb_options_create();
    rocksdb_block_based_table_options_t *table = rocksdb_block_based_options_create();

    rocksdb_block_based_options_set_filter_policy(
        table, rocksdb_filterpolicy_create_bloom_full(BLOOM_BITS));
    rocksdb_block_based_options_set_block_cache(table, cache);
    rocksdb_block_based_options_set_cache_index_and_filter_blocks(table, 1);
    rocksdb_block_based_options_set_cache_index_and_filter_blocks_with_high_priority(table, 1);
    rocksdb_block_based_options_set_pin_l0_filter_and_index_blocks_in_cache(table, 1);
    rocksdb_block_based_options_set_index_type(
        table, rocksdb_block_based_table_index_type_two_level_index_search);
    rocksdb_block_based_options_set_partition_filters(table, 1);
    rocksdb_block_based_options_set_pin_top_level_index_and_filter(table, 1);
    rocksdb_block_based_options_set_data_block_index_type(
        table, rocksdb_block_based_table_data_block_index_type_binary_search_and_hash);
    rocksdb_block_based_options_set_format_version(table, 5);
    rocksdb_options_set_block_based_table_factory(options, table);
    rocksdb_block_based_options_destroy(table); /* the factory has copied it */

    rocksdb_options_set_create_if_missing(options, 1);
    rocksdb_options_set_paranoid_checks(options, 1);
    rocksdb_options_set_uint64add_merge_operator(options);
    rocksdb_options_set_write_buffer_size(options, WRITE_BUFFER_SIZE);
    rocksdb_options_set_max_write_buffer_number(options, WRITE_BUFFERS_MAX);
    rocksdb_options_set_arena_block_size(options, WRITE_BUFFER_PIECE);
    rocksdb_options_set_memtable_whole_key_filtering(options, 1);
    rocksdb_options_set_memtable_prefix_bloom_size_ratio(options, 0.05);
    rocksdb_options_set_compression(options, rocksdb_no_compression); /* keys are random */
    rocksdb_options_set_max_open_files(options, OPEN_FILES_MAX);
    rocksdb_options_set_max_background_jobs(options, 2);
    /* As little of a log of its own as it can: a few lines at the opening. On a full disk, writing
     * to it again after a failure ends the process by an assertion. */
    rocksdb_options_set_info_log_level(options, LOG_LEVEL_HEADER);
    rocksdb_options_set_keep_log_file_num(options, LOG_FILES_KEPT);
    rocksdb_options_set_bytes_per_sync(options, 1 << 20);
    return options;
}

enum coffer_status index_open(
    const char *dir, const struct index_options *options, struct index **out, struct error *err)
{
    static const char *const names[] = {"default"};
    struct index *index = calloc(1, sizeof(*index));
    const rocksdb_options_t *family_options;
    char *text = NULL;

    invariant(index != NULL);
    index->cache = rocksdb_cache_create_lru(options->cache_size);
    index->options = make_options(index->cache);
    index->read = rocksdb_readoptions_create();
    index->scan = rocksdb_readoptions_create();
    rocksdb_readoptions_set_fill_cache(index->scan, 0);
    rocksdb_readoptions_set_total_order_seek(index->scan, 1);
    index->many = rocksdb_readoptions_create();
    rocksdb_readoptions_set_fill_cache(index->many, 0);
    index->write = rocksdb_writeoptions_create();
    rocksdb_writeoptions_disable_WAL(index->write, 1);
    index->flush = rocksdb_flushoptions_create();
    index->flush_later = rocksdb_flushoptions_create();
    rocksdb_flushoptions_set_wait(index->flush_later, 0);
    family_options = index->options;
    index->db = rocksdb_open_column_families(
        index->options, dir, 1, names, &family_options, &index->family, &text);
    if (index->db == NULL) {
        enum coffer_status status = index_fail(err, "open", text);

        index_close(index);
        return status;
    }
    *out = index;
    return COFFER_OK;
}

enum coffer_status index_flush(struct index *index, bool wait, struct error *err)
{
    char *text = NULL;
    int fault = fault_errno(FAULT_INDEX_FLUSH);

    if (fault != 0) {
        errno = fault;
        return error_errno(err, "index: flush");
    }
    rocksdb_flush(index->db, wait ? index->flush : index->flush_later, &text);
    return text == NULL ? COFFER_OK : index_fail(err, "flush", text);
}

void index_close(struct index *index)
{
    if (index == NULL)
        return;
    if (index->db != NULL) {
        rocksdb_column_family_handle_destroy(index->family);
        rocksdb_close(index->db);
    }
    rocksdb_flushoptions_destroy(index->flush_later);
    rocksdb_flushoptions_destroy(index->flush);
    rocksdb_writeoptions_destroy(index->write);
    rocksdb_readoptions_destroy(index->many);
    rocksdb_readoptions_destroy(index->scan);
    rocksdb_readoptions_destroy(index->read);
    rocksdb_options_destroy(index->options);
    rocksdb_cache_destroy(index->cache);
    free(index);
}

/* ---- batches ---- */

struct index_batch *index_batch_create(void)
{
    struct index_batch *batch = malloc(sizeof(*batch));

    invariant(batch != NULL);
    batch->rows = rocksdb_writebatch_create();
    return batch;
}

void index_batch_destroy(struct index_batch *batch)
{
    if (batch == NULL)
        return;
    rocksdb_writebatch_destroy(batch->rows);
    free(batch);
}

void index_batch_clear(struct index_batch *batch)
{
    rocksdb_writebatch_clear(batch->rows);
}

void index_put(struct index_batch *batch, struct index_key key, const void *value, size_t size)
{
    rocksdb_writebatch_put(batch->rows, (const char *)key.bytes, key.size, value, size);
}

void index_drop(struct index_batch *batch, struct index_key key)
{
    rocksdb_writebatch_delete(batch->rows, (const char *)key.bytes, key.size);
}

static void add(struct index_batch *batch, struct index_key key, uint64_t value)
{
    uint8_t operand[8];

    put_le64(operand, value); /* the operator adds 64-bit little-endian numbers, wrapping */
    rocksdb_writebatch_merge(
        batch->rows, (const char *)key.bytes, key.size, (const char *)operand, sizeof(operand));
}

void index_batch_put_store(struct index_batch *batch, const uint8_t uuid[16])
{
    index_put(batch, index_key_of(INDEX_STORE, NULL, 0), uuid, 16);
}

void index_batch_put_chunk(
    struct index_batch *batch, const struct digest *key, const struct engine_row *row)
{
    uint8_t value[INDEX_VALUE_MAX];
    size_t size = index_row_encode(row, value);

    index_put(batch, index_key_of(INDEX_CHUNK, key->bytes, DIGEST_SIZE), value, size);
}

void index_batch_delete_chunk(struct index_batch *batch, const struct digest *key)
{
    index_drop(batch, index_key_of(INDEX_CHUNK, key->bytes, DIGEST_SIZE));
}

void index_batch_put_segment(struct index_batch *batch, const struct upload_id *upload,
    uint64_t segment, const struct engine_row *row)
{
    uint8_t value[INDEX_VALUE_MAX];
    size_t size = index_row_encode(row, value);

    index_put(batch, index_key_segment(upload, segment), value, size);
}

void index_batch_delete_segment(
    struct index_batch *batch, const struct upload_id *upload, uint64_t segment)
{
    index_drop(batch, index_key_segment(upload, segment));
}

void index_batch_put_upload(struct index_batch *batch, const struct upload_id *upload)
{
    index_put(batch, index_key_of(INDEX_UPLOAD, upload->bytes, UPLOAD_ID_SIZE), "", 0);
}

void index_batch_delete_upload(struct index_batch *batch, const struct upload_id *upload)
{
    index_drop(batch, index_key_of(INDEX_UPLOAD, upload->bytes, UPLOAD_ID_SIZE));
}

void index_batch_put_pack(
    struct index_batch *batch, uint64_t pack_id, const struct index_pack *pack)
{
    uint8_t value[INDEX_VALUE_MAX];
    size_t size = index_pack_encode(pack, value);

    index_put(batch, index_key_number(INDEX_PACK, pack_id), value, size);
}

void index_batch_delete_pack(struct index_batch *batch, uint64_t pack_id)
{
    index_drop(batch, index_key_number(INDEX_PACK, pack_id));
    index_drop(batch, index_key_number(INDEX_DEAD, pack_id));
}

void index_batch_add_dead(struct index_batch *batch, uint64_t pack_id, uint64_t bytes)
{
    add(batch, index_key_number(INDEX_DEAD, pack_id), bytes);
}

void index_batch_add_chunks(struct index_batch *batch, int64_t count)
{
    if (count != 0)
        add(batch, index_key_of(INDEX_CHUNK_COUNT, NULL, 0), (uint64_t)count);
}

enum coffer_status index_write(struct index *index, struct index_batch *batch, struct error *err)
{
    char *text = NULL;
    int fault = fault_errno(FAULT_INDEX_WRITE);

    if (fault != 0) {
        errno = fault;
        return error_errno(err, "index: write");
    }
    rocksdb_write(index->db, index->write, batch->rows, &text);
    return text == NULL ? COFFER_OK : index_fail(err, "write", text);
}

/* ---- lookups ---- */

enum coffer_status index_get(struct index *index, struct index_key key,
    rocksdb_pinnableslice_t **row, struct slice *value, struct error *err)
{
    char *text = NULL;

    *row = rocksdb_get_pinned(index->db, index->read, (const char *)key.bytes, key.size, &text);
    if (text != NULL)
        return index_fail(err, "read", text);
    if (*row == NULL)
        return COFFER_NO_SUCH_CHUNK;
    value->data = rocksdb_pinnableslice_value(*row, &value->size);
    return COFFER_OK;
}

enum coffer_status index_find_row(
    struct index *index, struct index_key key, struct engine_row *row, struct error *err)
{
    rocksdb_pinnableslice_t *pinned;
    struct slice value;
    enum coffer_status status = index_get(index, key, &pinned, &value, err);

    if (status != COFFER_OK)
        return status;
    if (!index_row_decode(value, row))
        status = index_unreadable(err);
    rocksdb_pinnableslice_destroy(pinned);
    return status;
}

enum coffer_status index_find_chunk(
    struct index *index, const struct digest *key, struct engine_row *row, struct error *err)
{
    return index_find_row(index, index_key_of(INDEX_CHUNK, key->bytes, DIGEST_SIZE), row, err);
}

/* What one lookup of many found; releases it. */
static enum coffer_status take_found(rocksdb_pinnableslice_t *pinned, char *text,
    struct engine_row *row, bool *found, struct error *err)
{
    enum coffer_status status = COFFER_OK;
    struct engine_row ignored;
    struct slice value;

    *found = pinned != NULL;
    if (text != NULL)
        status = index_fail(err, "read", text);
    if (pinned == NULL)
        return status;
    value.data = rocksdb_pinnableslice_value(pinned, &value.size);
    if (!index_row_decode(value, row != NULL ? row : &ignored))
        status = error_set(err, COFFER_DATA_CORRUPT, "index: a row cannot be read");
    rocksdb_pinnableslice_destroy(pinned);
    return status;
}

/* At most FIND_AT_ONCE. */
static enum coffer_status find_some(struct index *index, const struct digest *keys, size_t count,
    struct engine_row *rows, bool *found, struct error *err)
{
    struct index_key index_keys[FIND_AT_ONCE];
    const char *texts[FIND_AT_ONCE] = {NULL};
    size_t sizes[FIND_AT_ONCE] = {0};
    rocksdb_pinnableslice_t *values[FIND_AT_ONCE];
    char *failures[FIND_AT_ONCE];
    enum coffer_status status = COFFER_OK;
    bool sorted = true;

    for (size_t i = 0; i < count; i++) {
        index_keys[i] = index_key_of(INDEX_CHUNK, keys[i].bytes, DIGEST_SIZE);
        texts[i] = (const char *)index_keys[i].bytes;
        sizes[i] = index_keys[i].size;
        sorted = sorted && (i == 0 || digest_compare(&keys[i - 1], &keys[i]) <= 0);
    }
    rocksdb_batched_multi_get_cf(index->db, count > FIND_CACHED_MAX ? index->many : index->read,
        index->family, count, texts, sizes, values, failures, sorted);
    for (size_t i = 0; i < count; i++) {
        enum coffer_status one =
            take_found(values[i], failures[i], rows != NULL ? &rows[i] : NULL, &found[i], err);

        status = status == COFFER_OK ? one : status;
    }
    return status;
}

enum coffer_status index_find_chunks(struct index *index, const struct digest *keys, size_t count,
    struct engine_row *rows, bool *found, struct error *err)
{
    enum coffer_status status = COFFER_OK;
    struct engine_row ignored;

    if (count == 1) {
        status = index_find_chunk(index, keys, rows != NULL ? rows : &ignored, err);
        found[0] = status == COFFER_OK;
        return status == COFFER_NO_SUCH_CHUNK ? COFFER_OK : status;
    }
    for (size_t at = 0; at < count && status == COFFER_OK; at += FIND_AT_ONCE)
        status = find_some(index, keys + at, count - at < FIND_AT_ONCE ? count - at : FIND_AT_ONCE,
            rows != NULL ? rows + at : NULL, found + at, err);
    return status;
}

enum coffer_status index_find_segment(struct index *index, const struct upload_id *upload,
    uint64_t segment, struct engine_row *row, struct error *err)
{
    return index_find_row(index, index_key_segment(upload, segment), row, err);
}

static enum coffer_status get_counter(
    struct index *index, struct index_key key, uint64_t *value, struct error *err)
{
    rocksdb_pinnableslice_t *pinned;
    struct slice bytes;
    enum coffer_status status = index_get(index, key, &pinned, &bytes, err);

    *value = 0;
    if (status == COFFER_NO_SUCH_CHUNK)
        return COFFER_OK;
    if (status != COFFER_OK)
        return status;
    if (bytes.size == sizeof(uint64_t))
        *value = get_le64(bytes.data);
    else
        status = error_set(err, COFFER_DATA_CORRUPT, "index: a counter cannot be read");
    rocksdb_pinnableslice_destroy(pinned);
    return status;
}

enum coffer_status index_count_chunks(struct index *index, uint64_t *count, struct error *err)
{
    return get_counter(index, index_key_of(INDEX_CHUNK_COUNT, NULL, 0), count, err);
}

enum coffer_status index_get_store(
    struct index *index, uint8_t uuid[16], bool *found, struct error *err)
{
    rocksdb_pinnableslice_t *pinned;
    struct slice value;
    enum coffer_status status =
        index_get(index, index_key_of(INDEX_STORE, NULL, 0), &pinned, &value, err);

    *found = false;
    if (status == COFFER_NO_SUCH_CHUNK)
        return COFFER_OK;
    if (status != COFFER_OK)
        return status;
    if (value.size == 16) {
        memcpy(uuid, value.data, 16);
        *found = true;
    }
    rocksdb_pinnableslice_destroy(pinned);
    return COFFER_OK;
}

enum coffer_status index_find_pack(struct index *index, uint64_t pack_id, struct index_pack *pack,
    uint64_t *dead_bytes, bool *found, struct error *err)
{
    rocksdb_pinnableslice_t *pinned;
    struct slice value;
    enum coffer_status status =
        index_get(index, index_key_number(INDEX_PACK, pack_id), &pinned, &value, err);

    *found = false;
    *dead_bytes = 0;
    if (status == COFFER_NO_SUCH_CHUNK)
        return get_counter(index, index_key_number(INDEX_DEAD, pack_id), dead_bytes, err);
    if (status != COFFER_OK)
        return status;
    *found = index_pack_decode(value, pack);
    rocksdb_pinnableslice_destroy(pinned);
    if (!*found)
        return error_set(err, COFFER_DATA_CORRUPT, "index: a pack's row cannot be read");
    return get_counter(index, index_key_number(INDEX_DEAD, pack_id), dead_bytes, err);
}

/* ---- scans ---- */

struct scan {
    rocksdb_iterator_t *at;
    uint8_t prefix[INDEX_KEY_MAX];
    size_t prefix_size;
};

static void scan_begin(
    struct scan *scan, struct index *index, struct index_key from, size_t prefix_size)
{
    scan->at = rocksdb_create_iterator(index->db, index->scan);
    memcpy(scan->prefix, from.bytes, prefix_size);
    scan->prefix_size = prefix_size;
    rocksdb_iter_seek(scan->at, (const char *)from.bytes, from.size);
}

/* False behind the last row with the prefix. Key without the prefix byte. */
static bool scan_row(const struct scan *scan, struct slice *key, struct slice *value)
{
    if (!rocksdb_iter_valid(scan->at))
        return false;
    key->data = rocksdb_iter_key(scan->at, &key->size);
    if (key->size < scan->prefix_size || memcmp(key->data, scan->prefix, scan->prefix_size) != 0)
        return false;
    key->data = (const char *)key->data + 1;
    key->size--;
    value->data = rocksdb_iter_value(scan->at, &value->size);
    return true;
}

static enum coffer_status scan_end(struct scan *scan, struct error *err)
{
    char *text = NULL;

    rocksdb_iter_get_error(scan->at, &text);
    rocksdb_iter_destroy(scan->at);
    return text == NULL ? COFFER_OK : index_fail(err, "scan", text);
}

enum coffer_status index_scan_chunks(struct index *index, const struct digest *after,
    struct digest *keys, struct engine_row *rows, size_t count, size_t *found, struct error *err)
{
    static const struct digest first = {{0}};
    struct scan scan;
    struct slice key, value;
    enum coffer_status status;
    bool good = true;

    *found = 0;
    scan_begin(&scan, index,
        index_key_of(INDEX_CHUNK, after == NULL ? first.bytes : after->bytes, DIGEST_SIZE), 1);
    while (good && *found < count && scan_row(&scan, &key, &value)) {
        good = key.size == DIGEST_SIZE && index_row_decode(value, &rows[*found]);
        if (good && (after == NULL || memcmp(key.data, after->bytes, DIGEST_SIZE) > 0)) {
            memcpy(keys[*found].bytes, key.data, DIGEST_SIZE);
            (*found)++;
        }
        rocksdb_iter_next(scan.at);
    }
    status = scan_end(&scan, err);
    if (status == COFFER_OK && !good)
        status = index_unreadable(err);
    return status;
}

enum coffer_status index_count_segments(
    struct index *index, const struct upload_id *upload, uint64_t *count, struct error *err)
{
    struct scan scan;
    struct slice key, value;
    uint64_t last = 0;

    scan_begin(&scan, index, index_key_segment(upload, 0), 1 + UPLOAD_ID_SIZE);
    while (scan_row(&scan, &key, &value)) {
        if (key.size == UPLOAD_ID_SIZE + 8)
            last = get_be64((const uint8_t *)key.data + UPLOAD_ID_SIZE) + 1;
        rocksdb_iter_next(scan.at);
    }
    *count = last;
    return scan_end(&scan, err);
}

enum coffer_status index_scan_uploads(
    struct index *index, struct upload_id *uploads, size_t count, size_t *found, struct error *err)
{
    struct scan scan;
    struct slice key, value;

    *found = 0;
    scan_begin(&scan, index, index_key_of(INDEX_UPLOAD, NULL, 0), 1);
    while (*found < count && scan_row(&scan, &key, &value)) {
        if (key.size == UPLOAD_ID_SIZE)
            memcpy(uploads[(*found)++].bytes, key.data, UPLOAD_ID_SIZE);
        rocksdb_iter_next(scan.at);
    }
    return scan_end(&scan, err);
}

enum coffer_status index_scan_packs(struct index *index,
    void (*visit)(void *context, uint64_t pack_id, const struct index_pack *pack), void *context,
    struct error *err)
{
    struct scan scan;
    struct slice key, value;

    scan_begin(&scan, index, index_key_of(INDEX_PACK, NULL, 0), 1);
    while (scan_row(&scan, &key, &value)) {
        struct index_pack pack;

        if (key.size == 8 && index_pack_decode(value, &pack))
            visit(context, get_be64(key.data), &pack);
        rocksdb_iter_next(scan.at);
    }
    return scan_end(&scan, err);
}
