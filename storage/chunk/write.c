#include "storage/chunk/write.h"

#include <stddef.h>
#include <stdlib.h>

#include "storage/base/invariant.h"
#include "storage/chunk/store_parts.h"

static void lane_done(struct lane_op *op)
{
    struct chunk_write *write = container_of(op, struct chunk_write, lane_op);

    write_settle(write, op->op.status);
}

/* From now on readers find the content in the buffer. Who wants the key and came before now waits
 * for the flush. */
static void lane_queued(struct lane_op *op)
{
    struct chunk_write *write = container_of(op, struct chunk_write, lane_op);

    if (pending_publish(write->store->pending, &write->entry, write))
        op->urgent = true;
}

struct chunk_write *write_create(
    struct store *store, struct lane *lane, struct body *body, const struct digest *key)
{
    struct chunk_write *write = calloc(1, sizeof(*write));

    invariant(write != NULL);
    atomic_init(&write->references, 1);
    write->store = store;
    write->lane = lane;
    write->body = body;
    write->entry.key = *key;
    write->lane_op.done = lane_done;
    write->lane_op.op.key = *key;
    if (body != NULL) {
        write->size = body->size;
        write->lane_op.queued = lane_queued;
        write->lane_op.op.kind = ENGINE_PUT;
        write->lane_op.op.body = body->content;
        write->lane_op.op.size = body->size;
    }
    return write;
}

struct chunk_write *write_ref(struct chunk_write *write)
{
    atomic_fetch_add_explicit(&write->references, 1, memory_order_relaxed);
    return write;
}

void write_unref(struct chunk_write *write)
{
    if (write == NULL ||
        atomic_fetch_sub_explicit(&write->references, 1, memory_order_acq_rel) != 1)
        return;
    body_unref(write->body);
    lane_put(write->lane);
    free(write);
}

void write_settle(struct chunk_write *write, enum coffer_status status)
{
    struct waker waker = write->waker;

    pending_remove(write->store->pending, &write->entry);
    write->status = status;
    atomic_store_explicit(&write->settled, true, memory_order_release);
    waker_wake(waker);
    write_unref(write); /* the lane's reference */
}

int write_is_flushing(const struct chunk_write *write)
{
    return atomic_load_explicit(&write->lane_op.state, memory_order_relaxed) != LANE_OP_QUEUED;
}
