/*
 * index.h - where each chunk lies: typed rows over RocksDB. The packs are the truth; the index can
 * be thrown away and is then made again from them (pack/recovery.h).
 *
 * Order:   no write-ahead log. What is in the index after a crash is what index_write() calls had
 *          written up to some point in time, in order and each batch whole: one column family, so
 *          that a flush is atomic. The pack rows (watermarks) in each batch say what that point is.
 *          Callers write rows only of what is already durable in a pack.
 * Threads: any; an index_batch belongs to one thread at a time.
 * Memory:  the block cache and the write buffers are bounded by struct index_options.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "storage/base/digest.h"
#include "storage/base/engine_row.h"
#include "storage/base/status.h"

struct index;
struct index_batch;

struct index_options {
    uint64_t cache_size; /* bytes of block cache */
};

enum pack_state {
    PACK_OPEN = 1,
    PACK_SEALED = 2,
    PACK_POISONED = 3,
    /* Only here, never in memory. What is behind `end` of a pack that is being filled with copies
     * is cut off at the next start, for the originals are still there. */
    PACK_COPYING = 4,
    PACK_REMOVED = 5, /* its file is about to go, and counts no more */
};                    /* stored: never renumbered */

struct index_pack { /* the watermark: everything of the pack before `end` is in the index */
    enum pack_state state;
    uint64_t end; /* bytes; of a sealed or poisoned pack: its size */
    uint64_t records;
    uint64_t last_lsn;
};

/* COFFER_DATA_CORRUPT: there is something in `dir` that is no usable index. The folder must
 * exist. */
MUST_USE enum coffer_status index_open(
    const char *dir, const struct index_options *options, struct index **out, struct error *err);
/* Flush what was written to files; wait for it or only start it. */
MUST_USE enum coffer_status index_flush(struct index *index, bool wait, struct error *err);
void index_close(struct index *index);

/* The store's id, so that an index is never used with the packs of another store. */
MUST_USE enum coffer_status index_get_store(
    struct index *index, uint8_t uuid[16], bool *found, struct error *err);

struct index_batch *index_batch_create(void);
void index_batch_destroy(struct index_batch *batch);
void index_batch_clear(struct index_batch *batch);
void index_batch_put_store(struct index_batch *batch, const uint8_t uuid[16]);
void index_batch_put_chunk(
    struct index_batch *batch, const struct digest *key, const struct engine_row *row);
void index_batch_delete_chunk(struct index_batch *batch, const struct digest *key);
void index_batch_put_segment(struct index_batch *batch, const struct upload_id *upload,
    uint64_t segment, const struct engine_row *row);
void index_batch_delete_segment(
    struct index_batch *batch, const struct upload_id *upload, uint64_t segment);
/* An upload whose manifest has not come yet. */
void index_batch_put_upload(struct index_batch *batch, const struct upload_id *upload);
void index_batch_delete_upload(struct index_batch *batch, const struct upload_id *upload);
void index_batch_put_pack(
    struct index_batch *batch, uint64_t pack_id, const struct index_pack *pack);
/* With its dead bytes: nothing refers to it any more. */
void index_batch_delete_pack(struct index_batch *batch, uint64_t pack_id);
/* Counters are added to, in any order, by any batch. */
void index_batch_add_dead(struct index_batch *batch, uint64_t pack_id, uint64_t bytes);
void index_batch_add_chunks(struct index_batch *batch, int64_t count);
/* All of the batch becomes visible, or nothing. */
MUST_USE enum coffer_status index_write(
    struct index *index, struct index_batch *batch, struct error *err);

/* COFFER_OK or COFFER_NO_SUCH_CHUNK (err not filled). */
MUST_USE enum coffer_status index_find_chunk(
    struct index *index, const struct digest *key, struct engine_row *row, struct error *err);
/* Many at once, several times as fast as one by one if they ascend: found[i] says whether there is
 * keys[i], and its row is then in rows[i]; `rows` may be NULL. */
MUST_USE enum coffer_status index_find_chunks(struct index *index, const struct digest *keys,
    size_t count, struct engine_row *rows, bool *found, struct error *err);
MUST_USE enum coffer_status index_find_segment(struct index *index, const struct upload_id *upload,
    uint64_t segment, struct engine_row *row, struct error *err);
MUST_USE enum coffer_status index_scan_chunks(struct index *index, const struct digest *after,
    struct digest *keys, struct engine_row *rows, size_t count, size_t *found, struct error *err);
/* The first segments of an upload: how many rows it has, from 0 on without a gap. */
MUST_USE enum coffer_status index_count_segments(
    struct index *index, const struct upload_id *upload, uint64_t *count, struct error *err);
/* Up to count uploads without a manifest. */
MUST_USE enum coffer_status index_scan_uploads(
    struct index *index, struct upload_id *uploads, size_t count, size_t *found, struct error *err);
/* COFFER_OK, *found false if there is no row. */
MUST_USE enum coffer_status index_find_pack(struct index *index, uint64_t pack_id,
    struct index_pack *pack, uint64_t *dead_bytes, bool *found, struct error *err);
/* Calls visit for each pack row, ascending. */
MUST_USE enum coffer_status index_scan_packs(struct index *index,
    void (*visit)(void *context, uint64_t pack_id, const struct index_pack *pack), void *context,
    struct error *err);
MUST_USE enum coffer_status index_count_chunks(
    struct index *index, uint64_t *count, struct error *err);
