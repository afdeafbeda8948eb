/*
 * An archive that is kept with its dataset: blocks and extents under a channel number of its own,
 * which no channel has. It becomes the dataset's package with one batch, in place of an earlier
 * one; a package that was not finished is staged blocks, which nobody claims.
 */
#include <stdlib.h>
#include <string.h>

#include "storage/base/bytes.h"
#include "storage/dataset/change.h"
#include "storage/dataset/extent_walk.h"

struct package_writer {
    struct dataset *dataset; /* held */
    enum archive_format format;
    struct staging *staging;
    struct piece_list pieces;
    struct body *body;
    struct gate gate;
};

enum coffer_status package_begin(struct dataset *dataset, enum archive_format format,
    struct package_writer **out, struct error *err)
{
    struct package_writer *writer;
    enum coffer_status status;

    lock_take(&dataset->lock);
    status = dataset_check(dataset, err);
    if (status == COFFER_OK && dataset->state == DATASET_OPEN)
        status = error_set(err, COFFER_BAD_REQUEST, "dataset %s is open", dataset->name);
    lock_drop(&dataset->lock);
    if (status != COFFER_OK)
        return status;
    writer = calloc(1, sizeof(*writer));
    invariant(writer != NULL);
    writer->dataset = dataset;
    atomic_fetch_add(&dataset->references, 1);
    writer->format = format;
    writer->staging = staging_create(dataset, PACKAGE_CHANNEL, dataset->lane);
    gate_init(&writer->gate);
    *out = writer;
    return COFFER_OK;
}

static enum coffer_status wait_staged(
    struct package_writer *writer, unsigned limit, struct error *err)
{
    struct waiter waiter;
    enum coffer_status status;

    while ((status = staging_wait(
                writer->staging, limit, &waiter, gate_waker(&writer->gate), err)) == COFFER_AGAIN)
        gate_wait(&writer->gate);
    return status;
}

/* The body becomes a block. */
static enum coffer_status flush(struct package_writer *writer, struct error *err)
{
    struct engine *engine = writer->dataset->store->engine;
    enum codec codec = writer->format == ARCHIVE_TAR ? CODEC_ZSTD : CODEC_NONE;
    uint64_t number = engine->ops->next_number(engine);
    enum coffer_status status = wait_staged(writer, STAGED_BLOCKS_IN_FLIGHT - 1, err);
    size_t size;

    if (status == COFFER_OK && writer->staging->count >= STAGED_PIECES_MAX)
        status = error_set(err, COFFER_CONTENT_TOO_LARGE,
            "an archive that is kept has at most %d MiB", STAGED_PIECES_MAX);
    if (status != COFFER_OK)
        return status;
    size = writer->body->size;
    status = staging_push(writer->staging, number, writer->body, size, codec, 0, NULL, err);
    if (status != COFFER_OK)
        return status;
    writer->body = NULL;
    (void)pieces_open(&writer->pieces, number, 0);
    pieces_extend(&writer->pieces, size);
    return COFFER_OK;
}

enum coffer_status package_write(
    struct package_writer *writer, const void *data, size_t size, struct error *err)
{
    size_t done = 0;

    while (done < size) {
        size_t part;

        if (writer->body == NULL)
            writer->body = body_create(BLOCK_CONTENT_MAX);
        if (writer->body == NULL)
            return error_set(err, COFFER_OVERLOADED, "no memory for a block");
        part = (size_t)min_u64(size - done, writer->body->capacity - writer->body->size);
        memcpy(writer->body->content + writer->body->size, (const uint8_t *)data + done, part);
        writer->body->size += part;
        done += part;
        if (writer->body->size == writer->body->capacity) {
            enum coffer_status status = flush(writer, err);

            if (status != COFFER_OK)
                return status;
        }
    }
    return COFFER_OK;
}

/* The stream that stands for the package; only for lookups. */
static struct stream *package_stream(struct dataset *dataset)
{
    struct stream *stream = calloc(1, sizeof(*stream));

    invariant(stream != NULL);
    stream->dataset = dataset;
    memcpy(stream->name, "(package)", sizeof("(package)"));
    stream->number = PACKAGE_CHANNEL;
    return stream;
}

/* What an earlier package has goes with the batch that brings the new one. */
static enum coffer_status replace_old(
    struct package_writer *writer, struct change *change, struct error *err)
{
    struct stream *stream = package_stream(writer->dataset);
    struct extent_walk walk;
    uint64_t size;
    size_t capacity = 0;
    enum coffer_status status = COFFER_OK;
    bool more = true;

    lock_take(&writer->dataset->lock);
    size = writer->dataset->packaged ? writer->dataset->package_size : 0;
    lock_drop(&writer->dataset->lock);
    walk = extent_walk_begin(stream, 0, size);
    while (status == COFFER_OK) {
        status = extent_walk_next(&walk, &more, err);
        if (status != COFFER_OK || !more)
            break;
        if (change->drop_count == capacity) {
            capacity = capacity == 0 ? 64 : 2 * capacity;
            change->drops = realloc(change->drops, capacity * sizeof(struct block_id));
            invariant(change->drops != NULL);
        }
        change->drops[change->drop_count++] = (struct block_id){PACKAGE_CHANNEL, walk.extent.block};
        if (pieces_find(&writer->pieces, walk.extent.start) == NULL ||
            pieces_find(&writer->pieces, walk.extent.start)->start != walk.extent.start) {
            struct row_key key = row_key_channel(ROW_EXTENT, PACKAGE_CHANNEL, walk.extent.start);

            row_batch_remove(&change->rows, &key);
        }
    }
    extent_walk_end(&walk);
    free(stream);
    return status;
}

static enum coffer_status publish(struct package_writer *writer, struct error *err)
{
    struct change *change = dataset_packaged(
        writer->dataset, writer->format, writer->pieces.length, gate_waker(&writer->gate));
    struct block_id *drops;
    enum coffer_status status = replace_old(writer, change, err);

    for (size_t i = 0; i < writer->pieces.count; i++) {
        const struct piece *piece = &writer->pieces.items[i];
        struct extent extent = {
            .start = piece->start, .length = piece->length, .block = piece->block};

        row_batch_replace_extent(&change->rows, PACKAGE_CHANNEL, &extent);
    }
    change->claims = writer->staging->blocks;
    change->claim_count = writer->staging->count;
    if (status == COFFER_OK)
        while ((status = change_finish(change, err)) == COFFER_AGAIN)
            gate_wait(&writer->gate);
    drops = change->drops;
    change_close(change);
    free(drops);
    return status;
}

enum coffer_status package_finish(struct package_writer *writer, struct error *err)
{
    enum coffer_status status = COFFER_OK;

    if (writer->body != NULL && writer->body->size > 0)
        status = flush(writer, err);
    if (status == COFFER_OK)
        status = wait_staged(writer, 0, err);
    if (status == COFFER_OK)
        status = publish(writer, err);
    if (status != COFFER_OK)
        return status;
    lock_take(&writer->dataset->lock);
    staging_keep(writer->staging);
    lock_drop(&writer->dataset->lock);
    writer->staging = NULL;
    return COFFER_OK;
}

void package_close(struct package_writer *writer)
{
    if (writer == NULL)
        return;
    staging_close(writer->staging);
    pieces_release(&writer->pieces);
    body_unref(writer->body);
    gate_release(&writer->gate);
    dataset_drop(writer->dataset);
    free(writer);
}

enum coffer_status dataset_package_open(
    struct dataset *dataset, struct waker waker, struct stream_reader **out, struct error *err)
{
    enum coffer_status status;
    uint64_t size = 0;

    lock_take(&dataset->lock);
    status = dataset_check(dataset, err);
    if (status == COFFER_OK && !dataset->packaged)
        status =
            error_set(err, COFFER_NO_SUCH_PATH, "no archive of dataset %s is kept", dataset->name);
    if (status == COFFER_OK)
        size = dataset->package_size;
    lock_drop(&dataset->lock);
    if (status == COFFER_OK)
        *out = stream_open_package(dataset, package_stream(dataset), size, waker);
    return status;
}
