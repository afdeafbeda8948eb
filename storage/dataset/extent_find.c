/*
 * Lookups in the rows of a channel. They are lookups in the index only, so HTTP threads may do
 * them (ARCHITECTURE.md, Threads).
 */
#include <stdlib.h>

#include "storage/dataset/dataset_parts.h"

struct find {
    struct extent *extent;
    struct row_buffer *copy;
    bool found, good;
};

static bool take_extent(void *context, struct slice key, struct slice value)
{
    struct find *find = context;

    find->found = true;
    find->good = extent_decode(key, value, find->extent);
    if (find->good) {
        find->copy->used = 0;
        row_buffer_bytes(find->copy, find->extent->lengths.data, find->extent->lengths.size);
        find->extent->lengths = slice_of(find->copy->data, find->copy->used);
    }
    return false;
}

enum coffer_status extent_find(const struct stream *stream, uint64_t offset, struct extent *extent,
    struct row_buffer *copy, struct error *err)
{
    struct engine *engine = stream->dataset->store->engine;
    struct row_key from = row_key_channel(ROW_EXTENT, stream->number, offset);
    struct row_key under = row_key_channel_prefix(ROW_EXTENT, stream->number);
    struct find find = {.extent = extent, .copy = copy};
    enum coffer_status status = engine->ops->row_scan(engine, &stream->dataset->id,
        row_key_slice(&under), row_key_slice(&from), true, take_extent, &find, err);

    if (status != COFFER_OK)
        return status;
    if (!find.found || !find.good || extent->start > offset ||
        offset - extent->start >= extent->length) {
        status = error_set(err, COFFER_DATA_CORRUPT,
            "channel %s of dataset %s: the row for byte %llu is missing or damaged", stream->name,
            stream->dataset->name, (unsigned long long)offset);
        return dataset_missing(stream->dataset, status, err);
    }
    return COFFER_OK;
}

struct places_find {
    struct extent_place *places;
    size_t count, found;
    uint64_t next, end;
};

static bool take_place(void *context, struct slice key, struct slice value)
{
    struct places_find *find = context;
    struct extent extent;

    if (!extent_decode(key, value, &extent) || extent.start != find->next)
        return false;
    find->places[find->found++] =
        (struct extent_place){extent.start, extent.length, extent.block, extent.block_offset};
    find->next = extent.start + extent.length;
    return find->found < find->count && find->next < find->end;
}

enum coffer_status extent_places(const struct stream *stream, uint64_t offset, uint64_t end,
    struct extent_place *places, size_t count, size_t *found, struct error *err)
{
    struct engine *engine = stream->dataset->store->engine;
    struct row_key from = row_key_channel(ROW_EXTENT, stream->number, offset);
    struct row_key under = row_key_channel_prefix(ROW_EXTENT, stream->number);
    struct places_find find = {.places = places, .count = count, .next = offset, .end = end};
    enum coffer_status status = engine->ops->row_scan(engine, &stream->dataset->id,
        row_key_slice(&under), row_key_slice(&from), false, take_place, &find, err);

    *found = find.found;
    return status;
}

struct history_find {
    struct history_row *row;
    bool found, good;
};

static bool take_history(void *context, struct slice key, struct slice value)
{
    struct history_find *find = context;

    (void)key;
    find->found = true;
    find->good = history_row_decode(value, find->row);
    return false;
}

enum coffer_status history_find(const struct stream *stream, uint64_t version,
    struct history_row *row, bool *found, struct error *err)
{
    struct engine *engine = stream->dataset->store->engine;
    struct row_key from = row_key_channel(ROW_HISTORY, stream->number, version);
    struct row_key under = row_key_channel_prefix(ROW_HISTORY, stream->number);
    struct history_find find = {.row = row};
    enum coffer_status status = engine->ops->row_scan(engine, &stream->dataset->id,
        row_key_slice(&under), row_key_slice(&from), true, take_history, &find, err);

    *found = find.found;
    if (status == COFFER_OK && find.found && !find.good)
        return error_set(err, COFFER_DATA_CORRUPT,
            "channel %s of dataset %s: a row of its history is damaged", stream->name,
            stream->dataset->name);
    return status;
}
