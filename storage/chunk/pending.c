#include "storage/chunk/pending.h"

#include <stdlib.h>

#include "storage/base/bytes.h"
#include "storage/base/invariant.h"
#include "storage/base/lock.h"
#include "storage/chunk/write.h"

enum { SHARDS = 64, BUCKETS = 1024 };

struct shard {
    struct lock lock;
    struct pending_entry *buckets[BUCKETS]; /* (lock) */
    size_t count;                           /* (lock) */
};

struct pending_table {
    _Atomic uint64_t count; /* so that an idle store's readers take no lock */
    struct shard shards[SHARDS];
};

struct pending_table *pending_create(void)
{
    struct pending_table *table = calloc(1, sizeof(*table));

    invariant(table != NULL);
    for (size_t i = 0; i < SHARDS; i++)
        lock_init(&table->shards[i].lock, LOCK_PENDING);
    return table;
}

void pending_destroy(struct pending_table *table)
{
    if (table == NULL)
        return;
    for (size_t i = 0; i < SHARDS; i++) {
        invariant(table->shards[i].count == 0);
        lock_release(&table->shards[i].lock);
    }
    free(table);
}

/* Keys are digests: any of their bytes are as good as a hash. */
static struct shard *shard_of(struct pending_table *table, const struct digest *key)
{
    return &table->shards[key->bytes[0] % SHARDS];
}

static struct pending_entry **place_of(struct shard *shard, const struct digest *key)
{
    struct pending_entry **at = &shard->buckets[get_le32(key->bytes + 8) % BUCKETS];

    while (*at != NULL && !digest_equal(&(*at)->key, key))
        at = &(*at)->next;
    return at;
}

enum pending_found pending_insert(struct pending_table *table, struct pending_entry *entry,
    bool wait_for_buffered, struct pending_waiter *waiter, struct chunk_write **write)
{
    struct shard *shard = shard_of(table, &entry->key);
    enum pending_found found = PENDING_INSERTED;
    struct pending_entry **place, *other;

    *write = NULL;
    lock_take(&shard->lock);
    place = place_of(shard, &entry->key);
    other = *place;
    if (other == NULL) {
        entry->next = NULL;
        entry->waiters = NULL;
        *place = entry;
        shard->count++;
        atomic_fetch_add(&table->count, 1);
    } else {
        found = other->write != NULL ? PENDING_BUFFERED : PENDING_BUSY;
        if (found == PENDING_BUFFERED)
            *write = write_ref(other->write);
        if (found == PENDING_BUSY || wait_for_buffered) {
            waiter->next = other->waiters;
            other->waiters = waiter;
        }
    }
    lock_drop(&shard->lock);
    return found;
}

void pending_publish(
    struct pending_table *table, struct pending_entry *entry, struct chunk_write *write)
{
    struct shard *shard = shard_of(table, &entry->key);

    lock_take(&shard->lock);
    entry->write = write;
    lock_drop(&shard->lock);
}

void pending_remove(struct pending_table *table, struct pending_entry *entry)
{
    struct shard *shard = shard_of(table, &entry->key);
    struct pending_waiter *waiter;
    struct pending_entry **place;

    lock_take(&shard->lock);
    place = place_of(shard, &entry->key);
    invariant(*place == entry);
    *place = entry->next;
    shard->count--;
    atomic_fetch_sub(&table->count, 1);
    waiter = entry->waiters;
    lock_drop(&shard->lock);
    while (waiter != NULL) {
        struct pending_waiter *next = waiter->next; /* it may be gone once it is woken */

        waker_wake(waiter->waker);
        waiter = next;
    }
}

struct chunk_write *pending_find(struct pending_table *table, const struct digest *key)
{
    struct shard *shard = shard_of(table, key);
    struct chunk_write *write = NULL;
    struct pending_entry *entry;

    if (atomic_load(&table->count) == 0)
        return NULL;
    lock_take(&shard->lock);
    entry = *place_of(shard, key);
    if (entry != NULL && entry->write != NULL)
        write = write_ref(entry->write);
    lock_drop(&shard->lock);
    return write;
}

/* Keep the lowest `count` keys in a heap whose top is the highest of them. */
static void heap_offer(struct digest *heap, size_t *size, size_t count, const struct digest *key)
{
    size_t at;

    if (*size < count) {
        at = (*size)++;
        while (at > 0 && digest_compare(&heap[(at - 1) / 2], key) < 0) {
            heap[at] = heap[(at - 1) / 2];
            at = (at - 1) / 2;
        }
        heap[at] = *key;
        return;
    }
    if (count == 0 || digest_compare(key, &heap[0]) >= 0)
        return;
    for (at = 0;;) {
        size_t child = 2 * at + 1;

        if (child + 1 < count && digest_compare(&heap[child], &heap[child + 1]) < 0)
            child++;
        if (child >= count || digest_compare(&heap[child], key) <= 0)
            break;
        heap[at] = heap[child];
        at = child;
    }
    heap[at] = *key;
}

size_t pending_collect(
    struct pending_table *table, const struct digest *after, struct digest *keys, size_t count)
{
    size_t found = 0;

    for (size_t i = 0; i < SHARDS; i++) {
        struct shard *shard = &table->shards[i];

        lock_take(&shard->lock);
        for (size_t j = 0; j < BUCKETS && shard->count > 0; j++)
            for (struct pending_entry *entry = shard->buckets[j]; entry != NULL;
                 entry = entry->next)
                if (entry->write != NULL &&
                    (after == NULL || digest_compare(&entry->key, after) > 0))
                    heap_offer(keys, &found, count, &entry->key);
        lock_drop(&shard->lock);
    }
    return found;
}
