/*
 * Deleting many keys at once, all of those that exist or none:
 *  1. The keys are sorted, and all of them claimed (pending.h).
 *  2. Key by key, in order, what is under way is waited for: a write in a buffer is made to hurry,
 *     so that its chunk is deleted like all others. Then they are looked up, a window at a time.
 *  3. One tombstone record with those that exist is committed.
 * If there is only one key, and that is in a buffer, it is dropped there.
 *
 * Keys are in memory only a window at a time: sorted (record_sorter.h) and those that exist
 * (spill.h) are in temporary files if they are many. A missing key is a bit.
 */
#include <stdlib.h>
#include <string.h>

#include "storage/base/bytes.h"
#include "storage/base/invariant.h"
#include "storage/chunk/sorted_keys.h"
#include "storage/chunk/store_parts.h"
#include "storage/chunk/write.h"

enum { WINDOW_KEYS = SORTED_KEYS_AT_ONCE };

enum removal_step {
    REMOVAL_BEGUN,
    REMOVAL_CLAIMED,  /* window_at says which key is to be waited for next */
    REMOVAL_RESERVED, /* all keys are ours and have been looked up */
    REMOVAL_COMMITTING,
    REMOVAL_OVER,
};

struct removal {
    struct store *store;
    struct waker waker;
    struct key_source keys;
    struct record_sorter *sorter; /* NULL: the window has all there is */
    struct claim *claim;          /* published in the steps between BEGUN and OVER */
    struct sorted_key *window;
    size_t window_size, window_count, window_at;
    struct digest last; /* the key before the window, if `looked` */
    bool looked, last_missing;
    uint8_t *missing;       /* a bit for each position */
    struct spill *existing; /* distinct keys that are in the engine, ascending */
    uint64_t deleted;
    bool dropped; /* the only key, from a buffer */
    enum removal_step step;
    struct lane *lane;
    struct lane_op lane_op;
    struct lane_waiter lane_waiter;
    struct pending_waiter pending_waiter;
    _Atomic bool settled;
};

enum coffer_status removal_begin(struct store *store, struct key_source keys, struct waker waker,
    struct removal **out, struct error *err)
{
    struct removal *removal;
    enum coffer_status status;

    if (keys.count > ENGINE_DELETE_MAX)
        return error_set(err, COFFER_CONTENT_TOO_LARGE, "at most %d chunks are deleted together",
            ENGINE_DELETE_MAX);
    removal = calloc(1, sizeof(*removal));
    invariant(removal != NULL);
    removal->store = store;
    removal->waker = waker;
    removal->keys = keys;
    removal->window_size = (size_t)min_u64(keys.count, WINDOW_KEYS);
    removal->window = calloc(removal->window_size + 1, sizeof(struct sorted_key));
    removal->missing = calloc(1, keys.count / 8 + 1);
    removal->existing = spill_create(DIGEST_SIZE, store_spill_place(store));
    status = claim_create(keys.count, &removal->claim, err);
    if (status == COFFER_OK && (removal->window == NULL || removal->missing == NULL))
        status = error_set(err, COFFER_OVERLOADED, "no memory to delete %llu chunks",
            (unsigned long long)keys.count);
    if (status != COFFER_OK) {
        removal_close(removal);
        return status;
    }
    *out = removal;
    return COFFER_OK;
}

static bool is_claimed(const struct removal *removal)
{
    return removal->step != REMOVAL_BEGUN && removal->step != REMOVAL_OVER;
}

/* ---- the keys, sorted and claimed ---- */

/* The only key needs no sorting: it is the window. */
static enum coffer_status take_key(struct removal *removal, struct error *err)
{
    removal->window_count = 1;
    return key_source_read(&removal->keys, 0, 1, &removal->window[0].key, err);
}

static enum coffer_status sort_and_claim(struct removal *removal, struct error *err)
{
    struct digest some[WINDOW_KEYS];
    enum coffer_status status =
        removal->keys.count == 1
            ? take_key(removal, err)
            : sorted_keys(&removal->keys, store_spill_place(removal->store), &removal->sorter, err);

    for (uint64_t at = 0; at < removal->keys.count && status == COFFER_OK; at += WINDOW_KEYS) {
        size_t count = (size_t)min_u64(removal->keys.count - at, WINDOW_KEYS);

        status = key_source_read(&removal->keys, at, count, some, err);
        for (size_t i = 0; i < count && status == COFFER_OK; i++)
            claim_add(removal->claim, &some[i]);
    }
    if (status != COFFER_OK)
        return status;
    pending_claim(removal->store->pending, removal->claim);
    removal->step = REMOVAL_CLAIMED;
    return COFFER_OK;
}

/* ---- waiting for what is under way ---- */

/* The only key is in a buffer: take it out, unless that is being flushed already. */
static void drop_buffered(struct removal *removal, struct chunk_write *write)
{
    if (!lane_drop_op(write->lane, &write->lane_op))
        return;
    write_settle(write, COFFER_OK); /* it was stored, and is deleted now */
    removal->dropped = true;
}

/* The key is ours, and nothing of it is under way. COFFER_AGAIN. */
static enum coffer_status await_key(struct removal *removal, const struct digest *key)
{
    struct pending_table *pending = removal->store->pending;
    struct pending_waiter *waiter = &removal->pending_waiter;
    struct chunk_write *write;
    enum pending_found found;

    waiter->waker = removal->waker;
    if (removal->keys.count == 1) { /* first without waiting for a write in a buffer */
        found = pending_await(pending, removal->claim, key, false, waiter, &write);
        if (found != PENDING_BUFFERED)
            return found == PENDING_INSERTED ? COFFER_OK : COFFER_AGAIN;
        drop_buffered(removal, write);
        write_unref(write);
    }
    found = pending_await(pending, removal->claim, key, true, waiter, &write);
    if (found == PENDING_INSERTED)
        return COFFER_OK;
    if (found == PENDING_BUFFERED) {
        lane_hurry(write->lane);
        write_unref(write);
    }
    return COFFER_AGAIN;
}

/* ---- looking ---- */

static void mark(struct removal *removal, const struct sorted_key *key, bool missing)
{
    uint32_t position = sorted_key_position(key);

    if (missing)
        removal->missing[position / 8] |= (uint8_t)(1U << position % 8);
    removal->last = key->key;
    removal->last_missing = missing;
    removal->looked = true;
}

static bool is_last(const struct removal *removal, const struct digest *key)
{
    return removal->looked && digest_equal(&removal->last, key);
}

/* Which keys of the window are stored? */
static enum coffer_status look(struct removal *removal, struct error *err)
{
    struct engine *engine = removal->store->engine;
    struct digest distinct[WINDOW_KEYS];
    bool found[WINDOW_KEYS];
    size_t count = 0, at = 0;
    enum coffer_status status;

    for (size_t i = 0; i < removal->window_count; i++) {
        const struct digest *key = &removal->window[i].key;

        if (count > 0 ? !digest_equal(&distinct[count - 1], key) : !is_last(removal, key))
            distinct[count++] = *key;
    }
    status = engine->ops->find_many(engine, distinct, count, NULL, found, err);
    for (size_t i = 0; i < removal->window_count && status == COFFER_OK; i++) {
        const struct sorted_key *key = &removal->window[i];

        if (is_last(removal, &key->key)) {
            mark(removal, key, removal->last_missing);
            continue;
        }
        if (found[at])
            status = spill_append(removal->existing, &key->key, 1, err);
        mark(removal, key, !found[at] && !removal->dropped);
        at++;
    }
    return status;
}

/* Take the next window, or know that all keys have been looked up. */
static enum coffer_status next_window(struct removal *removal, struct error *err)
{
    enum coffer_status status = COFFER_OK;

    removal->window_at = removal->window_count = 0;
    if (removal->sorter != NULL)
        status = record_sorter_next(
            removal->sorter, removal->window, removal->window_size, &removal->window_count, err);
    if (status != COFFER_OK || removal->window_count > 0)
        return status;
    if (removal->dropped && spill_count(removal->existing) == 0)
        removal->deleted = 1;
    record_sorter_destroy(removal->sorter);
    removal->sorter = NULL;
    removal->step = REMOVAL_RESERVED;
    return COFFER_OK;
}

static enum coffer_status reserve(struct removal *removal, struct error *err)
{
    enum coffer_status status = COFFER_OK;

    while (status == COFFER_OK && removal->step == REMOVAL_CLAIMED) {
        while (status == COFFER_OK && removal->window_at < removal->window_count) {
            status = await_key(removal, &removal->window[removal->window_at].key);
            removal->window_at += status == COFFER_OK;
        }
        if (status == COFFER_OK)
            status = look(removal, err);
        if (status == COFFER_OK)
            status = next_window(removal, err);
    }
    return status;
}

/* ---- committing ---- */

static void removal_done(struct lane_op *op)
{
    struct removal *removal = container_of(op, struct removal, lane_op);

    atomic_store_explicit(&removal->settled, true, memory_order_release);
    waker_wake(removal->waker);
}

static enum coffer_status commit(struct removal *removal, struct error *err)
{
    uint64_t count = spill_count(removal->existing);
    struct digest first;
    enum coffer_status status;

    if (count == 0)
        return COFFER_OK;
    status = spill_read(removal->existing, 0, 1, &first, err);
    if (status != COFFER_OK)
        return status;
    if (removal->lane == NULL)
        removal->lane = lane_set_default(removal->store->lanes, 0);
    removal->lane_op = (struct lane_op){.urgent = true,
        .awaited = true,
        .bytes = count * DIGEST_SIZE,
        .done = removal_done,
        .op = {.kind = ENGINE_DELETE, .keys = key_source_spill(removal->existing), .key = first}};
    removal->lane_waiter.waker = removal->waker;
    removal->step = REMOVAL_COMMITTING; /* before the push: it may be done before that returns */
    if (!lane_push(removal->lane, &removal->lane_op, &removal->lane_waiter))
        removal->step = REMOVAL_RESERVED;
    return COFFER_AGAIN;
}

/* The tombstone is durable, or could not be written. */
static enum coffer_status settled(struct removal *removal, struct error *err)
{
    enum coffer_status status = removal->lane_op.op.status;

    invariant(atomic_load_explicit(&removal->settled, memory_order_acquire));
    if (status != COFFER_OK)
        return error_set(err, status, "the deletion could not be written; nothing was deleted");
    removal->deleted = removal->lane_op.op.deleted;
    return COFFER_OK;
}

/* Nothing more is to be done: let others have the keys. */
static void end(struct removal *removal)
{
    if (is_claimed(removal))
        pending_unclaim(removal->store->pending, removal->claim);
    removal->step = REMOVAL_OVER;
    claim_destroy(removal->claim);
    record_sorter_destroy(removal->sorter);
    spill_destroy(removal->existing);
    free(removal->window);
    removal->claim = NULL;
    removal->sorter = NULL;
    removal->existing = NULL;
    removal->window = NULL;
}

enum coffer_status removal_finish(struct removal *removal, struct error *err)
{
    enum coffer_status status = COFFER_OK;

    if (removal->step == REMOVAL_BEGUN)
        status = sort_and_claim(removal, err);
    /* Not in the call that pushed it, even if it is done already: removal_done() still has to
     * wake, and we must be here when it does. */
    if (removal->step == REMOVAL_COMMITTING)
        status = settled(removal, err);
    else if (status == COFFER_OK && removal->step == REMOVAL_CLAIMED)
        status = reserve(removal, err);
    if (status == COFFER_OK && removal->step == REMOVAL_RESERVED)
        status = commit(removal, err);
    if (status != COFFER_AGAIN)
        end(removal);
    return status;
}

uint64_t removal_deleted(const struct removal *removal)
{
    return removal->deleted;
}

bool removal_missing(const struct removal *removal, uint64_t position)
{
    return (removal->missing[position / 8] >> position % 8 & 1) != 0;
}

void removal_close(struct removal *removal)
{
    if (removal == NULL)
        return;
    end(removal);
    if (removal->lane != NULL)
        lane_give_room(removal->lane, &removal->lane_waiter);
    lane_put(removal->lane);
    free(removal->missing);
    free(removal);
}
