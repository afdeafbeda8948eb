#include "storage/chunk/pending.h"

#include <stdlib.h>

#include "storage/base/bytes.h"
#include "storage/base/invariant.h"
#include "storage/base/lock.h"
#include "storage/chunk/write.h"

enum { SHARDS = PENDING_SHARDS, BUCKETS = 1024 };

struct shard {
    struct lock lock;
    struct pending_entry *buckets[BUCKETS]; /* (lock) */
    size_t count;                           /* (lock) */
    struct claim_part *claims;              /* (lock) in the order of their publication */
};

struct pending_table {
    _Atomic uint64_t count; /* so that an idle store's readers take no lock */
    struct lock claiming;   /* held while a claim is published in all shards: one order for all */
    struct shard shards[SHARDS];
};

struct pending_table *pending_create(void)
{
    struct pending_table *table = calloc(1, sizeof(*table));

    invariant(table != NULL);
    lock_init(&table->claiming, LOCK_CLAIMS);
    for (size_t i = 0; i < SHARDS; i++)
        lock_init(&table->shards[i].lock, LOCK_PENDING);
    return table;
}

void pending_destroy(struct pending_table *table)
{
    if (table == NULL)
        return;
    for (size_t i = 0; i < SHARDS; i++) {
        invariant(table->shards[i].count == 0 && table->shards[i].claims == NULL);
        lock_release(&table->shards[i].lock);
    }
    lock_release(&table->claiming);
    free(table);
}

/* Keys are digests: any of their bytes are as good as a hash. */
static struct shard *shard_of(struct pending_table *table, const struct digest *key)
{
    return &table->shards[claim_shard(key)];
}

static struct pending_entry **place_of(struct shard *shard, const struct digest *key)
{
    struct pending_entry **at = &shard->buckets[get_le32(key->bytes + 8) % BUCKETS];

    while (*at != NULL && !digest_equal(&(*at)->key, key))
        at = &(*at)->next;
    return at;
}

static void add_waiter(struct pending_waiter **waiters, struct pending_waiter *waiter)
{
    waiter->next = *waiters;
    *waiters = waiter;
}

/* Without a lock. */
static void wake_all(struct pending_waiter *waiter)
{
    while (waiter != NULL) {
        struct pending_waiter *next = waiter->next; /* it may be gone once it is woken */

        waker_wake(waiter->waker);
        waiter = next;
    }
}

/* With the lock: somebody else's entry. */
static enum pending_found found_entry(struct pending_entry *entry, bool wait_for_buffered,
    struct pending_waiter *waiter, struct chunk_write **write)
{
    enum pending_found found = entry->write != NULL ? PENDING_BUFFERED : PENDING_BUSY;

    if (found == PENDING_BUFFERED)
        *write = write_ref(entry->write);
    if (found == PENDING_BUSY || wait_for_buffered)
        add_waiter(&entry->waiters, waiter);
    return found;
}

/* With the lock: the oldest claim on the key that was published before `own` (NULL: any). */
static struct claim_part *claim_on(
    const struct shard *shard, const struct digest *key, const struct claim *own)
{
    struct claim_part *part = shard->claims;

    while (part != NULL && part->claim != own && !claim_has(part->claim, key))
        part = part->next;
    return part == NULL || part->claim == own ? NULL : part;
}

enum pending_found pending_insert(struct pending_table *table, struct pending_entry *entry,
    bool wait_for_buffered, struct pending_waiter *waiter, struct chunk_write **write)
{
    struct shard *shard = shard_of(table, &entry->key);
    enum pending_found found = PENDING_INSERTED;
    struct pending_entry **place;
    struct claim_part *claim;

    *write = NULL;
    lock_take(&shard->lock);
    place = place_of(shard, &entry->key);
    if (*place != NULL) {
        found = found_entry(*place, wait_for_buffered, waiter, write);
    } else if ((claim = claim_on(shard, &entry->key, NULL)) != NULL) {
        add_waiter(&claim->waiters, waiter);
        found = PENDING_BUSY;
    } else {
        entry->next = NULL;
        entry->waiters = NULL;
        *place = entry;
        shard->count++;
        atomic_fetch_add(&table->count, 1);
    }
    lock_drop(&shard->lock);
    return found;
}

bool pending_publish(
    struct pending_table *table, struct pending_entry *entry, struct chunk_write *write)
{
    struct shard *shard = shard_of(table, &entry->key);
    bool awaited;

    lock_take(&shard->lock);
    entry->write = write;
    awaited = entry->waiters != NULL;
    lock_drop(&shard->lock);
    return awaited;
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
    wake_all(waiter);
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

/* ---- claims ---- */

void pending_claim(struct pending_table *table, struct claim *claim)
{
    lock_take(&table->claiming);
    for (unsigned i = 0; i < SHARDS; i++) {
        struct shard *shard = &table->shards[i];
        struct claim_part **at = &shard->claims;

        if (!claim_is_in(claim, i))
            continue;
        lock_take(&shard->lock);
        while (*at != NULL)
            at = &(*at)->next;
        *at = claim_part(claim, i);
        lock_drop(&shard->lock);
    }
    lock_drop(&table->claiming);
}

enum pending_found pending_await(struct pending_table *table, const struct claim *claim,
    const struct digest *key, bool wait_for_buffered, struct pending_waiter *waiter,
    struct chunk_write **write)
{
    struct shard *shard = shard_of(table, key);
    enum pending_found found = PENDING_INSERTED;
    struct claim_part *older;
    struct pending_entry *entry;

    *write = NULL;
    lock_take(&shard->lock);
    entry = *place_of(shard, key);
    if (entry != NULL) {
        found = found_entry(entry, wait_for_buffered, waiter, write);
    } else if ((older = claim_on(shard, key, claim)) != NULL) {
        add_waiter(&older->waiters, waiter);
        found = PENDING_BUSY;
    }
    lock_drop(&shard->lock);
    return found;
}

void pending_unclaim(struct pending_table *table, struct claim *claim)
{
    for (unsigned i = 0; i < SHARDS; i++) {
        struct shard *shard = &table->shards[i];
        struct claim_part **at = &shard->claims, *part;
        struct pending_waiter *waiters;

        if (!claim_is_in(claim, i))
            continue;
        lock_take(&shard->lock);
        part = claim_part(claim, i);
        while (*at != part)
            at = &(*at)->next;
        *at = part->next;
        waiters = part->waiters;
        lock_drop(&shard->lock);
        wake_all(waiters);
    }
}
