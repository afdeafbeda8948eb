/*
 * Reading a channel: extent by extent, block by block. What was committed never changes, but where
 * it lies may (dataset_compress()): a block that is gone is looked up again by its place.
 *
 * Blocks can be short, when few appends shared a sync. So who reads on gets the places of the next
 * extents with one lookup, and one read gives the bytes of several blocks, as far as they are
 * cached.
 */
#include <stdlib.h>

#include "storage/base/bytes.h"
#include "storage/chunk/record_reader.h"
#include "storage/dataset/dataset_parts.h"

enum {
    LOOKUPS_MAX = 3,     /* of one place, while blocks are being moved */
    EXTENTS_AHEAD = 64,  /* looked up at once */
    BLOCKS_AT_ONCE = 64, /* in one read: others wait for the thread */
};

struct stream_reader {
    struct dataset *dataset; /* held; NULL with a member */
    struct stream *stream;
    bool owns_stream;      /* of a package */
    struct member *member; /* reads what it has staged */
    struct waker waker;
    struct waiter waiter;
    uint64_t size; /* when it was opened */
    uint64_t at, end;
    bool follow;
    _Atomic bool cancelled;
    struct extent_place extent; /* the one that is being read */
    bool has_extent;
    struct extent_place *ahead; /* those behind it; NULL: none were looked up yet */
    size_t ahead_at, ahead_count;
    struct record_reader *block;
    struct row_buffer copy;
};

static struct stream_reader *reader_create(struct stream *stream, struct waker waker)
{
    struct stream_reader *reader = calloc(1, sizeof(*reader));

    invariant(reader != NULL);
    reader->stream = stream;
    reader->waker = waker;
    return reader;
}

/* How long the channel was at `version`. */
static enum coffer_status size_at(struct stream_reader *reader, uint64_t version, struct error *err)
{
    struct history_row row;
    bool found;
    enum coffer_status status = dataset_version_check(reader->dataset, version, err);

    if (status == COFFER_OK)
        status = history_find(reader->stream, version, &row, &found, err);
    if (status != COFFER_OK)
        return status;
    if (!found)
        return error_set(err, COFFER_NO_SUCH_CHANNEL,
            "channel %s of dataset %s had no record yet at version %llu", reader->stream->name,
            reader->dataset->name, (unsigned long long)version);
    reader->size = row.size;
    return COFFER_OK;
}

enum coffer_status stream_open(struct dataset *dataset, struct slice channel, uint64_t version,
    struct waker waker, struct stream_reader **out, struct error *err)
{
    struct stream_reader *reader;
    struct stream *stream;
    enum coffer_status status;
    uint64_t size = 0;

    lock_take(&dataset->lock);
    status = dataset_visible_stream(dataset, channel, &stream, err);
    if (status == COFFER_OK) {
        size = stream->size;
        atomic_fetch_add(&dataset->references, 1);
    }
    lock_drop(&dataset->lock);
    if (status != COFFER_OK)
        return status;
    reader = reader_create(stream, waker);
    reader->dataset = dataset;
    reader->size = reader->end = size;
    if (version != 0)
        status = size_at(reader, version, err);
    if (status != COFFER_OK) {
        stream_close(reader);
        return status;
    }
    reader->end = reader->size;
    *out = reader;
    return COFFER_OK;
}

enum coffer_status stream_open_staged(struct member *member, uint64_t offset, uint64_t length,
    struct waker waker, struct stream_reader **out, struct error *err)
{
    struct stream_reader *reader = reader_create(member->stream, waker);

    (void)err;
    reader->member = member;
    reader->at = offset;
    reader->end = reader->size = offset + length;
    *out = reader;
    return COFFER_OK;
}

struct stream_reader *stream_open_package(
    struct dataset *dataset, struct stream *stream, uint64_t size, struct waker waker)
{
    struct stream_reader *reader = reader_create(stream, waker);

    reader->owns_stream = true;
    reader->dataset = dataset;
    atomic_fetch_add(&dataset->references, 1);
    reader->size = reader->end = size;
    return reader;
}

uint64_t stream_size(const struct stream_reader *reader)
{
    return reader->size;
}

void stream_select(struct stream_reader *reader, uint64_t offset, uint64_t end, bool follow)
{
    reader->at = offset;
    reader->end = end;
    reader->follow = follow;
}

static enum coffer_status look_up_staged(struct stream_reader *reader)
{
    struct dataset *dataset = reader->stream->dataset;
    const struct piece *piece;

    lock_take(&dataset->lock);
    piece = pieces_find(&reader->member->pieces, reader->at);
    invariant(piece != NULL);
    reader->extent =
        (struct extent_place){piece->start, piece->length, piece->block, piece->block_offset};
    lock_drop(&dataset->lock);
    return COFFER_OK;
}

static enum coffer_status look_up_exactly(struct stream_reader *reader, struct error *err)
{
    struct extent extent;
    enum coffer_status status =
        extent_find(reader->stream, reader->at, &extent, &reader->copy, err);

    if (status == COFFER_OK)
        reader->extent =
            (struct extent_place){extent.start, extent.length, extent.block, extent.block_offset};
    return status;
}

/* The place of the next byte is the next of those that were looked up, perhaps just now. */
static enum coffer_status look_ahead(struct stream_reader *reader, bool *found, struct error *err)
{
    enum coffer_status status = COFFER_OK;

    if (reader->ahead == NULL) {
        reader->ahead = calloc(EXTENTS_AHEAD, sizeof(struct extent_place));
        invariant(reader->ahead != NULL);
    }
    if (reader->ahead_at == reader->ahead_count) {
        reader->ahead_at = 0;
        status = extent_places(reader->stream, reader->at, min_u64(reader->end, reader->size),
            reader->ahead, EXTENTS_AHEAD, &reader->ahead_count, err);
    }
    *found = status == COFFER_OK && reader->ahead_at < reader->ahead_count &&
             reader->ahead[reader->ahead_at].start == reader->at;
    if (*found)
        reader->extent = reader->ahead[reader->ahead_at++];
    return status;
}

/* Where the next byte lies. `again`: it is not where we were told. */
static enum coffer_status look_up(struct stream_reader *reader, bool again, struct error *err)
{
    bool reads_on = reader->at == reader->extent.start + reader->extent.length && reader->at > 0;
    bool found = false;
    enum coffer_status status = COFFER_OK;

    if (reader->member != NULL)
        return look_up_staged(reader);
    if (reads_on && !again)
        status = look_ahead(reader, &found, err);
    if (status != COFFER_OK || found)
        return status;
    reader->ahead_at = reader->ahead_count = 0; /* they may have been moved, too */
    return look_up_exactly(reader, err);
}

struct digest block_name(const struct partition_id *id, const struct block_id *block)
{
    struct digest name = {{0}};

    memcpy(name.bytes, id->bytes, PARTITION_ID_SIZE);
    put_be32(name.bytes + PARTITION_ID_SIZE, block->channel);
    put_be64(name.bytes + PARTITION_ID_SIZE + 8, block->number);
    return name;
}

/* Where the next byte lies now. A block that was moved meanwhile is looked for again. */
static enum coffer_status find_row(
    struct stream_reader *reader, struct block_id *block, struct engine_row *row, struct error *err)
{
    struct engine *engine = reader->stream->dataset->store->engine;
    enum coffer_status status = COFFER_NO_SUCH_CHUNK;

    for (int i = 0; i < LOOKUPS_MAX && status == COFFER_NO_SUCH_CHUNK; i++) {
        status = look_up(reader, i > 0, err);
        if (status != COFFER_OK)
            return status;
        *block = (struct block_id){reader->stream->number, reader->extent.block};
        status = engine->ops->find_block(engine, &reader->stream->dataset->id, block, row, err);
    }
    if (status != COFFER_NO_SUCH_CHUNK)
        return status;
    status = error_set(err, COFFER_DATA_CORRUPT,
        "channel %s of dataset %s: the block for byte %llu is missing", reader->stream->name,
        reader->stream->dataset->name, (unsigned long long)reader->at);
    return dataset_missing(reader->stream->dataset, status, err);
}

static enum coffer_status open_block(struct stream_reader *reader, struct error *err)
{
    struct dataset *dataset = reader->stream->dataset;
    struct block_id block;
    struct engine_row row;
    struct digest name;
    enum coffer_status status;

    do {
        status = find_row(reader, &block, &row, err);
        if (status != COFFER_OK)
            return status;
        if (row.size < reader->extent.block_offset + reader->extent.length)
            return error_set(err, COFFER_DATA_CORRUPT, "a block is shorter than its extent");
        name = block_name(&dataset->id, &block);
        status = record_open(dataset->store, &row, NULL, &name, reader->waker, &reader->block, err);
    } while (status == COFFER_NO_SUCH_CHUNK); /* its pack was emptied by a repack */
    reader->has_extent = status == COFFER_OK;
    return status;
}

/* At the end of what was there: more, the end, or wait. */
static enum coffer_status wait_for_more(struct stream_reader *reader, struct error *err)
{
    struct dataset *dataset = reader->dataset;
    struct stream *stream = reader->stream;
    enum coffer_status status = COFFER_OK;

    lock_take(&dataset->lock);
    reader->size = stream->size;
    if (reader->at >= reader->size && dataset->life == LIFE_READY &&
        dataset->state != DATASET_CLOSED) {
        if (atomic_load(&dataset->set->drained) || atomic_load(&reader->cancelled))
            status = error_set(err, COFFER_DRAINING, "the server is shutting down");
        else {
            waiter_add(&stream->waiters, &reader->waiter, reader->waker);
            status = COFFER_AGAIN;
        }
    }
    lock_drop(&dataset->lock);
    return status;
}

static void leave_block(struct stream_reader *reader)
{
    record_close(reader->block);
    reader->block = NULL;
    reader->has_extent = false;
}

/* The block of the next byte is open. */
static enum coffer_status enter_block(struct stream_reader *reader, struct error *err)
{
    const struct extent_place *extent = &reader->extent;

    if (reader->has_extent && reader->at >= extent->start &&
        reader->at - extent->start < extent->length)
        return COFFER_OK;
    leave_block(reader);
    return open_block(reader, err);
}

/* Bytes of one block. `cached`: *size 0 if there would be a wait. */
static enum coffer_status read_block(struct stream_reader *reader, uint64_t end, bool cached,
    void *out, size_t max, size_t *size, struct error *err)
{
    const struct extent_place *extent = &reader->extent;
    enum coffer_status status = enter_block(reader, err);
    uint64_t at, left;

    if (status != COFFER_OK)
        return status;
    at = extent->block_offset + (reader->at - extent->start);
    left = min_u64(min_u64(end, extent->start + extent->length) - reader->at, max);
    status = cached ? record_read_cached(reader->block, at, out, (size_t)left, size, err)
                    : record_read(reader->block, at, out, (size_t)left, size, err);
    if (status == COFFER_OK)
        reader->at += *size;
    return status;
}

enum coffer_status stream_read(
    struct stream_reader *reader, void *out, size_t max, size_t *size, struct error *err)
{
    uint64_t end = min_u64(reader->end, reader->size);
    enum coffer_status status;
    struct error later;
    size_t more = 1;

    *size = 0;
    if (atomic_load_explicit(&reader->cancelled, memory_order_relaxed))
        return error_set(err, COFFER_DRAINING, "nobody reads this any more");
    if (reader->at >= end && reader->follow && reader->at < reader->end) {
        status = wait_for_more(reader, err);
        if (status != COFFER_OK)
            return status;
        end = min_u64(reader->end, reader->size);
    }
    if (reader->at >= end)
        return COFFER_OK;
    status = read_block(reader, end, false, out, max, size, err);
    if (status != COFFER_OK)
        return status;
    /* What goes wrong from here on will do so again, when it is the first that is to be read. */
    for (unsigned i = 1; i < BLOCKS_AT_ONCE && more > 0 && *size < max && reader->at < end; i++) {
        more = 0;
        if (read_block(reader, end, true, (uint8_t *)out + *size, max - *size, &more, &later) ==
            COFFER_OK)
            *size += more;
    }
    return COFFER_OK;
}

void stream_cancel(struct stream_reader *reader)
{
    struct dataset *dataset = reader->stream->dataset;
    struct wake_list wakes = {NULL};

    atomic_store(&reader->cancelled, true);
    lock_take(&dataset->lock);
    wake_later(&wakes, &reader->stream->waiters); /* the others look again, and wait again */
    lock_drop(&dataset->lock);
    wake_all(&wakes);
}

void stream_close(struct stream_reader *reader)
{
    if (reader == NULL)
        return;
    record_close(reader->block);
    row_buffer_release(&reader->copy);
    free(reader->ahead);
    if (reader->owns_stream)
        free(reader->stream);
    dataset_drop(reader->dataset);
    free(reader);
}
