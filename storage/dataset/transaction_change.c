/*
 * What clients do with transactions: open, ready, commit, abort. Except for the opening these
 * only set the transaction going and watch it (transaction.c); one that has ended is known by its
 * row, so that the same request can be answered again, also by a later run of the server.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "storage/base/bytes.h"
#include "storage/base/clock.h"
#include "storage/dataset/change.h"
#include "storage/dataset/transaction_look.h"

/* ---- opening ---- */

static enum coffer_status open_step(struct change *change, struct error *err)
{
    struct transaction *transaction = change->transaction;
    struct dataset *dataset = change->dataset;
    enum coffer_status status = COFFER_OK;

    lock_take(&dataset->lock);
    if (transaction->phase == PHASE_OPENING) {
        waiter_add(&transaction->waiters, &change->waiter, change->waker);
        status = COFFER_AGAIN;
    } else {
        transaction_fill_info(transaction, &change->info);
        change->info.created = change->created;
        if (change->info.state == TRANSACTION_ABORTED && transaction->end_status != COFFER_OK)
            status = error_set(err, transaction->end_status,
                "the transaction could not be opened: %s", status_title(transaction->end_status));
        else if (change->info.state != TRANSACTION_OPEN)
            status = transaction_ended_error(&change->info, err);
    }
    lock_drop(&dataset->lock);
    return status;
}

static const struct change_kind OPEN = {.step = open_step};

static enum coffer_status busy(
    const struct transaction *other, const char *channel, struct error *err)
{
    return error_set(err, COFFER_CHANNEL_BUSY,
        "%s%s is in transaction %s until that is committed or aborted",
        channel == NULL ? "the dataset" : "channel ", channel == NULL ? "" : channel, other->id);
}

/* With the lock: nobody else has the channels, which are made where they are missing. */
static enum coffer_status check_channels(
    struct dataset *dataset, const struct transaction_options *options, struct error *err)
{
    for (size_t i = 0; i < options->channel_count; i++) {
        struct stream *stream;
        enum coffer_status status =
            dataset_make_stream(dataset, options->channels[i], &stream, err);

        if (status != COFFER_OK)
            return status;
        if (stream->transaction != NULL)
            return busy(stream->transaction, stream->name, err);
    }
    if (dataset->whole != NULL)
        return busy(dataset->whole, NULL, err);
    for (struct transaction *at = dataset->transactions; at != NULL && options->channel_count == 0;
         at = at->next)
        if (at->phase != PHASE_ABORTING)
            return busy(at, NULL, err);
    return COFFER_OK;
}

/* With the lock. */
static struct transaction *add(struct dataset *dataset, const struct transaction_options *options)
{
    struct transaction *transaction = calloc(1, sizeof(*transaction));

    invariant(transaction != NULL);
    transaction->dataset = dataset;
    copy_name(transaction->id, sizeof(transaction->id), options->id);
    transaction->references = 1; /* the list's */
    transaction->whole = options->channel_count == 0;
    transaction->barrier = options->barrier;
    transaction->commit_when_ready = options->commit_when_ready;
    transaction->ttl_ns = options->ttl_ns;
    transaction->deadline_ns = clock_monotonic_ns() + options->ttl_ns;
    for (size_t i = 0; i < options->channel_count; i++) {
        struct stream *stream = dataset_find_stream(dataset, options->channels[i]);

        if (stream->transaction == NULL) /* named twice */
            (void)transaction_add_member(transaction, stream);
    }
    if (transaction->whole)
        dataset->whole = transaction;
    transaction->next = dataset->transactions;
    dataset->transactions = transaction;
    dataset->transaction_count++;
    dataset->transaction_moves++;
    atomic_fetch_add(&dataset->references, 1); /* it stays in memory as long as this is open */
    transaction_push_rows(transaction);
    return transaction;
}

/* With the lock: a new one of an id that there is not; with a reference. */
static enum coffer_status begin(struct dataset *dataset, const struct transaction_options *options,
    struct transaction **out, struct error *err)
{
    enum coffer_status status = dataset_takes_data(dataset, err);

    if (status != COFFER_OK)
        return status;
    if (dataset->transaction_count >= DATASET_TRANSACTIONS_MAX)
        return error_set(err, COFFER_OVERLOADED, "the dataset has %d open transactions",
            DATASET_TRANSACTIONS_MAX);
    status = check_channels(dataset, options, err);
    if (status != COFFER_OK)
        return status;
    *out = add(dataset, options);
    (*out)->references++;
    return COFFER_OK;
}

/* The one of this id, or a new one (*added), with a reference. */
static enum coffer_status get_or_begin(struct dataset *dataset,
    const struct transaction_options *options, struct transaction **out, bool *added,
    struct error *err)
{
    struct transaction_info ended;
    enum coffer_status status;
    uint64_t moves;

    *added = false;
    do {
        lock_take(&dataset->lock);
        moves = dataset->transaction_moves;
        lock_drop(&dataset->lock);
        status = transaction_get_or_ended(dataset, options->id, out, &ended, err);
        if (status == COFFER_OK && *out == NULL)
            return transaction_ended_error(&ended, err);
        if (status != COFFER_NO_SUCH_TRANSACTION)
            return status;
        lock_take(&dataset->lock);
        *added = moves == dataset->transaction_moves; /* else one of the id may be there by now */
        if (*added)
            status = begin(dataset, options, out, err);
        lock_drop(&dataset->lock);
    } while (!*added);
    return status;
}

static enum coffer_status check_open_options(
    const struct transaction_options *options, struct error *err)
{
    if (options->ttl_ns == 0 || options->ttl_ns > (uint64_t)TRANSACTION_TTL_MAX * NS_PER_S)
        return error_set(err, COFFER_BAD_REQUEST, "ttl is more than 0 and at most %d seconds",
            TRANSACTION_TTL_MAX);
    if (options->channel_count > TRANSACTION_CHANNELS_MAX)
        return error_set(err, COFFER_CONTENT_TOO_LARGE, "a transaction has at most %d channels",
            TRANSACTION_CHANNELS_MAX);
    if (options->commit_when_ready && options->channel_count == 0)
        return error_set(err, COFFER_BAD_REQUEST,
            "commit_when_ready needs the list of channels that the commit is to wait for");
    return COFFER_OK;
}

/* An id of our own: 32 hexadecimal digits. */
static struct slice make_id(char out[STREAM_NAME_SIZE])
{
    uint8_t bytes[16];

    random_bytes(bytes, sizeof(bytes));
    hex_encode(bytes, sizeof(bytes), out);
    return slice_from_text(out);
}

enum coffer_status transaction_open(struct dataset *dataset,
    const struct transaction_options *given, struct waker waker, struct change **out,
    struct error *err)
{
    struct transaction_options options = *given;
    struct transaction *transaction = NULL;
    char id[STREAM_NAME_SIZE];
    enum coffer_status status = check_open_options(&options, err);
    bool added = false;

    if (options.id.size == 0)
        options.id = make_id(id);
    if (status == COFFER_OK)
        status = get_or_begin(dataset, &options, &transaction, &added, err);
    if (status != COFFER_OK)
        return status;
    if (added)
        dataset_set_alarm(dataset->set, clock_monotonic_ns() + options.ttl_ns);
    *out = change_create(dataset, &OPEN, waker);
    (*out)->transaction = transaction;
    (*out)->created = added;
    return COFFER_OK;
}

/* ---- committing ---- */

/* It has ended: committed is what we wanted. */
static enum coffer_status committed(struct change *change, struct error *err)
{
    struct parts parts = {0};
    enum coffer_status status;

    if (change->info.state != TRANSACTION_COMMITTED)
        return transaction_ended_error(&change->info, err);
    status = parts_of_version(change->dataset, change->info.version, &parts, err);
    change->parts = parts.items;
    change->part_count = parts.count;
    return status;
}

/* With the lock. */
static bool all_ready(const struct transaction *transaction)
{
    for (size_t i = 0; i < transaction->member_count; i++)
        if (!transaction->members[i]->ready)
            return false;
    return true;
}

static enum coffer_status not_ready(struct change *change, struct error *err)
{
    struct transaction *transaction = change->transaction;
    struct parts parts = {0};

    parts_of_members(transaction, true, &parts);
    free(change->parts);
    change->parts = parts.items;
    change->part_count = parts.count;
    return error_set(err, COFFER_TRANSACTION_NOT_READY,
        "%zu of the %zu channels of transaction %s are not ready, channel %s among them",
        parts.count, transaction->member_count, transaction->id,
        parts.count > 0 ? parts.items[0].name : "-");
}

static enum coffer_status watch(struct change *change)
{
    waiter_add(&change->transaction->waiters, &change->waiter, change->waker);
    return COFFER_AGAIN;
}

/* With the lock: how a commit goes on. *start: transaction_advance() is to be called. */
static enum coffer_status commit_locked(
    struct change *change, bool *start, uint64_t *alarm_ns, struct error *err)
{
    struct transaction *transaction = change->transaction;
    uint64_t now = clock_monotonic_ns();

    switch (transaction->phase) {
    case PHASE_OPENING:
        return watch(change);
    case PHASE_OPEN:
        if (transaction->barrier && !all_ready(transaction)) {
            if (now >= change->wait_until_ns)
                return not_ready(change, err);
            if (transaction->wake_ns == 0 || transaction->wake_ns > change->wait_until_ns)
                transaction->wake_ns = change->wait_until_ns;
            *alarm_ns = change->wait_until_ns;
            return watch(change);
        }
        transaction->phase = PHASE_SYNCING;
        transaction->references++;
        *start = true;
        return COFFER_OK;
    case PHASE_SYNCING:
    case PHASE_COMMITTING:
    case PHASE_ABORTING:
        return watch(change);
    case PHASE_ENDED:
        break;
    }
    transaction_fill_info(transaction, &change->info);
    if (transaction->state == TRANSACTION_ABORTED && transaction->end_status != COFFER_OK &&
        change->committing)
        return error_set(err, transaction->end_status, "transaction %s was aborted: %s: %s",
            transaction->id, transaction->reason, status_title(transaction->end_status));
    return COFFER_OK;
}

static enum coffer_status commit_step(struct change *change, struct error *err)
{
    struct dataset *dataset = change->dataset;
    bool start = true;
    enum coffer_status status = COFFER_OK;

    while (change->transaction != NULL && start) {
        uint64_t alarm_ns = 0;

        start = false;
        lock_take(&dataset->lock);
        status = commit_locked(change, &start, &alarm_ns, err);
        lock_drop(&dataset->lock);
        change->committing = change->committing || start;
        if (start)
            transaction_advance(change->transaction);
        if (alarm_ns != 0)
            dataset_set_alarm(dataset->set, alarm_ns);
    }
    return status == COFFER_OK ? committed(change, err) : status;
}

static const struct change_kind COMMIT = {.step = commit_step};

enum coffer_status transaction_commit(struct dataset *dataset, struct slice id, uint64_t wait_ns,
    struct waker waker, struct change **out, struct error *err)
{
    struct transaction *transaction;
    struct transaction_info ended;
    enum coffer_status status = transaction_get_or_ended(dataset, id, &transaction, &ended, err);

    if (status != COFFER_OK)
        return status;
    *out = change_create(dataset, &COMMIT, waker);
    (*out)->transaction = transaction;
    (*out)->wait_until_ns = clock_monotonic_ns() + wait_ns;
    (*out)->committing = true;
    if (transaction == NULL)
        (*out)->info = ended;
    return COFFER_OK;
}

/* ---- ready ---- */

/* With the lock: the member of that channel is ready. */
static enum coffer_status make_ready(struct change *change, struct error *err)
{
    struct transaction *transaction = change->transaction;
    struct dataset *dataset = change->dataset;
    struct stream *stream;
    struct member *member;
    enum coffer_status status;

    if (change->channel[0] == '\0') {
        for (size_t i = 0; i < transaction->member_count; i++)
            transaction->members[i]->ready = true;
        return COFFER_OK;
    }
    status = dataset_make_stream(dataset, slice_from_text(change->channel), &stream, err);
    if (status == COFFER_OK)
        status = transaction_member(transaction, stream, &member, err);
    if (status == COFFER_OK)
        member->ready = true;
    return status;
}

static enum coffer_status ready_step(struct change *change, struct error *err)
{
    struct transaction *transaction = change->transaction;
    struct dataset *dataset = change->dataset;
    struct wake_list wakes = {NULL};
    enum coffer_status status = COFFER_OK;
    bool commit = transaction == NULL; /* it has ended: the same answer as a commit's */

    if (transaction != NULL && !change->begun) {
        lock_take(&dataset->lock);
        if (transaction->phase == PHASE_OPENING) {
            status = watch(change);
        } else if (transaction->phase == PHASE_OPEN) {
            status = make_ready(change, err);
            change->begun = status == COFFER_OK;
            commit = transaction->commit_when_ready && all_ready(transaction);
            change->committing = commit;
            if (change->begun)
                wake_later(&wakes, &transaction->waiters);
            transaction_fill_info(transaction, &change->info);
        } else {
            change->begun = commit = change->committing = true;
        }
        lock_drop(&dataset->lock);
        wake_all(&wakes);
    }
    if (status != COFFER_OK || !(commit || change->committing))
        return status;
    return commit_step(change, err);
}

static const struct change_kind READY = {.step = ready_step};

enum coffer_status transaction_ready(struct dataset *dataset, struct slice id, struct slice channel,
    struct waker waker, struct change **out, struct error *err)
{
    struct transaction *transaction;
    struct transaction_info ended;
    enum coffer_status status = COFFER_OK;

    if (channel.size > 0 && !stream_name_is_legal(channel))
        return error_set(err, COFFER_BAD_NAME,
            "a channel's name is 1 to 63 of A-Z a-z 0-9 . _ -, the first a letter or digit");
    status = transaction_get_or_ended(dataset, id, &transaction, &ended, err);
    if (status != COFFER_OK)
        return status;
    *out = change_create(dataset, &READY, waker);
    (*out)->transaction = transaction;
    copy_name((*out)->channel, sizeof((*out)->channel), channel);
    if (transaction == NULL)
        (*out)->info = ended;
    return COFFER_OK;
}

/* ---- aborting ---- */

static enum coffer_status abort_step(struct change *change, struct error *err)
{
    struct transaction *transaction = change->transaction;
    struct dataset *dataset = change->dataset;
    bool start = false;

    if (transaction != NULL) {
        enum coffer_status status = COFFER_OK;

        lock_take(&dataset->lock);
        if (!change->begun) {
            transaction_abort_begin(transaction, change->reason);
            transaction->references++;
            change->begun = start = true;
        }
        lock_drop(&dataset->lock);
        if (start)
            transaction_advance(transaction);
        lock_take(&dataset->lock);
        if (transaction->phase != PHASE_ENDED)
            status = watch(change);
        else
            transaction_fill_info(transaction, &change->info);
        lock_drop(&dataset->lock);
        if (status != COFFER_OK)
            return status;
    }
    return change->info.state == TRANSACTION_ABORTED ? COFFER_OK
                                                     : transaction_ended_error(&change->info, err);
}

static const struct change_kind ABORT = {.step = abort_step};

enum coffer_status transaction_abort(struct dataset *dataset, struct slice id, struct slice reason,
    struct waker waker, struct change **out, struct error *err)
{
    struct transaction *transaction;
    struct transaction_info ended;
    enum coffer_status status = transaction_get_or_ended(dataset, id, &transaction, &ended, err);

    if (status != COFFER_OK)
        return status;
    *out = change_create(dataset, &ABORT, waker);
    (*out)->transaction = transaction;
    copy_name((*out)->reason, sizeof((*out)->reason),
        reason.size > 0 ? reason : slice_from_text("a client asked for it"));
    if (transaction == NULL)
        (*out)->info = ended;
    return COFFER_OK;
}
