/*
 * One append coming in. Its course:
 *
 *   TAKING ---- append_finish() ----> COMPLETE ----> JOINING ----> JOINED ----> DONE
 *     |  bytes, into a body that       digest    \    to a group    the group
 *     |  is charged to the budget      compared   \   or member     is settled
 *     |                                            +-> COMPARING: the offset is not the end, so it
 *     |                                                may be one that was sent before
 *     +-- more than a block: staged blocks go to the lane as they fill (append_stage.c)
 *
 * Each step that has to wait returns COFFER_AGAIN and is entered again at the next call.
 */
#include <stdlib.h>
#include <string.h>

#include "storage/base/bytes.h"
#include "storage/dataset/dataset_parts.h"

enum {
    SMALL_BODY = 64 * 1024 /* of unknown size: taken without a charge, bounded by connections */
};

/* ---- what may be refused ---- */

static enum coffer_status check_epoch(
    const struct append *append, const struct stream *stream, struct error *err)
{
    uint64_t epoch = stream == NULL ? 0 : stream->tail_epoch;

    if (!append->has_epoch || append->epoch == epoch)
        return COFFER_OK;
    if (append->epoch < epoch)
        return error_set(err, COFFER_FENCED,
            "epoch %llu of channel %s is over: a newer writer has claimed it with epoch %llu",
            (unsigned long long)append->epoch, append->channel, (unsigned long long)epoch);
    return error_set(err, COFFER_BAD_REQUEST,
        "channel %s is at epoch %llu, %llu was never given out: claim the channel first",
        append->channel, (unsigned long long)epoch, (unsigned long long)append->epoch);
}

enum coffer_status append_check(
    struct append *append, struct member **member, uint64_t *end, struct error *err)
{
    struct dataset *dataset = append->dataset;
    struct stream *stream = dataset_find_stream(dataset, slice_from_text(append->channel));
    enum coffer_status status = dataset_takes_data(dataset, err);

    *member = NULL;
    *end = stream == NULL ? 0 : stream_tail(stream);
    if (status == COFFER_OK)
        status = check_epoch(append, stream, err);
    if (status != COFFER_OK)
        return status;
    if (append->transaction == NULL)
        return transaction_outside(dataset, stream, err);
    status = transaction_check(append->transaction, append->channel, member, err);
    if (status == COFFER_OK && *member != NULL)
        *end = (*member)->base_size + (*member)->pieces.length;
    return status;
}

enum coffer_status append_mismatch(
    struct append *append, uint64_t end, uint64_t *current, struct error *err)
{
    *current = end;
    return error_set(err, COFFER_OFFSET_MISMATCH,
        "channel %s ends at %llu, not at %llu, and no record with this content starts there",
        append->channel, (unsigned long long)end, (unsigned long long)append->offset);
}

/* Refuse at once what can never be right; an offset before the end may be that of a repeat. */
static enum coffer_status check_offset(
    struct append *append, uint64_t end, uint64_t *current, struct error *err)
{
    if (!append->has_offset || append->offset == end)
        return COFFER_OK;
    if (append->offset > end ||
        (append->announced != UPLOAD_SIZE_UNKNOWN && append->announced > end - append->offset))
        return append_mismatch(append, end, current, err);
    append->only_hash = true;
    return COFFER_OK;
}

/* ---- beginning ---- */

static enum coffer_status find_transaction(
    struct append *append, struct slice id, struct error *err)
{
    struct transaction_info info;
    enum coffer_status status;

    if (id.size == 0)
        return COFFER_OK;
    status = transaction_get_or_ended(append->dataset, id, &append->transaction, &info, err);
    if (status != COFFER_OK || append->transaction != NULL)
        return status;
    return transaction_ended_error(&info, err);
}

static struct append *append_create(
    struct dataset *dataset, const struct append_options *options, struct waker waker)
{
    struct append *append = calloc(1, sizeof(*append));

    invariant(append != NULL);
    append->dataset = dataset;
    atomic_fetch_add(&dataset->references, 1);
    append->waker = waker;
    memcpy(append->channel, options->channel.data, options->channel.size);
    append->has_offset = options->has_offset;
    append->offset = options->offset;
    append->has_epoch = options->has_epoch;
    append->epoch = options->epoch;
    append->lines = options->lines;
    append->announced = options->size;
    append->durability = options->durability;
    append->has_digest = options->digest != NULL;
    if (append->has_digest)
        append->digest = *options->digest;
    append->record_piece = SIZE_MAX;
    return append;
}

enum coffer_status append_begin(struct dataset *dataset, const struct append_options *options,
    struct waker waker, struct append **out, uint64_t *current, struct error *err)
{
    struct append *append;
    struct member *member;
    enum coffer_status status;
    uint64_t end;

    if (!stream_name_is_legal(options->channel))
        return error_set(err, COFFER_BAD_NAME,
            "a channel's name is 1 to 63 of A-Z a-z 0-9 . _ -, the first a letter or digit");
    status = store_check_space(
        dataset->store, options->size == UPLOAD_SIZE_UNKNOWN ? 0 : options->size, err);
    if (status != COFFER_OK)
        return status;
    append = append_create(dataset, options, waker);
    status = find_transaction(append, options->transaction, err);
    if (status == COFFER_OK) {
        lock_take(&dataset->lock);
        status = append_check(append, &member, &end, err);
        if (status == COFFER_OK)
            status = check_offset(append, end, current, err);
        lock_drop(&dataset->lock);
    }
    if (status != COFFER_OK) {
        append_close(append);
        return status;
    }
    *out = append;
    return COFFER_OK;
}

/* ---- taking the body ---- */

static void hurry(void *context, struct lane *lane)
{
    (void)context;
    lane_hurry(lane);
}

bool append_charge(struct append *append, uint64_t bytes)
{
    struct store *store = append->dataset->store;

    if (!append->requested) {
        /* What fills the memory may be appends that nobody waits for yet. */
        if (!budget_has_room(&store->budget, bytes))
            lane_set_each(store->lanes, hurry, NULL);
        append->request = (struct budget_request){.bytes = bytes, .waker = append->waker};
        append->requested = true;
        if (!budget_take(&store->budget, &append->request))
            return false;
    } else if (!budget_granted(&store->budget, &append->request)) {
        return false;
    }
    append->requested = false;
    return true;
}

static void hash(struct append *append, const void *data, size_t size)
{
    if (!append->hashing) {
        sha256_init(&append->sha);
        append->hashing = true;
        if (append->body != NULL) /* what came before */
            sha256_update(&append->sha, append->body->content, append->body->size);
    }
    if (size > 0)
        sha256_update(&append->sha, data, size);
}

/* A first body of unknown size: it becomes a large one when it turns out to be too small. */
static enum coffer_status enlarge(struct append *append, struct error *err)
{
    struct body *body;

    if (!append_charge(append, BLOCK_CONTENT_MAX))
        return COFFER_AGAIN;
    body = body_create(BLOCK_CONTENT_MAX);
    if (body == NULL) {
        budget_give(&append->dataset->store->budget, BLOCK_CONTENT_MAX);
        return error_set(err, COFFER_OVERLOADED, "no memory for a body");
    }
    body->budget = &append->dataset->store->budget;
    body->charged = BLOCK_CONTENT_MAX;
    if (append->body != NULL) {
        memcpy(body->content, append->body->content, append->body->size);
        body->size = append->body->size;
        body_unref(append->body);
    }
    append->body = body;
    return COFFER_OK;
}

/* The first body: of the announced size, if that is less than a block. */
static enum coffer_status first_body(struct append *append, struct error *err)
{
    bool known = append->announced != UPLOAD_SIZE_UNKNOWN;
    uint64_t wanted = known ? append->announced : SMALL_BODY;

    if (known && !append_charge(append, wanted))
        return COFFER_AGAIN;
    append->body = body_create((size_t)wanted);
    if (append->body == NULL) {
        if (known)
            budget_give(&append->dataset->store->budget, wanted);
        return error_set(err, COFFER_OVERLOADED, "no memory for a body of %llu bytes",
            (unsigned long long)wanted);
    }
    if (known) {
        append->body->budget = &append->dataset->store->budget;
        append->body->charged = wanted;
    }
    return COFFER_OK;
}

/* Room for at least one more byte in append->body. */
static enum coffer_status make_room(struct append *append, struct error *err)
{
    struct body *body = append->body;
    enum coffer_status status;

    if (body != NULL && body->size < body->capacity)
        return COFFER_OK;
    if (body != NULL && body->size == BLOCK_CONTENT_MAX) {
        if (!append->hashing && (append->has_offset || append->has_digest))
            hash(append, NULL, 0); /* its bytes are out of reach from now on */
        status = append_stage(append, false, err);
        if (status != COFFER_OK || append->body != NULL)
            return status;
        body = NULL;
    }
    if (body == NULL && append->staging == NULL &&
        (append->announced < BLOCK_CONTENT_MAX || append->announced == UPLOAD_SIZE_UNKNOWN))
        return first_body(append, err);
    return enlarge(append, err);
}

enum coffer_status append_data(
    struct append *append, const void *data, size_t size, size_t *taken, struct error *err)
{
    *taken = 0;
    if (append->failed)
        return error_set(err, COFFER_INTERNAL, "the append has failed");
    if (append->announced != UPLOAD_SIZE_UNKNOWN && size > append->announced - append->received) {
        append->failed = true;
        return error_set(err, COFFER_CONTENT_TOO_LARGE, "the body is longer than announced");
    }
    if (append->only_hash) {
        hash(append, data, size);
        append->received += size;
        *taken = size;
        return COFFER_OK;
    }
    while (*taken < size) {
        const uint8_t *from = (const uint8_t *)data + *taken;
        enum coffer_status status = make_room(append, err);
        size_t part;

        if (status != COFFER_OK) {
            append->failed = status != COFFER_AGAIN;
            return status;
        }
        part = (size_t)min_u64(size - *taken, append->body->capacity - append->body->size);
        if (append->hashing)
            hash(append, from, part);
        memcpy(append->body->content + append->body->size, from, part);
        append->body->size += part;
        append->received += part;
        *taken += part;
    }
    return COFFER_OK;
}

/* ---- finishing ---- */

static enum coffer_status complete(struct append *append, struct error *err)
{
    char wanted[DIGEST_HEX_SIZE + 1], got[DIGEST_HEX_SIZE + 1];

    if (append->failed)
        return error_set(err, COFFER_INTERNAL, "the append has failed");
    if (append->announced != UPLOAD_SIZE_UNKNOWN && append->received != append->announced)
        return error_set(err, COFFER_BAD_REQUEST, "the body has %llu bytes of the %llu announced",
            (unsigned long long)append->received, (unsigned long long)append->announced);
    if (append->received == 0)
        return error_set(err, COFFER_BAD_REQUEST, "an append needs at least one byte");
    if (append->hashing)
        sha256_final(&append->sha, &append->actual);
    else if (append->has_digest)
        sha256_once(append->body->content, append->body->size, &append->actual);
    if (append->has_digest && !digest_equal(&append->actual, &append->digest)) {
        digest_to_hex(&append->digest, wanted);
        digest_to_hex(&append->actual, got);
        return error_set(err, COFFER_DIGEST_MISMATCH,
            "the SHA-256 of the body is %s, not %s: nothing was appended", got, wanted);
    }
    append->step = append->only_hash ? APPEND_COMPARING : APPEND_COMPLETE;
    return COFFER_OK;
}

/* The body is charged, and its records are known; or all of it is staged. */
static enum coffer_status settle_body(struct append *append, struct error *err)
{
    enum coffer_status status = store_check_space(append->dataset->store, append->received, err);

    if (status != COFFER_OK)
        return status;
    if (append->staging != NULL) {
        status = append_stage(append, true, err);
        if (status == COFFER_OK)
            status = append_staged(append, err);
    } else {
        if (append->body->budget == NULL) {
            append->body = body_shrink(append->body);
            if (!append_charge(append, append->body->size))
                return COFFER_AGAIN;
            append->body->budget = &append->dataset->store->budget;
            append->body->charged = append->body->size;
        }
        append_split(append);
    }
    if (status == COFFER_OK)
        append->step = APPEND_JOINING;
    return status;
}

static void fill_accepted(struct append *append, uint64_t offset, uint64_t record)
{
    append->result.offset = offset;
    append->result.record = record;
    append->result.length = append->received;
    append->result.records = append->pieces.records;
}

/* Joined: what is known without a wait. With the lock. */
static void joined(struct append *append, struct member *member, uint64_t tail, uint64_t records)
{
    struct group *group = append->group;

    append->step = APPEND_JOINED;
    if (append->staging == NULL)
        append->body = NULL; /* the group has it */
    if (member != NULL) {
        fill_accepted(append, member->base_size + append->at_offset,
            member->base_records + append->at_record);
        append->result.staged = true;
        append->step = APPEND_DONE;
    } else if (append->durability == DURABILITY_BUFFERED && append->staging == NULL) {
        fill_accepted(append, tail, records);
        append->result.buffered = true;
        ticket_format(append->dataset->store, lane_name(append->stream->lane), group->lane_op.seq,
            &append->result.ticket);
        append->step = APPEND_DONE;
    }
}

/* Somebody else has the blocks now. With the lock. */
static void keep_staged(struct append *append)
{
    staging_keep(append->staging);
    append->staging = NULL;
}

/* With the lock. */
static enum coffer_status join_locked(struct append *append, uint64_t *current, struct error *err)
{
    struct dataset *dataset = append->dataset;
    struct member *member;
    struct join join = {.body = append->staging == NULL ? append->body : NULL,
        .pieces = &append->pieces,
        .urgent = append->durability == DURABILITY_SYNCED || append->staging != NULL ||
                  dataset->settings.buffer_size == 0,
        .buffered = append->durability == DURABILITY_BUFFERED && append->staging == NULL};
    enum coffer_status status;
    uint64_t end, tail, records;

    status = append_check(append, &member, &end, err);
    if (status == COFFER_OK && append->has_offset && append->offset != end) {
        if (append->offset > end || append->received > end - append->offset)
            return append_mismatch(append, end, current, err);
        append->step = APPEND_COMPARING;
        return COFFER_OK;
    }
    if (status == COFFER_OK)
        status =
            dataset_make_stream(dataset, slice_from_text(append->channel), &append->stream, err);
    if (status == COFFER_OK && append->transaction != NULL)
        status = transaction_check_room(append->transaction, &append->pieces, err);
    if (status == COFFER_OK && append->transaction != NULL)
        status = transaction_member(append->transaction, append->stream, &member, err);
    if (status != COFFER_OK)
        return status;
    if (member != NULL) {
        join.urgent = dataset->settings.buffer_size == 0;
        join.buffered = false;
    }
    if (append->staging != NULL) {
        join.claims = append->staging->blocks;
        join.claim_count = append->staging->count;
    }
    if (member != NULL && append->staging != NULL) { /* nothing to write: only to be remembered */
        append->at_offset = member->pieces.length;
        append->at_record = member->pieces.records;
        pieces_join(&member->pieces, &append->pieces);
        transaction_count_staged(member);
        joined(append, member, 0, 0);
        keep_staged(append);
        return COFFER_OK;
    }
    tail = stream_tail(append->stream);
    records = stream_tail_records(append->stream);
    status = group_join(append->stream, member, &join, &append->waiter, &append->room,
        append->waker, &append->group, &append->at_offset, &append->at_record, err);
    if (status == COFFER_OK) {
        joined(append, member, tail, records);
        if (append->staging != NULL)
            keep_staged(append); /* the group claims them, or forgets them */
    }
    return status;
}

/* Wait until the group is settled. */
static enum coffer_status wait_settled(struct append *append, struct error *err)
{
    struct dataset *dataset = append->dataset;
    struct group *group = append->group;
    enum coffer_status status = COFFER_OK;

    lock_take(&dataset->lock);
    if (!group->settled) {
        waiter_add(&group->waiters, &append->waiter, append->waker);
        status = COFFER_AGAIN;
    } else if (group->status != COFFER_OK) {
        status = error_set(err, group->status, "the append could not be made durable: %s",
            status_title(group->status));
    } else {
        fill_accepted(
            append, group->start + append->at_offset, group->first_record + append->at_record);
        append->result.version = group->publication.version;
        append->step = APPEND_DONE;
    }
    lock_drop(&dataset->lock);
    return status;
}

static enum coffer_status finish_step(struct append *append, uint64_t *current, struct error *err)
{
    enum coffer_status status;

    switch (append->step) {
    case APPEND_TAKING:
        return complete(append, err);
    case APPEND_COMPLETE:
        return settle_body(append, err);
    case APPEND_COMPARING:
        return append_compare(append, current, err);
    case APPEND_JOINING:
        lock_take(&append->dataset->lock);
        status = join_locked(append, current, err);
        lock_drop(&append->dataset->lock);
        return status;
    case APPEND_JOINED:
        return wait_settled(append, err);
    case APPEND_DONE:
        break;
    }
    return COFFER_OK;
}

enum coffer_status append_finish(
    struct append *append, struct append_result *result, uint64_t *current, struct error *err)
{
    while (append->step != APPEND_DONE) {
        enum coffer_status status = finish_step(append, current, err);

        if (status != COFFER_OK)
            return status;
    }
    *result = append->result;
    return COFFER_OK;
}

void append_close(struct append *append)
{
    struct dataset *dataset;

    if (append == NULL)
        return;
    dataset = append->dataset;
    if (append->requested && budget_cancel(&dataset->store->budget, &append->request))
        budget_give(&dataset->store->budget, append->request.bytes);
    if (append->stream != NULL)
        lane_give_room(append->stream->lane, &append->room);
    staging_close(append->staging);
    stream_close(append->reader);
    lock_take(&dataset->lock);
    group_unref(append->group);
    transaction_unref(append->transaction);
    lock_drop(&dataset->lock);
    body_unref(append->body);
    body_unref(append->next);
    pieces_release(&append->pieces);
    if (append->hashing)
        sha256_release(&append->sha);
    if (append->comparing)
        sha256_release(&append->stored_sha);
    dataset_drop(dataset);
    free(append);
}
