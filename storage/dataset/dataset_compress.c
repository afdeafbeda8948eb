/*
 * Writing the blocks of a closed dataset again: merged, and compressed at a higher level. Run by
 * run (whole versions, some MiB of them):
 *   1. the content is read, and staged as new blocks;
 *   2. if they take less than the old ones, one batch replaces the extents, claims the new blocks
 *      and drops the old ones that no extent refers to any more; otherwise they are forgotten.
 * A crash leaves whole runs done or not done. Blocks are never shared between versions, so what a
 * run knows of its extents is all there is to know about its blocks.
 */
#include <stdlib.h>
#include <string.h>

#include "storage/base/bytes.h"
#include "storage/dataset/change.h"
#include "storage/dataset/extent_walk.h"

enum { RUN_BYTES = 16 << 20, RUN_EXTENTS_MAX = 16384 };

struct run {              /* of consecutive extents */
    struct extent *items; /* lengths are in `lengths`, by position */
    size_t *lengths_at;
    size_t count, capacity;
    struct row_buffer lengths;
    uint64_t bytes;
};

struct compress {
    struct dataset *dataset;
    struct stream *stream;
    int level;
    struct run run;
    struct gate gate;
    close_progress *progress;
    void *context;
    uint64_t done, total, saved;
};

/* ---- runs ---- */

static void run_clear(struct run *run)
{
    run->count = 0;
    run->bytes = 0;
    run->lengths.used = 0;
}

static void run_release(struct run *run)
{
    free(run->items);
    free(run->lengths_at);
    row_buffer_release(&run->lengths);
}

static void run_add(struct run *run, const struct extent *extent)
{
    if (run->count == run->capacity) {
        run->capacity = run->capacity == 0 ? 64 : 2 * run->capacity;
        run->items = realloc(run->items, run->capacity * sizeof(struct extent));
        run->lengths_at = realloc(run->lengths_at, run->capacity * sizeof(size_t));
        invariant(run->items != NULL && run->lengths_at != NULL);
    }
    run->lengths_at[run->count] = run->lengths.used;
    run->items[run->count++] = *extent;
    row_buffer_bytes(&run->lengths, extent->lengths.data, extent->lengths.size);
    run->bytes += extent->length;
}

/* The lengths have stopped moving. */
static void run_fix(struct run *run)
{
    for (size_t i = 0; i < run->count; i++)
        run->items[i].lengths.data = run->lengths.data + run->lengths_at[i];
}

/* Whether the run may end before `next`: its blocks are all of versions that are over. */
static bool run_is_full(const struct run *run, const struct extent *next)
{
    return run->count > 0 && next->version != run->items[run->count - 1].version &&
           (run->bytes >= RUN_BYTES || run->count >= RUN_EXTENTS_MAX);
}

/* ---- reading and staging ---- */

static enum coffer_status read_all(struct compress *compress, struct stream_reader *reader,
    void *out, size_t size, struct error *err)
{
    size_t done = 0, part;

    while (done < size) {
        enum coffer_status status =
            stream_read(reader, (uint8_t *)out + done, size - done, &part, err);

        if (status == COFFER_AGAIN) {
            gate_wait(&compress->gate);
            continue;
        }
        if (status != COFFER_OK)
            return status;
        invariant(part > 0);
        done += part;
    }
    return COFFER_OK;
}

static enum coffer_status wait_staged(
    struct compress *compress, struct staging *staging, unsigned limit, struct error *err)
{
    struct waiter waiter;
    enum coffer_status status;

    while ((status = staging_wait(staging, limit, &waiter, gate_waker(&compress->gate), err)) ==
           COFFER_AGAIN)
        gate_wait(&compress->gate);
    return status;
}

/* The block of the extents first .. last - 1 of the run. */
static enum coffer_status stage_block(struct compress *compress, struct stream_reader *reader,
    struct staging *staging, struct piece_list *pieces, size_t first, size_t last,
    struct error *err)
{
    struct engine *engine = compress->dataset->store->engine;
    const struct extent *items = compress->run.items;
    uint64_t number = engine->ops->next_number(engine), size = 0;
    struct body *body;
    enum coffer_status status;

    for (size_t i = first; i < last; i++)
        size += items[i].length;
    body = body_create((size_t)size);
    if (body == NULL)
        return error_set(err, COFFER_OVERLOADED, "no memory for a block");
    body->size = (size_t)size;
    (void)pieces_open(pieces, number, 0);
    for (size_t i = first; i < last; i++)
        pieces_take(pieces, &items[i]);
    pieces_close(pieces);
    status = read_all(compress, reader, body->content, body->size, err);
    if (status == COFFER_OK)
        status = wait_staged(compress, staging, STAGED_BLOCKS_IN_FLIGHT - 1, err);
    if (status == COFFER_OK)
        status =
            staging_push(staging, number, body, body->size, CODEC_ZSTD, compress->level, NULL, err);
    if (status != COFFER_OK)
        body_unref(body);
    return status;
}

/* All of the run, in as few blocks as hold it. */
static enum coffer_status stage_run(struct compress *compress, struct staging *staging,
    struct piece_list *pieces, struct error *err)
{
    const struct run *run = &compress->run;
    struct stream_reader *reader;
    enum coffer_status status = stream_open(compress->dataset,
        slice_from_text(compress->stream->name), 0, gate_waker(&compress->gate), &reader, err);

    if (status != COFFER_OK)
        return status;
    stream_select(reader, run->items[0].start, run->items[0].start + run->bytes, false);
    for (size_t first = 0, last; first < run->count && status == COFFER_OK; first = last) {
        uint64_t size = 0;

        for (last = first; last < run->count &&
                           (last == first || size + run->items[last].length <= BLOCK_CONTENT_MAX);
             last++)
            size += run->items[last].length;
        status = stage_block(compress, reader, staging, pieces, first, last, err);
    }
    stream_close(reader);
    return status == COFFER_OK ? wait_staged(compress, staging, 0, err) : status;
}

/* ---- replacing ---- */

static int by_number(const void *a, const void *b)
{
    const struct block_id *x = a, *y = b;

    return x->number < y->number ? -1 : x->number > y->number;
}

/* The blocks that the run refers to, each once; what they take. */
static enum coffer_status old_blocks(struct compress *compress, struct block_id **out,
    size_t *count, uint64_t *bytes, struct error *err)
{
    struct engine *engine = compress->dataset->store->engine;
    const struct run *run = &compress->run;
    struct block_id *blocks = calloc(run->count + 1, sizeof(struct block_id));
    enum coffer_status status = COFFER_OK;

    invariant(blocks != NULL);
    for (size_t i = 0; i < run->count; i++)
        blocks[i] = (struct block_id){compress->stream->number, run->items[i].block};
    qsort(blocks, run->count, sizeof(struct block_id), by_number);
    *count = 0;
    *bytes = 0;
    for (size_t i = 0; i < run->count && status == COFFER_OK; i++) {
        struct engine_row row;

        if (*count > 0 && blocks[*count - 1].number == blocks[i].number)
            continue;
        blocks[(*count)++] = blocks[i];
        status = engine->ops->find_block(engine, &compress->dataset->id, &blocks[i], &row, err);
        if (status == COFFER_OK)
            *bytes += row.stored_size;
        else if (status == COFFER_NO_SUCH_CHUNK)
            status = dataset_missing(compress->dataset,
                error_set(err, COFFER_DATA_CORRUPT, "channel %s of dataset %s: a block is missing",
                    compress->stream->name, compress->dataset->name),
                err);
    }
    *out = blocks;
    return status;
}

static void put_extents(
    struct row_batch *rows, const struct compress *compress, const struct piece_list *pieces)
{
    const struct run *run = &compress->run;
    const struct extent *first = &run->items[0];
    uint64_t version = run->items[run->count - 1].version;
    size_t next = 0;

    for (size_t i = 0; i < pieces->count; i++) {
        const struct piece *piece = &pieces->items[i];
        struct extent extent = {.start = first->start + piece->start,
            .length = piece->length,
            .block = piece->block,
            .block_offset = piece->block_offset,
            .version = version,
            .first_record = first->first_record + piece->first_record,
            .records = piece->records,
            .lengths = piece_lengths(pieces, piece)};

        /* Old extents that start before this one are gone; one that starts with it is replaced. */
        for (; next < run->count && run->items[next].start <= extent.start; next++)
            if (run->items[next].start < extent.start) {
                struct row_key key =
                    row_key_channel(ROW_EXTENT, compress->stream->number, run->items[next].start);

                row_batch_remove(rows, &key);
            }
        row_batch_replace_extent(rows, compress->stream->number, &extent);
    }
    for (; next < run->count; next++) {
        struct row_key key =
            row_key_channel(ROW_EXTENT, compress->stream->number, run->items[next].start);

        row_batch_remove(rows, &key);
    }
}

/* One batch: new extents, claims, drops. */
static enum coffer_status replace(struct compress *compress, struct staging *staging,
    const struct piece_list *pieces, struct block_id *old, size_t old_count, struct error *err)
{
    struct change *change = change_of_rows(compress->dataset, gate_waker(&compress->gate));
    enum coffer_status status;

    put_extents(&change->rows, compress, pieces);
    change->claims = staging->blocks;
    change->claim_count = staging->count;
    change->drops = old;
    change->drop_count = old_count;
    while ((status = change_finish(change, err)) == COFFER_AGAIN)
        gate_wait(&compress->gate);
    change_close(change);
    return status;
}

static enum coffer_status compress_run(struct compress *compress, struct error *err)
{
    struct staging *staging =
        staging_create(compress->dataset, compress->stream->number, compress->stream->lane);
    struct piece_list pieces = {0};
    struct block_id *old = NULL;
    uint64_t before = 0, after = 0;
    size_t old_count = 0;
    bool replaced = false;
    enum coffer_status status;

    run_fix(&compress->run);
    status = old_blocks(compress, &old, &old_count, &before, err);
    if (status == COFFER_OK)
        status = stage_run(compress, staging, &pieces, err);
    if (status == COFFER_OK) {
        for (size_t i = 0; i < staging->count; i++)
            after += staging->stored[i];
        if (after < before || (after == before && staging->count < old_count)) {
            status = replace(compress, staging, &pieces, old, old_count, err);
            replaced = status == COFFER_OK;
        }
    }
    if (replaced) {
        compress->saved += before - after;
        lock_take(&compress->dataset->lock);
        staging_keep(staging);
        lock_drop(&compress->dataset->lock);
    } else {
        staging_close(staging);
    }
    free(old);
    pieces_release(&pieces);
    compress->done += compress->run.bytes;
    run_clear(&compress->run);
    if (status == COFFER_OK && compress->progress != NULL &&
        !compress->progress(compress->context, compress->done, compress->total))
        return error_set(err, COFFER_DRAINING, "the compression was stopped");
    return status;
}

static enum coffer_status compress_stream(
    struct compress *compress, uint64_t size, struct error *err)
{
    struct extent_walk walk = extent_walk_begin(compress->stream, 0, size);
    enum coffer_status status = COFFER_OK;
    bool more = true;

    run_clear(&compress->run);
    while (status == COFFER_OK) {
        status = extent_walk_next(&walk, &more, err);
        if (status != COFFER_OK || !more)
            break;
        if (run_is_full(&compress->run, &walk.extent))
            status = compress_run(compress, err);
        if (status == COFFER_OK)
            run_add(&compress->run, &walk.extent);
    }
    if (status == COFFER_OK && compress->run.count > 0)
        status = compress_run(compress, err);
    extent_walk_end(&walk);
    return status;
}

enum coffer_status dataset_compress(struct dataset *dataset, int level, uint64_t *saved_bytes,
    close_progress *progress, void *context, struct error *err)
{
    struct compress compress = {
        .dataset = dataset, .level = level, .progress = progress, .context = context};
    struct stream_list list;
    enum coffer_status status = stream_list_take(dataset, &list, err);

    gate_init(&compress.gate);
    compress.total = list.bytes;
    for (size_t i = 0; i < list.count && status == COFFER_OK; i++) {
        compress.stream = list.items[i].stream;
        status = compress_stream(&compress, list.items[i].size, err);
    }
    *saved_bytes = compress.saved;
    run_release(&compress.run);
    gate_release(&compress.gate);
    stream_list_release(&list);
    return status;
}
