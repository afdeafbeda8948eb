/*
 * Reading a channel: extent by extent, block by block. What was committed never changes, but where
 * it lies may (dataset_compress()): a block that is gone is looked up again by its place.
 */
#include <stdlib.h>

#include "storage/base/bytes.h"
#include "storage/chunk/record_reader.h"
#include "storage/dataset/dataset_parts.h"

enum { LOOKUPS_MAX = 3 }; /* of one place, while blocks are being moved */

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
    struct extent extent; /* the one that is being read; its lengths are not used */
    bool has_extent;
    struct record_reader *block;
    struct row_buffer copy;
    unsigned lookups;
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
    reader->size = min_u64(row.size, reader->size);
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
    status = dataset_check(dataset, err);
    stream = dataset_find_stream(dataset, channel);
    if (status == COFFER_OK && (stream == NULL || !stream->exists))
        status = dataset_no_such_channel(channel, err);
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

/* Where the next byte lies. */
static enum coffer_status look_up(struct stream_reader *reader, struct error *err)
{
    struct dataset *dataset = reader->stream->dataset;
    const struct piece *piece;

    if (reader->member == NULL)
        return extent_find(reader->stream, reader->at, &reader->extent, &reader->copy, err);
    lock_take(&dataset->lock);
    piece = pieces_find(&reader->member->pieces, reader->at);
    invariant(piece != NULL);
    reader->extent = (struct extent){.start = piece->start,
        .length = piece->length,
        .block = piece->block,
        .block_offset = piece->block_offset};
    lock_drop(&dataset->lock);
    return COFFER_OK;
}

struct digest block_name(const struct partition_id *id, const struct block_id *block)
{
    struct digest name = {{0}};

    memcpy(name.bytes, id->bytes, PARTITION_ID_SIZE);
    put_be32(name.bytes + PARTITION_ID_SIZE, block->channel);
    put_be64(name.bytes + PARTITION_ID_SIZE + 8, block->number);
    return name;
}

static enum coffer_status open_block(struct stream_reader *reader, struct error *err)
{
    struct store *store = reader->stream->dataset->store;
    const struct partition_id *id = &reader->stream->dataset->id;
    struct block_id block;
    struct engine_row row;
    struct digest name;
    enum coffer_status status = look_up(reader, err);

    if (status != COFFER_OK)
        return status;
    block = (struct block_id){reader->stream->number, reader->extent.block};
    name = block_name(id, &block);
    status = store->engine->ops->find_block(store->engine, id, &block, &row, err);
    if (status == COFFER_NO_SUCH_CHUNK)
        return ++reader->lookups < LOOKUPS_MAX
                   ? open_block(reader, err)
                   : error_set(err, COFFER_DATA_CORRUPT,
                         "channel %s of dataset %s: the block for byte %llu is missing",
                         reader->stream->name, reader->stream->dataset->name,
                         (unsigned long long)reader->at);
    if (status == COFFER_OK && row.size < reader->extent.block_offset + reader->extent.length)
        status = error_set(err, COFFER_DATA_CORRUPT, "a block is shorter than its extent");
    if (status == COFFER_OK)
        status = record_open(store, &row, NULL, &name, reader->waker, &reader->block, err);
    reader->has_extent = status == COFFER_OK;
    reader->lookups = 0;
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

enum coffer_status stream_read(
    struct stream_reader *reader, void *out, size_t max, size_t *size, struct error *err)
{
    const struct extent *extent = &reader->extent;
    uint64_t end = min_u64(reader->end, reader->size), left;
    enum coffer_status status;

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
    if (reader->has_extent &&
        (reader->at < extent->start || reader->at - extent->start >= extent->length))
        leave_block(reader);
    if (!reader->has_extent) {
        status = open_block(reader, err);
        if (status != COFFER_OK)
            return status;
    }
    left = min_u64(end, extent->start + extent->length) - reader->at;
    status = record_read(reader->block, extent->block_offset + (reader->at - extent->start), out,
        (size_t)min_u64(left, max), size, err);
    if (status == COFFER_OK)
        reader->at += *size;
    return status;
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
    if (reader->owns_stream)
        free(reader->stream);
    dataset_drop(reader->dataset);
    free(reader);
}
