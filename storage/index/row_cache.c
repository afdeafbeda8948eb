/*
 * A table of buckets, each with a lock, a version and a few rows that replace one another in turn.
 */
#include "storage/index/row_cache.h"

#include <stdlib.h>

#include "storage/base/bytes.h"
#include "storage/base/invariant.h"
#include "storage/base/lock.h"

enum { BUCKET_ROWS = 8 };

struct bucket {
    struct lock lock;
    uint64_t version;            /* (lock) */
    unsigned next;               /* (lock) the row to be replaced next */
    uint64_t marks[BUCKET_ROWS]; /* (lock) first bytes of the keys, 0: no row */
    struct digest keys[BUCKET_ROWS];
    struct engine_row rows[BUCKET_ROWS];
};

struct row_cache {
    size_t buckets;
    struct bucket table[];
};

struct row_cache *row_cache_create(uint64_t bytes)
{
    size_t buckets = (size_t)(bytes / sizeof(struct bucket)) + 1;
    struct row_cache *cache = calloc(1, sizeof(*cache) + buckets * sizeof(struct bucket));

    invariant(cache != NULL);
    cache->buckets = buckets;
    for (size_t i = 0; i < buckets; i++)
        lock_init(&cache->table[i].lock, LOCK_ROW_CACHE);
    return cache;
}

void row_cache_destroy(struct row_cache *cache)
{
    if (cache == NULL)
        return;
    for (size_t i = 0; i < cache->buckets; i++)
        lock_release(&cache->table[i].lock);
    free(cache);
}

static uint64_t mark_of(const struct digest *key)
{
    return get_le64(key->bytes) | 1;
}

static struct bucket *bucket_of(struct row_cache *cache, const struct digest *key)
{
    return &cache->table[get_le64(key->bytes + 16) % cache->buckets];
}

/* With the bucket's lock; BUCKET_ROWS: it is not there. */
static unsigned place_of(const struct bucket *bucket, const struct digest *key)
{
    uint64_t mark = mark_of(key);

    for (unsigned i = 0; i < BUCKET_ROWS; i++)
        if (bucket->marks[i] == mark && digest_equal(&bucket->keys[i], key))
            return i;
    return BUCKET_ROWS;
}

bool row_cache_find(
    struct row_cache *cache, const struct digest *key, struct engine_row *row, uint64_t *version)
{
    struct bucket *bucket = bucket_of(cache, key);
    unsigned at;

    lock_take(&bucket->lock);
    at = place_of(bucket, key);
    if (at < BUCKET_ROWS)
        *row = bucket->rows[at];
    *version = bucket->version;
    lock_drop(&bucket->lock);
    return at < BUCKET_ROWS;
}

void row_cache_offer(struct row_cache *cache, const struct digest *key,
    const struct engine_row *row, uint64_t version)
{
    struct bucket *bucket = bucket_of(cache, key);

    lock_take(&bucket->lock);
    if (bucket->version == version && place_of(bucket, key) == BUCKET_ROWS) {
        unsigned at = bucket->next++ % BUCKET_ROWS;

        bucket->marks[at] = mark_of(key);
        bucket->keys[at] = *key;
        bucket->rows[at] = *row;
    }
    lock_drop(&bucket->lock);
}

void row_cache_drop(struct row_cache *cache, const struct digest *key)
{
    struct bucket *bucket = bucket_of(cache, key);
    unsigned at;

    lock_take(&bucket->lock);
    bucket->version++;
    at = place_of(bucket, key);
    if (at < BUCKET_ROWS)
        bucket->marks[at] = 0;
    lock_drop(&bucket->lock);
}
