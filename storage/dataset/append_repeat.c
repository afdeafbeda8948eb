/*
 * Whether an append with an offset before the channel's end was made before: then a record starts
 * at the offset (or, of a body of lines, records that together are as long), and the bytes there
 * have the digest of the body. So a writer that lost an answer just sends again.
 */
#include "storage/base/bytes.h"
#include "storage/dataset/dataset_parts.h"

enum { COMPARE_AT_ONCE = 32 * 1024 };

struct walk { /* over whole records, from one place to another */
    uint64_t at, end;
    uint64_t first_record, count, version;
    bool whole; /* so far: a record starts at `at` */
};

/* The records of one extent, or staged piece. */
static void walk_extent(struct walk *walk, const struct extent *extent)
{
    struct lengths_reader reader = {extent->lengths};
    uint64_t start = extent->start, record = extent->first_record, length, run;
    bool moved = false;

    while (walk->at < walk->end && lengths_next(&reader, &length, &run)) {
        uint64_t skip, count;

        if (length == 0 || walk->at < start)
            break;
        skip = (walk->at - start) / length;
        if (skip < run) {
            if ((walk->at - start) % length != 0)
                break;
            count = min_u64(run - skip, (walk->end - walk->at) / length);
            if (count == 0)
                break;
            if (walk->count == 0)
                walk->first_record = record + skip;
            walk->count += count;
            walk->at += count * length;
            walk->version = extent->version;
            moved = true;
            if (count < run - skip)
                break;
        }
        start += run * length;
        record += run;
    }
    walk->whole = moved;
}

static enum coffer_status walk_committed(
    const struct stream *stream, struct walk *walk, struct error *err)
{
    struct row_buffer copy = {0};
    enum coffer_status status = COFFER_OK;

    while (status == COFFER_OK && walk->whole && walk->at < walk->end) {
        struct extent extent;

        status = extent_find(stream, walk->at, &extent, &copy, err);
        if (status == COFFER_OK)
            walk_extent(walk, &extent);
    }
    row_buffer_release(&copy);
    return status;
}

/* With the lock; places are relative to the member. */
static void walk_staged(struct member *member, struct walk *walk)
{
    pieces_close(&member->pieces);
    while (walk->whole && walk->at < walk->end) {
        const struct piece *piece = pieces_find(&member->pieces, walk->at);
        struct extent extent;

        if (piece == NULL) {
            walk->whole = false;
            return;
        }
        extent = (struct extent){.start = piece->start,
            .length = piece->length,
            .first_record = piece->first_record,
            .records = piece->records,
            .lengths = piece_lengths(&member->pieces, piece)};
        walk_extent(walk, &extent);
    }
}

static void hurry_group(struct stream *stream, struct group *group)
{
    if (group != NULL)
        lane_hurry_op(stream->lane, &group->lane_op);
}

/* With the lock: what is at the offset is durable, or COFFER_AGAIN. *member: staged there. */
static enum coffer_status wait_durable(struct append *append, struct stream *stream,
    uint64_t *current, struct member **member, struct error *err)
{
    struct transaction *transaction = append->transaction;
    uint64_t end;
    enum coffer_status status = append_check(append, member, &end, err);

    if (status != COFFER_OK)
        return status;
    if (append->offset >= end || append->received > end - append->offset)
        return append_mismatch(append, end, current, err);
    if (*member != NULL && append->offset < (*member)->base_size) { /* before the transaction */
        if (append->received > (*member)->base_size - append->offset)
            return append_mismatch(append, end, current, err); /* no record goes over its start */
        *member = NULL;
    }
    if (*member != NULL && (*member)->outstanding > 0) {
        hurry_group(stream, (*member)->gather);
        lane_hurry(stream->lane);
        waiter_add(&transaction->waiters, &append->waiter, append->waker);
        return COFFER_AGAIN;
    }
    if (*member == NULL && append->offset + append->received > stream->size) {
        hurry_group(stream, stream->gather);
        waiter_add(&stream->waiters, &append->waiter, append->waker);
        return COFFER_AGAIN;
    }
    return COFFER_OK;
}

/* The channel's end for this append, for the answer that it is elsewhere. */
static enum coffer_status mismatch_now(struct append *append, uint64_t *current, struct error *err)
{
    struct member *member;
    enum coffer_status status;
    uint64_t end;

    lock_take(&append->dataset->lock);
    status = append_check(append, &member, &end, err);
    lock_drop(&append->dataset->lock);
    return status == COFFER_OK ? append_mismatch(append, end, current, err) : status;
}

/* What was to be compared cannot be read; perhaps it is gone, with its transaction. */
static enum coffer_status unreadable(
    struct append *append, enum coffer_status status, struct error *err)
{
    struct member *member;
    struct error found;
    enum coffer_status now;
    uint64_t end;

    if (status != COFFER_DATA_CORRUPT)
        return status;
    lock_take(&append->dataset->lock);
    now = append_check(append, &member, &end, &found);
    lock_drop(&append->dataset->lock);
    return now == COFFER_OK ? status : error_set(err, now, "%s", found.text);
}

/* Find the records, and open a reader of their bytes. */
static enum coffer_status open_compared(struct append *append, uint64_t *current, struct error *err)
{
    struct dataset *dataset = append->dataset;
    struct stream *stream;
    struct member *member;
    struct walk walk = {.at = append->offset, .end = append->offset + append->received};
    enum coffer_status status;

    lock_take(&dataset->lock);
    stream = dataset_find_stream(dataset, slice_from_text(append->channel));
    invariant(stream != NULL); /* there was something in it */
    status = wait_durable(append, stream, current, &member, err);
    walk.whole = true;
    if (status == COFFER_OK && member != NULL) {
        walk.at -= member->base_size;
        walk.end -= member->base_size;
        walk_staged(member, &walk);
        walk.first_record += member->base_records;
    }
    lock_drop(&dataset->lock);
    if (status != COFFER_OK)
        return status;
    if (member == NULL)
        status = walk_committed(stream, &walk, err);
    if (status != COFFER_OK)
        return status;
    if (!walk.whole || walk.at != walk.end || (!append->lines && walk.count != 1))
        return mismatch_now(append, current, err);
    append->result = (struct append_result){.offset = append->offset,
        .length = append->received,
        .record = walk.first_record,
        .records = walk.count,
        .version = walk.version,
        .staged = member != NULL,
        .repeated = true};
    if (member != NULL)
        return stream_open_staged(member, append->offset - member->base_size, append->received,
            append->waker, &append->reader, err);
    status = stream_open(
        dataset, slice_from_text(append->channel), 0, append->waker, &append->reader, err);
    if (status == COFFER_OK)
        stream_select(append->reader, append->offset, append->offset + append->received, false);
    return status;
}

enum coffer_status append_compare(struct append *append, uint64_t *current, struct error *err)
{
    uint8_t bytes[COMPARE_AT_ONCE];
    struct digest stored;
    enum coffer_status status = COFFER_OK;
    size_t size = 1;

    if (append->reader == NULL) {
        status = open_compared(append, current, err);
        if (status != COFFER_OK)
            return status;
        if (!append->hashing && !append->has_digest) /* a body that is still here: only now */
            sha256_once(append->body->content, append->body->size, &append->actual);
        sha256_init(&append->stored_sha);
        append->comparing = true;
    }
    while (size > 0) {
        status = stream_read(append->reader, bytes, sizeof(bytes), &size, err);
        if (status != COFFER_OK)
            return unreadable(append, status, err);
        if (size > 0)
            sha256_update(&append->stored_sha, bytes, size);
    }
    sha256_final(&append->stored_sha, &stored);
    if (!digest_equal(&stored, &append->actual))
        return mismatch_now(append, current, err);
    append->step = APPEND_DONE;
    return COFFER_OK;
}
