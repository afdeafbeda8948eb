/*
 * Reading every block of a dataset and comparing its checksums. A block that several extents share
 * is read once, as they stand side by side.
 */
#include <stdlib.h>

#include "storage/base/log.h"
#include "storage/chunk/record_reader.h"
#include "storage/dataset/extent_walk.h"

struct verify {
    struct dataset *dataset;
    struct verify_result *result;
    close_progress *progress;
    void *context;
    uint64_t total;
    uint64_t last_block;
    bool has_last;
};

/* Blocking. */
static enum coffer_status verify_block(
    struct dataset *dataset, const struct block_id *id, struct error *err)
{
    struct store *store = dataset->store;
    struct record_reader *reader = NULL;
    struct digest name = block_name(&dataset->id, id);
    struct engine_row row;
    struct gate gate;
    enum coffer_status status;

    gate_init(&gate);
    do {
        status = store->engine->ops->find_block(store->engine, &dataset->id, id, &row, err);
        if (status == COFFER_NO_SUCH_CHUNK)
            status = dataset_missing(
                dataset, error_set(err, COFFER_DATA_CORRUPT, "a block is missing"), err);
        if (status == COFFER_OK)
            status = record_open(store, &row, NULL, &name, gate_waker(&gate), &reader, err);
    } while (status == COFFER_NO_SUCH_CHUNK); /* a repack moved it in between */
    while (status == COFFER_OK && (status = record_verify(reader, err)) == COFFER_AGAIN) {
        gate_wait(&gate);
        status = COFFER_OK;
    }
    record_close(reader);
    gate_release(&gate);
    return status;
}

static enum coffer_status verify_extent(struct verify *verify, const struct stream *stream,
    const struct extent *extent, struct error *err)
{
    struct block_id id = {stream->number, extent->block};
    struct verify_result *result = verify->result;
    enum coffer_status status = COFFER_OK;

    if (!verify->has_last || verify->last_block != extent->block) {
        status = verify_block(verify->dataset, &id, err);
        result->blocks++;
        verify->last_block = extent->block;
        verify->has_last = true;
    }
    if (status == COFFER_DATA_CORRUPT) {
        result->damaged++;
        log_write(LOG_ERROR, "block_damaged", "dataset %s, channel %s, bytes %llu to %llu: %s",
            verify->dataset->name, stream->name, (unsigned long long)extent->start,
            (unsigned long long)(extent->start + extent->length - 1),
            err == NULL ? "damaged" : err->text);
        status = COFFER_OK;
    }
    result->bytes += extent->length;
    if (status == COFFER_OK && verify->progress != NULL &&
        !verify->progress(verify->context, result->bytes, verify->total))
        return error_set(err, COFFER_DRAINING, "the verification was stopped");
    return status;
}

/* An extent whose row is missing or damaged: what is left of the channel counts as one. */
static void rest_is_damaged(struct verify *verify, const struct stream *stream,
    const struct extent_walk *walk, const struct error *why)
{
    verify->result->damaged++;
    log_write(LOG_ERROR, "rows_damaged", "dataset %s, channel %s, from byte %llu on: %s",
        verify->dataset->name, stream->name, (unsigned long long)walk->at, why->text);
}

static enum coffer_status verify_stream(
    struct verify *verify, const struct stream *stream, uint64_t size, struct error *err)
{
    struct extent_walk walk = extent_walk_begin(stream, 0, size);
    struct error own;
    enum coffer_status status = COFFER_OK;
    bool more = true;

    if (err == NULL)
        err = &own;
    verify->has_last = false;
    while (status == COFFER_OK) {
        status = extent_walk_next(&walk, &more, err);
        if (status == COFFER_DATA_CORRUPT) {
            rest_is_damaged(verify, stream, &walk, err);
            status = COFFER_OK;
            break;
        }
        if (status != COFFER_OK || !more)
            break;
        status = verify_extent(verify, stream, &walk.extent, err);
    }
    extent_walk_end(&walk);
    return status;
}

enum coffer_status dataset_verify(struct dataset *dataset, struct verify_result *result,
    close_progress *progress, void *context, struct error *err)
{
    struct verify verify = {
        .dataset = dataset, .result = result, .progress = progress, .context = context};
    struct stream_list list;
    enum coffer_status status = stream_list_take(dataset, &list, err);

    *result = (struct verify_result){0};
    verify.total = list.bytes;
    for (size_t i = 0; i < list.count && status == COFFER_OK; i++)
        status = verify_stream(&verify, list.items[i].stream, list.items[i].size, err);
    stream_list_release(&list);
    return status;
}
