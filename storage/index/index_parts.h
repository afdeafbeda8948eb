/*
 * index_parts.h - what the files of the index share: index_rocksdb.c (opening, batches, chunks,
 * packs) and index_partition.c (rows and blocks). Nobody else includes it.
 */
#pragma once

#include <rocksdb/c.h>

#include "storage/index/index.h"
#include "storage/index/index_rows.h"

struct index {
    rocksdb_t *db;
    rocksdb_column_family_handle_t *family; /* the only one, for calls that want to be told */
    rocksdb_options_t *options;
    rocksdb_readoptions_t *read;
    rocksdb_readoptions_t *scan; /* does not fill the cache */
    rocksdb_readoptions_t *many; /* the same, for lookups */
    rocksdb_writeoptions_t *write;
    rocksdb_flushoptions_t *flush;
    rocksdb_flushoptions_t *flush_later;
    rocksdb_cache_t *cache;
};

struct index_batch {
    rocksdb_writebatch_t *rows;
};

/* RocksDB's error text (freed here) as a status. */
enum coffer_status index_fail(struct error *err, const char *doing, char *text);
enum coffer_status index_unreadable(struct error *err); /* a row that nobody has written */

void index_put(struct index_batch *batch, struct index_key key, const void *value, size_t size);
void index_drop(struct index_batch *batch, struct index_key key);
/* COFFER_NO_SUCH_CHUNK when there is no row; *row is destroyed by the caller. */
enum coffer_status index_get(struct index *index, struct index_key key,
    rocksdb_pinnableslice_t **row, struct slice *value, struct error *err);
enum coffer_status index_find_row(
    struct index *index, struct index_key key, struct engine_row *row, struct error *err);
