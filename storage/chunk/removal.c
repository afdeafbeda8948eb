/*
 * Deleting many keys at once. The keys are sorted, and an entry of the pending table is taken for
 * each in ascending order: two removals that share keys cannot wait for each other in a circle.
 * What is only in a buffer is dropped there; what is being flushed is waited for. When all
 * entries are ours, one tombstone record with the keys that exist is committed.
 */
#include <stdlib.h>
#include <string.h>

#include "storage/base/invariant.h"
#include "storage/chunk/store_parts.h"
#include "storage/chunk/write.h"

struct removal_key {
    struct digest key;
    size_t position; /* in the caller's keys */
};

enum removal_step { REMOVAL_RESERVING, REMOVAL_COMMITTING, REMOVAL_COMMITTED };

struct removal {
    struct store *store;
    struct waker waker;
    struct removal_key *sorted;
    size_t count;
    struct pending_entry *entries; /* of the distinct keys, in order */
    size_t reserved;               /* how many of them are in the pending table */
    size_t next;                   /* in sorted: the next to be reserved */
    bool *missing;                 /* by position */
    struct digest *existing;       /* distinct keys that are in the engine */
    size_t existing_count;
    uint64_t deleted;
    bool dropped; /* the key that is being reserved was dropped from a buffer */
    enum removal_step step;
    struct lane *lane;
    struct lane_op lane_op;
    struct lane_waiter lane_waiter;
    struct pending_waiter pending_waiter;
    _Atomic bool settled;
};

static int by_key(const void *a, const void *b)
{
    const struct removal_key *x = a, *y = b;

    return digest_compare(&x->key, &y->key);
}

enum coffer_status removal_begin(struct store *store, const struct digest *keys, size_t count,
    struct waker waker, struct removal **out, struct error *err)
{
    struct removal *removal = calloc(1, sizeof(*removal));

    invariant(removal != NULL);
    removal->store = store;
    removal->waker = waker;
    removal->count = count;
    removal->sorted = calloc(count + 1, sizeof(struct removal_key));
    removal->entries = calloc(count + 1, sizeof(struct pending_entry));
    removal->missing = calloc(count + 1, sizeof(bool));
    removal->existing = calloc(count + 1, sizeof(struct digest));
    if (removal->sorted == NULL || removal->entries == NULL || removal->missing == NULL ||
        removal->existing == NULL) {
        removal_close(removal);
        return error_set(err, COFFER_OVERLOADED, "no memory to delete %zu keys", count);
    }
    for (size_t i = 0; i < count; i++)
        removal->sorted[i] = (struct removal_key){keys[i], i};
    qsort(removal->sorted, count, sizeof(struct removal_key), by_key);
    *out = removal;
    return COFFER_OK;
}

/* The key is ours: see whether there is anything to delete. */
static enum coffer_status look(struct removal *removal, const struct digest *key, struct error *err)
{
    struct engine *engine = removal->store->engine;
    struct engine_row row;
    enum coffer_status status = engine->ops->find(engine, key, &row, err);
    bool found = status == COFFER_OK;

    if (status != COFFER_OK && status != COFFER_NO_SUCH_CHUNK)
        return status;
    if (found)
        removal->existing[removal->existing_count++] = *key;
    if (!found && removal->dropped)
        removal->deleted++;
    while (removal->next < removal->count && digest_equal(&removal->sorted[removal->next].key, key))
        removal->missing[removal->sorted[removal->next++].position] = !found && !removal->dropped;
    removal->dropped = false;
    return COFFER_OK;
}

static enum coffer_status reserve_next(struct removal *removal, struct error *err)
{
    const struct digest *key = &removal->sorted[removal->next].key;
    struct pending_entry *entry = &removal->entries[removal->reserved];
    struct chunk_write *write;
    enum pending_found found;

    entry->key = *key;
    entry->kind = PENDING_DELETE;
    removal->pending_waiter.waker = removal->waker;
    /* First without waiting for a buffered write: it may be dropped. */
    found = pending_insert(removal->store->pending, entry, false, &removal->pending_waiter, &write);
    if (found == PENDING_INSERTED) {
        removal->reserved++;
        return look(removal, key, err);
    }
    if (found == PENDING_BUSY)
        return COFFER_AGAIN;
    if (lane_drop_op(write->lane, &write->lane_op)) {
        write_settle(write, COFFER_OK); /* it was stored, and is deleted now */
        removal->dropped = true;
        write_unref(write);
        return COFFER_OK; /* the same key again */
    }
    write_unref(write);
    /* It is being flushed: wait for its end, unless that has come meanwhile. */
    found = pending_insert(removal->store->pending, entry, true, &removal->pending_waiter, &write);
    if (found == PENDING_INSERTED) {
        removal->reserved++;
        return look(removal, key, err);
    }
    write_unref(write);
    return COFFER_AGAIN;
}

static void removal_done(struct lane_op *op)
{
    struct removal *removal = container_of(op, struct removal, lane_op);

    atomic_store_explicit(&removal->settled, true, memory_order_release);
    waker_wake(removal->waker);
}

static enum coffer_status commit(struct removal *removal)
{
    if (removal->existing_count == 0) {
        removal->step = REMOVAL_COMMITTED;
        return COFFER_OK;
    }
    if (removal->lane == NULL)
        removal->lane = lane_set_default(removal->store->lanes, 0);
    removal->lane_op = (struct lane_op){.urgent = true,
        .awaited = true,
        .bytes = removal->existing_count * DIGEST_SIZE,
        .done = removal_done,
        .op = {.kind = ENGINE_DELETE,
            .keys = removal->existing,
            .key_count = removal->existing_count,
            .key = removal->existing[0]}};
    removal->lane_waiter.waker = removal->waker;
    removal->step = REMOVAL_COMMITTING; /* before the push: it may be done before that returns */
    if (!lane_push(removal->lane, &removal->lane_op, &removal->lane_waiter))
        removal->step = REMOVAL_RESERVING;
    return COFFER_AGAIN;
}

static void unreserve(struct removal *removal)
{
    for (size_t i = 0; i < removal->reserved; i++)
        pending_remove(removal->store->pending, &removal->entries[i]);
    removal->reserved = 0;
}

/* The tombstone is durable, or could not be written. */
static enum coffer_status settled(struct removal *removal, struct error *err)
{
    enum coffer_status status = removal->lane_op.op.status;

    invariant(atomic_load_explicit(&removal->settled, memory_order_acquire));
    removal->step = REMOVAL_COMMITTED;
    if (status != COFFER_OK)
        return error_set(err, status, "the deletion could not be written; nothing was deleted");
    removal->deleted += removal->lane_op.op.deleted;
    return COFFER_OK;
}

enum coffer_status removal_finish(struct removal *removal, struct error *err)
{
    enum coffer_status status = COFFER_OK;

    /* Not in the call that pushed it, even if it is done already: removal_done() still has to
     * wake, and we must be here when it does. */
    if (removal->step == REMOVAL_COMMITTING)
        status = settled(removal, err);
    while (status == COFFER_OK && removal->step == REMOVAL_RESERVING)
        status = removal->next < removal->count ? reserve_next(removal, err) : commit(removal);
    if (status != COFFER_AGAIN)
        unreserve(removal);
    return status;
}

uint64_t removal_deleted(const struct removal *removal)
{
    return removal->deleted;
}

bool removal_missing(const struct removal *removal, size_t position)
{
    return removal->missing[position];
}

void removal_close(struct removal *removal)
{
    if (removal == NULL)
        return;
    unreserve(removal);
    if (removal->lane != NULL)
        lane_give_room(removal->lane, &removal->lane_waiter);
    lane_put(removal->lane);
    free(removal->sorted);
    free(removal->entries);
    free(removal->missing);
    free(removal->existing);
    free(removal);
}
