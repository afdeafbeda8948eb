/*
 * row_cache.h - the rows of chunks that were looked up lately, in front of RocksDB: a lookup there
 * costs several microseconds, here a tenth of one.
 *
 * Order:   a reader that misses notes the version, asks the index, and offers what it found with
 *          that version; whoever changes or deletes a row in the index drops the key afterwards,
 *          which makes a new version. So a row that was read before its deletion can never come
 *          into the cache after it. New keys need no drop: what is not there is never cached.
 * Threads: any.
 * Memory:  fixed at creation.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "storage/base/digest.h"
#include "storage/base/engine_row.h"

struct row_cache;

struct row_cache *row_cache_create(uint64_t bytes); /* at least a few rows, whatever is asked */
void row_cache_destroy(struct row_cache *cache);    /* NULL is a no-op */
bool row_cache_find(
    struct row_cache *cache, const struct digest *key, struct engine_row *row, uint64_t *version);
void row_cache_offer(struct row_cache *cache, const struct digest *key,
    const struct engine_row *row, uint64_t version);
void row_cache_drop(struct row_cache *cache, const struct digest *key);
