#include "storage/dataset/extent_walk.h"

#include <stdlib.h>

enum coffer_status stream_list_take(
    struct dataset *dataset, struct stream_list *list, struct error *err)
{
    enum coffer_status status;

    *list = (struct stream_list){0};
    lock_take(&dataset->lock);
    status = dataset_check(dataset, err);
    list->items = calloc(dataset->stream_count + 1, sizeof(*list->items));
    invariant(list->items != NULL);
    for (size_t i = 0; i < dataset->stream_count && status == COFFER_OK; i++) {
        struct stream *stream = dataset->streams[i];

        list->items[list->count].stream = stream;
        list->items[list->count++].size = stream->size;
        list->bytes += stream->size;
    }
    lock_drop(&dataset->lock);
    return status;
}

void stream_list_release(struct stream_list *list)
{
    free(list->items);
    *list = (struct stream_list){0};
}

struct extent_walk extent_walk_begin(const struct stream *stream, uint64_t from, uint64_t end)
{
    return (struct extent_walk){.stream = stream, .at = from, .end = end};
}

enum coffer_status extent_walk_next(struct extent_walk *walk, bool *more, struct error *err)
{
    enum coffer_status status;

    *more = walk->at < walk->end;
    if (!*more)
        return COFFER_OK;
    status = extent_find(walk->stream, walk->at, &walk->extent, &walk->copy, err);
    if (status == COFFER_OK)
        walk->at = walk->extent.start + walk->extent.length;
    return status;
}

void extent_walk_end(struct extent_walk *walk)
{
    row_buffer_release(&walk->copy);
}
