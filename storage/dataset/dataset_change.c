/*
 * Changes of a dataset's own row, one at a time: metadata, and the steps of closing.
 */
#include <stdlib.h>
#include <string.h>

#include "storage/dataset/change.h"

/* ---- one at a time ---- */

/* With the lock: wait until no other change of the row is under way. */
static bool may_change(struct change *change)
{
    if (!change->dataset->changing)
        return true;
    waiter_add(&change->dataset->waiters, &change->waiter, change->waker);
    return false;
}

static void push_row(struct change *change)
{
    change->dataset->changing = true;
    change_put_row(change);
    change_push(change, &change->dataset->id);
}

/* The row is durable, or as it was. */
static void row_done(struct change *change, enum coffer_status status, struct wake_list *wakes)
{
    struct dataset *dataset = change->dataset;

    dataset->changing = false;
    wake_later(wakes, &dataset->waiters);
    if (status != COFFER_OK)
        return;
    dataset->row_tag++;
    dataset->state = change->state;
    if (change->packages) {
        dataset->packaged = true;
        dataset->package_format = change->package_format;
        dataset->package_size = change->package_size;
    }
    free(dataset->metadata); /* the buffer is ours from here on */
    row_buffer_bytes(&change->metadata, "", 1);
    dataset->metadata = (char *)change->metadata.data;
    dataset->metadata_size = change->metadata.used - 1;
    change->metadata = (struct row_buffer){0};
    if (dataset->state == DATASET_CLOSED) /* those who follow a channel have come to its end */
        for (size_t i = 0; i < dataset->stream_count; i++)
            wake_later(wakes, &dataset->streams[i]->waiters);
}

static enum coffer_status failed(
    const struct change *change, enum coffer_status status, struct error *err)
{
    return error_set(err, status, "the change of dataset %s could not be made durable: %s",
        change->dataset->name, status_title(status));
}

/* ---- metadata ---- */

static enum coffer_status check_metadata(const struct change *change, struct error *err)
{
    const struct dataset *dataset = change->dataset;

    if (change->tag != 0 && change->tag != dataset_tag(dataset))
        return error_set(err, COFFER_PRECONDITION_FAILED,
            "dataset %s has changed meanwhile: read it again", dataset->name);
    if (change->has_was && !slice_equal(slice_of(change->was.data, change->was.used),
                               slice_of(dataset->metadata, dataset->metadata_size)))
        return error_set(err, COFFER_PRECONDITION_FAILED,
            "the metadata of dataset %s has changed meanwhile: read it again", dataset->name);
    return COFFER_OK;
}

static enum coffer_status metadata_step(struct change *change, struct error *err)
{
    struct dataset *dataset = change->dataset;
    enum coffer_status status = COFFER_AGAIN;

    lock_take(&dataset->lock);
    if (change->pushed) {
        if (change_settled(change))
            status = change->status == COFFER_OK ? COFFER_OK : failed(change, change->status, err);
    } else if (may_change(change)) {
        status = dataset_check(dataset, err);
        if (status == COFFER_OK)
            status = check_metadata(change, err);
        if (status == COFFER_OK) {
            change->state = dataset->state;
            push_row(change);
            status = COFFER_AGAIN;
        }
    }
    lock_drop(&dataset->lock);
    return status;
}

static const struct change_kind METADATA = {.step = metadata_step, .done = row_done};

enum coffer_status dataset_set_metadata(struct dataset *dataset, uint64_t tag, struct slice was,
    struct slice metadata, struct waker waker, struct change **out, struct error *err)
{
    struct change *change;

    if (metadata.size > DATASET_METADATA_MAX)
        return error_set(
            err, COFFER_CONTENT_TOO_LARGE, "metadata is at most %d bytes", DATASET_METADATA_MAX);
    change = change_create(dataset, &METADATA, waker);
    change->tag = tag;
    change->has_was = was.data != NULL;
    row_buffer_bytes(&change->was, was.data, was.size);
    row_buffer_bytes(&change->metadata, metadata.data, metadata.size);
    *out = change;
    return COFFER_OK;
}

/* ---- closing ---- */

/* With the lock: the change keeps the metadata as it is. */
static void keep_metadata(struct change *change)
{
    row_buffer_bytes(&change->metadata, change->dataset->metadata, change->dataset->metadata_size);
}

/* Nothing is accepted any more. With the lock. */
static enum coffer_status close_start(struct change *change, struct error *err)
{
    struct dataset *dataset = change->dataset;
    enum coffer_status status = dataset_check(dataset, err);

    if (status != COFFER_OK)
        return status;
    if (dataset->state != DATASET_OPEN || dataset->closing)
        return error_set(err, COFFER_DATASET_CLOSED, "dataset %s is %s already", dataset->name,
            dataset->state == DATASET_CLOSED ? "closed" : "closing");
    dataset->closing = change->begun = true;
    return COFFER_OK;
}

/* Whether nothing is under way; else the waker is registered. With the lock. */
static bool is_quiet(struct change *change)
{
    if (change->dataset->in_flight == 0 && change->dataset->transactions == NULL)
        return true;
    waiter_add(&change->dataset->waiters, &change->waiter, change->waker);
    return false;
}

static enum coffer_status close_step(struct change *change, struct error *err)
{
    struct dataset *dataset = change->dataset;
    enum coffer_status status = COFFER_OK;
    bool aborts = false;

    lock_take(&dataset->lock);
    if (!change->begun) {
        status = close_start(change, err);
        aborts = status == COFFER_OK;
    }
    lock_drop(&dataset->lock);
    if (aborts)
        transactions_abort_all(dataset, "the dataset was closed");
    if (status != COFFER_OK)
        return status;
    dataset_hurry(dataset);
    status = COFFER_AGAIN;
    lock_take(&dataset->lock);
    if (change->pushed) {
        if (change_settled(change))
            status = change->status == COFFER_OK ? COFFER_OK : failed(change, change->status, err);
    } else if (dataset->life != LIFE_READY) {
        status = dataset_check(dataset, err);
    } else if (is_quiet(change) && may_change(change)) {
        change->state = DATASET_CLOSING;
        keep_metadata(change);
        push_row(change);
    }
    lock_drop(&dataset->lock);
    return status;
}

static void close_done(struct change *change, enum coffer_status status, struct wake_list *wakes)
{
    row_done(change, status, wakes);
    change->dataset->closing = false;
}

static void close_give_up(struct change *change)
{
    lock_take(&change->dataset->lock);
    if (change->begun && !change->pushed)
        change->dataset->closing = false; /* appends are taken again */
    lock_drop(&change->dataset->lock);
}

static const struct change_kind CLOSE = {
    .step = close_step, .done = close_done, .give_up = close_give_up};

enum coffer_status dataset_close_begin(
    struct dataset *dataset, struct waker waker, struct change **out, struct error *err)
{
    enum coffer_status status;

    lock_take(&dataset->lock);
    status = dataset_check(dataset, err);
    if (status == COFFER_OK && (dataset->state != DATASET_OPEN || dataset->closing))
        status = error_set(err, COFFER_DATASET_CLOSED, "dataset %s is %s already", dataset->name,
            dataset->state == DATASET_CLOSED ? "closed" : "closing");
    lock_drop(&dataset->lock);
    if (status == COFFER_OK)
        *out = change_create(dataset, &CLOSE, waker);
    return status;
}

/* The row of a dataset that is closing or closed, as the change says. */
static enum coffer_status closed_step(struct change *change, struct error *err)
{
    struct dataset *dataset = change->dataset;
    enum coffer_status status = COFFER_AGAIN;

    lock_take(&dataset->lock);
    if (change->pushed) {
        if (change_settled(change))
            status = change->status == COFFER_OK ? COFFER_OK : failed(change, change->status, err);
    } else if (dataset->life != LIFE_READY) {
        status = dataset_check(dataset, err);
    } else if (dataset->state == DATASET_OPEN) {
        status = error_set(err, COFFER_BAD_REQUEST, "dataset %s is open", dataset->name);
    } else if (may_change(change)) {
        if (change->packages) /* it stays what it is */
            change->state = dataset->state;
        keep_metadata(change);
        push_row(change);
    }
    lock_drop(&dataset->lock);
    return status;
}

static const struct change_kind CLOSED = {.step = closed_step, .done = row_done};

enum coffer_status dataset_closed(
    struct dataset *dataset, struct waker waker, struct change **out, struct error *err)
{
    struct change *change = change_create(dataset, &CLOSED, waker);

    (void)err;
    change->state = DATASET_CLOSED;
    *out = change;
    return COFFER_OK;
}

struct change *dataset_packaged(
    struct dataset *dataset, enum archive_format format, uint64_t size, struct waker waker)
{
    struct change *change = change_create(dataset, &CLOSED, waker);

    change->packages = true;
    change->package_format = format;
    change->package_size = size;
    return change;
}
