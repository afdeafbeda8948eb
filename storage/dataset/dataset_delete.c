/*
 * Deleting a dataset:
 *   1. one batch in the root partition takes its name away and notes its partition as gone: that
 *      is the point after which it is deleted;
 *   2. when nothing of it is on a lane any more, its partition is dropped;
 *   3. the note is removed.
 * A crash in between leaves the note, and the next start goes on with 2.
 */
#include <stdlib.h>
#include <string.h>

#include "storage/base/fault.h"
#include "storage/base/log.h"
#include "storage/dataset/change.h"

enum { DROP_BYTES = 256 /* of a lane's buffer */ };

/* ---- steps 2 and 3 ---- */

struct drop_work {
    struct lane_op lane_op;
    struct dataset_set *set;
    struct lane *lane;
    struct partition_id id;
    struct row_batch rows;
    bool dropped; /* step 2 is done */
};

static void push(struct drop_work *work);

static void work_over(struct drop_work *work)
{
    struct dataset_set *set = work->set;

    row_batch_release(&work->rows);
    free(work);
    lock_take(&set->lock);
    if (atomic_fetch_sub(&set->in_flight, 1) == 1)
        pthread_cond_broadcast(&set->quiet);
    lock_drop(&set->lock);
}

static void drop_done(struct lane_op *op)
{
    struct drop_work *work = container_of(op, struct drop_work, lane_op);

    if (op->op.status != COFFER_OK) /* the note stays: the next start tries again */
        log_write(LOG_WARN, "partition_left",
            "the space of a deleted dataset is not given back: %s", status_title(op->op.status));
    if (op->op.status != COFFER_OK || work->dropped) {
        work_over(work);
        return;
    }
    (void)fault_errno(FAULT_DELETE_DROPPED);
    work->dropped = true;
    push(work);
}

static struct row_key gone_key(const struct partition_id *id)
{
    return row_key_text(ROW_ROOT_GONE, slice_of(id->bytes, PARTITION_ID_SIZE));
}

static void push(struct drop_work *work)
{
    struct engine_op *op = &work->lane_op.op;
    struct row_key key = gone_key(&work->id);

    memset(&work->lane_op, 0, sizeof(work->lane_op));
    work->lane_op.bytes = DROP_BYTES;
    work->lane_op.awaited = true;
    work->lane_op.done = drop_done;
    if (work->dropped) {
        row_batch_remove(&work->rows, &key);
        row_batch_fill(&work->rows, &ROOT_PARTITION, op);
    } else {
        op->kind = ENGINE_DROP;
        op->partition = work->id;
    }
    (void)lane_push(work->lane, &work->lane_op, NULL);
}

static void drop_partition(
    struct dataset_set *set, struct lane *lane, const struct partition_id *id)
{
    struct drop_work *work = calloc(1, sizeof(*work));

    invariant(work != NULL);
    work->set = set;
    work->lane = lane;
    work->id = *id;
    (void)fault_errno(FAULT_DELETE_DURABLE);
    atomic_fetch_add(&set->in_flight, 1);
    push(work);
}

void dataset_drop_when_quiet(struct dataset *dataset)
{
    bool drop;

    lock_take(&dataset->lock);
    drop = dataset->deleted && !dataset->dropping && dataset->in_flight == 0 &&
           dataset->transactions == NULL;
    dataset->dropping = dataset->dropping || drop;
    lock_drop(&dataset->lock);
    if (drop)
        drop_partition(dataset->set, dataset->lane, &dataset->id);
}

struct left {
    struct partition_id *ids;
    size_t count, capacity;
};

static bool take_left(void *context, struct slice key, struct slice value)
{
    struct left *left = context;

    (void)value;
    if (key.size != 1 + PARTITION_ID_SIZE)
        return true;
    if (left->count == left->capacity) {
        left->capacity = left->capacity == 0 ? 16 : 2 * left->capacity;
        left->ids = realloc(left->ids, left->capacity * sizeof(struct partition_id));
        invariant(left->ids != NULL);
    }
    memcpy(left->ids[left->count++].bytes, (const uint8_t *)key.data + 1, PARTITION_ID_SIZE);
    return true;
}

enum coffer_status drop_work_start_left(struct dataset_set *set, struct error *err)
{
    struct engine *engine = set->store->engine;
    struct row_key gone = row_key_text(ROW_ROOT_GONE, slice_of(NULL, 0));
    struct left left = {0};
    enum coffer_status status = engine->ops->row_scan(engine, &ROOT_PARTITION, row_key_slice(&gone),
        slice_of(NULL, 0), false, take_left, &left, err);

    for (size_t i = 0; i < left.count && status == COFFER_OK; i++)
        drop_partition(set, lane_set_steady(set->store->lanes, 0), &left.ids[i]);
    free(left.ids);
    return status;
}

/* ---- step 1 ---- */

static void delete_done(struct change *change, enum coffer_status status, struct wake_list *wakes)
{
    struct dataset *dataset = change->dataset;

    dataset->changing = false;
    wake_later(wakes, &dataset->waiters);
    if (status != COFFER_OK)
        return;
    dataset->life = LIFE_GONE;
    dataset->deleted = true;
    for (size_t i = 0; i < dataset->stream_count; i++)
        wake_later(wakes, &dataset->streams[i]->waiters);
}

static void fill_rows(struct change *change)
{
    struct dataset *dataset = change->dataset;
    struct row_key name = row_key_text(ROW_ROOT_DATASET, slice_from_text(dataset->name));
    struct row_key gone = gone_key(&dataset->id);

    row_batch_remove(&change->rows, &name);
    row_batch_put(&change->rows, &gone, NULL, 0, false);
}

/* It is deleted: whatever was open ends, and its space is given back. */
static void delete_over(struct dataset *dataset)
{
    transactions_abort_all(dataset, "the dataset was deleted");
    dataset_set_forget(dataset);
    dataset_drop_when_quiet(dataset);
}

static enum coffer_status delete_step(struct change *change, struct error *err)
{
    struct dataset *dataset = change->dataset;
    enum coffer_status status = COFFER_AGAIN;

    lock_take(&dataset->lock);
    if (change->pushed) {
        if (change_settled(change))
            status = change->status;
    } else if (dataset->changing) {
        waiter_add(&dataset->waiters, &change->waiter, change->waker);
    } else {
        status = dataset_check(dataset, err);
        if (status == COFFER_OK) {
            dataset->changing = true;
            fill_rows(change);
            change->lane_op.op.frees = true;
            change_push(change, &ROOT_PARTITION);
            lock_drop(&dataset->lock);
            return COFFER_AGAIN;
        }
    }
    lock_drop(&dataset->lock);
    if (change->pushed && status == COFFER_OK)
        delete_over(dataset);
    else if (change->pushed && status != COFFER_AGAIN)
        return error_set(err, status, "dataset %s could not be deleted: %s", dataset->name,
            status_title(status));
    return status;
}

static void delete_give_up(struct change *change)
{
    if (change->settled && change->status == COFFER_OK)
        delete_over(change->dataset);
}

static const struct change_kind DELETE = {
    .step = delete_step, .done = delete_done, .give_up = delete_give_up};

enum coffer_status dataset_delete(
    struct dataset *dataset, struct waker waker, struct change **out, struct error *err)
{
    (void)err;
    *out = change_create(dataset, &DELETE, waker);
    return COFFER_OK;
}
