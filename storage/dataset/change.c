#include "storage/dataset/change.h"

#include <stdlib.h>

enum { CHANGE_BYTES = 1024 /* of a lane's buffer */ };

struct change *change_create(
    struct dataset *dataset, const struct change_kind *kind, struct waker waker)
{
    struct change *change = calloc(1, sizeof(*change));

    invariant(change != NULL);
    change->kind = kind;
    change->dataset = dataset;
    atomic_fetch_add(&dataset->references, 1);
    change->waker = waker;
    return change;
}

static void rows_done(struct lane_op *op)
{
    struct change *change = container_of(op, struct change, lane_op);
    struct dataset *dataset = change->dataset;
    struct wake_list wakes = {NULL};
    struct waker waker = change->waker;

    lock_take(&dataset->lock);
    change->status = op->op.status;
    if (change->kind->done != NULL)
        change->kind->done(change, change->status, &wakes);
    change->settled = true;
    lock_drop(&dataset->lock);
    wake_all(&wakes);
    /* The change waits for this, and may be closed as soon as it is woken. */
    dataset_work_end(dataset);
    waker_wake(waker);
}

void change_push(struct change *change, const struct partition_id *partition)
{
    struct lane_op *op = &change->lane_op;

    row_batch_fill(&change->rows, partition, &op->op);
    op->op.claims = change->claims;
    op->op.claim_count = change->claim_count;
    op->op.drops = change->drops;
    op->op.drop_count = change->drop_count;
    op->bytes = CHANGE_BYTES;
    op->urgent = op->awaited = true;
    op->done = rows_done;
    change->pushed = true;
    dataset_work_begin(change->dataset);
    (void)lane_push(change->dataset->lane, op, NULL);
}

bool change_settled(struct change *change)
{
    return change->settled; /* else rows_done() wakes us, once, as the step answers COFFER_AGAIN */
}

void change_put_row(struct change *change)
{
    const struct dataset *dataset = change->dataset;
    struct row_key key = row_key_text(ROW_DATASET, slice_of(NULL, 0));
    struct dataset_row_value row;

    dataset_fill_row(dataset, &row);
    row.tag++;
    row.state = change->state;
    row.metadata = slice_of(change->metadata.data, change->metadata.used);
    if (change->packages) {
        row.packaged = true;
        row.package_format = change->package_format;
        row.package_size = change->package_size;
    }
    row_batch_begin(&change->rows, &key, false);
    dataset_row_encode(&row, &change->rows.bytes);
    row_batch_end(&change->rows);
}

static enum coffer_status rows_step(struct change *change, struct error *err)
{
    struct dataset *dataset = change->dataset;
    enum coffer_status status = COFFER_AGAIN;

    lock_take(&dataset->lock);
    if (!change->pushed) {
        status = dataset_check(dataset, err);
        if (status == COFFER_OK) {
            change_push(change, &dataset->id);
            status = COFFER_AGAIN;
        }
    } else if (change_settled(change)) {
        status = change->status;
    }
    lock_drop(&dataset->lock);
    if (status != COFFER_OK && status != COFFER_AGAIN)
        return error_set(err, status, "rows could not be written: %s", status_title(status));
    return status;
}

static const struct change_kind ROWS = {.step = rows_step};

struct change *change_of_rows(struct dataset *dataset, struct waker waker)
{
    return change_create(dataset, &ROWS, waker);
}

enum coffer_status change_finish(struct change *change, struct error *err)
{
    enum coffer_status status;

    if (change->over)
        return COFFER_OK;
    status = change->kind->step(change, err);
    change->over = status == COFFER_OK;
    return status;
}

void change_close(struct change *change)
{
    struct dataset *dataset;

    if (change == NULL)
        return;
    dataset = change->dataset;
    if (!change->over && change->kind->give_up != NULL)
        change->kind->give_up(change);
    if (change->stream != NULL)
        lane_give_room(change->stream->lane, &change->room);
    lock_take(&dataset->lock);
    group_unref(change->group);
    transaction_unref(change->transaction);
    lock_drop(&dataset->lock);
    row_batch_release(&change->rows);
    row_buffer_release(&change->metadata);
    row_buffer_release(&change->was);
    free(change->parts);
    dataset_drop(dataset);
    free(change);
}

bool change_created(const struct change *change)
{
    return change->created;
}

void change_claim(const struct change *change, uint64_t *epoch, uint64_t *offset)
{
    *epoch = change->epoch;
    *offset = change->offset;
}

void change_transaction(const struct change *change, struct transaction_info *info)
{
    *info = change->info;
}

const struct version_part *change_parts(const struct change *change, size_t *count)
{
    *count = change->part_count;
    return change->parts;
}
