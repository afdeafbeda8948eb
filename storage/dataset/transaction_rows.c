/*
 * The rows of a transaction: its own row when it opens and when it is aborted, and the batch that
 * is its commit.
 */
#include <stdlib.h>
#include <string.h>

#include "storage/base/clock.h"
#include "storage/base/fault.h"
#include "storage/dataset/dataset_parts.h"

enum { ROWS_BYTES = 1024 /* of a lane's buffer */ };

/* ---- its own row ---- */

static void put_own_row(struct transaction *transaction, enum transaction_state state)
{
    struct row_key key = row_key_text(ROW_TRANSACTION, slice_from_text(transaction->id));
    struct row_buffer names = {0};
    struct transaction_row row = {.state = state,
        .version = transaction->version,
        .whole = transaction->whole,
        .barrier = transaction->barrier,
        .commit_when_ready = transaction->commit_when_ready,
        .reason = slice_from_text(state == TRANSACTION_ABORTED ? transaction->reason : "")};

    if (state != TRANSACTION_COMMITTED) /* then its version has them */
        for (size_t i = 0; i < transaction->member_count; i++) {
            const char *name = transaction->members[i]->stream->name;
            uint8_t size = (uint8_t)strlen(name);

            row_buffer_bytes(&names, &size, 1);
            row_buffer_bytes(&names, name, size);
        }
    row.channels = slice_of(names.data, names.used);
    row_batch_begin(&transaction->rows, &key, transaction->phase == PHASE_OPENING);
    transaction_row_encode(&row, &transaction->rows.bytes);
    row_batch_end(&transaction->rows);
    row_buffer_release(&names);
}

/* ---- the commit ---- */

static void add_claims(struct transaction *transaction, const struct member *member)
{
    size_t count = member->pieces.count;

    transaction->claims = realloc(
        transaction->claims, (transaction->claim_count + count + 1) * sizeof(struct block_id));
    invariant(transaction->claims != NULL);
    for (size_t i = 0; i < count; i++) {
        uint64_t number = member->pieces.items[i].block;

        if (i == 0 || number != member->pieces.items[i - 1].block)
            transaction->claims[transaction->claim_count++] =
                (struct block_id){member->stream->number, number};
    }
}

/* What the version adds, by channel name. */
static int by_name(const void *a, const void *b)
{
    const struct version_part *x = a, *y = b;

    return strcmp(x->name, y->name);
}

static void fill_parts(struct transaction *transaction)
{
    transaction->parts = calloc(transaction->member_count + 1, sizeof(struct version_part));
    invariant(transaction->parts != NULL);
    transaction->part_count = transaction->member_count;
    for (size_t i = 0; i < transaction->member_count; i++) {
        const struct member *member = transaction->members[i];
        struct version_part *part = &transaction->parts[i];

        memcpy(part->name, member->stream->name, sizeof(part->name));
        part->offset = member->base_size;
        part->length = member->pieces.length;
        part->records = member->pieces.records;
    }
    qsort(transaction->parts, transaction->part_count, sizeof(struct version_part), by_name);
}

static void put_version_row(struct transaction *transaction)
{
    struct row_batch *rows = &transaction->rows;
    struct row_key key = row_key_version(transaction->version);

    row_batch_begin(rows, &key, true);
    version_row_begin(
        &rows->bytes, clock_wall_ns(), slice_from_text(transaction->id), transaction->part_count);
    for (size_t i = 0; i < transaction->part_count; i++) {
        const struct version_part *part = &transaction->parts[i];
        struct version_entry entry = {.name = slice_from_text(part->name),
            .offset = part->offset,
            .length = part->length,
            .records = part->records};

        version_row_part(&rows->bytes, &entry);
    }
    row_batch_end(rows);
}

/* With the lock. */
static void put_commit_rows(struct transaction *transaction)
{
    publication_begin(transaction->dataset, &transaction->publication);
    transaction->version = transaction->publication.version;
    fill_parts(transaction);
    for (size_t i = 0; i < transaction->member_count; i++) {
        struct member *member = transaction->members[i];
        struct stream *stream = member->stream;

        if (member->pieces.length == 0)
            continue;
        /* Nobody else appends while the transaction has the channel. */
        invariant(stream->durable_size == member->base_size && stream->flight == NULL);
        pieces_close(&member->pieces);
        stream_rows(&transaction->rows, stream, &member->pieces, member->base_size,
            member->base_records, transaction->version, stream->durable_epoch);
        add_claims(transaction, member);
    }
    put_version_row(transaction);
    put_own_row(transaction, TRANSACTION_COMMITTED);
}

/* With the lock. */
static void publish(struct publication *publication, struct wake_list *wakes)
{
    struct transaction *transaction = container_of(publication, struct transaction, publication);

    for (size_t i = 0; i < transaction->member_count; i++) {
        struct member *member = transaction->members[i];
        struct stream *stream = member->stream;

        if (member->pieces.length == 0)
            continue;
        stream_show(stream);
        stream->size = member->base_size + member->pieces.length;
        stream->records = member->base_records + member->pieces.records;
        wake_later(wakes, &stream->waiters);
    }
    transaction_end(transaction, TRANSACTION_COMMITTED, wakes);
}

/* With the lock: the batch is durable; versions before it perhaps not yet. */
static void commit_durable(struct transaction *transaction, struct wake_list *wakes)
{
    for (size_t i = 0; i < transaction->member_count; i++) {
        struct member *member = transaction->members[i];

        if (member->pieces.length == 0)
            continue;
        member->stream->durable_exists = true;
        member->stream->durable_size += member->pieces.length;
        member->stream->durable_records += member->pieces.records;
    }
    (void)fault_errno(FAULT_COMMIT_DURABLE);
    publication_settle(transaction->dataset, &transaction->publication, true, wakes);
    (void)fault_errno(FAULT_COMMIT_PUBLISHED);
}

static void commit_failed(
    struct transaction *transaction, enum coffer_status status, struct wake_list *wakes)
{
    publication_settle(transaction->dataset, &transaction->publication, false, wakes);
    transaction->version = 0;
    transaction->end_status = status;
    transaction->phase = PHASE_SYNCING; /* from where it can be aborted */
    transaction_abort_begin(transaction, "its commit could not be made durable");
}

/* ---- on the lane ---- */

static enum coffer_status rows_prepare(struct lane_op *lane_op)
{
    struct transaction *transaction = container_of(lane_op, struct transaction, lane_op);
    struct dataset *dataset = transaction->dataset;
    enum coffer_status status = COFFER_OK;

    lock_take(&dataset->lock);
    if (dataset->life == LIFE_GONE)
        status = COFFER_NO_SUCH_DATASET;
    else if (transaction->phase == PHASE_COMMITTING)
        put_commit_rows(transaction);
    else
        put_own_row(transaction,
            transaction->phase == PHASE_ABORTING ? TRANSACTION_ABORTED : TRANSACTION_OPEN);
    row_batch_fill(&transaction->rows, &dataset->id, &lane_op->op);
    lane_op->op.claims = transaction->claims;
    lane_op->op.claim_count = transaction->claim_count;
    lock_drop(&dataset->lock);
    return status;
}

/* With the lock. */
static void settle_rows(
    struct transaction *transaction, enum coffer_status status, struct wake_list *wakes)
{
    switch (transaction->phase) {
    case PHASE_OPENING:
        if (status == COFFER_OK) {
            transaction->phase = PHASE_OPEN;
            transaction->rows_pushed = false;
        } else {
            transaction->end_status = status;
            transaction_abort_begin(transaction, "its opening could not be made durable");
        }
        break;
    case PHASE_COMMITTING:
        if (status == COFFER_OK)
            commit_durable(transaction, wakes);
        else if (transaction->version != 0)
            commit_failed(transaction, status, wakes);
        else { /* it was not even prepared: the dataset is gone */
            transaction->end_status = status;
            transaction->phase = PHASE_SYNCING;
            transaction_abort_begin(transaction, "the dataset was deleted");
        }
        break;
    default: /* an abort is one, whether its row could be written or not */
        break;
    }
    wake_later(wakes, &transaction->waiters);
}

static void rows_done(struct lane_op *op)
{
    struct transaction *transaction = container_of(op, struct transaction, lane_op);
    struct dataset *dataset = transaction->dataset;
    struct wake_list wakes = {NULL};

    lock_take(&dataset->lock);
    row_batch_release(&transaction->rows);
    free(transaction->claims);
    transaction->claims = NULL;
    transaction->claim_count = 0;
    transaction->outstanding--;
    settle_rows(transaction, op->op.status, &wakes);
    lock_drop(&dataset->lock);
    wake_all(&wakes);
    transaction_advance(transaction); /* gives our reference back */
    dataset_work_end(dataset);
}

void transaction_push_rows(struct transaction *transaction)
{
    struct lane_op *op = &transaction->lane_op;

    memset(op, 0, sizeof(*op));
    op->bytes = ROWS_BYTES;
    op->urgent = op->awaited = true;
    op->prepare = rows_prepare;
    op->done = rows_done;
    transaction->publication.publish = publish;
    transaction->rows_pushed = true;
    transaction->outstanding++;
    transaction->references++;
    dataset_work_begin(transaction->dataset);
    (void)lane_push(transaction->dataset->lane, op, NULL);
}
