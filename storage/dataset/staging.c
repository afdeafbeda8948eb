/*
 * Blocks that are written before anybody refers to them. Who stages them claims all of them with
 * one batch, or forgets them; after a crash the next start does (engine.h).
 */
#include <stdlib.h>

#include "storage/base/fault.h"
#include "storage/dataset/dataset_parts.h"

enum { BLOCK_OVERHEAD = 256 /* bytes of a lane's buffer, beside the content */ };

struct staged_block {
    struct lane_op lane_op;
    struct staging *staging;
    struct body *body;
    size_t position; /* in staging->stored */
};

struct staging *staging_create(struct dataset *dataset, uint32_t channel, struct lane *lane)
{
    struct staging *staging = calloc(1, sizeof(*staging));

    invariant(staging != NULL);
    staging->dataset = dataset;
    staging->channel = channel;
    staging->lane = lane;
    atomic_fetch_add(&dataset->references, 1);
    return staging;
}

static void staging_free(struct staging *staging)
{
    dataset_drop(staging->dataset);
    free(staging->blocks);
    free(staging->stored);
    free(staging);
}

static void forget(struct staging *staging)
{
    dataset_forget_blocks(staging->dataset, staging->blocks, staging->count);
    staging_free(staging);
}

static void staged_done(struct lane_op *op)
{
    struct staged_block *block = container_of(op, struct staged_block, lane_op);
    struct staging *staging = block->staging;
    struct dataset *dataset = staging->dataset;
    struct wake_list wakes = {NULL};
    bool last;

    if (op->op.status == COFFER_OK)
        (void)fault_errno(FAULT_STAGE_DURABLE);
    lock_take(&dataset->lock);
    if (staging->status == COFFER_OK)
        staging->status = op->op.status;
    staging->stored[block->position] = op->op.stored_size;
    staging->in_flight--;
    last = staging->abandoned && staging->in_flight == 0;
    wake_later(&wakes, &staging->waiters);
    lock_drop(&dataset->lock);
    body_unref(block->body);
    free(block);
    wake_all(&wakes);
    if (last)
        forget(staging);
    dataset_work_end(dataset);
}

/* With the lock. */
static size_t add_block(struct staging *staging, const struct block_id *id)
{
    if (staging->count == staging->capacity) {
        staging->capacity = staging->capacity == 0 ? 16 : 2 * staging->capacity;
        staging->blocks = realloc(staging->blocks, staging->capacity * sizeof(struct block_id));
        staging->stored = realloc(staging->stored, staging->capacity * sizeof(uint64_t));
        invariant(staging->blocks != NULL && staging->stored != NULL);
    }
    staging->blocks[staging->count] = *id;
    staging->stored[staging->count] = 0;
    return staging->count++;
}

static struct staged_block *make_block(struct staging *staging, const struct block_id *id,
    struct body *body, size_t size, enum codec codec, int level)
{
    struct staged_block *block = calloc(1, sizeof(*block));
    struct engine_op *op;

    invariant(block != NULL);
    block->staging = staging;
    block->body = body;
    block->lane_op.bytes = BLOCK_OVERHEAD + size;
    block->lane_op.awaited = true;
    block->lane_op.done = staged_done;
    op = &block->lane_op.op;
    op->kind = ENGINE_BATCH;
    op->partition = staging->dataset->id;
    op->has_block = true;
    op->block = *id;
    op->body = body->content;
    op->size = size;
    op->block_codec = codec;
    op->block_level = level;
    return block;
}

enum coffer_status staging_push(struct staging *staging, uint64_t number, struct body *body,
    size_t size, enum codec codec, int level, struct lane_waiter *room, struct error *err)
{
    struct dataset *dataset = staging->dataset;
    struct block_id id = {staging->channel, number};
    struct staged_block *block = make_block(staging, &id, body, size, codec, level);
    enum coffer_status status;

    lock_take(&dataset->lock);
    status = dataset_check(dataset, err); /* nothing is written behind a deletion */
    if (status == COFFER_OK) {
        dataset_work_begin(dataset); /* before it can be done */
        block->position = add_block(staging, &id);
        staging->in_flight++;
        if (!lane_push(staging->lane, &block->lane_op, room)) {
            staging->in_flight--;
            staging->count--;
            status = COFFER_AGAIN;
        }
    }
    lock_drop(&dataset->lock);
    if (status == COFFER_OK)
        return status;
    free(block);
    if (status == COFFER_AGAIN)
        dataset_work_end(dataset);
    return status;
}

enum coffer_status staging_wait(struct staging *staging, unsigned limit, struct waiter *waiter,
    struct waker waker, struct error *err)
{
    struct dataset *dataset = staging->dataset;
    enum coffer_status status;
    bool busy;

    lock_take(&dataset->lock);
    status = staging->status;
    busy = status == COFFER_OK && staging->in_flight > limit;
    if (busy) {
        waiter_add(&staging->waiters, waiter, waker);
        lane_hurry(staging->lane); /* or we would wait for the flush timer */
    }
    lock_drop(&dataset->lock);
    if (status != COFFER_OK)
        return error_set(err, status, "blocks could not be written: %s", status_title(status));
    return busy ? COFFER_AGAIN : COFFER_OK;
}

void staging_keep(struct staging *staging)
{
    /* The owner has a reference to the dataset too: it is not freed here, under its lock. */
    atomic_fetch_sub(&staging->dataset->references, 1);
    free(staging->blocks);
    free(staging->stored);
    free(staging);
}

void staging_close(struct staging *staging)
{
    struct dataset *dataset;
    bool busy;

    if (staging == NULL)
        return;
    dataset = staging->dataset;
    lock_take(&dataset->lock);
    busy = staging->in_flight > 0;
    staging->abandoned = true;
    lock_drop(&dataset->lock);
    if (!busy)
        forget(staging);
}
