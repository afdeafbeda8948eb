/*
 * Groups: the appends of one channel that become durable together. dataset_parts.h draws their
 * course. A group's place in the channel, its version and its rows are made when the lane's worker
 * takes it; until then it only knows what is relative to its start.
 *
 * When a group fails, so does the one that has gathered behind it: writers were told offsets that
 * count on the first.
 */
#include <stdlib.h>
#include <string.h>

#include "storage/base/bytes.h"
#include "storage/base/clock.h"
#include "storage/base/fault.h"
#include "storage/dataset/dataset_parts.h"

enum {
    ROWS_SIZE = 512, /* about what the rows of a group take, for the lane's buffer */
    BODY_CAPACITY_MIN = 4096,
};

static uint64_t block_content_max(const struct dataset *dataset)
{
    return min_u64(dataset->settings.buffer_size, BLOCK_CONTENT_MAX);
}

uint64_t stream_tail(const struct stream *stream)
{
    return stream->durable_size + (stream->flight == NULL ? 0 : stream->flight->pieces.length) +
           (stream->gather == NULL ? 0 : stream->gather->pieces.length);
}

uint64_t stream_tail_records(const struct stream *stream)
{
    return stream->durable_records + (stream->flight == NULL ? 0 : stream->flight->pieces.records) +
           (stream->gather == NULL ? 0 : stream->gather->pieces.records);
}

void group_unref(struct group *group)
{
    if (group == NULL || --group->references > 0)
        return;
    body_unref(group->body);
    pieces_release(&group->pieces);
    row_batch_release(&group->rows);
    free(group->claims);
    free(group);
}

/* ---- rows ---- */

static void history_row(
    struct row_batch *rows, const struct stream *stream, uint64_t version, struct history_row row)
{
    struct row_key key = row_key_channel(ROW_HISTORY, stream->number, version);
    uint8_t value[HISTORY_ROW_SIZE];

    history_row_encode(&row, value);
    row_batch_put(rows, &key, value, sizeof(value), true);
}

void stream_rows(struct row_batch *rows, const struct stream *stream,
    const struct piece_list *pieces, uint64_t start, uint64_t first_record, uint64_t version,
    uint64_t epoch)
{
    struct row_key key = row_key_text(ROW_CHANNEL, slice_from_text(stream->name));
    struct channel_row row = {.number = stream->number,
        .size = start + pieces->length,
        .records = first_record + pieces->records,
        .epoch = epoch};
    uint8_t value[CHANNEL_ROW_SIZE];

    channel_row_encode(&row, value);
    row_batch_put(rows, &key, value, sizeof(value), !stream->durable_exists);
    if (pieces->length == 0)
        return;
    history_row(rows, stream, version, (struct history_row){row.size, row.records});
    for (size_t i = 0; i < pieces->count; i++) {
        const struct piece *piece = &pieces->items[i];
        struct extent extent = {.start = start + piece->start,
            .length = piece->length,
            .block = piece->block,
            .block_offset = piece->block_offset,
            .version = version,
            .first_record = first_record + piece->first_record,
            .records = piece->records,
            .lengths = piece_lengths(pieces, piece)};

        row_batch_extent(rows, stream->number, &extent);
    }
}

static void version_row(struct group *group)
{
    struct row_batch *rows = &group->rows;
    struct row_key key = row_key_version(group->publication.version);
    struct version_entry part = {.name = slice_from_text(group->stream->name),
        .offset = group->start,
        .length = group->pieces.length,
        .records = group->pieces.records};

    row_batch_begin(rows, &key, true);
    version_row_begin(&rows->bytes, clock_wall_ns(), slice_of(NULL, 0), 1);
    version_row_part(&rows->bytes, &part);
    row_batch_end(rows);
}

/* ---- settling ---- */

/* With the lock. */
static void group_over(struct group *group, enum coffer_status status, struct wake_list *wakes)
{
    struct stream *stream = group->stream;

    group->settled = true;
    group->status = status;
    wake_later(wakes, &group->waiters);
    wake_later(wakes, &stream->waiters);
    group_unref(group);
}

static void show_claims(struct stream *stream, unsigned claims)
{
    stream_show(stream);
    stream->epoch += claims;
    stream->dataset->claims += claims;
}

static void publish(struct publication *publication, struct wake_list *wakes)
{
    struct group *group = container_of(publication, struct group, publication);
    struct stream *stream = group->stream;

    stream->size = group->start + group->pieces.length;
    stream->records = group->first_record + group->pieces.records;
    show_claims(stream, group->epochs);
    group_over(group, COFFER_OK, wakes);
}

static void plain_durable(struct group *group, struct wake_list *wakes)
{
    struct stream *stream = group->stream;

    stream->durable_exists = true;
    stream->durable_size += group->pieces.length;
    stream->durable_records += group->pieces.records;
    stream->durable_epoch += group->epochs;
    if (group->pieces.length > 0) {
        publication_settle(stream->dataset, &group->publication, true, wakes);
        return;
    }
    show_claims(stream, group->epochs); /* without a version */
    group_over(group, COFFER_OK, wakes);
}

static void plain_failed(struct group *group, enum coffer_status status, struct wake_list *wakes)
{
    struct stream *stream = group->stream;

    stream->tail_epoch = stream->durable_epoch;
    if (stream->gather != NULL)
        stream->gather->status = status; /* it fails when it is prepared */
    if (stream->transaction != NULL)
        transaction_abort_begin(
            stream->transaction, "appends before it on one of its channels could not be stored");
    if (group->publication.version > 0)
        publication_settle(stream->dataset, &group->publication, false, wakes);
    group_over(group, status, wakes);
}

/* With the lock. The transaction that has to know, with a reference; or NULL. */
static struct transaction *settle(
    struct group *group, enum coffer_status status, struct wake_list *wakes)
{
    struct stream *stream = group->stream;
    struct transaction *transaction;

    if (group->member != NULL) {
        transaction = group->member->transaction; /* push() took the reference */
        group->member->outstanding--;
        transaction->outstanding--;
        if (status != COFFER_OK && transaction->failure == COFFER_OK)
            transaction->failure = status;
        group_over(group, status, wakes);
        return transaction;
    }
    stream->flight = NULL;
    transaction = stream->transaction;
    if (transaction != NULL)
        transaction->references++;
    if (status == COFFER_OK)
        plain_durable(group, wakes);
    else
        plain_failed(group, status, wakes);
    return transaction;
}

static void group_done(struct lane_op *op)
{
    struct group *group = container_of(op, struct group, lane_op);
    struct dataset *dataset = group->stream->dataset;
    enum coffer_status status = op->op.status;
    struct wake_list wakes = {NULL};
    struct transaction *transaction;
    struct block_id *orphans = NULL;
    size_t orphan_count = 0;
    struct body *body;

    if (status == COFFER_OK)
        (void)fault_errno(group->member == NULL ? FAULT_APPEND_DURABLE : FAULT_STAGE_DURABLE);
    lock_take(&dataset->lock);
    body = group->body;
    group->body = NULL;
    if (status != COFFER_OK) {
        orphans = group->claims;
        orphan_count = group->claim_count;
        group->claims = NULL;
    }
    transaction = settle(group, status, &wakes);
    lock_drop(&dataset->lock);
    body_unref(body); /* its memory goes back now, whoever still holds the group */
    wake_all(&wakes);
    dataset_forget_blocks(dataset, orphans, orphan_count);
    free(orphans);
    if (transaction != NULL)
        transaction_advance(transaction); /* gives the reference back */
    dataset_work_end(dataset);
}

/* ---- the worker takes it ---- */

static enum coffer_status prepare_staged(struct group *group)
{
    struct member *member = group->member;
    enum transaction_phase phase = member->transaction->phase;

    if (member->gather == group)
        member->gather = NULL;
    return phase == PHASE_ABORTING || phase == PHASE_ENDED ? COFFER_TRANSACTION_ABORTED : COFFER_OK;
}

static enum coffer_status prepare_plain(struct group *group)
{
    struct stream *stream = group->stream;

    invariant(stream->gather == group && stream->flight == NULL);
    stream->gather = NULL;
    stream->flight = group;
    if (group->status != COFFER_OK)
        return group->status;
    pieces_close(&group->pieces);
    group->start = stream->durable_size;
    group->first_record = stream->durable_records;
    if (group->pieces.length > 0)
        publication_begin(stream->dataset, &group->publication);
    stream_rows(&group->rows, stream, &group->pieces, group->start, group->first_record,
        group->publication.version, stream->durable_epoch + group->epochs);
    if (group->pieces.length > 0)
        version_row(group);
    return COFFER_OK;
}

static enum coffer_status group_prepare(struct lane_op *lane_op)
{
    struct group *group = container_of(lane_op, struct group, lane_op);
    struct dataset *dataset = group->stream->dataset;
    struct engine_op *op = &lane_op->op;
    enum coffer_status status;

    lock_take(&dataset->lock);
    status = group->member != NULL ? prepare_staged(group) : prepare_plain(group);
    if (status == COFFER_OK && dataset->life == LIFE_GONE)
        status = COFFER_NO_SUCH_DATASET; /* deleted: nothing is written behind that */
    /* What was buffered went with its dataset: a loss that nobody has to be told of. */
    lane_op->awaited = !group->buffered || dataset->life == LIFE_GONE;
    row_batch_fill(&group->rows, &dataset->id, op);
    op->has_block = group->body != NULL;
    if (op->has_block) {
        op->block = (struct block_id){group->stream->number, group->block};
        op->body = group->body->content;
        op->size = group->body->size;
        op->block_codec = dataset->settings.compression;
    }
    op->claims = group->claims;
    op->claim_count = group->claim_count;
    lock_drop(&dataset->lock);
    return status;
}

/* ---- joining ---- */

static struct group *group_create(struct stream *stream, struct member *member)
{
    struct group *group = calloc(1, sizeof(*group));
    struct engine *engine = stream->dataset->store->engine;

    invariant(group != NULL);
    group->stream = stream;
    group->member = member;
    group->references = 1;
    group->block = engine->ops->next_number(engine);
    group->publication.publish = publish;
    group->lane_op.prepare = group_prepare;
    group->lane_op.done = group_done;
    return group;
}

/* Whether the gathering group has room. */
static bool can_take(const struct group *group, const struct join *join)
{
    uint64_t size = group->body == NULL ? 0 : group->body->size;

    if (group->status != COFFER_OK)
        return false;
    if (group->appends == 0 || join->pieces == NULL)
        return true;
    if (group->pieces.count + join->pieces->count > STAGED_PIECES_MAX ||
        group->pieces.lengths.used + join->pieces->lengths.used > STAGED_LENGTHS_MAX)
        return false;
    if (join->body == NULL)
        return true;
    return size + join->body->size <= block_content_max(group->stream->dataset);
}

/* The bytes go behind what the group has. */
static void take_body(struct group *group, struct body *body)
{
    struct body *all = group->body;

    if (all == NULL) {
        group->body = body;
        return;
    }
    if (all->size + body->size > all->capacity) {
        struct body *larger = body_create((size_t)max_u64(BODY_CAPACITY_MIN,
            max_u64(all->size + body->size, min_u64(2 * all->capacity, BLOCK_CONTENT_MAX))));

        invariant(larger != NULL);
        memcpy(larger->content, all->content, all->size);
        larger->size = all->size;
        larger->budget = all->budget;
        larger->charged = all->charged;
        all->budget = NULL;
        body_unref(all);
        group->body = all = larger;
    }
    memcpy(all->content + all->size, body->content, body->size);
    all->size += body->size;
    invariant(all->budget == body->budget);
    all->charged += body->charged;
    body->budget = NULL;
    body_unref(body);
}

static void take_claims(struct group *group, const struct block_id *claims, size_t count)
{
    if (count == 0)
        return;
    group->claims = realloc(group->claims, (group->claim_count + count) * sizeof(struct block_id));
    invariant(group->claims != NULL);
    memcpy(group->claims + group->claim_count, claims, count * sizeof(struct block_id));
    group->claim_count += count;
}

/* The pieces of a small append, whose bytes are now at `block_offset` of the group's block. */
static void take_records(
    struct piece_list *list, uint64_t block, uint64_t block_offset, const struct piece_list *from)
{
    struct piece *last = list->count == 0 ? NULL : &list->items[list->count - 1];
    uint64_t length, run;

    if (last == NULL || last->block != block || last->block_offset + last->length != block_offset)
        (void)pieces_open(list, block, block_offset);
    for (size_t i = 0; i < from->count; i++) {
        struct lengths_reader reader = {piece_lengths(from, &from->items[i])};

        while (lengths_next(&reader, &length, &run))
            pieces_records(list, length, run);
    }
}

static void take(struct group *group, struct piece_list *pieces, const struct join *join)
{
    group->appends++;
    group->buffered = group->buffered || join->buffered;
    if (join->pieces == NULL) {
        group->epochs++;
        return;
    }
    take_claims(group, join->claims, join->claim_count);
    if (join->body == NULL) {
        pieces_join(pieces, join->pieces);
        return;
    }
    take_records(pieces, group->block, group->body == NULL ? 0 : group->body->size, join->pieces);
    take_body(group, join->body);
}

/* A new gathering group, queued; NULL: no room on the lane. */
static struct group *push(struct stream *stream, struct member *member, bool urgent, uint64_t bytes,
    struct lane_waiter *room)
{
    struct group *group = group_create(stream, member);

    group->lane_op.bytes = bytes;
    group->lane_op.urgent = urgent;
    if (member != NULL)
        member->gather = group;
    else
        stream->gather = group;
    /* The worker may take it at once: it then waits for our lock. */
    if (lane_push(stream->lane, &group->lane_op, room)) {
        dataset_work_begin(stream->dataset);
        if (member != NULL) {
            member->outstanding++;
            member->transaction->outstanding++;
            member->transaction->references++;
        }
        return group;
    }
    if (member != NULL)
        member->gather = NULL;
    else
        stream->gather = NULL;
    group_unref(group);
    return NULL;
}

enum coffer_status group_join(struct stream *stream, struct member *member, const struct join *join,
    struct waiter *waiter, struct lane_waiter *room, struct waker waker, struct group **out,
    uint64_t *offset, uint64_t *record, struct error *err)
{
    struct group *group = member != NULL ? member->gather : stream->gather;
    struct piece_list *pieces;
    uint64_t bytes = ROWS_SIZE + (join->body == NULL ? 0 : join->body->size);

    (void)err;
    room->waker = waker;
    if (group != NULL && !can_take(group, join)) {
        lane_hurry_op(stream->lane, &group->lane_op);
        if (member == NULL) {
            waiter_add(&stream->waiters, waiter, waker);
            return COFFER_AGAIN;
        }
        member->gather = group = NULL; /* it is full; any number of blocks may be staged */
    }
    if (group == NULL)
        group = push(stream, member, join->urgent, bytes, room);
    else if (!lane_grow(stream->lane, &group->lane_op, bytes, join->urgent, room))
        group = NULL;
    if (group == NULL)
        return COFFER_AGAIN;
    pieces = member != NULL ? &member->pieces : &group->pieces;
    *offset = pieces->length;
    *record = pieces->records;
    take(group, pieces, join);
    if (member != NULL)
        transaction_count_staged(member);
    group->references++;
    *out = group;
    return COFFER_OK;
}
