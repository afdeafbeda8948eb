/*
 * What a worker does for its lane: wait until the queue is due, take it, commit it, tell everyone.
 * All that is queued when the worker is ready goes into one commit, and so into one fdatasync:
 * while it lasts, the next group gathers.
 */
#include <stdlib.h>

#include "storage/base/bytes.h"
#include "storage/base/clock.h"
#include "storage/base/invariant.h"
#include "storage/base/log.h"
#include "storage/channel/lane_parts.h"

/* Take the front of the queue; returns its operations, linked by next. */
static struct lane_op *take_batch(struct lane *lane)
{
    struct lane_op *batch = lane->first, *op, *end = NULL;

    for (op = batch; op != NULL && lane->flushing_count < BATCH_OPS_MAX &&
                     (end == NULL || lane->flushing_bytes + op->bytes <= BATCH_BYTES_MAX);
         op = op->next) {
        atomic_store_explicit(&op->state, LANE_OP_FLUSHING, memory_order_relaxed);
        lane->flushing_bytes += op->bytes;
        lane->flushing_count++;
        lane->urgent -= op->urgent;
        end = op;
    }
    invariant(end != NULL);
    lane->first = op;
    if (op == NULL)
        lane->last = NULL;
    else
        op->previous = NULL;
    end->next = NULL;
    lane->queued_bytes -= lane->flushing_bytes;
    lane->queued_count -= lane->flushing_count;
    return batch;
}

static void note_failure(struct lane *lane, const struct lane_op *op)
{
    struct lane_failure failure = {
        .seq = op->seq, .first_seq = op->seq, .key = op->op.key, .told = op->awaited};

    if (lane->failures == NULL) {
        lane->failures = calloc(FAILURES_MAX, sizeof(struct lane_failure));
        invariant(lane->failures != NULL);
    }
    if (lane->failure_count < FAILURES_MAX) {
        lane->failures[lane->failure_count++] = failure;
    } else if (!op->awaited) {
        failure.first_seq = lane->failures[FAILURES_MAX - 1].first_seq;
        lane->failures[FAILURES_MAX - 1] = failure;
    }
}

/* Everything up to `seq` is settled: tell those who wait. Called and returns with the lock. */
static void settle(struct lane *lane, uint64_t seq)
{
    struct lane_waiter *ready;

    lane->durable_seq = seq;
    ready = lane_ready_waiters(lane);
    if (ready == NULL)
        return;
    lock_drop(&lane->lock);
    lane_wake_all(ready);
    lock_take(&lane->lock);
}

/* Commit a batch. Called and returns with the lane's lock held. */
static void flush(struct lane *lane, struct engine_op **ops)
{
    struct engine *engine = lane->set->engine;
    struct lane_op *batch = take_batch(lane), *op;
    uint64_t bytes = 0, last_seq = 0, failed = 0;
    struct error error;
    enum coffer_status status;
    size_t count = 0, prepared = 0;

    lock_drop(&lane->lock);
    for (op = batch; op != NULL; op = op->next) {
        op->op.status = op->prepare == NULL ? COFFER_OK : op->prepare(op);
        if (op->op.status == COFFER_OK)
            ops[count++] = &op->op;
        prepared++;
    }
    status = count == 0 ? COFFER_OK : engine->ops->commit(engine, lane->number, ops, count, &error);
    if (status != COFFER_OK && status != COFFER_DISK_FULL) /* the engine tells that once */
        log_write(LOG_ERROR, "write_failed", "channel %s: %s", lane->name, error.text);
    lock_take(&lane->lock);
    for (op = batch; op != NULL; op = op->next) {
        last_seq = op->seq;
        if (op->op.status != COFFER_OK) {
            note_failure(lane, op);
            failed++;
        } else if (op->op.kind == ENGINE_PUT || op->op.kind == ENGINE_SEGMENT ||
                   (op->op.kind == ENGINE_BATCH && op->op.has_block)) {
            bytes += op->op.size;
        }
    }
    /* Before anybody is answered, so that who is answered finds the numbers right. */
    lane->flushing_bytes = lane->flushing_count = 0;
    lane->flushed_bytes += bytes;
    lane->flushed_records += prepared - failed;
    if (count > 0) {
        lane->syncs++;
        lane->last_sync_ns = clock_wall_ns();
    }
    lane->settling = true;
    lock_drop(&lane->lock);
    while (batch != NULL) {
        op = batch;
        batch = op->next;
        atomic_store_explicit(&op->state, LANE_OP_DONE, memory_order_relaxed);
        op->done(op); /* may free it */
    }
    lock_take(&lane->lock);
    lane->settling = false;
    settle(lane, last_seq);
}

/* Wait for work until the lane has been idle for LANE_LINGER; true if there is some. */
static bool wait_for_work(struct lane *lane)
{
    uint64_t until = clock_monotonic_ns() + LANE_LINGER_NS;
    bool in_time = true;

    lane->sleeping = true;
    while (lane->first == NULL && in_time && !atomic_load(&lane->set->draining))
        in_time = lock_wait_until(&lane->lock, &lane->work, until);
    lane->sleeping = false;
    return lane->first != NULL;
}

static void wait_until_due(struct lane *lane)
{
    uint64_t deadline;

    lane->sleeping = true;
    while (lane->first != NULL && !lane_is_due(lane, clock_monotonic_ns(), &deadline))
        (void)lock_wait_until(&lane->lock, &lane->work, deadline);
    lane->sleeping = false;
}

void lane_serve(struct lane *lane)
{
    struct engine *engine = lane->set->engine;
    struct engine_op **ops = calloc(BATCH_OPS_MAX, sizeof(struct engine_op *));

    invariant(ops != NULL);
    lock_take(&lane->lock);
    for (;;) {
        while (wait_for_work(lane)) {
            wait_until_due(lane);
            if (lane->first != NULL) /* else all of it was dropped */
                flush(lane, ops);
        }
        /* Let the pack go before somebody else may serve the lane. */
        engine->ops->lane_idle(engine, lane->number);
        if (lane->first == NULL)
            break;
    }
    lane->staffed = false;
    lock_drop(&lane->lock);
    free(ops);
}
