/*
 * Transactions: who has which channels, and how far each has come.
 *
 *   OPENING --row durable--> OPEN --commit--> SYNCING --all staged durable--> COMMITTING --> ENDED
 *      |                      |                  |                               | committed
 *      +----------------------+------------------+---- a failure, abort, ttl ----+
 *                             v                                                  v
 *                          ABORTING --row durable--> ENDED aborted          (its batch failed)
 *
 * The batch that COMMITTING writes is the commit point: one record with all rows of all channels
 * and the claims of all staged blocks, which are durable before. A transaction goes on by itself,
 * whoever asked for it may be gone: transaction_advance() is called when one of its operations is
 * done. One that was open when the server stopped is not in memory any more: its row still says
 * open, and that means aborted.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "storage/base/bytes.h"
#include "storage/base/clock.h"
#include "storage/base/fault.h"
#include "storage/dataset/change.h"

#define NEVER_NS ((uint64_t)1 << 62)

const char *transaction_state_name(enum transaction_state state)
{
    static const char *const names[] = {"open", "committed", "aborted"};

    return names[state];
}

struct transaction *transaction_get(const struct dataset *dataset, struct slice id)
{
    for (struct transaction *at = dataset->transactions; at != NULL; at = at->next)
        if (slice_equal(slice_from_text(at->id), id)) {
            at->references++;
            return at;
        }
    return NULL;
}

static void member_free(struct member *member)
{
    pieces_release(&member->pieces);
    free(member);
}

void transaction_unref(struct transaction *transaction)
{
    if (transaction == NULL || --transaction->references > 0)
        return;
    for (size_t i = 0; i < transaction->member_count; i++)
        member_free(transaction->members[i]);
    free(transaction->members);
    row_batch_release(&transaction->rows);
    free(transaction->claims);
    free(transaction->parts);
    free(transaction);
}

/* ---- members ---- */

void transaction_count_staged(struct member *member)
{
    struct transaction *transaction = member->transaction;

    transaction->staged_pieces += member->pieces.count - member->counted_pieces;
    transaction->staged_lengths += member->pieces.lengths.used - member->counted_lengths;
    member->counted_pieces = member->pieces.count;
    member->counted_lengths = member->pieces.lengths.used;
}

struct member *transaction_add_member(struct transaction *transaction, struct stream *stream)
{
    struct member *member = calloc(1, sizeof(*member));

    invariant(member != NULL && stream->transaction == NULL);
    if (transaction->member_count == transaction->member_capacity) {
        transaction->member_capacity =
            transaction->member_capacity == 0 ? 8 : 2 * transaction->member_capacity;
        transaction->members =
            realloc(transaction->members, transaction->member_capacity * sizeof(struct member *));
        invariant(transaction->members != NULL);
    }
    member->transaction = transaction;
    member->stream = stream;
    member->base_size = stream_tail(stream);
    member->base_records = stream_tail_records(stream);
    stream->transaction = transaction;
    stream->member = member;
    transaction->members[transaction->member_count++] = member;
    return member;
}

void transaction_release_streams(struct transaction *transaction)
{
    for (size_t i = 0; i < transaction->member_count; i++) {
        struct stream *stream = transaction->members[i]->stream;

        if (stream->transaction == transaction) {
            stream->transaction = NULL;
            stream->member = NULL;
        }
    }
    if (transaction->dataset->whole == transaction)
        transaction->dataset->whole = NULL;
}

static enum coffer_status ended_error(const struct transaction *transaction, struct error *err)
{
    struct transaction_info info = {.state = transaction->phase == PHASE_ABORTING ||
                                                     (transaction->phase == PHASE_ENDED &&
                                                         transaction->state == TRANSACTION_ABORTED)
                                                 ? TRANSACTION_ABORTED
                                                 : TRANSACTION_COMMITTED,
        .version = transaction->version};

    memcpy(info.id, transaction->id, sizeof(info.id));
    memcpy(info.reason, transaction->reason, sizeof(info.reason));
    return transaction_ended_error(&info, err);
}

enum coffer_status transaction_ended_error(const struct transaction_info *info, struct error *err)
{
    if (info->state == TRANSACTION_COMMITTED)
        return error_set(err, COFFER_TRANSACTION_COMMITTED,
            "transaction %s is committed, or being committed", info->id);
    return error_set(
        err, COFFER_TRANSACTION_ABORTED, "transaction %s was aborted: %s", info->id, info->reason);
}

static bool is_open(const struct transaction *transaction)
{
    return transaction->phase == PHASE_OPENING || transaction->phase == PHASE_OPEN;
}

enum coffer_status transaction_check(
    struct transaction *transaction, const char *channel, struct member **out, struct error *err)
{
    const struct stream *stream =
        dataset_find_stream(transaction->dataset, slice_from_text(channel));

    if (!is_open(transaction))
        return ended_error(transaction, err);
    *out = stream != NULL && stream->transaction == transaction ? stream->member : NULL;
    if (*out == NULL && !transaction->whole)
        return error_set(err, COFFER_NO_SUCH_CHANNEL,
            "transaction %s was not opened for channel %s", transaction->id, channel);
    if (*out != NULL)
        (*out)->ready = false; /* its writer goes on after all */
    transaction->deadline_ns = clock_monotonic_ns() + transaction->ttl_ns;
    return COFFER_OK;
}

enum coffer_status transaction_member(
    struct transaction *transaction, struct stream *stream, struct member **out, struct error *err)
{
    enum coffer_status status = transaction_check(transaction, stream->name, out, err);

    if (status != COFFER_OK || *out != NULL)
        return status;
    if (transaction->member_count >= TRANSACTION_CHANNELS_MAX)
        return error_set(err, COFFER_CONTENT_TOO_LARGE,
            "transaction %s has %d channels, the most it may: commit in parts", transaction->id,
            TRANSACTION_CHANNELS_MAX);
    *out = transaction_add_member(transaction, stream);
    return COFFER_OK;
}

enum coffer_status transaction_check_room(
    const struct transaction *transaction, const struct piece_list *pieces, struct error *err)
{
    if (transaction->staged_pieces + pieces->count <= STAGED_PIECES_MAX &&
        transaction->staged_lengths + pieces->lengths.used <= STAGED_LENGTHS_MAX)
        return COFFER_OK;
    return error_set(err, COFFER_CONTENT_TOO_LARGE,
        "transaction %s is too large: it has at most %d blocks, and %d MiB of record lengths",
        transaction->id, STAGED_PIECES_MAX, STAGED_LENGTHS_MAX >> 20);
}

enum coffer_status transaction_outside(
    const struct dataset *dataset, const struct stream *stream, struct error *err)
{
    const struct transaction *transaction =
        stream != NULL && stream->transaction != NULL ? stream->transaction : dataset->whole;

    if (transaction == NULL)
        return COFFER_OK;
    return error_set(err, COFFER_CHANNEL_BUSY,
        "transaction %s has the channel until it is committed or aborted", transaction->id);
}

/* ---- going on ---- */

void transaction_end(
    struct transaction *transaction, enum transaction_state state, struct wake_list *wakes)
{
    struct dataset *dataset = transaction->dataset;
    struct transaction **at = &dataset->transactions;

    transaction_release_streams(transaction);
    transaction->phase = PHASE_ENDED;
    transaction->state = state;
    wake_later(wakes, &transaction->waiters);
    wake_later(wakes, &dataset->waiters);
    while (*at != transaction)
        at = &(*at)->next;
    *at = transaction->next;
    dataset->transaction_count--;
    dataset->transaction_moves++;
    transaction_unref(transaction);            /* the list's */
    atomic_fetch_sub(&dataset->references, 1); /* ours; whoever comes here has another one */
}

void transaction_abort_begin(struct transaction *transaction, const char *reason)
{
    if (transaction->phase != PHASE_OPENING && transaction->phase != PHASE_OPEN &&
        transaction->phase != PHASE_SYNCING)
        return;
    transaction->phase = PHASE_ABORTING;
    transaction->rows_pushed = false;
    (void)snprintf(transaction->reason, sizeof(transaction->reason), "%s", reason);
    transaction_release_streams(transaction);
}

/* What is staged, and what is before it on its channels, is wanted now. Once: no more will come. */
static void hurry_members(struct transaction *transaction)
{
    for (size_t i = 0; i < transaction->member_count && !transaction->hurried; i++) {
        struct member *member = transaction->members[i];
        struct stream *stream = member->stream;

        if (member->gather != NULL)
            lane_hurry_op(stream->lane, &member->gather->lane_op);
        if (stream->gather != NULL)
            lane_hurry_op(stream->lane, &stream->gather->lane_op);
        lane_hurry(stream->lane);
    }
    transaction->hurried = true;
}

/* Whether nothing staged, and nothing before it on its channels, is under way. */
static bool all_settled(const struct transaction *transaction)
{
    bool settled = transaction->outstanding == 0;

    for (size_t i = 0; i < transaction->member_count && settled; i++) {
        const struct stream *stream = transaction->members[i]->stream;

        settled = stream->gather == NULL && stream->flight == NULL;
    }
    return settled;
}

/* The staged blocks of an aborted transaction: *count of them, the caller frees. */
static struct block_id *staged_blocks(const struct transaction *transaction, size_t *count)
{
    struct block_id *blocks;
    size_t pieces = 0;

    *count = 0;
    for (size_t i = 0; i < transaction->member_count; i++)
        pieces += transaction->members[i]->pieces.count;
    blocks = calloc(pieces + 1, sizeof(struct block_id));
    invariant(blocks != NULL);
    for (size_t i = 0; i < transaction->member_count; i++) {
        const struct member *member = transaction->members[i];

        for (size_t j = 0; j < member->pieces.count; j++) {
            uint64_t number = member->pieces.items[j].block;

            if (j == 0 || number != member->pieces.items[j - 1].block)
                blocks[(*count)++] = (struct block_id){member->stream->number, number};
        }
    }
    return blocks;
}

/* With the lock: one step further, if that is possible; the blocks to forget, if any. */
static struct block_id *advance(
    struct transaction *transaction, size_t *count, struct wake_list *wakes)
{
    struct block_id *blocks = NULL;

    if (transaction->phase == PHASE_SYNCING && transaction->failure != COFFER_OK) {
        transaction->end_status = transaction->failure;
        transaction_abort_begin(transaction, "what was staged could not be made durable");
    }
    if (transaction->phase == PHASE_SYNCING || transaction->phase == PHASE_ABORTING)
        hurry_members(transaction);
    if (transaction->phase == PHASE_SYNCING && all_settled(transaction)) {
        (void)fault_errno(FAULT_COMMIT_SYNCED);
        transaction->phase = PHASE_COMMITTING;
        transaction->rows_pushed = false;
        transaction_push_rows(transaction);
    }
    if (transaction->phase == PHASE_ABORTING && transaction->outstanding == 0) {
        blocks = transaction->blocks_forgotten ? NULL : staged_blocks(transaction, count);
        transaction->blocks_forgotten = true;
        if (transaction->dataset->life == LIFE_GONE || transaction->rows_pushed) {
            transaction_end(transaction, TRANSACTION_ABORTED, wakes);
            return blocks;
        }
        transaction_push_rows(transaction);
    }
    wake_later(wakes, &transaction->waiters); /* they look again */
    return blocks;
}

void transaction_advance(struct transaction *transaction)
{
    struct dataset *dataset = transaction->dataset;
    struct wake_list wakes = {NULL};
    struct block_id *blocks;
    size_t count = 0;

    /* What ends here may have been the last to hold the dataset. */
    atomic_fetch_add(&dataset->references, 1);
    lock_take(&dataset->lock);
    blocks = advance(transaction, &count, &wakes);
    /* NOLINTNEXTLINE(clang-analyzer-unix.Malloc): the caller's reference is one of its own */
    transaction_unref(transaction);
    lock_drop(&dataset->lock);
    wake_all(&wakes);
    dataset_forget_blocks(dataset, blocks, count);
    free(blocks);
    dataset_drop_when_quiet(dataset);
    dataset_drop(dataset);
}

void transactions_abort_all(struct dataset *dataset, const char *reason)
{
    for (;;) {
        struct transaction *at;

        lock_take(&dataset->lock);
        for (at = dataset->transactions; at != NULL; at = at->next)
            if (is_open(at) || at->phase == PHASE_SYNCING)
                break;
        if (at != NULL) {
            transaction_abort_begin(at, reason);
            at->references++;
        }
        lock_drop(&dataset->lock);
        if (at == NULL)
            return;
        transaction_advance(at);
    }
}

/* ---- time ---- */

/* With the lock: the first one whose time is over begins to be aborted; with a reference. */
static struct transaction *expire_one(
    struct dataset *dataset, uint64_t now_ns, uint64_t *next_ns, struct wake_list *wakes)
{
    char reason[DATASET_REASON_SIZE];

    for (struct transaction *at = dataset->transactions; at != NULL; at = at->next) {
        if (at->wake_ns != 0 && at->wake_ns <= now_ns) {
            at->wake_ns = 0;
            wake_later(wakes, &at->waiters);
        }
        if (at->wake_ns != 0)
            *next_ns = min_u64(*next_ns, at->wake_ns);
        if (!is_open(at))
            continue;
        if (at->deadline_ns > now_ns) {
            *next_ns = min_u64(*next_ns, at->deadline_ns);
            continue;
        }
        (void)snprintf(reason, sizeof(reason),
            "nothing was appended to it within its time to live of %llu s",
            (unsigned long long)(at->ttl_ns / NS_PER_S));
        transaction_abort_begin(at, reason);
        at->references++;
        return at;
    }
    return NULL;
}

uint64_t transactions_expire(struct dataset *dataset, uint64_t now_ns)
{
    for (;;) {
        struct wake_list wakes = {NULL};
        uint64_t next_ns = NEVER_NS;
        struct transaction *expired;

        lock_take(&dataset->lock);
        expired = expire_one(dataset, now_ns, &next_ns, &wakes);
        lock_drop(&dataset->lock);
        wake_all(&wakes);
        if (expired == NULL)
            return next_ns;
        transaction_advance(expired);
    }
}
