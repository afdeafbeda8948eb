/*
 * Claiming a channel: a higher epoch, written with the rows of the group that is gathering, so
 * that it has its place in the order of appends.
 */
#include <string.h>

#include "storage/dataset/change.h"

/* With the lock: the channel is free of transactions, or the claim waits. */
static enum coffer_status make_way(
    struct change *change, struct stream *stream, struct transaction **ended)
{
    struct dataset *dataset = change->dataset;
    struct transaction *transaction =
        stream->transaction != NULL ? stream->transaction : dataset->whole;

    *ended = NULL;
    if (transaction == NULL)
        return COFFER_OK;
    if (transaction->phase == PHASE_COMMITTING) { /* too late: it is over in a moment */
        waiter_add(&transaction->waiters, &change->waiter, change->waker);
        return COFFER_AGAIN;
    }
    transaction_abort_begin(transaction, "a newer writer has claimed one of its channels");
    transaction->references++;
    *ended = transaction;
    return COFFER_OK;
}

/* With the lock. */
static enum coffer_status join(struct change *change, struct transaction **ended, struct error *err)
{
    struct dataset *dataset = change->dataset;
    struct join claim = {.urgent = true};
    uint64_t offset, record;
    enum coffer_status status = dataset_takes_data(dataset, err);

    *ended = NULL;
    if (status == COFFER_OK)
        status =
            dataset_make_stream(dataset, slice_from_text(change->channel), &change->stream, err);
    if (status == COFFER_OK)
        status = make_way(change, change->stream, ended);
    if (status != COFFER_OK)
        return status;
    change->offset = stream_tail(change->stream);
    status = group_join(change->stream, NULL, &claim, &change->waiter, &change->room, change->waker,
        &change->group, &offset, &record, err);
    if (status == COFFER_OK)
        change->epoch = ++change->stream->tail_epoch;
    return status;
}

static enum coffer_status claim_step(struct change *change, struct error *err)
{
    struct dataset *dataset = change->dataset;
    struct transaction *ended = NULL;
    enum coffer_status status = COFFER_OK;

    lock_take(&dataset->lock);
    if (change->group == NULL)
        status = join(change, &ended, err);
    if (status == COFFER_OK && !change->group->settled) {
        waiter_add(&change->group->waiters, &change->waiter, change->waker);
        status = COFFER_AGAIN;
    } else if (status == COFFER_OK && change->group->status != COFFER_OK) {
        status = error_set(err, change->group->status, "the claim could not be made durable: %s",
            status_title(change->group->status));
    }
    lock_drop(&dataset->lock);
    if (ended != NULL)
        transaction_advance(ended);
    return status;
}

static const struct change_kind CLAIM = {.step = claim_step};

enum coffer_status stream_claim(struct dataset *dataset, struct slice channel, struct waker waker,
    struct change **out, struct error *err)
{
    struct change *change;

    if (!stream_name_is_legal(channel))
        return error_set(err, COFFER_BAD_NAME,
            "a channel's name is 1 to 63 of A-Z a-z 0-9 . _ -, the first a letter or digit");
    change = change_create(dataset, &CLAIM, waker);
    memcpy(change->channel, channel.data, channel.size);
    *out = change;
    return COFFER_OK;
}
